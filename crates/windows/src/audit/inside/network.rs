//! The network as a target has it: other machines, this machine's services, names, shares, echoes, raw sockets, TLS.
//!
//! Source: learn.microsoft.com "Windows Sockets Error Codes", "IP Helper ICMP error codes". Invariant: a refusal by the
//! filters (`WSAEACCES`) is told from silence.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, ToSocketAddrs as _};

use ringfence_plan::windows::audit::Answer;

use crate::audit::Finding;
use crate::audit::stage::{
    Control, ECHO_PATIENCE, ELSEWHERE, PATIENCE, Stage, datagram, elsewhere6,
};
use crate::sys::socket::RawSocket;
use crate::sys::{icmp, schannel};

/// `WSAEACCES`
pub(crate) const REFUSED: i32 = 10013;
/// The name that the resolver is asked for.
pub(crate) const NAME: &str = "example.com";
/// What is said of controls that were tried outside.
const UNREFUSED: &str = "outside, the same is not refused";
const REACHED: &str = "outside, the same listener is reached";

/// `WSAENETUNREACH`, `WSAEHOSTUNREACH`, `WSAEADDRNOTAVAIL`
pub(crate) const fn is_without_network(code: i32) -> bool {
    matches!(code, 10051 | 10065 | 10049)
}

/// A connection to another machine: anything but a refusal means that it went out.
fn outward<T>(tried: &io::Result<T>, control: &Control<()>) -> Finding {
    let found = match tried.as_ref().map_err(io::Error::raw_os_error) {
        Ok(_) => (Answer::Open, "it went out".to_owned()),
        Err(Some(REFUSED)) => (Answer::Held, "refused by the filters (10013)".to_owned()),
        Err(Some(code)) if is_without_network(code) => (
            Answer::Unknown,
            format!("this machine has no network ({code})"),
        ),
        Err(Some(code)) => (Answer::Open, format!("not refused: it ended with {code}")),
        Err(None) => (Answer::Unknown, "it failed without a code".to_owned()),
    };
    with_control(found, control.as_ref().map(|()| UNREFUSED))
}

/// A connection to a listener that is there: it is made, or refused, or nothing can be said.
fn to_listener<T>(tried: &io::Result<T>, control: &'static str) -> Finding {
    let (answer, detail) = match tried.as_ref().map_err(io::Error::raw_os_error) {
        Ok(_) => (Answer::Open, "it was reached".to_owned()),
        Err(Some(REFUSED)) => (Answer::Held, "refused by the filters (10013)".to_owned()),
        Err(Some(code)) => (
            Answer::Unknown,
            format!("it ended with {code}, which is no refusal"),
        ),
        Err(None) => (Answer::Unknown, "it failed without a code".to_owned()),
    };
    Finding::new(answer, detail, control)
}

/// Being held tells nothing where the control failed; being open does.
fn with_control<E: AsRef<str>>(
    (answer, detail): (Answer, String),
    control: Result<&str, E>,
) -> Finding {
    match (answer, control) {
        (answer, Ok(control)) => Finding::new(answer, detail, control),
        (Answer::Held, Err(cause)) => Finding::unknown(format!(
            "{detail}, but the control failed: {}",
            cause.as_ref()
        )),
        (answer, Err(cause)) => {
            let control = format!("the control failed: {}", cause.as_ref());
            Finding::new(answer, detail, &control)
        }
    }
}

pub(super) fn tcp(stage: &Stage) -> Finding {
    let address = SocketAddr::from((ELSEWHERE, 443));
    outward(&TcpStream::connect_timeout(&address, PATIENCE), &stage.tcp)
}

pub(super) fn tcp6(stage: &Stage) -> Finding {
    let address = SocketAddr::V6(elsewhere6());
    outward(&TcpStream::connect_timeout(&address, PATIENCE), &stage.tcp6)
}

pub(super) fn udp(stage: &Stage) -> Finding {
    outward(&datagram(), &stage.udp)
}

