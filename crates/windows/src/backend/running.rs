//! A session of the runner's behind the contract of every system.
//!
//! Invariant: what the runner says is passed on or is a fault; nothing of it is acted upon here.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringfence_backend::command::TerminalSize;
use ringfence_backend::session::{
    BorrowedDescriptor, Members, Received, RunningSession, SessionFault,
};
use ringfence_backend::windows::runner::{
    Ended, Event as Told, InterruptKey, Lacking, NotStarted, Start, Tended,
};
use ringfence_backend::wire::{Event, Tending};
use ringfence_backend::{
    Afterwards, CommandId, CommandRequest, Ending, Enforcement, Outcome, Remains, Stream,
};
use ringfence_plan::Plan;
use ringfence_plan::plan::Missing;
use ringfence_plan::windows::WindowsPath;

use super::live::LiveRecord;
use crate::launch::exit;
use crate::launch::{LentStreams, Session, SessionError};

/// 128 plus this is what a command leaves that was killed.
const SIGKILL: i32 = 9;
/// What elsewhere is Ctrl-C.
pub(super) const SIGINT: i32 = 2;
/// What elsewhere is Ctrl-\, and comes closest to Ctrl-Break.
pub(super) const SIGQUIT: i32 = 3;

/// A live session.
#[derive(Debug)]
pub(super) struct Running {
    session: Session,
    /// What is due before the runner is heard again.
    due: VecDeque<Event>,
    /// The command after which the session ends.
    last: Option<CommandId>,
    /// What the command that runs has closed to the person.
    tending: Tending,
    /// Dropped after the session: others may need other entries then.
    _live: LiveRecord,
    /// The directory of programs that stand in for others; it goes with the session.
    _stubs: Option<Stubs>,
}

/// A directory of our own that goes with its owner.
#[derive(Debug)]
pub(super) struct Stubs(pub(super) PathBuf);

impl Drop for Stubs {
    fn drop(&mut self) {
        // The session has ended: if something still holds it, the next one makes its own all the same.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Why a request can't be carried.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("the directory `{0}` is on no drive of this machine")]
    Directory(String),
    #[error("the command has no program")]
    NoProgram,
    #[error("the command's streams do not fit its descriptors")]
    Streams,
    #[error("the command was not started: {0}")]
    NotStarted(NotStarted),
}

impl Running {
    pub(super) fn new(
        session: Session,
        plan: &Plan,
        (live, stubs): (LiveRecord, Option<Stubs>),
    ) -> Self {
        let ready = session.ready();
        let mut missing = plan.missing.clone();
        missing.extend(ready.lacking.iter().filter_map(|lacking| lack(*lacking)));
        let enforcement = Enforcement {
            level: plan.level,
            missing,
            proven: ready.proven.clone(),
        };
        Self {
            session,
            due: VecDeque::from([Event::Ready(enforcement)]),
            last: None,
            tending: Tending::default(),
            _live: live,
            _stubs: stubs,
        }
    }

    fn take(&mut self, told: Told) -> Result<Option<Event>, SessionFault> {
        let event = match told {
            Told::Started { command, .. } => Event::Started { command },
            Told::NotStarted { command, why } => self.exited(command, not_started(why)?, 0)?,
            Told::Ended {
                command,
                how,
                cpu_microseconds,
            } => {
                let exited = self.exited(command, ending(how), cpu_microseconds)?;
                let tending = std::mem::take(&mut self.tending);
                if tending == Tending::default() {
                    exited
                } else {
                    self.due.push_back(exited);
                    Event::Tended(tending)
                }
            }
            Told::Tended { path, what, .. } => {
                count(&mut self.tending, path, what);
                return Ok(None);
            }
            Told::Belongs { .. } => return Ok(None),
            Told::Closed => Event::Ended,
            Told::Ready(_) | Told::Refused(_) => {
                return Err(failed(SessionError::Nonsense));
            }
        };
        Ok(Some(event))
    }

