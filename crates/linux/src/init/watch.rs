//! Mounts that fall off: when someone outside renames over a name that a mount of the session lies on, or deletes it,
//! the kernel drops the mount in every namespace. Editors, `git config` and `git checkout` do that all the time.
//!
//! The parents of all such names are watched; what fell off is set again on what stands there now.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::Errno;

use ringfence_plan::step::{MountAccess, MountPoint, Placeholder};
use ringfence_plan::{Plan, Step};
use ringfence_policy::AbsolutePath;

use super::mounts::{self, Hold, Spot};

/// Why the watch could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    /// `inotify_init1(2)` failed.
    #[error("make an inotify descriptor")]
    Create(#[source] Errno),
    /// `inotify_add_watch(2)` failed.
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
    ///
    /// A limit on all watches of the user is told as `EUSERS`: what inotify(7) says for it, `EMFILE` and `ENOSPC`, means
    /// this process's descriptors and a full disk everywhere else.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::Create(Errno::MFILE) if !descriptors_are_used_up() => Errno::USERS,
            Self::Add {
                errno: Errno::NOSPC,
                ..
            } => Errno::USERS,
            Self::Create(errno) | Self::Add { errno, .. } => *errno,
        }
        .raw_os_error()
    }
}

/// Whether this process can't make any descriptor.
fn descriptors_are_used_up() -> bool {
    eventfd(0, EventfdFlags::CLOEXEC).is_err_and(|errno| errno == Errno::MFILE)
}

/// How a name is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cover {
    Held(Hold),
    Hide(Placeholder),
}

/// Something that changed on the host at a name that matters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Change {
    /// A covered name was renamed, replaced or removed: its mount may have fallen off.
    Covered(AbsolutePath),
    /// An absent protected name has appeared.
    Appeared(AbsolutePath),
}

/// Watches the parents of every covered name and of every absent protected name.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: OwnedFd,
    watched: HashMap<i32, AbsolutePath>,
    /// The parents, opened in the finished view. A target may rename a directory that holds a hidden file; the
    /// descriptor still leads to it.
    parents: HashMap<AbsolutePath, OwnedFd>,
    covers: BTreeMap<AbsolutePath, Cover>,
    /// Directories on the way to what is hidden: one that is replaced takes the mounts below it along, and what stands
    /// there then is bare.
    ways: HashSet<AbsolutePath>,
    absent: HashSet<AbsolutePath>,
    /// Directories that could not be watched.
    unwatched: Vec<AbsolutePath>,
    /// Whether names are held by mounts; without namespaces Landlock holds them, also those that appear.
    lays_mounts: bool,
}

impl Watch {
    /// Starts to watch, before the first mount is laid, so that no change is missed; `None` when there is nothing to
    /// watch, or no mount namespace in which anything could be covered again.
    pub(crate) fn start(plan: &Plan) -> Result<Option<Self>, WatchError> {
        if !plan
            .steps
            .iter()
            .any(|step| matches!(step, Step::SealMounts))
        {
            return Ok(None);
        }
        let covers: BTreeMap<AbsolutePath, Cover> = plan.steps.iter().filter_map(cover).collect();
        let absent: HashSet<AbsolutePath> = plan
            .guard
            .absent
            .iter()
            .map(|name| name.path.clone())
            .collect();
        if covers.is_empty() && absent.is_empty() {
            return Ok(None);
        }
        let inotify =
            init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(WatchError::Create)?;
        let ways = ways(&covers, &plan.rules.scope().home);
        let mut watch = Self {
            inotify,
            watched: HashMap::new(),
            parents: HashMap::new(),
            covers,
            ways,
            absent,
            unwatched: Vec::new(),
            lays_mounts: plan.steps.contains(&Step::SealMounts),
        };
        for directory in watch.directories() {
            watch.add(directory)?;
        }
        Ok(Some(watch))
    }

