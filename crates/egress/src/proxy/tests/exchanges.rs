//! HTTP: each request is decided, and reaches its origin as it was understood.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ringfence_policy::rule::RuleId;

use super::world::{World, allowlist, origin, read_http, read_up_to, universal, world};
use crate::decide::parts;
use crate::event::Event;

/// `good.example` with this origin at port 80, and `other.example` with the universal one.
fn web(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> World {
    let world = world(allowlist(&["good.example", "other.example"], &[]));
    world.internet.name("good.example", &["11.22.33.44"]);
    world.internet.name("other.example", &["11.22.33.55"]);
    world.internet.route("11.22.33.44:80", origin(serve));
    world.internet.route("11.22.33.55:80", origin(universal));
    world
}

fn get(host: &str, path: &str, headers: &str) -> String {
    format!("GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")
}

/// Reads a request's head, byte by byte.
fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if read_up_to(stream, &mut byte) == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Answers each request with these bytes.
fn answering(answer: &'static [u8]) -> impl Fn(TcpStream) + Send + Sync {
    move |mut stream| {
        while read_head(&mut stream).is_some() {
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    }
}

/// Everything that comes until the end.
fn read_all(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    String::from_utf8(all).unwrap()
}

#[test]
fn a_client_that_has_said_its_last_hears_the_answer() {
    let world = web(universal);
    let mut stream = world.captured("good.example", 80);
    let request = b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n";
    stream.write_all(request).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_http(&mut stream).unwrap().0, 200);
}

#[test]
fn each_request_of_a_connection_is_decided_again() {
    let world = web(universal);
    let mut client = world.connect();
    // All at once: the ones behind must not overtake a decision.
    let pipelined = [
        get("good.example", "/1", ""),
        get("other.example", "/2", ""),
        get("good.example", "/3", ""),
        get("evil.example", "/4", ""),
        get("good.example", "/5", ""),
    ];
    client.write_all(pipelined.concat().as_bytes()).unwrap();
    for path in ["/1", "/2", "/3"] {
        let (status, _, body) = read_http(&mut client).unwrap();
        assert_eq!(status, 200);
        assert!(
            body.starts_with(&format!("origin saw GET {path} HTTP/1.1\r\nHost: ")),
            "{body}"
        );
    }
    let (status, error, body) = read_http(&mut client).unwrap();
    assert_eq!((status, error.as_str()), (403, "blocked-by-net.not-listed"));
    assert!(
        body.contains("\"--allow-host\",\"evil.example:80\""),
        "{body}"
    );
    assert_eq!(read_http(&mut client), None);
    let dialled = world.internet.dialled();
    let dialled: Vec<String> = dialled.iter().map(ToString::to_string).collect();
    assert_eq!(
        dialled,
        ["11.22.33.44:80", "11.22.33.55:80", "11.22.33.44:80"]
    );
    let decided: Vec<(RuleId, Option<String>)> = world
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::Connection(made) => Some((parts(&made.decision).0, made.method.clone())),
            Event::Name(_) | Event::Asked(_) | Event::Closed(_) => None,
        })
        .collect();
    let with_get = |rule| (rule, Some("GET".to_owned()));
    assert_eq!(
        decided,
        [
            RuleId::AllowedHost,
            RuleId::AllowedHost,
            RuleId::AllowedHost,
            RuleId::NotListed
        ]
        .map(with_get)
    );
}

#[test]
fn a_policy_that_changes_between_two_requests_holds_for_the_second() {
    let world = web(universal);
    let mut client = world.connect();
    client
        .write_all(get("good.example", "/", "").as_bytes())
        .unwrap();
    assert_eq!(read_http(&mut client).unwrap().0, 200);
    world.control.reload(allowlist(&["other.example"], &[]));
    client
        .write_all(get("good.example", "/", "").as_bytes())
        .unwrap();
    assert_eq!(
        read_http(&mut client).unwrap().1,
        "blocked-by-net.not-listed"
    );
}

#[test]
fn an_origins_connection_is_kept_and_a_stale_one_replaced() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    // Three answers on each connection, then it is closed without a word.
    let world = web(move |mut stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        for _ in 0..3 {
            if read_head(&mut stream).is_none() {
                return;
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\norigin")
                .unwrap();
        }
    });
    let mut client = world.connect();
    for _ in 0..6 {
        client
            .write_all(get("good.example", "/", "").as_bytes())
            .unwrap();
        assert_eq!(read_http(&mut client).unwrap().2, "origin");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    // The next one meets a closed connection too, and is not sent twice: it may do something.
    let post = get("good.example", "/", "").replace("GET", "POST");
    client.write_all(post.as_bytes()).unwrap();
    let (status, error, _) = read_http(&mut client).unwrap();
    let sent_once = connections.load(Ordering::SeqCst) == 2;
    assert!(
        status == 200 || (sent_once && error == "bad-answer"),
        "{status} {error}"
    );
}

