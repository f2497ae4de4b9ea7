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

    /// What is left after filtering the token again.
    fn narrowed(&self, flags: FilterFlags, restricting: &[Sid]) -> Self {
        let sids: Vec<Sid> = match self {
            Self::None if restricting.is_empty() => return Self::None,
            Self::None => restricting.to_vec(),
            Self::All(sids) | Self::Writes(sids) if restricting.is_empty() => sids.clone(),
            Self::All(sids) | Self::Writes(sids) => {
                let both = sids.iter().filter(|sid| restricting.contains(sid));
                both.copied().collect()
            }
        };
        match self {
            Self::None | Self::All(_) if !flags.contains(FilterFlags::WRITE_RESTRICTED) => {
                Self::All(sids)
            }
            Self::None | Self::All(_) | Self::Writes(_) => Self::Writes(sids),
        }
    }
}

/// The flags of `CreateRestrictedToken`, with their Windows numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FilterFlags(pub u32);

impl FilterFlags {
    /// None.
    pub const NONE: Self = Self(0);
    /// `0x1` `DISABLE_MAX_PRIVILEGE`: of the privileges only `SeChangeNotifyPrivilege` stays.
    pub const DISABLE_MAX_PRIVILEGE: Self = Self(0x1);
    /// `0x4` `LUA_TOKEN`. `[unsettled]` what it takes away: here nothing.
    pub const LUA_TOKEN: Self = Self(0x4);
    /// `0x8` `WRITE_RESTRICTED`: the restricting SIDs count for write access alone.
    pub const WRITE_RESTRICTED: Self = Self(0x8);

    /// Whether every flag of `other` is set.
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

    /// The token that `CreateRestrictedToken` makes of this one.
    ///
    /// `deny_only` names SIDs that shall count for denies alone; one that the token does not have is ignored. Where
    /// this token has restricting SIDs already, only those in both lists stay; without any given, they stay as they
    /// are.
    ///
    /// `[unsettled]`, each taken the way that gives the new token more: a default owner that becomes deny-only gives
    /// way to the user; `WRITE_RESTRICTED` lifts the second pass of reads from a token that had one; and with no
    /// restricting SID at all the flag does nothing.
    #[must_use]
    pub fn restrict(&self, flags: FilterFlags, deny_only: &[Sid], restricting: &[Sid]) -> Self {
        let mut token = self.clone();
        if deny_only.contains(&token.user) {
            token.user_state = GroupState::DenyOnly;
        }
        for group in &mut token.groups {
            if deny_only.contains(&group.sid) {
                group.state = GroupState::DenyOnly;
            }
        }
        if deny_only.contains(&token.default_owner) {
            token.default_owner = token.user;
        }
        if flags.contains(FilterFlags::DISABLE_MAX_PRIVILEGE) {
            token.privileges = Privileges(token.privileges.0 & Privileges::CHANGE_NOTIFY.0);
        }
        token.restriction = self.restriction.narrowed(flags, restricting);
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Sid {
        "S-1-5-21-1-2-3-1001".parse().unwrap()
    }

    fn elevated() -> Token {
        Token {
            privileges: Privileges::CHANGE_NOTIFY.with(Privileges::TAKE_OWNERSHIP),
            default_owner: Sid::ADMINISTRATORS,
            ..Token::new(user(), &[Sid::EVERYONE, Sid::ADMINISTRATORS])
        }
    }

    #[test]
    fn sids_become_deny_only_and_the_user_owns_what_they_owned() {
        let token =
            elevated().restrict(FilterFlags::NONE, &[Sid::ADMINISTRATORS, Sid::GUESTS], &[]);
        assert_eq!(
            token.groups,
            [
                Group::enabled(Sid::EVERYONE),
                Group::deny_only(Sid::ADMINISTRATORS)
            ]
        );
        assert_eq!(token.user_state, GroupState::Enabled);
        assert_eq!(token.default_owner, user());
        let nobody = elevated().restrict(FilterFlags::NONE, &[user()], &[]);
        assert_eq!(nobody.user_state, GroupState::DenyOnly);
        assert_eq!(nobody.default_owner, Sid::ADMINISTRATORS);
    }

    #[test]
    fn only_change_notify_stays_of_the_privileges() {
        let token = elevated().restrict(FilterFlags::DISABLE_MAX_PRIVILEGE, &[], &[]);
        assert_eq!(token.privileges, Privileges::CHANGE_NOTIFY);
        let without = Token::new(user(), &[]);
        let none = without.restrict(FilterFlags::DISABLE_MAX_PRIVILEGE, &[], &[]);
        assert_eq!(none.privileges, Privileges::NONE);
        let lua = elevated().restrict(FilterFlags::LUA_TOKEN, &[], &[]);
        assert_eq!(lua.privileges, elevated().privileges);
    }

    #[test]
    fn restricting_sids_are_set_then_only_narrowed() {
        let writes = FilterFlags::WRITE_RESTRICTED.with(FilterFlags::LUA_TOKEN);
        let restrict = |token: &Token, flags, sids: &[Sid]| token.restrict(flags, &[], sids);
        let both = [Sid::USERS, Sid::GUESTS];
        let first = restrict(&elevated(), writes, &both);
        assert_eq!(first.restriction, Restriction::Writes(both.to_vec()));
        let second = restrict(&first, writes, &[Sid::GUESTS, Sid::EVERYONE]);
        assert_eq!(second.restriction, Restriction::Writes(vec![Sid::GUESTS]));
        let kept = restrict(&first, FilterFlags::NONE, &[]);
        assert_eq!(kept.restriction, first.restriction);
        let nothing_in_common = restrict(&second, writes, &[Sid::USERS]);
        assert_eq!(
            nothing_in_common.restriction,
            Restriction::Writes(Vec::new())
        );
        let full = restrict(&elevated(), FilterFlags::NONE, &both);
        assert_eq!(full.restriction, Restriction::All(both.to_vec()));
        let lifted = restrict(&full, writes, &both);
        assert_eq!(lifted.restriction, Restriction::Writes(both.to_vec()));
        let unrestricted = restrict(&elevated(), writes, &[]);
        assert_eq!(unrestricted.restriction, Restriction::None);
    }
}
