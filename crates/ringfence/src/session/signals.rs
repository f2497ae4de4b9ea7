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

/// Signals that were taken over until this is dropped.
pub(crate) struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
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
    /// # Errors
    /// The system's, for sigaction or a socket pair.
    pub(crate) fn take_over(caller: &Caller) -> io::Result<Self> {
        let released = released(caller)?;
        released.store(false, Ordering::SeqCst);
        let (read, write) = UnixStream::pair()?;
        let wanted = [SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGWINCH, SIGTSTP, SIGCONT];
        let taken = wanted.into_iter().filter(|signal| !caller.ignores(*signal));
        let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, taken)?;
        Ok(Self { delivery, released })
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
        self.released.store(true, Ordering::SeqCst);
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
