//! One policy and one boundary in which commands run.
//!
//! Invariant: when `run` returns, nothing of the session is left running and guarded names were swept.

mod error;
mod report;

#[cfg(target_os = "linux")]
mod caller;
#[cfg(target_os = "linux")]
mod foreground;
#[cfg(target_os = "linux")]
mod signals;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::ffi::OsString;
use std::io;

use ringfence_audit::event::Event as AuditEvent;
use ringfence_audit::{EventSink, SessionId};
use ringfence_backend::session::{LaunchFault, Received};
use ringfence_backend::wire::Event;
use ringfence_backend::{Backend, Enforcement, RunningSession};
use ringfence_plan::step::Observe;
use ringfence_plan::{Level, Plan, Step};
use ringfence_policy::document::{GitAccess, Require};
use ringfence_policy::policy::EnvironmentPolicy;
use ringfence_policy::{AbsolutePath, Policy};

pub use self::error::{RunError, StartError};
use self::report::Journal;
pub use self::report::Report;
use crate::platform::{self, Namespaces, PlanOptions};
use crate::quarantine::Quarantine;
use crate::state::StateDirectory;
use crate::sweep::{Guardian, Repositories, Watching};
use crate::{clock, environment};

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

/// A live session. Dropped, it ends with everything in it.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    plan: Plan,
    enforcement: Enforcement,
    variables: EnvironmentPolicy,
    time_limit: Option<u64>,
    running: Box<dyn RunningSession>,
    guardian: Guardian,
    journal: Journal,
    commands: u64,
}

/// What becomes of the session when its command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// It ends too, with all that the command left running.
    End,
    /// It stays for the next command.
    Stay,
}

impl Session {
    /// Builds the boundary that `policy` asks for; waits until it stands.
    ///
    /// Where the kernel refuses namespaces only when they are asked for, it is tried once more without them, unless
    /// the policy requires the full level.
    ///
    /// # Errors
    /// [`StartError`]; nothing ran.
    pub fn start(
        policy: &Policy,
        state: &StateDirectory,
        options: SessionOptions,
    ) -> Result<Self, StartError> {
        Self::start_on(&*platform::backend()?, policy, state, options)
    }

    /// [`Session::start`] on an executor of the caller's choice.
    ///
    /// # Errors
    /// [`StartError`]; nothing ran.
    pub fn start_on(
        backend: &dyn Backend,
        policy: &Policy,
        state: &StateDirectory,
        options: SessionOptions,
    ) -> Result<Self, StartError> {
        let planning = PlanOptions {
            observe: options.observe,
        };
        let plan = platform::plan_on(backend, policy, planning, Namespaces::Expected)?;
        match launch(backend, &plan) {
            Ok((running, enforcement)) => Ok(Self::new(
                policy,
                state,
                options,
                plan,
                running,
                enforcement,
            )),
            Err(error) if falls_back(&error, policy, &plan) => {
                let plan =
                    platform::plan_on(backend, policy, planning, Namespaces::Refused(&error))?;
                let (running, enforcement) = launch(backend, &plan)?;
                Ok(Self::new(
                    policy,
                    state,
                    options,
                    plan,
                    running,
                    enforcement,
                ))
            }
            Err(error) => Err(error),
        }
    }

