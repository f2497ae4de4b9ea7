//! How much of the boundary holds.

use ringfence_plan::{Level, Missing};
use serde::{Deserialize, Serialize};

/// What a live session really enforces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub struct Enforcement {
    /// The level.
    pub level: Level,
    /// What of the full level is missing.
    pub missing: Vec<Missing>,
    /// How each layer was proven, one line each: `user namespace: created`, `landlock: ABI 7 ruleset in force`.
    pub proven: Vec<String>,
}
