//! A small internet, a proxy in front of it, and clients for every way in.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringfence_policy::decision::Decision;
use ringfence_policy::document::NetworkMode;
use ringfence_policy::host::{Host, HostName};
use ringfence_policy::layers::{LayerKind, Sourced};
use ringfence_policy::policy::NetworkPolicy;
use ringfence_policy::rule::RuleId;
use tokio::sync::mpsc;

use crate::caller::{Attribution, Caller, Ends, OneSession, Program, Transport};
use crate::decide::{Ingress, Subject, parts};
use crate::event::{Event, Sink};
use crate::hello;
use crate::limits::Limits;
use crate::proxy::live::lock;
use crate::proxy::wire::Wire;
use crate::proxy::{Control, Listener, Nobody, Parts, Proxy, Review, captured};
use crate::reach::{Dial, Pending, Resolve};
use crate::synthetic::SyntheticNetwork;
use crate::terminate::Terminator;

/// A test that hangs fails instead, long after any answer should be there.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the universal origin answers to a TLS greeting.
pub(super) const TLS_ANSWER: &[u8] = b"\x16\x03\x03\x00\x02ok";

pub(super) fn user<T>(value: T) -> Sourced<T> {
    Sourced {
        value,
        layer: LayerKind::User,
    }
}

pub(super) fn allowlist(allow: &[&str], deny: &[&str]) -> NetworkPolicy {
    NetworkPolicy {
        mode: user(NetworkMode::Allowlist),
        allow: allow
            .iter()
            .map(|text| user(text.parse().unwrap()))
            .collect(),
        deny: deny
            .iter()
            .map(|text| user(text.parse().unwrap()))
            .collect(),
        ..NetworkPolicy::offline()
    }
}

/// Names and routes of the tests' internet, and who asked for what.
#[derive(Default)]
pub(super) struct Internet {
    names: Mutex<HashMap<String, Vec<IpAddr>>>,
    routes: Mutex<HashMap<SocketAddr, SocketAddr>>,
    resolved: Mutex<Vec<String>>,
    dialled: Mutex<Vec<SocketAddr>>,
    held: AtomicBool,
}

impl Internet {
    pub(super) fn name(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        lock(&self.names).insert(name.to_owned(), addresses);
    }

    /// Leads `address` to an origin on this machine.
    pub(super) fn route(&self, address: &str, origin: SocketAddr) {
        lock(&self.routes).insert(address.parse().unwrap(), origin);
    }

    /// Lets every dial wait, or go on.
    pub(super) fn hold_dials(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
    }

    pub(super) fn resolved(&self) -> Vec<String> {
        lock(&self.resolved).clone()
    }

    pub(super) fn dialled(&self) -> Vec<SocketAddr> {
        lock(&self.dialled).clone()
    }
}

impl Resolve for Internet {
    fn resolve<'a>(&'a self, name: &'a HostName) -> Pending<'a, std::io::Result<Vec<IpAddr>>> {
        lock(&self.resolved).push(name.as_str().to_owned());
        let found = lock(&self.names).get(name.as_str()).cloned();
        Box::pin(async move { found.ok_or_else(|| std::io::ErrorKind::NotFound.into()) })
    }
}

pub(super) struct Dialer(pub(super) Arc<Internet>);

impl Dial for Dialer {
    fn dial(
        &self,
        address: SocketAddr,
    ) -> Pending<'static, std::io::Result<tokio::net::TcpStream>> {
        lock(&self.0.dialled).push(address);
        let route = lock(&self.0.routes).get(&address).copied();
        let internet = Arc::clone(&self.0);
        Box::pin(async move {
            while internet.held.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let route = route.ok_or(std::io::ErrorKind::ConnectionRefused)?;
            tokio::net::TcpStream::connect(route).await
        })
    }
}

#[derive(Default)]
pub(super) struct Log(Mutex<Vec<Event>>);

impl Log {
    pub(super) fn events(&self) -> Vec<Event> {
        lock(&self.0).clone()
    }
}

impl Sink for Log {
    fn record(&self, event: Event) {
        lock(&self.0).push(event);
    }
}

