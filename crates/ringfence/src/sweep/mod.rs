//! Names that the session must not leave behind: moved out at once where the observer saw them made, and again when
//! a command has ended.
//!
//! What is guarded is the plan's decision. Invariant: when a sweep returns without a note, no guarded name that the
//! session made is left, and no repository it made has a hook or a setting that the host's git would execute.

mod git_config;
#[cfg(target_os = "linux")]
mod guardian;
#[cfg(target_os = "linux")]
mod lease;
#[cfg(target_os = "linux")]
mod leftovers;
#[cfg(target_os = "linux")]
mod repository;
#[cfg(target_os = "linux")]
mod search;
#[cfg(not(any(target_os = "linux", windows)))]
mod unsupported;
#[cfg(windows)]
mod windows;

use serde::{Deserialize, Serialize};

use crate::quarantine::Entry;

#[cfg(target_os = "linux")]
pub(crate) use self::guardian::Guardian;
#[cfg(target_os = "linux")]
pub use self::lease::LeaseError;
#[cfg(target_os = "linux")]
pub(crate) use self::lease::{Lease, has_orders};
#[cfg(target_os = "linux")]
pub use self::leftovers::sweep_leftovers;
#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) use self::unsupported::{Guardian, Lease, has_orders};
#[cfg(not(any(target_os = "linux", windows)))]
pub use self::unsupported::{LeaseError, sweep_leftovers};
#[cfg(windows)]
pub(crate) use self::windows::{Guardian, Lease, has_orders};
#[cfg(windows)]
pub use self::windows::{LeaseError, sweep_leftovers};

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// What was moved to quarantine since the last sweep.
    pub quarantined: Vec<Entry>,
    /// What a person should know, one line each: above all what could not be moved.
    pub notes: Vec<String>,
}

/// What was found of other sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Sessions that live: nothing of theirs was touched.
    pub live: usize,
    /// Sessions that were killed, and are swept and forgotten now.
    pub dead: usize,
    /// Records of which something could not be swept; the notes say what.
    pub unswept: usize,
    /// What was done about those.
    pub swept: Swept,
}

/// How it is known what the session made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watching {
    /// The observer says so.
    Observed,
    /// Nobody watches: what is there afterwards and was not before counts as the session's.
    Unobserved,
}

/// Whether the session's runner could tell all it saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It reported to the end.
    All,
    /// It has reported all until now, and goes on.
    SoFar,
    /// It was lost, and what it saw last with it.
    InPart,
}

/// What happens to repositories that the session made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Repositories {
    /// As the plan's guard says.
    AsPlanned,
    /// Nothing: the policy gives `.git` away (`git = "full"`), and old and new ones can't be told apart.
    Left,
}
