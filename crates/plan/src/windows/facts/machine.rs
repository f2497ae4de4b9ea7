//! The machine, the person who asks, and what an earlier set-up has left.
//!
//! Invariant: a fact states what was seen; no field holds a decision.

use serde::{Deserialize, Serialize};

use ringfence_nt::Sid;

use crate::windows::path::WindowsPath;
use crate::windows::step::PortRange;

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// The SID of its account domain: local accounts are its children.
    pub sid: Sid,
    /// The build: 22631, 26100.
    pub build: u32,
    /// The display language of the system: `en-US`, `de-DE`.
    pub language: String,
    /// What it belongs to.
    pub membership: Membership,
}

/// What a machine belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Membership {
    /// Nothing: a workgroup.
    Workgroup,
    /// A domain.
    Domain {
        /// Its DNS name.
        name: String,
    },
    /// A cloud directory alone.
    Cloud,
}

/// Who asks: the person whose harness runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Their SID.
    pub sid: Sid,
    /// Their account's name, as the system spells it.
    pub name: String,
    /// The machine or domain that the account belongs to.
    pub domain: String,
    /// Enabled groups of their ordinary (filtered) token, well-known ones too.
    pub groups: Vec<Sid>,
    /// Whether they can become administrator.
    pub administrator: Administrator,
    /// Their profile.
    pub profile: WindowsPath,
    /// `user.name` and `user.email` of their git configuration.
    pub git_identity: Option<GitIdentity>,
}

/// Whether a person can become administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Administrator {
    /// They can't: set-up asks for somebody else's consent.
    No,
    /// They can, after a consent prompt; their ordinary token has Administrators deny-only.
    Consent,
    /// The harness runs elevated, or User Account Control is off.
    Elevated,
}

/// Whom commits name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitIdentity {
    /// `user.name`.
    pub name: String,
    /// `user.email`.
    pub email: String,
}

/// What an earlier set-up has left for this person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Installed {
    /// The Offline user.
    pub offline: Option<LocalAccount>,
    /// The Online user.
    pub online: Option<LocalAccount>,
    /// The group of both.
    pub group: Option<LocalAccount>,
    /// The machine's record of this person.
    pub record: Option<Record>,
    /// Accounts of other people's set-ups on this machine.
    pub others: Vec<LocalAccount>,
}

/// A local user or group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalAccount {
    /// Its name.
    pub name: String,
    /// Its SID.
    pub sid: Sid,
}

/// The record below `%ProgramData%\Ringfence`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The hash of the machine steps that set-up carried out, as 64 hexadecimal digits.
    pub machine_hash: String,
    /// Whether the last one finished, its marker written last.
    pub marker: Marker,
    /// The proxy's ports that were reserved.
    pub proxy_ports: PortRange,
    /// The person whom it names; a record that names another is not ours.
    pub person: Sid,
}

/// Whether a set-up finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Marker {
    /// The marker is there and names the record.
    Present,
    /// It is missing or names another record: set-up did not finish.
    Missing,
}
