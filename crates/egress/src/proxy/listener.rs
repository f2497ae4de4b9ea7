//! The kinds of listeners, and accepting on them.
//!
//! Each is made by somebody else, where the session can reach it. Invariant: a connection above the limit, or of an
//! unknown caller, is recorded and gets nothing.

use std::io;
use std::net::{
    Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdTcpListener, UdpSocket as StdUdpSocket,
};
use std::sync::Arc;
use std::time::Duration;

use ringfence_policy::host::Host;
use ringfence_policy::rule::RuleId;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::published::Published;
use super::wire::Wire;
use super::{ServeError, Shared, captured, explicit, name_server};
use crate::caller::{Caller, Ends, Program, Transport};
use crate::decide::{Ingress, Subject, refuse};
use crate::reach::Dial;

/// How long a listener rests when the system has no descriptor to give.
const REST: Duration = Duration::from_millis(50);

/// A listener that was made for a session.
pub enum Listener {
    /// Takes connections to any address: the local end is the address that the caller wanted.
    Captured {
        /// The listener.
        listener: StdTcpListener,
        /// The port that the caller wanted, where the capture changes it; else the listener's own.
        port: Option<u16>,
    },
    /// Speaks HTTP proxy and SOCKS5, told apart by the first byte.
    Explicit(StdTcpListener),
    /// Answers questions for names, by UDP.
    NameServerUdp(StdUdpSocket),
    /// Answers questions for names, by TCP.
    NameServerTcp(StdTcpListener),
    /// Stands in the session's loopback for one server of the host's, which `connect` names.
    Connected {
        /// The listener.
        listener: StdTcpListener,
        /// The server.
        server: SocketAddr,
    },
    /// Stands in the host's loopback for a port of the session, which `publish` names.
    Published {
        /// The listener.
        listener: StdTcpListener,
        /// The port inside.
        port: u16,
        /// Connects inside the session.
        inside: Arc<dyn Dial>,
        /// The session.
        subject: Subject,
    },
}

/// Whether the machine has no IPv6, or none on loopback.
fn has_no_such_address(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
    )
}

/// Why a listener could not be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// It can't be made non-blocking.
    #[error("the listener can't be made non-blocking")]
    NonBlocking(#[source] io::Error),
    /// The proxy has ended.
    #[error("the proxy has ended")]
    Ended,
}

/// What is done with the connections of one listener.
#[derive(Clone)]
enum Role {
    Captured(Option<u16>),
    Explicit,
    NameServer,
    Connected(SocketAddr),
    Published(Published),
}

/// How often a port is tried that somebody has on the other of the two loopback addresses.
const ATTEMPTS: u32 = 16;

