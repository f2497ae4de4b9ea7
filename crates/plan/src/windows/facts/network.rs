//! The firewall's policy, what was seen of filters, and TCP ports.
//!
//! Invariant: a fact states what was seen; no field holds a decision.

use serde::{Deserialize, Serialize};

use super::Consent;
use crate::windows::step::PortRange;

/// `LocalPolicyModifyState` of the firewall. Source: learn.microsoft.com `NET_FW_MODIFY_STATE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirewallPolicy {
    /// `NET_FW_MODIFY_STATE_OK`: local rules take effect.
    LocalRules,
    /// `NET_FW_MODIFY_STATE_GP_OVERRIDE`: group policy decides, local rules do nothing.
    GroupPolicy,
    /// `NET_FW_MODIFY_STATE_INBOUND_BLOCKED`: every inbound connection is blocked, whatever rules say.
    InboundBlocked,
}

/// What was seen of copies of the Offline account's token at its network filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filtering {
    /// Where filters name the account; `None` before it was tried on this machine.
    pub named: Option<Copies>,
    /// Where filters permit everybody but the account; `None` before such filters were tried.
    pub complement: Option<Copies>,
    /// Whether an administrator has agreed to filters that can hit others than the account.
    pub complement_consent: Consent,
}

/// Copies that a target can make of its token without any right to another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copies {
    /// One in which the account is deny-only (`CreateRestrictedToken` with `SidsToDisable`).
    pub deny_only: CopiedToken,
    /// The anonymous token (`ImpersonateAnonymousToken`).
    pub anonymous: CopiedToken,
}

/// What becomes of a connection that is made with a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopiedToken {
    /// It is refused, as the account's own.
    Matched,
    /// It gets out.
    Escapes,
}

/// TCP ports of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// The range that the system gives out by itself.
    pub dynamic: PortRange,
    /// Ranges that nobody may bind: Hyper-V's and administered exclusions.
    pub excluded: Vec<ExcludedPorts>,
}

/// Ports that are excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcludedPorts {
    /// Which.
    pub range: PortRange,
    /// By whom.
    pub by: ExcludedBy,
}

/// Who has excluded a range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExcludedBy {
    /// A service, until the next start.
    Service,
    /// An administrator, for good.
    Administrator,
}