    fn exited(
        &mut self,
        command: CommandId,
        ending: Ending,
        cpu_microseconds: u64,
    ) -> Result<Event, SessionFault> {
        if self.last == Some(command) {
            self.session.close().map_err(failed)?;
        }
        Ok(Event::Exited {
            command,
            outcome: Outcome {
                ending,
                cpu_microseconds,
            },
        })
    }
}

impl RunningSession for Running {
    fn spawn(
        &mut self,
        request: &CommandRequest,
        descriptors: &[BorrowedDescriptor<'_>],
    ) -> Result<(), SessionFault> {
        let refused = |error| SessionFault::Failed(Box::new(error));
        let (program, arguments) = request
            .arguments
            .split_first()
            .ok_or_else(|| refused(RequestError::NoProgram))?;
        let directory = WindowsPath::from_policy(&request.directory)
            .map_err(|_| refused(RequestError::Directory(format!("{}", request.directory))))?;
        let streams = match (request.terminal, descriptors) {
            (Some(size), [input, output]) => LentStreams::Terminal {
                input: *input,
                output: *output,
                size,
            },
            (None, [input, output, error]) if !request.streams.contains(&Stream::Terminal) => {
                LentStreams::Direct([*input, *output, *error])
            }
            _ => return Err(refused(RequestError::Streams)),
        };
        match request.afterwards {
            Afterwards::End => self.last = Some(request.id),
            Afterwards::Stay => {}
        }
        let start = Start {
            command: request.id,
            program: program.clone(),
            arguments: arguments.to_vec(),
            variables: request.environment.clone(),
            directory: Some(directory),
            time_limit: request.time_limit,
        };
        self.session.start(start, streams).map_err(failed)
    }

    fn receive(&mut self, timeout: Option<Duration>) -> Result<Option<Received>, SessionFault> {
        loop {
            let event = match self.due.pop_front() {
                Some(event) => Some(event),
                None => match self.session.receive(timeout) {
                    Ok(Some(told)) => self.take(told)?,
                    Ok(None) => return Ok(None),
                    Err(SessionError::Ended) => return Err(SessionFault::Closed),
                    Err(error) => return Err(failed(error)),
                },
            };
            if let Some(event) = event {
                return Ok(Some(Received {
                    event,
                    descriptor: None,
                }));
            }
        }
    }

    fn signal(&mut self, command: CommandId, signal: i32) -> Result<(), SessionFault> {
        let done = match signal {
            SIGINT => self.session.interrupt(command, InterruptKey::CtrlC),
            SIGQUIT => self.session.interrupt(command, InterruptKey::CtrlBreak),
            // Windows knows one end.
            _ => self.session.kill(command),
        };
        done.map_err(failed)
    }

    fn resize(&mut self, command: CommandId, size: TerminalSize) -> Result<(), SessionFault> {
        self.session.resize(command, size).map_err(failed)
    }

    fn end(&mut self) -> Result<(), SessionFault> {
        self.session.close().map_err(failed)
    }

    fn stop(&mut self) -> Remains {
        self.session.stop()
    }

    fn members(&self) -> Option<Arc<dyn Members>> {
        Some(Arc::new(self.session.callers()))
    }

    fn readiness(&self) -> BorrowedDescriptor<'_> {
        self.session.readiness()
    }
}

/// Adds what the runner has said of one object, or of many. Its words are read as hostile: few are kept.
fn count(tending: &mut Tending, path: String, what: Tended) {
    let most = Tending::MOST_NAMED;
    match what {
        Tended::Opened => {
            tending.opened = tending.opened.saturating_add(1);
            if tending.examples.len() < most {
                tending.examples.push(path);
            }
        }
        Tended::More(more) => tending.opened = tending.opened.saturating_add(more),
        Tended::Unlinked if tending.unlinked.len() < most => tending.unlinked.push(path),
        Tended::Unlinked => {}
        Tended::Left(called) => {
            tending.left = tending.left.saturating_add(1);
            if tending.unopened.len() < most {
                tending.unopened.push((path, called.to_string()));
            }
        }
    }
}

/// How a command ended, in words of every system.
pub(super) fn ending(how: Ended) -> Ending {
    match how {
        Ended::Exited(status) => exit::ending(status),
        Ended::Killed => Ending::Signalled(SIGKILL),
        Ended::TimeLimit => Ending::TimeLimit,
        Ended::MemoryLimit => Ending::MemoryLimit,
        Ended::ProcessLimit => Ending::ProcessLimit,
    }
}

pub(super) fn failed(error: SessionError) -> SessionFault {
    SessionFault::Failed(Box::new(error))
}

/// Codes that say something of the command's own program or directory: it may not be entered, needs an administrator, is
/// taken for a virus (`ERROR_VIRUS_INFECTED`), or is refused by policy (`ERROR_ACCESS_DISABLED_BY_POLICY`).
const OF_THE_COMMAND: [u32; 5] = [5, 225, 267, 740, 1260];

/// How a command ended that never began; what is no fault of the command's is one of the session's.
pub(super) fn not_started(why: NotStarted) -> Result<Ending, SessionFault> {
    match why {
        NotStarted::NotFound => Ok(Ending::NotFound),
        NotStarted::NotExecutable(_) => {
            // ERROR_BAD_EXE_FORMAT, which is what it comes to.
            let error = io::Error::from_raw_os_error(193);
            Ok(Ending::NotExecutable(error.raw_os_error().unwrap_or(193)))
        }
        NotStarted::Call(called) if OF_THE_COMMAND.contains(&called.code) => {
            Ok(Ending::NotExecutable(called.code.cast_signed()))
        }
        NotStarted::Malformed(_) | NotStarted::NotEnforced(_) | NotStarted::Call(_) => Err(
            SessionFault::Failed(Box::new(RequestError::NotStarted(why))),
        ),
    }
}

/// What the runner lacks, where the plan does not say it already.
fn lack(lacking: Lacking) -> Option<Missing> {
    let missing = |what: &str, cause: &str, cure: &str| Missing {
        what: what.to_owned(),
        cause: cause.to_owned(),
        cure: cure.to_owned(),
    };
    Some(match lacking {
        // Same-user mode: the plan says so, with its cure.
        Lacking::NetworkBoundary | Lacking::Secrets => return None,
        Lacking::DesktopLimits => missing(
            "desktop-limits",
            "a job with limits on windows and clipboard can't be nested here",
            "start Ringfence from a program that is in no job of its own",
        ),
        Lacking::Watch => missing(
            "watch",
            "directories of the session are not watched: what a command has closed is looked for everywhere",
            "",
        ),
    })
}

#[cfg(test)]
mod tests {
    use ringfence_backend::windows::runner::Called;

