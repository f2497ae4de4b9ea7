//! What a session made under a guarded name, moved out of the workspace, recorded, restorable.
//!
//! Invariant: nothing in the hostile tree is followed, opened for reading as a special file, or executed.

use std::fmt;
use std::path::PathBuf;

use ringfence_audit::SessionId;
use ringfence_policy::{AbsolutePath, ExitCode};
use serde::{Deserialize, Serialize};

use crate::state::StateDirectory;

/// The name of a quarantined object, as `quarantine restore` takes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryId(pub String);

impl fmt::Display for EntryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why something was moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The session made it under a protected name that did not exist.
    ProtectedName {
        /// The name's words in the policy.
        origin: String,
    },
    /// The session made a repository, and the policy says `new_repositories = "quarantine"`.
    NewRepository,
    /// It would run on the host: a hook, or executable configuration.
    RunsOnHost {
        /// What it is, in a few words.
        what: String,
    },
    /// A rebase that was left open and holds commands.
    OpenRebase,
}

/// What kind of object it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// A regular file.
    File,
    /// A directory and what is in it.
    Directory,
    /// A symbolic link, kept as a link.
    Symlink,
    /// A FIFO, a socket or a device.
    Special,
}

/// Where the object is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In the state directory.
    Stored,
    /// Beside its origin under a harmless name: it lies on another file system and is too large to copy.
    Aside(AbsolutePath),
}

/// One quarantined object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name here.
    pub id: EntryId,
    /// Where it was.
    pub origin: AbsolutePath,
    /// The writable root it was in.
    pub root: AbsolutePath,
    /// When it was moved, RFC 3339.
    pub time: String,
    /// The session that made it.
    pub session: SessionId,
    /// Why it was moved.
    pub reason: Reason,
    /// What kind of object it is.
    pub kind: ObjectKind,
    /// Where it is kept.
    pub place: Place,
}

/// What is to be moved, and on whose account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taking<'a> {
    /// The writable root; opened first, and nothing outside it is touched.
    pub root: &'a AbsolutePath,
    /// What to move; below `root`.
    pub path: &'a AbsolutePath,
    /// The session that made it.
    pub session: &'a SessionId,
    /// Why.
    pub reason: Reason,
}

/// The quarantine in the state directory.
#[derive(Debug)]
pub struct Quarantine {
    state: StateDirectory,
}

/// Why quarantine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// There is no such entry.
    #[error("there is no quarantined object `{id}`")]
    Unknown {
        /// The name that was given.
        id: String,
    },
    /// Something else is there now.
    #[error("`{path}` exists; it is not overwritten")]
    Occupied {
        /// The origin.
        path: PathBuf,
    },
}

impl QuarantineError {
    /// The exit status that goes with it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::Internal
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        String::new()
    }
}

impl Quarantine {
    /// The quarantine in `state`; nothing is made or read yet.
    #[must_use]
    pub fn open(state: &StateDirectory) -> Self {
        Self {
            state: state.clone(),
        }
    }

    /// Moves an object out of the workspace; `None` when it is not there (any more).
    pub fn take(&self, taking: &Taking<'_>) -> Result<Option<Entry>, QuarantineError> {
        let _ = (taking, &self.state);
        unimplemented!("soon")
    }

    /// All entries, oldest first.
    pub fn list(&self) -> Result<Vec<Entry>, QuarantineError> {
        unimplemented!("soon")
    }

    /// Puts an object back where it was; refuses to overwrite.
    pub fn restore(&self, id: &EntryId) -> Result<Entry, QuarantineError> {
        let _ = id;
        unimplemented!("soon")
    }

    /// Removes an object for good.
    pub fn drop(&self, id: &EntryId) -> Result<Entry, QuarantineError> {
        let _ = id;
        unimplemented!("soon")
    }
}
