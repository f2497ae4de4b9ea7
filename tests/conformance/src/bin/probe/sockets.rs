//! Sockets: which can be made, and what they reach.

use std::ffi::{CStr, CString};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use ringfence_conformance_tests::verdict::Stopped;

use crate::calls::{Outcome, descriptor};
use crate::sys;

/// Long enough for a machine under load; a packet to nowhere ends here.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs the attack of that name; `None` when this table has no such row.
pub(crate) fn run(name: &str, words: &[CString]) -> Option<Outcome> {
    let outcome = match (name, words) {
        ("socket", [family, kind, protocol]) => socket(family, kind, protocol),
        ("socketpair", [kind]) => socketpair(kind),
        ("tcp-with-itself", [address]) => tcp_with_itself(address),
        ("udp-with-itself", [address]) => udp_with_itself(address),
        ("tcp-connect", [address, port]) => tcp_connect(address, port),
        ("tcp-fast-open", [address, port]) => tcp_fast_open(address, port),
        ("udp-echo", [address, port]) => udp_echo(address, port),
        ("unix-connect", [path, kind]) => unix_connect(path, kind),
        ("unix-abstract", [name]) => unix_abstract(name),
        ("unix-bind", [path]) => unix_bind(path),
        ("inherited-connect", [path]) => inherited_connect(path),
        ("interfaces", []) => interfaces(),
        _ => return None,
    };
    Some(outcome)
}

fn number(word: &CStr) -> Result<i32, Stopped> {
    word.to_str()
        .ok()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| Stopped::untried("a number was expected"))
}

fn address(address: &CStr, port: &CStr) -> Result<SocketAddr, Stopped> {
    let wrong = || Stopped::untried("an address and a port were expected");
    let address: IpAddr = address
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(wrong)?;
    let port = u16::try_from(number(port)?).map_err(|_| wrong())?;
    Ok(SocketAddr::new(address, port))
}

fn io(call: &'static str) -> impl Fn(std::io::Error) -> Stopped {
    move |error| Stopped {
        call: call.to_owned(),
        errno: error.raw_os_error().unwrap_or(match error.kind() {
            std::io::ErrorKind::TimedOut => libc::ETIMEDOUT,
            std::io::ErrorKind::WouldBlock => libc::EAGAIN,
            _ => 0,
        }),
    }
}

fn socket(family: &CStr, kind: &CStr, protocol: &CStr) -> Outcome {
    let (family, kind, protocol) = (number(family)?, number(kind)?, number(protocol)?);
    sys!(SYS_socket, family, kind, protocol).map(|_| String::new())
}

fn socketpair(kind: &CStr) -> Outcome {
    let mut ends = [0_i32; 2];
    sys!(SYS_socketpair, libc::AF_UNIX, number(kind)?, 0, &mut ends)?;
    let [left, right] = ends;
    sys!(SYS_write, left, b"x", 1)?;
    let mut byte = [0_u8; 1];
    sys!(SYS_read, right, &mut byte, 1)?;
    Ok(String::new())
}