    use super::*;

    #[test]
    fn a_program_that_can_not_be_started_is_the_commands_fault_and_the_session_goes_on() {
        let why = |code| {
            NotStarted::Call(Called {
                call: "CreateProcessAsUserW".to_owned(),
                object: "setup.exe".to_owned(),
                code,
            })
        };
        for code in OF_THE_COMMAND {
            let ending = not_started(why(code)).unwrap();
            assert_eq!(ending, Ending::NotExecutable(code.cast_signed()));
        }
        // ERROR_NOT_ENOUGH_QUOTA is no word about the command.
        assert!(not_started(why(1816)).is_err());
    }

    #[test]
    fn what_was_tended_is_counted_whole_and_named_in_part() {
        let mut tending = Tending::default();
        for number in 0..20 {
            let path = || format!(r"C:\ws\{number}");
            let called = Called {
                call: "NtSetSecurityObject".to_owned(),
                object: String::new(),
                code: 5,
            };
            count(&mut tending, path(), Tended::Opened);
            count(&mut tending, path(), Tended::Unlinked);
            count(&mut tending, path(), Tended::Left(called));
        }
        count(&mut tending, String::new(), Tended::More(1000));
        assert_eq!((tending.opened, tending.left), (1020, 20));
        for named in [
            tending.examples.len(),
            tending.unlinked.len(),
            tending.unopened.len(),
        ] {
            assert_eq!(named, Tending::MOST_NAMED);
        }
        assert!(tending.unopened[0].1.contains("code 5"));
    }
}
