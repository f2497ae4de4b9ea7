//! The contract of a live session, the same for every executor and for the in-memory one.
//!
//! Nothing is decided here: a [`Backend`] observes and launches, a [`RunningSession`] carries messages. Invariant:
//! a launch that fails leaves nothing running and nothing of the plan applied.

use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use ringfence_plan::windows::WindowsLedger;
use ringfence_plan::{HostFacts, Plan};
use ringfence_policy::decision::RefusedRoot;
use ringfence_policy::{AbsolutePath, Policy};

use crate::command::{CommandId, CommandRequest, TerminalSize};
use crate::wire::Event;

/// A descriptor that travels with a message.
#[cfg(unix)]
pub type OwnedDescriptor = std::os::fd::OwnedFd;
/// A descriptor that travels with a message.
#[cfg(windows)]
pub type OwnedDescriptor = std::os::windows::io::OwnedHandle;
/// A descriptor that is lent for one call.
#[cfg(unix)]
pub type BorrowedDescriptor<'a> = std::os::fd::BorrowedFd<'a>;
/// A descriptor that is lent for one call.
#[cfg(windows)]
pub type BorrowedDescriptor<'a> = std::os::windows::io::BorrowedHandle<'a>;

/// What lies under an executor's error; printed once, at the edge.
pub type Cause = Box<dyn Error + Send + Sync + 'static>;

