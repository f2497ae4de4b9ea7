//! What targets have closed to their person and no runner has opened, opened before their accounts go.
//!
//! A runner opens such objects when a command has ended; one that was killed opens nothing. Once the account is deleted
//! its owner is nobody, so the elevated uninstall does it, with the privilege to restore.
//!
//! Invariant: only objects that an account of the person's own set-up owns are changed, and only by an entry for that
//! person; no reparse point is entered, and none is taken off.
//!
//! # Security
//! The person's ledger says where to look and is hostile: it may name any tree of the machine. What an account of the
//! person's owns its targets have made, so whoever wrote that ledger gains what is theirs to read already.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use ringfence_nt::Sid;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{FileId, Object, ObjectKind};

use crate::call::CallFailure;
use crate::ledger::read_untrusted;

use super::books::{PersonBook, PersonIntent};
use super::descent::Descent;
use super::files::{Files, Redirection};
use super::listing::Listing;
use super::tend::Tender;

/// What was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Objects that the person may use again.
    pub opened: Listing<WindowsPath>,
    /// Objects that could not be looked at or opened, and why.
    pub failed: Listing<(WindowsPath, CallFailure)>,
    /// Whether somebody stopped it.
    pub is_stopped: bool,
}

/// Opens to `person` what their accounts own and keep them out of, in the roots that their ledger names.
///
/// `accounts` comes from the machine's record alone. `progress` is told how many objects were looked at, and may stop
/// it.
pub fn open_closed<F: Files>(
    ledger: &[u8],
    (person, accounts): (Sid, &BTreeSet<Sid>),
    files: &mut F,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Opened {
    let (entries, _) = read_untrusted::<PersonBook>(ledger);
    let tender = |owner: &Sid| Tender {
        person,
        owner: *owner,
    };
    let mut walk = Walk {
        tenders: accounts.iter().map(tender).collect(),
        files,
        progress,
        visited: 0,
        entered: BTreeSet::new(),
        done: Opened::default(),
    };
    for entry in entries {
        let PersonIntent::Walk { root, .. } = entry.intent else {
            continue;
        };
        if walk.root(&root).is_break() {
            walk.done.is_stopped = true;
            break;
        }
    }
    walk.done
}

struct Walk<'a, F: Files> {
    tenders: Vec<Tender>,
    files: &'a mut F,
    progress: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    visited: u64,
    /// Directories that were looked through: a ledger may name each one of a tree as a root.
    entered: BTreeSet<FileId>,
    done: Opened,
}

impl<F: Files> Walk<'_, F> {
    /// Everything at and below a root that is still the recorded object.
    fn root(&mut self, root: &Object) -> ControlFlow<()> {
        if self.entered.contains(&root.id) {
            return ControlFlow::Continue(());
        }
        let handle = match self.files.open(&root.path) {
            Ok(Some(handle)) => handle,
            Ok(None) => return ControlFlow::Continue(()),
            Err(failure) => {
                self.done.failed.push((root.path.clone(), failure));
                return ControlFlow::Continue(());
            }
        };
        if !matches!(self.files.observe(&handle), Ok(state) if state.id == root.id) {
            return ControlFlow::Continue(());
        }
        let mut descent = Descent::new();
        let mut next = Some((root.path.clone(), Ok(handle)));
        while let Some((path, opened)) = next {
            self.visited = self.visited.saturating_add(1);
            (self.progress)(self.visited)?;
            if let Err(failure) =
                opened.and_then(|handle| self.look(handle, path.clone(), &mut descent))
            {
                self.done.failed.push((path, failure));
            }
            next = descent.next(self.files);
        }
        ControlFlow::Continue(())
    }

    /// One object, which is entered where it has children.
    fn look(
        &mut self,
        handle: F::Handle,
        path: WindowsPath,
        descent: &mut Descent<F::Handle>,
    ) -> Result<(), CallFailure> {
        for tender in &self.tenders {
            if tender.open(self.files, &handle)?.is_some() {
                self.done.opened.push(path.clone());
            }
        }
        let state = self.files.observe(&handle)?;
        if state.kind == ObjectKind::File || state.redirection == Redirection::Reparse {
            return Ok(());
        }
        if !self.entered.insert(state.id) {
            return Ok(());
        }
        descent.enter(self.files, handle, path)
    }
}
