//! Why a session did not start, or a command did not run to its end.

use std::io;

use ringfence_backend::session::{LaunchFault, ObserveFault, SessionFault};
use ringfence_plan::linux::error::PlanError;
use ringfence_policy::ExitCode;

#[cfg(any(target_os = "linux", windows))]
use super::egress::EgressError;
#[cfg(target_os = "linux")]
use crate::stdio::StreamError;
use crate::sweep::{LeaseError, Swept};

/// Why no session was started; nothing ran.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no executor for this operating system.
    #[error("Ringfence has no boundary for this operating system")]
    Unsupported,
    /// The machine could not be examined.
    #[error("the boundary can't be planned")]
    Observe(#[source] ObserveFault),
    /// The policy can't be held on this machine, or contradicts it.
    #[error("the boundary can't be planned")]
    Plan(#[source] PlanError),
    /// The same, on a Windows machine.
    #[error("the boundary can't be planned")]
    WindowsPlan(#[source] ringfence_plan::windows::PlanError),
    /// What must be swept after the session could not be recorded.
    #[error("what the session may leave behind could not be recorded")]
    Record(#[source] LeaseError),
    /// The session could not be launched.
    #[error("the boundary could not be built")]
    Launch(#[source] LaunchFault),
    /// A step of the plan failed.
    #[error("the boundary could not be built: {operation}")]
    Step {
        /// Index of the step in the plan.
        step: Option<usize>,
        /// What was tried, with its object, escaped.
        operation: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The session's runner ended before the boundary stood.
    #[error("the boundary could not be built")]
    Lost {
        /// What broke.
        #[source]
        fault: SessionFault,
        /// What was moved to quarantine, where the runner had been asked for a command already.
        swept: Swept,
    },
    /// The session's way out could not be served.
    #[cfg(any(target_os = "linux", windows))]
    #[error("the egress proxy could not be started")]
    Egress {
        /// Why not.
        #[source]
        error: EgressError,
        /// What was moved to quarantine, where the runner had been asked for a command already.
        swept: Swept,
    },
    /// The runner broke the protocol.
    #[error("the session's runner sent `{sent}` before the boundary stood")]
    Protocol {
        /// The message that it sent.
        sent: &'static str,
        /// What was moved to quarantine, where the runner had been asked for a command already.
        swept: Swept,
    },
}

impl StartError {
    /// What was moved to quarantine because of it, and what a person should know.
    #[must_use]
    pub fn swept(&self) -> Option<&Swept> {
        match self {
            Self::Lost { swept, .. } | Self::Protocol { swept, .. } => Some(swept),
            #[cfg(any(target_os = "linux", windows))]
            Self::Egress { swept, .. } => Some(swept),
            Self::Unsupported
            | Self::Observe(_)
            | Self::Plan(_)
            | Self::WindowsPlan(_)
            | Self::Record(_)
            | Self::Launch(_)
            | Self::Step { .. } => None,
        }
    }

    /// The exit status that goes with it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Plan(error) => error.exit_code(),
            Self::WindowsPlan(error) => error.exit_code(),
            Self::Launch(LaunchFault::SetupMissing(_)) => ExitCode::SetupMissing,
            Self::Record(_) => ExitCode::SetupMissing,
            #[cfg(any(target_os = "linux", windows))]
            Self::Egress { .. } => ExitCode::NotEnforceable,
            Self::Unsupported
            | Self::Observe(_)
            | Self::Launch(_)
            | Self::Step { .. }
            | Self::Lost { .. }
            | Self::Protocol { .. } => ExitCode::NotEnforceable,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unsupported => "run it on Linux or Windows".to_owned(),
            Self::Plan(error) => error.hints().join("; "),
            Self::WindowsPlan(error) => error.hints().join("\n"),
            Self::Launch(LaunchFault::SetupMissing(_)) => {
                "ringfence setup install (asks an administrator once; `ringfence plan` shows what it does)".to_owned()
            }
            Self::Launch(LaunchFault::Coded { hint, .. }) => hint.clone(),
            Self::Record(error) => error.hint(),
            #[cfg(any(target_os = "linux", windows))]
            Self::Egress { error, .. } => error.hint(),
            Self::Observe(_)
            | Self::Launch(_)
            | Self::Step { .. }
            | Self::Lost { .. }
            | Self::Protocol { .. } => "ringfence doctor".to_owned(),
        }
    }
}

/// Why a session broke while a command may have been running.
#[derive(Debug, thiserror::Error)]
pub enum BreakError {
    /// The terminal could not be joined with the session's.
    #[error("the terminal could not be joined with the command's")]
    Terminal(#[source] io::Error),
    /// Waiting failed.
    #[error("waiting for the command failed")]
    Wait(#[source] io::Error),
    /// The session's runner is gone, and the command with it.
    #[error("the session ended before the command did")]
    Lost(#[source] SessionFault),
    /// The session ended without the command having been reported.
    #[error("the session ended and did not say how the command did")]
    NoOutcome,
}

/// Why a command was not run to its end; its session is over.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The command has no program.
    #[error("there is no command to run")]
    NoCommand,
    /// The boundary does not stand; nothing ran.
    #[error(transparent)]
    Start(StartError),
    /// There is no foreground on this operating system.
    #[error("Ringfence runs no commands on this operating system")]
    Unsupported,
    /// A stream can't be given to the command.
    #[cfg(target_os = "linux")]
    #[error("the command's streams can't be used")]
    Streams(#[source] StreamError),
    /// Signals could not be taken over.
    #[error("signals could not be forwarded to the command")]
    Signals(#[source] io::Error),
    /// The session broke while a command may have been running. It was stopped, and what it had left was swept.
    #[error("the command was not run to its end")]
    Broken {
        /// What broke.
        #[source]
        cause: BreakError,
        /// What was moved to quarantine since the last report, and what a person should know.
        swept: Swept,
    },
}

impl RunError {
    /// What was moved to quarantine because of it, and what a person should know.
    #[must_use]
    pub fn swept(&self) -> Option<&Swept> {
        match self {
            Self::Broken { swept, .. } => Some(swept),
            #[cfg(target_os = "linux")]
            Self::Streams(_) => None,
            Self::Start(error) => error.swept(),
            Self::NoCommand | Self::Unsupported | Self::Signals(_) => None,
        }
    }

    /// The exit status that goes with it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Start(error) => error.exit_code(),
            Self::NoCommand => ExitCode::Usage,
            Self::Unsupported => ExitCode::NotEnforceable,
            #[cfg(target_os = "linux")]
            Self::Streams(_) => ExitCode::Usage,
            Self::Signals(_) | Self::Broken { .. } => ExitCode::Internal,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Start(error) => error.hint(),
            Self::NoCommand => "ringfence run -- COMMAND".to_owned(),
            Self::Unsupported => "run it on Linux".to_owned(),
            #[cfg(target_os = "linux")]
            Self::Streams(error) => error.hint(),
            Self::Signals(_)
            | Self::Broken {
                cause: BreakError::Terminal(_) | BreakError::Wait(_),
                ..
            } => if cfg!(windows) {
                "close programs until handles are free, or sign in again"
            } else {
                "check the limit on open files (ulimit -n)"
            }
            .to_owned(),
            Self::Broken {
                cause: BreakError::Lost(_) | BreakError::NoOutcome,
                ..
            } => "ringfence doctor".to_owned(),
        }
    }
}
