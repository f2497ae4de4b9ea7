//! What observing asks of a file system: it looks, and changes nothing.
//!
//! Paths are written out component by component by [`super::resolve`], so that no implementation has to follow a
//! reparse point. Invariant: what is told of an object was read through one handle to that object.

use std::collections::BTreeSet;

use ringfence_backend::call::CallFailure;
use ringfence_nt::SecurityDescriptor;
use ringfence_nt::fs::FileName;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::facts::{Case, Elsewhere, Residency};
use ringfence_plan::windows::step::{FileId, ObjectKind};
use serde::{Deserialize, Serialize};

/// A path on no drive of this machine, as the system tells it, with what it is.
pub type Off = (String, Elsewhere);

/// An object, looked at itself: a reparse point is not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it lies: its final path.
    pub place: Result<WindowsPath, Off>,
    /// Which one it is.
    pub id: FileId,
    /// Whether it has children.
    pub kind: ObjectKind,
    /// How many names it has.
    pub links: u32,
    /// Where it leads, if it redirects.
    pub leads: Option<Leads>,
    /// How names in it are told apart.
    pub case: Case,
    /// Whether its data is on this machine.
    pub residency: Residency,
}

/// Where a reparse point that stands for another object leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leads {
    /// To a path: absolute, or seen from the directory that holds the link.
    Path(String),
    /// To another volume, mounted here.
    Volume,
    /// Nobody can tell: a tag that is not known.
    Unknown,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: FileName,
    /// What it is, as the directory tells it.
    pub kind: ListedKind,
}

/// What a directory tells of a name in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedKind {
    /// A directory that is one.
    Directory,
    /// A file.
    File,
    /// It redirects.
    Link,
}

/// A place in the change journal of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalMark {
    /// Which journal: one that was deleted and made again is another.
    pub journal: u64,
    /// The next record's number.
    pub next: i64,
}

/// What has changed of the names below a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Up to where the journal was read.
    pub mark: JournalMark,
    /// Directories below the root in which a name was made, renamed to, linked or made a link.
    pub directories: BTreeSet<WindowsPath>,
    /// Directories below the root that were put where they are with all that they hold.
    pub moved: BTreeSet<WindowsPath>,
}

/// What the journal of a volume tells since a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// There is no journal, or it does not tell all: everything has to be looked at.
    Unknown,
    /// These changes, and no others.
    Changed(Changes),
}

/// A file system, read with the person's own rights.
///
/// # Errors
/// Every method: [`CallFailure`], with the call that failed. What is absent, or what the person may not see, is no
/// failure: it is `None`.
#[expect(
    clippy::missing_errors_doc,
    reason = "one sentence above says it for all"
)]
pub trait Look {
    /// The object at `path` itself.
    fn look(&mut self, path: &WindowsPath) -> Result<Option<Seen>, CallFailure>;
    /// The names in a directory; `None` where it can't be read.
    fn list(&mut self, directory: &WindowsPath) -> Result<Option<Vec<Listed>>, CallFailure>;
    /// A file's content, where it is a file of at most [`MAX_FILE`] bytes that may be read.
    fn read(&mut self, file: &WindowsPath) -> Result<Option<Vec<u8>>, CallFailure>;
    /// The paths of all names of a file; `None` in the list for one that is on no drive.
    fn names(&mut self, file: &WindowsPath) -> Result<Vec<Option<WindowsPath>>, CallFailure>;
    /// Owner, group and DACL; `None` where they may not be read.
    fn descriptor(&mut self, path: &WindowsPath)
    -> Result<Option<SecurityDescriptor>, CallFailure>;
    /// What a name that is no drive path leads to: a share, a device.
    fn elsewhere(&mut self, named: &str) -> Result<Option<Off>, CallFailure>;
    /// Where the change journal of the volume of `root` is now; `None` where there is none to rely on.
    fn mark(&mut self, _root: &WindowsPath) -> Option<JournalMark> {
        None
    }
    /// What has changed below `root` since `mark`.
    fn changed_since(&mut self, _root: &WindowsPath, _mark: JournalMark) -> Since {
        Since::Unknown
    }
}

/// The longest file of a person's or a repository's configuration that is read, in bytes.
pub const MAX_FILE: usize = 4 << 20;
