//! Connections that fail because of the boundary, before any proxy could see them.
//!
//! Invariant: nothing is reported here that somebody in the session, or the proxy, will answer.

use std::net::SocketAddr;

use ringfence_policy::decision::{Denial, Evidence, OwnPermissions};
use ringfence_policy::host::Host;
use ringfence_policy::network::Destination;
use ringfence_policy::policy::NetworkPolicy;
use ringfence_policy::{Decision, Grant, Operation, RuleId};

use super::address;

/// How far the session's network reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Its own loopback.
    Offline,
    /// Every address is its own: what has a listener is the proxy's to decide, other ports refuse.
    Captured,
}

/// The refusal of a connection to `address`, if nobody will take it. Port 0 is no connection: resolvers ask so which
/// source address they get.
pub(super) fn refused(address: &SocketAddr, reach: Reach, syscall: &'static str) -> Option<Denial> {
    if address.port() == 0 {
        return None;
    }
    let (rule, grant) = if address::is_session_loopback(address) {
        if address::is_served(address.port()) {
            return None;
        }
        // Nobody listens in the session: whoever does on the host's loopback is out of reach.
        let host = Host::Address(address.ip());
        refusal(NetworkPolicy::offline().decide_loopback(&host, address.port()))?
    } else {
        match reach {
            Reach::Captured if address::is_served(address.port()) => return None,
            Reach::Captured => (RuleId::NotListed, Some(option("--allow-host", address))),
            Reach::Offline => offline(address)?,
        }
    };
    Some(Denial {
        operation: Operation::Connect,
        object: address.to_string(),
        rule,
        grant,
        refused_root: None,
        syscall: syscall.to_owned(),
        evidence: Evidence::Predicted,
        own_permissions: OwnPermissions::Allow,
        process: None,
    })
}

fn option(name: &str, address: &SocketAddr) -> Grant {
    Grant {
        arguments: vec![name.to_owned(), address.to_string()],
        caution: String::new(),
    }
}

fn offline(address: &SocketAddr) -> Option<(RuleId, Option<Grant>)> {
    let (host, port) = (Host::Address(address.ip()), address.port());
    refusal(NetworkPolicy::offline().decide(&Destination::Internet { host, port }))
}

fn refusal(decision: Decision) -> Option<(RuleId, Option<Grant>)> {
    match decision {
        Decision::Allow { .. } => None,
        Decision::Deny { rule, grant, .. } => Some((rule, grant)),
    }
}
