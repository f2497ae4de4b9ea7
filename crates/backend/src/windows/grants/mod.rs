//! The person's steps: descriptors of their own objects, with their own rights, each recorded before it is set.
//!
//! It chooses no descriptor: steps carry theirs, and below a directory the planner's rule is asked, object by object.
//! Invariant: an object is written only after its id and its descriptor were seen through the very handle, and the
//! descriptor that it had is in the ledger by then.

mod apply;
mod undo;
mod walk;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use ringfence_nt::{SecurityDescriptor, Sid};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::sids::{SidKind, kind_of};
use ringfence_plan::windows::step::{FileId, Object, Purpose};
use ringfence_plan::windows::walk::Visited;

use crate::call::CallFailure;
use crate::ledger::{Entry, Ledger, LedgerError, LedgerStore, Sequence, Undone};

use super::books::{PersonBook, PersonIntent};
use super::files::Files;

pub(super) use walk::child_path;
pub use walk::{Refusal, WalkReport};

/// What objects below a directory become. Pure, and asked again it changes nothing.
pub trait ObjectRule {
    /// What the object at `path` becomes, on a walk of that purpose and below a parent with the descriptor `parent`;
    /// `None` where it stays.
    fn next(
        &self,
        purpose: Purpose,
        path: &WindowsPath,
        parent: &SecurityDescriptor,
        object: &Visited<'_>,
    ) -> Option<SecurityDescriptor>;

    /// The purpose of an object that a step of its own is for: it is left as it is, and that purpose holds below it.
    fn held(&self, object: FileId) -> Option<Purpose>;

    /// Why what has this name is closed to the accounts by what is held above it, if it is.
    fn closed_by(&self, _name: &WindowsPath) -> Option<Purpose> {
        None
    }
}

/// How far a walk has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Objects that were looked at.
    pub visited: u64,
    /// Objects that were changed.
    pub changed: u64,
}

/// What a walk asks while it goes.
pub struct Walking<'a> {
    /// What each object becomes.
    pub rule: &'a dyn ObjectRule,
    /// Told of progress from time to time; `Break` stops the walk where it is.
    pub progress: &'a mut dyn FnMut(Progress) -> ControlFlow<()>,
}

/// Why a step of the person's was not done or not undone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// A call failed.
    #[error("a call to the system failed for {path}")]
    Call {
        /// Where.
        path: WindowsPath,
        /// What.
        #[source]
        source: CallFailure,
    },
    /// There is nothing.
    #[error("{path} is gone; run the command again")]
    Gone {
        /// Where.
        path: WindowsPath,
    },
    /// Another object has its place.
    #[error("{path} is not the object that the plan was made for; run the command again")]
    Replaced {
        /// Where.
        path: WindowsPath,
    },
    /// Its descriptor changed since the plan was made.
    #[error("the access rights of {path} changed while the plan was made; run the command again")]
    Changed {
        /// Where.
        path: WindowsPath,
    },
    /// The system said yes and did nothing, or something else.
    #[error("the access rights of {path} are not as they were set, although the system said yes")]
    NotKept {
        /// Where.
        path: WindowsPath,
    },
    /// The plan was made before the accounts.
    #[error("the plan for {path} was made before the accounts were; run the command again")]
    Placeholder {
        /// Where.
        path: WindowsPath,
    },
    /// A directory that we did not make stands where a home shall be.
    #[error(
        "{path} is there, and Ringfence did not make it; look at it, and remove it if it is nobody's"
    )]
    Foreign {
        /// Where.
        path: WindowsPath,
    },
    /// The object lies below no directory that has been walked.
    #[error("{path} lies in no workspace that is set up; run a command there first")]
    NotBelowRoot {
        /// Where.
        path: WindowsPath,
    },
    /// The caller stopped the walk.
    #[error("the walk was stopped; what it had done is recorded, and the next command goes on")]
    Stopped,
}

/// Why the person's steps were not done.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The ledger can't be used.
    #[error("your ledger can't be used")]
    Ledger(#[source] LedgerError),
    /// An uninstall was interrupted.
    #[error(
        "an uninstall was interrupted: finish it with `ringfence setup uninstall`, then run the command again"
    )]
    UninstallUnfinished,
    /// A step failed.
    #[error("the access rights could not be set; what was not undone: {}", paths(.left))]
    Step {
        /// Why.
        #[source]
        cause: ObjectError,
        /// What of it could not be undone.
        left: Vec<ObjectFailure>,
    },
}

