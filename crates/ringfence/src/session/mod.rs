//! One policy and one boundary in which commands run.
//!
//! Invariant: however a session ends on whose commands may have run, by a report, an error or a drop, nothing of it is
//! left running and guarded names were swept; where one of the two could not be made sure, it is said.

mod error;
mod opening;
mod report;

#[cfg(target_os = "linux")]
mod caller;
#[cfg(target_os = "linux")]
mod callers;
#[cfg(any(target_os = "linux", windows))]
mod certificates;
#[cfg(windows)]
#[path = "console_windows.rs"]
mod console;
#[cfg(any(target_os = "linux", windows))]
mod decided;
#[cfg(any(target_os = "linux", windows))]
mod egress;
#[cfg(target_os = "linux")]
mod foreground;
#[cfg(windows)]
#[path = "foreground_windows.rs"]
mod foreground;
#[cfg(target_os = "linux")]
mod network;
#[cfg(windows)]
#[path = "network_windows.rs"]
mod network;
#[cfg(target_os = "linux")]
mod signals;
#[cfg(target_os = "linux")]
mod sockets;
#[cfg(any(windows, test))]
mod tended;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::convert::Infallible;
use std::ffi::OsString;
#[cfg(target_os = "linux")]
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsFd;
use std::time::Duration;

use ringfence_audit::event::Event as AuditEvent;
use ringfence_audit::{EventSink, SessionId};
use ringfence_backend::session::{Received, SessionFault};
use ringfence_backend::wire::Event;
use ringfence_backend::{Afterwards, Backend, Enforcement, Remains, RunningSession};
use ringfence_plan::Plan;
use ringfence_plan::step::Observe;
use ringfence_policy::escape::escape_os;
use ringfence_policy::policy::EnvironmentPolicy;
use ringfence_policy::{AbsolutePath, Policy};

#[cfg(any(target_os = "linux", windows))]
pub use self::certificates::CertificateError;
#[cfg(any(target_os = "linux", windows))]
pub use self::egress::{EgressError, NetworkControl};
pub use self::error::{BreakError, RunError, StartError};
#[cfg(any(target_os = "linux", windows))]
use self::network::Network;
use self::opening::{OpenError, Opening};
use self::report::Journal;
pub use self::report::Report;
#[cfg(target_os = "linux")]
use self::signals::Signals;
#[cfg(target_os = "linux")]
pub use self::sockets::SocketError;
use crate::environment::Composed;
use crate::grants::RootJudge;
use crate::load::LoadedLayer;
use crate::platform;
use crate::state::StateDirectory;
use crate::sweep::{Guardian, Lease, Seen, Swept};

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
    composed: Composed,
    /// Released, between two commands.
    #[cfg(target_os = "linux")]
    signals: Option<Signals>,
    time_limit: Option<u64>,
    #[cfg(any(target_os = "linux", windows))]
    network: Network,
    /// What the proxy and the runner have said since the last report.
    #[cfg(windows)]
    heard: decided::Heard,
    running: Box<dyn RunningSession>,
    guardian: Guardian,
    journal: Journal,
    /// Says which grants can be shown.
    roots: RootJudge,
    commands: u64,
    sweep: Sweep,
    life: Life,
    /// Given up last, when what it stands for has been swept.
    _lease: Option<Lease>,
}

/// Whether the session's end was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Its boundary is being built.
    Opening,
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
        let mut silent = |_: &Plan| {};
        let opening = Opening::new(backend, policy, state, options, &mut silent);
        match opening.open(|_| Ok::<_, Infallible>(())) {
            Ok((session, ())) => Ok(session),
            Err(OpenError::Start(error)) => Err(error),
            Err(OpenError::Before(never)) => match never {},
        }
    }

    /// Builds the boundary that `policy` asks for, runs one command in it in the foreground with this process's
    /// standard streams, and ends it: a session of one.
    ///
    /// It saves waiting: the command's request is on its way while the boundary is built, and init starts it, and
    /// nothing else, when the boundary stands. `announce` is called before anything is built, with each plan that is
    /// tried.
    ///
    /// # Errors
    /// [`RunError`]; nothing of the session is left running.
    pub fn run_alone(
        policy: &Policy,
        state: &StateDirectory,
        options: SessionOptions,
        command: &CommandSpec,
        announce: &mut dyn FnMut(&Plan),
    ) -> Result<Report, RunError> {
        let backend = platform::backend().map_err(RunError::Start)?;
        let opening = Opening::new(&*backend, policy, state, options, announce);
        Self::run_alone_on(opening, command)
    }

    #[cfg(target_os = "linux")]
    fn run_alone_on(opening: Opening<'_>, command: &CommandSpec) -> Result<Report, RunError> {
        let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
        let own = [input.as_fd(), output.as_fd(), error.as_fd()];
        foreground::run_alone(opening, command, own)
    }

    #[cfg(windows)]
    fn run_alone_on(opening: Opening<'_>, command: &CommandSpec) -> Result<Report, RunError> {
        foreground::run_alone(opening, command)
    }

    #[cfg(not(any(target_os = "linux", windows)))]
    fn run_alone_on(_opening: Opening<'_>, _command: &CommandSpec) -> Result<Report, RunError> {
        Err(RunError::Unsupported)
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

    /// What steers the session's network while it lives; `None` where nothing may leave it.
    #[cfg(any(target_os = "linux", windows))]
    #[must_use]
    pub fn network_control(&self) -> Option<NetworkControl> {
        self.network.control()
    }

    /// Runs one command in the foreground with this process's standard streams, then ends the session: a session of
    /// one.
    ///
    /// # Errors
    /// [`RunError`]; nothing of the session is left running.
    pub fn run(mut self, command: &CommandSpec) -> Result<Report, RunError> {
        self.foreground(command, Afterwards::End)
    }

    /// Runs one command in the foreground; the session stays for the next.
    ///
    /// # Errors
    /// [`RunError`]; the session should be dropped then.
    pub fn execute(&mut self, command: &CommandSpec) -> Result<Report, RunError> {
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
            swept.notes.push(format!(
                "WARNING: processes of the session may still be running; look for them with {}",
                if cfg!(windows) {
                    "Task Manager, by the sandbox account's name"
                } else {
                    "ps"
                }
            ));
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
            self.journal.write(|| AuditEvent::SessionEnd);
        }
        self.life = Life::Over;
    }

    #[cfg(target_os = "linux")]
    fn foreground(
        &mut self,
        command: &CommandSpec,
        afterwards: Afterwards,
    ) -> Result<Report, RunError> {
        let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
        let own = [input.as_fd(), output.as_fd(), error.as_fd()];
        foreground::run(self, command, afterwards, own)
    }

    #[cfg(windows)]
    fn foreground(
        &mut self,
        command: &CommandSpec,
        afterwards: Afterwards,
    ) -> Result<Report, RunError> {
        foreground::run(self, command, afterwards)
    }

    #[cfg(not(any(target_os = "linux", windows)))]
    fn foreground(
        &mut self,
        _command: &CommandSpec,
        _afterwards: Afterwards,
    ) -> Result<Report, RunError> {
        Err(RunError::Unsupported)
    }
}

impl Drop for Session {
    /// A session that was neither run to its end nor ended: what it moves away is in the record and in quarantine.
    fn drop(&mut self) {
        if self.life != Life::Over {
            let _ = self.break_off();
        }
    }
}
