//! The person's ledger backwards, and then what was made meanwhile.
//!
//! Invariant: an object gets back what it had, unless somebody else changed it since: then exactly the entries that
//! were recorded go, and the change stays.

use std::collections::BTreeSet;

use ringfence_nt::inherit::{self, reinherit};
use ringfence_nt::{Acl, Control, Dacl, GenericMapping, SecurityDescriptor};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{FileId, Object, ObjectKind};

use crate::ledger::{Direction, LedgerStore, Sequence, Undone};
use crate::windows::books::{Merging, PersonIntent, PersonReceipt};
use crate::windows::files::{Files, Redirection};
use crate::windows::merge::{merge, same};

use super::walk::child_path;
use super::{
    GrantError, Grants, ObjectError, ObjectFailure, ObjectFault, PersonEntry, Revoked, failed,
};

impl<S: LedgerStore, F: Files> Grants<'_, S, F> {
    /// Undoes what an interrupted [`Grants::apply`] had done.
    ///
    /// # Errors
    /// [`GrantError::Ledger`]; what could not be undone is in the answer.
    pub fn roll_back(&mut self) -> Result<Revoked, GrantError> {
        let Some(open) = self.ledger.transaction(self.person) else {
            return Ok(Revoked::default());
        };
        self.undo_since(open.since)
    }

    /// Undoes every entry, the last first, then takes what we had off objects that were made meanwhile.
    ///
    /// # Errors
    /// [`GrantError::Ledger`]; what could not be undone is in the answer.
    pub fn uninstall(&mut self) -> Result<Revoked, GrantError> {
        let open = self.ledger.transaction(self.person);
        let begun = open.is_some_and(|open| open.direction == Direction::Uninstall);
        if !begun && self.ledger.entries().next().is_some() {
            self.ledger
                .begin(self.person, Direction::Uninstall)
                .map_err(GrantError::Ledger)?;
        }
        self.undo_since(Sequence(0))
    }

    /// Undoes the entries of `place` and of what lies in it, and of these private homes, the last first, and takes what
    /// we had off objects that were made there meanwhile. What was done elsewhere stays: above all what lets the group
    /// pass the directories above.
    ///
    /// # Errors
    /// [`GrantError::Ledger`]; [`GrantError::UninstallUnfinished`]. What could not be undone is in the answer.
    pub fn release(
        &mut self,
        place: &WindowsPath,
        homes: &BTreeSet<WindowsPath>,
    ) -> Result<Revoked, GrantError> {
        match self.ledger.transaction(self.person) {
            Some(open) if open.direction == Direction::Uninstall => {
                return Err(GrantError::UninstallUnfinished);
            }
            Some(_) => {
                self.roll_back()?;
            }
            None => {}
        }
        let is_of = |path: &WindowsPath| path.starts_with(place) || homes.contains(path);
        let entries: Vec<(Sequence, PersonEntry)> = self
            .since(Sequence(0))
            .into_iter()
            .filter(|(_, entry)| match &entry.intent {
                PersonIntent::SetDacl { object, .. } => is_of(&object.path),
                PersonIntent::Walk { root, .. } => is_of(&root.path),
                PersonIntent::MakeHome { path, .. } => is_of(path),
            })
            .collect();
        let revoked = self.undo(&entries);
        self.ledger.compact().map_err(GrantError::Ledger)?;
        Ok(revoked)
    }

    fn undo_since(&mut self, since: Sequence) -> Result<Revoked, GrantError> {
        let revoked = self.undo(&self.since(since));
        if revoked.failed.is_empty() {
            if self.ledger.transaction(self.person).is_some() {
                self.ledger.end(self.person).map_err(GrantError::Ledger)?;
            }
            self.ledger.compact().map_err(GrantError::Ledger)?;
        }
        Ok(revoked)
    }

    fn undo(&mut self, entries: &[(Sequence, PersonEntry)]) -> Revoked {
        let mut revoked = Revoked::default();
        for (number, entry) in entries {
            if matches!(entry.intent, PersonIntent::Walk { .. }) {
                continue;
            }
            let outcome = self.undo_entry(*number, entry);
            self.note(*number, entry, outcome, &mut revoked);
        }
        // Directories have their own descriptors again: what lies in them is computed anew from there.
        for (number, entry) in entries {
            let PersonIntent::Walk { root, .. } = &entry.intent else {
                continue;
            };
            let outcome = if self.held(root).is_some() {
                Ok(Undone::HeldByAnother)
            } else {
                let swept = self.sweep(root, &mut revoked);
                swept.map_err(ObjectFault::Object)
            };
            self.note(*number, entry, outcome, &mut revoked);
        }
        revoked
    }

    fn since(&self, since: Sequence) -> Vec<(Sequence, PersonEntry)> {
        self.ledger
            .entries()
            .rev()
            .take_while(|(number, _)| *number >= since)
            .map(|(number, entry)| (number, entry.clone()))
            .collect()
    }

    /// Closes the entry, or says why it stays open.
    fn note(
        &mut self,
        number: Sequence,
        entry: &PersonEntry,
        outcome: Result<Undone, ObjectFault>,
        revoked: &mut Revoked,
    ) {
        let object = match &entry.intent {
            PersonIntent::SetDacl { object, .. } => object.path.to_string(),
            PersonIntent::Walk { root, .. } => format!("what lies in {}", root.path),
            PersonIntent::MakeHome { path, .. } => path.to_string(),
        };
        let closed = outcome.and_then(|outcome| {
            self.ledger
                .close(number, outcome)
                .map(|()| outcome)
                .map_err(ObjectFault::Ledger)
        });
        match closed {
            Ok(outcome) => revoked.undone.push((object, outcome)),
            Err(cause) => revoked.failed.push(ObjectFailure { object, cause }),
        }
    }

    fn undo_entry(&mut self, number: Sequence, entry: &PersonEntry) -> Result<Undone, ObjectFault> {
        match &entry.intent {
            PersonIntent::SetDacl {
                object,
                before,
                after,
                ..
            } => self.restore(number, entry, object, (*before, *after)),
            PersonIntent::MakeHome { path, .. } => self
                .remove_home(path, entry.receipt)
                .map_err(ObjectFault::Object),
            PersonIntent::Walk { .. } => Ok(Undone::HeldByAnother),
        }
    }

    /// The object of an entry, at its path or wherever it was moved to.
    fn find(&mut self, object: &Object) -> Result<Option<F::Handle>, ObjectError> {
        let path = &object.path;
        if let Some(handle) = self.files.open(path).map_err(failed(path))? {
            let state = self.files.observe(&handle).map_err(failed(path))?;
            if state.id == object.id {
                return Ok(Some(handle));
            }
        }
        self.files.open_id(object.id).map_err(failed(path))
    }

    fn restore(
        &mut self,
        number: Sequence,
        entry: &PersonEntry,
        object: &Object,
        (before, after): (u32, u32),
    ) -> Result<Undone, ObjectFault> {
        let descriptor = |grants: &Self, number| {
            let found = grants.ledger.descriptor(number);
            found.cloned().map_err(ObjectFault::Ledger)
        };
        let (before, after) = (descriptor(self, before)?, descriptor(self, after)?);
        let path = &object.path;
        let Some(handle) = self.find(object).map_err(ObjectFault::Object)? else {
            return Ok(Undone::Gone);
        };
        let found = self
            .files
            .observe_descriptor(&handle)
            .map_err(failed(path))
            .map_err(ObjectFault::Object)?;
        if let Some(Merging { target }) = entry.undoing
            && same(&found, &descriptor(self, target)?)
        {
            return Ok(Undone::Merged);
        }
        if same(&found, &before) {
            return Ok(match entry.receipt {
                Some(_) => Undone::Restored,
                None => Undone::NeverDone,
            });
        }
        let (target, outcome) = if same(&found, &after) {
            (before, Undone::Restored)
        } else {
            (merge(&found, &before, &after), Undone::Merged)
        };
        if same(&found, &target) {
            return Ok(outcome);
        }
        if outcome == Undone::Merged {
            // Merged twice, an entry that somebody had twice would go twice.
            let target = self.number_of(&target)?;
            self.ledger
                .intend_undoing(number, Merging { target })
                .map_err(ObjectFault::Ledger)?;
        }
        self.write(path, &handle, &target)
            .map_err(ObjectFault::Object)?;
        Ok(outcome)
    }

    fn remove_home(
        &mut self,
        path: &WindowsPath,
        receipt: Option<PersonReceipt>,
    ) -> Result<Undone, ObjectError> {
        let Some(handle) = self.files.open(path).map_err(failed(path))? else {
            return Ok(match receipt {
                Some(_) => Undone::Gone,
                None => Undone::NeverDone,
            });
        };
        let state = self.files.observe(&handle).map_err(failed(path))?;
        if receipt.is_some_and(|receipt| receipt != PersonReceipt::Home(state.id)) {
            return Ok(Undone::Gone);
        }
        self.files.remove_directory(&handle).map_err(failed(path))?;
        match self.files.open(path).map_err(failed(path))? {
            None => Ok(Undone::Restored),
            Some(_) => Err(ObjectError::NotKept { path: path.clone() }),
        }
    }

    /// Computes anew what objects below `root` inherit, if they still carry something of ours: they were made while
    /// it stood, and no entry speaks of them. What our accounts own becomes the person's.
    fn sweep(&mut self, root: &Object, revoked: &mut Revoked) -> Result<Undone, ObjectError> {
        let recorded: BTreeSet<FileId> = self
            .ledger
            .entries()
            .filter_map(|(_, entry)| match &entry.intent {
                PersonIntent::SetDacl { object, .. } => Some(object.id),
                PersonIntent::Walk { .. } | PersonIntent::MakeHome { .. } => None,
            })
            .collect();
        let Some(handle) = self.find(root)? else {
            return Ok(Undone::Gone);
        };
        let descriptor = self
            .files
            .observe_descriptor(&handle)
            .map_err(failed(&root.path))?;
        let mut directories = vec![(handle, root.path.clone(), descriptor)];
        while let Some((directory, path, descriptor)) = directories.pop() {
            for name in self.files.list(&directory).map_err(failed(&path))? {
                let path = child_path(&path, &name);
                let opened = self.files.open_child(&directory, &name);
                let Some(child) = opened.map_err(failed(&path))? else {
                    continue;
                };
                let state = self.files.observe(&child).map_err(failed(&path))?;
                let found = self
                    .files
                    .observe_descriptor(&child)
                    .map_err(failed(&path))?;
                let swept = if recorded.contains(&state.id) {
                    None
                } else {
                    self.clean(&descriptor, &found, state.kind)
                };
                if let Some(clean) = &swept {
                    if let Some(owner) = clean.owner.filter(|_| clean.owner != found.owner) {
                        self.files.set_owner(&child, owner).map_err(failed(&path))?;
                    }
                    self.write(&path, &child, clean)?;
                    revoked.swept = revoked.swept.saturating_add(1);
                }
                if state.kind == ObjectKind::Directory && state.redirection == Redirection::None {
                    directories.push((child, path, swept.unwrap_or(found)));
                }
            }
        }
        Ok(Undone::Restored)
    }

    /// The descriptor without anything of ours; `None` where there is nothing.
    fn clean(
        &self,
        parent: &SecurityDescriptor,
        found: &SecurityDescriptor,
        kind: ObjectKind,
    ) -> Option<SecurityDescriptor> {
        let owned = found.owner.is_some_and(|owner| self.ours.contains(&owner));
        // Without a list everybody may do everything: where a target made it so, its parent's entries take its place.
        let aces = found.acl().map_or(&[][..], |acl| &acl.aces);
        let named = aces.iter().any(|ace| self.ours.contains(&ace.sid));
        if !owned && !named {
            return None;
        }
        let kept: Acl = aces
            .iter()
            .filter(|ace| !self.ours.contains(&ace.sid))
            .copied()
            .collect();
        let mut stripped = SecurityDescriptor {
            dacl: Dacl::Present(kept),
            ..found.clone()
        };
        if owned {
            // A DACL that a target closed is nobody's wish any more.
            stripped.owner = Some(self.person);
            stripped.control = stripped.control.without(Control::DACL_PROTECTED);
        }
        let kind = match kind {
            ObjectKind::Directory => inherit::ObjectKind::Container,
            ObjectKind::File => inherit::ObjectKind::Leaf,
        };
        Some(reinherit(parent, &stripped, kind, &GenericMapping::FILE))
    }
}
