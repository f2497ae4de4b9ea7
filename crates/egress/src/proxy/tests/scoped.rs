//! Hosts of which only some requests are allowed: in the clear and inside TLS, by every way in.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use ringfence_policy::policy::NetworkPolicy;
use ringfence_policy::rule::RuleId;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};

use super::world::{World, allowlist, assert_ended, origin, read_http, socks, world_reading};
use crate::decide::parts;
use crate::event::{CloseCause, Event};
use crate::limits::Limits;
use crate::proxy::Nobody;
use crate::proxy::live::lock;
use crate::terminate::tests::{TestAuthority, Valid, client, terminator};

pub(super) const API: &str = "api.example.com";
pub(super) const RULE: &str = "api.example.com GET,POST /v1/**";

/// Makes what an origin shows.
pub(super) type Server = Box<dyn Fn(&TestAuthority) -> Arc<ServerConfig>>;

/// A world with one origin at 443 and 80 of [`API`], what it was asked, and a program that trusts the session.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) asked: Arc<Mutex<Vec<String>>>,
    pub(super) program: Arc<ClientConfig>,
    pub(super) trusted: TestAuthority,
}

pub(super) fn scene(rules: &[&str]) -> Scene {
    scene_with(rules, |trusted| trusted.server(API, Valid::Now))
}

pub(super) fn scene_with(
    rules: &[&str],
    server: impl Fn(&TestAuthority) -> Arc<ServerConfig>,
) -> Scene {
    let trusted = TestAuthority::make();
    let terminator = Arc::new(terminator(rules, &trusted.roots()));
    let program = client(&terminator.certificate(), &[b"http/1.1"]);
    let policy = allowlist(rules, &[]);
    let world = world_reading(
        policy,
        Limits::default(),
        Arc::new(Nobody),
        Some(terminator),
    );
    let asked = Arc::new(Mutex::new(Vec::new()));
    world.internet.name(API, &["11.22.33.44"]);
    let (config, heard) = (server(&trusted), Arc::clone(&asked));
    let secure = origin(move |stream| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        answer(StreamOwned::new(session, stream), &heard);
    });
    let heard = Arc::clone(&asked);
    let plain = origin(move |stream| answer(stream, &heard));
    for (port, at) in [(443, secure), (8443, secure), (80, plain), (8080, plain)] {
        world.internet.route(&format!("11.22.33.44:{port}"), at);
    }
    Scene {
        world,
        asked,
        program,
        trusted,
    }
}

/// Answers each request with its first line, and remembers its head.
pub(super) fn answer(mut stream: impl Read + Write, asked: &Mutex<Vec<String>>) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if !matches!(stream.read(&mut byte), Ok(1)) {
                return;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let line = head.lines().next().unwrap_or_default().to_owned();
        lock(asked).push(head.clone());
        let text = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{line}",
            line.len()
        );
        if stream.write_all(text.as_bytes()).is_err() || stream.flush().is_err() {
            return;
        }
    }
}

pub(super) type Secure = StreamOwned<ClientConnection, TcpStream>;

/// TLS as `program` speaks it, for [`API`].
pub(super) fn inside(stream: TcpStream, program: &Arc<ClientConfig>) -> Secure {
    let name = ServerName::try_from(API).unwrap();
    let session = ClientConnection::new(Arc::clone(program), name).unwrap();
    StreamOwned::new(session, stream)
}

pub(super) fn get(path: &str) -> String {
    request("GET", path, API, "")
}

pub(super) fn request(method: &str, path: &str, host: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")
}

/// Says `text` and reads one answer: its status and body.
pub(super) fn ask(stream: &mut (impl Read + Write), text: &str) -> Option<(u16, String)> {
    stream.write_all(text.as_bytes()).ok()?;
    stream.flush().ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, String::from_utf8(body).unwrap()))
}

impl Scene {
    pub(super) fn secure(&self) -> Secure {
        inside(self.world.captured(API, 443), &self.program)
    }

    pub(super) fn asked(&self) -> Vec<String> {
        lock(&self.asked).clone()
    }

    /// Asks on a connection of its own; the status, or `None` for none.
    pub(super) fn status(&self, text: &str) -> Option<u16> {
        ask(&mut self.secure(), text).map(|(status, _)| status)
    }

