//! The terms of rules: what they open beside the rule, and that nothing else opens it.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ringfence_policy::decision::{Decision, Process};
use ringfence_policy::rule::RuleId;

use super::world::{
    Ending, TLS_ANSWER, World, allowlist, assert_ended, origin, read_http, read_up_to, subject,
    universal, world, world_of,
};
use crate::caller::{Attribution, Ends, UnknownCaller};
use crate::decide::{Ingress, Subject};
use crate::event::{CloseCause, Event};
use crate::hello;
use crate::limits::Limits;
use crate::proxy::Nobody;

fn reachable(world: World, ports: &[u16], origin: std::net::SocketAddr) -> World {
    for (name, address) in [("a.example", "11.22.33.44"), ("b.example", "11.22.33.55")] {
        world.internet.name(name, &[address]);
        for port in ports {
            world.internet.route(&format!("{address}:{port}"), origin);
        }
    }
    world
}

/// The last refusal: its rule and the option that lifts it.
fn last_refusal(world: &World) -> (RuleId, Vec<String>) {
    let events = world.events();
    let mut refusals = events.iter().rev().filter_map(|event| match event {
        Event::Connection(made) => match &made.decision {
            Decision::Deny { rule, grant, .. } => {
                let words = grant.clone().map(|grant| grant.arguments);
                Some((*rule, words.unwrap_or_default()))
            }
            Decision::Allow { .. } => None,
        },
        Event::Name(_) | Event::Asked(_) | Event::Closed(_) => None,
    });
    refusals.next().expect("a refusal")
}

#[test]
fn tls_hides_its_server_name_only_where_a_rule_says_so() {
    let policy = allowlist(&["a.example server-name=any", "b.example"], &[]);
    let world = reachable(world(policy), &[443], origin(universal));
    let none = hello::tests::message(None, &[]);
    let hidden = hello::tests::message(Some(b"a.example"), &[(0xfe0d, b"x")]);
    let other = hello::tests::message(Some(b"c.example"), &[]);
    for message in [&none, &hidden, &other] {
        let greeting = hello::tests::records(message, 1 << 14);
        let mut allowed = world.captured("a.example", 443);
        allowed.write_all(&greeting).unwrap();
        let mut answer = [0; 7];
        assert_eq!(read_up_to(&mut allowed, &mut answer), 7);
        assert_eq!(answer, *TLS_ANSWER);
        let mut refused = world.captured("b.example", 443);
        refused.write_all(&greeting).unwrap();
        assert_eq!(read_up_to(&mut refused, &mut answer), 7);
        assert_eq!(answer, hello::ACCESS_DENIED_ALERT);
        let (rule, words) = last_refusal(&world);
        assert_eq!(rule, RuleId::HostMismatch);
        let expected = ["--allow-host", "b.example:443 server-name=any"];
        // A greeting for another host is no reason to look away.
        let expected = if message == &other {
            &[][..]
        } else {
            &expected
        };
        assert_eq!(words, expected);
    }
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";

/// Changes to what it is asked for, or to something else at `/other`, and echoes from then on.
fn changing(mut stream: std::net::TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    if head.contains("pgrade: websocket\r\n") {
        let to = if head.starts_with("GET /other") {
            "irc"
        } else {
            "websocket"
        };
        let answer =
            format!("HTTP/1.1 101 Changing\r\nConnection: upgrade\r\nUpgrade: {to}\r\n\r\nfirst");
        stream.write_all(answer.as_bytes()).unwrap();
        let mut said = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut said) {
            stream.write_all(&said[..count]).unwrap();
        }
    } else {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\norigin")
            .unwrap();
    }
}