/// A proxy that serves, its internet, and its listeners.
pub(super) struct World {
    pub(super) internet: Arc<Internet>,
    pub(super) control: Control,
    pub(super) proxy: SocketAddr,
    pub(super) names_udp: SocketAddr,
    pub(super) names_tcp: SocketAddr,
    log: Arc<Log>,
    captures: mpsc::UnboundedSender<(TcpStream, Host, u16)>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.control.shutdown();
    }
}

/// `good.example` and its neighbours, with an origin behind each public address.
pub(super) fn world(policy: NetworkPolicy) -> World {
    world_with(policy, Limits::default(), Arc::new(Nobody))
}

pub(super) fn world_with(
    policy: NetworkPolicy,
    limits: Limits,
    reviewer: Arc<dyn Review>,
) -> World {
    world_reading(policy, limits, reviewer, None)
}

/// A world whose proxy reads TLS with `terminator`.
pub(super) fn world_reading(
    policy: NetworkPolicy,
    limits: Limits,
    reviewer: Arc<dyn Review>,
    terminator: Option<Arc<Terminator>>,
) -> World {
    let one = Arc::new(OneSession(subject()));
    world_of(policy, limits, reviewer, terminator, one)
}

/// A world whose callers `attribution` knows.
pub(super) fn world_of(
    policy: NetworkPolicy,
    limits: Limits,
    reviewer: Arc<dyn Review>,
    terminator: Option<Arc<Terminator>>,
    attribution: Arc<dyn Attribution>,
) -> World {
    let internet = Arc::new(Internet::default());
    let log = Arc::new(Log::default());
    let parts = Parts {
        attribution,
        resolver: Arc::clone(&internet) as Arc<dyn Resolve>,
        dialer: Arc::new(Dialer(Arc::clone(&internet))),
        reviewer,
        sink: Arc::clone(&log) as Arc<dyn Sink>,
        terminator,
    };
    let network = SyntheticNetwork {
        v4: Ipv4Addr::new(127, 64, 0, 0),
        v4_prefix_bits: 10,
        ..SyntheticNetwork::default()
    };
    let (proxy, control) = Proxy::new(policy, network, limits, parts);
    let explicit = TcpListener::bind("127.0.0.1:0").unwrap();
    let names_udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let names_tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = (
        explicit.local_addr().unwrap(),
        names_udp.local_addr().unwrap(),
        names_tcp.local_addr().unwrap(),
    );
    control.add(Listener::Explicit(explicit)).unwrap();
    control.add(Listener::NameServerUdp(names_udp)).unwrap();
    control.add(Listener::NameServerTcp(names_tcp)).unwrap();
    let (captures, arrivals) = mpsc::unbounded_channel();
    std::thread::spawn(move || run(proxy, arrivals));
    World {
        internet,
        control,
        proxy: addresses.0,
        names_udp: addresses.1,
        names_tcp: addresses.2,
        log,
        captures,
    }
}

/// Serves, and takes connections whose destination the kernel of this machine could not capture.
fn run(proxy: Proxy, mut arrivals: mpsc::UnboundedReceiver<(TcpStream, Host, u16)>) {
    let shared = Arc::clone(&proxy.shared);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let captured = async move {
            while let Some((stream, host, port)) = arrivals.recv().await {
                let shared = Arc::clone(&shared);
                stream.set_nonblocking(true).unwrap();
                let stream = tokio::net::TcpStream::from_std(stream).unwrap();
                let mut caller = Caller {
                    subject: subject(),
                    ends: Ends {
                        peer: stream.peer_addr().unwrap(),
                        local: stream.local_addr().unwrap(),
                        transport: Transport::Tcp,
                    },
                    program: Program::Unasked,
                };
                tokio::spawn(async move {
                    let wire = Wire::new(stream);
                    shared.gate.ask_program(&mut caller).await;
                    captured::serve(&shared, &caller, host, port, wire).await;
                });
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            served = proxy.serve() => served.unwrap(),
            () = captured => {}
        }
    });
}

pub(super) fn subject() -> Subject {
    Subject {
        session: "test".to_owned(),
        command: Some(1),
    }
}

