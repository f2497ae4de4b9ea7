//! Access tokens: who a process is.
//!
//! Sources: learn.microsoft.com "Access Tokens", "Restricted Tokens", `CreateRestrictedToken`, "SID Attributes in an
//! Access Token", "Privilege Constants".

use serde::{Deserialize, Serialize};

use crate::acl::Acl;
use crate::sid::Sid;

/// How a group counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupState {
    /// `SE_GROUP_ENABLED`: for allow and deny entries.
    Enabled,
    /// `SE_GROUP_USE_FOR_DENY_ONLY`: for deny entries alone.
    DenyOnly,
}

/// A group of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Group {
    /// Which.
    pub sid: Sid,
    /// How it counts.
    pub state: GroupState,
}

impl Group {
    /// A group that counts for allow and deny entries.
    #[must_use]
    pub const fn enabled(sid: Sid) -> Self {
        Self {
            sid,
            state: GroupState::Enabled,
        }
    }

    /// A group that counts for deny entries alone.
    #[must_use]
    pub const fn deny_only(sid: Sid) -> Self {
        Self {
            sid,
            state: GroupState::DenyOnly,
        }
    }
}

/// A set of privileges; bit *n* is the privilege whose LUID is *n*.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Privileges(pub u64);

impl Privileges {
    /// None.
    pub const NONE: Self = Self(0);
    /// `SeSecurityPrivilege` (8): gives `ACCESS_SYSTEM_SECURITY`.
    pub const SECURITY: Self = Self(1 << 8);
    /// `SeTakeOwnershipPrivilege` (9): gives `WRITE_OWNER`.
    pub const TAKE_OWNERSHIP: Self = Self(1 << 9);
    /// `SeBackupPrivilege` (17): reads past every descriptor, where backup intent is declared.
    pub const BACKUP: Self = Self(1 << 17);
    /// `SeRestorePrivilege` (18): writes past every descriptor, where backup intent is declared.
    pub const RESTORE: Self = Self(1 << 18);
    /// `SeDebugPrivilege` (20): opens any process.
    pub const DEBUG: Self = Self(1 << 20);
    /// `SeChangeNotifyPrivilege` (23): no traverse check on the way to an object.
    pub const CHANGE_NOTIFY: Self = Self(1 << 23);
    /// `SeRelabelPrivilege` (32): changes a mandatory label.
    pub const RELABEL: Self = Self(1 << 32);
    /// `SeCreateSymbolicLinkPrivilege` (35).
    pub const CREATE_SYMBOLIC_LINK: Self = Self(1 << 35);

    /// Whether every privilege of `other` is held.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Whether there is a second pass, and for what.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restriction {
    /// No second pass.
    None,
    /// Every right must also be had by these SIDs.
    All(Vec<Sid>),
    /// Rights of the write class must also be had by these SIDs (`WRITE_RESTRICTED`).
    Writes(Vec<Sid>),
}

impl Restriction {
    /// The restricting SIDs; none without a second pass.
    #[must_use]
    pub fn sids(&self) -> &[Sid] {
        match self {
            Self::None => &[],
            Self::All(sids) | Self::Writes(sids) => sids,
        }
    }
}

/// Who a process is, as far as access checks and new objects depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Token {
    /// The user.
    pub user: Sid,
    /// Whether the user itself counts for deny entries alone.
    pub user_state: GroupState,
    /// The groups. Everyone and Authenticated Users are named like any other.
    pub groups: Vec<Group>,
    /// The second pass.
    pub restriction: Restriction,
    /// The privileges that are held.
    pub privileges: Privileges,
    /// Who owns what the process makes.
    pub default_owner: Sid,
    /// The primary group of what the process makes.
    pub primary_group: Sid,
    /// The DACL of objects that inherit none; `None` makes them have no DACL.
    pub default_dacl: Option<Acl>,
}

impl Token {
    /// An unrestricted token of a user and enabled groups, owner of what it makes, with no privilege.
    #[must_use]
    pub fn new(user: Sid, groups: &[Sid]) -> Self {
        Self {
            user,
            user_state: GroupState::Enabled,
            groups: groups.iter().copied().map(Group::enabled).collect(),
            restriction: Restriction::None,
            privileges: Privileges::NONE,
            default_owner: user,
            primary_group: groups.first().copied().unwrap_or(user),
            default_dacl: None,
        }
    }
}
