//! A session without a boundary behind the contract of every system.
//!
//! Invariant: it says of itself that it holds nothing.

use std::collections::VecDeque;
use std::time::Duration;

use ringfence_backend::session::{BorrowedDescriptor, Received, RunningSession, SessionFault};
use ringfence_backend::windows::runner::{Event as Told, Start};
use ringfence_backend::wire::Event;
use ringfence_backend::{
    Afterwards, CommandId, CommandRequest, Ending, Enforcement, Outcome, Remains,
};
use ringfence_plan::plan::Level;

use super::running::{RequestError, SIGINT, SIGQUIT, ending, failed, not_started};
use crate::launch::{SessionError, Unbounded};
use crate::sys::CallError;

/// A live session of commands that nothing confines.
#[derive(Debug)]
pub(super) struct Unconfined {
    commands: Unbounded,
    due: VecDeque<Event>,
    /// The command after which the session ends.
    last: Option<CommandId>,
}

impl Unconfined {
    pub(super) fn new() -> Result<Self, CallError> {
        Ok(Self {
            commands: Unbounded::new()?,
            due: VecDeque::from([Event::Ready(Enforcement {
                level: Level::None,
                missing: Vec::new(),
                proven: Vec::new(),
            })]),
            last: None,
        })
    }

    fn exited(&mut self, command: CommandId, ending: Ending, cpu_microseconds: u64) -> Event {
        if self.last == Some(command) {
            self.commands.close();
        }
        Event::Exited {
            command,
            outcome: Outcome {
                ending,
                cpu_microseconds,
            },
        }
    }

    fn take(&mut self, told: Told) -> Result<Event, SessionFault> {
        Ok(match told {
            Told::Started { command, .. } => Event::Started { command },
            Told::NotStarted { command, why } => self.exited(command, not_started(why)?, 0),
            Told::Ended {
                command,
                how,
                cpu_microseconds,
            } => self.exited(command, ending(how), cpu_microseconds),
            Told::Closed => Event::Ended,
            Told::Tended { .. } | Told::Belongs { .. } | Told::Ready(_) | Told::Refused(_) => {
                return Err(failed(SessionError::Nonsense));
            }
        })
    }
}

impl RunningSession for Unconfined {
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
        let [input, output, error] = descriptors else {
            return Err(refused(RequestError::Streams));
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
            directory: None,
            time_limit: request.time_limit,
        };
        let directory = request.directory.as_path().as_os_str();
        self.commands
            .start(&start, directory, [*input, *output, *error]);
        Ok(())
    }

    fn receive(&mut self, timeout: Option<Duration>) -> Result<Option<Received>, SessionFault> {
        let event = match self.due.pop_front() {
            Some(event) => event,
            None => match self.commands.receive(timeout).map_err(failed)? {
                Some(told) => self.take(told)?,
                None => return Ok(None),
            },
        };
        Ok(Some(Received {
            event,
            descriptor: None,
        }))
    }

    fn signal(&mut self, command: CommandId, signal: i32) -> Result<(), SessionFault> {
        match signal {
            // It is on the same console, and was told there.
            SIGINT | SIGQUIT => {}
            // Windows knows one end.
            _ => self.commands.kill(command),
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), SessionFault> {
        self.commands.close();
        Ok(())
    }

    fn stop(&mut self) -> Remains {
        self.commands.close();
        Remains::Nothing
    }

    fn readiness(&self) -> BorrowedDescriptor<'_> {
        self.commands.readiness()
    }
}
