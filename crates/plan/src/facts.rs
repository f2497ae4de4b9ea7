//! What a machine is, as far as a plan depends on it; observed by an executor, stored as JSON for golden tests.

use serde::{Deserialize, Serialize};

pub use crate::linux::facts::LinuxFacts;
pub use crate::windows::facts::WindowsFacts;

/// The facts of one host, by operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    clippy::large_enum_variant,
    reason = "made once per plan, never in numbers"
)]
pub enum HostFacts {
    /// A Linux machine.
    Linux(LinuxFacts),
    /// A Windows machine.
    Windows(WindowsFacts),
}
