//! Steps of the elevated set-up program.
//!
//! Invariant: eight verbs at most; the argument why each is safe stands above it.

use serde::{Deserialize, Serialize};

use ringfence_nt::Sid;

use super::{AccountRole, DescriptorTemplate, Trustee};
use crate::windows::path::WindowsPath;

/// A way to sign in that an account is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LogonRight {
    /// Over the network.
    #[serde(rename = "SeDenyNetworkLogonRight")]
    DenyNetwork,
    /// By remote desktop.
    #[serde(rename = "SeDenyRemoteInteractiveLogonRight")]
    DenyRemoteInteractive,
    /// As a batch job.
    #[serde(rename = "SeDenyBatchLogonRight")]
    DenyBatch,
    /// As a service.
    #[serde(rename = "SeDenyServiceLogonRight")]
    DenyService,
}

/// A value below `HKEY_LOCAL_MACHINE`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegistryValue {
    /// `REG_DWORD`
    Dword(u32),
    /// `REG_SZ`
    Text(String),
    /// `REG_BINARY` of this many bytes from the system's generator, made once and kept.
    Random(u16),
}

/// One of the layers of the Windows Filtering Platform that filters are put on, each for V4 and V6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// `FWPM_LAYER_ALE_AUTH_CONNECT_V4`
    ConnectV4,
    /// `FWPM_LAYER_ALE_AUTH_CONNECT_V6`
    ConnectV6,
    /// `FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V4`
    AcceptV4,
    /// `FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V6`
    AcceptV6,
    /// `FWPM_LAYER_ALE_RESOURCE_ASSIGNMENT_V4`
    AssignmentV4,
    /// `FWPM_LAYER_ALE_RESOURCE_ASSIGNMENT_V6`
    AssignmentV6,
}

/// Ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// What a filter asks of a connection; all of them must be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// `ALE_USER_ID`: the token passes this check, a descriptor that grants `FWP_ACTRL_MATCH_FILTER` to the trustee.
    User(Trustee),
    /// `ALE_USER_ID`: as [`Condition::User`], with a descriptor that grants to a SID of ours as well, so that a token
    /// whose second pass is asked too finds itself named.
    UserOr(Trustee, Sid),
    /// `ALE_USER_ID`, complemented: the token is anyone but the trustee, and no copy in which the trustee is deny-only.
    NotUser(Trustee),
    /// As [`Condition::NotUser`], and the token is not anonymous.
    NotUserNorAnonymous(Trustee),
    /// The loopback flag is set.
    Loopback,
    /// The protocol is TCP.
    Tcp,
    /// The remote port lies in the range.
    RemotePorts(PortRange),
    /// The endpoint is raw.
    RawEndpoint,
    /// The endpoint receives what is sent to others: `SIO_RCVALL` and its two kinds for groups.
    Promiscuous,
}

/// What a filter does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilterAction {
    /// `FWP_ACTION_PERMIT`
    Permit,
    /// `FWP_ACTION_BLOCK`
    Block,
}

/// One persistent filter of ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Filter {
    /// Its key: the name that it is deleted by. Fixed per person, layer and purpose.
    pub key: Guid,
    /// What an administrator reads.
    pub name: String,
    /// The key of the sublayer that it stands in: the person's own.
    pub sublayer: Guid,
    /// Where it stands.
    pub layer: Layer,
    /// Explicit: 15 for permits, 0 for blocks.
    pub weight: u8,
    /// What it asks.
    pub conditions: Vec<Condition>,
    /// What it does then.
    pub action: FilterAction,
}

/// A GUID, written in its registry form without braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Guid(pub u128);

impl std::fmt::Display for Guid {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(id) = self;
        write!(
            formatter,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            id >> 96,
            (id >> 80) & 0xffff,
            (id >> 64) & 0xffff,
            (id >> 48) & 0xffff,
            id & 0xffff_ffff_ffff
        )
    }
}

/// A rule of Windows Firewall: the second wall, which an administrator can see.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FirewallRule {
    /// Its name, by which it is found again.
    pub name: String,
    /// The group it is listed under.
    pub grouping: String,
    /// Whose connections.
    pub user: Trustee,
    /// Remote ports that are blocked; all without.
    pub remote_ports: Vec<PortRange>,
    /// Remote addresses that are blocked, in the firewall's own notation.
    pub remote_addresses: Vec<String>,
}