/// How an attempt ended, as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The origin answered.
    Reached,
    /// The proxy answered in HTTP: status and `x-proxy-error`.
    Http(u16, String),
    /// The proxy answered in SOCKS.
    Socks(u8),
    /// The proxy sent a TLS alert.
    Alert(u8),
    /// The connection was reset or closed without a word.
    Nothing,
}

impl World {
    pub(super) fn events(&self) -> Vec<Event> {
        self.log.events()
    }

    /// The parts of another proxy in the same internet, and its log.
    pub(super) fn parts(&self) -> (Parts, Arc<Log>) {
        let log = Arc::new(Log::default());
        let parts = Parts {
            attribution: Arc::new(OneSession(subject())),
            resolver: Arc::clone(&self.internet) as Arc<dyn Resolve>,
            dialer: Arc::new(Dialer(Arc::clone(&self.internet))),
            reviewer: Arc::new(Nobody),
            sink: Arc::clone(&log) as Arc<dyn Sink>,
            terminator: None,
        };
        (parts, log)
    }

    /// The rules of all refusals so far, each once in a row.
    pub(super) fn refusals(&self) -> Vec<RuleId> {
        let mut rules: Vec<RuleId> = self
            .events()
            .iter()
            .filter_map(|event| match event {
                Event::Connection(made) => Some(&made.decision),
                Event::Name(made) => Some(&made.decision),
                Event::Closed(_) | Event::Asked(_) => None,
            })
            .filter(|decision| matches!(decision, Decision::Deny { .. }))
            .map(|decision| parts(decision).0)
            .collect();
        rules.dedup();
        rules
    }

    pub(super) fn forget_events(&self) {
        lock(&self.log.0).clear();
    }

    pub(super) fn connect(&self) -> TcpStream {
        patient(TcpStream::connect(self.proxy).unwrap())
    }

    /// A connection that was captured on its way to `host` at `port`.
    pub(super) fn captured(&self, host: &str, port: u16) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (arrived, _) = listener.accept().unwrap();
        let host = Host::parse(host.as_bytes()).unwrap();
        self.captures.send((arrived, host, port)).unwrap();
        patient(client)
    }

    /// Tries to reach `host` at `port` by `ingress`, and says what it wants by the name `said`.
    pub(super) fn attempt(&self, ingress: Ingress, host: &str, port: u16, said: &str) -> Ending {
        match ingress {
            Ingress::CapturedTls | Ingress::CapturedHttp | Ingress::CapturedTcp => {
                speak(&mut self.captured(host, port), port, said)
            }
            Ingress::Connect => {
                let mut stream = self.connect();
                let request =
                    format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
                stream.write_all(request.as_bytes()).unwrap();
                match read_http(&mut stream) {
                    Some((200, _, _)) => speak(&mut stream, port, said),
                    Some((status, error, _)) => Ending::Http(status, error),
                    None => Ending::Nothing,
                }
            }
            Ingress::AbsoluteForm => {
                let mut stream = self.connect();
                let request =
                    format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: {said}:{port}\r\n\r\n");
                stream.write_all(request.as_bytes()).unwrap();
                http_ending(&mut stream)
            }
            Ingress::Socks => {
                let mut stream = self.connect();
                match socks(&mut stream, host, port) {
                    Some(0) => speak(&mut stream, port, said),
                    Some(code) => Ending::Socks(code),
                    None => Ending::Nothing,
                }
            }
            Ingress::Dns | Ingress::UnixSocket | Ingress::Published => {
                panic!("tested on their own")
            }
        }
    }
}

pub(super) fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Speaks on an open connection as programs do at that port.
fn speak(stream: &mut TcpStream, port: u16, said: &str) -> Ending {
    match port {
        443 => {
            let greeting = greeting(said);
            // A refusal may come before the greeting is out.
            let _ = stream.write_all(&greeting);
            let mut answer = [0; 7];
            match read_up_to(stream, &mut answer) {
                7 if answer == TLS_ANSWER => Ending::Reached,
                7 if answer[0] == 21 => Ending::Alert(answer[6]),
                _ => Ending::Nothing,
            }
        }
        80 => {
            let request = format!("GET / HTTP/1.1\r\nHost: {said}\r\n\r\n");
            let _ = stream.write_all(request.as_bytes());
            http_ending(stream)
        }
        _ => {
            let _ = stream.write_all(b"\0echo");
            let mut answer = [0; 5];
            match read_up_to(stream, &mut answer) {
                5 if &answer == b"\0echo" => Ending::Reached,
                _ => Ending::Nothing,
            }
        }
    }
}

