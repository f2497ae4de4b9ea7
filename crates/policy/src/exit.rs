//! The exit status of `ringfence run`.

/// Ringfence's own exit statuses; a command's own status passes through, 128+N for signal N.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ExitCode {
    /// Wrong usage of the command line.
    Usage = 2,
    /// Something failed inside Ringfence.
    Internal = 100,
    /// The policy is invalid; nothing ran.
    PolicyInvalid = 101,
    /// The boundary can't be enforced at the required level; nothing ran.
    NotEnforceable = 102,
    /// Managed policy refuses it; nothing ran.
    ManagedRefusal = 103,
    /// The command ran into its time limit.
    TimeLimit = 104,
    /// Set-up is missing or incomplete; nothing ran.
    SetupMissing = 105,
    /// The command was found and could not be executed.
    NotExecutable = 126,
    /// The command was not found.
    NotFound = 127,
}

impl ExitCode {
    /// Every status, for `docs/errors.md`.
    pub const ALL: [Self; 9] = [
        Self::Usage,
        Self::Internal,
        Self::PolicyInvalid,
        Self::NotEnforceable,
        Self::ManagedRefusal,
        Self::TimeLimit,
        Self::SetupMissing,
        Self::NotExecutable,
        Self::NotFound,
    ];

    /// The number that the process exits with.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What it means, in one sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Usage => "The command line is wrong; nothing ran.",
            Self::Internal => "Ringfence failed; what was running in the session has been ended.",
            Self::PolicyInvalid => "The policy is invalid; nothing ran.",
            Self::NotEnforceable => {
                "The boundary can't be enforced at the required level; nothing ran."
            }
            Self::ManagedRefusal => "The managed policy refuses it; nothing ran.",
            Self::TimeLimit => "The time limit ended the command.",
            Self::SetupMissing => "Set-up is missing or incomplete; nothing ran.",
            Self::NotExecutable => "The command was found but is not executable.",
            Self::NotFound => "The command was not found.",
        }
    }
}
