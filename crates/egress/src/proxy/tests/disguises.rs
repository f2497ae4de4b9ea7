//! Requests that one reader takes for something else: what is not read as HTTP here must not be HTTP to any server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use ringfence_policy::rule::RuleId;

use super::world::{World, allowlist, origin, read_http, socks, world};
use crate::decide::Ingress;
use crate::proxy::live::lock;

const WAYS: [Ingress; 3] = [Ingress::Connect, Ingress::Socks, Ingress::CapturedTcp];

/// What reached the origin of `good.example`, at whatever port.
type Heard = Arc<Mutex<Vec<u8>>>;

fn listening_world() -> (World, Heard) {
    let allow = ["good.example", "good.example:9000"];
    let world = world(allowlist(&allow, &[]));
    world.internet.name("good.example", &["11.22.33.44"]);
    let heard = Heard::default();
    let kept = Arc::clone(&heard);
    let origin = origin(move |mut stream| {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            lock(&kept).extend_from_slice(&piece[..count]);
            if lock(&kept).ends_with(b"\r\n\r\n") {
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            }
        }
    });
    for port in [80, 443, 9000] {
        world.internet.route(&format!("11.22.33.44:{port}"), origin);
    }
    (world, heard)
}

/// Says `bytes` on a connection to `good.example` and waits for its end.
fn say(world: &World, way: Ingress, port: u16, bytes: &[u8]) {
    let mut stream = open(world, way, port);
    // A refusal may come before all of it is out.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

fn open(world: &World, way: Ingress, port: u16) -> TcpStream {
    if way == Ingress::CapturedTcp {
        return world.captured("good.example", port);
    }
    let mut stream = world.connect();
    if way == Ingress::Socks {
        assert_eq!(socks(&mut stream, "good.example", port), Some(0));
    } else {
        let head =
            format!("CONNECT good.example:{port} HTTP/1.1\r\nHost: good.example:{port}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(read_http(&mut stream).unwrap().0, 200);
    }
    stream
}

#[test]
fn no_spelling_of_a_request_passes_for_something_else() {
    let (world, heard) = listening_world();
    let long = format!("{} / HTTP/1.1", "M".repeat(40));
    let far = format!("GET /{} HTTP/1.1", "p".repeat(17 << 10));
    for line in [
        // The words of another protocol are a method, too.
        "SSH-A / HTTP/1.1",
        "SSH-2.0-x / HTTP/1.1",
        "SSH-1.99-x / http/1.1",
        // Servers skip empty lines and take any white space for the space.
        "\r\nGET / HTTP/1.1",
        "\nGET / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "GET\x0b/\x0cHTTP/1.1",
        "GET /a b HTTP/1.1",
        // Any token is a method.
        "get / HTTP/1.1",
        "G3T / HTTP/1.1",
        "a!#$%&'*+.^_`|~ / HTTP/1.1",
        &long,
        &far,
        "GET / http/1.1",
        "GET / HTTP/2.0",
        "PRI * HTTP/2.0",
    ] {
        for port in [80, 443, 9000] {
            for way in WAYS {
                let bytes = format!("{line}\r\nHost: evil.example\r\n\r\n");
                say(&world, way, port, bytes.as_bytes());
                let found = lock(&heard).escape_ascii().to_string();
                assert_eq!(found, "", "{line:?} {port} {way:?}");
            }
        }
    }
    assert!(!world.refusals().is_empty());
    let rules = [RuleId::Malformed, RuleId::HostMismatch];
    assert!(world.refusals().iter().all(|rule| rules.contains(rule)));
    // The same origin hears what is for it, and what no server takes for a request.
    for (port, bytes) in [
        (
            80,
            &b"GET / HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n"[..],
        ),
        (
            9000,
            b"GET / HTTP/1.1\r\nHost: good.example:9000\r\nConnection: close\r\n\r\n",
        ),
        (80, b"SSH-2.0-client one\r\nkeys"),
        (443, b"SSH-2.0-client\nkeys"),
        (9000, b"SSH-1.99-client\r\nkeys"),
        (9000, b"GET key\r\n"),
        (9000, b"\r\nHELP\r\n"),
        (9000, b"{\"a\": 1}"),
        // No whole line, and nothing more comes.
        (9000, b"PING"),
    ] {
        for way in WAYS {
            lock(&heard).clear();
            say(&world, way, port, bytes);
            let found = lock(&heard).escape_ascii().to_string();
            let end = bytes[bytes.len() - 4..].escape_ascii().to_string();
            assert!(
                found.ends_with(&end),
                "{} {way:?}: {found}",
                bytes.escape_ascii()
            );
        }
    }
}

#[test]
fn who_speaks_another_protocol_to_the_proxy_is_told_at_once() {
    let (world, heard) = listening_world();
    for (said, answer) in [
        (
            &b"\x04\x01\0\x50\x0b\x16\x21\x2cuser\0"[..],
            &[0, 91, 0, 0, 0, 0, 0, 0][..],
        ),
        (b"\x16\x03\x01\0\x05", &[21, 3, 3, 0, 2, 2, 49]),
    ] {
        let mut stream = world.connect();
        stream.write_all(said).unwrap();
        let mut told = vec![0; answer.len()];
        stream.read_exact(&mut told).unwrap();
        assert_eq!(told, answer);
    }
    assert_eq!(world.refusals(), [RuleId::Malformed]);
    assert!(lock(&heard).is_empty());
}
