//! The harness's side of a session: it makes desktop and pipe, starts the runner, and carries requests and events.
//!
//! In same-user mode there is no runner: the same engine works in this process. Invariant: a session that was dropped
//! has no process left; one that could not be opened never had one.

pub(super) mod inbox;
mod quarters;
mod runner;

use std::fmt;
use std::io;
use std::os::windows::io::{BorrowedHandle, OwnedHandle};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringfence_backend::command::TerminalSize;
use ringfence_backend::windows::runner::{
    Event, HandleValue, InterruptKey, Opening, Ready, Refusal, Request, Start, Streams,
};
use ringfence_backend::{CommandId, Remains};
use ringfence_nt::Sid;
use ringfence_plan::windows::launch::{self, Identity, LaunchSpec};
use ringfence_plan::windows::sids::{self, SidShape};
use ringfence_plan::windows::step::Object;

use super::callers::Callers;
use super::console::ConsoleHost;
use super::engine::{Engine, OwnedStreams, Sink};
use super::stubs::{lay_stubs, with_stubs};
use crate::sys::logon::Logon;
use crate::sys::object::ProtectError;
use crate::sys::process::StartError;
use crate::sys::{CallError, Win32Error, handle, random};
pub(super) use inbox::{Inbox, Taken};
use quarters::Quarters;
pub(super) use runner::Runner;

/// What a session is opened with.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// How its commands start.
    pub launch: &'a LaunchSpec,
    /// Who asks.
    pub person: Sid,
    /// What SIDs of ours look like on this machine.
    pub shape: SidShape,
    /// The directories that commands may write, the private home among them: tended when a command has ended.
    pub roots: &'a [Object],
    /// Directories in them that are made plain again where a command made them junctions.
    pub stay: &'a [Object],
    /// The runner's program, by absolute path: it also hosts consoles in same-user mode.
    pub runner: &'a Path,
    /// Who runs the commands.
    pub account: Account<'a>,
}

/// Who runs a session's commands.
#[derive(Clone, Copy)]
pub enum Account<'a> {
    /// A sandbox account, logged on to in this way.
    Sandbox(Logon<'a>),
    /// The person themselves, with programs that stand in for `ssh` and its like in this directory of ours: one for
    /// each session, made anew.
    Person {
        /// The directory.
        stubs: &'a Path,
    },
}

impl fmt::Debug for Order<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Order").finish_non_exhaustive()
    }
}

