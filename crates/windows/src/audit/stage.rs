//! What is prepared outside for the probes inside: listeners of the person's, and controls that succeed there.
//!
//! Invariant: a control is tried where nothing is restricted, before the probe; where it fails, so does every conclusion
//! from the probe's being refused.

use std::io;
use std::net::{
    Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream, UdpSocket,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Audited;
use super::inside::network::{REFUSED, is_without_network, open_share, open_spooler};
use crate::sys::{icmp, schannel, trespass};

/// How long a connection that is swallowed is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// How long an echo is waited for, in milliseconds.
pub(super) const ECHO_PATIENCE: u32 = 2_000;

/// What came of a control: what it gives, or why it failed.
pub type Control<T> = Result<T, String>;

/// What a probe is told of what was prepared for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// A listener on a port that is neither dynamic nor the proxy's, which was reached from outside.
    pub fixed: Control<SocketAddrV4>,
    /// A listener on a dynamic port, which was reached from outside.
    pub dynamic: Control<SocketAddrV4>,
    /// What another machine's address came to from outside by TCP: no filter refused it.
    pub tcp: Control<()>,
    /// The same over IPv6.
    pub tcp6: Control<()>,
    /// The same by UDP.
    pub udp: Control<()>,
    /// Whether this machine answers an echo request from outside.
    pub echo: Control<()>,
    /// A listener that services are sent to, on a port that the account is refused at.
    pub carried: Control<SocketAddrV4>,
    /// Whether this machine's own server is reached through the redirector outside.
    pub share: Control<()>,
    /// Whether the print spooler takes requests outside.
    pub spooler: Control<()>,
    /// Whether the system's TLS begins a handshake outside.
    pub tls: Control<u32>,
    /// A process of the person's, which opens itself with every right that is asked for.
    pub person: Control<u32>,
    /// A process in another session of the same account.
    pub sibling: Control<u32>,
}

impl Stage {
    /// Nothing prepared: for probes that ask for nothing outside.
    #[must_use]
    pub fn bare() -> Self {
        let why = || "it was not prepared".to_owned();
        Self {
            fixed: Err(why()),
            dynamic: Err(why()),
            tcp: Err(why()),
            tcp6: Err(why()),
            udp: Err(why()),
            echo: Err(why()),
            carried: Err(why()),
            share: Err(why()),
            spooler: Err(why()),
            tls: Err(why()),
            person: Err(why()),
            sibling: Err(why()),
        }
    }
}

/// A stage, with what it stands on.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) stage: Stage,
    /// How many connections the listener has had that services are sent to.
    come: Arc<AtomicUsize>,
    _listeners: Vec<TcpListener>,
}

impl Set {
    pub(super) fn new(audited: Audited) -> Self {
        let mut listeners = Vec::new();
        let unreached = fixed(audited, &mut listeners);
        let dynamic = listen(0, &mut listeners);
        let come = Arc::new(AtomicUsize::new(0));
        let carried = fixed(audited, &mut listeners).and_then(|address| {
            let listener = listeners.pop().ok_or("it is gone")?;
            // Its own control waits there.
            listener.accept().map_err(|error| error.to_string())?;
            count(listener, Arc::clone(&come));
            Ok(address)
        });
        let v4 = SocketAddr::from((ELSEWHERE, 443));
        let stage = Stage {
            fixed: unreached,
            dynamic,
            carried,
            share: unfailing(open_share()),
            spooler: unfailing(open_spooler()),
            tcp: unrefused(&TcpStream::connect_timeout(&v4, PATIENCE)),
            tcp6: unrefused(&TcpStream::connect_timeout(
                &SocketAddr::V6(elsewhere6()),
                PATIENCE,
            )),
            udp: unrefused(&datagram()),
            echo: icmp::echo(Ipv4Addr::LOCALHOST, ECHO_PATIENCE)
                .map_err(|error| format!("{error}: {}", error.error)),
            tls: schannel::begin_handshake("example.com")
                .map_err(|error| format!("{error}: {}", error.error)),
            person: own_rights(),
            sibling: Err("no other session was opened".to_owned()),
        };
        Self {
            stage,
            come,
            _listeners: listeners,
        }
    }

    /// How many connections the listener has had so far that services are sent to.
    pub(super) fn come(&self) -> usize {
        self.come.load(Ordering::SeqCst)
    }
}

/// Counts who connects, and closes at once: whoever was sent waits for no answer. It ends with this process.
fn count(listener: TcpListener, come: Arc<AtomicUsize>) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if stream.is_ok() {
                come.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
}

fn unfailing(tried: io::Result<()>) -> Control<()> {
    tried.map_err(|error| error.to_string())
}

/// `TEST-NET-1`, which documents reserve for examples: nobody answers there. Source: RFC 5737.
pub(super) const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The same of version 6. Source: RFC 3849.
pub(super) const fn elsewhere6() -> SocketAddrV6 {
    SocketAddrV6::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 443, 0, 0)
}

/// A datagram to another machine.
pub(super) fn datagram() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.send_to(b"ringfence", (ELSEWHERE, 53)).map(drop)
}

/// Whether a refusal inside would tell something: outside nothing refuses it, and there is a network.
fn unrefused<T>(tried: &io::Result<T>) -> Control<()> {
    match tried.as_ref().err().and_then(io::Error::raw_os_error) {
        Some(REFUSED) => Err("outside it is refused too, by other rules".to_owned()),
        Some(code) if is_without_network(code) => {
            Err(format!("this machine has no network ({code})"))
        }
        Some(_) | None => Ok(()),
    }
}

/// A listener on a port that only filters can keep the account from.
fn fixed(audited: Audited, listeners: &mut Vec<TcpListener>) -> Control<SocketAddrV4> {
    let open = [
        Some(audited.dynamic),
        audited.installed.map(|(proxy, _)| proxy),
    ];
    let is_open = |port: &u16| {
        let mut ranges = open.iter().flatten();
        ranges.any(|range| (range.first..=range.last).contains(port))
    };
    (10_000..20_000)
        .filter(|port| !is_open(port))
        .find_map(|port| listen(port, listeners).ok())
        .ok_or_else(|| "no port was free to listen on".to_owned())
}

/// Listens, and connects to it.
fn listen(port: u16, listeners: &mut Vec<TcpListener>) -> Control<SocketAddrV4> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.to_string())?;
    let address = match listener.local_addr() {
        Ok(SocketAddr::V4(address)) => address,
        Ok(SocketAddr::V6(_)) => return Err("it listens elsewhere".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    TcpStream::connect_timeout(&SocketAddr::V4(address), PATIENCE)
        .map_err(|error| error.to_string())?;
    listeners.push(listener);
    Ok(address)
}

/// This process, if it may open itself with every right that the probe asks for.
fn own_rights() -> Control<u32> {
    let own = std::process::id();
    for (name, right) in trespass::CHANGING.iter().chain(trespass::READING) {
        trespass::process(own, *right)
            .map_err(|error| format!("it may not open itself for {name}: {error}"))?;
    }
    Ok(own)
}
