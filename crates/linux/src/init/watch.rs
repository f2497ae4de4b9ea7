//! Mounts that fall off: when someone outside renames over a name that a mount of the session lies on, or deletes it,
//! the kernel drops the mount in every namespace. Editors, `git config` and `git checkout` do that all the time.
//!
//! The parents of all such names are watched; what fell off is set again on what stands there now.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;

use ringfence_plan::step::Placeholder;
use ringfence_plan::{Plan, Step};
use ringfence_policy::AbsolutePath;

use super::mounts;

/// Why the watch could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    /// inotify_init1(2) failed.
    #[error("make an inotify descriptor")]
    Create(#[source] Errno),
    /// inotify_add_watch(2) failed.
    #[error("watch {directory}")]
    Add {
        /// Which directory.
        directory: AbsolutePath,
        /// The kernel's answer.
        #[source]
        errno: Errno,
    },
}

impl WatchError {
    /// The kernel's error number.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::Create(errno) | Self::Add { errno, .. } => errno.raw_os_error(),
        }
    }
}

/// How a name is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cover {
    Protect,
    Hide(Placeholder),
    Pin,
}

/// A covered name that changed on the host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Change {
    /// The name.
    pub(crate) path: AbsolutePath,
}

/// Watches the parents of every covered name.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: OwnedFd,
    parents: HashMap<i32, AbsolutePath>,
    covers: HashMap<AbsolutePath, Cover>,
}

impl Watch {
    /// Starts to watch; `None` when the plan covers nothing.
    pub(crate) fn start(plan: &Plan) -> Result<Option<Self>, WatchError> {
        let mut covers = HashMap::new();
        for step in &plan.steps {
            match step {
                Step::Protect { path } => drop(covers.insert(path.clone(), Cover::Protect)),
                Step::Pin { path } => drop(covers.insert(path.clone(), Cover::Pin)),
                Step::Hide { path, placeholder } => {
                    drop(covers.insert(path.clone(), Cover::Hide(*placeholder)))
                }
                _ => {}
            }
        }
        // Names that the session can't make appear are not watched for: only what exists is covered.
        if covers.is_empty() {
            return Ok(None);
        }
        let inotify =
            init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(WatchError::Create)?;
        let mut watch = Self {
            inotify,
            parents: HashMap::new(),
            covers,
        };
        let directories: HashSet<AbsolutePath> = watch
            .covers
            .keys()
            .filter_map(AbsolutePath::parent)
            .collect();
        for directory in directories {
            watch.add(directory)?;
        }
        Ok(Some(watch))
    }

    fn add(&mut self, directory: AbsolutePath) -> Result<(), WatchError> {
        let events = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::ONLYDIR;
        match add_watch(&self.inotify, directory.as_path(), events) {
            Ok(descriptor) => {
                self.parents.insert(descriptor, directory);
                Ok(())
            }
            // Behind a placeholder of ours: nobody inside reaches it, and what it covers stays covered by the outer one.
            Err(Errno::ACCESS | Errno::NOENT) => Ok(()),
            Err(errno) => Err(WatchError::Add { directory, errno }),
        }
    }

    /// The covered names that changed since the last call.
    pub(crate) fn changes(&mut self) -> Vec<Change> {
        let mut found = HashSet::new();
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            let (Some(parent), Some(name)) = (self.parents.get(&event.wd()), event.file_name())
            else {
                continue;
            };
            let name = OsString::from(std::ffi::OsStr::from_bytes(name.to_bytes()));
            if let Ok(path) = parent.join(name)
                && self.covers.contains_key(&path)
            {
                found.insert(Change { path });
            }
        }
        found.into_iter().collect()
    }

    /// Covers the name again; true when it is covered or nothing stands there.
    pub(crate) fn restore(&self, change: &Change) -> bool {
        let Some(cover) = self.covers.get(&change.path) else {
            return true;
        };
        let result = match cover {
            Cover::Protect => mounts::protect(&change.path),
            Cover::Pin => mounts::pin(&change.path),
            Cover::Hide(placeholder) => mounts::hide_again(&change.path, *placeholder),
        };
        match result {
            Ok(()) => true,
            Err(error) => error.errno == Errno::NOENT,
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