/// Why there is no session; nothing of it runs.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The launch runs as an account, and no logon was given; or the reverse.
    #[error("the launch's identity and the logon do not belong together")]
    Identity,
    /// The runner's program is not a plain file of an absolute path that nobody writes to.
    #[error("verify the runner's program at {path}")]
    Program {
        /// Its path.
        path: String,
        /// What is wrong.
        #[source]
        cause: io::Error,
    },
    /// The programs that stand in for `ssh` could not be put where they are looked for first.
    #[error("put the stand-ins for ssh into {path}")]
    Stubs {
        /// The directory.
        path: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// No random number.
    #[error("draw the session's number")]
    Random(#[source] CallError),
    /// The window station or the desktop could not be made.
    #[error("make the session's desktop")]
    Desktop(#[source] CallError),
    /// The pipe could not be made.
    #[error("make the pipe to the runner")]
    Pipe(#[source] CallError),
    /// The logon or the start failed; it is not tried again, since attempts count towards a lock-out.
    #[error("start the runner as {user}")]
    Start {
        /// The account.
        user: String,
        /// Why.
        #[source]
        cause: StartError,
    },
    /// The runner's process could not be closed to its own account before it ran.
    #[error("protect the runner's process")]
    Protect(#[source] ProtectError),
    /// The runner did not connect.
    #[error("wait for the runner")]
    Connect(#[source] CallError),
    /// Another process than the runner connected.
    #[error("process {found} connected in place of the runner, process {expected}")]
    Stranger {
        /// The runner's.
        expected: u32,
        /// The one that came.
        found: u32,
    },
    /// The runner could not be told.
    #[error("tell the runner to open the session")]
    Tell(#[source] SessionError),
    /// The runner answered something else, or nothing.
    #[error("the runner has not opened the session")]
    NoAnswer(#[source] SessionError),
    /// The runner, or this process in same-user mode, refused.
    #[error("the session was refused")]
    Refused(#[source] Refusal),
}

impl OpenError {
    /// Whether the machine does not enforce what the boundary needs, rather than that something failed.
    #[must_use]
    pub const fn is_not_enforced(&self) -> bool {
        match self {
            Self::Refused(Refusal::NotEnforced(_) | Refusal::WriteClass { .. })
            | Self::Protect(ProtectError::NotKept(_)) => true,
            // A list that was set, and is not there or is none when it is read back.
            Self::Desktop(error) => matches!(error.error, Win32Error(50 | 1338)),
            Self::Identity
            | Self::Program { .. }
            | Self::Stubs { .. }
            | Self::Random(_)
            | Self::Pipe(_)
            | Self::Start { .. }
            | Self::Protect(ProtectError::Call(_))
            | Self::Connect(_)
            | Self::Stranger { .. }
            | Self::Tell(_)
            | Self::NoAnswer(_)
            | Self::Refused(_) => false,
        }
    }
}

/// Why a request was not carried; the session must be taken for dead.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The runner has ended.
    #[error("the session's runner has ended")]
    Ended,
    /// It did not answer in time.
    #[error("the session's runner does not answer")]
    Silent,
    /// What it sent is no event, or not the one that was due.
    #[error("the session's runner sent what is no answer")]
    Nonsense,
    /// A handle could not be handed over.
    #[error("hand a command's input and output over")]
    Handle(#[source] CallError),
    /// The request is larger than a frame.
    #[error("the request is too long")]
    TooLong,
    /// The pipe could not be written.
    #[error("write to the runner")]
    Write(#[source] io::Error),
}

/// What a command's input and output are, lent for the call that starts it.
#[derive(Clone, Copy, Debug)]
pub enum LentStreams<'a> {
    /// Standard input, output and error.
    Direct([BorrowedHandle<'a>; 3]),
    /// A terminal of its own.
    Terminal {
        /// The end of a pipe that the terminal reads.
        input: BorrowedHandle<'a>,
        /// The end of a pipe that it writes.
        output: BorrowedHandle<'a>,
        /// Its first size.
        size: TerminalSize,
    },
}

/// A session. Dropped, it ends with everything in it.
#[derive(Debug)]
pub struct Session {
    link: Link,
    inbox: Arc<Inbox>,
    ready: Ready,
    /// Its windows live here: the last handles to them are ours.
    _desktop: Option<Quarters>,
}

#[derive(Debug)]
enum Link {
    /// The runner's process.
    Runner(Runner),
    /// This process.
    Here(Engine),
}

impl Session {
    /// Opens a session: desktop, pipe, runner; waits until it has measured and is ready.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(order: &Order<'_>) -> Result<Self, OpenError> {
        let _held = runner::hold_program(order.runner)?;
        let session = new_session(order.shape)?;
        let logon = Sid::NULL;
        // Neither names the logon session: what is made here is made before the runner's logon.
        let station = launch::bind_descriptor(&order.launch.station, session, logon);
        let desktop = launch::bind_descriptor(&order.launch.desktop, session, logon);
        let desktop = Quarters::make(&station, &desktop, session)?;
        let opening = opening(order, session, desktop.name().to_owned());
        match (order.launch.identity, order.account) {
            (Identity::Account(_), Account::Sandbox(logon)) => {
                let runner = Runner::start(order, logon, &opening.desktop)?;
                Self::through(runner, opening, Some(desktop))
            }
            (Identity::Person, Account::Person { stubs }) => {
                let mut opening = opening;
                lay_stubs(stubs, order.runner).map_err(|cause| OpenError::Stubs {
                    path: stubs.display().to_string(),
                    cause,
                })?;
                let inherited = std::env::var("PATH").unwrap_or_default();
                let environment = std::mem::take(&mut opening.launch.environment);
                opening.launch.environment = with_stubs(environment, stubs, &inherited);
                Self::here(opening, order.runner, Some(desktop))
            }
            (Identity::Account(_), Account::Person { .. })
            | (Identity::Person, Account::Sandbox(_)) => Err(OpenError::Identity),
        }
    }

    /// Opens it through a runner that is connected.
    pub(super) fn through(
        mut runner: Runner,
        opening: Opening,
        desktop: Option<Quarters>,
    ) -> Result<Self, OpenError> {
        const PATIENCE: Duration = Duration::from_mins(1);
        let inbox = Arc::new(Inbox::new().map_err(OpenError::Pipe)?);
        runner.read_into(&inbox);
        runner
            .send(&Request::Open(Box::new(opening)))
            .map_err(OpenError::Tell)?;
        let ready = match inbox.take(Some(PATIENCE)) {
            Taken::Event(Event::Ready(ready)) => ready,
            Taken::Event(Event::Refused(refusal)) => return Err(OpenError::Refused(refusal)),
            Taken::Event(_) => return Err(OpenError::NoAnswer(SessionError::Nonsense)),
            Taken::Nothing => return Err(OpenError::NoAnswer(SessionError::Silent)),
            Taken::End(error) => return Err(OpenError::NoAnswer(error)),
        };
        Ok(Self {
            link: Link::Runner(runner),
            inbox,
            ready,
            _desktop: desktop,
        })
    }

    /// Opens it in this process.
    pub(super) fn here(
        opening: Opening,
        console_host: &Path,
        desktop: Option<Quarters>,
    ) -> Result<Self, OpenError> {
        let console_host = ConsoleHost::of_runner(console_host);
        Self::here_with(desktop, |sink| Engine::open(opening, console_host, sink))
    }

    pub(super) fn here_with(
        desktop: Option<Quarters>,
        open: impl FnOnce(Sink) -> Result<(Engine, Ready), Refusal>,
    ) -> Result<Self, OpenError> {
        let inbox = Arc::new(Inbox::new().map_err(OpenError::Pipe)?);
        let into = Arc::clone(&inbox);
        let sink: Sink = Arc::new(move |event| into.put(event));
        let (engine, ready) = open(sink).map_err(OpenError::Refused)?;
        Ok(Self {
            link: Link::Here(engine),
            inbox,
            ready,
            _desktop: desktop,
        })
    }

    /// What it holds, and what it lacks.
    #[must_use]
    pub const fn ready(&self) -> &Ready {
        &self.ready
    }

    /// The runner's process, which is held open; none in same-user mode.
    #[must_use]
    pub fn runner(&self) -> Option<u32> {
        match &self.link {
            Link::Runner(runner) => Some(runner.id()),
            Link::Here(_) => None,
        }
    }

    /// Starts a command; [`Event::Started`] or [`Event::NotStarted`] follows. The handles are copied: the caller's own
    /// may be closed at once.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn start(&mut self, start: Start, streams: LentStreams<'_>) -> Result<(), SessionError> {
        match &mut self.link {
            Link::Here(engine) => {
                let streams = owned(streams).map_err(SessionError::Handle)?;
                engine.start(&start, &streams);
                Ok(())
            }
            Link::Runner(runner) => {
                let copy = |lent| {
                    handle::copy_into(runner.process(), lent)
                        .map(HandleValue)
                        .map_err(SessionError::Handle)
                };
                let streams = match streams {
                    LentStreams::Direct([input, output, error]) => {
                        Streams::Direct([copy(input)?, copy(output)?, copy(error)?])
                    }
                    LentStreams::Terminal {
                        input,
                        output,
                        size,
                    } => Streams::Terminal {
                        input: copy(input)?,
                        output: copy(output)?,
                        size,
                    },
                };
                runner.send(&Request::Start(Box::new(start), streams))
            }
        }
    }

    /// Takes the next event; `None` after `timeout`, or never without one.
    ///
    /// # Errors
    /// [`SessionError`] when the runner is gone, or what it sent is no event; what came before is taken first.
    pub fn receive(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, SessionError> {
        match self.inbox.take(timeout) {
            Taken::Event(event) => Ok(Some(event)),
            Taken::Nothing => Ok(None),
            Taken::End(error) => Err(error),
        }
    }

    /// What is signalled while an event waits.
    #[must_use]
    pub fn readiness(&self) -> BorrowedHandle<'_> {
        self.inbox.readiness()
    }

    /// A command's terminal has another size.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn resize(&mut self, command: CommandId, size: TerminalSize) -> Result<(), SessionError> {
        match &mut self.link {
            Link::Here(engine) => {
                engine.resize(command, size);
                Ok(())
            }
            Link::Runner(runner) => runner.send(&Request::Resize { command, size }),
        }
    }

    /// Has `key` typed on a command's console.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn interrupt(&mut self, command: CommandId, key: InterruptKey) -> Result<(), SessionError> {
        match &mut self.link {
            Link::Here(engine) => {
                engine.interrupt(command, key);
                Ok(())
            }
            Link::Runner(runner) => runner.send(&Request::Interrupt { command, key }),
        }
    }

    /// Ends a command with all it has started; [`Event::Ended`] follows.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn kill(&mut self, command: CommandId) -> Result<(), SessionError> {
        match &mut self.link {
            Link::Here(engine) => {
                engine.kill(command);
                Ok(())
            }
            Link::Runner(runner) => runner.send(&Request::Kill { command }),
        }
    }

    /// Who may be asked, from any thread, whose processes are whose.
    #[must_use]
    pub fn callers(&self) -> Callers {
        match &self.link {
            Link::Here(engine) => Callers::here(engine.clone()),
            Link::Runner(runner) => runner.callers(),
        }
    }

    /// Ends everything in it; [`Event::Closed`] follows.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn close(&mut self) -> Result<(), SessionError> {
        match &mut self.link {
            Link::Here(engine) => {
                engine.close();
                self.inbox.put(Event::Closed);
                Ok(())
            }
            Link::Runner(runner) => runner.send(&Request::Close),
        }
    }

    /// Ends everything in it without asking the runner.
    ///
    /// The system ends what is in the runner's jobs when the runner is gone; that it has, only [`Event::Closed`] says.
    pub fn stop(&mut self) -> Remains {
        match &mut self.link {
            Link::Here(engine) => {
                engine.close();
                Remains::Nothing
            }
            Link::Runner(runner) => runner.stop(&self.inbox),
        }
    }
}

#[cfg(test)]
impl Session {
    /// Says the first word a second time.
    pub(super) fn send_again(&mut self, opening: Opening) {
        if let Link::Runner(runner) = &mut self.link {
            let _ = runner.send(&Request::Open(Box::new(opening)));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

fn opening(order: &Order<'_>, session: Sid, desktop: String) -> Opening {
    Opening {
        launch: order.launch.clone(),
        session,
        person: order.person,
        desktop,
        roots: order.roots.to_vec(),
        stay: order.stay.to_vec(),
    }
}

/// A SID of 128 random bits, for one session.
fn new_session(shape: SidShape) -> Result<Sid, OpenError> {
    let mut bytes = [0; 16];
    random::fill(&mut bytes).map_err(OpenError::Random)?;
    Ok(sids::session(shape, u128::from_ne_bytes(bytes)))
}

fn owned(streams: LentStreams<'_>) -> Result<OwnedStreams, CallError> {
    let copy = |lent: BorrowedHandle<'_>| -> Result<OwnedHandle, CallError> {
        lent.try_clone_to_owned().map_err(|error| {
            let code = error.raw_os_error().map_or(6, i32::cast_unsigned);
            CallError::new("DuplicateHandle", "", Win32Error(code))
        })
    };
    Ok(match streams {
        LentStreams::Direct([input, output, error]) => {
            OwnedStreams::Direct([copy(input)?, copy(output)?, copy(error)?])
        }
        LentStreams::Terminal {
            input,
            output,
            size,
        } => OwnedStreams::Terminal {
            input: copy(input)?,
            output: copy(output)?,
            size,
        },
    })
}
