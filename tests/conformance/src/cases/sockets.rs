//! Sockets: which exist inside, and what they can't reach.

use std::io::Write;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::writes::text;
use crate::checks::{Checks, Context, Failure};
use crate::ground::Ground;
use crate::launch::Launch;
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "socket.families",
        promise: "of all families, types and protocols only TCP and UDP over IP and NETLINK_ROUTE can be made",
        needs: Needs::Full,
        run: families,
    },
    Case {
        name: "socket.pairs",
        promise: "a pair of stream or packet sockets can be made; one of datagrams, which could become a client of a path, can not",
        needs: Needs::Full,
        run: pairs,
    },
    Case {
        name: "socket.own-loopback",
        promise: "a test server on 127.0.0.1:0 or [::1]:0 is reached from the same session",
        needs: Needs::Full,
        run: own_loopback,
    },
    Case {
        name: "socket.host-loopback",
        promise: "the host's loopback and addresses are not reached by TCP, UDP or TCP fast open",
        needs: Needs::Full,
        run: host_loopback,
    },
    Case {
        name: "socket.unix",
        promise: "no Unix socket of the host is reached: path, abstract, stream, datagram or packet",
        needs: Needs::Full,
        run: unix,
    },
];

const FAMILIES: std::ops::RangeInclusive<i32> = 0..=45;
const TYPES: &[i32] = &[
    libc::SOCK_STREAM,
    libc::SOCK_DGRAM,
    libc::SOCK_RAW,
    libc::SOCK_RDM,
    libc::SOCK_SEQPACKET,
    6,
    10,
];
const PROTOCOLS: &[i32] = &[
    0,
    libc::IPPROTO_ICMP,
    libc::IPPROTO_TCP,
    libc::IPPROTO_UDP,
    libc::IPPROTO_ICMPV6,
    libc::IPPROTO_SCTP,
    libc::IPPROTO_UDPLITE,
    libc::IPPROTO_RAW,
    libc::IPPROTO_MPTCP,
    768,
];
/// What a refused family answers: the filter's EPERM or EACCES, or "no such family".
const NO_FAMILY: &[i32] = &[
    libc::EAFNOSUPPORT,
    libc::EPROTONOSUPPORT,
    libc::ESOCKTNOSUPPORT,
    libc::EPROTOTYPE,
    libc::EINVAL,
    libc::ENOSYS,
];

fn may_exist(family: i32, kind: i32, protocol: i32) -> bool {
    let tcp = kind == libc::SOCK_STREAM && [0, libc::IPPROTO_TCP].contains(&protocol);
    let udp = kind == libc::SOCK_DGRAM && [0, libc::IPPROTO_UDP].contains(&protocol);
    let route =
        [libc::SOCK_RAW, libc::SOCK_DGRAM].contains(&kind) && protocol == libc::NETLINK_ROUTE;
    match family {
        libc::AF_INET | libc::AF_INET6 => tcp || udp,
        libc::AF_NETLINK => route,
        _ => false,
    }
}

fn families(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let mut attacks = Vec::new();
    for family in FAMILIES {
        for kind in TYPES {
            for protocol in PROTOCOLS {
                // CLOEXEC and NONBLOCK share the word: the filter must look below them.
                for flags in [0, libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK] {
                    attacks.push((family, *kind, *protocol, flags));
                }
            }
        }
    }
    let words: Vec<Vec<String>> = attacks
        .iter()
        .map(|(family, kind, protocol, flags)| {
            vec![
                "socket".to_owned(),
                family.to_string(),
                (kind | flags).to_string(),
                protocol.to_string(),
            ]
        })
        .collect();
    let verdicts = launch.batch_inside(&words)?;
    let mut shown = 0;
    for ((attack, words), verdict) in attacks.iter().zip(&words).zip(&verdicts) {
        let (family, kind, protocol, _) = *attack;
        if may_exist(family, kind, protocol) {
            checks.sibling(&words.join(" "), verdict);
            continue;
        }
        checks.refused(&words.join(" "), verdict, NO_FAMILY);
        if ground.plain(words)?.succeeded() {
            shown += 1;
        }
    }
    checks.that(
        "controls: enough of them can be made outside",
        shown >= 4,
        || format!("only {shown}: this kernel can't show the filter at work"),
    );
    checks.note(format!(
        "{shown} refused combinations can be made outside; the others this kernel lacks"
    ));
    Ok(())
}

fn pairs(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET] {
        let words = ["socketpair", &kind.to_string()];
        checks.sibling(&words.join(" "), &launch.attack_inside(&words)?);
    }
    let path = fixture.outside.join("datagram");
    let _server = UnixDatagram::bind(&path).context(|| format!("binding {}", path.display()))?;
    let words = ["inherited-connect", &text(&path)];
    checks.control(&words.join(" "), &launch.attack_plain(&words)?);
    // Datagrams are refused whole: such a pair could be pointed at a path afterwards.
    let refused = [libc::ESOCKTNOSUPPORT, libc::ENOSYS];
    checks.refused(&words.join(" "), &launch.attack_inside(&words)?, &refused);
    Ok(())
}

fn own_loopback(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    for address in ["127.0.0.1", "::1"] {
        for attack in ["tcp-with-itself", "udp-with-itself"] {
            let words = [attack, address];
            let outside = launch.attack_plain(&words)?;
            let inside = launch.attack_inside(&words)?;
            if outside.succeeded() {
                checks.sibling(&words.join(" "), &inside);
            } else {
                checks.note(format!("{} does not work outside either", words.join(" ")));
            }
        }
    }
    let interfaces = launch.attack_inside(&["interfaces"])?;
    checks.same("only loopback is there", &interfaces.detail(), &"[\"lo\"]");
    Ok(())
}

