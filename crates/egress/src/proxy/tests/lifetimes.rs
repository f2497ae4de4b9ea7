//! How connections end: by a narrower policy, by limits, with the proxy.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ringfence_policy::host::HostName;
use ringfence_policy::policy::NetworkPolicy;
use ringfence_policy::rule::RuleId;

use super::world::{
    Dialer, Ending, Internet, World, allowlist, assert_ended, origin, patient, read_http,
    read_up_to, subject, universal, user, world, world_with,
};
use crate::decide::{Attempt, Ingress};
use crate::event::{CloseCause, Event};
use crate::limits::Limits;
use crate::proxy::{Answer, Listener, Nobody, Proxy, Review, ServeError, Silent};
use crate::reach::{Pending, Resolve};
use crate::synthetic::SyntheticNetwork;

fn furnish(world: &World) {
    let origin = origin(universal);
    for (name, address) in [("one.example", "11.0.0.1"), ("two.example", "11.0.0.2")] {
        world.internet.name(name, &[address]);
        world.internet.route(&format!("{address}:9000"), origin);
        world.internet.route(&format!("{address}:80"), origin);
    }
}

fn two_hosts() -> NetworkPolicy {
    allowlist(
        &[
            "one.example:9000",
            "two.example:9000",
            "one.example",
            "two.example",
        ],
        &[],
    )
}

/// A tunnel that carries an echo.
fn tunnel(world: &World, host: &str) -> TcpStream {
    let mut stream = world.connect();
    let head = format!("CONNECT {host}:9000 HTTP/1.1\r\nHost: {host}:9000\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_http(&mut stream).unwrap().0, 200);
    assert!(echoes(&mut stream));
    stream
}

fn echoes(stream: &mut TcpStream) -> bool {
    let mut echo = [0; 5];
    stream.write_all(b"\0echo").is_ok() && read_up_to(stream, &mut echo) == 5
}

fn cause(event: &Event) -> Option<CloseCause> {
    match event {
        Event::Closed(closed) => Some(closed.cause),
        Event::Connection(_) | Event::Name(_) | Event::Asked(_) => None,
    }
}

/// The causes of all ends so far, waiting for `count` of them.
fn causes(world: &World, count: usize) -> Vec<CloseCause> {
    for _ in 0..2000 {
        let causes: Vec<CloseCause> = world.events().iter().filter_map(cause).collect();
        if causes.len() >= count {
            return causes;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no end was recorded")
}

#[test]
fn a_policy_that_narrows_closes_what_it_no_longer_allows_and_nothing_else() {
    let world = world(two_hosts());
    furnish(&world);
    let mut one = tunnel(&world, "one.example");
    let mut two = tunnel(&world, "two.example");
    assert_eq!(world.control.open_connections(), 2);
    world
        .control
        .reload(allowlist(&["one.example:9000", "two.example"], &[]));
    assert_ended(&mut two);
    assert_eq!(causes(&world, 1), [CloseCause::Revoked]);
    assert!(echoes(&mut one));
    // By the address, too: a deny rule that names it.
    world
        .control
        .reload(allowlist(&["one.example:9000"], &["11.0.0.1"]));
    assert_ended(&mut one);
    assert_eq!(causes(&world, 2), [CloseCause::Revoked; 2]);
    assert_eq!(world.control.open_connections(), 0);
}

#[test]
fn a_policy_that_narrows_while_a_connection_is_being_made_stops_it() {
    let world = world(two_hosts());
    furnish(&world);
    world.internet.hold_dials(true);
    let mut client = world.connect();
    let head = "CONNECT one.example:9000 HTTP/1.1\r\nHost: one.example:9000\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    while world.internet.dialled().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    world.control.reload(allowlist(&["two.example:9000"], &[]));
    world.internet.hold_dials(false);
    assert_eq!(
        read_http(&mut client).unwrap().1,
        "blocked-by-net.not-listed"
    );
    assert_eq!(world.refusals(), [RuleId::NotListed]);
}

#[test]
fn a_policy_that_widens_opens_at_once_and_closes_nothing() {
    let world = world(allowlist(&["one.example:9000"], &[]));
    furnish(&world);
    let mut one = tunnel(&world, "one.example");
    assert_eq!(
        world.attempt(Ingress::Socks, "two.example", 9000, ""),
        Ending::Socks(2)
    );
    world.control.reload(two_hosts());
    assert_eq!(
        world.attempt(Ingress::Socks, "two.example", 9000, ""),
        Ending::Reached
    );
    assert!(echoes(&mut one));
}

#[test]
fn more_connections_than_the_limit_get_nothing() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let world = world_with(two_hosts(), limits, Arc::new(Nobody));
    furnish(&world);
    let mut one = tunnel(&world, "one.example");
    let two = tunnel(&world, "two.example");
    let mut third = world.connect();
    assert_ended(&mut third);
    assert_eq!(world.refusals(), [RuleId::NetworkLimit]);
    assert!(echoes(&mut one));
    drop(two);
    causes(&world, 1);
    // The place is given back soon after the end was recorded.
    let again = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        world.attempt(Ingress::Connect, "two.example", 9000, "") == Ending::Reached
    });
    assert!(again);
}

