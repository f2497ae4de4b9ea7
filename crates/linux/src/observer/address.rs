//! Socket addresses of connect(2), as the target handed them over.
//!
//! Invariant: any bytes are accepted; what is no complete IP address is nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Enough for `struct sockaddr_un`, the longest that is looked at.
pub(super) const LONGEST: usize = 110;

/// What a Unix socket's address names, unix(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnixName<'a> {
    /// A path, relative or absolute.
    Path(&'a [u8]),
    /// A name in the network namespace's own table.
    Abstract(&'a [u8]),
    /// Nothing.
    Unnamed,
}

/// The name in a `struct sockaddr_un`; `None` for other families.
pub(super) fn parse_unix(bytes: &[u8]) -> Option<UnixName<'_>> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    if i32::from(family) != libc::AF_UNIX {
        return None;
    }
    Some(match bytes.get(2..).unwrap_or_default() {
        [] => UnixName::Unnamed,
        [0, name @ ..] => UnixName::Abstract(name),
        path => UnixName::Path(path.split(|byte| *byte == 0).next().unwrap_or_default()),
    })
}

/// The IP address and port in a `struct sockaddr`; `None` for other families and for short ones.
pub(super) fn parse(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    let address = match i32::from(family) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(*bytes.get(4..)?.first_chunk::<4>()?)),
        libc::AF_INET6 => {
            // Port and flow label come first; a mapped address reaches what it maps.
            Ipv6Addr::from(*bytes.get(8..)?.first_chunk::<16>()?).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// Whether a connection to it stays within the session: its loopback, or the address that means it.
pub(super) fn is_session_loopback(address: &SocketAddr) -> bool {
    let address = address.ip();
    address.is_loopback() || address.is_unspecified()
}

/// Whether a TCP server of the session listens on `port`, proc(5) `net/tcp`. Where that can't be read, yes: a missing
/// denial is better than a wrong one.
pub(super) fn is_served(port: u16) -> bool {
    ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"]
        .into_iter()
        .any(|table| std::fs::read_to_string(table).map_or(true, |table| listens(&table, port)))
}

/// Whether a line of the table has this local port and the state LISTEN (`0A`).
fn listens(table: &str, port: u16) -> bool {
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next().and_then(|local| local.rsplit_once(':'));
        let is_port = local.is_some_and(|(_, hex)| u16::from_str_radix(hex, 16) == Ok(port));
        is_port && fields.nth(1) == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use super::listens;

    #[test]
    fn only_a_listening_socket_serves_a_port() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000\n\
            1: 0100007F:1F91 0100007F:1F90 01 00000000\n\
            2: junk\n";
        assert!(listens(table, 8080));
        assert!(!listens(table, 8081), "a connected socket is no server");
        assert!(!listens(table, 8082));
    }
}