    fn new(
        policy: &Policy,
        state: &StateDirectory,
        options: SessionOptions,
        plan: Plan,
        running: Box<dyn RunningSession>,
        enforcement: Enforcement,
    ) -> Self {
        let id = match &options.events {
            Some(sink) => sink.session().clone(),
            None => clock::new_session_id(),
        };
        let repositories = match policy.filesystem.git.value {
            GitAccess::ReadOnly | GitAccess::Commit => Repositories::AsPlanned,
            GitAccess::Full => Repositories::Left,
        };
        let guardian = Guardian::new(
            plan.guard.clone(),
            (watching(&plan), repositories),
            Quarantine::open(state),
            id.clone(),
        );
        let mut journal = Journal::new(options.events);
        journal.write(|| AuditEvent::SessionStart {
            plan: plan.hash().to_string(),
            level: level_name(enforcement.level).to_owned(),
            missing: enforcement
                .missing
                .iter()
                .map(|missing| missing.what.clone())
                .collect(),
        });
        Self {
            id,
            plan,
            enforcement,
            variables: policy.environment.clone(),
            time_limit: policy.limits.time.as_ref().map(|limit| limit.value.0),
            running,
            guardian,
            journal,
            commands: 0,
        }
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
    ///
    /// # Errors
    /// [`RunError`]; nothing of the session is left running.
    pub fn run(mut self, command: CommandSpec) -> Result<Report, RunError> {
        self.foreground(command, Afterwards::End)
    }

    /// Runs one command in the foreground; the session stays for the next.
    ///
    /// # Errors
    /// [`RunError`]; the session should be dropped then.
    pub fn execute(&mut self, command: CommandSpec) -> Result<Report, RunError> {
        self.foreground(command, Afterwards::Stay)
    }

    /// Ends the session and everything in it.
    ///
    /// # Errors
    /// [`RunError::Lost`] when its runner was gone already; nothing is left running in either case.
    pub fn end(mut self) -> Result<(), RunError> {
        self.running.end().map_err(RunError::Lost)?;
        loop {
            match self.running.receive(None) {
                Ok(Some(Received {
                    event: Event::Ended,
                    ..
                })) => break,
                Ok(Some(_) | None) => {}
                Err(fault) => return Err(RunError::Lost(fault)),
            }
        }
        let _ = self.guardian.sweep();
        self.journal.write(|| AuditEvent::SessionEnd);
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn foreground(
        &mut self,
        command: CommandSpec,
        afterwards: Afterwards,
    ) -> Result<Report, RunError> {
        if command.arguments.is_empty() {
            return Err(RunError::NoCommand);
        }
        self.commands += 1;
        let variables = environment::compose_from_process(&self.variables, &self.plan.environment);
        foreground::run(self, command, variables, afterwards)
    }

    #[cfg(not(target_os = "linux"))]
    fn foreground(
        &mut self,
        _command: CommandSpec,
        _afterwards: Afterwards,
    ) -> Result<Report, RunError> {
        Err(RunError::Unsupported)
    }
}

/// Launches `plan` and waits until the boundary stands.
fn launch(
    backend: &dyn Backend,
    plan: &Plan,
) -> Result<(Box<dyn RunningSession>, Enforcement), StartError> {
    let mut running = backend.launch(plan).map_err(StartError::Launch)?;
    loop {
        let Some(received) = running.receive(None).map_err(StartError::Lost)? else {
            continue;
        };
        return match received.event {
            Event::Ready(enforcement) => Ok((running, enforcement)),
            Event::LaunchFailed {
                step,
                operation,
                errno,
            } => Err(StartError::Step {
                step,
                operation: ringfence_policy::escape::escape_os(&operation),
                source: io::Error::from_raw_os_error(errno),
            }),
            Event::Started { .. } => Err(StartError::Protocol("started")),
            Event::Denied { .. } => Err(StartError::Protocol("denied")),
            Event::Touched { .. } => Err(StartError::Protocol("touched")),
            Event::Remounted { .. } => Err(StartError::Protocol("remounted")),
            Event::Exited { .. } => Err(StartError::Protocol("exited")),
            Event::Ended => Err(StartError::Protocol("ended")),
        };
    }
}

/// Whether a failed launch is one that a plan without namespaces may get round, and the policy allows it.
///
/// Where a security module takes the namespaces' capabilities away, making them succeeds and their first use fails.
fn falls_back(error: &StartError, policy: &Policy, plan: &Plan) -> bool {
    let refused = match error {
        StartError::Launch(LaunchFault::NamespacesRefused(_)) => true,
        StartError::Step {
            step: Some(index),
            source,
            ..
        } => {
            matches!(source.kind(), io::ErrorKind::PermissionDenied)
                && plan.steps.get(*index).is_some_and(needs_namespace_rights)
        }
        StartError::Step { step: None, .. }
        | StartError::Launch(LaunchFault::Failed(_))
        | StartError::Unsupported
        | StartError::Observe(_)
        | StartError::Plan(_)
        | StartError::Lost(_)
        | StartError::Protocol(_) => false,
    };
    refused && plan.level == Level::Full && policy.require.value == Require::Partial
}

fn needs_namespace_rights(step: &Step) -> bool {
    matches!(
        step,
        Step::EnterNamespaces { .. }
            | Step::RaiseLoopback
            | Step::SealMounts
            | Step::MountProc
            | Step::KeepProc
    )
}

fn watching(plan: &Plan) -> Watching {
    let observed = plan.steps.iter().any(|step| {
        matches!(
            step,
            Step::FilterSyscalls {
                observe: Observe::Writes | Observe::All,
                ..
            }
        )
    });
    if observed {
        Watching::Observed
    } else {
        Watching::Unobserved
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::None => "none",
        Level::Partial => "partial",
        Level::Full => "full",
    }
}
