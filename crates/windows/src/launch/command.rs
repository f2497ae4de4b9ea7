//! One running command: its job, its end, and all that it has started.
//!
//! Invariant: a command is reported as ended only when no process of its job is left.

use std::os::windows::io::AsHandle as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ringfence_backend::CommandId;
use ringfence_backend::command::TerminalSize;
use ringfence_backend::windows::runner::{Ended, InterruptKey, Member};

use super::console::{ConsoleHost, ConsoleLine};
use crate::sys::CallError;
use crate::sys::job::Job;
use crate::sys::process::Child;
use crate::sys::running::Process;

/// The exit status of what is ended from outside.
const KILLED: u32 = 1;

/// A command.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) id: CommandId,
    /// Its first process, which is on its console where that is no host's.
    first: u32,
    job: Job,
    /// The way to its console's host.
    console: Option<Mutex<ConsoleLine>>,
    killed: AtomicBool,
}

/// How a command ended, and what it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) how: Ended,
    pub(super) cpu_microseconds: u64,
}

impl Running {
    pub(super) fn new(id: CommandId, first: u32, job: Job, console: Option<ConsoleLine>) -> Self {
        Self {
            id,
            first,
            job,
            console: console.map(Mutex::new),
            killed: AtomicBool::new(false),
        }
    }

    /// Ends it and all that it has started.
    pub(super) fn kill(&self) {
        self.killed.store(true, Ordering::SeqCst);
        // Fails only when nothing is left in it.
        let _ = self.job.terminate(KILLED);
    }

    /// Sets its terminal's size; nothing where it has none.
    pub(super) fn resize(&self, size: TerminalSize) {
        if let Some(console) = &self.console {
            let mut line = console.lock().unwrap_or_else(PoisonError::into_inner);
            line.resize(size);
        }
    }

    /// Has `key` typed on its terminal's console; whether it has a terminal.
    pub(super) fn interrupt_on_terminal(&self, key: InterruptKey, host: &ConsoleHost) -> bool {
        let Some(console) = &self.console else {
            return false;
        };
        let mut line = console.lock().unwrap_or_else(PoisonError::into_inner);
        line.interrupt(key, host);
        true
    }

    pub(super) const fn first(&self) -> u32 {
        self.first
    }

    pub(super) const fn job(&self) -> &Job {
        &self.job
    }

    /// Whether `process` is one of its processes, and since when.
    pub(super) fn member(&self, process: &Process) -> Option<Member> {
        if !self.job.contains(process.as_handle()).ok()? {
            return None;
        }
        let created = process.created().ok()?;
        Some(Member {
            command: self.id,
            created,
        })
    }

    /// Waits for the end of its first process, at most for the time limit, and ends what is left of it.
    pub(super) fn wait(&self, child: &Child, time_limit: Option<Duration>) -> End {
        let code = wait_for(child, time_limit);
        let timed_out = matches!(code, Ok(None));
        let _ = self.job.terminate(KILLED);
        self.wait_until_empty();
        let how = match code {
            _ if self.killed.load(Ordering::SeqCst) => Ended::Killed,
            Ok(Some(code)) => Ended::Exited(code),
            Ok(None) if timed_out => Ended::TimeLimit,
            // It can't be waited for, so it was ended.
            Ok(None) | Err(_) => Ended::Killed,
        };
        End {
            how,
            cpu_microseconds: self.job.cpu_microseconds().unwrap_or(0),
        }
    }

    /// Ending is asynchronous; a process can't start another after it was asked for.
    fn wait_until_empty(&self) {
        let mut pause = Duration::from_micros(200);
        // A count that can't be read can't be waited for.
        while self.job.active_processes().is_ok_and(|count| count > 0) {
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// The exit code; `None` when the time is up.
fn wait_for(child: &Child, time_limit: Option<Duration>) -> Result<Option<u32>, CallError> {
    let Some(mut left) = time_limit.map(|limit| limit.as_millis()) else {
        return child.wait(None);
    };
    loop {
        // The largest number means for ever.
        let part = u32::try_from(left).map_or(u32::MAX - 1, |part| part.min(u32::MAX - 1));
        if let Some(code) = child.wait(Some(part))? {
            return Ok(Some(code));
        }
        left = left.saturating_sub(u128::from(part));
        if left == 0 {
            return Ok(None);
        }
    }
}
