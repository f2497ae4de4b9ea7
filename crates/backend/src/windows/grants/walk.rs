//! The walk: one object at a time, one handle each, no reparse point entered, nothing propagated by the system.
//!
//! Changes are recorded in batches: many intents, one wait for the disk, then the writes. A walk that was cut short is
//! walked again: what is done is only looked at. Invariant: no more than a batch of objects is held open.
//!
//! # Security
//! A target has made some of the objects, their names, links and descriptors. An object with a name outside is told to
//! the rule as such; one that can't be opened or written gets no access from us, and is named in the report.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::rc::Rc;

use ringfence_nt::SecurityDescriptor;
use ringfence_nt::fs::FileName;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{FileId, Object, ObjectKind, Purpose};
use ringfence_plan::windows::walk::{Names, Visited};

use crate::call::CallFailure;
use crate::ledger::{LedgerStore, Undone};
use crate::windows::books::{PersonIntent, PersonReceipt};
use crate::windows::files::{Files, ObjectState, Redirection};

use super::{
    GrantError, Grants, ObjectError, ObjectFault, ObjectRule, Progress, Walking, failed,
    refuse_placeholders,
};

/// How many changes are recorded with one wait for the disk.
const BATCH: usize = 256;

/// An object that could not be looked at or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where; the directory, where the name can't be written as a path.
    pub path: WindowsPath,
    /// Why.
    pub cause: CallFailure,
}

/// What a walk saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalkReport {
    /// How far it came.
    pub progress: Progress,
    /// Files that have a name outside too: they may be read, not written.
    pub linked_outside: Vec<WindowsPath>,
    /// Reparse points, which were not entered.
    pub redirections: Vec<WindowsPath>,
    /// Objects that got nothing from us, because they could not be opened or written.
    pub refused: Vec<Refusal>,
}

/// A directory on the way down.
struct Level<H> {
    handle: Rc<H>,
    path: WindowsPath,
    names: std::vec::IntoIter<FileName>,
    /// Its descriptor as it will be.
    descriptor: Rc<SecurityDescriptor>,
    purpose: Purpose,
}

/// A change that is not recorded yet.
struct Pending<H> {
    handle: Rc<H>,
    object: Object,
    before: SecurityDescriptor,
    after: SecurityDescriptor,
    purpose: Purpose,
}

/// A walk on its way.
struct Walk<H> {
    root: WindowsPath,
    /// Files of several names that were visited.
    seen: BTreeSet<FileId>,
    pending: Vec<Pending<H>>,
    report: WalkReport,
}

impl<H> Walk<H> {
    fn below(root: &WindowsPath) -> Self {
        Self {
            root: root.clone(),
            seen: BTreeSet::new(),
            pending: Vec::new(),
            report: WalkReport::default(),
        }
    }
}

/// An object that was reached.
struct Reached<'a, H> {
    handle: H,
    path: &'a WindowsPath,
    parent: &'a SecurityDescriptor,
    purpose: Purpose,
}

/// Whether a walk with that purpose may leave out an object that it can't write: what it gets there is access, so it
/// gets none. Where denials are what it sets, nothing may be left out.
const fn may_leave_out(purpose: Purpose) -> bool {
    match purpose {
        Purpose::Root | Purpose::Tool | Purpose::Ancestor | Purpose::Between | Purpose::Walked => {
            true
        }
        Purpose::Protected
        | Purpose::Secret
        | Purpose::DeniedRead
        | Purpose::WorldWritable
        | Purpose::Profile => false,
    }
}