/// One change that only an administrator can make. At most eight verbs, each with its safety argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineStep {
    /// Makes the person's local group.
    ///
    /// Safe: a new group has no rights; a group of that name that we did not make stops set-up.
    EnsureGroup {
        /// Its name, at most 20 characters.
        name: String,
        /// What an administrator reads.
        comment: String,
    },
    /// Makes one of the person's local accounts, its profile, and the sealed record of its password.
    ///
    /// Safe: a standard account, in Users and our group alone; an account of that name that we did not make stops
    /// set-up; the password is made here, never leaves this program in the clear, and is kept while it works.
    EnsureAccount {
        /// Its name, at most 20 characters.
        name: String,
        /// Which of the two.
        role: AccountRole,
        /// What an administrator reads.
        comment: String,
        /// Where the sealed password is kept.
        record: WindowsPath,
        /// The marker SID of the person's targets, which is denied writing the profile and its registry hive: else
        /// they carry state from one workspace to the next. What is added is in `machine::profile_entries` and
        /// `machine::hive_entries`.
        marker: Sid,
    },
    /// Denies ways to sign in to an account of ours.
    ///
    /// Safe: it only takes away, and only from an account that we made.
    DenyLogon {
        /// Which of the two.
        role: AccountRole,
        /// The ways.
        rights: Vec<LogonRight>,
    },
    /// Makes a directory of ours below `%ProgramData%\Ringfence`, with a protected descriptor.
    ///
    /// Safe: the path is fixed below our own directory, opened component by component, and no link is followed.
    MakeDirectory {
        /// Where.
        path: WindowsPath,
        /// Its descriptor.
        descriptor: DescriptorTemplate,
    },
    /// Sets a value of ours in the machine's registry.
    ///
    /// Safe: the keys are a closed list (our own key, and the list of accounts hidden from the sign-in screen).
    SetValue {
        /// Below `HKEY_LOCAL_MACHINE`.
        key: String,
        /// The value's name.
        name: String,
        /// What it holds.
        value: RegistryValue,
        /// The key's descriptor, where the key is ours.
        descriptor: Option<DescriptorTemplate>,
    },
    /// Installs our provider, the person's sublayer and these filters, in one transaction.
    ///
    /// Safe: filters of our provider alone are deleted and added. Each names an account of ours, so nobody else's
    /// connections can match; where blocks name nobody, because copies of the account's token escape the others, each
    /// lies beneath a permit for everybody else, and comes and goes with it.
    InstallFilters {
        /// All filters of this person.
        filters: Vec<Filter>,
    },
    /// Adds a blocking rule to Windows Firewall.
    ///
    /// Safe: it only blocks, and only an account of ours.
    AddFirewallRule {
        /// The rule.
        rule: FirewallRule,
    },
    /// Reserves TCP ports for the proxy, as an administered exclusion.
    ///
    /// Safe: ports that anyone uses or has reserved are never taken.
    ReservePorts {
        /// Which.
        ports: PortRange,
    },
}

/// What undoes a [`MachineStep`]. Whatever was there before the step was done is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineInverse {
    /// Deletes the group, by the SID of the receipt.
    RemoveGroup {
        /// Its name.
        name: String,
    },
    /// Disables the account, ends its processes, deletes its profile and record, and then it, by the receipt's SID.
    RemoveAccount {
        /// Its name.
        name: String,
        /// Where the sealed password is kept.
        record: WindowsPath,
    },
    /// Gives back what was denied.
    AllowLogon {
        /// Which of the two.
        role: AccountRole,
        /// The ways.
        rights: Vec<LogonRight>,
    },
    /// Removes the directory and what is in it.
    RemoveDirectory {
        /// Where.
        path: WindowsPath,
    },
    /// Puts back what the receipt says the value was, or removes it.
    RestoreValue {
        /// Below `HKEY_LOCAL_MACHINE`.
        key: String,
        /// The value's name.
        name: String,
    },
    /// Deletes these filters by key; provider and sublayer with the last of them.
    RemoveFilters {
        /// The keys.
        keys: Vec<Guid>,
    },
    /// Deletes the rule.
    RemoveFirewallRule {
        /// Its name.
        name: String,
    },
    /// Releases the ports.
    ReleasePorts {
        /// Which.
        ports: PortRange,
    },
}

impl MachineStep {
    /// What undoes this step.
    #[must_use]
    pub fn inverse(&self) -> MachineInverse {
        match self {
            Self::EnsureGroup { name, .. } => MachineInverse::RemoveGroup { name: name.clone() },
            Self::EnsureAccount { name, record, .. } => MachineInverse::RemoveAccount {
                name: name.clone(),
                record: record.clone(),
            },
            Self::DenyLogon { role, rights } => MachineInverse::AllowLogon {
                role: *role,
                rights: rights.clone(),
            },
            Self::MakeDirectory { path, .. } => {
                MachineInverse::RemoveDirectory { path: path.clone() }
            }
            Self::SetValue { key, name, .. } => MachineInverse::RestoreValue {
                key: key.clone(),
                name: name.clone(),
            },
            Self::InstallFilters { filters } => MachineInverse::RemoveFilters {
                keys: filters.iter().map(|filter| filter.key).collect(),
            },
            Self::AddFirewallRule { rule } => MachineInverse::RemoveFirewallRule {
                name: rule.name.clone(),
            },
            Self::ReservePorts { ports } => MachineInverse::ReleasePorts { ports: *ports },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_written_in_its_registry_form() {
        let guid = Guid(0x1234_5678_9abc_def0_0102_0304_0506_0708);
        assert_eq!(guid.to_string(), "12345678-9abc-def0-0102-030405060708");
    }
}