/// What every test suite with a server does.
fn tcp_with_itself(ip: &CStr) -> Outcome {
    let listener = TcpListener::bind(address(ip, c"0")?).map_err(io("bind"))?;
    let place = listener.local_addr().map_err(io("getsockname"))?;
    let mut client = TcpStream::connect_timeout(&place, PATIENCE).map_err(io("connect"))?;
    let (mut server, _) = listener.accept().map_err(io("accept4"))?;
    client.write_all(b"hello").map_err(io("write"))?;
    let mut said = [0_u8; 5];
    server.read_exact(&mut said).map_err(io("read"))?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn udp_with_itself(ip: &CStr) -> Outcome {
    let socket = UdpSocket::bind(address(ip, c"0")?).map_err(io("bind"))?;
    let place = socket.local_addr().map_err(io("getsockname"))?;
    socket
        .set_read_timeout(Some(PATIENCE))
        .map_err(io("setsockopt"))?;
    socket.send_to(b"hello", place).map_err(io("sendto"))?;
    let mut said = [0_u8; 5];
    socket.recv_from(&mut said).map_err(io("recvfrom"))?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// Connects and reads the greeting of the suite's server: a connection to something else is no success.
fn tcp_connect(ip: &CStr, port: &CStr) -> Outcome {
    let mut stream =
        TcpStream::connect_timeout(&address(ip, port)?, PATIENCE).map_err(io("connect"))?;
    greeting(&mut stream)
}

fn greeting(stream: &mut TcpStream) -> Outcome {
    stream
        .set_read_timeout(Some(PATIENCE))
        .map_err(io("setsockopt"))?;
    let mut said = [0_u8; 9];
    stream.read_exact(&mut said).map_err(io("read"))?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// `sendto` with `MSG_FASTOPEN` connects without `connect`.
fn tcp_fast_open(ip: &CStr, port: &CStr) -> Outcome {
    let SocketAddr::V4(place) = address(ip, port)? else {
        return Err(Stopped::untried("an IPv4 address was expected"));
    };
    let fd = descriptor(sys!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0)?);
    let mut name = [0_u8; 16];
    let family = u16::try_from(libc::AF_INET).unwrap_or(0).to_ne_bytes();
    name[..2].copy_from_slice(&family);
    name[2..4].copy_from_slice(&place.port().to_be_bytes());
    name[4..8].copy_from_slice(&place.ip().octets());
    sys!(SYS_sendto, fd, b"x", 1, libc::MSG_FASTOPEN, &name, 16)?;
    let mut said = [0_u8; 9];
    sys!(SYS_recvfrom, fd, &mut said, 9, libc::MSG_WAITALL, 0, 0)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn udp_echo(ip: &CStr, port: &CStr) -> Outcome {
    let place = address(ip, port)?;
    let any = if place.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).map_err(io("bind"))?;
    socket
        .set_read_timeout(Some(PATIENCE))
        .map_err(io("setsockopt"))?;
    socket.send_to(b"ringfence", place).map_err(io("sendto"))?;
    let mut said = [0_u8; 9];
    socket.recv_from(&mut said).map_err(io("recvfrom"))?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

pub(crate) fn unix_name(path: &[u8]) -> Result<([u8; 110], usize), Stopped> {
    let mut name = [0_u8; 110];
    let family = u16::try_from(libc::AF_UNIX).unwrap_or(0).to_ne_bytes();
    name[..2].copy_from_slice(&family);
    let space = name
        .get_mut(2..2 + path.len())
        .ok_or_else(|| Stopped::untried("a socket path that is too long"))?;
    space.copy_from_slice(path);
    Ok((name, 2 + path.len()))
}

fn unix_connect(path: &CStr, kind: &CStr) -> Outcome {
    let fd = descriptor(sys!(SYS_socket, libc::AF_UNIX, number(kind)?, 0)?);
    let (name, length) = unix_name(path.to_bytes_with_nul())?;
    sys!(SYS_connect, fd, &name, length).map(|_| String::new())
}

fn unix_abstract(abstract_name: &CStr) -> Outcome {
    let fd = descriptor(sys!(SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0)?);
    let mut path = vec![0];
    path.extend_from_slice(abstract_name.to_bytes());
    let (name, length) = unix_name(&path)?;
    sys!(SYS_connect, fd, &name, length).map(|_| String::new())
}

fn unix_bind(path: &CStr) -> Outcome {
    let fd = descriptor(sys!(SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0)?);
    let (name, length) = unix_name(path.to_bytes_with_nul())?;
    sys!(SYS_bind, fd, &name, length).map(|_| String::new())
}

/// A pair is allowed; one end of it, disconnected and pointed at a path, must not become a client.
fn inherited_connect(path: &CStr) -> Outcome {
    let mut ends = [0_i32; 2];
    sys!(
        SYS_socketpair,
        libc::AF_UNIX,
        libc::SOCK_DGRAM,
        0,
        &mut ends
    )?;
    let [fd, _] = ends;
    let (name, length) = unix_name(path.to_bytes_with_nul())?;
    sys!(SYS_connect, fd, &name, length)?;
    sys!(SYS_sendto, fd, b"x", 1, 0, 0, 0).map(|_| String::new())
}

fn interfaces() -> Outcome {
    let text =
        std::fs::read_to_string("/proc/self/net/dev").map_err(io("read /proc/self/net/dev"))?;
    let names: Vec<String> = text
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':').map(|(name, _)| name.trim().to_owned()))
        .collect();
    serde_json::to_string(&names).map_err(|_| Stopped::untried("no JSON"))
}