impl<S: LedgerStore, F: Files> Grants<'_, S, F> {
    /// Walks what lies below an open directory.
    pub(super) fn walk(
        &mut self,
        root: &Object,
        handle: &F::Handle,
        purpose: Purpose,
        walking: &mut Walking<'_>,
    ) -> Result<WalkReport, ObjectFault> {
        let mut walk = Walk::below(&root.path);
        let look = |grants: &mut Self| {
            let descriptor = grants.files.observe_descriptor(handle)?;
            let names = grants.files.list(handle)?;
            let names = names.into_iter();
            // The root's own handle is the caller's, so it is opened again for the way down.
            let again = grants.files.open_id(root.id)?;
            Ok((Rc::new(descriptor), names, again))
        };
        let (descriptor, names, again) = look(self)
            .map_err(failed(&root.path))
            .map_err(ObjectFault::Object)?;
        let path = root.path.clone();
        let handle = again.ok_or(ObjectFault::Object(ObjectError::Gone { path }))?;
        let top = Level {
            handle: Rc::new(handle),
            path: root.path.clone(),
            names,
            descriptor,
            purpose,
        };
        self.descend(top, &mut walk, walking)?;
        Ok(walk.report)
    }

    /// Brings one object, and what lies below it, in line with the directory that it was moved into.
    ///
    /// # Errors
    /// [`GrantError`]; [`ObjectError::NotBelowRoot`] where nothing above it is set up.
    pub fn repair(
        &mut self,
        path: &WindowsPath,
        walking: &mut Walking<'_>,
    ) -> Result<WalkReport, GrantError> {
        let report = self
            .repair_object(path, walking)
            .map_err(|fault| match fault {
                ObjectFault::Ledger(error) => GrantError::Ledger(error),
                ObjectFault::Object(cause) => GrantError::Step {
                    cause,
                    left: Vec::new(),
                },
            })?;
        if self.ledger.transaction(self.person).is_some() {
            self.ledger.end(self.person).map_err(GrantError::Ledger)?;
        }
        Ok(report)
    }

    fn repair_object(
        &mut self,
        path: &WindowsPath,
        walking: &mut Walking<'_>,
    ) -> Result<WalkReport, ObjectFault> {
        let gone = |path: &WindowsPath| ObjectError::Gone { path: path.clone() };
        let not_below = ObjectError::NotBelowRoot { path: path.clone() };
        let mut walk = Walk::below(path);
        let nearest = self
            .nearest_held(path, walking.rule)
            .map_err(ObjectFault::Object)?;
        let (root, purpose) = nearest.ok_or(ObjectFault::Object(not_below.clone()))?;
        let parent = path.parent().ok_or(ObjectFault::Object(not_below))?;
        walk.root = root;
        let look = |grants: &mut Self| {
            let directory = grants.files.open(&parent).map_err(failed(&parent))?;
            let directory = directory.ok_or_else(|| gone(&parent))?;
            let descriptor = grants
                .files
                .observe_descriptor(&directory)
                .map_err(failed(&parent))?;
            let object = grants.files.open(path).map_err(failed(path))?;
            Ok((descriptor, object.ok_or_else(|| gone(path))?))
        };
        let (descriptor, handle) = look(self).map_err(ObjectFault::Object)?;
        let reached = Reached {
            handle,
            path,
            parent: &descriptor,
            purpose,
        };
        self.begin()?;
        let level = self.visit(reached, &mut walk, walking)?;
        match level {
            Some(level) => self.descend(level, &mut walk, walking)?,
            None => self.commit(&mut walk, walking)?,
        }
        Ok(walk.report)
    }

    /// The nearest directory above `path` that is walked, and its purpose.
    fn nearest_held(
        &mut self,
        path: &WindowsPath,
        rule: &dyn ObjectRule,
    ) -> Result<Option<(WindowsPath, Purpose)>, ObjectError> {
        for above in path.ancestors() {
            let Some(handle) = self.files.open(&above).map_err(failed(&above))? else {
                continue;
            };
            let state = self.files.observe(&handle).map_err(failed(&above))?;
            match rule.held(state.id) {
                // Passed through, not walked.
                Some(Purpose::Ancestor) => return Ok(None),
                // What lies below it is walked as a part of the root.
                Some(Purpose::Between) | None => {}
                Some(purpose) => return Ok(Some((above, purpose))),
            }
        }
        Ok(None)
    }

    fn descend(
        &mut self,
        top: Level<F::Handle>,
        walk: &mut Walk<F::Handle>,
        walking: &mut Walking<'_>,
    ) -> Result<(), ObjectFault> {
        let mut levels = vec![top];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                levels.pop();
                continue;
            };
            let path = child_path(&level.path, &name);
            let opened = match self.files.open_child(&level.handle, &name) {
                Ok(opened) => opened,
                Err(cause) => {
                    leave_out(walk, level.purpose, &path, cause)?;
                    continue;
                }
            };
            // It may have gone since the names were listed.
            let Some(handle) = opened else { continue };
            let parent = Rc::clone(&level.descriptor);
            let reached = Reached {
                handle,
                path: &path,
                parent: &parent,
                purpose: level.purpose,
            };
            levels.extend(self.visit(reached, walk, walking)?);
        }
        self.commit(walk, walking)
    }

    /// Looks at one object, and goes into it if it is a directory.
    fn visit(
        &mut self,
        reached: Reached<'_, F::Handle>,
        walk: &mut Walk<F::Handle>,
        walking: &mut Walking<'_>,
    ) -> Result<Option<Level<F::Handle>>, ObjectFault> {
        let path = reached.path;
        let (state, all, current) = match self.look_at(&reached.handle) {
            Ok(seen) => seen,
            Err(cause) => return leave_out(walk, reached.purpose, path, cause).map(|()| None),
        };
        let (names, closed) = judge(&all, &walk.root, walking.rule);
        // What is closed by one of its names is closed by all, whichever is met first.
        let purpose = closed.unwrap_or(reached.purpose);
        if state.links > 1 && !walk.seen.insert(state.id) {
            return Ok(None);
        }
        walk.report.progress.visited = walk.report.progress.visited.saturating_add(1);
        if names == Names::Outside && closed.is_none() {
            walk.report.linked_outside.push(path.clone());
        }
        let handle = Rc::new(reached.handle);
        // An object with a step of its own has its descriptor from there, and its purpose holds below it.
        let own = walking.rule.held(state.id);
        let next = match own {
            Some(_) => None,
            None => walking.rule.next(
                purpose,
                path,
                reached.parent,
                &Visited {
                    kind: state.kind,
                    names,
                    descriptor: &current,
                },
            ),
        };
        let descriptor = next.clone().unwrap_or_else(|| current.clone());
        if let Some(after) = next {
            refuse_placeholders(path, &after).map_err(ObjectFault::Object)?;
            walk.pending.push(Pending {
                handle: Rc::clone(&handle),
                object: Object {
                    path: path.clone(),
                    id: state.id,
                    kind: state.kind,
                },
                before: current,
                after,
                purpose,
            });
        }
        if walk.pending.len() >= BATCH {
            self.commit(walk, walking)?;
        }
        if state.redirection == Redirection::Reparse {
            walk.report.redirections.push(path.clone());
            return Ok(None);
        }
        if state.kind == ObjectKind::File {
            return Ok(None);
        }
        match self.files.list(&handle) {
            Ok(names) => Ok(Some(Level {
                handle,
                path: path.clone(),
                names: names.into_iter(),
                descriptor: Rc::new(descriptor),
                purpose: own
                    .filter(|own| *own != Purpose::Between)
                    .unwrap_or(purpose),
            })),
            Err(cause) => leave_out(walk, purpose, path, cause).map(|()| None),
        }
    }

    /// What an object is, all its names where it has several, and its descriptor.
    fn look_at(
        &mut self,
        handle: &F::Handle,
    ) -> Result<(ObjectState, Vec<Option<WindowsPath>>, SecurityDescriptor), CallFailure> {
        let state = self.files.observe(handle)?;
        let names = if state.links > 1 {
            self.files.observe_names(handle)?
        } else {
            Vec::new()
        };
        let descriptor = self.files.observe_descriptor(handle)?;
        Ok((state, names, descriptor))
    }

    /// Records what is pending, does it, and asks whether to go on.
    fn commit(
        &mut self,
        walk: &mut Walk<F::Handle>,
        walking: &mut Walking<'_>,
    ) -> Result<(), ObjectFault> {
        let pending = std::mem::take(&mut walk.pending);
        if !pending.is_empty() {
            self.begin()?;
        }
        let mut intents = Vec::with_capacity(pending.len());
        for change in &pending {
            intents.push(PersonIntent::SetDacl {
                object: change.object.clone(),
                purpose: Purpose::Walked,
                before: self.number_of(&change.before)?,
                after: self.number_of(&change.after)?,
            });
        }
        let numbers = if intents.is_empty() {
            Vec::new()
        } else {
            self.ledger
                .intend_all(intents)
                .map_err(ObjectFault::Ledger)?
        };
        for (number, change) in numbers.into_iter().zip(pending) {
            let path = &change.object.path;
            match self.write(path, &change.handle, &change.after) {
                Ok(()) => {
                    self.receive(number, PersonReceipt::Done)?;
                    walk.report.progress.changed = walk.report.progress.changed.saturating_add(1);
                }
                Err(ObjectError::Call { source, .. }) if may_leave_out(change.purpose) => {
                    leave_out(walk, change.purpose, path, source)?;
                    self.ledger
                        .close(number, Undone::NeverDone)
                        .map_err(ObjectFault::Ledger)?;
                }
                Err(error) => return Err(ObjectFault::Object(error)),
            }
        }
        match (walking.progress)(walk.report.progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => {
                self.ledger.flush().map_err(ObjectFault::Ledger)?;
                Err(ObjectFault::Object(ObjectError::Stopped))
            }
        }
    }
}