/// Why an executor could not tell what the machine is.
#[derive(Debug, thiserror::Error)]
#[error("this machine could not be examined")]
pub struct ObserveFault(#[source] pub Cause);

/// Why no session was launched; nothing ran.
#[derive(Debug, thiserror::Error)]
pub enum LaunchFault {
    /// The kernel refuses the namespaces of the plan; a plan without them may still be launched.
    #[error("the kernel refuses namespaces")]
    NamespacesRefused(#[source] Cause),
    /// What set-up makes is missing, or is not what the plan needs.
    #[error("set-up is missing or incomplete")]
    SetupMissing(#[source] Cause),
    /// It failed, and what to do about it is known.
    #[error("the session could not be launched")]
    Coded {
        /// What failed.
        #[source]
        cause: Cause,
        /// What to do next.
        hint: String,
    },
    /// Anything else.
    #[error("the session could not be launched")]
    Failed(#[source] Cause),
}

/// Why a message was not carried; the session must be taken for dead.
#[derive(Debug, thiserror::Error)]
pub enum SessionFault {
    /// The runner has gone; every process of its session goes with it.
    #[error("the session's runner has ended unexpectedly")]
    Closed,
    /// Anything else.
    #[error("the session's runner could not be reached")]
    Failed(#[source] Cause),
}

/// What is left of a session that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// No process of it runs.
    Nothing,
    /// Its processes could not all be waited for: some may run on.
    Unknown,
}

/// A message of the runner, with the descriptor that travelled along.
#[derive(Debug)]
pub struct Received {
    /// The message; to be read as hostile.
    pub event: Event,
    /// The other side of a command's terminal, with [`Event::Started`].
    pub descriptor: Option<OwnedDescriptor>,
}

/// Knows the processes of a session, from any thread, for as long as it lives.
pub trait Members: Debug + Send + Sync {
    /// The command that `process` belongs to; `None` unless it certainly is one's, and was created no later than
    /// `since`, in 100 nanoseconds since 1601.
    ///
    /// # Security
    /// Any program of the machine may ask for something, and end at once so that its number goes to another.
    fn command_of(&self, process: u32, since: u64) -> Option<CommandId>;
}

/// An executor.
pub trait Backend: Debug {
    /// Observes what a plan for `policy` depends on; changes nothing.
    ///
    /// # Errors
    /// [`ObserveFault`] when the machine can't be examined.
    fn observe(&self, policy: &Policy) -> Result<HostFacts, ObserveFault>;

    /// [`Backend::observe`] for a plan without namespaces, which were refused for `cause`.
    ///
    /// # Errors
    /// [`ObserveFault`] when the machine can't be examined.
    fn observe_without_namespaces(
        &self,
        policy: &Policy,
        cause: &str,
    ) -> Result<HostFacts, ObserveFault>;

    /// Why `directory` can't be a writable root beside those of `policy`: the planner's answer to what is there now, and
    /// `None` where it can.
    ///
    /// # Errors
    /// [`ObserveFault`] when the machine can't be examined.
    fn refuse_root(
        &self,
        policy: &Policy,
        directory: &AbsolutePath,
    ) -> Result<Option<RefusedRoot>, ObserveFault>;

    /// Tries whether the kernel makes what a full plan is built of, at the price of one small process.
    ///
    /// A launch needs no such question: it finds out by itself.
    ///
    /// # Errors
    /// [`LaunchFault::NamespacesRefused`].
    fn probe_namespaces(&self) -> Result<(), LaunchFault> {
        Ok(())
    }

    /// What was done before for this person, on a Windows machine; elsewhere a plan depends on no such thing.
    ///
    /// # Errors
    /// [`ObserveFault`] when it can't be read.
    fn ledger(&self) -> Result<WindowsLedger, ObserveFault> {
        Ok(WindowsLedger::default())
    }

    /// A launch is about to follow: begins what needs no plan. What can't be begun is left to the launch, and what was
    /// begun ends with the executor.
    fn expect_launch(&self) {}

    /// Starts the runner and hands it `plan`; [`Event::Ready`] or [`Event::LaunchFailed`] follows.
    ///
    /// The runner keeps `lease`, a locked file, open as long as anything of the session lives, so that its lock tells
    /// others that something does; when the last process has ended it sets the file's time of change to that moment.
    ///
    /// # Errors
    /// [`LaunchFault`]; nothing ran and nothing is left.
    fn launch(
        &self,
        plan: &Plan,
        lease: Option<BorrowedDescriptor<'_>>,
    ) -> Result<Box<dyn RunningSession>, LaunchFault>;
}

/// A live session. Dropped, it ends with everything in it.
pub trait RunningSession: Debug {
    /// Starts a command; `descriptors` go along in the order of the request's streams.
    ///
    /// # Errors
    /// [`SessionFault`] when the request could not be sent.
    fn spawn(
        &mut self,
        request: &CommandRequest,
        descriptors: &[BorrowedDescriptor<'_>],
    ) -> Result<(), SessionFault>;

    /// Takes the next message; `None` after `timeout`, or never without one.
    ///
    /// # Errors
    /// [`SessionFault`] when the runner is gone or what it sent is no message.
    fn receive(&mut self, timeout: Option<Duration>) -> Result<Option<Received>, SessionFault>;

    /// Sends a signal to a command's process group. On Windows SIGINT is Ctrl-C and SIGQUIT is Ctrl-Break on the
    /// command's console, and any other ends it with all it has started.
    ///
    /// # Errors
    /// [`SessionFault`] when the request could not be sent.
    fn signal(&mut self, command: CommandId, signal: i32) -> Result<(), SessionFault>;

    /// A command's terminal has another size. Nothing where the caller holds the terminal and sets it there.
    ///
    /// # Errors
    /// [`SessionFault`] when the request could not be sent.
    fn resize(&mut self, _command: CommandId, _size: TerminalSize) -> Result<(), SessionFault> {
        Ok(())
    }

    /// Asks the runner to end what is left; [`Event::Ended`] follows.
    ///
    /// # Errors
    /// [`SessionFault`] when the request could not be sent.
    fn end(&mut self) -> Result<(), SessionFault>;

    /// Ends everything in it without asking the runner, and waits until nothing is left.
    ///
    /// What the runner had sent before can still be received; then [`SessionFault`] follows.
    fn stop(&mut self) -> Remains;

    /// Who knows its processes, where sessions share one loopback with everybody; elsewhere nobody is asked.
    fn members(&self) -> Option<Arc<dyn Members>> {
        None
    }

    /// What becomes readable when a message waits, for a caller that waits for other things as well.
    ///
    /// A caller must take messages with a zero timeout until none is left before it waits: one read may have
    /// brought several.
    fn readiness(&self) -> BorrowedDescriptor<'_>;
}
