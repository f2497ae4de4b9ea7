//! One policy and one boundary in which commands run.
//!
//! Invariant: however a session ends on whose commands may have run, by a report, an error or a drop, nothing of it is
//! left running and guarded names were swept; where one of the two could not be made sure, it is said.

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
use std::time::Duration;

use ringfence_audit::event::{Event as AuditEvent, LoadedLayer as LayerEvent};
use ringfence_audit::{EventSink, SessionId};
use ringfence_backend::session::{LaunchFault, Received, SessionFault};
use ringfence_backend::wire::Event;
use ringfence_backend::{Backend, Enforcement, Remains, RunningSession};
use ringfence_plan::step::Observe;
use ringfence_plan::{Level, Plan, Step};
use ringfence_policy::document::{GitAccess, Require};
use ringfence_policy::escape::escape_os;
use ringfence_policy::layers::LayerKind;
use ringfence_policy::policy::EnvironmentPolicy;
use ringfence_policy::{AbsolutePath, Policy};

pub use self::error::{BreakError, RunError, StartError};
use self::report::Journal;
pub use self::report::Report;
use crate::load::LoadedLayer;
use crate::platform::{self, Namespaces, PlanOptions};
use crate::quarantine::Quarantine;
use crate::state::StateDirectory;
use crate::sweep::{Guardian, Repositories, Seen, Swept, Watching};
use crate::{clock, environment};

/// How a session is started.
#[derive(Debug)]
pub struct SessionOptions {
    /// Which calls the observer sees.
    pub observe: Observe,
    /// Where events go; its session name is the session's.
    pub events: Option<EventSink>,
    /// Where the policy comes from, for the record.
    pub layers: Vec<LoadedLayer>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            observe: Observe::Writes,
            events: None,
            layers: Vec::new(),
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
    sweep: Sweep,
    life: Life,
}

/// Whether the session's end was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    Over,
}

/// Whether something may have been left in the workspace that was not looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sweep {
    /// No command has run since the last sweep, and none is running.
    Done,
    /// A command may have run, or may still.
    Due,
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
        let id = match &options.events {
            Some(sink) => sink.session().clone(),
            None => clock::new_session_id(),
        };
        let mut journal = Journal::new(options.events);
        journal.write(|| policy_event(&options.layers));
        let plan = platform::plan_on(backend, policy, planning, Namespaces::Expected)?;
        let (plan, running, enforcement) = match launch(backend, &plan) {
            Ok((running, enforcement)) => (plan, running, enforcement),
            Err(error) if falls_back(&error, policy, &plan) => {
                let plan =
                    platform::plan_on(backend, policy, planning, Namespaces::Refused(&error))?;
                let (running, enforcement) = launch(backend, &plan)?;
                (plan, running, enforcement)
            }
            Err(error) => return Err(error),
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
        journal.write(|| AuditEvent::SessionStart {
            plan: plan.hash().to_string(),
            level: level_name(enforcement.level).to_owned(),
            missing: enforcement
                .missing
                .iter()
                .map(|missing| missing.what.clone())
                .collect(),
        });
        Ok(Self {
            id,
            plan,
            enforcement,
            variables: policy.environment.clone(),
            time_limit: policy.limits.time.as_ref().map(|limit| limit.value.0),
            running,
            guardian,
            journal,
            commands: 0,
            sweep: Sweep::Done,
            life: Life::Open,
        })
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

    /// Ends the session and everything in it, and says what was moved to quarantine since the last report.
    ///
    /// # Errors
    /// [`RunError::Broken`] when its runner was gone already; nothing is left running in either case.
    pub fn end(mut self) -> Result<Swept, RunError> {
        match self.end_in_order() {
            Ok(()) => {
                self.sweep_up(Seen::All);
                self.record_end();
                Ok(self.guardian.take_swept())
            }
            Err(fault) => Err(RunError::Broken {
                cause: BreakError::Lost(fault),
                swept: self.break_off(),
            }),
        }
    }

    fn end_in_order(&mut self) -> Result<(), SessionFault> {
        self.running.end()?;
        loop {
            match self.running.receive(None)? {
                Some(Received {
                    event: Event::Ended,
                    ..
                }) => return Ok(()),
                Some(Received {
                    event: Event::Touched { path },
                    ..
                }) => self.guardian.touched(&path),
                Some(_) | None => {}
            }
        }
    }

    /// Stops what still runs, hears what was said before, and sweeps: the end of a session that broke.
    fn break_off(&mut self) -> Swept {
        let remains = self.running.stop();
        while let Ok(Some(received)) = self.running.receive(Some(Duration::ZERO)) {
            if let Event::Touched { path } = received.event {
                self.guardian.touched(&path);
            }
        }
        self.sweep_up(Seen::InPart);
        self.record_end();
        let mut swept = self.guardian.take_swept();
        swept.notes.extend(self.journal.take_fault());
        if remains == Remains::Unknown {
            swept.notes.push(
                "WARNING: processes of the session may still be running; look for them with ps"
                    .to_owned(),
            );
        }
        swept
    }

    /// Takes away what the session may have left, where a command may have run since the last time.
    fn sweep_up(&mut self, seen: Seen) {
        if self.sweep == Sweep::Due {
            self.guardian.sweep(seen);
            self.sweep = Sweep::Done;
        }
        self.record_quarantined();
    }

    /// Records what was moved away, as soon as it was.
    fn record_quarantined(&mut self) {
        for entry in self.guardian.news() {
            self.journal.write(|| AuditEvent::GuardQuarantined {
                id: entry.id.to_string(),
                path: escape_os(entry.origin.as_path()),
                reason: entry.reason.words(),
            });
        }
    }

    fn record_end(&mut self) {
        if self.life == Life::Open {
            self.life = Life::Over;
            self.journal.write(|| AuditEvent::SessionEnd);
        }
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

impl Drop for Session {
    /// A session that was neither run to its end nor ended: what it moves away is in the record and in quarantine.
    fn drop(&mut self) {
        if self.life == Life::Open {
            let _ = self.break_off();
        }
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
                operation: escape_os(&operation),
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

fn policy_event(layers: &[LoadedLayer]) -> AuditEvent {
    let layers = layers.iter().map(|layer| LayerEvent {
        kind: match layer.kind {
            LayerKind::Managed => "managed",
            LayerKind::CommandLine => "command-line",
            LayerKind::User => "user",
            LayerKind::Project => "project",
            LayerKind::Default => "default",
        }
        .to_owned(),
        source: layer.source.clone(),
        sha256: layer.digest.map(|digest| digest.to_string()),
    });
    AuditEvent::PolicyLoaded {
        layers: layers.collect(),
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::None => "none",
        Level::Partial => "partial",
        Level::Full => "full",
    }
}
