//! Names that are watched for being made: absent protected names, and what makes a directory a git repository.
//!
//! It matches paths and nothing else. Invariant: what is reported is a guarded name itself, or an entry that may
//! make its directory a repository.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ringfence_plan::plan::Guard;
use ringfence_policy::document::NewRepositories;

/// What a bare repository's directory is known by, and where its hooks are.
const REPOSITORY_ENTRIES: [&[u8]; 4] = [b".git", b"HEAD", b"config", b"hooks"];

/// The watched names, ready for look-up.
#[derive(Debug)]
pub(super) struct Watch {
    absent: HashSet<Vec<u8>>,
    roots: Vec<PathBuf>,
    committed: Vec<PathBuf>,
}

impl Watch {
    pub(super) fn new(guard: &Guard) -> Self {
        let paths = |paths: &[ringfence_policy::AbsolutePath]| {
            paths.iter().map(|path| path.as_path().to_owned()).collect()
        };
        let roots = match guard.new_repositories {
            NewRepositories::Clean | NewRepositories::Quarantine => paths(&guard.roots),
            NewRepositories::Allow => Vec::new(),
        };
        Self {
            absent: guard
                .absent
                .iter()
                .map(|name| name.path.as_path().as_os_str().as_bytes().to_vec())
                .collect(),
            roots,
            committed: paths(&guard.commit_directories),
        }
    }

    /// The absent protected name that `path` is, or lies below.
    pub(super) fn absent_name(&self, path: &Path) -> Option<PathBuf> {
        let bytes = path.as_os_str().as_bytes();
        let ends = bytes
            .iter()
            .enumerate()
            .filter(|(at, byte)| **byte == b'/' && *at > 0)
            .map(|(at, _)| at)
            .chain([bytes.len()]);
        ends.filter_map(|end| bytes.get(..end))
            .find(|prefix| self.absent.contains(*prefix))
            .map(|prefix| PathBuf::from(std::ffi::OsStr::from_bytes(prefix)))
    }

    /// Whether making `path` may make a repository, or give one a hook.
    pub(super) fn may_make_repository(&self, path: &Path) -> bool {
        fn named(path: &Path) -> Option<&[u8]> {
            path.file_name().map(OsStrExt::as_bytes)
        }
        // Directories can be made to fold case.
        let entry = named(path).is_some_and(|name| {
            REPOSITORY_ENTRIES
                .iter()
                .any(|entry| name.eq_ignore_ascii_case(entry))
        });
        let hook = path
            .parent()
            .and_then(named)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"hooks"));
        (entry || hook) && self.may_hold_repositories(path)
    }

    /// Whether `path` lies where a new repository matters.
    pub(super) fn may_hold_repositories(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| path.starts_with(root))
            && !self
                .committed
                .iter()
                .any(|directory| path.starts_with(directory))
    }
}
