//! The signals that a foreground command should get instead of this process.
//!
//! Invariant: a signal that the caller ignores stays ignored, and one that would have ended this process ends it
//! again afterwards.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use super::caller::Caller;

/// What a terminal and a supervisor send.
const FORWARDED: [i32; 7] = [SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGWINCH, SIGTSTP, SIGCONT];

/// Signals that were taken over until this is released or dropped.
pub(crate) struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    taken: Vec<i32>,
    released: Arc<AtomicBool>,
}

impl std::fmt::Debug for Signals {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Signals")
    }
}

impl Signals {
    /// Takes over what a terminal and a supervisor send, except what the caller ignores.
    ///
    /// `kept` are those of the command before, released: to register is to copy the table of all handlers once for each.
    ///
    /// # Errors
    /// The system's, for sigaction or a socket pair.
    pub(crate) fn take_over(kept: Option<Self>, caller: &Caller) -> io::Result<Self> {
        let released = released(caller)?;
        released.store(false, Ordering::SeqCst);
        let wanted = FORWARDED.into_iter();
        let taken: Vec<_> = wanted.filter(|signal| !caller.ignores(*signal)).collect();
        if let Some(mut kept) = kept.filter(|kept| kept.taken == taken) {
            // What came meanwhile had its effect, and is not for this command.
            kept.pending();
            return Ok(kept);
        }
        let (read, write) = UnixStream::pair()?;
        let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, &taken)?;
        Ok(Self {
            delivery,
            taken,
            released,
        })
    }

    /// Gives the signals back until they are taken over again.
    pub(crate) fn release(&self) {
        self.released.store(true, Ordering::SeqCst);
    }

    /// Those that came since the last call.
    pub(crate) fn pending(&mut self) -> Vec<i32> {
        self.delivery.pending().collect()
    }

    /// Readable when one has come.
    pub(crate) fn readiness(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.delivery.handle().close();
        self.release();
    }
}

/// Handlers stay installed once they are; where the default action had been in force, they do what it did as long as
/// this is true.
fn released(caller: &Caller) -> io::Result<Arc<AtomicBool>> {
    static RELEASED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(released) = RELEASED.get() {
        return Ok(Arc::clone(released));
    }
    let released = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP] {
        if !caller.ignores(signal) && !caller.catches(signal) {
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&released))?;
        }
    }
    Ok(Arc::clone(RELEASED.get_or_init(|| released)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    /// Sends this process a signal whose default action is none, and waits until the handler has told of it.
    fn resize(signals: &Signals) {
        kill_process(getpid(), Signal::WINCH).unwrap();
        let limit = Timespec::try_from(Duration::from_secs(10)).unwrap();
        let readiness = signals.readiness();
        let mut fds = [PollFd::from_borrowed_fd(readiness, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&limit)), Ok(1));
    }

    #[test]
    fn what_comes_between_two_commands_is_not_for_the_next() {
        let caller = Caller::observe();
        let mut signals = Signals::take_over(None, &caller).unwrap();
        resize(&signals);
        assert_eq!(signals.pending(), [SIGWINCH]);
        signals.release();
        resize(&signals);
        let mut signals = Signals::take_over(Some(signals), &caller).unwrap();
        assert!(signals.pending().is_empty());
        resize(&signals);
        assert_eq!(signals.pending(), [SIGWINCH]);
    }
}