    /// Whether `path` is a protected name that was absent when the session began.
    pub(crate) fn was_absent(&self, path: &AbsolutePath) -> bool {
        self.absent.contains(path)
    }

    /// Directories that could not be watched since the last call, and in which an absent name may appear.
    pub(crate) fn take_unwatched(&mut self) -> Vec<AbsolutePath> {
        let parents: HashSet<_> = self
            .absent
            .iter()
            .filter_map(AbsolutePath::parent)
            .collect();
        let mut unwatched = std::mem::take(&mut self.unwatched);
        unwatched.retain(|directory| parents.contains(directory));
        unwatched
    }

    /// Whether names are held by mounts.
    pub(crate) fn lays_mounts(&self) -> bool {
        self.lays_mounts
    }

    /// Opens the parents in the finished view.
    pub(crate) fn open_parents(&mut self) -> Result<(), WatchError> {
        let watched: Vec<AbsolutePath> = self.watched.values().cloned().collect();
        watched
            .into_iter()
            .try_for_each(|directory| self.open_parent(directory))
    }

    fn directories(&self) -> HashSet<AbsolutePath> {
        self.covers
            .keys()
            .chain(&self.ways)
            .chain(&self.absent)
            .filter_map(AbsolutePath::parent)
            .collect()
    }

    fn add(&mut self, directory: AbsolutePath) -> Result<(), WatchError> {
        let events = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::ONLYDIR;
        match add_watch(&self.inotify, directory.as_path(), events) {
            Ok(descriptor) => {
                self.watched.insert(descriptor, directory);
                Ok(())
            }
            // Behind a placeholder of ours (nobody inside reaches it while the outer one stands), not there yet, or not
            // to be read by whoever owns it not.
            Err(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR) => {
                self.unwatched.push(directory);
                Ok(())
            }
            Err(errno) => Err(WatchError::Add { directory, errno }),
        }
    }

    fn open_parent(&mut self, directory: AbsolutePath) -> Result<(), WatchError> {
        match Spot::at(&directory).open() {
            Ok(opened) => {
                self.parents.insert(directory, opened);
                Ok(())
            }
            Err(error) if matches!(error.errno, Errno::ACCESS | Errno::NOENT | Errno::NOTDIR) => {
                Ok(())
            }
            Err(error) => Err(WatchError::Add {
                directory,
                errno: error.errno,
            }),
        }
    }

    /// What changed since the last call, in path order.
    pub(crate) fn changes(&self) -> BTreeSet<Change> {
        let mut found = BTreeSet::new();
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                // Which names changed is lost: all of them may have.
                found.extend(self.covers.keys().cloned().map(Change::Covered));
                found.extend(self.absent.iter().cloned().map(Change::Appeared));
                continue;
            }
            let (Some(parent), Some(name)) = (self.watched.get(&event.wd()), event.file_name())
            else {
                continue;
            };
            let Ok(path) = parent.join(OsStr::from_bytes(name.to_bytes())) else {
                continue;
            };
            // A name that was absent may be covered by now; whoever makes it again has to be judged again.
            if self.absent.contains(&path) {
                found.insert(Change::Appeared(path));
            } else if self.covers.contains_key(&path) || self.ways.contains(&path) {
                found.insert(Change::Covered(path));
            }
        }
        found
    }

    /// Covers `path`, and every covered name below it, again where the mount is gone; true when each is covered or
    /// nothing stands there.
    pub(crate) fn restore(&mut self, path: &AbsolutePath) -> bool {
        // Paths sort before what lies below them, so that outer mounts come first.
        let below: Vec<(AbsolutePath, Cover)> = self
            .covers
            .range(path.clone()..)
            .take_while(|(name, _)| name.starts_with(path))
            .map(|(name, cover)| (name.clone(), *cover))
            .collect();
        below.iter().all(|(name, cover)| {
            if name != path {
                // What lies above it is another object now: watch and open that one, and what leads to it.
                let mut above = name.parent();
                while let Some(directory) = above.filter(|above| above.starts_with(path)) {
                    let watched = self.add(directory.clone());
                    let opened = watched.and_then(|()| self.open_parent(directory.clone()));
                    if opened.is_err() {
                        return false;
                    }
                    above = directory.parent();
                }
            }
            self.cover_again(name, *cover)
        })
    }

    fn cover_again(&self, path: &AbsolutePath, cover: Cover) -> bool {
        let (Some(parent), Some(name)) = (path.parent(), path.as_path().file_name()) else {
            return true;
        };
        // A parent that could not be opened lies behind a placeholder, or is gone.
        let Some(directory) = self.parents.get(&parent) else {
            return true;
        };
        let spot = Spot {
            directory: directory.as_fd(),
            name: Path::new(name),
            path,
        };
        stands(spot) || lay(spot, cover)
    }

    /// Protects a name that somebody outside has made; from now on it is covered like any other.
    pub(crate) fn protect(&mut self, path: &AbsolutePath) -> bool {
        if !self.lays_mounts {
            return true;
        }
        self.covers.insert(path.clone(), Cover::Held(Hold::Protect));
        self.restore(path)
    }
}