#[test]
fn what_hides_a_second_request_is_refused_and_nothing_of_it_goes_on() {
    for smuggled in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: good.example\r\n",
        "Content-Length: 0\r\nContent-Length: 40\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: a\nTransfer-Encoding: chunked\r\n",
        "X: a\r\n Transfer-Encoding: chunked\r\n",
        "Connection: Content-Length\r\nContent-Length: 5\r\n",
    ] {
        let world = web(universal);
        let mut client = world.connect();
        client
            .write_all(get("good.example", "/", smuggled).as_bytes())
            .unwrap();
        let (status, error, _) = read_http(&mut client).unwrap();
        assert_eq!(
            (status, error.as_str()),
            (400, "blocked-by-net.malformed"),
            "{smuggled}"
        );
        assert_eq!(world.internet.dialled(), [], "{smuggled}");
        assert_eq!(world.refusals(), [RuleId::Malformed]);
    }
}

#[test]
fn h2c_is_served_without_it_and_other_upgrades_are_refused() {
    let world = web(universal);
    let offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let mut client = world.connect();
    client
        .write_all(get("good.example", "/", offer).as_bytes())
        .unwrap();
    let (_, _, body) = read_http(&mut client).unwrap();
    assert_eq!(
        body,
        "origin saw GET / HTTP/1.1\r\nHost: good.example\r\n\r\n"
    );
    client
        .write_all(
            get(
                "good.example",
                "/",
                "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            )
            .as_bytes(),
        )
        .unwrap();
    assert_eq!(read_http(&mut client).unwrap().1, "blocked-by-net.upgrade");
    assert_eq!(world.refusals(), [RuleId::Upgrade]);
}

#[test]
fn connect_inside_connect_is_refused() {
    let world = web(universal);
    let mut client = world.connect();
    let connect = "CONNECT good.example:80 HTTP/1.1\r\nHost: good.example:80\r\n\r\n";
    client.write_all(connect.as_bytes()).unwrap();
    assert_eq!(read_http(&mut client).unwrap().0, 200);
    client.write_all(connect.as_bytes()).unwrap();
    assert_eq!(read_http(&mut client).unwrap().1, "blocked-by-net.upgrade");
    assert_eq!(world.refusals(), [RuleId::Upgrade]);
}

#[test]
fn a_body_in_chunks_arrives_without_what_hides_between_them() {
    let world = web(|mut stream| {
        let head = read_head(&mut stream).unwrap();
        assert!(
            head.contains("\r\nTransfer-Encoding: chunked\r\n"),
            "{head}"
        );
        let mut seen = Vec::new();
        while !seen.ends_with(b"0\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(read_up_to(&mut stream, &mut byte), 1);
            seen.push(byte[0]);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.len());
        stream
            .write_all(&[head.as_bytes(), &seen].concat())
            .unwrap();
    });
    let mut client = world.connect();
    let head = "POST http://good.example/ HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = "5;ext=\"GET / HTTP/1.1\"\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n";
    client.write_all([head, body].concat().as_bytes()).unwrap();
    assert_eq!(read_http(&mut client).unwrap().2, "5\r\nhello\r\n0\r\n\r\n");
}

#[test]
fn answers_of_every_framing_come_back() {
    for (answer, expected) in [
        (
            &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhe\r\n3\r\nllo\r\n0\r\nX: 1\r\n\r\n"[..],
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        ),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        ),
        (
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
        ),
    ] {
        let world = web(answering(answer));
        let mut client = world.connect();
        client.write_all(get("good.example", "/", "Connection: close\r\n").as_bytes()).unwrap();
        assert_eq!(read_all(&mut client), expected);
    }
    // Until the origin closes.
    let world = web(|mut stream| {
        read_head(&mut stream).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").unwrap();
    });
    let mut client = world.connect();
    client
        .write_all(get("good.example", "/", "").as_bytes())
        .unwrap();
    assert_eq!(
        read_all(&mut client),
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"
    );
    // HEAD, and another request behind it.
    let world = web(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"));
    let mut client = world.connect();
    let head = get("good.example", "/", "").replace("GET", "HEAD");
    client
        .write_all(
            [
                head.clone(),
                head.replace("Host", "Connection: close\r\nHost"),
            ]
            .concat()
            .as_bytes(),
        )
        .unwrap();
    assert_eq!(
        read_all(&mut client),
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn an_origin_may_answer_before_it_has_read_everything() {
    let world = web(|mut stream| {
        read_head(&mut stream).unwrap();
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        // Reads nothing more, and stays.
        std::thread::sleep(std::time::Duration::from_secs(20));
    });
    let mut client = world.connect();
    let head = "POST http://good.example/ HTTP/1.1\r\nHost: good.example\r\nContent-Length: 100000000\r\n\r\nbegin";
    client.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_http(&mut client).unwrap().0, 413);
    assert_eq!(read_http(&mut client), None);
}

#[test]
fn answers_that_some_reader_sees_otherwise_do_not_come_back() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"SSH-2.0-server\r\n\r\n",
    ] {
        let world = web(answering(answer));
        let mut client = world.connect();
        client
            .write_all(get("good.example", "/", "").as_bytes())
            .unwrap();
        let (status, error, _) = read_http(&mut client).unwrap();
        assert_eq!(
            (status, error.as_str()),
            (502, "bad-answer"),
            "{}",
            answer.escape_ascii()
        );
    }
}

