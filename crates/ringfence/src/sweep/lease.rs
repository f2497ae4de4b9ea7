//! The record of a session that can still leave something behind: what its guard knows, kept for whoever sweeps after
//! it when its harness is killed.
//!
//! The file is locked by the harness and its runner together, and the kernel gives the lock back when the last of them
//! is gone: that is the proof that a session is dead. Its time of change is when the runner saw the last process end,
//! and 1970 until then. It is not flushed: what it is for, a killed process, loses nothing that was written.
//! Invariant: the record of a session stands before its first command starts.

use std::fs::{DirBuilder, File, TryLockError};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ringfence_audit::SessionId;
use ringfence_plan::plan::Guard;
use ringfence_policy::document::NewRepositories;
use ringfence_policy::{AbsolutePath, FilesystemRules};
use serde::{Deserialize, Serialize};

use super::Repositories;
use crate::clock;
use crate::state::StateDirectory;
use crate::state::file::{StateFile, StateFileError, create_private};

/// Ends the name of a record that is being written.
const UNFINISHED: &str = ".new";
/// How often a name is tried that a sweep has just taken away again.
const ATTEMPTS: usize = 16;

/// What a session's guard must take away, and all it must know for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(super) session: SessionId,
    /// The harness's process id.
    pub(super) harness: u32,
    pub(super) workspace: AbsolutePath,
    pub(super) guard: Guard,
    pub(super) rules: FilesystemRules,
    pub(super) repositories: Repositories,
    /// Repositories that were there before, where new ones are moved away whole.
    pub(super) known_repositories: Vec<AbsolutePath>,
    /// Commands in rebases that were open before the session.
    pub(super) known_commands: Vec<(AbsolutePath, Vec<u8>)>,
}

/// Whether a session under `guard` can leave something that must be taken away.
pub(crate) fn has_orders(guard: &Guard, repositories: Repositories) -> bool {
    let looks_for_repositories = repositories == Repositories::AsPlanned
        && guard.new_repositories != NewRepositories::Allow
        && !guard.roots.is_empty();
    !guard.absent.is_empty() || !guard.commit_directories.is_empty() || looks_for_repositories
}

/// Why a session's record could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The directory of the records could not be made.
    #[error("the directory `{path}` could not be made")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The record could not be made.
    #[error("the session's record `{path}` could not be made")]
    Make {
        /// The record.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// It could not be locked.
    #[error("the session's record `{path}` could not be locked")]
    Lock {
        /// The record.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// It could not be written.
    #[error("the session's record could not be written")]
    Write(#[source] StateFileError),
}

impl LeaseError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Directory { path, .. } | Self::Make { path, .. } | Self::Lock { path, .. } => {
                format!("check the disk and the permissions of {}", path.display())
            }
            Self::Write(error) => error.hint(),
        }
    }
}

/// A live session's record. Dropped, it is removed: the session has swept up after itself.
#[derive(Debug)]
pub(crate) struct Lease {
    file: File,
    unfinished: PathBuf,
    path: PathBuf,
}

impl Lease {
    /// Makes and locks an empty record; there is none where no session runs.
    pub(crate) fn take(
        state: &StateDirectory,
        session: &SessionId,
    ) -> Result<Option<Self>, LeaseError> {
        let directory = directory(state);
        let mut attempts = 0;
        loop {
            let name = new_name(session);
            let path = directory.join(&name);
            let unfinished = directory.join(name + UNFINISHED);
            attempts += 1;
            let file = match create_private(&unfinished) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempts == 1 => {
                    make(&directory)?;
                    continue;
                }
                Err(source) => return Err(LeaseError::Make { path, source }),
            };
            let locked = match file.try_lock() {
                Ok(()) => file.metadata().map(|metadata| metadata.nlink() > 0),
                Err(TryLockError::WouldBlock) => Ok(false),
                Err(TryLockError::Error(error)) => Err(error),
            };
            match locked {
                Ok(true) => {
                    return Ok(Some(Self {
                        file,
                        unfinished,
                        path,
                    }));
                }
                // A sweep came between making and locking, and took it for a dead session's.
                Ok(false) if attempts < ATTEMPTS => {}
                Ok(false) => {
                    let source = io::ErrorKind::WouldBlock.into();
                    return Err(LeaseError::Lock { path, source });
                }
                Err(source) => return Err(LeaseError::Lock { path, source }),
            }
        }
    }

    /// What the runner keeps open with us.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "there is none where no session runs"
    )]
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }

    /// Writes the record and gives it its name.
    pub(crate) fn place(&mut self, orders: &Orders) -> Result<(), LeaseError> {
        record(&self.path)
            .place(&mut self.file, &self.unfinished, orders)
            .map_err(LeaseError::Write)?;
        let path = || self.path.clone();
        self.file
            .set_modified(SystemTime::UNIX_EPOCH)
            .map_err(|source| LeaseError::Make {
                path: path(),
                source,
            })
    }
}

impl Drop for Lease {
    /// What can't be removed is found later as a dead session's, and that there is nothing to sweep.
    fn drop(&mut self) {
        if std::fs::remove_file(&self.path).is_err() {
            let _ = std::fs::remove_file(&self.unfinished);
        }
    }
}

/// The directory of all records.
pub(super) fn directory(state: &StateDirectory) -> PathBuf {
    state.path().as_path().join("sessions")
}

/// The record at `path`.
pub(super) fn record(path: &Path) -> StateFile<Orders> {
    StateFile::new(path.to_owned(), "session", 1)
}

/// What a name in [`directory`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A record.
    Record,
    /// A record that is being written: no command has started.
    Unfinished,
    /// Nothing of ours.
    Foreign,
}

pub(super) fn named(name: &str) -> Named {
    let (stem, kind) = match name.strip_suffix(UNFINISHED) {
        Some(stem) => (stem, Named::Unfinished),
        None => (name, Named::Record),
    };
    if stem.len() == 16 && stem.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        kind
    } else {
        Named::Foreign
    }
}

/// A name that nobody else uses. A caller may have named its session as it liked: no part of a path is made of that.
fn new_name(session: &SessionId) -> String {
    let seed = (session.to_string(), clock::new_session_id().to_string());
    format!("{:016x}", RandomState::new().hash_one(seed))
}

fn make(directory: &Path) -> Result<(), LeaseError> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(LeaseError::Directory {
                path: directory.to_owned(),
                source,
            })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
