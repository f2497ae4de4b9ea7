//! One policy and one boundary in which commands run.
//!
//! Invariant: when `run` returns, nothing of the session is left running and guarded names were swept.

use std::ffi::OsString;

use ringfence_audit::{EventSink, SessionId};
use ringfence_backend::{Enforcement, Outcome};
use ringfence_plan::Plan;
use ringfence_plan::step::Observe;
use ringfence_policy::decision::Denial;
use ringfence_policy::environment::WithheldReason;
use ringfence_policy::{AbsolutePath, ExitCode, Policy};

use crate::quarantine::Entry;
use crate::state::StateDirectory;

/// How a session is started.
#[derive(Debug)]
pub struct SessionOptions {
    /// Which calls the observer sees.
    pub observe: Observe,
    /// Where events go; its session name is the session's.
    pub events: Option<EventSink>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            observe: Observe::Writes,
            events: None,
        }
    }
}

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSpec {
    /// The program (a path with a slash, or a name searched in PATH) and its arguments.
    pub arguments: Vec<OsString>,
    /// The directory it starts in; the workspace unless told otherwise.
    pub directory: Option<AbsolutePath>,
}

/// What is known after a command.
#[derive(Debug)]
#[must_use]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// What was denied, and how often.
    pub denials: Vec<(Denial, u32)>,
    /// What was moved to quarantine.
    pub quarantined: Vec<Entry>,
    /// Variables that were withheld.
    pub withheld: Vec<(OsString, WithheldReason)>,
    /// What a person should know, one line each.
    pub notes: Vec<String>,
}

impl Report {
    /// The status `ringfence run` exits with.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        use ringfence_backend::Ending;
        match self.outcome.ending {
            Ending::Exited(status) => status,
            Ending::Signalled(signal) => {
                u8::try_from(signal).map_or(255, |signal| signal.saturating_add(128))
            }
            Ending::TimeLimit => ExitCode::TimeLimit.code(),
            Ending::MemoryLimit | Ending::ProcessLimit => 128 + 9,
            Ending::NotFound => ExitCode::NotFound.code(),
            Ending::NotExecutable(_) => ExitCode::NotExecutable.code(),
        }
    }
}

/// Why no session was started; nothing ran.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no executor for this operating system.
    #[error("Ringfence has no boundary for this operating system")]
    Unsupported,
}

impl StartError {
    /// The exit status that goes with it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::NotEnforceable
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        String::new()
    }
}

/// Why a command was not run to its end; the session is ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The command has no program.
    #[error("there is no command to run")]
    NoCommand,
}

impl RunError {
    /// The exit status that goes with it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::Internal
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        String::new()
    }
}

/// A live session. Dropped, it ends with everything in it.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    plan: Plan,
    enforcement: Enforcement,
}

impl Session {
    /// Builds the boundary that `policy` asks for; waits until it stands.
    pub fn start(
        policy: &Policy,
        state: &StateDirectory,
        options: SessionOptions,
    ) -> Result<Self, StartError> {
        let _ = (policy, state, options);
        Err(StartError::Unsupported)
    }

    /// The session's name.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// How much of the boundary holds.
    pub fn enforcement(&self) -> &Enforcement {
        &self.enforcement
    }

    /// What was done.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs one command in the foreground with this process's standard streams, then ends the session: a session of
    /// one.
    pub fn run(self, command: CommandSpec) -> Result<Report, RunError> {
        let _ = command;
        Err(RunError::NoCommand)
    }

    /// Runs one command in the foreground; the session stays for the next.
    pub fn execute(&mut self, command: CommandSpec) -> Result<Report, RunError> {
        let _ = command;
        Err(RunError::NoCommand)
    }

    /// Ends the session and everything in it.
    pub fn end(self) -> Result<(), RunError> {
        Ok(())
    }
}