fn cover(step: &Step) -> Option<(AbsolutePath, Cover)> {
    match step {
        Step::Protect { path } | Step::ProtectLink { path } => {
            Some((path.clone(), Cover::Held(Hold::Protect)))
        }
        Step::Pin { path } => Some((path.clone(), Cover::Held(Hold::Pin))),
        Step::Unprotect { path } => Some((path.clone(), Cover::Held(Hold::Unprotect))),
        Step::Hide {
            path,
            placeholder,
            mount_point: MountPoint::Existing,
        } => Some((path.clone(), Cover::Hide(*placeholder))),
        // A hidden directory that shows something. What replaces it is hidden whole: what it holds is not known.
        Step::MountTemporary {
            target,
            access: MountAccess::ReadOnly,
            ..
        } => Some((target.clone(), Cover::Hide(Placeholder::Directory))),
        _ => None,
    }
}

/// The directories above what is hidden, but for `home` and what lies directly in `/`: nobody replaces those while they
/// are worked in.
fn ways(covers: &BTreeMap<AbsolutePath, Cover>, home: &AbsolutePath) -> HashSet<AbsolutePath> {
    let mut ways = HashSet::new();
    let hidden = covers
        .iter()
        .filter(|(_, cover)| matches!(cover, Cover::Hide(_)));
    for (path, _) in hidden {
        let mut above = path.parent();
        while let Some(directory) = above.filter(|directory| directory != home) {
            above = directory.parent();
            let is_top = above.as_ref().is_none_or(|above| above.parent().is_none());
            if is_top || !ways.insert(directory) {
                break;
            }
        }
    }
    ways
}

fn lay(spot: Spot<'_>, cover: Cover) -> bool {
    let result = match cover {
        Cover::Held(hold) => mounts::hold_again(spot, hold),
        Cover::Hide(placeholder) => mounts::hide_again(spot, placeholder),
    };
    match result {
        Ok(()) => true,
        Err(error) => error.errno == Errno::NOENT,
    }
}

/// Whether a mount still lies on the spot: its mount is another than its directory's (statx(2), `STATX_MNT_ID`).
fn stands(spot: Spot<'_>) -> bool {
    let mount_of = |name: &Path, flags| {
        let status = statx(spot.directory, name, flags, StatxFlags::MNT_ID).ok()?;
        Some(status.stx_mnt_id)
    };
    let own = mount_of(spot.name, AtFlags::SYMLINK_NOFOLLOW);
    let above = mount_of(Path::new(""), AtFlags::EMPTY_PATH);
    match (own, above) {
        (Some(own), Some(above)) => own != above,
        (None, _) | (_, None) => false,
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
