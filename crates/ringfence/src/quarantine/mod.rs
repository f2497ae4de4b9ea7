//! What a session made under a guarded name, moved out of the workspace, recorded, restorable.
//!
//! Each object has a directory of its own with its record and itself, so that there is no index to lose. The record
//! is written before the object is moved. Invariant: nothing in the hostile tree is followed, opened for reading as a special file, or executed.

use std::fmt;
use std::path::PathBuf;

use ringfence_audit::SessionId;
use ringfence_policy::{AbsolutePath, ExitCode};
use serde::{Deserialize, Serialize};

use crate::state::StateDirectory;
use crate::state::file::StateFileError;

#[cfg(any(target_os = "linux", windows))]
mod naming;
#[cfg(windows)]
mod renaming;
#[cfg(target_os = "linux")]
mod store;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
#[cfg(target_os = "linux")]
pub(crate) mod tree;
#[cfg(not(any(target_os = "linux", windows)))]
mod unsupported;

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

impl Reason {
    /// In a few words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::ProtectedName { origin } => format!("protected name {origin}"),
            Self::NewRepository => "new repository".to_owned(),
            Self::RunsOnHost { what } => format!("would run on the host: {what}"),
            Self::OpenRebase => "open rebase with commands".to_owned(),
        }
    }
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

impl fmt::Display for ObjectKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "link",
            Self::Special => "special file",
        })
    }
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

/// Whether what is kept is what was moved away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// No other name leads to it. On Windows that is not looked at.
    #[default]
    Own,
    /// A file of it has another name and could not be copied: a session may write to it.
    Shared,
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
    /// Whether it is still what was moved away.
    #[serde(default)]
    pub content: Content,
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

/// What is in quarantine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// All objects that can be restored, oldest first.
    pub entries: Vec<Entry>,
    /// Objects whose record can't be read, and why: they can be dropped, and looked at in the state directory.
    pub unrecorded: Vec<(EntryId, String)>,
}

/// The quarantine in the state directory.
#[derive(Clone, Debug)]
pub struct Quarantine {
    directory: PathBuf,
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
    /// The directory that held the object is gone.
    #[error("the directory that held `{path}` is gone")]
    NoParent {
        /// The origin.
        path: PathBuf,
    },
    /// A file of it has another name, and was too large to copy: a session may have written to it meanwhile.
    #[error(
        "`{object}` may have been changed since it was quarantined: it, or a file in it, has another name"
    )]
    Shared {
        /// The entry's name.
        id: String,
        /// Where the object is kept.
        object: PathBuf,
    },
    /// The quarantine's own directory can't be used.
    #[error("the quarantine directory `{path}` can't be used")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A record could not be read or written.
    #[error("the record of a quarantined object can't be used")]
    Record(#[source] StateFileError),
    /// An object could not be moved, copied or removed.
    #[error("`{path}` could not be {action}")]
    Object {
        /// Its origin.
        path: PathBuf,
        /// `quarantined`, `restored` or `dropped`.
        action: &'static str,
        /// What failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl QuarantineError {
    /// The exit status that goes with it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            // What was asked for can't be done as things stand; nothing of ours has failed.
            Self::Unknown { .. }
            | Self::Occupied { .. }
            | Self::NoParent { .. }
            | Self::Shared { .. } => ExitCode::Usage,
            Self::Directory { .. } | Self::Record(_) | Self::Object { .. } => ExitCode::Internal,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown { .. } => "ringfence quarantine list".to_owned(),
            Self::Occupied { path } => format!("move {} away first", path.display()),
            Self::NoParent { path } => match path.parent() {
                Some(parent) => format!("mkdir -p {}", parent.display()),
                None => String::new(),
            },
            Self::Shared { id, object } => format!(
                "look at {0} and move it yourself, or: ringfence quarantine drop {id}",
                object.display()
            ),
            Self::Directory { path, .. } => format!("check the permissions of {}", path.display()),
            Self::Record(error) => error.hint(),
            Self::Object { path, .. } => format!(
                "check the permissions of {} and its directory",
                path.display()
            ),
        }
    }
}

impl Quarantine {
    /// The quarantine in `state`; nothing is made or read yet.
    #[must_use]
    pub fn open(state: &StateDirectory) -> Self {
        Self {
            directory: state.path().as_path().join("quarantine"),
        }
    }

    /// The directory it is in.
    #[must_use]
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }
}
