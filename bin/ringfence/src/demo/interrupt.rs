//! A person who has seen enough: the demo ends after the row it is at, and leaves nothing.
//!
//! Invariant: on Unix the second signal ends the process at once; on Windows the console's closing does.

#[cfg(unix)]
pub(crate) use self::unix::Interrupt;
#[cfg(windows)]
pub(crate) use self::windows::Interrupt;

#[cfg(unix)]
mod unix {
    //! By signals.

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
}

#[cfg(windows)]
mod windows {
    //! By the console's events.

    use std::cell::{Cell, RefCell};
    use std::io;

    use ringfence::{ConsoleEvent, ConsoleEvents};

    /// The console's events, and the status that goes with the first.
    #[derive(Debug)]
    pub(crate) struct Interrupt(RefCell<ConsoleEvents>, Cell<Option<u8>>);

    impl Interrupt {
        /// Takes the events over. What the demo starts without a boundary hears of them too.
        pub(crate) fn take_over() -> io::Result<Self> {
            let events = ConsoleEvents::take_over().map_err(io::Error::other)?;
            Ok(Self(RefCell::new(events), Cell::new(None)))
        }

        /// The exit status that goes with what came: 128 and the number of the signal that it is elsewhere.
        pub(crate) fn status(&self) -> Option<u8> {
            let came = self.0.borrow_mut().take();
            let first = came.first().map(|event| match event {
                ConsoleEvent::Close => 129,
                ConsoleEvent::CtrlC => 130,
                ConsoleEvent::CtrlBreak => 131,
            });
            self.1.set(self.1.get().or(first));
            self.1.get()
        }
    }
}
