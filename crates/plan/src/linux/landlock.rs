//! Landlock rights by kernel ABI (kernel document `userspace-api/landlock`).

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