/// A TLS greeting for `name`, without a server name where it is empty.
pub(super) fn greeting(name: &str) -> Vec<u8> {
    let name = Some(name.as_bytes()).filter(|name| !name.is_empty());
    hello::tests::records(&hello::tests::message(name, &[]), 1 << 14)
}

fn http_ending(stream: &mut TcpStream) -> Ending {
    match read_http(stream) {
        Some((200, error, body)) if error.is_empty() => {
            assert!(body.starts_with("origin"), "{body}");
            Ending::Reached
        }
        Some((status, error, _)) => Ending::Http(status, error),
        None => Ending::Nothing,
    }
}

/// Reads until `buffer` is full or nothing more comes.
pub(super) fn read_up_to(stream: &mut TcpStream, buffer: &mut [u8]) -> usize {
    let mut count = 0;
    while count < buffer.len() {
        match stream.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) => {
                assert_over(&error);
                break;
            }
        }
    }
    count
}

/// A broken connection is an end; one that only says nothing is none.
fn assert_over(error: &std::io::Error) {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    let over = [BrokenPipe, ConnectionAborted, ConnectionReset].contains(&error.kind());
    assert!(over, "the connection is neither alive nor over: {error}");
}

/// Waits for the end of a connection on which nothing more comes.
pub(super) fn assert_ended(stream: &mut TcpStream) {
    match stream.read(&mut [0]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_over(&error),
    }
}

/// One answer with a length: status, `x-proxy-error`, body.
pub(super) fn read_http(stream: &mut TcpStream) -> Option<(u16, String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if read_up_to(stream, &mut byte) == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let header = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let length = header("Content-Length:").parse().unwrap_or(0);
    let mut body = vec![0; length];
    assert_eq!(read_up_to(stream, &mut body), length, "{head}");
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((
        status,
        header("x-proxy-error:"),
        String::from_utf8(body).unwrap(),
    ))
}

/// A SOCKS request: addresses in their own form, everything else as a name. The reply's code.
pub(super) fn socks(stream: &mut TcpStream, host: &str, port: u16) -> Option<u8> {
    stream.write_all(&[5, 1, 0]).unwrap();
    let mut chosen = [0; 2];
    read_up_to(stream, &mut chosen);
    assert_eq!(chosen, [5, 0]);
    let mut request = vec![5, 1, 0];
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(v4) = host.parse::<Ipv4Addr>() {
        request.push(1);
        request.extend_from_slice(&v4.octets());
    } else if let Ok(v6) = bare.parse::<Ipv6Addr>() {
        request.push(4);
        request.extend_from_slice(&v6.octets());
    } else {
        request.extend_from_slice(&[3, u8::try_from(host.len()).unwrap()]);
        request.extend_from_slice(host.as_bytes());
    }
    request.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&request).unwrap();
    let mut reply = [0; 10];
    (read_up_to(stream, &mut reply) == 10).then_some(reply[1])
}

/// An origin on this machine that serves every connection with `serve`.
pub(super) fn origin(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(patient(stream)));
        }
    });
    address
}

/// Answers TLS greetings and HTTP requests, and echoes anything else.
pub(super) fn universal(mut stream: TcpStream) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..count]);
        let answered = if seen.first() == Some(&22) {
            stream.write_all(TLS_ANSWER)
        } else if seen.first().is_some_and(u8::is_ascii_uppercase) {
            if !seen.ends_with(b"\r\n\r\n") {
                continue;
            }
            let body = format!("origin saw {}", String::from_utf8_lossy(&seen));
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            seen.clear();
            stream.write_all([head, body].concat().as_bytes())
        } else {
            stream.write_all(&buffer[..count])
        };
        if answered.is_err() {
            return;
        }
    }
}
