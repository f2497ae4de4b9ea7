//! A session's way out: the proxy that serves the sockets of the session's network, on a thread of its own.
//!
//! Which sockets those are, and how it is known that a connection is the session's, is each system's own. Invariant:
//! what the proxy decided is in the record and, where it refused, in the command's report; what doesn't fit is counted.

#[cfg_attr(windows, path = "egress/bell_windows.rs")]
mod bell;
#[cfg(target_os = "linux")]
mod inside;
#[cfg(windows)]
mod loopback;
#[cfg(target_os = "linux")]
mod widening;

use std::fmt;
use std::io;
#[cfg(target_os = "linux")]
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ringfence_backend::causes::in_one_sentence;
use ringfence_backend::session::BorrowedDescriptor;
use ringfence_egress::event::Event as Decided;
use ringfence_egress::limits::Limits;
use ringfence_egress::proxy::{
    AddError, Control, Listener, Nobody, Parts, Proxy, Review, ServeError, Silent,
};
use ringfence_egress::reach::{SystemDialer, SystemResolver};
use ringfence_egress::{Attribution, Sink, SyntheticNetwork, Terminator};
use ringfence_policy::Policy;
use ringfence_policy::document::Reviewer;
#[cfg(target_os = "linux")]
use ringfence_policy::host::HostName;
use ringfence_policy::policy::NetworkPolicy;

use self::bell::Bell;
#[cfg(target_os = "linux")]
pub(crate) use self::inside::HandedOut;
#[cfg(windows)]
pub(crate) use self::loopback::{Loopback, callers};
#[cfg(target_os = "linux")]
use self::widening::Widening;
use super::certificates::CertificateError;
#[cfg(target_os = "linux")]
use super::sockets::SocketError;

/// How long the proxy's thread may take to end. It closes its sockets, which takes the kernel no time, unless a
/// program has found a way to make one of them wait.
const ENDING: Duration = Duration::from_secs(2);

/// Decisions that wait to be recorded; beyond them they are counted.
const MAX_WAITING: usize = 4096;

