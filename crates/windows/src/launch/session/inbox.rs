//! Events that wait for the harness, and what is signalled while one does.
//!
//! Invariant: the signal is set exactly while something can be taken.

use std::collections::VecDeque;
use std::os::windows::io::{AsHandle as _, BorrowedHandle};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringfence_backend::windows::runner::Event;

use super::SessionError;
use crate::sys::CallError;
use crate::sys::handle::{self, Signal};

/// How many events may wait: a runner that floods the harness is held up by its own pipe.
const MOST: usize = 4096;

/// Events that wait.
#[derive(Debug)]
pub(in crate::launch) struct Inbox {
    state: Mutex<State>,
    signal: Signal,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Event>,
    /// Why nothing will follow.
    end: Option<End>,
    /// Whether it was said that everything has ended.
    closed: bool,
}

/// Why nothing follows: it can be asked for again and again.
#[derive(Clone, Copy, Debug)]
pub(in crate::launch) enum End {
    Closed,
    Nonsense,
}

/// What was taken.
#[derive(Debug)]
pub(in crate::launch) enum Taken {
    /// The next event.
    Event(Event),
    /// The time is up.
    Nothing,
    /// Nothing will follow.
    End(SessionError),
}

impl Inbox {
    pub(in crate::launch) fn new() -> Result<Self, CallError> {
        Ok(Self {
            state: Mutex::default(),
            signal: Signal::new()?,
        })
    }

    /// Adds an event.
    pub(in crate::launch) fn put(&self, event: Event) {
        let mut state = self.state();
        state.closed |= event == Event::Closed;
        state.waiting.push_back(event);
        self.signal.set();
    }

    /// Whether a reader should wait before it reads more.
    pub(in crate::launch) fn is_full(&self) -> bool {
        self.state().waiting.len() >= MOST
    }

    /// Nothing will follow.
    pub(in crate::launch) fn end(&self, end: End) {
        let mut state = self.state();
        state.end.get_or_insert(end);
        self.signal.set();
    }

    /// Whether nothing will follow.
    pub(in crate::launch) fn is_ended(&self) -> bool {
        self.state().end.is_some()
    }

    /// Whether it was said that everything has ended.
    pub(in crate::launch) fn saw_closed(&self) -> bool {
        self.state().closed
    }

    pub(in crate::launch) fn readiness(&self) -> BorrowedHandle<'_> {
        self.signal.as_handle()
    }

    /// Takes the next event, waiting for at most `timeout`, or as long as it takes.
    pub(in crate::launch) fn take(&self, timeout: Option<Duration>) -> Taken {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if let Some(taken) = self.take_now() {
                return taken;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Taken::Nothing;
            }
            // Rounded up: a wait of nothing would go round without one.
            let milliseconds = left
                .map(|left| u32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u32::MAX - 1));
            if handle::wait(self.signal.as_handle(), milliseconds).is_err() {
                return Taken::End(SessionError::Ended);
            }
        }
    }

    fn take_now(&self) -> Option<Taken> {
        let mut state = self.state();
        if let Some(event) = state.waiting.pop_front() {
            if state.waiting.is_empty() && state.end.is_none() {
                self.signal.clear();
            }
            return Some(Taken::Event(event));
        }
        match state.end {
            Some(End::Closed) => Some(Taken::End(SessionError::Ended)),
            Some(End::Nonsense) => Some(Taken::End(SessionError::Nonsense)),
            None => {
                self.signal.clear();
                None
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
