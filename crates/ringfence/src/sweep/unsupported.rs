//! Where no session runs, there is nothing to sweep.

use ringfence_audit::SessionId;
use ringfence_plan::Plan;
use ringfence_policy::AbsolutePath;

use super::Swept;
use crate::quarantine::{Entry, Quarantine};

/// Guards nothing.
#[derive(Debug)]
pub(crate) struct Guardian;

impl Guardian {
    pub(crate) fn new(
        _plan: &Plan,
        _watch: (super::Watching, super::Repositories),
        _quarantine: Quarantine,
        _session: SessionId,
    ) -> Self {
        Self
    }

    pub(crate) fn touched(&mut self, _path: &AbsolutePath) {}

    pub(crate) fn news(&mut self) -> Vec<Entry> {
        Vec::new()
    }

    pub(crate) fn sweep(&mut self, _seen: super::Seen) {}

    pub(crate) fn take_swept(&mut self) -> Swept {
        Swept::default()
    }
}
