//! A session's way out on Windows: where its proxy listens, and what of the policy's network can't be held.
//!
//! Loopback is the machine's, shared by everybody: the proxy's ports were reserved by set-up and are what the filters
//! of the Offline account leave open. Invariant: a session from which nothing may leave has no proxy.

use serde::{Deserialize, Serialize};

use ringfence_policy::Policy;
use ringfence_policy::document::NetworkMode;

use crate::plan::Missing;
use crate::proxy::has_egress;
use crate::windows::error::PlanError;
use crate::windows::facts::WindowsFacts;
use crate::windows::machine;
use crate::windows::plan::Accounts;
use crate::windows::step::PortRange;

/// On which ports of loopback a session's proxy may listen; it takes the first that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyPorts {
    /// Those that set-up has reserved: one for each session that is alive.
    Reserved(PortRange),
    /// Any: same-user mode, where nothing is reserved and nothing holds what does not ask the proxy.
    Any,
}

/// Where the proxy of a session of `policy` listens; none where nothing may leave.
///
/// # Errors
/// [`PlanError::NoPorts`].
pub(crate) fn ports(
    policy: &Policy,
    facts: &WindowsFacts,
    accounts: Accounts,
) -> Result<Option<ProxyPorts>, PlanError> {
    if !has_egress(&policy.network) {
        return Ok(None);
    }
    Ok(Some(match accounts {
        Accounts::Made(_) | Accounts::ToBeMade(_) => {
            ProxyPorts::Reserved(machine::proxy_ports(facts)?)
        }
        Accounts::Person => ProxyPorts::Any,
    }))
}

/// What of the policy's network this system can't hold with accounts; same-user mode holds none of it, and says so.
pub(crate) fn missing(policy: &Policy, accounts: Accounts) -> Vec<Missing> {
    let network = &policy.network;
    let lost = |what: &str, cause: &str, cure: &str| Missing {
        what: what.to_owned(),
        cause: cause.to_owned(),
        cure: cure.to_owned(),
    };
    let mut missing = Vec::new();
    if accounts == Accounts::Person {
        return missing;
    }
    if network.mode.value == NetworkMode::Open && !network.deny.is_empty() {
        missing.push(lost(
            "network",
            "network: partial. With mode = \"open\" commands run as the Online account, which no filter holds: `network.deny` binds only programs that use the proxy",
            "use `mode = \"allowlist\"`, whose account reaches nothing but the proxy",
        ));
    }
    if !network.connect.is_empty() && network.mode.value != NetworkMode::Open {
        missing.push(lost(
            "connect",
            "Windows has one loopback for all accounts, and filters leave the proxy's ports and the system's dynamic ports open: servers of `network.connect` on other ports are reached through the proxy alone, and most programs ask no proxy for loopback",
            "let the server listen on a port of the dynamic range (`netsh int ipv4 show dynamicport tcp`)",
        ));
    }
    if !network.unix_sockets.is_empty() {
        missing.push(lost(
            "unix-sockets",
            "sockets of `network.unix_sockets` are not opened on Windows",
            "take them out of the policy on this machine",
        ));
    }
    missing
}

/// What a person should know of the network, one line each.
pub(crate) fn notes(policy: &Policy, accounts: Accounts) -> Vec<String> {
    let mut notes = Vec::new();
    if accounts != Accounts::Person && policy.network.mode.value == NetworkMode::Open {
        notes.push("mode = \"open\" is direct on Windows: programs that use the proxy are recorded and kept from private addresses, others reach whatever this machine reaches".to_owned());
    }
    if policy.network.scoped_rules().next().is_some() {
        notes.push("rules with methods or paths: the proxy reads TLS of their hosts, and programs that take their trust from Windows alone (Schannel: curl.exe of the system, PowerShell, .NET) do not trust it".to_owned());
    }
    notes
}
