//! The decision on paths: concrete rules, and which of them decides.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::decision::{Decision, Operation};
use crate::path::AbsolutePath;
use crate::rule::RuleId;

/// What a rule leaves of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathAccess {
    /// Neither read nor written.
    Hidden,
    /// Read, not written.
    ReadOnly,
    /// Read and written.
    ReadWrite,
}

/// How a rule stands against others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strength {
    /// Among places the deepest decides: roots, private directories, hidden places, what is revealed in them.
    Place,
    /// Beats every place at any depth: protected names, secrets, `deny_read`.
    Deny,
    /// Beats everything and no grant lifts it: our own state.
    HardBlock,
}

/// One rule on one path and everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRule {
    /// The path as it is inside the session.
    pub path: AbsolutePath,
    /// What it leaves.
    pub access: PathAccess,
    /// How it stands against other rules.
    pub strength: Strength,
    /// Its name.
    pub rule: RuleId,
    /// The words of the policy it comes from: a protected name, a secret's name, a root.
    pub origin: String,
}

/// A rule on names that may appear later: a glob below an anchor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobRule {
    /// The directory it is anchored at.
    pub anchor: AbsolutePath,
    /// The glob over paths relative to the anchor.
    pub glob: String,
    /// Globs that take a match back.
    pub except: Vec<String>,
    /// What it leaves.
    pub access: PathAccess,
    /// Its name.
    pub rule: RuleId,
    /// The words of the policy it comes from.
    pub origin: String,
}

/// All file rules of a session.
///
/// The one place where paths are judged: the planner derives mounts from the same rules, `explain` and the
/// observer ask them directly. Paths are taken as they are spelt: who has links to follow follows them first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesystemRules {
    /// Rules on paths, sorted by path.
    pub paths: Vec<PathRule>,
    /// Rules on names that may appear later.
    pub globs: Vec<GlobRule>,
}

impl FilesystemRules {
    /// Judges `operation` (read or write) on `path`.
    #[must_use]
    pub fn decide(&self, operation: Operation, path: &Path) -> Decision {
        let _ = (operation, path);
        unimplemented!(
            "policy helper: deny by strength, then the deepest place, then the default; with the narrowest Grant"
        )
    }
}
