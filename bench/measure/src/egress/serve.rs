//! The proxies that this program itself is, started again as a process of its own: ours, and a bare relay.
//!
//! Ours is the library's proxy with every check left in: only names and dialling lead to the origin of this
//! benchmark, and what it records goes to a thread that counts it, as a session's harness takes it.
//! Invariant: a proxy ends with its standard input, so that none outlives the benchmark.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use ringfence_egress::caller::OneSession;
use ringfence_egress::proxy::Nobody;
use ringfence_egress::reach::Pending;
use ringfence_egress::{
    Dial, Event, Limits, Listener, Parts, Proxy, Resolve, Sink, Subject, SyntheticNetwork,
};
use ringfence_policy::document::NetworkMode;
use ringfence_policy::host::HostName;
use ringfence_policy::layers::{LayerKind, Sourced};
use ringfence_policy::policy::NetworkPolicy;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{TcpListener, TcpStream};

use super::ORIGIN_NAME;

/// The name of the bare relay in the table.
pub(super) const RELAY: &str = "tokio copy";

/// The word that makes this program a proxy.
const WORD: &str = "--serve-proxy";

/// How long a proxy has to leave when it is asked to.
const LEAVE: Duration = Duration::from_secs(3);

/// What a proxy does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Decides.
    Ours,
    /// Copies to the origin, whatever comes.
    Relay,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Relay => "relay",
        }
    }
}

/// A proxy that serves; dropped, it ends.
pub(super) struct Served {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    process: Child,
}

impl Served {
    pub(super) fn new(name: &'static str, address: SocketAddr, process: Child) -> Self {
        Self {
            name,
            address,
            process,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // One that has ended by itself is already where it should be. Asked first: squid takes its shared memory away.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let deadline = Instant::now() + LEAVE;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts this program as a proxy to `origin`.
pub(super) fn start(kind: Kind, origin: SocketAddr) -> Result<Served, String> {
    let failed = |cause: std::io::Error| format!("can't start the proxy: {cause}");
    let own = std::env::current_exe().map_err(failed)?;
    let mut process = Command::new(own)
        .args([WORD, kind.word(), &origin.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut line = String::new();
    if let Some(output) = process.stdout.take() {
        BufReader::new(output)
            .read_line(&mut line)
            .map_err(failed)?;
    }
    let name = match kind {
        Kind::Ours => super::OURS,
        Kind::Relay => RELAY,
    };
    let served = |address| Served::new(name, address, process);
    line.trim()
        .parse()
        .map(served)
        .map_err(|_| format!("the proxy {name} did not say where it listens"))
}

/// Serves and does not return when this program was started as a proxy.
pub(crate) fn run_if_asked() -> Option<Result<(), String>> {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() != Some(WORD) {
        return None;
    }
    let kind = words.next();
    let origin = words.next().and_then(|text| text.parse().ok());
    let (Some(kind), Some(origin)) = (kind, origin) else {
        return Some(Err(format!("{WORD} wants a kind and an address")));
    };
    Some(serve(&kind, origin))
}

fn serve(kind: &str, origin: SocketAddr) -> Result<(), String> {
    let failed = |cause: std::io::Error| cause.to_string();
    let listener = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let mut output = std::io::stdout();
    writeln!(output, "{address}")
        .and_then(|()| output.flush())
        .map_err(failed)?;
    std::thread::spawn(|| {
        // Whatever it is told, only the end counts.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    if kind == Kind::Relay.word() {
        return relay(listener, origin);
    }
    let (proxy, control) = Proxy::new(
        policy(origin.port())?,
        SyntheticNetwork::default(),
        Limits::default(),
        parts(origin),
    );
    control
        .add(Listener::Explicit(listener))
        .map_err(|cause| cause.to_string())?;
    proxy.run().map_err(|cause| cause.to_string())
}

fn policy(port: u16) -> Result<NetworkPolicy, String> {
    fn user<T>(value: T) -> Sourced<T> {
        Sourced {
            value,
            layer: LayerKind::User,
        }
    }
    let rule = format!("{ORIGIN_NAME}:{port}");
    let rule = rule.parse().map_err(|_| format!("{rule} is no rule"))?;
    Ok(NetworkPolicy {
        mode: user(NetworkMode::Allowlist),
        allow: vec![user(rule)],
        ..NetworkPolicy::offline()
    })
}

fn parts(origin: SocketAddr) -> Parts {
    Parts {
        attribution: Arc::new(OneSession(Subject {
            session: "benchmark".to_owned(),
            command: None,
        })),
        resolver: Arc::new(OneName),
        dialer: Arc::new(Origin(origin)),
        reviewer: Arc::new(Nobody),
        sink: Post::start(),
        terminator: None,
    }
}

/// Every name has one public address.
struct OneName;

impl Resolve for OneName {
    fn resolve<'a>(&'a self, _name: &'a HostName) -> Pending<'a, std::io::Result<Vec<IpAddr>>> {
        let found = vec![IpAddr::from(Ipv4Addr::new(11, 22, 33, 44))];
        Box::pin(std::future::ready(Ok(found)))
    }
}

/// Every address is the origin's.
struct Origin(SocketAddr);

impl Dial for Origin {
    fn dial(&self, _address: SocketAddr) -> Pending<'static, std::io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(self.0))
    }
}

/// What was decided, until the thread that stands for the harness takes it, all at once as a session's does.
struct Post {
    waiting: Mutex<Vec<Event>>,
    harness: OnceLock<Thread>,
}

impl Post {
    fn start() -> Arc<Self> {
        let post = Arc::new(Self {
            waiting: Mutex::default(),
            harness: OnceLock::new(),
        });
        let taken = Arc::clone(&post);
        let harness = std::thread::spawn(move || {
            loop {
                std::thread::park();
                drop(std::mem::take(&mut *taken.waiting()));
            }
        });
        post.harness.get_or_init(|| harness.thread().clone());
        post
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Event>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Post {
    fn record(&self, event: Event) {
        let mut waiting = self.waiting();
        waiting.push(event);
        if let (1, Some(harness)) = (waiting.len(), self.harness.get()) {
            harness.unpark();
        }
    }
}

/// Copies through user space, as simple proxies do.
fn relay(listener: StdTcpListener, origin: SocketAddr) -> Result<(), String> {
    let failed = |cause: std::io::Error| cause.to_string();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(async {
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        loop {
            let (mut client, _) = listener.accept().await.map_err(failed)?;
            tokio::spawn(async move {
                let mut server = TcpStream::connect(origin).await?;
                client.set_nodelay(true)?;
                server.set_nodelay(true)?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    })
}
