//! Conformance: the real boundary, attacked through the real `ringfence` by a probe that answers in typed results.
//!
//! What it does not do: look inside the product. It knows the command line and the specification, nothing else.
//! Invariant: a denial counts only beside a control (the same attack without the boundary succeeds) and a sibling
//! (the same call where it is allowed succeeds inside); a crash, silence or a missing file is never a denial.

pub mod batch;
pub mod checks;
pub mod finished;
pub mod suite;
pub mod verdict;

#[cfg(unix)]
pub mod cases;
#[cfg(unix)]
pub mod fixture;
#[cfg(unix)]
pub mod ground;
#[cfg(unix)]
pub mod internet;
#[cfg(unix)]
pub mod launch;
#[cfg(unix)]
pub mod objects;
#[cfg(unix)]
pub mod signals;
#[cfg(unix)]
pub mod snapshot;
#[cfg(unix)]
pub mod write_calls;

#[cfg(windows)]
pub mod windows;

#[cfg(unix)]
pub use ground::Ground;
#[cfg(windows)]
pub use windows::{cases, ground::Ground};

/// With what Ringfence says that it runs nothing on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its exit status.
    pub status: u8,
    /// Its first words.
    pub said: String,
}
