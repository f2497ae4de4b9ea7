//! A session's way out: the proxy that serves the sockets of the session's network, on a thread of its own.
//!
//! The sockets were made inside the session, so whoever reaches them belongs to it. Invariant: what the proxy decided
//! is in the record and, where it refused, in the command's report; what doesn't fit is counted.

use std::error::Error;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::certificates::CertificateError;
use super::sockets::{HostSockets, SocketError};
use ringfence_audit::SessionId;
use ringfence_egress::caller::OneSession;
use ringfence_egress::event::Event as Decided;
use ringfence_egress::limits::Limits;
use ringfence_egress::proxy::{
    AddError, Control, Listener, Nobody, Parts, Proxy, Review, ServeError, Silent,
};
use ringfence_egress::reach::{Dial, Pending, SystemDialer, SystemResolver};
use ringfence_egress::{Sink, Subject, SyntheticNetwork, Terminator};
use ringfence_plan::step::{ServedSocket, Service};
use ringfence_policy::Policy;
use ringfence_policy::document::Reviewer;
use ringfence_policy::host::HostName;
use ringfence_policy::policy::NetworkPolicy;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use tokio::net::TcpStream;

/// Decisions that wait to be recorded; beyond them they are counted.
const MAX_WAITING: usize = 4096;

/// Why a session has no way out although its policy says so.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The proxy could not be told of a socket.
    #[error("serve the session's network")]
    Listen(#[source] AddError),
    /// A published port is taken on the host's loopback.
    #[error("listen on 127.0.0.1:{port} of this machine, to publish it")]
    Publish {
        /// Which.
        port: u16,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A Unix socket of the plan can't be reached.
    #[error("reach a Unix socket of the policy")]
    Socket(#[source] SocketError),
    /// TLS can't be read although a rule needs it.
    #[error("prepare to read TLS")]
    Certificates(#[source] CertificateError),
    /// There is no descriptor for news.
    #[error("make a descriptor for the proxy's news")]
    News(#[source] Errno),
    /// There is no thread for it.
    #[error("start the proxy's thread")]
    Thread(#[source] io::Error),
}

impl EgressError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Publish { port, .. } => {
                format!("free port {port} of this machine's loopback, or publish another")
            }
            Self::Socket(SocketError::Open { path, .. } | SocketError::Changed { path }) => {
                format!("see whether its server runs: `ls -l {path}`, and try again")
            }
            Self::Certificates(error) => error.hint(),
            Self::Socket(SocketError::Thread(_))
            | Self::Listen(_)
            | Self::News(_)
            | Self::Thread(_) => {
                "raise the limits on open files and processes (`ulimit -n`, `ulimit -u`)".to_owned()
            }
        }
    }
}

/// What the runner has handed out of the session.
#[derive(Debug, Default)]
pub(crate) struct HandedOut {
    /// Sockets of the session's network, to be served.
    pub(crate) sockets: Vec<(ServedSocket, OwnedFd)>,
    /// The way to dial published ports.
    pub(crate) dialler: Option<OwnedFd>,
    /// The way from programs to Unix sockets of the host, and those.
    pub(crate) door: Option<(OwnedFd, HostSockets)>,
    /// Reads TLS where a rule limits requests.
    pub(crate) terminator: Option<Arc<Terminator>>,
}

/// The proxy of one session. Dropped, it ends with every connection.
pub(crate) struct Egress {
    control: Control,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
    post: Arc<Post>,
    /// Why it has ended, once that was taken.
    ending: Option<String>,
}

/// Where the proxy puts what it decided.
struct Post {
    /// Made room for as it comes: thousands of places at once would be a megabyte of every session.
    waiting: Mutex<Vec<Decided>>,
    /// What did not fit.
    dropped: AtomicU64,
    /// Set when the proxy ends.
    ended: AtomicBool,
    /// Readable when there is news, or the proxy has ended.
    readiness: OwnedFd,
}

impl Post {
    fn waiting(&self) -> MutexGuard<'_, Vec<Decided>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // Full: it is readable already.
        let _ = rustix::io::write(&self.readiness, &1_u64.to_ne_bytes());
    }
}

impl Sink for Post {
    fn record(&self, event: Decided) {
        let mut waiting = self.waiting();
        if waiting.len() >= MAX_WAITING {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.push(event);
        // Whoever listens takes all at once: more than the first need not be announced.
        if waiting.len() == 1 {
            self.ring();
        }
    }
}

/// Says that the proxy has ended, also when it panics.
struct Ending(Arc<Post>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.ring();
    }
}

impl Egress {
    /// Starts to serve `sockets` by `policy`.
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
            dialler,
            door,
            terminator,
        } = handed_out;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let post = Arc::new(Post {
            waiting: Mutex::default(),
            dropped: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            readiness: eventfd(0, flags).map_err(EgressError::News)?,
        });
        let subject = Subject {
            session: session.to_string(),
            command: None,
        };
        let parts = Parts {
            attribution: Arc::new(OneSession(subject.clone())),
            resolver: Arc::new(SystemResolver),
            dialer: Arc::new(SystemDialer),
            reviewer: reviewer(policy.approvals.reviewer.value),
            sink: Arc::clone(&post) as Arc<dyn Sink>,
            terminator,
        };
        let network = SyntheticNetwork::default();
        let limits = Limits {
            answer: Duration::from_millis(policy.approvals.timeout.value.0),
            ..Limits::default()
        };
        let (proxy, control) = Proxy::new(policy.network.clone(), network, limits, parts);
        for (socket, made) in sockets {
            control
                .add(listener(socket, made))
                .map_err(EgressError::Listen)?;
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
                let published = Listener::Published {
                    listener,
                    port: *port,
                    inside: Arc::clone(&inside),
                    subject: subject.clone(),
                };
                control.add(published).map_err(EgressError::Listen)?;
            }
        }
        if let Some((door, held)) = door {
            held.serve(door, control.clone(), subject)
                .map_err(EgressError::Socket)?;
        }
        let ending = Ending(Arc::clone(&post));
        let thread = std::thread::Builder::new()
            .name("egress".to_owned())
            .spawn(move || {
                // Dropped last, when every socket is closed.
                let _ending = ending;
                proxy.run()
            })
            .map_err(EgressError::Thread)?;
        Ok(Self {
            control,
            thread: Some(thread),
            post,
            ending: None,
        })
    }

    /// What steers it.
    pub(crate) fn control(&self) -> NetworkControl {
        NetworkControl(self.control.clone())
    }

    /// The name that is meant by `address`, where the session's name server has given it out.
    pub(crate) fn name_of(&self, address: IpAddr) -> Option<HostName> {
        self.control.name_of(address)
    }

    /// What was decided since the last call.
    pub(crate) fn news(&self) -> impl Iterator<Item = Decided> {
        let mut count = [0; 8];
        // Empty: nothing was waiting.
        let _ = rustix::io::read(&self.post.readiness, &mut count);
        std::mem::take(&mut *self.post.waiting()).into_iter()
    }

    /// How many decisions were not kept since the last call.
    pub(crate) fn take_dropped(&self) -> u64 {
        self.post.dropped.swap(0, Ordering::Relaxed)
    }

    /// Readable when there is news.
    pub(crate) fn readiness(&self) -> BorrowedFd<'_> {
        self.post.readiness.as_fd()
    }

    /// Why the proxy has ended, once, if it has: nothing gets out any more.
    pub(crate) fn take_ending(&mut self) -> Option<String> {
        if !self.post.ended.load(Ordering::Acquire) {
            return None;
        }
        let reason = match self.thread.take()?.join() {
            Ok(Ok(())) => "it was told to".to_owned(),
            Ok(Err(error)) => with_causes(&error),
            Err(_) => "it panicked".to_owned(),
        };
        self.ending = Some(reason.clone());
        Some(reason)
    }

    /// Why the proxy had ended already, if it had.
    pub(crate) fn ending(&self) -> Option<&str> {
        self.ending.as_deref()
    }
}