    /// The reasons of all refusals so far.
    pub(super) fn reasons(&self) -> Vec<(RuleId, String)> {
        let events = self.world.events();
        let refused = events.iter().filter_map(|event| match event {
            Event::Connection(made) => Some(parts(&made.decision)),
            Event::Name(_) | Event::Asked(_) | Event::Closed(_) => None,
        });
        refused
            .filter(|(rule, _, _)| *rule != RuleId::AllowedHost)
            .map(|(rule, reason, _)| (rule, reason.to_owned()))
            .collect()
    }
}

fn connect(world: &World, port: u16) -> TcpStream {
    let mut stream = world.connect();
    let text = format!("CONNECT {API}:{port} HTTP/1.1\r\nHost: {API}:{port}\r\n\r\n");
    stream.write_all(text.as_bytes()).unwrap();
    assert_eq!(read_http(&mut stream).unwrap().0, 200);
    stream
}

#[test]
fn by_every_way_in_only_the_ruled_requests_reach_the_origin() {
    let scene = scene(&[RULE, "api.example.com:8443 GET /v1/**"]);
    let mut by_socks = scene.world.connect();
    assert_eq!(socks(&mut by_socks, API, 443), Some(0));
    for (stream, host) in [
        (scene.world.captured(API, 443), API),
        (scene.world.captured(API, 8443), "api.example.com:8443"),
        (connect(&scene.world, 443), API),
        (connect(&scene.world, 8443), "api.example.com:8443"),
        (by_socks, API),
    ] {
        lock(&scene.asked).clear();
        scene.world.forget_events();
        let mut stream = inside(stream, &scene.program);
        let get = |path: &str| request("GET", path, host, "");
        let (status, body) = ask(&mut stream, &get("/v1/x?y=z")).unwrap();
        assert_eq!((status, body.as_str()), (200, "GET /v1/x?y=z HTTP/1.1"));
        // The second on the same connection, to a path that no rule names.
        let (status, body) = ask(&mut stream, &get("/admin")).unwrap();
        assert_eq!(status, 403);
        assert!(
            body.contains("net.request-scope") && body.contains("GET /admin"),
            "{body}"
        );
        assert_eq!(scene.asked().len(), 1, "{:?}", scene.asked());
        assert_eq!(scene.world.refusals(), [RuleId::RequestScope]);
    }
}

#[test]
fn in_the_clear_nothing_but_ruled_requests_goes_on_either() {
    let scene = scene(&[RULE, "api.example.com:8080 GET /v1/**"]);
    for (mut stream, port) in [
        (scene.world.captured(API, 80), 80),
        (scene.world.captured(API, 8080), 8080),
        (connect(&scene.world, 8080), 8080),
    ] {
        let host = if port == 80 {
            API.to_owned()
        } else {
            format!("{API}:{port}")
        };
        assert_eq!(
            ask(&mut stream, &request("GET", "/v1/x", &host, ""))
                .unwrap()
                .0,
            200
        );
        assert_eq!(
            ask(&mut stream, &request("GET", "/v2/x", &host, ""))
                .unwrap()
                .0,
            403
        );
    }
    let mut stream = scene.world.connect();
    for (path, status) in [("/v1/x", 200), ("/v1/../x", 403)] {
        let text = request("GET", &format!("http://{API}{path}"), API, "");
        assert_eq!(ask(&mut stream, &text).unwrap().0, status, "{path}");
    }
    assert_eq!(scene.asked().len(), 4);
    assert_eq!(scene.world.refusals(), [RuleId::RequestScope]);
}

