//! What the person's steps ask of a file system: one object at a time, by handle.
//!
//! No call follows a reparse point, and none propagates by itself. Invariant: what is read and written through a
//! handle is the object that the handle was opened for, whatever its path leads to by then.

use ringfence_nt::fs::FileName;
use ringfence_nt::{SecurityDescriptor, Sid};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{FileId, ObjectKind};

use crate::call::CallFailure;

/// Whether an object redirects to another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirection {
    /// It is what it is.
    None,
    /// It is a junction, a symbolic link or another reparse point: it may get a descriptor, it is never entered.
    Reparse,
}

/// What an open object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectState {
    /// Which one.
    pub id: FileId,
    /// Whether it has children.
    pub kind: ObjectKind,
    /// Whether it redirects.
    pub redirection: Redirection,
    /// How many names it has.
    pub links: u32,
}

/// The files of a machine, with somebody's rights.
///
/// # Errors
/// Every method: [`CallFailure`], with the call that failed.
#[expect(
    clippy::missing_errors_doc,
    reason = "one sentence above says it for all"
)]
pub trait Files {
    /// An open object (`NtCreateFile` with `FILE_OPEN_REPARSE_POINT`).
    type Handle;

    /// Opens the object at a path; none where there is nothing. A reparse point on the way is a failure.
    fn open(&mut self, path: &WindowsPath) -> Result<Option<Self::Handle>, CallFailure>;
    /// Opens an object by its id, wherever it lies now (`OpenFileById`).
    fn open_id(&mut self, id: FileId) -> Result<Option<Self::Handle>, CallFailure>;
    /// Opens a child by its name, relative to the directory's handle.
    fn open_child(
        &mut self,
        directory: &Self::Handle,
        name: &FileName,
    ) -> Result<Option<Self::Handle>, CallFailure>;
    /// What the object is.
    fn observe(&mut self, object: &Self::Handle) -> Result<ObjectState, CallFailure>;
    /// The names in a directory.
    fn list(&mut self, directory: &Self::Handle) -> Result<Vec<FileName>, CallFailure>;
    /// Every path of the object; `None` for one that can't be written as a path.
    fn observe_names(
        &mut self,
        object: &Self::Handle,
    ) -> Result<Vec<Option<WindowsPath>>, CallFailure>;
    /// Its owner, group and DACL.
    fn observe_descriptor(
        &mut self,
        object: &Self::Handle,
    ) -> Result<SecurityDescriptor, CallFailure>;
    /// Sets its DACL and whether that is protected, and nothing else (`NtSetSecurityObject`).
    fn set_dacl(
        &mut self,
        object: &Self::Handle,
        descriptor: &SecurityDescriptor,
    ) -> Result<(), CallFailure>;
    /// Sets its owner.
    fn set_owner(&mut self, object: &Self::Handle, owner: Sid) -> Result<(), CallFailure>;
    /// Makes a directory with this descriptor, and the directories above it below our own.
    fn make_directory(
        &mut self,
        path: &WindowsPath,
        descriptor: &SecurityDescriptor,
    ) -> Result<(), CallFailure>;
    /// Removes an open directory and what is in it.
    fn remove_directory(&mut self, directory: &Self::Handle) -> Result<(), CallFailure>;
}
