//! Commands without any boundary: mode `full-access`, which a person has asked for by name.
//!
//! They are children of this process, on its console, with its own token; a job is round each, so that what a command
//! has started ends with it. Nothing is restricted, measured or proven. Invariant: only a plan of no level comes here.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::windows::io::BorrowedHandle;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringfence_backend::CommandId;
use ringfence_backend::windows::runner::{Event, NotStarted, Start};

use super::SessionError;
use super::command::Running;
use super::harden::called;
use super::session::inbox::{Inbox, Taken};
use super::start::{find_program, needed, start_failed, text, units};
use crate::environment_block;
use crate::sys::CallError;
use crate::sys::job::{Job, JobLimits};
use crate::sys::process::{Command, Standard, start_suspended};

/// Commands of one session. Dropped, all of them end.
#[derive(Debug)]
pub struct Unbounded(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inbox: Inbox,
    running: Mutex<HashMap<CommandId, Arc<Running>>>,
    /// Told when a command has ended.
    ended: Condvar,
}

impl Unbounded {
    /// A session without commands.
    ///
    /// # Errors
    /// The call that makes its signal.
    pub fn new() -> Result<Self, CallError> {
        Ok(Self(Arc::new(Shared {
            inbox: Inbox::new()?,
            running: Mutex::default(),
            ended: Condvar::new(),
        })))
    }

    /// Starts a command in `directory`; [`Event::Started`] or [`Event::NotStarted`] follows, and after the former
    /// [`Event::Ended`].
    pub fn start(&self, start: &Start, directory: &OsStr, streams: [BorrowedHandle<'_>; 3]) {
        let command = start.command;
        if let Err(why) = self.try_start(start, directory, streams) {
            self.0.inbox.put(Event::NotStarted { command, why });
        }
    }

    fn try_start(
        &self,
        start: &Start,
        directory: &OsStr,
        streams: [BorrowedHandle<'_>; 3],
    ) -> Result<(), NotStarted> {
        let asked = start.variables.iter().filter(|(name, _)| {
            // `=C:` and its like: where `cmd.exe` remembers the directories of drives.
            !name.is_empty() && !name.as_encoded_bytes().contains(&b'=')
        });
        let asked = asked.map(|(name, value)| (units(name), units(value)));
        let variables = environment_block::overlay(needed(), asked.collect());
        let (program, line) = find_program(start, &variables, directory)?;
        let environment: Vec<(OsString, OsString)> = text(&variables);
        // Its one limit is that it ends with its owner; what reads back otherwise holds no less.
        let job = Job::unread(JobLimits::default()).map_err(called)?;
        let child = start_suspended(&Command {
            program: &program,
            arguments: line.arguments(),
            environment: &environment,
            directory,
            desktop: None,
            standard: Standard::Shared(streams),
            token: None,
            jobs: &[&job],
        })
        .map_err(start_failed)?;
        let id = start.command;
        let running = Arc::new(Running::new(id, child.id(), job, None));
        self.0.running().insert(id, Arc::clone(&running));
        self.0.inbox.put(Event::Started {
            command: id,
            process: child.id(),
        });
        if child.resume().is_err() {
            running.kill();
        }
        let shared = Arc::clone(&self.0);
        let time_limit = start.time_limit.map(Duration::from_millis);
        std::thread::spawn(move || {
            let end = running.wait(&child, time_limit);
            shared.inbox.put(Event::Ended {
                command: id,
                how: end.how,
                cpu_microseconds: end.cpu_microseconds,
            });
            shared.running().remove(&id);
            shared.ended.notify_all();
        });
        Ok(())
    }

    /// Takes the next event; `None` after `timeout`, or never without one.
    ///
    /// # Errors
    /// [`SessionError`] when the wait fails.
    pub fn receive(&self, timeout: Option<Duration>) -> Result<Option<Event>, SessionError> {
        match self.0.inbox.take(timeout) {
            Taken::Event(event) => Ok(Some(event)),
            Taken::Nothing => Ok(None),
            Taken::End(error) => Err(error),
        }
    }

    /// What is signalled while an event waits.
    #[must_use]
    pub fn readiness(&self) -> BorrowedHandle<'_> {
        self.0.inbox.readiness()
    }

    /// Ends a command with all it has started.
    pub fn kill(&self, command: CommandId) {
        if let Some(running) = self.0.running().get(&command) {
            running.kill();
        }
    }

    /// Ends every command and waits until all have ended; [`Event::Closed`] follows.
    pub fn close(&self) {
        let mut running = self.0.running();
        for command in running.values() {
            command.kill();
        }
        while !running.is_empty() {
            let waited = self.0.ended.wait(running);
            running = waited.unwrap_or_else(PoisonError::into_inner);
        }
        drop(running);
        self.0.inbox.put(Event::Closed);
    }
}

impl Drop for Unbounded {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, HashMap<CommandId, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