impl Listener {
    /// Listeners on a free port of loopback for one session alone, where the system lets a session reach nothing but
    /// that port (macOS): whoever comes is the session's, [`crate::caller::OneSession`].
    ///
    /// On both loopback addresses, since a profile can't tell them apart: on the other one the session would reach
    /// whoever listens there. Without IPv6 there is one.
    ///
    /// # Errors
    /// The system's, for a socket; `AddrInUse` where no port is free on both addresses.
    ///
    /// # Security
    /// Other programs of the machine may connect too; the profiles of other sessions do not name the port.
    pub fn for_session() -> io::Result<(Vec<Self>, u16)> {
        for _ in 0..ATTEMPTS {
            let first = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = first.local_addr()?.port();
            match StdTcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
                Ok(second) => {
                    return Ok((vec![Self::Explicit(first), Self::Explicit(second)], port));
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) if has_no_such_address(&error) => {
                    return Ok((vec![Self::Explicit(first)], port));
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    pub(super) fn make_ready(&self) -> Result<(), AddError> {
        match self {
            Self::Captured { listener, .. }
            | Self::Explicit(listener)
            | Self::NameServerTcp(listener)
            | Self::Connected { listener, .. }
            | Self::Published { listener, .. } => listener.set_nonblocking(true),
            Self::NameServerUdp(socket) => socket.set_nonblocking(true),
        }
        .map_err(AddError::NonBlocking)
    }

    pub(super) fn start(
        self,
        shared: &Arc<Shared>,
        tasks: &mut JoinSet<Result<(), ServeError>>,
    ) -> Result<(), ServeError> {
        let shared = Arc::clone(shared);
        let (listener, role) = match self {
            Self::NameServerUdp(socket) => {
                let name = name_of(socket.local_addr());
                let socket = UdpSocket::from_std(socket)
                    .map_err(|source| ServeError::Register(name.clone(), source))?;
                tasks.spawn(async move { name_server::serve_udp(&shared, socket, name).await });
                return Ok(());
            }
            Self::Captured { listener, port } => (listener, Role::Captured(port)),
            Self::Explicit(listener) => (listener, Role::Explicit),
            Self::NameServerTcp(listener) => (listener, Role::NameServer),
            Self::Connected { listener, server } => (listener, Role::Connected(server)),
            Self::Published {
                listener,
                port,
                inside,
                subject,
            } => (
                listener,
                Role::Published(Published {
                    port,
                    inside,
                    subject,
                }),
            ),
        };
        let name = name_of(listener.local_addr());
        let listener = TcpListener::from_std(listener)
            .map_err(|source| ServeError::Register(name.clone(), source))?;
        tasks.spawn(async move { accept(&shared, &listener, role, name).await });
        Ok(())
    }
}

fn name_of(address: io::Result<SocketAddr>) -> String {
    address.map_or_else(
        |_| "without an address".to_owned(),
        |address| address.to_string(),
    )
}

/// Accepts until the listener fails or a connection panics; its connections end with it.
async fn accept(
    shared: &Arc<Shared>,
    listener: &TcpListener,
    role: Role,
    name: String,
) -> Result<(), ServeError> {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next() => {
                // No half of a decision is gone on with.
                ended.map_err(ServeError::Panicked)?;
                continue;
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                let (shared, role) = (Arc::clone(shared), role.clone());
                match welcome(&shared, &stream, peer, &role) {
                    Welcome::Served(permit, caller) => connections.spawn(async move {
                        serve(&shared, caller, stream, role).await;
                        drop(permit);
                    }),
                    Welcome::Refused(refusal) => connections.spawn(async move {
                        refusal.record(&shared).await;
                        drop(stream);
                    }),
                    Welcome::Gone => continue,
                };
            }
            // The caller is gone again, or the system is short of something: neither is the listener's end.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Err(ServeError::Accept(name, error));
            }
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

/// What becomes of a connection.
enum Welcome {
    /// It has a place.
    Served(OwnedSemaphorePermit, Caller),
    /// It gets nothing.
    Refused(Refusal),
    /// It has ended already.
    Gone,
}

/// Why a connection gets nothing.
enum Refusal {
    /// It is nobody's.
    Stranger(Ends),
    /// There are too many.
    Full(Caller),
}

impl Refusal {
    async fn record(self, shared: &Shared) {
        match self {
            Self::Stranger(ends) => shared.gate.record_stranger(ends).await,
            Self::Full(caller) => {
                let reason = format!("{} connections are open", shared.limits.connections);
                let decision = refuse(RuleId::NetworkLimit, reason);
                let destination = caller.ends.local.to_string();
                let ingress = Ingress::CapturedTcp;
                shared
                    .gate
                    .record(&caller, ingress, destination, None, &decision)
                    .await;
            }
        }
    }
}

/// Whose connection it is, and a place for it.
fn welcome(shared: &Shared, stream: &TcpStream, peer: SocketAddr, role: &Role) -> Welcome {
    let Ok(local) = stream.local_addr() else {
        return Welcome::Gone;
    };
    let ends = Ends {
        peer,
        local,
        transport: Transport::Tcp,
    };
    let caller = match role {
        // The caller is a program of the host, and belongs to no session.
        Role::Published(published) => Caller {
            subject: published.subject.clone(),
            ends,
            program: Program::Unasked,
        },
        Role::Captured(_) | Role::Explicit | Role::NameServer | Role::Connected(_) => {
            match shared.gate.caller(ends) {
                Ok(caller) => caller,
                Err(_) => return Welcome::Refused(Refusal::Stranger(ends)),
            }
        }
    };
    match Arc::clone(&shared.slots).try_acquire_owned() {
        Ok(permit) => Welcome::Served(permit, caller),
        Err(_) => Welcome::Refused(Refusal::Full(caller)),
    }
}

async fn serve(shared: &Arc<Shared>, mut caller: Caller, stream: TcpStream, role: Role) {
    let local = caller.ends.local;
    match role {
        Role::Captured(_) | Role::Explicit | Role::NameServer => {
            shared.gate.ask_program(&mut caller).await;
        }
        // What `connect` and `publish` name is for every program.
        Role::Connected(_) | Role::Published(_) => {}
    }
    let wire = Wire::new(stream);
    match role {
        Role::Captured(port) => {
            let host = shared.meant_host(Host::Address(local.ip()));
            let port = port.unwrap_or(local.port());
            captured::serve(shared, &caller, host, port, wire).await;
        }
        Role::Explicit => explicit::serve(shared, caller, wire).await,
        Role::NameServer => {
            let host = shared.meant_host(Host::Address(local.ip()));
            if shared.is_named_on(&host, local.port()) {
                captured::serve(shared, &caller, host, local.port(), wire).await;
            } else {
                name_server::serve_tcp(shared, &caller, wire).await;
            }
        }
        Role::Connected(server) => {
            let host = Host::Address(server.ip());
            captured::relay(shared, &caller, host, server.port(), wire).await;
        }
        Role::Published(published) => published.serve(shared, &caller, wire).await,
    }
}