#[test]
fn no_more_bytes_leave_under_a_rule_than_its_limit_over_all_connections() {
    let limits = Limits {
        bytes_out_per_rule: Some(100_000),
        ..Limits::default()
    };
    let world = world_with(two_hosts(), limits, Arc::new(Nobody));
    furnish(&world);
    let mut one = tunnel(&world, "one.example");
    let mut second = tunnel(&world, "one.example");
    for stream in [&mut one, &mut second] {
        let mut sender = stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || sender.write_all(&vec![0; 90_000]));
        read_up_to(stream, &mut vec![0; 90_000]);
        let _ = sending.join().unwrap();
    }
    assert_eq!(causes(&world, 1), [CloseCause::Limit]);
    let sent: u64 = world
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::Closed(closed) => Some(closed.bytes_out),
            Event::Connection(_) | Event::Name(_) | Event::Asked(_) => None,
        })
        .sum();
    assert!(sent < 100_000 + 2 * 16_384, "{sent}");
    // Another rule has its own.
    assert!(echoes(&mut tunnel(&world, "two.example")));
}

#[test]
fn a_connection_that_carries_nothing_ends() {
    let limits = Limits {
        idle: Duration::from_millis(100),
        ..Limits::default()
    };
    let world = world_with(two_hosts(), limits, Arc::new(Nobody));
    furnish(&world);
    let mut one = tunnel(&world, "one.example");
    assert_ended(&mut one);
    assert_eq!(causes(&world, 1), [CloseCause::Limit]);
    // A client that never says what it wants.
    assert_ended(&mut world.connect());
}

#[test]
fn a_connection_ends_with_its_time_whatever_it_carries() {
    let limits = Limits {
        absolute: Duration::from_millis(300),
        ..Limits::default()
    };
    let world = world_with(two_hosts(), limits, Arc::new(Nobody));
    furnish(&world);
    let mut one = tunnel(&world, "one.example");
    while echoes(&mut one) {}
    assert_eq!(causes(&world, 1), [CloseCause::Limit]);
}

#[test]
fn a_head_that_never_ends_is_given_up() {
    let limits = Limits {
        head: Duration::from_millis(100),
        ..Limits::default()
    };
    let world = world_with(two_hosts(), limits, Arc::new(Nobody));
    furnish(&world);
    for begun in [
        &b"GET http://one.exa"[..],
        b"\x05\x01",
        b"\x05\x01\0\x05\x01",
    ] {
        let mut client = world.connect();
        client.write_all(begun).unwrap();
        // What it was told so far, then the end.
        read_up_to(&mut client, &mut [0; 64]);
        assert_ended(&mut client);
    }
    for (port, begun) in [(443, &b"\x16\x03"[..]), (80, b"GET / HTTP")] {
        let mut client = world.captured("one.example", port);
        client.write_all(begun).unwrap();
        assert_ended(&mut client);
    }
    assert_eq!(world.internet.dialled(), []);
}