/// The path of a child. One whose name no path can hold keeps its directory's: the id tells which object is meant.
pub(in crate::windows) fn child_path(directory: &WindowsPath, name: &FileName) -> WindowsPath {
    directory
        .join_observed(name)
        .unwrap_or_else(|_| directory.clone())
}

fn leave_out<H>(
    walk: &mut Walk<H>,
    purpose: Purpose,
    path: &WindowsPath,
    cause: CallFailure,
) -> Result<(), ObjectFault> {
    let path = path.clone();
    if may_leave_out(purpose) {
        walk.report.refused.push(Refusal { path, cause });
        return Ok(());
    }
    Err(ObjectFault::Object(ObjectError::Call {
        path,
        source: cause,
    }))
}

/// Where the names of an object lie, and why it is closed whichever of them is met: one of several names in a place that
/// is closed to the accounts, and another one that is not.
///
/// # Security
/// A command may give a file a further name while its policy lets it, and a later policy protects the first one.
fn judge(
    names: &[Option<WindowsPath>],
    root: &WindowsPath,
    rule: &dyn ObjectRule,
) -> (Names, Option<Purpose>) {
    let is_inside = |name: &WindowsPath| name.starts_with(root);
    let closing: Vec<Option<Purpose>> = names
        .iter()
        .flatten()
        .map(|name| rule.closed_by(name))
        .collect();
    let all_inside = names
        .iter()
        .all(|name| name.as_ref().is_some_and(is_inside));
    match Purpose::of_mixed_names(&closing) {
        Some(purpose) => (Names::Outside, Some(purpose)),
        None if all_inside => (Names::Inside, None),
        None => (Names::Outside, None),
    }
}
