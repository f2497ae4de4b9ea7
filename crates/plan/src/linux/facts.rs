//! Facts of a Linux machine.

use serde::{Deserialize, Serialize};

/// Filled in by the planner helper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxFacts {
    /// Highest Landlock ABI the kernel offers; 0 for none.
    pub landlock_abi: u32,
}
