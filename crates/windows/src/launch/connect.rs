//! A way through the session's proxy for programs that ask for none: what `ssh` calls a `ProxyCommand`.
//!
//! It is started inside, by a target, and can do what a target can: it asks the proxy for one connection and passes
//! bytes on. Invariant: it connects to nothing but loopback, and says whose refusal it was.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;

use ringfence_policy::escape::escape_os;
use serde::Deserialize;

/// The argument that gives the runner's program this role; the host and the port follow.
pub const CONNECT_ROLE: &str = "--connect";

/// The variable that tells programs of the proxy.
const PROXY: &str = "https_proxy";
/// The longest head of the proxy's answer, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// The most of a refusal's text that is read, in bytes.
const MAX_BODY: u64 = 16 << 10;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host or the port is none.
    #[error("`{0}` is no host and port")]
    Destination(String),
    /// The session has no proxy.
    #[error(
        "this session has no way out: `{PROXY}` names no proxy on loopback; to allow one: `ringfence run --allow-host HOST:PORT -- ...`"
    )]
    NoProxy,
    /// The proxy can't be reached.
    #[error("the session's proxy at {proxy} can't be reached")]
    Reach {
        /// Where it is said to be.
        proxy: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The proxy closed the connection without an answer, or gave none that can be read.
    #[error(
        "the session's proxy at {0} has closed the connection unanswered: this process is not one of its session's"
    )]
    Unanswered(SocketAddr),
    /// The proxy refused.
    #[error("{destination} is refused: {why}")]
    Refused {
        /// Host and port.
        destination: String,
        /// Its words.
        why: String,
    },
    /// The connection broke.
    #[error("the connection to {destination} broke")]
    Broken {
        /// Host and port.
        destination: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// Connects standard input and output with `host` and `port`, until the other end closes.
///
/// # Errors
/// [`ConnectError`].
///
/// # Security
/// A target chooses all of it: arguments, variables and streams. What it reaches so it reaches by itself.
pub fn connect(host: &OsStr, port: &OsStr) -> Result<(), ConnectError> {
    let destination = destination(host, port)?;
    let proxy = std::env::var(PROXY)
        .ok()
        .and_then(|value| proxy_of(&value))
        .ok_or(ConnectError::NoProxy)?;
    let stream = tunnel(proxy, &destination)?;
    relay(stream, io::stdin(), &mut io::stdout()).map_err(|source| ConnectError::Broken {
        destination,
        source,
    })
}

/// Host and port as a request names them.
fn destination(host: &OsStr, port: &OsStr) -> Result<String, ConnectError> {
    let refused = || {
        let both = [host, port].map(escape_os).join(" ");
        ConnectError::Destination(both)
    };
    let name = host.to_str().ok_or_else(refused)?;
    let number: u16 = port
        .to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(refused)?;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refused());
    }
    Ok(if name.contains(':') && !name.starts_with('[') {
        format!("[{name}]:{number}")
    } else {
        format!("{name}:{number}")
    })
}

/// The proxy that a variable names, where that is on loopback.
fn proxy_of(value: &str) -> Option<SocketAddr> {
    let address: SocketAddr = value.strip_prefix("http://")?.parse().ok()?;
    address.ip().is_loopback().then_some(address)
}

/// Asks `proxy` for a connection to `destination`.
fn tunnel(proxy: SocketAddr, destination: &str) -> Result<TcpStream, ConnectError> {
    let reach = |source| ConnectError::Reach { proxy, source };
    let mut stream = TcpStream::connect(proxy).map_err(reach)?;
    let request = format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n\r\n");
    let unanswered = |_| ConnectError::Unanswered(proxy);
    stream.write_all(request.as_bytes()).map_err(unanswered)?;
    let head = read_head(&mut stream).ok_or(ConnectError::Unanswered(proxy))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status == "200" {
        return Ok(stream);
    }
    let mut body = Vec::new();
    // What of it arrives is told.
    let _ = stream.take(MAX_BODY).read_to_end(&mut body);
    Err(ConnectError::Refused {
        destination: destination.to_owned(),
        why: words(status, &body),
    })
}

/// The head of an answer, and no byte behind it: a server that speaks first may have sent some.
fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD || stream.read_exact(&mut byte).is_err() {
            return None;
        }
        head.extend_from_slice(&byte);
    }
    String::from_utf8(head).ok()
}

/// What a refusal's text says of itself.
#[derive(Deserialize)]
struct Said {
    rule: Option<String>,
    reason: Option<String>,
    allow: Option<Vec<String>>,
}

