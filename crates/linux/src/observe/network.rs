//! What a session's own network depends on: IPv6, whom programs ask for names, and the host's sockets it may reach.

use std::net::IpAddr;
use std::path::Path;

use ringfence_plan::linux::facts::{Ipv6, NetworkFacts, SocketFact, SocketState};
use ringfence_policy::Policy;
use ringfence_policy::document::NetworkMode;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::error::ObserveError;
use super::host::read_file;
use super::resolve::resolve;

/// As many name servers as the system's resolver asks (resolv.conf(5), `MAXNS`).
const MAX_SERVERS: usize = 3;

/// The facts, where the policy lets anything leave the session.
///
/// # Errors
/// [`ObserveError`] for a resolver's configuration that can't be read.
pub(super) fn observe(policy: &Policy) -> Result<Option<NetworkFacts>, ObserveError> {
    let network = &policy.network;
    if network.mode.value == NetworkMode::Offline && network.connect.is_empty() {
        return Ok(None);
    }
    Ok(Some(NetworkFacts {
        ipv6: probe_ipv6(),
        name_servers: name_servers()?,
    }))
}

/// What is at the paths that the policy opens as Unix sockets.
///
/// # Errors
/// As [`resolve`].
pub(super) fn sockets(policy: &Policy) -> Result<Vec<SocketFact>, ObserveError> {
    let mut facts = Vec::new();
    for socket in &policy.network.unix_sockets {
        let found = resolve(socket.value.as_path())?;
        let is_socket = found
            .stat
            .as_ref()
            .is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket);
        let state = match found.object() {
            Some(object) if is_socket => SocketState::Socket(object),
            Some(_) => SocketState::Other,
            None => SocketState::Absent,
        };
        facts.push(SocketFact {
            named: socket.value.clone(),
            state,
        });
    }
    Ok(facts)
}

fn probe_ipv6() -> Ipv6 {
    let flags = SocketFlags::CLOEXEC;
    match socket_with(AddressFamily::INET6, SocketType::DGRAM, flags, None) {
        Err(Errno::AFNOSUPPORT) => Ipv6::Absent,
        // Another refusal is ours alone: the session's namespace will show.
        Ok(_) | Err(_) => Ipv6::Available,
    }
}

fn name_servers() -> Result<Vec<IpAddr>, ObserveError> {
    let text = match read_file(Path::new("/etc/resolv.conf")) {
        Ok(text) => text,
        Err(ObserveError::ReadFile {
            source: Errno::NOENT,
            ..
        }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// The addresses after `nameserver`, as resolv.conf(5) has them; a zone is dropped with its address.
fn parse(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .filter_map(|address| address.parse().ok())
        .take(MAX_SERVERS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_as_the_resolver_reads_them() {
        let text = "# nameserver 192.0.2.1\nsearch example.com\nnameserver 127.0.0.53\n nameserver\t::1 # c\nnameserver fe80::1%eth0\nnameserver\nnameserverx 192.0.2.9\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n";
        let servers: Vec<String> = parse(text).iter().map(IpAddr::to_string).collect();
        assert_eq!(servers, ["127.0.0.53", "::1", "192.0.2.3"]);
    }
}
