//! Who a refused caller is: named in the record, without anybody else waiting for it.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use ringfence_policy::decision::{Decision, Process};
use ringfence_policy::rule::RuleId;

use super::world::{Log, World, allowlist, assert_ended, origin, patient, read_http, subject};
use super::world::{universal, world};
use crate::caller::{Attribution, Ends, OneSession, Transport, UnknownCaller};
use crate::decide::Subject;
use crate::event::Event;
use crate::limits::Limits;
use crate::proxy::live::lock;
use crate::proxy::{Control, Listener, Parts, Proxy};
use crate::synthetic::SyntheticNetwork;

const ALLOWED: &str = "CONNECT one.example:9000 HTTP/1.1\r\nHost: one.example:9000\r\n\r\n";
const REFUSED: &str = "CONNECT no.example:9000 HTTP/1.1\r\nHost: no.example:9000\r\n\r\n";

fn curl() -> Process {
    Process {
        id: 7,
        program: "/usr/bin/curl".to_owned(),
    }
}

/// A proxy with callers that `attribution` knows.
struct Served {
    world: World,
    log: Arc<Log>,
    control: Control,
    proxy: SocketAddr,
    names: SocketAddr,
    serving: Option<JoinHandle<()>>,
}

impl Served {
    fn start(attribution: Arc<dyn Attribution>) -> Self {
        let policy = allowlist(&["one.example:9000"], &[]);
        let world = world(policy.clone());
        world.internet.name("one.example", &["93.184.216.34"]);
        world
            .internet
            .route("93.184.216.34:9000", origin(universal));
        let (parts, log) = world.parts();
        let parts = Parts {
            attribution,
            ..parts
        };
        let network = SyntheticNetwork::default();
        let (proxy, control) = Proxy::new(policy, network, Limits::default(), parts);
        let explicit = TcpListener::bind("127.0.0.1:0").unwrap();
        let names = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addresses = (explicit.local_addr().unwrap(), names.local_addr().unwrap());
        control.add(Listener::Explicit(explicit)).unwrap();
        control.add(Listener::NameServerUdp(names)).unwrap();
        Self {
            world,
            log,
            control,
            proxy: addresses.0,
            names: addresses.1,
            serving: Some(std::thread::spawn(move || proxy.run().unwrap())),
        }
    }

    fn say(&self, text: &str) -> TcpStream {
        let mut stream = patient(TcpStream::connect(self.proxy).unwrap());
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    fn status(&self, text: &str) -> Option<u16> {
        read_http(&mut self.say(text)).map(|(status, _, _)| status)
    }

    /// Who was refused so far, in order.
    fn refused(&self) -> Vec<Option<Process>> {
        let events = self.log.events();
        let refused = events.iter().filter_map(|event| match event {
            Event::Connection(made) => Some((&made.decision, &made.process)),
            Event::Name(made) => Some((&made.decision, &made.process)),
            Event::Asked(_) | Event::Closed(_) => None,
        });
        refused
            .filter(|(decision, _)| matches!(decision, Decision::Deny { .. }))
            .map(|(_, process)| process.clone())
            .collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.control.shutdown();
        if let Some(serving) = self.serving.take() {
            serving.join().unwrap();
        }
    }
}

/// Knows nobody, and names the program all the same.
struct Strangers;

impl Attribution for Strangers {
    fn subject(&self, ends: Ends) -> Result<Subject, UnknownCaller> {
        Err(UnknownCaller { peer: ends.peer })
    }

    fn process(&self, _ends: Ends) -> Option<Process> {
        Some(curl())
    }
}

#[test]
fn a_caller_that_nobody_knows_gets_nothing_and_is_recorded() {
    let served = Served::start(Arc::new(Strangers));
    assert_ended(&mut served.say(ALLOWED));
    let events = served.log.events();
    let Some(Event::Connection(refused)) = events.first() else {
        panic!("{events:?}")
    };
    assert_eq!(
        crate::decide::parts(&refused.decision).0,
        RuleId::UnknownCaller
    );
    assert_eq!(refused.process, Some(curl()));
    assert_eq!(served.world.internet.dialled(), []);
}

/// Names every caller, and counts how often it was asked.
#[derive(Default)]
struct Named(AtomicUsize);

impl Attribution for Named {
    fn subject(&self, _ends: Ends) -> Result<Subject, UnknownCaller> {
        Ok(subject())
    }

