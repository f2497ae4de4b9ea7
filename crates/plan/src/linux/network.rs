//! The session's network: an empty one, or one whose every way out is a socket that is served outside of it.
//!
//! What is sent to any address comes back to the session itself, where a listener of ours waits on each port that a
//! rule names; other ports refuse. Invariant: no step connects the session's network to another one.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use ringfence_policy::Policy;
use ringfence_policy::document::NetworkMode;
use ringfence_policy::policy::NetworkPolicy;

use crate::linux::error::PlanError;
use crate::linux::facts::{Ipv6, LinuxFacts, NetworkFacts};
use crate::plan::Missing;
use crate::proxy::{self, has_egress};
use crate::step::{AddressFamily, ServedSocket, Service, Step};

/// Where the session's explicit proxy listens: the first of these ports that no rule names. They lie above those that
/// the kernel hands out.
const PROXY_PORTS: RangeInclusive<u16> = 61_080..=u16::MAX;
/// The port of DNS.
const DNS: u16 = 53;

/// The steps that make the session's network, once its loopback is up.
///
/// # Errors
/// [`PlanError::FactsMismatch`] for facts that were gathered for a policy without a network.
pub(crate) fn steps(policy: &Policy, facts: &LinuxFacts) -> Result<Vec<Step>, PlanError> {
    let network = &policy.network;
    let mut steps = Vec::new();
    if has_egress(network) {
        let facts = facts
            .network
            .as_ref()
            .ok_or_else(|| PlanError::FactsMismatch {
                what: "the network".to_owned(),
            })?;
        let sockets = match network.mode.value {
            NetworkMode::Offline => BTreeSet::new(),
            NetworkMode::Allowlist | NetworkMode::Open => {
                steps.extend(capture(facts));
                outward(network, facts)
            }
        };
        // A wildcard listener of the same port takes these connections too.
        let connected = network
            .connect
            .iter()
            .map(|server| server.value)
            .filter(|server| !sockets.contains(&captured(facts, server.port())))
            .map(|address| ServedSocket {
                address,
                service: Service::Connected,
            });
        let all: BTreeSet<ServedSocket> = sockets.iter().copied().chain(connected).collect();
        steps.extend(all.into_iter().map(|socket| Step::Serve { socket }));
    }
    let ports: BTreeSet<u16> = network.publish.iter().map(|port| port.value).collect();
    steps.extend(ports.into_iter().map(|port| Step::Publish { port }));
    Ok(steps)
}

fn capture(facts: &NetworkFacts) -> impl Iterator<Item = Step> {
    let v6 = match facts.ipv6 {
        Ipv6::Available => Some(AddressFamily::V6),
        Ipv6::Absent => None,
    };
    [AddressFamily::V4]
        .into_iter()
        .chain(v6)
        .map(|family| Step::CaptureAddresses { family })
}

/// The sockets of a session that may reach other machines.
fn outward(network: &NetworkPolicy, facts: &NetworkFacts) -> BTreeSet<ServedSocket> {
    let mut sockets: BTreeSet<ServedSocket> = network
        .ports()
        .into_iter()
        // The listener for questions stands for servers of that port, too.
        .filter(|port| *port != DNS)
        .map(|port| captured(facts, port))
        .collect();
    let dns = SocketAddr::new(wildcard(facts), DNS);
    for service in [Service::DnsDatagrams, Service::DnsStream] {
        sockets.insert(ServedSocket {
            address: dns,
            service,
        });
    }
    // An answer must come from the address that was asked. From a wildcard socket it comes from the asker's own
    // address, which is another one for these.
    for server in &facts.name_servers {
        let differs = match server {
            IpAddr::V4(v4) => v4.is_loopback() && *v4 != Ipv4Addr::LOCALHOST,
            IpAddr::V6(v6) => *v6 != Ipv6Addr::LOCALHOST && facts.ipv6 == Ipv6::Available,
        };
        if differs {
            sockets.insert(ServedSocket {
                address: SocketAddr::new(*server, DNS),
                service: Service::DnsDatagrams,
            });
        }
    }
    // Without one, only what needs to be told of a proxy is left without it.
    sockets.extend(proxy_port(network).map(|port| ServedSocket {
        address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
        service: Service::Proxy,
    }));
    sockets
}

fn proxy_port(network: &NetworkPolicy) -> Option<u16> {
    let mut taken = network.ports();
    taken.extend(network.connect.iter().map(|server| server.value.port()));
    taken.extend(network.publish.iter().map(|port| port.value));
    PROXY_PORTS.into_iter().find(|port| !taken.contains(port))
}

fn captured(facts: &NetworkFacts, port: u16) -> ServedSocket {
    ServedSocket {
        address: SocketAddr::new(wildcard(facts), port),
        service: Service::Captured,
    }
}

fn wildcard(facts: &NetworkFacts) -> IpAddr {
    match facts.ipv6 {
        Ipv6::Available => Ipv6Addr::UNSPECIFIED.into(),
        Ipv6::Absent => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// Variables of every command of a session with these steps.
pub(crate) fn environment(steps: &[Step]) -> Vec<(String, String)> {
    let proxy = steps.iter().find_map(|step| match step {
        Step::Serve { socket } if socket.service == Service::Proxy => Some(socket.address),
        _ => None,
    });
    proxy.map(proxy::variables).unwrap_or_default()
}

/// What a plan without a network of its own loses of what the policy asks for.
pub(crate) fn loss(policy: &Policy) -> Option<Missing> {
    let network = &policy.network;
    if !has_egress(network) && network.publish.is_empty() {
        return None;
    }
    Some(Missing {
        what: "egress".to_owned(),
        cause: "without namespaces there is no way to hold a destination: every socket of the Internet is refused"
            .to_owned(),
        cure: "get the full level: `ringfence doctor` says how".to_owned(),
    })
}