#[test]
fn when_the_proxy_ends_everything_ends() {
    let world = world(two_hosts());
    furnish(&world);
    let mut one = tunnel(&world, "one.example");
    world.control.shutdown();
    assert_ended(&mut one);
    assert_eq!(causes(&world, 1), [CloseCause::Shutdown]);
    let refused = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        TcpStream::connect(world.proxy).is_err()
    });
    assert!(refused);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(world.control.add(Listener::Explicit(listener)).is_err());
}

/// Has a fault: one name makes it panic.
struct Faulty(Arc<dyn Resolve>);

impl Resolve for Faulty {
    fn resolve<'a>(&'a self, name: &'a HostName) -> Pending<'a, std::io::Result<Vec<IpAddr>>> {
        assert_ne!(name.as_str(), "two.example", "a fault that a test asks for");
        self.0.resolve(name)
    }
}

#[test]
fn a_panic_of_one_connection_ends_the_proxy_and_every_connection() {
    let world = world(two_hosts());
    furnish(&world);
    let (mut parts, log) = world.parts();
    parts.resolver = Arc::new(Faulty(parts.resolver));
    let network = SyntheticNetwork::default();
    let (proxy, control) = Proxy::new(two_hosts(), network, Limits::default(), parts);
    let mut addresses = Vec::new();
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        addresses.push(listener.local_addr().unwrap());
        control.add(Listener::Explicit(listener)).unwrap();
    }
    let serving = std::thread::spawn(move || proxy.run());
    let connect = |address: SocketAddr, host: &str| {
        let mut stream = patient(TcpStream::connect(address).unwrap());
        let head = format!("CONNECT {host}:9000 HTTP/1.1\r\nHost: {host}:9000\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let mut bystander = connect(addresses[0], "one.example");
    assert_eq!(read_http(&mut bystander).unwrap().0, 200);
    assert!(echoes(&mut bystander));
    let mut fatal = connect(addresses[1], "two.example");
    assert_ended(&mut fatal);
    assert_ended(&mut bystander);
    let ended = serving.join().unwrap();
    assert!(matches!(ended, Err(ServeError::Panicked(_))), "{ended:?}");
    for address in addresses {
        assert!(TcpStream::connect(address).is_err());
    }
    let closed: Vec<CloseCause> = log.events().iter().filter_map(cause).collect();
    assert_eq!(closed, [CloseCause::Shutdown]);
    assert_eq!(control.open_connections(), 0);
}

/// Says the same to every question, or nothing.
struct Always(Option<Answer>);

impl Review for Always {
    fn ask<'a>(&'a self, _attempt: &'a Attempt) -> Pending<'a, Answer> {
        match self.0 {
            Some(answer) => Box::pin(std::future::ready(answer)),
            None => Box::pin(std::future::pending()),
        }
    }
}

#[test]
fn what_no_rule_names_is_held_for_an_answer_and_refused_without_one() {
    let mut policy = allowlist(&[], &["two.example"]);
    policy.ask = user(true);
    let limits = Limits {
        answer: Duration::from_millis(100),
        ..Limits::default()
    };
    for (answer, ending) in [
        (Some(Answer::Allow), Ending::Reached),
        (Some(Answer::Deny), Ending::Socks(2)),
        (None, Ending::Socks(2)),
    ] {
        let world = world_with(policy.clone(), limits.clone(), Arc::new(Always(answer)));
        furnish(&world);
        world.internet.name("inner.example", &["10.1.2.3"]);
        let found = world.attempt(Ingress::Socks, "one.example", 9000, "");
        assert_eq!(found, ending, "{answer:?}");
        // An answer lifts neither a deny rule nor what the addresses say.
        for host in [
            "two.example",
            "inner.example",
            "127.0.0.1",
            "metadata.google.internal",
        ] {
            let found = world.attempt(Ingress::Socks, host, 9000, "");
            assert_eq!(found, Ending::Socks(2), "{answer:?} {host}");
        }
        assert!(world.internet.dialled().len() <= 1);
    }
}

/// Waits until `count` questions were asked.
fn await_questions(world: &World, count: usize) {
    let asked = |event: &&Event| matches!(event, Event::Asked(_));
    for _ in 0..2000 {
        if world.events().iter().filter(asked).count() >= count {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nobody was asked")
}

#[test]
fn who_gives_up_waiting_makes_room_and_what_has_no_room_is_refused() {
    let mut policy = allowlist(&[], &[]);
    policy.ask = user(true);
    let limits = Limits {
        questions: 1,
        answer: Duration::from_mins(10),
        ..Limits::default()
    };
    let world = world_with(policy, limits, Arc::new(Silent));
    furnish(&world);
    let ask = || {
        let mut stream = world.connect();
        let head = "CONNECT one.example:9000 HTTP/1.1\r\nHost: one.example:9000\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let first = ask();
    await_questions(&world, 1);
    let mut second = ask();
    let (status, head, _) = read_http(&mut second).unwrap();
    assert_eq!(status, 503, "{head}");
    assert_eq!(world.refusals(), [RuleId::NetworkLimit]);
    drop(first);
    // It was held by the first, which says something too early: what waits is kept.
    let refused = (0..2000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        world.refusals().contains(&RuleId::NotListed)
    });
    assert!(refused, "who has given up is not recorded");
    let _third = ask();
    await_questions(&world, 2);
    assert_eq!(
        (world.internet.resolved(), world.internet.dialled()),
        (vec![], vec![])
    );
}

#[test]
fn an_answer_holds_for_its_connection_when_the_policy_is_loaded_again() {
    let mut policy = allowlist(&[], &[]);
    policy.ask = user(true);
    let world = world_with(
        policy.clone(),
        Limits::default(),
        Arc::new(Always(Some(Answer::Allow))),
    );
    furnish(&world);
    let mut one = tunnel(&world, "one.example");
    world.control.reload(policy.clone());
    assert!(echoes(&mut one));
    policy.deny = vec![user("one.example".parse().unwrap())];
    world.control.reload(policy);
    assert_ended(&mut one);
}

#[test]
fn a_port_of_the_session_is_reached_from_the_host_while_it_is_published() {
    let mut policy = allowlist(&[], &[]);
    policy.publish = vec![user(3000)];
    let world = world(policy);
    // Inside the session the same addresses lead to other servers.
    let inside = Arc::new(Internet::default());
    inside.route("127.0.0.1:3000", origin(universal));
    inside.route("127.0.0.1:3001", origin(universal));
    let connect = |port| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let published = Listener::Published {
            listener,
            port,
            inside: Arc::new(Dialer(Arc::clone(&inside))),
            subject: subject(),
        };
        world.control.add(published).unwrap();
        patient(TcpStream::connect(address).unwrap())
    };
    let mut open = connect(3000);
    assert!(echoes(&mut open));
    assert!(!echoes(&mut connect(3001)));
    assert_eq!(world.refusals(), [RuleId::NotListed]);
    world.control.reload(allowlist(&[], &[]));
    assert_ended(&mut open);
    assert_eq!(causes(&world, 1), [CloseCause::Revoked]);
    assert_eq!(world.internet.dialled(), []);
}

#[test]
fn one_server_of_the_hosts_loopback_is_reached_where_the_policy_connects_it() {
    let host_server = origin(universal);
    let mut policy = allowlist(&[], &[]);
    policy.connect = vec![user(host_server)];
    let world = world(policy);
    world.internet.route(&host_server.to_string(), host_server);
    let add = |server| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        world
            .control
            .add(Listener::Connected { listener, server })
            .unwrap();
        patient(TcpStream::connect(address).unwrap())
    };
    assert!(echoes(&mut add(host_server)));
    // A listener that stands for a server which the policy does not name leads nowhere.
    let other = origin(universal);
    world.internet.route(&other.to_string(), other);
    assert!(!echoes(&mut add(other)));
    assert_eq!(world.refusals(), [RuleId::PrivateAddress]);
}
