//! The person's steps, one after the other.
//!
//! Invariant: a step that is done already is neither recorded nor written.

use ringfence_nt::SecurityDescriptor;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{FileId, Object, ObjectKind, PersonStep, Purpose};

use crate::ledger::{Direction, LedgerStore, Sequence};
use crate::windows::books::{PersonIntent, PersonReceipt};
use crate::windows::files::Files;
use crate::windows::merge::same;

use super::{
    GrantError, Granted, Grants, ObjectError, ObjectFault, Revoked, WalkReport, Walking, failed,
    refuse_placeholders,
};

impl<S: LedgerStore, F: Files> Grants<'_, S, F> {
    /// Does what of `steps` is not done, and goes on with what an earlier call was interrupted in.
    ///
    /// A walk that the caller stops leaves what it has done, recorded: the next call goes on, and
    /// [`Grants::roll_back`] or an uninstall takes it back.
    ///
    /// # Errors
    /// [`GrantError`]; then everything of this transaction is undone but what the error names.
    pub fn apply(
        &mut self,
        steps: &[PersonStep],
        walking: &mut Walking<'_>,
    ) -> Result<Granted, GrantError> {
        let open = self.ledger.transaction(self.person);
        if open.is_some_and(|open| open.direction == Direction::Uninstall) {
            return Err(GrantError::UninstallUnfinished);
        }
        let owed = self.owed_walks(steps);
        let mut granted = Granted::default();
        for step in steps.iter().chain(&owed) {
            if let Err(fault) = self.apply_step(step, walking, &mut granted) {
                return Err(self.fail(fault));
            }
        }
        if self.ledger.transaction(self.person).is_some() {
            self.ledger.end(self.person).map_err(GrantError::Ledger)?;
            self.ledger.compact().map_err(GrantError::Ledger)?;
        }
        Ok(granted)
    }

    /// Walks that an interrupted call still owes and `steps` do not name: its directory has its descriptor, so the
    /// planner sees nothing to do, and what lies below it has none of it.
    fn owed_walks(&self, steps: &[PersonStep]) -> Vec<PersonStep> {
        if self.ledger.transaction(self.person).is_none() {
            return Vec::new();
        }
        let named = |id: FileId| {
            steps
                .iter()
                .any(|step| matches!(step, PersonStep::Walk { root, .. } if root.id == id))
        };
        let mut owed: Vec<(Object, Purpose)> = Vec::new();
        for (_, entry) in self.ledger.entries() {
            match &entry.intent {
                PersonIntent::SetDacl {
                    object, purpose, ..
                } if object.kind == ObjectKind::Directory && leads_to_a_walk(*purpose) => {
                    owed.retain(|(one, _)| one.id != object.id);
                    owed.push((object.clone(), *purpose));
                }
                PersonIntent::Walk { root, purpose } => {
                    // It goes through everything that was stamped below it.
                    owed.retain(|(one, _)| one.id != root.id && !one.path.is_below(&root.path));
                    if entry.receipt.is_none() {
                        owed.push((root.clone(), *purpose));
                    }
                }
                PersonIntent::SetDacl { .. } | PersonIntent::MakeHome { .. } => {}
            }
        }
        // A walk of a directory above goes through it.
        let above = |object: &Object| {
            owed.iter()
                .any(|(other, _)| object.path.is_below(&other.path))
        };
        owed.iter()
            .filter(|(root, _)| !named(root.id) && !above(root))
            .map(|(root, purpose)| PersonStep::Walk {
                root: root.clone(),
                purpose: *purpose,
            })
            .collect()
    }

    fn fail(&mut self, fault: ObjectFault) -> GrantError {
        let cause = match fault {
            ObjectFault::Ledger(error) => {
                // Nothing more can be recorded; what is open is undone by the next call.
                return GrantError::Ledger(error);
            }
            ObjectFault::Object(ObjectError::Stopped) => {
                let cause = ObjectError::Stopped;
                let left = Vec::new();
                return GrantError::Step { cause, left };
            }
            ObjectFault::Object(cause) => cause,
        };
        let revoked = self.roll_back().map(|Revoked { failed, .. }| failed);
        match revoked {
            Ok(left) => GrantError::Step { cause, left },
            Err(error) => error,
        }
    }

    fn apply_step(
        &mut self,
        step: &PersonStep,
        walking: &mut Walking<'_>,
        granted: &mut Granted,
    ) -> Result<(), ObjectFault> {
        match step {
            PersonStep::SetDacl {
                object,
                purpose,
                before,
                after,
            } => {
                if self.set_dacl(object, *purpose, before, after)? {
                    granted.changed = granted.changed.saturating_add(1);
                }
            }
            PersonStep::Walk { root, purpose } => {
                granted
                    .walks
                    .extend(self.walk_step(root, *purpose, walking)?);
            }
            PersonStep::MakeHome { path, descriptor } => {
                if self.make_home(path, descriptor)? {
                    granted.changed = granted.changed.saturating_add(1);
                }
            }
        }
        Ok(())
    }

    pub(super) fn begin(&mut self) -> Result<(), ObjectFault> {
        if self.ledger.transaction(self.person).is_some() {
            return Ok(());
        }
        self.ledger
            .begin(self.person, Direction::Install)
            .map_err(ObjectFault::Ledger)
    }

    fn set_dacl(
        &mut self,
        object: &Object,
        purpose: Purpose,
        before: &SecurityDescriptor,
        after: &SecurityDescriptor,
    ) -> Result<bool, ObjectFault> {
        let path = &object.path;
        refuse_placeholders(path, after).map_err(ObjectFault::Object)?;
        let handle = self.open(object).map_err(ObjectFault::Object)?;
        let found = self
            .files
            .observe_descriptor(&handle)
            .map_err(failed(path))
            .map_err(ObjectFault::Object)?;
        if same(&found, after) {
            self.receive_pending(object)?;
            return Ok(false);
        }
        if !same(&found, before) {
            let path = path.clone();
            return Err(ObjectFault::Object(ObjectError::Changed { path }));
        }
        self.begin()?;
        let intent = PersonIntent::SetDacl {
            object: object.clone(),
            purpose,
            before: self.number_of(before)?,
            after: self.number_of(after)?,
        };
        let number = self.ledger.intend(intent).map_err(ObjectFault::Ledger)?;
        self.write(path, &handle, after)
            .map_err(ObjectFault::Object)?;
        self.receive(number, PersonReceipt::Done)?;
        Ok(true)
    }

    pub(super) fn number_of(
        &mut self,
        descriptor: &SecurityDescriptor,
    ) -> Result<u32, ObjectFault> {
        self.ledger
            .number_of(descriptor)
            .map_err(ObjectFault::Ledger)
    }

    pub(super) fn receive(
        &mut self,
        number: Sequence,
        receipt: PersonReceipt,
    ) -> Result<(), ObjectFault> {
        self.ledger
            .receive(number, receipt)
            .map_err(ObjectFault::Ledger)
    }

    /// Writes the receipt of an interrupted call that had come that far.
    fn receive_pending(&mut self, object: &Object) -> Result<(), ObjectFault> {
        let Some(number) = self.held(object) else {
            return Ok(());
        };
        let pending = self
            .ledger
            .entry(number)
            .is_some_and(|entry| entry.receipt.is_none());
        if pending {
            self.receive(number, PersonReceipt::Done)?;
        }
        Ok(())
    }

    /// A walk counts as done when it came after the last change of its directory.
    fn walk_step(
        &mut self,
        root: &Object,
        purpose: Purpose,
        walking: &mut Walking<'_>,
    ) -> Result<Option<WalkReport>, ObjectFault> {
        let stamped = self.held(root);
        let walked = self.ledger.entries().rev().find(|(_, entry)| {
            matches!(&entry.intent, PersonIntent::Walk { root: other, purpose: why }
                if other.id == root.id && *why == purpose)
        });
        let last = walked.map(|(number, entry)| (number, entry.receipt.is_some()));
        let number = match last {
            Some((number, received)) if Some(number) > stamped => {
                if received {
                    return Ok(None);
                }
                number
            }
            Some(_) | None => {
                self.begin()?;
                let root = root.clone();
                self.ledger
                    .intend(PersonIntent::Walk { root, purpose })
                    .map_err(ObjectFault::Ledger)?
            }
        };
        let handle = self.open(root).map_err(ObjectFault::Object)?;
        let report = self.walk(root, &handle, purpose, walking)?;
        self.receive(number, PersonReceipt::Done)?;
        Ok(Some(report))
    }

    fn make_home(
        &mut self,
        path: &WindowsPath,
        descriptor: &SecurityDescriptor,
    ) -> Result<bool, ObjectFault> {
        let entry = self
            .ledger
            .entries()
            .rev()
            .find_map(|(number, entry)| match &entry.intent {
                PersonIntent::MakeHome { path: other, .. } if other == path => {
                    Some((number, entry.receipt))
                }
                PersonIntent::MakeHome { .. }
                | PersonIntent::SetDacl { .. }
                | PersonIntent::Walk { .. } => None,
            });
        let object_failed = ObjectFault::Object;
        let found = self.observe_home(path).map_err(object_failed)?;
        match (found, entry) {
            (Some((id, there)), Some((number, receipt))) => {
                let known = match receipt {
                    Some(PersonReceipt::Home(made)) => made == id,
                    Some(PersonReceipt::Done) | None => true,
                };
                if !known {
                    let path = path.clone();
                    return Err(object_failed(ObjectError::Foreign { path }));
                }
                let mend = !same(&there, descriptor);
                if mend {
                    self.write_home(path, descriptor)?;
                }
                if receipt.is_none() {
                    self.receive(number, PersonReceipt::Home(id))?;
                }
                Ok(mend)
            }
            (Some(_), None) => {
                let path = path.clone();
                Err(object_failed(ObjectError::Foreign { path }))
            }
            (None, _) => {
                self.begin()?;
                let intent = PersonIntent::MakeHome {
                    path: path.clone(),
                    descriptor: self.number_of(descriptor)?,
                };
                let number = self.ledger.intend(intent).map_err(ObjectFault::Ledger)?;
                self.write_home(path, descriptor)?;
                let made = self.observe_home(path).map_err(object_failed)?;
                let (id, _) = made.ok_or_else(|| not_kept(path))?;
                self.receive(number, PersonReceipt::Home(id))?;
                Ok(true)
            }
        }
    }

    fn write_home(
        &mut self,
        path: &WindowsPath,
        descriptor: &SecurityDescriptor,
    ) -> Result<(), ObjectFault> {
        self.files
            .make_directory(path, descriptor)
            .map_err(failed(path))
            .map_err(ObjectFault::Object)?;
        match self.observe_home(path).map_err(ObjectFault::Object)? {
            Some((_, found)) if same(&found, descriptor) => Ok(()),
            Some(_) | None => Err(not_kept(path)),
        }
    }

    pub(super) fn observe_home(
        &mut self,
        path: &WindowsPath,
    ) -> Result<Option<(FileId, SecurityDescriptor)>, ObjectError> {
        let Some(handle) = self.files.open(path).map_err(failed(path))? else {
            return Ok(None);
        };
        let state = self.files.observe(&handle).map_err(failed(path))?;
        let found = self
            .files
            .observe_descriptor(&handle)
            .map_err(failed(path))?;
        Ok(Some((state.id, found)))
    }
}

fn not_kept(path: &WindowsPath) -> ObjectFault {
    let path = path.clone();
    ObjectFault::Object(ObjectError::NotKept { path })
}

/// Whether a directory that gets its descriptor for this is walked afterwards: the planner's own rule.
const fn leads_to_a_walk(purpose: Purpose) -> bool {
    match purpose {
        Purpose::Root
        | Purpose::Protected
        | Purpose::Secret
        | Purpose::DeniedRead
        | Purpose::Tool
        | Purpose::WorldWritable => true,
        Purpose::Between | Purpose::Ancestor | Purpose::Profile | Purpose::Walked => false,
    }
}
