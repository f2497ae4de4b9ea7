//! The probes that run inside a session, as a target: each tries one thing and prints one line.
//!
//! Addresses are of the blocks that documents reserve for examples: nobody answers there, and a refusal by the filters
//! (`WSAEACCES`) differs from silence. Source: RFC 5737, learn.microsoft.com "Windows Sockets Error Codes".

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

use ringfence_plan::windows::audit::Answer;

/// `WSAEACCES`
const REFUSED: i32 = 10013;
/// `WSAENETUNREACH`, `WSAEHOSTUNREACH`
const NO_NETWORK: [i32; 2] = [10051, 10065];
/// `TEST-NET-1`
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PATIENCE: Duration = Duration::from_secs(3);

/// Tries the probe of this name; `None` where there is none.
#[must_use]
pub fn attempt(name: &str) -> Option<(Answer, String)> {
    Some(match name {
        "egress.tcp" => judge(TcpStream::connect_timeout(
            &SocketAddr::from((ELSEWHERE, 443)),
            PATIENCE,
        )),
        "egress.udp" => judge(datagram()),
        "dns" => match ("example.com", 443).to_socket_addrs() {
            Ok(_) => (
                Answer::Open,
                "answered: the resolver is a service of its own".to_owned(),
            ),
            Err(error) => (Answer::Held, error.to_string()),
        },
        "smb" => match std::fs::read_dir(r"\\192.0.2.1\share") {
            Ok(_) => (Answer::Open, "the share was opened".to_owned()),
            Err(error) => match error.raw_os_error() {
                Some(5 | 10013) => (Answer::Held, error.to_string()),
                // Nobody tells whether a packet has left.
                _ => (Answer::NotTried, format!("no refusal was seen: {error}")),
            },
        },
        "loopback" => match to_itself() {
            Ok(()) => (Answer::Held, "connected to itself".to_owned()),
            Err(error) => (Answer::Open, format!("what must work does not: {error}")),
        },
        _ => return None,
    })
}

fn judge<T>(tried: io::Result<T>) -> (Answer, String) {
    match tried {
        Ok(_) => (Answer::Open, "it went out".to_owned()),
        Err(error) => match error.raw_os_error() {
            Some(REFUSED) => (Answer::Held, "refused by the filters (10013)".to_owned()),
            Some(code) if NO_NETWORK.contains(&code) => (
                Answer::NotTried,
                format!("this machine has no network: {error}"),
            ),
            _ => (Answer::Open, format!("not refused: {error}")),
        },
    }
}

fn datagram() -> io::Result<usize> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.send_to(b"ringfence", (ELSEWHERE, 53))
}

fn to_itself() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE)?;
    let (mut server, _) = listener.accept()?;
    client.write_all(b"x")?;
    let mut byte = [0];
    server.read_exact(&mut byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_silence() {
        let failed = |code| judge::<()>(Err(io::Error::from_raw_os_error(code))).0;
        assert_eq!(failed(REFUSED), Answer::Held);
        assert_eq!(failed(10060), Answer::Open);
        assert_eq!(failed(10051), Answer::NotTried);
        assert_eq!(judge(Ok(())).0, Answer::Open);
        assert_eq!(
            attempt("loopback").map(|(answer, _)| answer),
            Some(Answer::Held)
        );
        assert_eq!(attempt("no-such-probe"), None);
    }
}
