//! A person who has seen enough: the demo ends after the row it is at, and leaves nothing.
//!
//! Invariant: the second signal ends the process at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// The signal that came, 0 before.
#[derive(Debug)]
pub(crate) struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// Takes the signals over. What the demo starts has their default actions.
    pub(crate) fn take_over() -> io::Result<Self> {
        let (came, signal) = (Arc::new(AtomicBool::new(false)), Arc::default());
        for number in [SIGHUP, SIGINT, SIGTERM] {
            // The order they are registered in is the order they run in: the first signal finds the flag unset.
            flag::register_conditional_default(number, Arc::clone(&came))?;
            flag::register(number, Arc::clone(&came))?;
            flag::register_usize(number, Arc::clone(&signal), number.unsigned_abs() as usize)?;
        }
        Ok(Self(signal))
    }

    /// The exit status that goes with the signal that came: 128 and its number.
    pub(crate) fn status(&self) -> Option<u8> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            signal => {
                Some(u8::try_from(signal).map_or(u8::MAX, |signal| signal.saturating_add(128)))
            }
        }
    }
}