/// A server on the host that greets whoever connects, and counts nothing.
struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
    tcp: u16,
    udp: u16,
}

impl Server {
    fn new(address: IpAddr) -> Result<Self, Failure> {
        let listener = TcpListener::bind((address, 0)).context(|| format!("binding {address}"))?;
        let datagrams = UdpSocket::bind((address, 0)).context(|| format!("binding {address}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let tcp = listener
            .local_addr()
            .context(|| "getsockname".to_owned())?
            .port();
        let udp = datagrams
            .local_addr()
            .context(|| "getsockname".to_owned())?
            .port();
        listener
            .set_nonblocking(true)
            .context(|| "fcntl".to_owned())?;
        let pause = Some(Duration::from_millis(50));
        datagrams
            .set_read_timeout(pause)
            .context(|| "setsockopt".to_owned())?;
        let (first, second) = (stop.clone(), stop.clone());
        let greet = move || {
            while !first.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        let _ = stream.write_all(b"ringfence");
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            }
        };
        let echo = move || {
            let mut said = [0; 64];
            while !second.load(Ordering::Relaxed) {
                if let Ok((length, from)) = datagrams.recv_from(&mut said) {
                    let _ = datagrams.send_to(said.get(..length).unwrap_or_default(), from);
                }
            }
        };
        let threads = vec![std::thread::spawn(greet), std::thread::spawn(echo)];
        Ok(Self {
            stop,
            threads,
            tcp,
            udp,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What an address that nobody answers at gives.
const UNREACHED: &[i32] = &[
    libc::ECONNREFUSED,
    libc::ENETUNREACH,
    libc::EHOSTUNREACH,
    libc::ETIMEDOUT,
    libc::EAGAIN,
    libc::EADDRNOTAVAIL,
    libc::EOPNOTSUPP,
    libc::ECONNRESET,
];

/// Another address of this machine than loopback, found by asking the routing table; no packet is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

fn host_loopback(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in ["127.0.0.1", "127.0.0.53", "::1"] {
        addresses.extend(address.parse::<IpAddr>().ok());
    }
    addresses.extend(own_address());
    for address in addresses {
        let server = match Server::new(address) {
            Ok(server) => server,
            Err(failure) => {
                checks.note(format!("{failure}: not judged"));
                continue;
            }
        };
        let place = address.to_string();
        let (tcp, udp) = (server.tcp.to_string(), server.udp.to_string());
        let mut attacks = vec![["tcp-connect", &place, &tcp], ["udp-echo", &place, &udp]];
        if address.is_ipv4() {
            attacks.push(["tcp-fast-open", &place, &tcp]);
        }
        for words in attacks {
            let label = words.join(" ");
            checks.control(&label, &launch.attack_plain(&words)?);
            checks.refused(&label, &launch.attack_inside(&words)?, UNREACHED);
        }
    }
    Ok(())
}

fn unix(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let stream = libc::SOCK_STREAM.to_string();
    let datagram = libc::SOCK_DGRAM.to_string();
    // Where a rootless daemon puts its socket: in the home, in the workspace, beside both, below /tmp.
    let tmp = tempfile::Builder::new()
        .prefix("ringfence-socket-")
        .tempdir_in("/tmp")
        .context(|| "making a directory in /tmp".to_owned())?;
    let places = [
        fixture.home.join("docker.sock"),
        fixture.workspace.join("server.sock"),
        fixture.outside.join("docker.sock"),
        tmp.path().join("agent.sock"),
    ];
    let mut servers = Vec::new();
    for path in &places {
        servers.push(UnixListener::bind(path).context(|| format!("binding {}", path.display()))?);
        let words = ["unix-connect", &text(path), &stream];
        checks.control(&words.join(" "), &launch.attack_plain(&words)?);
        let inside = launch.attack_inside(&words)?;
        checks.refused(&words.join(" "), &inside, &[libc::ENOENT, libc::ENOSYS]);
    }
    let path = fixture.outside.join("datagram.sock");
    let _server = UnixDatagram::bind(&path).context(|| format!("binding {}", path.display()))?;
    let words = ["unix-connect", &text(&path), &datagram];
    checks.control(&words.join(" "), &launch.attack_plain(&words)?);
    checks.refused(
        &words.join(" "),
        &launch.attack_inside(&words)?,
        &[libc::ENOSYS],
    );
    abstract_name(checks, &launch)?;
    let bind = ["unix-bind", &text(&fixture.workspace.join("own.sock"))];
    checks.control("unix-bind", &launch.attack_plain(&bind)?);
    Ok(())
}

fn abstract_name(checks: &mut Checks, launch: &Launch<'_>) -> Result<(), Failure> {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("ringfence-conformance-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name)
        .context(|| "an abstract address".to_owned())?;
    let _server = UnixListener::bind_addr(&address).context(|| format!("binding @{name}"))?;
    let words = ["unix-abstract", &name];
    checks.control(
        "connect to an abstract socket",
        &launch.attack_plain(&words)?,
    );
    let inside = launch.attack_inside(&words)?;
    checks.refused(
        "connect to an abstract socket",
        &inside,
        &[libc::ECONNREFUSED, libc::ENOSYS],
    );
    Ok(())
}
