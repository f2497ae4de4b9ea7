//! The kernel's own table of sockets, asked for one of them (`sock_diag(7)`).
//!
//! Reads no descriptor and no process. Invariant: only a socket that talks from the caller's end is given, never one
//! that waits for connections there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

/// What carries a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Connections.
    Tcp,
    /// Packets.
    Udp,
}

/// A conversation as its other side knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conversation {
    pub(super) protocol: Protocol,
    /// The end that is looked for.
    pub(super) caller: SocketAddr,
    /// The other one; for packets it may be any address.
    pub(super) served: SocketAddr,
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST: u16 = 0x1;
/// `NLM_F_ROOT | NLM_F_MATCH`: every socket that fits.
const DUMP: u16 = 0x300;
/// `struct nlmsghdr`, and `struct inet_diag_req_v2` behind it.
const REQUEST_LENGTH: u32 = 16 + 56;
const HEADER: usize = 16;
/// `struct inet_diag_msg`.
const MESSAGE: usize = 72;
/// Answers that are read for one question.
const MAX_ANSWERS: usize = 64;
/// `TCP_CLOSE` and `TCP_LISTEN`, as bits.
const WITHOUT_A_CONVERSATION: u32 = 1 << 7 | 1 << 10;

/// The inode of the caller's socket; `None` where there is none, or the kernel does not tell.
pub(super) fn inode_of(conversation: Conversation) -> Option<u32> {
    let families = match (conversation.protocol, conversation.caller) {
        (Protocol::Tcp, SocketAddr::V4(_)) => &[AddressFamily::INET][..],
        // A socket of IPv6 sends packets of IPv4 too.
        (Protocol::Udp, SocketAddr::V4(_)) => &[AddressFamily::INET, AddressFamily::INET6],
        (Protocol::Tcp | Protocol::Udp, SocketAddr::V6(_)) => &[AddressFamily::INET6],
    };
    let mut families = families.iter();
    families.find_map(|family| ask(conversation, *family).ok().flatten())
}

fn ask(conversation: Conversation, family: AddressFamily) -> Result<Option<u32>, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let protocol = Some(SOCK_DIAG);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol)?;
    let kernel = SocketAddrNetlink::new(0, 0);
    let request = request(conversation, family);
    sendto(&socket, &request, SendFlags::empty(), &kernel)?;
    let mut answer = vec![0; 16 << 10];
    for _ in 0..MAX_ANSWERS {
        // The kernel answers before it returns from sendto.
        let (received, _) = recv(&socket, &mut answer, RecvFlags::DONTWAIT)?;
        match read(answer.get(..received).unwrap_or_default(), conversation) {
            Answer::Found(inode) => return Ok(Some(inode)),
            Answer::More if conversation.protocol == Protocol::Udp => {}
            Answer::More | Answer::Over => break,
        }
    }
    Ok(None)
}

/// One connection is asked for by both ends; packets by the caller's port alone, since a socket that sends them need
/// not have another end.
fn request(conversation: Conversation, family: AddressFamily) -> Vec<u8> {
    let Conversation {
        protocol,
        caller,
        served,
    } = conversation;
    let (flags, number) = match protocol {
        Protocol::Tcp => (REQUEST, 6),
        Protocol::Udp => (REQUEST | DUMP, 17),
    };
    let family = u8::try_from(family.as_raw()).unwrap_or(0);
    let mut request = Vec::with_capacity(REQUEST_LENGTH as usize);
    request.extend(REQUEST_LENGTH.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([0; 8]); // sequence, port
    request.extend([family, number, 0, 0]);
    request.extend(u32::MAX.to_ne_bytes()); // states
    request.extend(caller.port().to_be_bytes());
    match protocol {
        Protocol::Tcp => {
            request.extend(served.port().to_be_bytes());
            request.extend(octets(caller.ip()));
            request.extend(octets(served.ip()));
        }
        Protocol::Udp => request.extend([0; 2 + 16 + 16]),
    }
    request.extend([0; 4]); // interface
    request.extend([0xff; 8]); // any cookie
    request
}

/// An address as the kernel's structures have it: IPv4 in the first four bytes.
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Found(u32),
    More,
    Over,
}

/// Reads the messages of one datagram.
fn read(mut datagram: &[u8], conversation: Conversation) -> Answer {
    while let Some((length, kind)) = header(datagram) {
        if kind != SOCK_DIAG_BY_FAMILY {
            // The end of a dump, or an error.
            return Answer::Over;
        }
        let message = datagram.get(HEADER..length).unwrap_or_default();
        if let Some(inode) = socket(message, conversation) {
            return Answer::Found(inode);
        }
        // Messages begin at multiples of four.
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Answer::More
}

fn header(datagram: &[u8]) -> Option<(usize, u16)> {
    let length = u32::from_ne_bytes(*datagram.first_chunk()?);
    let kind = u16::from_ne_bytes(*datagram.get(4..)?.first_chunk()?);
    let length = usize::try_from(length).ok()?;
    (HEADER..=datagram.len())
        .contains(&length)
        .then_some((length, kind))
}

/// The inode of a socket that talks from the caller's end.
fn socket(message: &[u8], conversation: Conversation) -> Option<u32> {
    let message: &[u8; MESSAGE] = message.first_chunk()?;
    let [family, state, _, _, rest @ ..] = message;
    let port = u16::from_be_bytes(*rest.first_chunk()?);
    let other_port = u16::from_be_bytes(*rest.get(2..)?.first_chunk()?);
    let from = address(*family, rest.get(4..)?.first_chunk()?);
    let inode = u32::from_ne_bytes(*message.get(68..)?.first_chunk()?);
    let is_callers = match conversation.protocol {
        Protocol::Tcp => {
            other_port == conversation.served.port()
                && 1_u32.checked_shl(u32::from(*state))? & WITHOUT_A_CONVERSATION == 0
        }
        Protocol::Udp => from == conversation.caller.ip() || from.is_unspecified(),
    };
    (is_callers && port == conversation.caller.port() && inode != 0).then_some(inode)
}

fn address(family: u8, octets: &[u8; 16]) -> IpAddr {
    if u16::from(family) == AddressFamily::INET.as_raw() {
        let [a, b, c, d, ..] = *octets;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        IpAddr::from(*octets).to_canonical()
    }
}
