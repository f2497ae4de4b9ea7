//! Faults on purpose: each call of a machine in memory that changes something asks here first.
//!
//! After a crash every call fails until the machine is started again, so that whatever a program still tries in its
//! dying has no effect. Invariant: a fault strikes once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::call::CallFailure;

/// What a refused call answers: `ERROR_ACCESS_DENIED`.
pub const DENIED: u32 = 5;
/// What a call answers after a crash: `ERROR_PROCESS_ABORTED`.
pub const ABORTED: u32 = 1067;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails.
    Refused,
    /// The call says that it has done it, and has not.
    Lie,
    /// The power goes before it is done.
    CrashBefore,
    /// The power goes when it is done and before anybody knows.
    CrashAfter,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Refused,
        Self::Lie,
        Self::CrashBefore,
        Self::CrashAfter,
    ];
}

#[derive(Debug, Default)]
struct State {
    wanted: Option<(u64, Fault)>,
    calls: u64,
    dead: bool,
    struck: bool,
}

/// When which fault strikes; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<State>>);

impl Faults {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `fault` strike at the call with this number from now on, counted from 0.
    pub fn strike_at(&self, call: u64, fault: Fault) {
        let mut state = self.state();
        state.wanted = Some((state.calls.saturating_add(call), fault));
        state.struck = false;
    }

    /// Whether the fault has struck.
    #[must_use]
    pub fn has_struck(&self) -> bool {
        self.state().struck
    }

    /// Whether the power is on.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.state().dead
    }

    /// Starts the machine again, without faults.
    pub fn restart(&self) {
        let mut state = self.state();
        state.dead = false;
        state.wanted = None;
    }

    /// How many calls changed something, or tried to.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Fails when the power is off: for calls that only look.
    ///
    /// # Errors
    /// [`CallFailure`].
    pub fn look(&self, call: &'static str, object: &str) -> Result<(), CallFailure> {
        if self.is_alive() {
            return Ok(());
        }
        Err(CallFailure::new(call, object, ABORTED))
    }

    /// Makes a change, unless a fault strikes. A change that is refused by itself counts as a call too.
    ///
    /// # Errors
    /// [`CallFailure`]: the fault, or what `change` answers.
    pub fn change(
        &self,
        call: &'static str,
        object: &str,
        change: impl FnOnce() -> Result<(), CallFailure>,
    ) -> Result<(), CallFailure> {
        self.look(call, object)?;
        match self.next() {
            None => change(),
            Some(Fault::Refused) => Err(CallFailure::new(call, object, DENIED)),
            Some(Fault::Lie) => Ok(()),
            Some(Fault::CrashBefore) => {
                self.state().dead = true;
                self.look(call, object)
            }
            Some(Fault::CrashAfter) => {
                change()?;
                self.state().dead = true;
                self.look(call, object)
            }
        }
    }

    /// The fault of the next call.
    fn next(&self) -> Option<Fault> {
        let mut state = self.state();
        let call = state.calls;
        state.calls = call.saturating_add(1);
        let (_, fault) = state.wanted.filter(|(number, _)| *number == call)?;
        state.wanted = None;
        state.struck = true;
        Some(fault)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