#[test]
fn a_protocol_is_changed_only_where_a_rule_says_so() {
    let policy = allowlist(&["a.example upgrade=websocket", "b.example"], &[]);
    let world = reachable(world(policy), &[80], origin(changing));
    let mut stream = world.captured("a.example", 80);
    let request =
        |host: &str, path: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{UPGRADE}");
    // What the client says too early is not lost, and neither is what the origin says with its answer.
    let both = format!("{}early", request("a.example", "/"));
    stream.write_all(both.as_bytes()).unwrap();
    let expected =
        "HTTP/1.1 101 Changing\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfirstearly";
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), expected);
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: c.example\r\n\r\n")
        .unwrap();
    let mut echo = [0; 8];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"GET / HT");
    // Another host, another protocol, and several of them.
    for (host, head) in [
        ("b.example", request("b.example", "/")),
        (
            "a.example",
            request("a.example", "/").replace("websocket", "irc"),
        ),
        (
            "a.example",
            request("a.example", "/").replace("websocket", "websocket, irc"),
        ),
        (
            "a.example",
            request("a.example", "/").replace("GET", "POST"),
        ),
        (
            "a.example",
            request("a.example", "/").replace("Connection: Upgrade\r\n", ""),
        ),
    ] {
        let mut stream = world.captured(host, 80);
        stream.write_all(head.as_bytes()).unwrap();
        let (status, error, _) = read_http(&mut stream).unwrap();
        assert_eq!(
            (status, error.as_str()),
            (403, "blocked-by-net.upgrade"),
            "{head}"
        );
    }
    // An origin that changes to something else, or though it was not asked.
    let mut stream = world.captured("a.example", 80);
    stream
        .write_all(request("a.example", "/other").as_bytes())
        .unwrap();
    assert_eq!(read_http(&mut stream).unwrap().0, 502);
    // Without the wish the same host answers as ever.
    assert_eq!(
        world.attempt(Ingress::CapturedHttp, "a.example", 80, "a.example"),
        Ending::Reached
    );
    // A policy that no longer names the protocol closes what has changed to it.
    let mut stream = world.captured("a.example", 80);
    stream
        .write_all(request("a.example", "/").as_bytes())
        .unwrap();
    let mut answer = vec![0; expected.len() - 5];
    stream.read_exact(&mut answer).unwrap();
    world.control.reload(allowlist(&["a.example"], &[]));
    assert_ended(&mut stream);
}

#[test]
fn the_refusal_of_a_change_offers_the_term_that_allows_it() {
    let world = reachable(
        world(allowlist(&["b.example"], &[])),
        &[80],
        origin(changing),
    );
    let mut stream = world.captured("b.example", 80);
    let head = format!("GET /ws?t=secret HTTP/1.1\r\nHost: b.example\r\n{UPGRADE}");
    stream.write_all(head.as_bytes()).unwrap();
    let (_, _, body) = read_http(&mut stream).unwrap();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["allow"][1], "b.example:80 upgrade=websocket");
    assert_eq!(last_refusal(&world).1[1], "b.example:80 upgrade=websocket");
}

#[test]
fn no_more_bytes_leave_than_the_rule_says_and_the_record_tells() {
    let allow = ["a.example:9000 bytes-out=1000B", "b.example:9000"];
    let world = reachable(world(allowlist(&allow, &[])), &[9000], origin(universal));
    let mut small = world.captured("a.example", 9000);
    small.write_all(&[0; 400]).unwrap();
    assert_eq!(read_up_to(&mut small, &mut [0; 400]), 400);
    // The same rule counts over all of its connections.
    let mut large = world.captured("a.example", 9000);
    large.write_all(&[0; 400]).unwrap();
    assert_eq!(read_up_to(&mut large, &mut [0; 400]), 400);
    large.write_all(&[0; 400]).unwrap();
    assert_ended(&mut large);
    assert_eq!(last_refusal(&world).0, RuleId::NetworkLimit);
    let limits = world.events().into_iter().filter(
        |event| matches!(event, Event::Closed(closed) if closed.cause == CloseCause::Limit),
    );
    assert_eq!(limits.count(), 1);
    // And nothing more is opened under it; the other rule is not concerned.
    assert_eq!(
        world.attempt(Ingress::Connect, "a.example", 9000, ""),
        Ending::Http(503, "blocked-by-net.limit".to_owned())
    );
    assert_eq!(
        world.attempt(Ingress::Connect, "b.example", 9000, ""),
        Ending::Reached
    );
}

