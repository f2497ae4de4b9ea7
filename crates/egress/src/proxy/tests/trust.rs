//! Whom the programs of a session and the proxy itself trust, where the proxy reads TLS.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use ringfence_policy::rule::RuleId;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection, StreamOwned};

use super::scoped::{
    API, RULE, Scene, Server, answer, ask, get, inside, request, scene, scene_with,
};
use super::world::{allowlist, origin, patient, world_reading};
use crate::limits::Limits;
use crate::proxy::Nobody;
use crate::proxy::live::lock;
use crate::terminate::tests::{TestAuthority, Valid, client, self_signed, terminator};

#[test]
fn a_program_that_does_not_trust_the_session_fails_and_is_recorded() {
    let scene = scene(&[RULE]);
    let trust = scene.trusted.roots().bundle("");
    for program in [
        client(&trust, &[b"http/1.1"]),
        client(&scene_certificate(&scene), &[b"h2"]),
    ] {
        scene.world.forget_events();
        let mut stream = inside(scene.world.captured(API, 443), &program);
        assert_eq!(ask(&mut stream, &get("/v1/x")), None);
        // The program's alert is on its way when the program already knows.
        let recorded = || scene.world.refusals() == [RuleId::TlsTermination];
        let begun = std::time::Instant::now();
        while !recorded() && begun.elapsed().as_secs() < 20 {
            std::thread::yield_now();
        }
        assert!(recorded(), "{:?}", scene.reasons());
        assert!(
            scene.reasons()[0]
                .1
                .starts_with("the program does not accept")
        );
    }
    // Nothing was opened for it.
    assert_eq!(scene.world.internet.dialled(), []);
    assert_eq!(scene.status(&get("/v1/x")), Some(200));
}

#[test]
fn an_origin_that_is_not_trusted_gets_no_request() {
    let servers: [(&str, Server); 5] = [
        (
            "expired",
            Box::new(|trusted| trusted.server(API, Valid::Before)),
        ),
        (
            "not yet valid",
            Box::new(|trusted| trusted.server(API, Valid::Later)),
        ),
        (
            "another name",
            Box::new(|trusted| trusted.server("other.example.com", Valid::Now)),
        ),
        ("self-signed", Box::new(|_| self_signed(API))),
        (
            "another authority",
            Box::new(|_| TestAuthority::make().server(API, Valid::Now)),
        ),
    ];
    for (what, server) in servers {
        let scene = scene_with(&[RULE], server);
        let (status, body) = ask(&mut scene.secure(), &get("/v1/x")).unwrap();
        assert_eq!(status, 403, "{what}");
        assert!(
            body.contains("net.tls-termination") && body.contains("not trusted"),
            "{body}"
        );
        assert_eq!(scene.asked(), [""; 0], "{what}");
        assert_eq!(scene.world.refusals(), [RuleId::TlsTermination], "{what}");
    }
}

#[test]
fn an_origin_without_tls_gets_no_request() {
    let scene = scene(&[RULE]);
    let plain = origin(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.read(&mut [0; 1024]);
    });
    scene.world.internet.route("11.22.33.44:443", plain);
    assert_eq!(scene.status(&get("/v1/x")), Some(403));
    assert_eq!(scene.world.refusals(), [RuleId::TlsTermination]);
}

#[test]
fn without_a_certificate_of_its_own_a_session_reads_nothing_and_lets_nothing_pass() {
    let trusted = TestAuthority::make();
    let policy = allowlist(&[RULE], &[]);
    let world = world_reading(policy, Limits::default(), Arc::new(Nobody), None);
    world.internet.name(API, &["11.22.33.44"]);
    let program = client(&trusted.roots().bundle(""), &[]);
    let mut stream = inside(world.captured(API, 443), &program);
    assert_eq!(ask(&mut stream, &get("/v1/x")), None);
    assert_eq!(world.refusals(), [RuleId::TlsTermination]);
    assert_eq!(world.internet.dialled(), []);
}

#[test]
fn other_hosts_keep_their_own_tls() {
    let rules = [RULE, "whole.example.com"];
    let trusted = TestAuthority::make();
    let reading = Arc::new(terminator(&[RULE], &trusted.roots()));
    let world = world_reading(
        allowlist(&rules, &[]),
        Limits::default(),
        Arc::new(Nobody),
        Some(reading),
    );
    world.internet.name("whole.example.com", &["11.22.33.44"]);
    let config = trusted.server("whole.example.com", Valid::Now);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    let secure = origin(move |stream| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        answer(StreamOwned::new(session, stream), &log);
    });
    world.internet.route("11.22.33.44:443", secure);
    // It trusts the origin's authority alone: had anybody else answered, it would notice.
    let program = client(&trusted.roots().bundle(""), &[]);
    let name = ServerName::try_from("whole.example.com").unwrap();
    let session = ClientConnection::new(program, name).unwrap();
    let mut stream = StreamOwned::new(session, world.captured("whole.example.com", 443));
    let text = request("DELETE", "/v1/../x", "whole.example.com", "");
    assert_eq!(ask(&mut stream, &text).unwrap().0, 200);
    assert_eq!(lock(&heard).len(), 1);
}

#[test]
fn bodies_pass_through_whole() {
    let trusted = TestAuthority::make();
    let terminator = Arc::new(terminator(&[RULE], &trusted.roots()));
    let program = client(&terminator.certificate(), &[b"http/1.1"]);
    let world = world_reading(
        allowlist(&[RULE], &[]),
        Limits::default(),
        Arc::new(Nobody),
        Some(terminator),
    );
    world.internet.name(API, &["11.22.33.44"]);
    let config = trusted.server(API, Valid::Now);
    let large: Vec<u8> = (0..3_000_000_u32)
        .map(|index| index.to_le_bytes()[0] ^ 0x5a)
        .collect();
    let sent = large.clone();
    let secure = origin(move |stream| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(session, patient(stream));
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let mut body = vec![0; sent.len()];
        stream.read_exact(&mut body).unwrap();
        assert!(body == sent);
        // A body that ends with the connection: its end is the protocol's own.
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            .unwrap();
        stream.write_all(&body).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    });
    world.internet.route("11.22.33.44:443", secure);
    let mut stream = inside(world.captured(API, 443), &program);
    let head = request(
        "POST",
        "/v1/x",
        API,
        &format!("Content-Length: {}\r\n", large.len()),
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&large).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let body = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap()
        + 4;
    assert!(answer[body..] == large[..], "{} bytes", answer.len());
}

fn scene_certificate(scene: &Scene) -> String {
    let terminator = scene.world.control.shared.parts.terminator.as_ref();
    terminator.unwrap().certificate()
}
