//! Who is at the other end of a connection.
//!
//! Where each session has listeners of its own (Linux, macOS) the answer is known beforehand; where one port serves
//! all (Windows) somebody looks it up. Invariant: a caller that nobody knows is refused.

mod table;

use std::net::SocketAddr;

use crate::decide::Subject;

pub use table::{ByTable, ConnectionRow, ConnectionTable, Processes, find_row};

/// Both ends of an accepted connection, or of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The caller's.
    pub peer: SocketAddr,
    /// Ours: for a captured connection the address that the caller wanted.
    pub local: SocketAddr,
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

    /// The program at the caller's end, where it can be found out; asked only for refusals, since it costs time.
    fn program(&self, ends: Ends) -> Option<String> {
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
}
