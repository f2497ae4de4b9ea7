//! The sockets that a session's runner has made inside its network, served by the proxy.
//!
//! Whoever reaches them belongs to the session by construction. Invariant: nothing is listened on but what the runner
//! has handed out, and the published ports on the host's loopback.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
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

use super::super::callers::{Callers, push_address};
use super::super::sockets::HostSockets;
use super::widening::Widening;
use super::{Egress, EgressError, Prepared};

/// What the runner has handed out of the session.
#[derive(Debug, Default)]
pub(crate) struct HandedOut {
    /// Sockets of the session's network, to be served.
    pub(crate) sockets: Vec<(ServedSocket, OwnedFd)>,
    /// The way to ask who a caller is.
    pub(crate) namer: Option<OwnedFd>,
    /// The way to further sockets of the session's network.
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
        let mut prepared = Prepared::new(policy, attribution, terminator)?;
        if let Some(dialler) = dialler {
            let known: Vec<ServedSocket> = sockets.iter().map(|(socket, _)| *socket).collect();
            let inside = Arc::new(Inside::new(dialler));
            let widening = Widening::new(inside, subject.clone(), &known);
            for port in published {
                prepared.add(widening.publish(*port)?)?;
            }
            prepared.widening = Some(Arc::new(widening));
        }
        for (socket, made) in sockets {
            prepared.add(listener(socket, made))?;
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

/// Makes sockets of the session's network, through the runner.
pub(super) struct Inside(Mutex<OwnedFd>);

/// What a socket is made for.
#[derive(Clone, Copy)]
enum Wish {
    Connect = 0,
    Listen = 1,
}

impl Inside {
    pub(super) fn new(dialler: OwnedFd) -> Self {
        Self(Mutex::new(dialler))
    }

    /// A socket that listens at `address`.
    pub(super) fn listen(&self, address: SocketAddr) -> io::Result<OwnedFd> {
        self.ask(Wish::Listen, address)
    }

    /// Asks for a socket and takes it. The runner answers at once: it does not wait for a server.
    fn ask(&self, wish: Wish, address: SocketAddr) -> io::Result<OwnedFd> {
        let dialler = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut question = vec![wish as u8];
        push_address(&mut question, address);
        send(&*dialler, &question, SendFlags::NOSIGNAL)?;
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
        let asked = self.ask(Wish::Connect, address);
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
