//! What a probe says of one attack: a typed result, never an exit status that is guessed at.
//!
//! Shared by the probe (which writes it) and the suite (which reads it). Invariant: a crash, a missing program and
//! missing output have results of their own, and none of them ever counts as a denial.

use serde::{Deserialize, Serialize};

/// Error numbers that are a refusal whatever was tried.
#[cfg(unix)]
pub const DENIALS: &[i32] = &[libc::EPERM, libc::EACCES, libc::EROFS];
/// `ERROR_ACCESS_DENIED` alone: every other code has to be named by its case.
#[cfg(windows)]
pub const DENIALS: &[i32] = &[5];

/// Error numbers by which a system says that it does not have the call.
#[cfg(unix)]
pub const UNKNOWN_CALLS: &[i32] = &[libc::ENOSYS, libc::EOPNOTSUPP];
/// `ERROR_INVALID_FUNCTION`, `ERROR_NOT_SUPPORTED`, `ERROR_CALL_NOT_IMPLEMENTED`.
#[cfg(windows)]
pub const UNKNOWN_CALLS: &[i32] = &[1, 50, 120];

/// The result of one attack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Verdict {
    /// The attack did what it set out to do.
    Succeeded {
        /// What it saw, where that matters: bytes read, an address, a list.
        #[serde(default)]
        detail: String,
    },
    /// The system refused a call with one of [`DENIALS`].
    Denied {
        /// The error number.
        errno: i32,
        /// The call that was refused.
        call: String,
    },
    /// A call failed with any other number.
    Failed {
        /// The error number.
        errno: i32,
        /// The call that failed, or what was wrong.
        call: String,
    },
    /// The attack's process was ended by a signal, or on Windows by an exception.
    Crashed {
        /// Its number or code.
        signal: i32,
    },
    /// The attack's process ended without saying anything.
    Silent {
        /// Its exit status, or -1.
        status: i32,
    },
}

/// Why an attack stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The call that did not succeed.
    pub call: String,
    /// The error number; 0 where the attack itself was wrong.
    pub errno: i32,
}

impl Stopped {
    /// An attack that could not be tried; never a denial.
    #[must_use]
    pub fn untried(what: impl Into<String>) -> Self {
        Self {
            call: what.into(),
            errno: 0,
        }
    }
}

impl Verdict {
    /// The verdict on an attack that ended with `outcome`.
    #[must_use]
    pub fn of(outcome: Result<String, Stopped>) -> Self {
        match outcome {
            Ok(detail) => Self::Succeeded { detail },
            Err(Stopped { call, errno }) => {
                if DENIALS.contains(&errno) {
                    Self::Denied { errno, call }
                } else {
                    Self::Failed { errno, call }
                }
            }
        }
    }

    /// Whether the attack did what it set out to do.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        matches!(self, Self::Succeeded { .. })
    }

    /// Whether the system refused it: one of [`DENIALS`], or one of the numbers that `also` names for this row.
    #[must_use]
    pub fn refused(&self, also: &[i32]) -> bool {
        match self {
            Self::Denied { .. } => true,
            Self::Failed { errno, .. } => *errno != 0 && also.contains(errno),
            Self::Succeeded { .. } | Self::Crashed { .. } | Self::Silent { .. } => false,
        }
    }

    /// What the attack saw; empty unless it succeeded.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Succeeded { detail } => detail,
            Self::Denied { .. }
            | Self::Failed { .. }
            | Self::Crashed { .. }
            | Self::Silent { .. } => "",
        }
    }
}
