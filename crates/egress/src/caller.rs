//! Who is at the other end of a connection.
//!
//! Where each session has listeners of its own (Linux, macOS) the answer is known beforehand; where one port serves
//! all (Windows) somebody looks it up. Invariant: a caller that nobody knows is refused.

mod table;

use std::borrow::Cow;
use std::net::SocketAddr;

use ringfence_policy::decision::Process;
use ringfence_policy::policy::NetworkPolicy;

use crate::decide::Subject;

pub use table::{ByTable, ConnectionRow, ConnectionTable, Processes, find_row};

/// Both ends of an accepted connection, or of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The caller's.
    pub peer: SocketAddr,
    /// Ours: for a captured connection the address that the caller wanted.
    pub local: SocketAddr,
    /// What carries it.
    pub transport: Transport,
}

/// What carries a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A connection of TCP.
    Tcp,
    /// Packets of UDP; our end may be bound to every address.
    Udp,
    /// One end of a pair that was passed to us: it has no addresses.
    Pair,
}

/// A connection belongs to no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the program at {peer} belongs to no session")]
pub struct UnknownCaller {
    /// Its end of the connection.
    pub peer: SocketAddr,
}

/// Tells whose a connection is.
pub trait Attribution: Send + Sync {
    /// The session and command at the caller's end.
    ///
    /// # Errors
    /// [`UnknownCaller`], which refuses the connection.
    ///
    /// # Security
    /// On a shared loopback any program of the machine may connect.
    fn subject(&self, ends: Ends) -> Result<Subject, UnknownCaller>;

    /// The process at the caller's end, where it can be found out; asked only where somebody is refused or asked
    /// about, since it costs time. It may block, and is called on a thread where it may.
    fn process(&self, ends: Ends) -> Option<Process> {
        let _ = ends;
        None
    }
}

/// Attribution by construction: whoever reaches these listeners belongs to this session.
#[derive(Clone, Debug)]
pub struct OneSession(pub Subject);

impl Attribution for OneSession {
    fn subject(&self, _ends: Ends) -> Result<Subject, UnknownCaller> {
        Ok(self.0.clone())
    }
}

/// A connection's caller.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) subject: Subject,
    pub(crate) ends: Ends,
    pub(crate) program: Program,
}

/// Which program a caller is, where some rule asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// No rule asked when it came.
    Unasked,
    /// Its path, or that it could not be found out.
    Asked(Option<String>),
}

impl Program {
    /// `policy` as it is for this program.
    ///
    /// # Security
    /// One that came before a rule asked is known to none.
    pub(crate) fn of<'p>(&self, policy: &'p NetworkPolicy) -> Cow<'p, NetworkPolicy> {
        if !policy.asks_for_programs() {
            return Cow::Borrowed(policy);
        }
        Cow::Owned(match self {
            Self::Unasked => policy.for_program(None),
            Self::Asked(program) => policy.for_program(program.as_deref()),
        })
    }
}
