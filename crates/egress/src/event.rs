//! What the proxy tells about its decisions.
//!
//! The names of the fields are those of the audit trail, into which the caller writes these records; nothing is
//! written here. Invariant: every text in a record is escaped, or of a grammar that needs no escaping.

use ringfence_policy::decision::{Decision, Process};
use serde::Serialize;

use crate::decide::{Ingress, Subject};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event")]
pub enum Event {
    /// A connection or a request was decided on.
    #[serde(rename = "net.decision")]
    Connection(ConnectionDecision),
    /// Somebody is asked about a connection, which is held until the answer; the decision follows.
    #[serde(rename = "net.asked")]
    Asked(Question),
    /// A question for a name was decided on.
    #[serde(rename = "dns.decision")]
    Name(NameDecision),
    /// A connection that was open has ended.
    #[serde(rename = "net.closed")]
    Closed(ConnectionClosed),
}

/// The decision on a connection or a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionDecision {
    /// Whose attempt.
    pub subject: Subject,
    /// By which way it came.
    pub ingress: Ingress,
    /// Host and port; what could not be read is escaped and marked as such by the rule.
    pub destination: String,
    /// The method of an HTTP request.
    pub method: Option<String>,
    /// The verdict with its rule.
    pub decision: Decision,
    /// The process that tried, where it is known; looked up only for refusals.
    pub process: Option<Process>,
}

/// A connection that somebody is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Question {
    /// Whose attempt.
    pub subject: Subject,
    /// By which way it came.
    pub ingress: Ingress,
    /// Host and port.
    pub destination: String,
    /// The process that tries, where it is known.
    pub process: Option<Process>,
}

/// The decision on a question for a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NameDecision {
    /// Whose question.
    pub subject: Subject,
    /// The name.
    pub name: String,
    /// The verdict with its rule.
    pub decision: Decision,
    /// The process that asked, where it is known; looked up only for refusals.
    pub process: Option<Process>,
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionClosed {
    /// Whose connection.
    pub subject: Subject,
    /// Host and port.
    pub destination: String,
    /// Bytes that left the session.
    pub bytes_out: u64,
    /// Bytes that came into it.
    pub bytes_in: u64,
    /// Why it ended.
    pub cause: CloseCause,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CloseCause {
    /// Both sides had said everything.
    Finished,
    /// One side broke off.
    Broken,
    /// What was said was refused.
    Refused,
    /// A policy that was loaded later no longer allows it.
    Revoked,
    /// A limit of time or bytes.
    Limit,
    /// The proxy ends.
    Shutdown,
}

/// Where events go.
pub trait Sink: Send + Sync {
    /// Takes one event; must not block for long, since every connection waits meanwhile.
    fn record(&self, event: Event);
}