#[test]
fn no_disguise_of_a_path_or_method_passes() {
    let scene = scene(&[RULE]);
    let hidden = |header: &str| request("GET", "/v1/x", API, &format!("{header}: DELETE\r\n"));
    let attacks = [
        get("/v1/../admin"),
        get("/v1/%2e%2e/admin"),
        get("/v1/..%2fadmin"),
        get("/v1/%252e%252e%252fadmin"),
        get("/v1/..%5cadmin"),
        get("/v1/..\\admin"),
        get("/v1/..;/admin"),
        get("/v1//../admin"),
        get("//admin"),
        get("/v1/%c0%ae%c0%ae/admin"),
        get("/v1/x%00"),
        get("/V1/x"),
        get("/v1/x?_method=DELETE"),
        get("/v1/x?a=b&%5Fmethod=DELETE"),
        request("DELETE", "/v1/x", API, ""),
        hidden("X-HTTP-Method-Override"),
        hidden("x_http_method_override"),
        hidden("X-HTTP-Method"),
        hidden("X.HTTP.Method.Override"),
        hidden("Transfer_Encoding"),
        hidden("Content_Length"),
        hidden("X-Original-URL"),
        hidden("X-Rewrite-URL"),
    ];
    for attack in &attacks {
        scene.world.forget_events();
        assert_eq!(scene.status(attack), Some(403), "{attack}");
        assert_eq!(scene.world.refusals(), [RuleId::RequestScope], "{attack}");
    }
    assert_eq!(scene.asked(), [""; 0]);
    // The control: where no rule looks at requests, each of them reaches an origin.
    let whole = world_reading(
        allowlist(&["api.example.com:8080"], &[]),
        Limits::default(),
        Arc::new(Nobody),
        None,
    );
    whole.internet.name(API, &["11.22.33.44"]);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    let plain = origin(move |stream| answer(stream, &log));
    whole.internet.route("11.22.33.44:8080", plain);
    for attack in &attacks {
        let text = attack.replace(&format!("Host: {API}"), &format!("Host: {API}:8080"));
        let asked = ask(&mut whole.captured(API, 8080), &text);
        assert_eq!(asked.map(|(status, _)| status), Some(200), "{attack}");
    }
    assert_eq!(lock(&heard).len(), attacks.len());
}

#[test]
fn inside_tls_requests_are_read_as_strictly_as_outside() {
    let scene = scene(&[RULE]);
    for (attack, rule) in [
        (
            request("GET", "/v1/x", "other.example.com", ""),
            RuleId::HostMismatch,
        ),
        (
            request("GET", "/v1/x", "api.example.com:80", ""),
            RuleId::HostMismatch,
        ),
        (
            request(
                "GET",
                "https://other.example.com/v1/x",
                "other.example.com",
                "",
            ),
            RuleId::HostMismatch,
        ),
        (
            request("GET", "https://other.example.com/v1/x", API, ""),
            RuleId::HostMismatch,
        ),
        (
            request("GET", &format!("http://{API}/v1/x"), API, ""),
            RuleId::Malformed,
        ),
        (request("GET", "/v1/x#y", API, ""), RuleId::Malformed),
        (
            request(
                "POST",
                "/v1/x",
                API,
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            ),
            RuleId::Malformed,
        ),
        (
            request(
                "POST",
                "/v1/x",
                API,
                "Content-Length: 0\r\nContent-Length: 40\r\n",
            ),
            RuleId::Malformed,
        ),
        (
            "GET /v1/x HTTP/1.1\nHost: api.example.com\n\n".to_owned(),
            RuleId::Malformed,
        ),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            RuleId::Malformed,
        ),
        (
            request(
                "GET",
                "/v1/x",
                API,
                "Connection: upgrade\r\nUpgrade: websocket\r\n",
            ),
            RuleId::Upgrade,
        ),
        (
            request("CONNECT", "api.example.com:443", "api.example.com:443", ""),
            RuleId::Upgrade,
        ),
    ] {
        scene.world.forget_events();
        let status = scene.status(&attack);
        assert!(matches!(status, Some(400 | 403)), "{attack}: {status:?}");
        assert_eq!(scene.world.refusals(), [rule], "{attack}");
    }
    assert_eq!(scene.asked(), [""; 0]);
    assert_eq!(
        scene.status(&request("GET", "https://api.example.com/v1/x", API, "")),
        Some(200)
    );
    assert_eq!(
        scene.status(&request("GET", "/v1/x", "api.example.com:443", "")),
        Some(200)
    );
    assert!(
        scene
            .asked()
            .iter()
            .all(|head| head.contains("\r\nHost: api.example.com\r\n"))
    );
}

/// A body that says it ends where a second request begins: what is behind it is decided like any other request.
#[test]
fn a_request_behind_a_body_is_decided_for_itself() {
    let scene = scene(&[RULE]);
    let mut stream = scene.secure();
    let smuggled = request("DELETE", "/v1/x", API, "");
    let body = format!("0\r\n\r\n{smuggled}");
    let first = request("POST", "/v1/x", API, "Transfer-Encoding: chunked\r\n");
    assert_eq!(ask(&mut stream, &format!("{first}{body}")).unwrap().0, 200);
    let mut rest = String::new();
    // The end may come without a goodbye.
    let _ = stream.read_to_string(&mut rest);
    assert!(rest.contains("HTTP/1.1 403"), "{rest}");
    assert!(!scene.asked().concat().contains("DELETE"));
}

