//! A simulated NTFS: names, links, streams, reparse points and descriptors, and what each operation asks for.
//!
//! It answers one question: what can a process with this token do to this tree, and what is the tree afterwards? It
//! holds no clock, no share modes and no locks; an open file never keeps another from acting, which only grants an
//! attacker more. Where the documents leave a rule open it says `[unsettled]` and takes the attacker's side.
//!
//! Sources: [MS-FSA] (File System Algorithms) by section at each operation; [MS-FSCC] 2.1.5 (names); learn.microsoft.com
//! "Naming Files, Paths, and Namespaces", "Rename and Hard Link Processing", "Set File Information Processing".
//!
//! Invariant: an operation that answers with an error has changed nothing.

mod change;
mod name;
mod node;
mod open;
mod path;
mod security;
mod tree;

#[cfg(test)]
mod tests;

pub use name::{FileName, NameError, fold};
pub use node::{CaseRule, Entry, Kind, Node, Reparse, ReparseKind};
pub use open::{Caller, FinalReparse, Handle, NewKind, Replace};
pub use path::{NtPath, PathError, Stream, VolumeName, parse};
pub use tree::{FileSystem, LinkRule, NodeId, Place, ShortNames, Volume, VolumeId};

/// Why an operation was refused; each is the `NTSTATUS` of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Status {
    /// `STATUS_ACCESS_DENIED`
    #[error("access is denied")]
    AccessDenied,
    /// `STATUS_OBJECT_NAME_NOT_FOUND`
    #[error("there is no object of that name")]
    ObjectNameNotFound,
    /// `STATUS_OBJECT_PATH_NOT_FOUND`
    #[error("a directory on the way does not exist")]
    ObjectPathNotFound,
    /// `STATUS_OBJECT_NAME_COLLISION`
    #[error("there is an object of that name already")]
    ObjectNameCollision,
    /// `STATUS_OBJECT_NAME_INVALID`
    #[error("that is no name of an object")]
    ObjectNameInvalid,
    /// `STATUS_NOT_A_DIRECTORY`
    #[error("it is no directory")]
    NotADirectory,
    /// `STATUS_FILE_IS_A_DIRECTORY`
    #[error("it is a directory")]
    FileIsADirectory,
    /// `STATUS_DIRECTORY_NOT_EMPTY`
    #[error("the directory is not empty")]
    DirectoryNotEmpty,
    /// `STATUS_NOT_SAME_DEVICE`
    #[error("it is on another volume")]
    NotSameDevice,
    /// `STATUS_TOO_MANY_LINKS`
    #[error("it has 1024 names already")]
    TooManyLinks,
    /// `STATUS_INVALID_PARAMETER`
    #[error("that can't be asked of it")]
    InvalidParameter,
    /// `STATUS_INVALID_OWNER`
    #[error("the caller can't make that SID an owner")]
    InvalidOwner,
    /// `STATUS_REPARSE_POINT_NOT_RESOLVED`
    #[error("a reparse point leads nowhere, or in a circle")]
    ReparsePointNotResolved,
    /// `STATUS_NOT_A_REPARSE_POINT`
    #[error("it is no reparse point")]
    NotAReparsePoint,
    /// `STATUS_CANNOT_DELETE`
    #[error("it can't be deleted")]
    CannotDelete,
    /// `STATUS_INVALID_HANDLE`: the object is gone.
    #[error("the handle's object is gone")]
    InvalidHandle,
}