fn words(status: &str, body: &[u8]) -> String {
    let printable = |text: &str| escape_os(OsStr::new(text));
    let Ok(said) = serde_json::from_slice::<Said>(body) else {
        return format!("the proxy answered {}", printable(status));
    };
    let rule = said.rule.map(|rule| format!("rule {}", printable(&rule)));
    let reason = said.reason.filter(|reason| !reason.is_empty());
    let allow = said.allow.map(|words| {
        let words: Vec<String> = words.iter().map(|word| printable(word)).collect();
        format!("to allow: `ringfence run {} -- ...`", words.join(" "))
    });
    let parts = [rule, reason.as_deref().map(printable), allow];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        return format!("the proxy answered {}", printable(status));
    }
    parts.join("; ")
}

/// Passes bytes on in both directions; returns when the far end has closed.
fn relay(
    stream: TcpStream,
    mut input: impl Read + Send + 'static,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut far = stream.try_clone()?;
    // It ends with its stream, or with this process.
    thread::spawn(move || {
        let _ = io::copy(&mut input, &mut far);
        let _ = far.shutdown(Shutdown::Write);
    });
    let mut near = stream;
    let mut buffer = vec![0; 32 << 10];
    loop {
        let length = near.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        output.write_all(buffer.get(..length).unwrap_or_default())?;
        output.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    /// A proxy that answers one request with `answer`, then echoes until its caller has said all.
    fn proxy(answer: &'static [u8]) -> (SocketAddr, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let asked = read_head(&mut stream).unwrap();
            stream.write_all(answer).unwrap();
            let mut rest = Vec::new();
            if answer.starts_with(b"HTTP/1.1 200") {
                stream.read_to_end(&mut rest).unwrap();
                stream.write_all(&rest).unwrap();
            }
            asked
        });
        (address, served)
    }

    #[test]
    fn a_banner_that_comes_with_the_proxys_answer_is_passed_on_whole_and_an_end_of_input_too() {
        let (address, served) = proxy(b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-server\r\n");
        let stream = tunnel(address, "git.example.com:22").unwrap();
        let mut output = Vec::new();
        relay(stream, &b"SSH-2.0-client\r\n"[..], &mut output).unwrap();
        assert_eq!(output, b"SSH-2.0-server\r\nSSH-2.0-client\r\n");
        let asked = served.join().unwrap();
        assert!(
            asked
                .starts_with("CONNECT git.example.com:22 HTTP/1.1\r\nHost: git.example.com:22\r\n")
        );
    }

    #[test]
    fn a_refusal_is_told_with_its_rule_and_what_would_allow_it() {
        let (address, served) = proxy(
            b"HTTP/1.1 403 Forbidden\r\nx-proxy-error: blocked-by-net.not-listed\r\n\r\n{\"rule\":\"net.not-listed\",\"reason\":\"\",\"allow\":[\"--allow-host\",\"git.example.com:22\"]}\n",
        );
        let refused = tunnel(address, "git.example.com:22").unwrap_err();
        served.join().unwrap();
        assert_eq!(
            refused.to_string(),
            "git.example.com:22 is refused: rule net.not-listed; to allow: `ringfence run --allow-host git.example.com:22 -- ...`"
        );
        let (address, served) = proxy(b"HTTP/1.1 502 Bad Gateway\r\n\r\n<\x1b[31m");
        let refused = tunnel(address, "git.example.com:22").unwrap_err();
        served.join().unwrap();
        assert!(refused.to_string().ends_with("the proxy answered 502"));
        let hostile = words("403", b"{\"rule\":\"\\u001b[31m\"}");
        assert!(!hostile.contains('\u{1b}'), "{hostile}");
    }

    #[test]
    fn a_proxy_that_closes_at_once_knows_no_such_session() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = thread::spawn(move || drop(listener.accept().unwrap()));
        let refused = tunnel(address, "git.example.com:22").unwrap_err();
        served.join().unwrap();
        assert!(
            matches!(refused, ConnectError::Unanswered(_)),
            "{refused:?}"
        );
    }

    #[test]
    fn nothing_but_loopback_is_a_sessions_proxy_and_nothing_but_a_host_and_a_port_a_destination() {
        assert!(proxy_of("http://127.0.0.1:20000").is_some());
        assert!(proxy_of("http://[::1]:20000").is_some());
        for other in [
            "http://192.0.2.1:20000",
            "https://127.0.0.1:20000",
            "http://localhost:20000",
            "http://user@127.0.0.1:20000",
            "",
        ] {
            assert_eq!(proxy_of(other), None, "{other}");
        }
        let of = |host: &str, port: &str| destination(OsStr::new(host), OsStr::new(port)).ok();
        assert_eq!(of("a.example.com", "22").unwrap(), "a.example.com:22");
        assert_eq!(of("::1", "22").unwrap(), "[::1]:22");
        assert_eq!(of("[::1]", "22").unwrap(), "[::1]:22");
        for (host, port) in [
            ("", "22"),
            ("a b", "22"),
            ("a\r\nHost: b", "22"),
            ("a", "70000"),
            ("a", "-1"),
            ("a", ""),
        ] {
            assert_eq!(of(host, port), None, "{host:?} {port:?}");
        }
    }
}
