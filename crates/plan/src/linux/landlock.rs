//! Landlock rights by kernel ABI (kernel document `userspace-api/landlock`), and the rulesets of both levels.
//!
//! Knows bits and versions, not paths' meaning: which path gets which rights is the planner's choice.
//! Invariant: a ruleset never names a right or scope that its ABI does not know.

use serde::{Deserialize, Serialize};

use ringfence_policy::AbsolutePath;

/// A set of `LANDLOCK_ACCESS_FS_*` rights; the bits are the kernel's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights(pub u64);

/// A set of `LANDLOCK_SCOPE_*` bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scopes(pub u64);

/// A ruleset: what is handled (and so refused where no rule allows it) and what is allowed where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// The ABI it was made for; never above the kernel's.
    pub abi: u32,
    /// Rights that are refused unless a rule allows them.
    pub handled: Rights,
    /// Scopes that are closed.
    pub scoped: Scopes,
    /// What is allowed beneath a path, as the path is inside the session.
    pub rules: Vec<Rule>,
}

/// Rights on one path and everything beneath it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The path inside the session.
    pub path: AbsolutePath,
    /// The rights; for a file only those that a file can have.
    pub allowed: Rights,
}

/// A Landlock ABI that this build knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Abi {
    /// Linux 5.13: thirteen file rights. Every rename or link between directories is refused (`EXDEV`).
    V1,
    /// Linux 5.19: `REFER`, so that renames between directories can be allowed.
    V2,
    /// Linux 6.2: `TRUNCATE`.
    V3,
    /// Linux 6.7: TCP bind and connect. Not used: TCP Fast Open, MPTCP and UDP walk round them.
    V4,
    /// Linux 6.10: `IOCTL_DEV`.
    V5,
    /// Linux 6.12: scopes for abstract Unix sockets and signals.
    V6,
    /// Linux 6.15: audit records of refusals. Adds no right.
    V7,
}

impl Abi {
    /// Every ABI, oldest first.
    pub const ALL: [Self; 7] = [
        Self::V1,
        Self::V2,
        Self::V3,
        Self::V4,
        Self::V5,
        Self::V6,
        Self::V7,
    ];

    /// The newest known ABI that a kernel offering `number` fulfils; `None` for 0.
    #[must_use]
    pub fn negotiate(number: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .rev()
            .find(|abi| abi.number() <= number)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
            Self::V3 => 3,
            Self::V4 => 4,
            Self::V5 => 5,
            Self::V6 => 6,
            Self::V7 => 7,
        }
    }

    /// Every file right that it knows.
    #[must_use]
    pub fn rights(self) -> Rights {
        let first = Rights(Rights::MAKE_SYM.0 | (Rights::MAKE_SYM.0 - 1));
        match self {
            Self::V1 => first,
            Self::V2 => first.with(Rights::REFER),
            Self::V3 | Self::V4 => first.with(Rights::REFER).with(Rights::TRUNCATE),
            Self::V5 | Self::V6 | Self::V7 => first
                .with(Rights::REFER)
                .with(Rights::TRUNCATE)
                .with(Rights::IOCTL_DEV),
        }
    }

    /// Every scope that it knows.
    #[must_use]
    pub fn scopes(self) -> Scopes {
        match self {
            Self::V1 | Self::V2 | Self::V3 | Self::V4 | Self::V5 => Scopes(0),
            Self::V6 | Self::V7 => Scopes(Scopes::ABSTRACT_UNIX_SOCKET.0 | Scopes::SIGNAL.0),
        }
    }
}

impl Rights {
    /// `LANDLOCK_ACCESS_FS_EXECUTE` (0x1)
    pub const EXECUTE: Self = Self(1);
    /// `LANDLOCK_ACCESS_FS_WRITE_FILE` (0x2)
    pub const WRITE_FILE: Self = Self(1 << 1);
    /// `LANDLOCK_ACCESS_FS_READ_FILE` (0x4)
    pub const READ_FILE: Self = Self(1 << 2);
    /// `LANDLOCK_ACCESS_FS_READ_DIR` (0x8)
    pub const READ_DIR: Self = Self(1 << 3);
    /// `LANDLOCK_ACCESS_FS_REMOVE_DIR` (0x10)
    pub const REMOVE_DIR: Self = Self(1 << 4);
    /// `LANDLOCK_ACCESS_FS_REMOVE_FILE` (0x20)
    pub const REMOVE_FILE: Self = Self(1 << 5);
    /// `LANDLOCK_ACCESS_FS_MAKE_CHAR` (0x40)
    pub const MAKE_CHAR: Self = Self(1 << 6);
    /// `LANDLOCK_ACCESS_FS_MAKE_DIR` (0x80)
    pub const MAKE_DIR: Self = Self(1 << 7);
    /// `LANDLOCK_ACCESS_FS_MAKE_REG` (0x100)
    pub const MAKE_REG: Self = Self(1 << 8);
    /// `LANDLOCK_ACCESS_FS_MAKE_SOCK` (0x200)
    pub const MAKE_SOCK: Self = Self(1 << 9);
    /// `LANDLOCK_ACCESS_FS_MAKE_FIFO` (0x400)
    pub const MAKE_FIFO: Self = Self(1 << 10);
    /// `LANDLOCK_ACCESS_FS_MAKE_BLOCK` (0x800)
    pub const MAKE_BLOCK: Self = Self(1 << 11);
    /// `LANDLOCK_ACCESS_FS_MAKE_SYM` (0x1000)
    pub const MAKE_SYM: Self = Self(1 << 12);
    /// `LANDLOCK_ACCESS_FS_REFER` (0x2000), ABI 2
    pub const REFER: Self = Self(1 << 13);
    /// `LANDLOCK_ACCESS_FS_TRUNCATE` (0x4000), ABI 3
    pub const TRUNCATE: Self = Self(1 << 14);
    /// `LANDLOCK_ACCESS_FS_IOCTL_DEV` (0x8000), ABI 5
    pub const IOCTL_DEV: Self = Self(1 << 15);

