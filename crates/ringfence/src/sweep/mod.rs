//! Names that the session must not leave behind: moved out at once where the observer saw them made, and again when
//! a command has ended.
//!
//! What is guarded is the plan's decision. Invariant: when a sweep returns without a note, no guarded name that the
//! session made is left, and no repository it made has a hook or a setting that the host's git would execute.

mod git_config;
#[cfg(target_os = "linux")]
mod guardian;
#[cfg(target_os = "linux")]
mod repository;
#[cfg(target_os = "linux")]
mod search;
#[cfg(not(target_os = "linux"))]
mod unsupported;

use crate::quarantine::Entry;

#[cfg(target_os = "linux")]
pub(crate) use self::guardian::Guardian;
#[cfg(not(target_os = "linux"))]
pub(crate) use self::unsupported::Guardian;

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// What was moved to quarantine since the last sweep.
    pub quarantined: Vec<Entry>,
    /// What a person should know, one line each: above all what could not be moved.
    pub notes: Vec<String>,
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
    /// It was lost, and what it saw last with it.
    InPart,
}

/// What happens to repositories that the session made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repositories {
    /// As the plan's guard says.
    AsPlanned,
    /// Nothing: the policy gives `.git` away (`git = "full"`), and old and new ones can't be told apart.
    Left,
}