#[test]
fn what_is_allowed_and_can_not_be_reached_is_no_refusal() {
    let world = web(universal);
    world.internet.name("good.example", &["11.22.33.99"]);
    let mut client = world.connect();
    client
        .write_all(get("good.example", "/", "").as_bytes())
        .unwrap();
    assert_eq!(read_http(&mut client).unwrap().1, "unreachable");
    world.control.reload(allowlist(&["unknown.example"], &[]));
    let mut client = world.connect();
    client
        .write_all(get("unknown.example", "/", "").as_bytes())
        .unwrap();
    assert_eq!(read_http(&mut client).unwrap().1, "not-resolved");
    assert_eq!(world.refusals(), []);
}

#[test]
fn an_old_client_gets_its_answer() {
    let world = web(answering(
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ));
    let mut client = world.captured("good.example", 80);
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let all = read_all(&mut client);
    assert_eq!(
        all,
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    );
    // One that wants to go on is told that it may, also by an origin of the new version.
    let world = web(answering(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ));
    let mut client = world.captured("good.example", 80);
    client
        .write_all(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .unwrap();
    let head = read_head(&mut client).unwrap();
    assert!(head.contains("\r\nConnection: keep-alive\r\n"), "{head}");
}

/// A client that goes while the origin is silent: the origin's connection ends with it, not at the limit.
#[test]
fn a_client_that_has_gone_is_not_waited_for() {
    for (what, headers, reset) in [
        ("ends", "", false),
        ("resets", "", true),
        ("resets its last request", "Connection: close\r\n", true),
    ] {
        let (sender, ended) = std::sync::mpsc::channel();
        let world = web(move |mut stream| {
            let _ = read_head(&mut stream);
            // Silent until the proxy goes; the patience of the tests ends otherwise.
            let _ = sender.send(read_up_to(&mut stream, &mut [0]));
        });
        let mut client = world.connect();
        client
            .write_all(get("good.example", "/", headers).as_bytes())
            .unwrap();
        // The origin has it when it stands in the table.
        while world.control.open_connections() == 0 {
            std::thread::yield_now();
        }
        if reset {
            socket2::SockRef::from(&client)
                .set_linger(Some(std::time::Duration::ZERO))
                .unwrap();
        }
        drop(client);
        assert_eq!(ended.recv().unwrap(), 0, "{what}");
        while world.control.open_connections() > 0 {
            std::thread::yield_now();
        }
        let broken = |event: &Event| matches!(event, Event::Closed(closed) if closed.cause == crate::event::CloseCause::Broken);
        assert!(world.events().iter().any(broken), "{what}");
    }
}

/// The control: one that says that its request was its last, and ends its side, gets its answer.
#[test]
fn a_client_that_ends_its_side_behind_its_last_request_is_answered() {
    let (sender, heard) = std::sync::mpsc::channel();
    let world = web(move |mut stream| {
        let _ = read_head(&mut stream);
        let _ = sender.send(());
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let mut client = world.connect();
    client
        .write_all(get("good.example", "/", "Connection: close\r\n").as_bytes())
        .unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    heard.recv().unwrap();
    assert!(read_all(&mut client).ends_with("ok"));
}
