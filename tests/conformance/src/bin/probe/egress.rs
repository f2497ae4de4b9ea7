//! Ways out: what a program inside does to reach another machine, and what it is told.
//!
//! A refusal counts only where the proxy says so itself: a 403 with its own header, SOCKS's "not allowed", TLS's
//! `access_denied`. Everything else that goes wrong is a failure, never a denial.

use std::ffi::CStr;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use ringfence_conformance_tests::verdict::Stopped;

use crate::calls::Outcome;

/// Long enough for a machine under load.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the attack of that name; `None` when this table has no such row.
pub(crate) fn run(name: &str, words: &[std::ffi::CString]) -> Option<Outcome> {
    let words: Vec<&str> = words.iter().map(|word| text(word)).collect();
    Some(match (name, words.as_slice()) {
        ("resolve", [host]) => resolve(host),
        ("banner", [host, port]) => banner(host, port),
        ("outlive", [host, port, mark]) => outlive(host, port, mark),
        ("http", [host, port, head]) => http(host, port, head),
        ("hello", [host, port, server]) => hello(host, port, server),
        ("proxied", [kind, host, port, head]) => proxied(kind, host, port, head),
        _ => return None,
    })
}

fn text(word: &CStr) -> &str {
    word.to_str().unwrap_or_default()
}

fn stopped(call: &str) -> impl Fn(std::io::Error) -> Stopped {
    move |error| Stopped {
        call: call.to_owned(),
        errno: error.raw_os_error().unwrap_or(match error.kind() {
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => libc::ETIMEDOUT,
            std::io::ErrorKind::UnexpectedEof => libc::EPIPE,
            _ => 0,
        }),
    }
}

/// The proxy's own word that this is not allowed.
fn refused(how: &str) -> Stopped {
    Stopped {
        call: how.to_owned(),
        errno: libc::EACCES,
    }
}

/// All addresses of `host`; `ENXIO` where the name server has none, for which the C library has no number.
fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, Stopped> {
    match (host, port).to_socket_addrs() {
        Ok(found) => Ok(found.collect()),
        Err(error) => Err(Stopped {
            call: format!("getaddrinfo: {error}"),
            errno: error.raw_os_error().unwrap_or(libc::ENXIO),
        }),
    }
}

fn resolve(host: &str) -> Outcome {
    let mut addresses: Vec<String> = lookup(host, 0)?
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    addresses.dedup();
    Ok(addresses.join(" "))
}

fn connect(host: &str, port: &str) -> Result<TcpStream, Stopped> {
    let port: u16 = port
        .parse()
        .map_err(|_| Stopped::untried("a port was expected"))?;
    let mut last = Stopped::untried("the name has no address");
    for address in lookup(host, port)? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream
                    .set_read_timeout(Some(PATIENCE))
                    .map_err(stopped("setsockopt"))?;
                return Ok(stream);
            }
            Err(error) => last = stopped("connect")(error),
        }
    }
    Err(last)
}