fn listener(address: &Control<SocketAddrV4>) -> Finding {
    match address {
        Ok(address) => {
            let address = SocketAddr::V4(*address);
            to_listener(&TcpStream::connect_timeout(&address, PATIENCE), REACHED)
        }
        Err(cause) => Finding::unknown(format!("there is no listener: {cause}")),
    }
}

pub(super) fn fixed(stage: &Stage) -> Finding {
    listener(&stage.fixed)
}

pub(super) fn dynamic(stage: &Stage) -> Finding {
    let mut finding = listener(&stage.dynamic);
    if finding.answer == Answer::Open {
        "services of this machine on dynamic ports are reached; `loopback = \"proxy-only\"` closes that"
            .clone_into(&mut finding.detail);
    }
    finding
}

pub(super) fn itself() -> Finding {
    match connect_to_itself() {
        Ok(()) => Finding::new(Answer::Held, "connected to itself", "one byte came through"),
        Err(error) => Finding::new(
            Answer::Open,
            format!("what should work does not: {error}"),
            "",
        ),
    }
}

fn connect_to_itself() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE)?;
    let (mut server, _) = listener.accept()?;
    client.write_all(b"x")?;
    let mut byte = [0];
    server.read_exact(&mut byte)
}

/// Of this machine alone: an echo of its own is under the same filters, and surely answered outside.
pub(super) fn echo(stage: &Stage) -> Finding {
    let found = match icmp::echo(Ipv4Addr::LOCALHOST, ECHO_PATIENCE) {
        Ok(()) => (Answer::Open, "it was answered".to_owned()),
        // ERROR_ACCESS_DENIED, WSAEACCES, IP_GENERAL_FAILURE
        Err(error) if matches!(error.error.0, 5 | 10013 | 11050) => {
            (Answer::Held, format!("refused: {}", error.error))
        }
        Err(error) => (
            Answer::Unknown,
            format!("it ended with {}, which is no refusal", error.error),
        ),
    };
    let control = stage.echo.as_ref();
    with_control(found, control.map(|()| "outside, the echo is answered"))
}

pub(super) fn raw() -> Finding {
    let control = match RawSocket::stream() {
        Ok(_) => "a TCP socket is made",
        Err(error) => return Finding::unknown(format!("no socket can be made at all: {error}")),
    };
    match RawSocket::raw() {
        Ok(_) => Finding::new(Answer::Open, "a raw socket was made", control),
        Err(error) if error.raw_os_error() == Some(REFUSED) => {
            Finding::new(Answer::Held, "refused (10013)", control)
        }
        Err(error) => Finding::unknown(format!("no refusal was seen: {error}")),
    }
}

/// The control comes later, outside: a name that was asked for before may be answered from memory.
pub(super) fn name() -> Finding {
    match (NAME, 443).to_socket_addrs() {
        Ok(_) => Finding::new(
            Answer::Open,
            "answered: the resolver is a service of its own",
            "",
        ),
        Err(error) => Finding::new(Answer::Held, format!("not answered: {error}"), ""),
    }
}

/// A pipe of this machine's own server, by the redirector, which carries it under an identity of its own.
pub(crate) fn open_share() -> io::Result<()> {
    open_pipe(r"\\localhost\pipe\srvsvc")
}

/// The pipe by which the print spooler takes requests.
pub(crate) fn open_spooler() -> io::Result<()> {
    open_pipe(r"\\.\pipe\spoolss")
}

fn open_pipe(path: &str) -> io::Result<()> {
    let pipe = OpenOptions::new().read(true).write(true).open(path);
    pipe.map(drop)
}

