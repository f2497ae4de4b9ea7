//! Socket addresses of connect(2), as the target handed them over.
//!
//! Invariant: any bytes are accepted; what is no complete IP address is nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Enough for `struct sockaddr_in6`.
pub(super) const LONGEST: usize = 28;

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