    /// Reading content and entries, and executing.
    pub const READ: Self = Self(Self::EXECUTE.0 | Self::READ_FILE.0 | Self::READ_DIR.0);
    /// What a rule on a file may hold.
    pub const OF_FILES: Self = Self(
        Self::EXECUTE.0
            | Self::WRITE_FILE.0
            | Self::READ_FILE.0
            | Self::TRUNCATE.0
            | Self::IOCTL_DEV.0,
    );
    /// Writing to a node that exists: devices, files of `/proc`.
    pub const WRITE_NODE: Self = Self(Self::WRITE_FILE.0 | Self::TRUNCATE.0 | Self::IOCTL_DEV.0);
    /// Device nodes: handled, and allowed nowhere.
    pub const MAKE_DEVICE: Self = Self(Self::MAKE_CHAR.0 | Self::MAKE_BLOCK.0);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set less `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What both sets hold.
    #[must_use]
    pub const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether every right of `other` is in this set.
    #[must_use]
    pub const fn holds(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The rights' names, in the order of their bits.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        const NAMES: [&str; 16] = [
            "execute",
            "write-file",
            "read-file",
            "read-dir",
            "remove-dir",
            "remove-file",
            "make-char",
            "make-dir",
            "make-reg",
            "make-sock",
            "make-fifo",
            "make-block",
            "make-sym",
            "refer",
            "truncate",
            "ioctl-dev",
        ];
        NAMES
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.0 & (1 << bit) != 0)
            .map(|(_, name)| *name)
            .collect()
    }
}

impl Scopes {
    /// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` (0x1), ABI 6
    pub const ABSTRACT_UNIX_SOCKET: Self = Self(1);
    /// `LANDLOCK_SCOPE_SIGNAL` (0x2), ABI 6
    pub const SIGNAL: Self = Self(2);
}

impl Ruleset {
    /// An empty ruleset of `abi` that refuses writing everywhere; with mounts as the first wall, reads stay free.
    #[must_use]
    pub fn refusing_writes(abi: Abi) -> Self {
        Self {
            abi: abi.number(),
            handled: abi.rights().without(Rights::READ),
            scoped: abi.scopes(),
            rules: Vec::new(),
        }
    }

    /// An empty ruleset of `abi` that refuses everything it knows.
    #[must_use]
    pub fn refusing_all(abi: Abi) -> Self {
        Self {
            abi: abi.number(),
            handled: abi.rights(),
            scoped: abi.scopes(),
            rules: Vec::new(),
        }
    }

    /// Allows on `path` and beneath what of `rights` this ruleset handles; a rule that would allow nothing is left out.
    pub fn allow(&mut self, path: AbsolutePath, rights: Rights) {
        let allowed = rights.both(self.handled);
        if !allowed.is_empty() {
            self.rules.push(Rule { path, allowed });
        }
    }

    /// Every handled write right that a writable directory gets: all but making device nodes.
    #[must_use]
    pub fn directory_writes(&self) -> Rights {
        self.handled
            .without(Rights::READ)
            .without(Rights::MAKE_DEVICE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negotiation_never_exceeds_the_kernel() {
        assert_eq!(Abi::negotiate(0), None);
        for abi in Abi::ALL {
            assert_eq!(Abi::negotiate(abi.number()), Some(abi));
        }
        assert_eq!(Abi::negotiate(99), Some(Abi::V7));
    }

    #[test]
    fn each_abi_knows_the_rights_its_kernel_documents() {
        let masks: Vec<u64> = Abi::ALL.into_iter().map(|abi| abi.rights().0).collect();
        assert_eq!(
            masks,
            [0x1fff, 0x3fff, 0x7fff, 0x7fff, 0xffff, 0xffff, 0xffff]
        );
        let scopes: Vec<u64> = Abi::ALL.into_iter().map(|abi| abi.scopes().0).collect();
        assert_eq!(scopes, [0, 0, 0, 0, 0, 3, 3]);
    }

    #[test]
    fn no_ruleset_allows_device_nodes_or_what_it_does_not_handle() {
        for abi in Abi::ALL {
            let mut rules = Ruleset::refusing_writes(abi);
            rules.allow(
                AbsolutePath::new("/w").expect("absolute"),
                Rights(u64::MAX).without(Rights::MAKE_DEVICE),
            );
            assert!(rules.handled.holds(Rights::MAKE_DEVICE));
            assert_eq!(rules.rules[0].allowed, rules.directory_writes());
            assert!(abi.rights().holds(rules.rules[0].allowed));
        }
    }
}
