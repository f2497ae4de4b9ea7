//! The schema of events. The doc comments of this module are the text of `docs/events.md` and of the JSON Schema.
//!
//! Invariant: whatever comes from a target is escaped before it is put into an event.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of a session: 16 hexadecimal digits, unique on one machine.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct SessionId(pub String);

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One line of the event stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// Counts from 1 within one stream, without a gap.
    pub seq: u64,
    /// When it happened: RFC 3339 in UTC, with milliseconds.
    pub time: String,
    /// The session it belongs to.
    pub session: SessionId,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event")]
pub enum Event {
    /// A policy was loaded.
    #[serde(rename = "policy.loaded")]
    PolicyLoaded {
        /// The files and other layers it was made from, strongest first.
        layers: Vec<LoadedLayer>,
    },
    /// A boundary stands.
    #[serde(rename = "session.start")]
    SessionStart {
        /// SHA-256 of the plan, as 64 hexadecimal digits.
        plan: String,
        /// How much of the boundary holds: `full`, `partial` or `none`.
        level: String,
        /// What of the full boundary is missing, by its stable name.
        missing: Vec<String>,
    },
    /// A boundary and everything in it has ended.
    #[serde(rename = "session.end")]
    SessionEnd,
    /// A command was started.
    #[serde(rename = "exec.start")]
    ExecStart {
        /// Its number within the session, from 1.
        command: u64,
        /// The program and its arguments; what looks like a secret is replaced by `[redacted]`.
        argv: Vec<String>,
        /// The directory it started in.
        directory: String,
        /// Names of the variables that were withheld from it.
        withheld: Vec<String>,
    },
    /// A command has ended.
    #[serde(rename = "exec.end")]
    ExecEnd {
        /// Its number within the session.
        command: u64,
        /// How it ended: `exited`, `signalled`, `time-limit`, `memory-limit`, `process-limit`, `not-found`, `not-executable`, or
        /// `lost` when the session broke before it was known.
        ending: String,
        /// The exit status that is passed on.
        status: u8,
        /// Wall-clock time in milliseconds.
        duration_ms: u64,
        /// How many calls were denied.
        denials: u64,
    },
    /// A call on a path, or a system call, was denied.
    #[serde(rename = "fs.denied")]
    FsDenied {
        /// The command, where only one was running.
        command: Option<u64>,
        /// What was tried: `read`, `write`, `syscall`, `signal` or `trace`.
        operation: String,
        /// The path or the system call, escaped.
        object: String,
        /// The rule that decided.
        rule: String,
        /// The option that would allow just that; absent for a hard block, and where its directory is refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        grant: Option<Vec<String>>,
        /// The directory that would have to be writable, and that no policy makes so.
        #[serde(skip_serializing_if = "Option::is_none")]
        refused_root: Option<RefusedRoot>,
        /// The system call; empty where it is not known.
        syscall: String,
        /// `refused` by the filter, `predicted` from the rules that the mounts hold, or `reached`: a look-up ended at what
        /// hides the path.
        evidence: String,
        /// How often, since the last event on the same.
        count: u32,
    },
    /// A connection was decided on: by the egress proxy, or refused before one could see it.
    #[serde(rename = "net.decision")]
    NetDecision {
        /// The command, where only one was running.
        command: Option<u64>,
        /// The destination, escaped: a host and port, a socket's path or a socket family.
        destination: String,
        /// By which way it came to the proxy: `captured-tls`, `captured-http`, `captured-tcp`, `connect`, `absolute-form` or `socks`, `unix-socket` for one of the host's file system, or `published` from the host's loopback into the session;
        /// absent where no proxy saw it.
        #[serde(skip_serializing_if = "Option::is_none")]
        ingress: Option<String>,
        /// The method of an HTTP request.
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<String>,
        /// `allow` or `deny`.
        verdict: String,
        /// The rule that decided.
        rule: String,
        /// The process that tried, where it was refused and could be found out.
        #[serde(skip_serializing_if = "Option::is_none")]
        process: Option<Process>,
        /// How often, since the last event on the same.
        count: u32,
    },
    /// A connection that no rule names is held for an answer; its `net.decision` follows, at the latest when the time
    /// of `approvals.timeout` is over.
    #[serde(rename = "net.asked")]
    NetAsked {
        /// The command, where only one was running.
        command: Option<u64>,
        /// The destination, escaped.
        destination: String,
        /// By which way it came to the proxy, as in `net.decision`.
        ingress: String,
        /// The process that tries, where it could be found out.
        #[serde(skip_serializing_if = "Option::is_none")]
        process: Option<Process>,
    },
    /// A question for a name was decided on.
    #[serde(rename = "dns.decision")]
    DnsDecision {
        /// The command, where only one was running.
        command: Option<u64>,
        /// The name, escaped.
        name: String,
        /// `allow` or `deny`. No other machine is asked about a name that is denied.
        verdict: String,
        /// The rule that decided.
        rule: String,
        /// The process that asked, where it was refused and could be found out.
        #[serde(skip_serializing_if = "Option::is_none")]
        process: Option<Process>,
    },
    /// A connection through the proxy has ended.
    #[serde(rename = "net.closed")]
    NetClosed {
        /// The destination, escaped.
        destination: String,
        /// Bytes that left the session.
        bytes_out: u64,
        /// Bytes that came into it.
        bytes_in: u64,
        /// `finished`, `broken`, `refused`, `revoked`, `limit` or `shutdown`.
        cause: String,
    },
    /// The egress proxy has ended before its session: no connection is possible any more, and those that were open
    /// are closed.
    #[serde(rename = "net.proxy-ended")]
    NetProxyEnded {
        /// The command that was running.
        command: Option<u64>,
        /// Why.
        reason: String,
    },
    /// Something the session made under a guarded name was moved out of the workspace.
    #[serde(rename = "guard.quarantined")]
    GuardQuarantined {
        /// What `ringfence quarantine restore` takes.
        id: String,
        /// Where it was, escaped.
        path: String,
        /// Why.
        reason: String,
    },
}

/// A process of the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Its number, as the session sees it.
    pub id: u32,
    /// The path of its program, escaped.
    pub program: String,
}

/// A directory that no policy makes writable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedRoot {
    /// The directory, escaped.
    pub directory: String,
    /// Why it can't be a writable root.
    pub reason: String,
    /// What to do instead.
    pub instead: String,
}

/// One layer of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoadedLayer {
    /// `managed`, `command-line`, `user`, `project` or `default`.
    pub kind: String,
    /// The file, or `command line`.
    pub source: String,
    /// SHA-256 of the file, as 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}
