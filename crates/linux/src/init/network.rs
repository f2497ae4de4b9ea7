//! The session's network as the plan says: its loopback, local default routes, and the sockets that are served outside.
//!
//! A socket belongs to the network namespace it was made in, wherever its descriptor goes: the harness accepts from
//! these without a bridge, and each connection belongs to this session without a doubt.
//! Invariant: nothing here connects to anything but the session's own loopback.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily as Domain, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType, bind, connect, listen, recv, sendmsg, sendto, socket_with, socketpair,
    sockopt,
};

use ringfence_plan::step::{AddressFamily, ServedSocket, Service};

use crate::observer::Granted;
use crate::sys;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Bytes of a wish for a socket: what to do, an address, and a port.
const WISH: usize = 1 + 16 + 2;
/// The index of the loopback interface: the first of every network namespace.
const LOOPBACK_INDEX: u32 = 1;

/// What was made of the session's network, for the harness.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Sockets to be served.
    pub(crate) served: Vec<(ServedSocket, OwnedFd)>,
    /// Whether a port is published.
    pub(crate) publishes: bool,
    /// Unix sockets of the host that may be reached.
    pub(crate) sockets: Vec<Granted>,
}

/// Brings the loopback interface up.
pub(super) fn raise_loopback() -> Result<(), Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(Domain::INET, SocketType::DGRAM, flags, None)?;
    sys::raise_loopback(&socket)
}

/// Adds the route `local default dev lo` of one family (rtnetlink(7), `RTM_NEWROUTE`).
pub(super) fn capture_addresses(family: AddressFamily) -> Result<(), Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(Domain::NETLINK, SocketType::RAW, flags, None)?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &route_request(family), SendFlags::empty(), &kernel)?;
    let mut answer = [0_u8; 256];
    let (received, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    acknowledgement(answer.get(..received).unwrap_or_default())
}

/// `struct nlmsghdr`, `struct rtmsg` and one attribute, `RTA_OIF`.
fn route_request(family: AddressFamily) -> Vec<u8> {
    const REQUEST_CREATE_ACK: u16 = 0x1 | 0x4 | 0x400;
    const RTM_NEWROUTE: u16 = 24;
    const RT_TABLE_LOCAL: u8 = 255;
    const RTPROT_BOOT: u8 = 3;
    const RT_SCOPE_HOST: u8 = 254;
    const RTN_LOCAL: u8 = 2;
    const RTA_OIF: u16 = 4;
    const LENGTH: u32 = 16 + 12 + 8;
    let family: u8 = match family {
        AddressFamily::V4 => 2,
        AddressFamily::V6 => 10,
    };
    let mut request = Vec::new();
    request.extend(LENGTH.to_ne_bytes());
    request.extend(RTM_NEWROUTE.to_ne_bytes());
    request.extend(REQUEST_CREATE_ACK.to_ne_bytes());
    request.extend(1_u32.to_ne_bytes()); // sequence
    request.extend(0_u32.to_ne_bytes()); // port
    // Family, lengths of destination and source, type of service, table, protocol, scope, type.
    request.extend([
        family,
        0,
        0,
        0,
        RT_TABLE_LOCAL,
        RTPROT_BOOT,
        RT_SCOPE_HOST,
        RTN_LOCAL,
    ]);
    request.extend(0_u32.to_ne_bytes()); // flags
    request.extend(8_u16.to_ne_bytes());
    request.extend(RTA_OIF.to_ne_bytes());
    request.extend(LOOPBACK_INDEX.to_ne_bytes());
    request
}

/// Reads `NLMSG_ERROR`: zero is success, a negative number the error.
fn acknowledgement(answer: &[u8]) -> Result<(), Errno> {
    const NLMSG_ERROR: [u8; 2] = 2_u16.to_ne_bytes();
    let kind = answer.get(4..6).ok_or(Errno::BADMSG)?;
    let number = answer
        .get(16..)
        .and_then(|body| body.first_chunk::<4>())
        .ok_or(Errno::BADMSG)?;
    if kind != NLMSG_ERROR {
        return Err(Errno::BADMSG);
    }
    match i32::from_ne_bytes(*number) {
        0 => Ok(()),
        negative => Err(Errno::from_raw_os_error(negative.saturating_neg())),
    }
}

