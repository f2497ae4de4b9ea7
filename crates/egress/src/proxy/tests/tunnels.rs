//! Tunnels: no byte is lost, whoever speaks first and however much they say.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::LazyLock;

use ringfence_policy::rule::RuleId;

use super::world::{
    TLS_ANSWER, World, allowlist, assert_ended, greeting, origin, read_http, read_up_to, socks,
    universal, user, world,
};
use crate::decide::Ingress;
use crate::hello;

const WAYS: [Ingress; 3] = [Ingress::Connect, Ingress::Socks, Ingress::CapturedTcp];

/// `good.example:22` with this origin.
fn far(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> World {
    let world = world(allowlist(&["good.example:22", "good.example:443"], &[]));
    world.internet.name("good.example", &["11.22.33.44"]);
    let origin = origin(serve);
    world.internet.route("11.22.33.44:22", origin);
    world.internet.route("11.22.33.44:443", origin);
    world
}

/// An open tunnel, with `early` sent before the proxy has answered.
fn open(world: &World, way: Ingress, port: u16, early: &[u8]) -> TcpStream {
    if way == Ingress::CapturedTcp {
        let mut stream = world.captured("good.example", port);
        stream.write_all(early).unwrap();
        return stream;
    }
    let mut stream = world.connect();
    if way == Ingress::Socks {
        assert_eq!(socks(&mut stream, "good.example", port), Some(0));
        stream.write_all(early).unwrap();
    } else {
        let head =
            format!("CONNECT good.example:{port} HTTP/1.1\r\nHost: good.example:{port}\r\n\r\n");
        stream
            .write_all(&[head.as_bytes(), early].concat())
            .unwrap();
        assert_eq!(read_http(&mut stream).unwrap().0, 200);
    }
    stream
}

#[test]
fn a_server_that_speaks_first_is_heard_while_the_client_is_silent() {
    for way in WAYS {
        let world = far(|mut stream| {
            stream.write_all(b"SSH-2.0-server\r\n").unwrap();
            let mut said = [0; 11];
            read_up_to(&mut stream, &mut said);
            stream.write_all(&said).unwrap();
        });
        let mut client = open(&world, way, 22, b"");
        let mut banner = [0; 16];
        assert_eq!(read_up_to(&mut client, &mut banner), 16, "{way:?}");
        assert_eq!(&banner, b"SSH-2.0-server\r\n");
        client.write_all(b"SSH-2.0-x\r\n").unwrap();
        let mut echo = [0; 11];
        assert_eq!(read_up_to(&mut client, &mut echo), 11);
        assert_eq!(&echo, b"SSH-2.0-x\r\n");
    }
}

#[test]
fn what_a_client_says_too_early_arrives() {
    for way in WAYS {
        let world = far(universal);
        let mut client = open(&world, way, 22, b"\0early");
        let mut echo = [0; 6];
        assert_eq!(read_up_to(&mut client, &mut echo), 6, "{way:?}");
        assert_eq!(&echo, b"\0early");
    }
}

#[test]
fn the_end_of_one_direction_leaves_the_other_open() {
    for way in WAYS {
        // Answers only when the client has said everything.
        let world = far(|mut stream| {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream
                .write_all(format!("got {}", all.len()).as_bytes())
                .unwrap();
        });
        let mut client = open(&world, way, 22, b"");
        client.write_all(b"\0twelve bytes").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "got 13", "{way:?}");

        // Ends first, and listens on.
        let world = far(|mut stream| {
            stream.shutdown(Shutdown::Write).unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            assert_eq!(all.len(), 13);
        });
        let mut client = open(&world, way, 22, b"");
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        client.write_all(b"\0twelve bytes").unwrap();
    }
}

/// How much is much: many times what the buffers of the kernel and of the proxy hold.
const LENGTH: usize = 8 << 20;

/// Bytes whose place can be told, so that one that is missing or twice is seen.
fn pattern() -> &'static [u8] {
    static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut bytes = Vec::with_capacity(LENGTH);
        for index in 0..LENGTH / 4 {
            bytes.extend_from_slice(&u32::try_from(index).unwrap().to_be_bytes());
        }
        bytes
    });
    &PATTERN
}

#[test]
fn much_arrives_whole_both_ways_at_once() {
    for way in WAYS {
        let world = far(|mut stream| {
            let mut sender = stream.try_clone().unwrap();
            let sending = std::thread::spawn(move || sender.write_all(pattern()).unwrap());
            let mut all = vec![0; LENGTH];
            assert_eq!(read_up_to(&mut stream, &mut all), LENGTH);
            assert!(all == *pattern());
            sending.join().unwrap();
            stream.write_all(b"whole").unwrap();
        });
        let mut client = open(&world, way, 22, b"");
        let mut sender = client.try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            sender.write_all(pattern()).unwrap();
        });
        let mut all = vec![0; LENGTH + 5];
        assert_eq!(read_up_to(&mut client, &mut all), LENGTH + 5, "{way:?}");
        sending.join().unwrap();
        assert!(all[..LENGTH] == *pattern(), "{way:?}");
        assert_eq!(&all[LENGTH..], b"whole");
    }
}