#[test]
fn what_is_no_request_is_refused_where_only_requests_are_allowed() {
    let scene = scene(&[
        RULE,
        "api.example.com:8080 GET /v1/**",
        "api.example.com:22 GET",
    ]);
    for (port, said) in [
        (443, "SSH-2.0-x\r\n"),
        (80, "SSH-2.0-x\r\n"),
        (8080, "\0\0\0\x08"),
        (22, "SSH-2.0-x\r\n"),
    ] {
        for mut stream in [scene.world.captured(API, port), connect(&scene.world, port)] {
            scene.world.forget_events();
            stream.write_all(said.as_bytes()).unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            assert_eq!(scene.world.refusals(), [RuleId::RequestScope], "{port}");
        }
    }
    assert_eq!(scene.world.internet.dialled(), []);
    assert_eq!(scene.asked(), [""; 0]);
}

fn reloaded(rules: &[&str]) -> NetworkPolicy {
    allowlist(rules, &[])
}

#[test]
fn a_policy_that_begins_to_look_at_requests_closes_what_is_unread() {
    let scene = scene(&["api.example.com:443", "api.example.com:8080"]);
    let program = client(&scene.trusted.roots().bundle(""), &[]);
    let mut unread = inside(scene.world.captured(API, 443), &program);
    assert_eq!(ask(&mut unread, &get("/admin")).unwrap().0, 200);
    let mut read = scene.world.captured(API, 8080);
    let plain = |path: &str| request("GET", path, "api.example.com:8080", "");
    assert_eq!(ask(&mut read, &plain("/admin")).unwrap().0, 200);
    scene
        .world
        .control
        .reload(reloaded(&[RULE, "api.example.com:8080 GET /v1/**"]));
    assert_ended(&mut unread.sock);
    let revoked = |event: &Event| matches!(event, Event::Closed(closed) if closed.cause == CloseCause::Revoked);
    assert!(scene.world.events().iter().any(revoked));
    // Requests are decided one by one: the connection may stay, and the next one is refused.
    let asked = ask(&mut read, &plain("/admin"));
    assert!(!matches!(asked, Some((200, _))), "{asked:?}");
}

#[test]
fn a_narrower_scope_holds_from_the_next_request_on() {
    let scene = scene(&[RULE]);
    let mut stream = scene.secure();
    assert_eq!(ask(&mut stream, &get("/v1/x")).unwrap().0, 200);
    scene
        .world
        .control
        .reload(reloaded(&["api.example.com GET /v1/y"]));
    assert_eq!(ask(&mut stream, &get("/v1/x")).unwrap().0, 403);
    assert_eq!(ask(&mut scene.secure(), &get("/v1/y")).unwrap().0, 200);
}

#[test]
fn a_request_in_flight_ends_when_its_rule_is_taken_back() {
    let rule = "api.example.com:8080 GET /v1/**";
    let scene = scene(&[rule, "api.example.com:8080 POST /up/**"]);
    // One that only listens: the request stays in flight.
    let silent = origin(|mut stream| while matches!(stream.read(&mut [0; 64]), Ok(1..)) {});
    scene.world.internet.route("11.22.33.44:8080", silent);
    let mut stream = scene.world.captured(API, 8080);
    let head =
        "POST /up/x HTTP/1.1\r\nHost: api.example.com:8080\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(b"4\r\nsome\r\n").unwrap();
    while scene.world.control.open_connections() == 0 {
        std::thread::yield_now();
    }
    // The control: a policy with the same requests ends nothing.
    scene
        .world
        .control
        .reload(reloaded(&[rule, "api.example.com:8080 POST /up/**"]));
    stream.write_all(b"4\r\nmore\r\n").unwrap();
    let revoked = |event: &Event| matches!(event, Event::Closed(closed) if closed.cause == CloseCause::Revoked);
    assert!(!scene.world.events().iter().any(revoked));
    scene.world.control.reload(reloaded(&[rule]));
    assert_ended(&mut stream);
    for _ in 0..500 {
        if scene.world.events().iter().any(revoked) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{:?}", scene.world.events());
}
