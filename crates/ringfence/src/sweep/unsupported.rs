//! Where no session runs, there is nothing to sweep.

use ringfence_audit::SessionId;
use ringfence_backend::session::BorrowedDescriptor;
use ringfence_plan::Plan;
use ringfence_plan::plan::Guard;
use ringfence_policy::AbsolutePath;

use super::{Leftovers, Swept};
use crate::quarantine::{Entry, Quarantine};
use crate::state::StateDirectory;

/// Finds nothing.
#[must_use]
pub fn sweep_leftovers(_state: &StateDirectory) -> Leftovers {
    Leftovers::default()
}

/// What there is nothing of to lease.
#[derive(Debug)]
pub(crate) enum Lease {}

/// Can't happen.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {}

impl LeaseError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match *self {}
    }
}

impl Lease {
    pub(crate) fn take(
        _state: &StateDirectory,
        _session: &SessionId,
    ) -> Result<Option<Self>, LeaseError> {
        Ok(None)
    }

    pub(crate) fn descriptor(&self) -> Option<BorrowedDescriptor<'_>> {
        match *self {}
    }

    pub(crate) fn place(&mut self, _orders: &Orders) -> Result<(), LeaseError> {
        match *self {}
    }
}

/// None.
#[derive(Debug)]
pub(crate) struct Orders;

pub(crate) fn has_orders(_guard: &Guard, _repositories: super::Repositories) -> bool {
    false
}

/// Guards nothing.
#[derive(Debug)]
pub(crate) struct Guardian(Orders);

impl Guardian {
    pub(crate) fn new(
        _plan: &Plan,
        _watch: (super::Watching, super::Repositories),
        _quarantine: Quarantine,
        _session: SessionId,
    ) -> Self {
        Self(Orders)
    }

    pub(crate) fn orders(&self) -> &Orders {
        &self.0
    }

    pub(crate) fn inherit(&mut self, _swept: Swept) {}

    pub(crate) fn touched(&mut self, _path: &AbsolutePath) {}

    pub(crate) fn unwatched(&mut self, _directory: &AbsolutePath) {}

    pub(crate) fn news(&mut self) -> Vec<Entry> {
        Vec::new()
    }

    pub(crate) fn sweep(&mut self, _seen: super::Seen) {}

    pub(crate) fn take_swept(&mut self) -> Swept {
        Swept::default()
    }
}