fn paths(failures: &[ObjectFailure]) -> String {
    if failures.is_empty() {
        return "nothing".to_owned();
    }
    let paths: Vec<&str> = failures.iter().map(|one| one.object.as_str()).collect();
    paths.join(", ")
}

/// An object that could not be put back.
#[derive(Debug)]
pub struct ObjectFailure {
    /// Which.
    pub object: String,
    /// Why.
    pub cause: ObjectFault,
}

/// Why an object could not be put back, or a step not be done.
#[derive(Debug, thiserror::Error)]
pub enum ObjectFault {
    /// The object.
    #[error("the object could not be changed")]
    Object(#[source] ObjectError),
    /// The ledger.
    #[error("the ledger could not be written")]
    Ledger(#[source] LedgerError),
}

/// What was done with the person's rights.
#[derive(Debug, Default)]
pub struct Granted {
    /// Objects of steps that got another descriptor.
    pub changed: u64,
    /// What the walks saw.
    pub walks: Vec<WalkReport>,
}

/// What was taken back with the person's rights.
#[derive(Debug, Default)]
pub struct Revoked {
    /// The entries that are closed, by how they ended.
    pub undone: Vec<(String, Undone)>,
    /// Objects made meanwhile that had entries of ours, and have none any more.
    pub swept: u64,
    /// What could not be undone; its entries are open.
    pub failed: Vec<ObjectFailure>,
}

/// A person's files and ledger, both held.
#[derive(Debug)]
pub struct Grants<'a, S: LedgerStore, F: Files> {
    /// Whose.
    pub person: Sid,
    /// Every SID that Ringfence has made for this person.
    pub ours: &'a BTreeSet<Sid>,
    /// Their ledger.
    pub ledger: &'a mut Ledger<PersonBook, S>,
    /// Their files.
    pub files: &'a mut F,
}

type PersonEntry = Entry<PersonBook>;

impl<S: LedgerStore, F: Files> Grants<'_, S, F> {
    /// The last entry that gave an object a descriptor.
    fn held(&self, object: &Object) -> Option<Sequence> {
        self.ledger
            .entries()
            .rev()
            .find(|(_, entry)| {
                matches!(&entry.intent, PersonIntent::SetDacl { object: other, .. }
                    if other.id == object.id)
            })
            .map(|(number, _)| number)
    }

    /// Opens the object of a step, and makes sure that it is that one.
    fn open(&mut self, object: &Object) -> Result<F::Handle, ObjectError> {
        let path = &object.path;
        let handle = self.files.open(path).map_err(failed(path))?;
        let handle = handle.ok_or_else(|| ObjectError::Gone { path: path.clone() })?;
        let state = self.files.observe(&handle).map_err(failed(path))?;
        if state.id == object.id && state.kind == object.kind {
            return Ok(handle);
        }
        Err(ObjectError::Replaced { path: path.clone() })
    }

    /// Sets a descriptor, and reads it back.
    fn write(
        &mut self,
        path: &WindowsPath,
        handle: &F::Handle,
        descriptor: &SecurityDescriptor,
    ) -> Result<(), ObjectError> {
        self.files
            .set_dacl(handle, descriptor)
            .map_err(failed(path))?;
        let found = self
            .files
            .observe_descriptor(handle)
            .map_err(failed(path))?;
        if super::merge::same(&found, descriptor) {
            return Ok(());
        }
        Err(ObjectError::NotKept { path: path.clone() })
    }
}

/// A descriptor that names an account which is still to be made is never written.
fn refuse_placeholders(
    path: &WindowsPath,
    descriptor: &SecurityDescriptor,
) -> Result<(), ObjectError> {
    let aces = descriptor.acl().map_or(&[][..], |acl| &acl.aces);
    if aces
        .iter()
        .any(|ace| kind_of(ace.sid) == Some(SidKind::Placeholder))
    {
        return Err(ObjectError::Placeholder { path: path.clone() });
    }
    Ok(())
}

/// Puts the path to a failed call.
fn failed(path: &WindowsPath) -> impl FnOnce(CallFailure) -> ObjectError {
    let path = path.clone();
    |source| ObjectError::Call { path, source }
}