    fn process(&self, ends: Ends) -> Option<Process> {
        assert_ne!(ends.transport, Transport::Pair);
        self.0.fetch_add(1, Ordering::SeqCst);
        Some(curl())
    }
}

#[test]
fn a_refused_caller_is_named_in_the_record_before_it_hears_of_it() {
    let named = Arc::new(Named::default());
    let served = Served::start(Arc::clone(&named) as Arc<dyn Attribution>);
    assert_eq!(served.status(ALLOWED), Some(200));
    assert_eq!(named.0.load(Ordering::SeqCst), 0, "nobody was refused");
    assert_eq!(served.status(REFUSED), Some(403));
    assert_eq!(served.refused(), [Some(curl())]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x02no\x07example\0\0\x01\0\x01";
    socket.send_to(question, served.names).unwrap();
    let mut answer = [0; 512];
    let (length, _) = socket.recv_from(&mut answer).unwrap();
    assert!(length >= question.len());
    assert_eq!(served.refused(), [Some(curl()), Some(curl())]);
}

/// Searches until the test ends.
struct Endless {
    begun: Sender<()>,
    end: Mutex<Receiver<()>>,
}

impl Attribution for Endless {
    fn subject(&self, _ends: Ends) -> Result<Subject, UnknownCaller> {
        Ok(subject())
    }

    fn process(&self, _ends: Ends) -> Option<Process> {
        let _ = self.begun.send(());
        let _ = lock(&self.end).recv();
        Some(curl())
    }
}

#[test]
fn a_search_without_an_end_holds_up_nobody_else_and_its_own_caller_is_refused() {
    let (begun, begins) = channel();
    let (_end, ends) = channel();
    let served = Served::start(Arc::new(Endless {
        begun,
        end: Mutex::new(ends),
    }));
    let mut held = served.say(REFUSED);
    begins.recv().unwrap();
    // Another, who goes before it is answered.
    drop(served.say(REFUSED));
    assert_eq!(served.status(ALLOWED), Some(200));
    assert_eq!(read_http(&mut held).map(|(status, _, _)| status), Some(403));
    // More than are searched for at one time: the others are not held at all.
    for _ in 0..16 {
        assert_eq!(served.status(REFUSED), Some(403));
    }
    assert!(served.refused().len() >= 17);
    assert!(served.refused().iter().all(Option::is_none));
}

/// Two sessions beside each other, each with a port of its own and a policy of its own, as on macOS.
#[test]
fn whoever_comes_to_a_sessions_port_is_that_sessions() {
    let world = world(allowlist(&[], &[]));
    world.internet.name("one.example", &["93.184.216.34"]);
    world.internet.name("no.example", &["93.184.216.35"]);
    for address in ["93.184.216.34:9000", "93.184.216.35:9000"] {
        world.internet.route(address, origin(universal));
    }
    let sessions = ["one.example:9000", "no.example:9000"].map(|allowed| {
        let (parts, log) = world.parts();
        let session = Subject {
            session: allowed.to_owned(),
            command: None,
        };
        let parts = Parts {
            attribution: Arc::new(OneSession(session)),
            ..parts
        };
        let policy = allowlist(&[allowed], &[]);
        let network = SyntheticNetwork::default();
        let (proxy, control) = Proxy::new(policy, network, Limits::default(), parts);
        let (listeners, port) = Listener::for_session().unwrap();
        for listener in listeners {
            control.add(listener).unwrap();
        }
        let serving = std::thread::spawn(move || proxy.run().unwrap());
        (port, log, control, serving)
    });
    let [(first, ..), (second, ..)] = &sessions;
    assert_ne!(first, second);
    let status = |address: IpAddr, port: u16, text: &str| {
        let mut stream = patient(TcpStream::connect((address, port)).unwrap());
        stream.write_all(text.as_bytes()).unwrap();
        read_http(&mut stream).map(|(status, _, _)| status)
    };
    // On both addresses: a profile can't tell them apart.
    let mut addresses = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        addresses.push(Ipv6Addr::LOCALHOST.into());
    }
    for address in addresses {
        let statuses = [ALLOWED, REFUSED].map(|text| status(address, *first, text));
        assert_eq!(statuses, [Some(200), Some(403)], "{address}");
        let statuses = [ALLOWED, REFUSED].map(|text| status(address, *second, text));
        assert_eq!(statuses, [Some(403), Some(200)], "{address}");
    }
    for (allowed, (_, log, control, serving)) in ["one", "no"].into_iter().zip(sessions) {
        let events = log.events();
        let made = events.iter().filter_map(|event| match event {
            Event::Connection(made) => Some(&made.subject),
            Event::Name(_) | Event::Asked(_) | Event::Closed(_) => None,
        });
        let sessions: Vec<_> = made.map(|subject| subject.session.as_str()).collect();
        assert!(sessions.len() >= 2, "{events:?}");
        let own = format!("{allowed}.example:9000");
        assert!(
            sessions.iter().all(|session| *session == own),
            "{sessions:?}"
        );
        control.shutdown();
        serving.join().unwrap();
    }
}