/// What a server says first.
fn banner(host: &str, port: &str) -> Outcome {
    let mut stream = connect(host, port)?;
    let mut said = [0; 64];
    let length = stream.read(&mut said).map_err(stopped("read"))?;
    if length == 0 {
        return Err(stopped("read")(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(String::from_utf8_lossy(said.get(..length).unwrap_or_default()).into_owned())
}

/// Keeps a connection until the file `mark` is made, then says something and sees whether it is still open.
fn outlive(host: &str, port: &str, mark: &str) -> Outcome {
    let mut stream = connect(host, port)?;
    let mut said = [0; 64];
    if stream.read(&mut said).map_err(stopped("read"))? == 0 {
        return Err(Stopped::untried("the server did not greet"));
    }
    let mark = Path::new(mark);
    let ready = mark.with_extension("ready");
    std::fs::write(&ready, "").map_err(|_| Stopped::untried("the mark can't be made"))?;
    while !mark.exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    stream.write_all(b"late").map_err(stopped("write"))?;
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .map_err(stopped("setsockopt"))?;
    match stream.read(&mut said) {
        Ok(0) => Err(stopped("read")(std::io::ErrorKind::UnexpectedEof.into())),
        Ok(_) => Ok(String::new()),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(String::new()),
        Err(error) => Err(stopped("read")(error)),
    }
}

/// Sends `head` as it is (`\r` and `\n` written so) and reads what comes back until the other side closes.
fn http(host: &str, port: &str, head: &str) -> Outcome {
    exchange(connect(host, port)?, head)
}

fn exchange(mut stream: TcpStream, head: &str) -> Outcome {
    let head = head
        .replace("\\r", "\r")
        .replace("\\n", "\n")
        .replace("\\0", "\0");
    stream
        .write_all(head.as_bytes())
        .map_err(stopped("write"))?;
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .map_err(stopped("read of the answer"))?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let rule = answer.lines().find_map(|line| {
        line.to_lowercase()
            .strip_prefix("x-proxy-error:")
            .map(str::to_owned)
    });
    match (status, rule) {
        ("200", None) => Ok(answer.lines().last().unwrap_or_default().to_owned()),
        (_, Some(rule)) => Err(refused(&format!("{status}{rule}"))),
        (_, None) => Err(Stopped {
            call: format!(
                "HTTP, answered {}",
                answer.lines().next().unwrap_or("nothing")
            ),
            errno: 0,
        }),
    }
}

/// Greets as a TLS client for `server` does, in pieces where the name is `pieces:NAME`; `-` names none.
fn hello(host: &str, port: &str, server: &str) -> Outcome {
    let mut stream = connect(host, port)?;
    let (name, piece) = match server.strip_prefix("pieces:") {
        Some(name) => (name, 1),
        None => (server, usize::MAX),
    };
    let greeting = greeting((name != "-").then_some(name));
    for part in greeting.chunks(piece.min(greeting.len())) {
        stream.write_all(part).map_err(stopped("write"))?;
        let _ = stream.set_nodelay(true);
    }
    let mut answer = [0; 7];
    stream
        .read_exact(&mut answer)
        .map_err(stopped("read of the answer"))?;
    match answer {
        // The origin's own: handshake_failure.
        [0x15, _, _, 0, 2, _, 40] => Ok("the origin".to_owned()),
        [0x15, _, _, 0, 2, _, 49] => Err(refused("TLS access_denied")),
        other => Err(Stopped {
            call: format!("TLS, answered {other:02x?}"),
            errno: 0,
        }),
    }
}

/// A `ClientHello` (RFC 8446, 4.1.2) with `server_name` and nothing else that matters.
fn greeting(server: Option<&str>) -> Vec<u8> {
    let mut extensions = Vec::new();
    if let Some(server) = server {
        let name = server.as_bytes();
        let length = u16::try_from(name.len()).unwrap_or(0);
        extensions.extend([0, 0]);
        extensions.extend((length + 5).to_be_bytes());
        extensions.extend((length + 3).to_be_bytes());
        extensions.push(0);
        extensions.extend(length.to_be_bytes());
        extensions.extend(name);
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0); // session id
    body.extend([0, 2, 0x13, 0x01]); // one cipher suite
    body.extend([1, 0]); // no compression
    body.extend(u16::try_from(extensions.len()).unwrap_or(0).to_be_bytes());
    body.extend(extensions);
    let mut handshake = vec![1, 0];
    handshake.extend(u16::try_from(body.len()).unwrap_or(0).to_be_bytes());
    handshake.extend(body);
    let mut record = vec![0x16, 3, 1];
    record.extend(u16::try_from(handshake.len()).unwrap_or(0).to_be_bytes());
    record.extend(handshake);
    record
}

/// Asks the session's own proxy, as its variables say, by one of its ways.
fn proxied(kind: &str, host: &str, port: &str, head: &str) -> Outcome {
    let proxy =
        std::env::var("http_proxy").map_err(|_| Stopped::untried("no http_proxy is set"))?;
    let address = proxy
        .strip_prefix("http://")
        .and_then(|rest| rest.trim_end_matches('/').rsplit_once(':'))
        .ok_or_else(|| Stopped::untried("http_proxy is no http://HOST:PORT"))?;
    let mut stream = connect(address.0, address.1)?;
    match kind {
        "absolute" => {}
        "connect" => tunnel(&mut stream, host, port)?,
        "socks" => socks(&mut stream, host, port)?,
        _ => return Err(Stopped::untried("no such way")),
    }
    exchange(stream, head)
}

fn tunnel(stream: &mut TcpStream, host: &str, port: &str) -> Result<(), Stopped> {
    let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .map_err(stopped("write"))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream
            .read_exact(&mut byte)
            .map_err(stopped("read of CONNECT"))?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let rule = head
        .lines()
        .find_map(|line| line.strip_prefix("x-proxy-error:"));
    match (status.as_str(), rule) {
        ("200", None) => Ok(()),
        (_, Some(rule)) => Err(refused(&format!("{status}{rule}"))),
        (_, None) => Err(Stopped {
            call: format!("CONNECT, answered {status}"),
            errno: 0,
        }),
    }
}

/// SOCKS5 (RFC 1928): by address where `host` is one, else by name; `\0` in it is a zero.
fn socks(stream: &mut TcpStream, host: &str, port: &str) -> Result<(), Stopped> {
    let port: u16 = port
        .parse()
        .map_err(|_| Stopped::untried("a port was expected"))?;
    let mut request = vec![5, 1, 0];
    stream.write_all(&request).map_err(stopped("write"))?;
    let mut answer = [0; 2];
    stream
        .read_exact(&mut answer)
        .map_err(stopped("read of SOCKS"))?;
    request = vec![5, 1, 0];
    if let Ok(v4) = host.parse::<std::net::Ipv4Addr>() {
        request.push(1);
        request.extend(v4.octets());
    } else if let Ok(v6) = host.parse::<std::net::Ipv6Addr>() {
        request.push(4);
        request.extend(v6.octets());
    } else {
        let name = host.replace("\\0", "\0");
        request.push(3);
        request.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        request.extend(name.as_bytes());
    }
    request.extend(port.to_be_bytes());
    stream.write_all(&request).map_err(stopped("write"))?;
    let mut head = [0; 4];
    stream
        .read_exact(&mut head)
        .map_err(stopped("read of SOCKS"))?;
    match head {
        [5, 0, _, kind] => {
            let rest = if kind == 4 { 18 } else { 6 };
            let mut bound = vec![0; rest];
            stream
                .read_exact(&mut bound)
                .map_err(stopped("read of SOCKS"))
        }
        [5, 2, ..] => Err(refused("SOCKS: not allowed")),
        other => Err(Stopped {
            call: format!("SOCKS, answered {other:02x?}"),
            errno: 0,
        }),
    }
}
