//! What the person's console says while a command runs: Ctrl-C and Ctrl-Break, which are the command's, another size,
//! and its closing, which ends the session in order.
//!
//! A console tells another size only to who reads its input as records, and keys as sequences only to who does not. So
//! the size is looked at, a few times a second, while a command has a terminal. Invariant: what was typed before the
//! command ended is passed on, and what comes afterwards does what it does without us.

use std::io::{self, Stdout};
use std::os::windows::io::{AsHandle as _, BorrowedHandle};

use ringfence_backend::command::TerminalSize;
use ringfence_backend::{CommandId, RunningSession};
use ringfence_windows::sys::console_event::{ConsoleEvent, ConsoleEvents};
use ringfence_windows::sys::handle::wait_for_any;
use ringfence_windows::sys::terminal;

use super::{BreakError, RunError};

/// How often the size is looked at, in milliseconds.
const LOOK: u32 = 200;
/// The numbers that signals have elsewhere.
const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;

/// The person's console, until this is dropped.
#[derive(Debug)]
pub(super) struct PersonsConsole {
    events: ConsoleEvents,
    screen: Stdout,
    /// Of the command's terminal, where it has one.
    size: Option<TerminalSize>,
}

impl PersonsConsole {
    /// Takes its events over.
    ///
    /// # Errors
    /// [`RunError::Signals`].
    pub(super) fn take_over() -> Result<Self, RunError> {
        let events = ConsoleEvents::take_over()
            .map_err(|error| RunError::Signals(io::Error::other(error)))?;
        Ok(Self {
            events,
            screen: io::stdout(),
            size: None,
        })
    }

    /// The command gets a terminal as large as this console, where that can be known.
    pub(super) fn give_terminal(&mut self) -> Option<TerminalSize> {
        self.size = self.look();
        self.size
    }

    fn look(&self) -> Option<TerminalSize> {
        let size = terminal::size(self.screen.as_handle()).ok();
        size.map(|(rows, columns)| TerminalSize { rows, columns })
    }

    /// Waits until the runner has said something, or there is other `news`, passing on to the command what happens here
    /// meanwhile.
    ///
    /// # Errors
    /// [`BreakError::Wait`].
    pub(super) fn wait(
        &mut self,
        running: &mut dyn RunningSession,
        command: CommandId,
        news: Option<BorrowedHandle<'_>>,
    ) -> Result<(), BreakError> {
        let mut handles = vec![running.readiness(), self.events.readiness()];
        handles.extend(news);
        wait_for_any(&handles, self.size.map(|_| LOOK))
            .map_err(|error| BreakError::Wait(io::Error::other(error)))?;
        for event in self.events.take() {
            let signal = match event {
                ConsoleEvent::CtrlC => SIGINT,
                ConsoleEvent::CtrlBreak => SIGQUIT,
                ConsoleEvent::Close => SIGHUP,
            };
            // A runner that is gone, perhaps because all has just ended, is noticed by who hears it.
            let _ = running.signal(command, signal);
        }
        if self.size.is_some()
            && let Some(now) = self.look().filter(|now| Some(*now) != self.size)
        {
            self.size = Some(now);
            let _ = running.resize(command, now);
        }
        Ok(())
    }
}