#[test]
fn a_large_body_of_a_known_length_arrives_whole_and_the_connection_goes_on() {
    let world = world(allowlist(&["good.example"], &[]));
    world.internet.name("good.example", &["11.22.33.44"]);
    let origin = origin(|mut stream| {
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).unwrap_or(0) > 0 {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
            stream
                .write_all(&[head.as_bytes(), pattern()].concat())
                .unwrap();
        }
    });
    world.internet.route("11.22.33.44:80", origin);
    let mut client = world.captured("good.example", 80);
    for _ in 0..2 {
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n")
            .unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
        let mut all = vec![0; head.len() + LENGTH];
        assert_eq!(read_up_to(&mut client, &mut all), all.len());
        assert!(all[head.len()..] == *pattern());
    }
}

#[test]
fn a_greeting_in_pieces_is_judged_and_arrives_as_it_was() {
    let whole = hello::tests::records(&hello::tests::message(Some(b"good.example"), &[]), 7);
    let expected = whole.clone();
    for way in WAYS {
        let expected = expected.clone();
        let world = far(move |mut stream| {
            let mut seen = vec![0; expected.len()];
            read_up_to(&mut stream, &mut seen);
            assert!(seen == expected);
            stream.write_all(TLS_ANSWER).unwrap();
        });
        let mut client = open(&world, way, 443, b"");
        for byte in &whole {
            client.write_all(&[*byte]).unwrap();
        }
        let mut answer = [0; 7];
        read_up_to(&mut client, &mut answer);
        assert_eq!(answer, TLS_ANSWER, "{way:?}");
    }
}

#[test]
fn a_hidden_greeting_and_what_is_no_tls_are_refused_on_443() {
    let encrypted = hello::tests::records(
        &hello::tests::message(Some(b"good.example"), &[(0xfe0d, b"x")]),
        1 << 14,
    );
    for way in WAYS {
        let world = far(universal);
        let mut client = open(&world, way, 443, b"");
        client.write_all(&encrypted).unwrap();
        let mut alert = [0; 7];
        read_up_to(&mut client, &mut alert);
        assert_eq!((alert[0], alert[6]), (21, 49), "{way:?}");
        assert_eq!(world.refusals(), [RuleId::HostMismatch]);

        for (said, rule) in [
            (
                &b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n"[..],
                RuleId::Malformed,
            ),
            (b"\x80\x2e\x01\x03\x01", RuleId::Malformed),
            (b"\0\0\0\0", RuleId::Malformed),
        ] {
            world.forget_events();
            let mut client = open(&world, way, 443, b"");
            client.write_all(said).unwrap();
            assert_ended(&mut client);
            assert_eq!(world.refusals(), [rule]);
        }
        // SSH on 443 is what some use; it can't be taken for TLS.
        let client = open(&world, way, 443, b"SSH-2.0-client\r\n");
        client.shutdown(Shutdown::Write).unwrap();
    }
}

#[test]
fn tls_on_other_ports_is_judged_too() {
    for way in WAYS {
        let world = far(universal);
        let mut client = open(&world, way, 22, b"");
        client.write_all(&greeting("evil.example")).unwrap();
        let mut alert = [0; 7];
        read_up_to(&mut client, &mut alert);
        assert_eq!((alert[0], alert[6]), (21, 49), "{way:?}");
        let mut client = open(&world, way, 22, b"");
        client.write_all(&greeting("good.example")).unwrap();
        let mut answer = [0; 7];
        read_up_to(&mut client, &mut answer);
        assert_eq!(answer, TLS_ANSWER, "{way:?}");
    }
}

/// A corporate proxy that answers `CONNECT` and speaks at once behind its answer, in the same segment.
fn corporate(answer: &'static str) -> SocketAddr {
    origin(move |mut stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            read_up_to(&mut stream, &mut byte);
            head.push(byte[0]);
        }
        let asked = String::from_utf8(head).unwrap();
        let line = asked.lines().next().unwrap();
        stream
            .write_all(format!("{answer}{line}").as_bytes())
            .unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    })
}

#[test]
fn a_corporate_proxy_is_asked_by_name_after_the_decision() {
    let mut policy = allowlist(&["good.example:22", "10.1.2.3:22"], &[]);
    policy.upstream_proxy = Some(user("http://proxy.example:3128".to_owned()));
    for way in WAYS {
        let world = world(policy.clone());
        world.internet.name("proxy.example", &["10.0.0.1"]);
        let proxy = corporate("HTTP/1.1 200 Connected\r\n\r\nbanner for ");
        world.internet.route("10.0.0.1:3128", proxy);
        let mut client = open(&world, way, 22, b"");
        let expected = b"banner for CONNECT good.example:22 HTTP/1.1";
        let mut banner = vec![0; expected.len()];
        read_up_to(&mut client, &mut banner);
        assert_eq!(banner, expected, "{way:?}");
        assert_eq!(world.internet.resolved(), ["proxy.example"]);
        // A private address is near, and an unlisted host never gets that far.
        world.internet.route("10.1.2.3:22", origin(universal));
        assert!(matches!(
            world.attempt(way, "10.1.2.3", 22, ""),
            super::world::Ending::Reached
        ));
        world.attempt(way, "evil.example", 22, "");
        assert_eq!(world.refusals(), [RuleId::NotListed]);
        assert_eq!(world.internet.resolved(), ["proxy.example"]);
    }
    let world = world(policy);
    world.internet.name("proxy.example", &["10.0.0.1"]);
    world.internet.route(
        "10.0.0.1:3128",
        corporate("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"),
    );
    let mut client = world.connect();
    client
        .write_all(b"CONNECT good.example:22 HTTP/1.1\r\nHost: good.example:22\r\n\r\n")
        .unwrap();
    let (status, _, body) = read_http(&mut client).unwrap();
    assert_eq!(status, 502);
    assert!(body.contains("answered 407"), "{body}");
}