/// Why a session has no way out although its policy says so.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The proxy could not be told of a socket.
    #[error("serve the session's network")]
    Listen(#[source] AddError),
    #[cfg(target_os = "linux")]
    /// A published port is taken on the host's loopback.
    #[error("listen on 127.0.0.1:{port} of this machine, to publish it")]
    Publish {
        /// Which.
        port: u16,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A socket that a policy asks for can't be made inside the session.
    #[cfg(target_os = "linux")]
    #[error("listen on {address} inside the session")]
    Inside {
        /// Where.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    #[cfg(target_os = "linux")]
    /// A Unix socket of the plan can't be reached.
    #[error("reach a Unix socket of the policy")]
    Socket(#[source] SocketError),
    /// TLS can't be read although a rule needs it.
    #[error("prepare to read TLS")]
    Certificates(#[source] CertificateError),
    /// Every port that the proxy may listen on is taken.
    #[cfg(windows)]
    #[error("listen on loopback: {tried}")]
    Ports {
        /// Which ports were tried.
        tried: String,
        /// The system's last answer.
        #[source]
        source: Box<ringfence_windows::sys::CallError>,
    },
    /// The session does not say whose processes are whose.
    #[cfg(windows)]
    #[error("learn from the session whose processes are whose")]
    Strangers,
    /// There is nothing to wait for news by.
    #[error("make what the proxy's news are waited for by")]
    News(#[source] io::Error),
    /// There is no thread for it.
    #[error("start the proxy's thread")]
    Thread(#[source] io::Error),
}

impl EgressError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            #[cfg(target_os = "linux")]
            Self::Publish { port, .. } => {
                format!("free port {port} of this machine's loopback, or publish another")
            }
            #[cfg(target_os = "linux")]
            Self::Inside { address, .. } => format!(
                "end the program inside that listens on port {}, or start the session anew",
                address.port()
            ),
            #[cfg(target_os = "linux")]
            Self::Socket(SocketError::Open { path, .. } | SocketError::Changed { path }) => {
                format!("see whether its server runs: `ls -l {path}`, and try again")
            }
            Self::Certificates(error) => error.hint(),
            #[cfg(target_os = "linux")]
            Self::Socket(SocketError::Thread(_)) => raise_limits(),
            #[cfg(windows)]
            Self::Ports { .. } => {
                "end other sessions, one port serves each: `netstat -ano -p tcp` shows who listens; `ringfence setup repair` reserves the ports again".to_owned()
            }
            #[cfg(windows)]
            Self::Strangers => "ringfence doctor".to_owned(),
            Self::Listen(_) | Self::News(_) | Self::Thread(_) => raise_limits(),
        }
    }
}

fn raise_limits() -> String {
    "raise the limits on open files and processes (`ulimit -n`, `ulimit -u`)".to_owned()
}

/// The proxy of one session. Dropped, it ends with every connection.
pub(crate) struct Egress {
    control: Control,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
    /// Closed when the thread has ended.
    end: Receiver<()>,
    post: Arc<Post>,
    /// Why it has ended, once that was taken.
    ending: Option<String>,
    #[cfg(target_os = "linux")]
    widening: Option<Arc<Widening>>,
}

/// Where the proxy puts what it decided.
struct Post {
    /// Made room for as it comes: thousands of places at once would be a megabyte of every session.
    waiting: Mutex<Vec<Decided>>,
    /// What did not fit.
    dropped: AtomicU64,
    /// Set when the proxy ends.
    ended: AtomicBool,
    /// Rung when there is news, or the proxy has ended.
    bell: Bell,
}

impl Post {
    fn waiting(&self) -> MutexGuard<'_, Vec<Decided>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        self.bell.ring();
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

/// A proxy that does not run yet, and takes listeners.
pub(super) struct Prepared {
    proxy: Proxy,
    control: Control,
    post: Arc<Post>,
    #[cfg(target_os = "linux")]
    widening: Option<Arc<Widening>>,
}

impl Prepared {
    /// One that decides by `policy`, and knows by `attribution` whose a connection is.
    pub(super) fn new(
        policy: &Policy,
        attribution: Arc<dyn Attribution>,
        terminator: Option<Arc<Terminator>>,
    ) -> Result<Self, EgressError> {
        let post = Arc::new(Post {
            waiting: Mutex::default(),
            dropped: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            bell: Bell::new().map_err(EgressError::News)?,
        });
        let parts = Parts {
            attribution,
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
        Ok(Self {
            proxy,
            control,
            post,
            #[cfg(target_os = "linux")]
            widening: None,
        })
    }

    pub(super) fn add(&self, listener: Listener) -> Result<(), EgressError> {
        self.control.add(listener).map_err(EgressError::Listen)
    }

    /// Serves, on a thread of its own.
    pub(super) fn start(self) -> Result<Egress, EgressError> {
        let Self {
            proxy,
            control,
            post,
            #[cfg(target_os = "linux")]
            widening,
        } = self;
        let ending = Ending(Arc::clone(&post));
        let (held, end) = channel();
        let thread = std::thread::Builder::new()
            .name("egress".to_owned())
            .spawn(move || {
                // Dropped last, when every socket is closed.
                let _held: Sender<()> = held;
                let _ending = ending;
                proxy.run()
            })
            .map_err(EgressError::Thread)?;
        Ok(Egress {
            control,
            thread: Some(thread),
            end,
            post,
            ending: None,
            #[cfg(target_os = "linux")]
            widening,
        })
    }
}

impl Egress {
    /// What steers it.
    pub(crate) fn control(&self) -> NetworkControl {
        NetworkControl {
            proxy: self.control.clone(),
            #[cfg(target_os = "linux")]
            widening: self.widening.clone(),
        }
    }

    #[cfg(target_os = "linux")]
    /// The name that is meant by `address`, where the session's name server has given it out.
    pub(crate) fn name_of(&self, address: IpAddr) -> Option<HostName> {
        self.control.name_of(address)
    }

    /// What was decided since the last call.
    pub(crate) fn news(&self) -> impl Iterator<Item = Decided> {
        self.post.bell.clear();
        std::mem::take(&mut *self.post.waiting()).into_iter()
    }

    /// How many decisions were not kept since the last call.
    pub(crate) fn take_dropped(&self) -> u64 {
        self.post.dropped.swap(0, Ordering::Relaxed)
    }

    /// What to wait for until there is news.
    pub(crate) fn readiness(&self) -> BorrowedDescriptor<'_> {
        self.post.bell.readiness()
    }

    /// Why the proxy has ended, once, if it has: nothing gets out any more.
    pub(crate) fn take_ending(&mut self) -> Option<String> {
        if !self.post.ended.load(Ordering::Acquire) {
            return None;
        }
        let reason = match self.thread.take()?.join() {
            Ok(Ok(())) => "it was told to".to_owned(),
            Ok(Err(error)) => in_one_sentence(&error),
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
pub struct NetworkControl {
    proxy: Control,
    #[cfg(target_os = "linux")]
    widening: Option<Arc<Widening>>,
}

impl NetworkControl {
    /// Decides by `policy` from now on, and closes the connections that it does not allow: a grant that was taken back
    /// or has run out ends at once. Ports, servers and published ports that no policy named before get their
    /// listeners.
    ///
    /// Unix sockets stay as they were when the session began, and so does a session without a network: a policy that
    /// opens either is for the next one. So are methods and paths where no rule had any.
    ///
    /// # Errors
    /// [`EgressError`] for a listener that can't be made: everything else of the policy holds, and what is meant for
    /// that one is refused.
    pub fn reload(&self, policy: &NetworkPolicy) -> Result<(), EgressError> {
        self.proxy.reload(policy.clone());
        #[cfg(target_os = "linux")]
        if let Some(widening) = &self.widening {
            return widening.widen(policy, &self.proxy);
        }
        Ok(())
    }

    /// How many connections are open on the far side.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.proxy.open_connections()
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

impl Drop for Egress {
    fn drop(&mut self) {
        self.control.shutdown();
        // It ends with the order above; what it ended with no longer matters. One that is held up is left to end later:
        // it takes no connection any more, and nobody waits for it for good.
        let _ = self.end.recv_timeout(ENDING);
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