/// Tells how much of what was said came.
fn counting(total: Arc<AtomicUsize>) -> std::net::SocketAddr {
    origin(move |mut stream| {
        let mut said = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut said) {
            total.fetch_add(count, Ordering::SeqCst);
            let _ = stream.write_all(&said[..count]);
        }
    })
}

#[test]
fn not_one_byte_over_the_limit_leaves_on_any_of_many_connections() {
    let allow = ["a.example:9000 bytes-out=1000B", "b.example:9000"];
    let came = Arc::new(AtomicUsize::new(0));
    let world = reachable(
        world(allowlist(&allow, &[])),
        &[9000],
        counting(Arc::clone(&came)),
    );
    let mut open: Vec<_> = (0..8).map(|_| world.captured("a.example", 9000)).collect();
    for stream in &mut open {
        stream.write_all(&[0; 10]).unwrap();
        assert_eq!(read_up_to(stream, &mut [0; 10]), 10);
    }
    for stream in &mut open {
        // One that was ended already takes nothing more.
        let _ = stream.write_all(&[0; 8000]);
        assert_ended(stream);
    }
    assert_eq!(came.load(Ordering::SeqCst), 80);
    let mut control = world.captured("b.example", 9000);
    control.write_all(&[0; 8000]).unwrap();
    assert_eq!(read_up_to(&mut control, &mut [0; 8000]), 8000);
}

#[test]
fn what_is_said_after_a_change_counts_under_the_rule_that_allows_the_change() {
    let allow = ["a.example", "a.example upgrade=websocket bytes-out=1000B"];
    let world = reachable(world(allowlist(&allow, &[])), &[80], origin(changing));
    let mut stream = world.captured("a.example", 80);
    let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{UPGRADE}");
    stream.write_all(request.as_bytes()).unwrap();
    let expected =
        "HTTP/1.1 101 Changing\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfirst";
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, expected.as_bytes());
    stream.write_all(&[0; 1000]).unwrap();
    assert_ended(&mut stream);
    assert_eq!(last_refusal(&world).0, RuleId::NetworkLimit);
}

/// Callers that are all this program, or none that is known.
struct All(Option<&'static str>);

impl Attribution for All {
    fn subject(&self, _ends: Ends) -> Result<Subject, UnknownCaller> {
        Ok(subject())
    }

    fn process(&self, _ends: Ends) -> Option<Process> {
        let program = self.0?.to_owned();
        Some(Process { id: 7, program })
    }
}

#[test]
fn a_rule_for_a_program_is_for_that_program_alone() {
    let allow = [
        "a.example program=/usr/bin/git",
        "a.example:9000 program=/usr/bin/git",
        "b.example",
    ];
    for (program, is_git) in [
        (Some("/usr/bin/git"), true),
        (Some("/tmp/git"), false),
        (None, false),
    ] {
        let made = world_of(
            allowlist(&allow, &[]),
            Limits::default(),
            Arc::new(Nobody),
            None,
            Arc::new(All(program)),
        );
        let world = reachable(made, &[80, 443, 9000], origin(universal));
        for (way, port) in [
            (Ingress::CapturedTls, 443),
            (Ingress::CapturedHttp, 80),
            (Ingress::CapturedTcp, 9000),
            (Ingress::Connect, 443),
            (Ingress::AbsoluteForm, 80),
            (Ingress::Socks, 9000),
        ] {
            let ending = world.attempt(way, "a.example", port, "a.example");
            assert_eq!(
                ending == Ending::Reached,
                is_git,
                "{program:?} {way:?} {ending:?}"
            );
            if !is_git {
                assert_eq!(last_refusal(&world).0, RuleId::OtherProgram);
            }
        }
        assert_eq!(
            world.attempt(Ingress::CapturedTls, "b.example", 443, "b.example"),
            Ending::Reached
        );
        // A rule that asks only now knows nobody who came before it.
        let mut stream = world.captured("b.example", 443);
        stream
            .write_all(&super::world::greeting("b.example"))
            .unwrap();
        assert_eq!(read_up_to(&mut stream, &mut [0; 7]), 7);
        world
            .control
            .reload(allowlist(&["b.example program=/bin/other"], &[]));
        assert_ended(&mut stream);
    }
}
