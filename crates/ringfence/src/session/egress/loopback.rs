//! The proxy's place on a loopback that the whole machine shares, and how it knows who calls.
//!
//! The system's table says which process holds the other end of a connection, and since when; the session says whether
//! that process is one of its commands'. Invariant: whoever is not certainly a command of this session gets nothing.
//!
//! # Security
//! Any program of the machine may connect. A port that others could share would hand them the session's requests, so
//! each is bound exclusively.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use ringfence_audit::SessionId;
use ringfence_backend::session::Members;
use ringfence_egress::caller::{ByTable, ConnectionRow, ConnectionTable, Processes};
use ringfence_egress::proxy::Listener;
use ringfence_egress::{Subject, Terminator};
use ringfence_plan::windows::egress::ProxyPorts;
use ringfence_plan::windows::step::PortRange;
use ringfence_policy::Policy;
use ringfence_windows::sys::connections::tcp_connections;
use ringfence_windows::sys::listener::listen_exclusively;
use ringfence_windows::sys::{CallError, Win32Error};

use super::{Egress, EgressError, Prepared};

/// How often any port is tried.
const ATTEMPTS: usize = 8;
/// `WSAEADDRINUSE`
const ADDRESS_IN_USE: Win32Error = Win32Error(10048);
/// `WSAEAFNOSUPPORT` and `WSAEADDRNOTAVAIL`: this machine has no IPv6.
const NO_FAMILY: [Win32Error; 2] = [Win32Error(10047), Win32Error(10049)];

/// Listeners of one session that nobody is served on yet: callers wait.
#[derive(Debug)]
pub(crate) struct Loopback {
    /// What programs are told.
    pub(crate) address: SocketAddr,
    listeners: Vec<TcpListener>,
}

impl Loopback {
    /// Takes the first free port of `ports`, of both families where this machine has both.
    ///
    /// # Errors
    /// [`EgressError::Ports`] with the last refusal.
    pub(crate) fn take(ports: ProxyPorts) -> Result<Self, EgressError> {
        let (tried, candidates) = match ports {
            ProxyPorts::Reserved(PortRange { first, last }) => {
                (format!("ports {first} to {last}"), (first..=last).collect())
            }
            // The system gives a port that is free for one family, and may be taken for the other.
            ProxyPorts::Any => ("any port".to_owned(), vec![0; ATTEMPTS]),
        };
        // A range without a port has none to refuse either.
        let mut refused = CallError::new("bind", &tried, ADDRESS_IN_USE);
        for port in candidates {
            match Self::at(port) {
                Ok(taken) => return Ok(taken),
                Err(error) => refused = error,
            }
        }
        Err(EgressError::Ports {
            tried,
            source: Box::new(refused),
        })
    }

    fn at(port: u16) -> Result<Self, CallError> {
        let four = listen_exclusively((Ipv4Addr::LOCALHOST, port).into())?;
        let address = four
            .local_addr()
            .map_err(|_| CallError::last("getsockname", port))?;
        let mut listeners = vec![four];
        let six = IpAddr::from(Ipv6Addr::LOCALHOST);
        match listen_exclusively((six, address.port()).into()) {
            Ok(six) => listeners.push(six),
            Err(error) if NO_FAMILY.contains(&error.error) => {}
            // Somebody else answers there in our place.
            Err(error) => return Err(error),
        }
        Ok(Self { address, listeners })
    }

    /// Serves by `policy` those whom `callers` knows.
    ///
    /// # Errors
    /// [`EgressError`]; nothing is served then, and nothing gets out.
    pub(crate) fn serve(
        self,
        policy: &Policy,
        callers: ByTable,
        terminator: Option<Arc<Terminator>>,
    ) -> Result<Egress, EgressError> {
        let attribution = Arc::new(callers);
        let prepared = Prepared::new(policy, attribution, terminator)?;
        for listener in self.listeners {
            prepared.add(Listener::Explicit(listener))?;
        }
        prepared.start()
    }
}

/// The processes of `session` that `members` knows, by the table of this machine.
pub(crate) fn callers(session: &SessionId, members: Arc<dyn Members>) -> ByTable {
    ByTable::new(
        Arc::new(SystemTable),
        Arc::new(OfSession::new(session, members)),
    )
}

/// The table of this machine.
struct SystemTable;

impl ConnectionTable for SystemTable {
    fn rows(&self) -> io::Result<Vec<ConnectionRow>> {
        let rows = tcp_connections().map_err(io::Error::other)?;
        Ok(rows
            .into_iter()
            .map(|row| ConnectionRow {
                local: row.local,
                remote: row.remote,
                process: row.process,
                created: row.created,
            })
            .collect())
    }
}

/// The processes of one session.
struct OfSession {
    session: String,
    members: Arc<dyn Members>,
}

impl OfSession {
    fn new(session: &SessionId, members: Arc<dyn Members>) -> Self {
        let session = session.to_string();
        Self { session, members }
    }
}

impl Processes for OfSession {
    fn subject(&self, row: &ConnectionRow) -> Option<Subject> {
        let command = self.members.command_of(row.process, row.created)?;
        Some(Subject {
            session: self.session.clone(),
            command: Some(command.0),
        })
    }
}

#[cfg(test)]
mod tests;