/// Makes, binds and, for a stream, opens the socket to connections.
pub(super) fn serve(socket: ServedSocket) -> Result<OwnedFd, Errno> {
    let ServedSocket { address, service } = socket;
    let kind = match service {
        Service::Captured | Service::Connected | Service::Proxy | Service::DnsStream => {
            SocketType::STREAM
        }
        Service::DnsDatagrams => SocketType::DGRAM,
    };
    let domain = match address {
        SocketAddr::V4(_) => Domain::INET,
        SocketAddr::V6(_) => Domain::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let made = socket_with(domain, kind, flags, None)?;
    // Datagrams: the wildcard socket and one of a single address share the port; the closer one gets the question.
    sockopt::set_socket_reuseaddr(&made, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&made, false)?;
        // A name server's own address is nobody's here but by the local route.
        sockopt::set_ipv6_freebind(&made, true)?;
    }
    bind(&made, &address)?;
    if kind == SocketType::STREAM {
        listen(&made, BACKLOG)?;
    }
    Ok(made)
}

/// Answers the harness's wishes for further sockets of the session's network, on a thread of its own; the harness's
/// end is returned.
///
/// A wish is what to do (0: connect, 1: listen), an address (sixteen bytes, IPv4 mapped) and a port, little-endian:
/// nineteen bytes. The answer is an error number in four, with the socket where it is zero. A connection may still be
/// in progress: loopback connects at once or not at all.
///
/// # Security
/// The harness decides what is reached; nothing is made here but on the session's own loopback, or for every address
/// at once, which is the session's own network, too.
pub(super) fn start_opening() -> Result<OwnedFd, Errno> {
    let (ours, theirs) = socketpair(
        Domain::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    std::thread::Builder::new()
        .name("opener".to_owned())
        .stack_size(64 << 10)
        .spawn(move || open_until_closed(&ours))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
    Ok(theirs)
}

fn open_until_closed(harness: &OwnedFd) {
    let mut wish = [0_u8; WISH];
    loop {
        match recv(harness, &mut wish, RecvFlags::empty()) {
            Ok((WISH, _)) => {}
            Err(Errno::INTR) => continue,
            // The harness has closed it, or is no harness of ours.
            Ok(_) | Err(_) => return,
        }
        if answer(harness, open(wish)).is_err() {
            return;
        }
    }
}

fn open(wish: [u8; WISH]) -> Result<OwnedFd, Errno> {
    let [what, rest @ ..] = wish;
    let (ip, port) = rest.split_at(16);
    let ip = ip.first_chunk::<16>().ok_or(Errno::INVAL)?;
    let port = port.first_chunk::<2>().ok_or(Errno::INVAL)?;
    let ip = Ipv6Addr::from(*ip).to_canonical();
    let address = SocketAddr::new(ip, u16::from_le_bytes(*port));
    match what {
        0 if ip.is_loopback() => dial(address),
        1 if ip.is_loopback() || ip.is_unspecified() => serve(ServedSocket {
            address,
            service: Service::Captured,
        }),
        _ => Err(Errno::ACCESS),
    }
}

fn answer(harness: &OwnedFd, made: Result<OwnedFd, Errno>) -> Result<usize, Errno> {
    let (number, socket) = match made {
        Ok(socket) => (0, Some(socket)),
        Err(errno) => (errno.raw_os_error(), None),
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let passed: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
    if !passed.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&passed));
    }
    let bytes = number.to_le_bytes();
    let flags = SendFlags::NOSIGNAL;
    sendmsg(harness, &[IoSlice::new(&bytes)], &mut control, flags)
}

fn dial(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let domain = match address {
        SocketAddr::V4(_) => Domain::INET,
        SocketAddr::V6(_) => Domain::INET6,
    };
    let socket = socket_with(domain, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}