/// Steers the network of a live session, from any thread and while a command runs.
#[derive(Clone)]
pub struct NetworkControl(Control);

impl NetworkControl {
    /// Decides by `policy` from now on, and closes the connections that it does not allow: a grant that was taken back
    /// or has run out ends at once.
    ///
    /// What the boundary was built with stays: a port, a server or a socket that the first policy did not name has no
    /// way to the proxy, whatever this one says.
    pub fn reload(&self, policy: &NetworkPolicy) {
        self.0.reload(policy.clone());
    }

    /// How many connections are open on the far side.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.0.open_connections()
    }
}

impl fmt::Debug for NetworkControl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NetworkControl")
            .field("connections", &self.open_connections())
            .finish_non_exhaustive()
    }
}

/// Who is asked about a connection that no rule names, where `network.ask` says so. Nothing in this build passes a
/// question on to a person or a program yet: the connection is held for as long as an answer might take.
fn reviewer(reviewer: Reviewer) -> Arc<dyn Review> {
    match reviewer {
        Reviewer::None => Arc::new(Nobody),
        Reviewer::Prompt | Reviewer::Command => Arc::new(Silent),
    }
}

/// An error and what it comes from, in one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
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

impl Drop for Egress {
    fn drop(&mut self) {
        self.control.shutdown();
        if let Some(thread) = self.thread.take() {
            // It ends with the order above; what it ended with no longer matters.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Egress")
            .field("connections", &self.control.open_connections())
            .finish_non_exhaustive()
    }
}
