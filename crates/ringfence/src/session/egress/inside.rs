//! The sockets that a session's runner has made inside its network, served by the proxy.
//!
//! Whoever reaches them belongs to the session by construction. Invariant: nothing is listened on but what the runner
//! has handed out, and the published ports on the host's loopback.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use ringfence_audit::SessionId;
use ringfence_egress::proxy::Listener;
use ringfence_egress::reach::{Dial, Pending};
use ringfence_egress::{Subject, Terminator};
use ringfence_plan::step::{ServedSocket, Service};
use ringfence_policy::Policy;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use tokio::net::TcpStream;

use super::super::callers::Callers;
use super::super::sockets::HostSockets;
use super::{Egress, EgressError, Prepared};

/// What the runner has handed out of the session.
#[derive(Debug, Default)]
pub(crate) struct HandedOut {
    /// Sockets of the session's network, to be served.
    pub(crate) sockets: Vec<(ServedSocket, OwnedFd)>,
    /// The way to ask who a caller is.
    pub(crate) namer: Option<OwnedFd>,
    /// The way to dial published ports.
    pub(crate) dialler: Option<OwnedFd>,
    /// The way from programs to Unix sockets of the host, and those.
    pub(crate) door: Option<(OwnedFd, HostSockets)>,
    /// Reads TLS where a rule limits requests.
    pub(crate) terminator: Option<Arc<Terminator>>,
}

impl Egress {
    /// Starts to serve what was handed out by `policy`.
    ///
    /// # Errors
    /// [`EgressError`]; nothing is served then, and nothing gets out.
    pub(crate) fn start(
        policy: &Policy,
        session: &SessionId,
        handed_out: HandedOut,
        published: &[u16],
    ) -> Result<Self, EgressError> {
        let HandedOut {
            sockets,
            namer,
            dialler,
            door,
            terminator,
        } = handed_out;
        let subject = Subject {
            session: session.to_string(),
            command: None,
        };
        let attribution = Arc::new(Callers::new(subject.clone(), namer));
        let prepared = Prepared::new(policy, attribution, terminator)?;
        for (socket, made) in sockets {
            prepared.add(listener(socket, made))?;
        }
        if let Some(dialler) = dialler {
            let inside: Arc<dyn Dial> = Arc::new(Inside::new(dialler));
            for port in published {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
                let listener =
                    TcpListener::bind(address).map_err(|source| EgressError::Publish {
                        port: *port,
                        source,
                    })?;
                prepared.add(Listener::Published {
                    listener,
                    port: *port,
                    inside: Arc::clone(&inside),
                    subject: subject.clone(),
                })?;
            }
        }
        if let Some((door, held)) = door {
            held.serve(door, prepared.control.clone(), subject)
                .map_err(EgressError::Socket)?;
        }
        prepared.start()
    }
}

fn listener(socket: ServedSocket, made: OwnedFd) -> Listener {
    match socket.service {
        Service::Captured => Listener::Captured {
            listener: made.into(),
            port: None,
        },
        Service::Connected => Listener::Connected {
            listener: made.into(),
            server: socket.address,
        },
        Service::Proxy => Listener::Explicit(made.into()),
        Service::DnsDatagrams => Listener::NameServerUdp(made.into()),
        Service::DnsStream => Listener::NameServerTcp(made.into()),
    }
}

/// Connects to the session's loopback, through the runner.
struct Inside(Mutex<OwnedFd>);

impl Inside {
    fn new(dialler: OwnedFd) -> Self {
        Self(Mutex::new(dialler))
    }

    /// Asks for a connection and takes the socket. The runner answers at once: it does not wait for the server.
    fn ask(&self, address: SocketAddr) -> io::Result<OwnedFd> {
        let dialler = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [low, high] = address.port().to_le_bytes();
        let family = if address.is_ipv4() { 4 } else { 6 };
        send(&*dialler, &[family, low, high], SendFlags::NOSIGNAL)?;
        let mut number = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut number)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&*dialler, &mut parts, &mut control, flags)?;
        let mut descriptors = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let socket = descriptors.next().and_then(|mut all| all.next());
        match (received.bytes, i32::from_le_bytes(number), socket) {
            (4, 0, Some(socket)) => Ok(socket),
            (4, errno, _) if errno != 0 => Err(io::Error::from_raw_os_error(errno)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Dial for Inside {
    fn dial(&self, address: SocketAddr) -> Pending<'static, io::Result<TcpStream>> {
        let asked = self.ask(address);
        Box::pin(async move {
            let stream = TcpStream::from_std(asked?.into())?;
            // Loopback connects at once or not at all, but the answer may still be on its way.
            stream.writable().await?;
            match stream.take_error()? {
                None => Ok(stream),
                Some(error) => Err(error),
            }
        })
    }
}