/// By this machine's name, then by another's.
pub(super) fn share(stage: &Stage) -> Finding {
    let control = match &stage.share {
        Ok(()) => "outside, this machine's own server is reached so".to_owned(),
        Err(cause) => format!("outside, this machine's own server is not reached either: {cause}"),
    };
    if open_share().is_ok() {
        let detail = "this machine's own server was reached through the redirector";
        return Finding::new(Answer::Open, detail, &control);
    }
    match std::fs::read_dir(r"\\192.0.2.1\share") {
        Ok(_) => Finding::new(Answer::Open, "the share was opened", &control),
        Err(error) if error.raw_os_error() == Some(REFUSED) => with_control(
            (Answer::Held, "refused by the filters (10013)".to_owned()),
            stage.share.as_ref().map(|()| control.as_str()),
        ),
        // Nobody tells whether a packet has left.
        Err(error) => Finding::new(
            Answer::Unknown,
            format!("no refusal was seen: {error}"),
            &control,
        ),
    }
}

/// Whether the spooler takes requests; what it does with them it does as itself, other machines' printers included.
pub(super) fn spooler(stage: &Stage) -> Finding {
    let found = match open_spooler() {
        Ok(()) => (
            Answer::Open,
            "it takes requests, and connects to printers of other machines as itself".to_owned(),
        ),
        // ERROR_ACCESS_DENIED
        Err(error) if error.raw_os_error() == Some(5) => (Answer::Held, "refused (5)".to_owned()),
        Err(error) => (Answer::Unknown, format!("no refusal was seen: {error}")),
    };
    let control = stage.spooler.as_ref();
    with_control(found, control.map(|()| "outside, it takes requests"))
}

pub(super) fn tls(stage: &Stage) -> Finding {
    match (schannel::begin_handshake(NAME), &stage.tls) {
        (Ok(bytes), Ok(_)) => Finding::new(
            Answer::Held,
            format!("a handshake begins, with {bytes} bytes"),
            "outside, it begins too",
        ),
        (Ok(bytes), Err(cause)) => Finding::new(
            Answer::Held,
            format!("a handshake begins, with {bytes} bytes"),
            &format!("outside, it does not: {cause}"),
        ),
        (Err(error), Ok(_)) => Finding::new(
            Answer::Open,
            format!(
                "what should work does not: {error}: {}; programs with TLS of their own (git with OpenSSL, curl from git, cargo, node, python) are not hit",
                error.error
            ),
            "outside, it begins",
        ),
        (Err(error), Err(_)) => Finding::unknown(format!(
            "neither here nor outside: {error}: {}",
            error.error
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_silence() {
        let failed = |code| {
            let tried = Err::<(), _>(io::Error::from_raw_os_error(code));
            outward(&tried, &Ok(())).answer
        };
        assert_eq!(failed(REFUSED), Answer::Held);
        assert_eq!(failed(10060), Answer::Open);
        assert_eq!(failed(10051), Answer::Unknown);
        assert_eq!(outward(&Ok(()), &Ok(())).answer, Answer::Open);
    }

    #[test]
    fn what_was_refused_is_not_held_where_the_control_failed() {
        let refused = || Err::<(), _>(io::Error::from_raw_os_error(REFUSED));
        let control = Err("outside it is refused too".to_owned());
        let found = outward(&refused(), &control);
        assert_eq!(found.answer, Answer::Unknown);
        assert!(found.detail.contains("outside it is refused too"));
        // What went out went out.
        assert_eq!(outward(&Ok(()), &control).answer, Answer::Open);
    }

    #[test]
    fn a_listener_that_is_there_is_reached_or_refused_or_nothing_is_said() {
        let failed = |code| {
            let tried = Err::<(), _>(io::Error::from_raw_os_error(code));
            to_listener(&tried, REACHED).answer
        };
        assert_eq!(failed(REFUSED), Answer::Held);
        for silence in [10060, 10061, 10054, 5] {
            assert_eq!(failed(silence), Answer::Unknown, "{silence}");
        }
        assert_eq!(to_listener(&Ok(()), REACHED).answer, Answer::Open);
    }

    #[test]
    fn a_process_connects_to_itself() {
        assert_eq!(itself().answer, Answer::Held);
    }
}
