//! What sessions keep for the next one, taken away by age: the private `/tmp` of each workspace, and its caches.
//!
//! Age is the time since the kernel last changed an object's record, or since it was read: a target can set every other
//! time, and make things look older or younger as it likes. A session marks its directories when it begins. What goes
//! as a whole is renamed into a directory of ours first, so that no session meets half of it; an interruption is made
//! good the next time. Invariant: nothing outside the state directory is touched, and no link is followed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use crate::quarantine::ObjectKind;
use crate::quarantine::tree::{
    TreeError, entries_in, examine, kind_of, names_in, open_readable, remove,
};
use crate::state::StateDirectory;

const DAY: Duration = Duration::from_hours(24);
/// How long something in a private `/tmp` is kept unused, and the `/tmp` of a workspace without a session.
pub const TEMPORARY: Duration = Duration::from_hours(24 * 10);
/// How long the caches of a workspace are kept without a session.
pub const CACHES: Duration = Duration::from_hours(24 * 30);
/// Deeper than this, what is old in a `/tmp` that is in use waits until the whole of it is.
const MAX_DEPTH: usize = 32;

/// What was taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Whole directories of workspaces that had no session.
    pub directories: u64,
    /// Files, links and directories in a `/tmp` that is in use.
    pub entries: u64,
}

/// Why something old could not be taken away.
#[derive(Debug, thiserror::Error)]
pub enum ExpireError {
    /// A directory or file of our own state could not be used.
    #[error("`{path}` could not be used")]
    State {
        /// Which.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Something that a target left could not be removed.
    #[error("what is old in `{path}` could not be removed")]
    Remove {
        /// The directory that holds it.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ExpireError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::State { path, .. } | Self::Remove { path, .. } => format!(
                "check the permissions of {0}; where no session runs, `rm -rf {0}` is safe",
                path.display()
            ),
        }
    }
}

/// Takes away what was not used for [`TEMPORARY`] and [`CACHES`] at `now`; looks once a day, else costs one `stat`.
///
/// # Errors
/// [`ExpireError`] when something can't be removed; the rest is tried again the next time.
pub fn expire(state: &StateDirectory, now: SystemTime) -> Result<Expired, ExpireError> {
    let root = state.path().as_path();
    let Some(visit) = Visit::begin(root, now)? else {
        return Ok(Expired::default());
    };
    let mut expired = Expired::default();
    let store = Store {
        root,
        now,
        long_sessions: has_long_session(root, now)?,
    };
    store.temporaries(&mut expired)?;
    store.caches(&mut expired)?;
    store.empty_expiring()?;
    visit.end(now)?;
    Ok(expired)
}

/// The turn of one harness to look; others that come meanwhile have nothing to do.
struct Visit {
    mark: File,
    path: PathBuf,
}

impl Visit {
    fn begin(root: &Path, now: SystemTime) -> Result<Option<Self>, ExpireError> {
        let path = root.join("expired");
        let failed = |source| state_error(&path, source);
        let is_new = match std::fs::symlink_metadata(&path) {
            Ok(metadata)
                if metadata
                    .modified()
                    .is_ok_and(|last| is_within(DAY, last, now)) =>
            {
                return Ok(None);
            }
            Ok(_) => false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(failed(error)),
        };
        let mark = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(failed)?;
        if is_new {
            // A visit that breaks off is made good by the next session, not a day later.
            mark.set_modified(SystemTime::UNIX_EPOCH).map_err(failed)?;
        }
        match rustix::fs::flock(&mark, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { mark, path })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    fn end(self, now: SystemTime) -> Result<(), ExpireError> {
        self.mark
            .set_modified(now)
            .map_err(|source| state_error(&self.path, source))
    }
}

/// Where things are, and what time it is.
#[derive(Clone, Copy)]
struct Store<'a> {
    root: &'a Path,
    now: SystemTime,
    /// Whether a session has run so long that its directories may look unused.
    long_sessions: bool,
}

impl Store<'_> {
    /// Each workspace's `/tmp`: the whole of it where no session came, else what is old in it.
    fn temporaries(self, expired: &mut Expired) -> Result<(), ExpireError> {
        let path = self.root.join("tmp");
        let Some(directory) = open(&path)? else {
            return Ok(());
        };
        let failed = |error| remove_error(&path, error);
        for name in names_in(&directory).map_err(failed)? {
            let Some(stat) = examine(directory.as_fd(), &name).map_err(failed)? else {
                continue;
            };
            if kind_of(&stat) != ObjectKind::Directory {
                continue;
            }
            if self.is_unused(changed(&stat), TEMPORARY) {
                self.move_away(directory.as_fd(), &path, &name)?;
                expired.directories += 1;
            } else {
                let inner =
                    open_readable(directory.as_fd(), &name, OFlags::DIRECTORY).map_err(failed)?;
                expired.entries += self
                    .clear_old(&inner, MAX_DEPTH)
                    .map_err(|error| remove_error(&path.join(&name), error))?;
            }
        }
        Ok(())
    }

    /// Each workspace's caches, which go as a whole or stay: tools trust what is half there.
    fn caches(self, expired: &mut Expired) -> Result<(), ExpireError> {
        let path = self.root.join("cache");
        let Some(directory) = open(&path)? else {
            return Ok(());
        };
        let failed = |error| remove_error(&path, error);
        for name in names_in(&directory).map_err(failed)? {
            let Some(stat) = examine(directory.as_fd(), &name).map_err(failed)? else {
                continue;
            };
            if kind_of(&stat) != ObjectKind::Directory || !self.is_unused(changed(&stat), CACHES) {
                continue;
            }
            let store =
                open_readable(directory.as_fd(), &name, OFlags::DIRECTORY).map_err(failed)?;
            // Held until the rename: a session that comes now takes another layer, or makes the directory anew.
            if let Some(_locks) = lock_all(&store).map_err(failed)? {
                self.move_away(directory.as_fd(), &path, &name)?;
                expired.directories += 1;
            }
        }
        Ok(())
    }

    fn is_unused(self, last: SystemTime, limit: Duration) -> bool {
        !self.long_sessions && has_passed(limit, last, self.now)
    }

    /// Removes what is old in an open directory; how much it was.
    fn clear_old(self, directory: &OwnedFd, depth: usize) -> Result<u64, TreeError> {
        let mut count = 0;
        if depth == 0 {
            return Ok(count);
        }
        for (name, _) in entries_in(directory)? {
            let Some(stat) = examine(directory.as_fd(), &name)? else {
                continue;
            };
            let old = has_passed(TEMPORARY, changed(&stat), self.now);
            if kind_of(&stat) == ObjectKind::Directory {
                let inner = open_readable(directory.as_fd(), &name, OFlags::DIRECTORY)?;
                count += self.clear_old(&inner, depth - 1)?;
                // Looked at before: taking out what was in it has made it young.
                if old && names_in(&inner)?.is_empty() {
                    remove(directory.as_fd(), &name)?;
                    count += 1;
                }
            } else if old && !is_within(TEMPORARY, read(&stat), self.now) {
                remove(directory.as_fd(), &name)?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn move_away(
        self,
        directory: BorrowedFd<'_>,
        path: &Path,
        name: &std::ffi::OsStr,
    ) -> Result<(), ExpireError> {
        let expiring_path = self.expiring_path();
        rustix::fs::mkdir(&expiring_path, Mode::RWXU)
            .or_else(|errno| match errno {
                Errno::EXIST => Ok(()),
                other => Err(other),
            })
            .map_err(|errno| state_error(&expiring_path, errno.into()))?;
        let expiring = open(&expiring_path)?
            .ok_or_else(|| state_error(&expiring_path, io::ErrorKind::NotFound.into()))?;
        let kind = path.file_name().unwrap_or_default().to_string_lossy();
        for attempt in 0_u32..=u32::MAX {
            let new = format!("{kind}-{}-{attempt}", name.to_string_lossy());
            match rustix::fs::renameat_with(
                directory,
                name,
                &expiring,
                &new,
                RenameFlags::NOREPLACE,
            ) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(state_error(&path.join(name), errno.into())),
            }
        }
        Ok(())
    }

    fn expiring_path(self) -> PathBuf {
        self.root.join("expiring")
    }

    fn empty_expiring(self) -> Result<(), ExpireError> {
        let path = self.expiring_path();
        let Some(directory) = open(&path)? else {
            return Ok(());
        };
        let failed = |error| remove_error(&path, error);
        for name in names_in(&directory).map_err(failed)? {
            remove(directory.as_fd(), &name).map_err(failed)?;
        }
        Ok(())
    }
}

/// Locks every layer of a store of caches; `None` where a session holds one.
fn lock_all(store: &OwnedFd) -> Result<Option<Vec<OwnedFd>>, TreeError> {
    let mut locks = Vec::new();
    for name in names_in(store)? {
        let Some(stat) = examine(store.as_fd(), &name)? else {
            continue;
        };
        if kind_of(&stat) != ObjectKind::Directory {
            continue;
        }
        let layer = open_readable(store.as_fd(), &name, OFlags::DIRECTORY)?;
        match rustix::fs::flock(&layer, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => locks.push(layer),
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(TreeError::System("a layer could not be locked", errno)),
        }
    }
    Ok(Some(locks))
}

/// Whether a session has a record that is older than a day: then what it uses may look older than it is.
fn has_long_session(root: &Path, now: SystemTime) -> Result<bool, ExpireError> {
    let path = root.join("sessions");
    let failed = |source| state_error(&path, source);
    let records = match std::fs::read_dir(&path) {
        Ok(records) => records,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    for record in records {
        match record.and_then(|record| record.metadata()) {
            Ok(metadata) if has_passed(DAY, since_epoch(metadata.ctime()), now) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(false)
}

/// Opens a directory of ours; `None` where it is not there.
fn open(path: &Path) -> Result<Option<OwnedFd>, ExpireError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(state_error(path, errno.into())),
    }
}

/// When the kernel last changed what it keeps of an object.
fn changed(stat: &Stat) -> SystemTime {
    since_epoch(stat.st_ctime)
}

/// When an object was last read; a target can set this time, into the future too, where it counts for nothing.
fn read(stat: &Stat) -> SystemTime {
    since_epoch(stat.st_atime)
}

fn since_epoch(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Whether `limit` has passed. Of a time that has not come yet it has not: the clock was set back.
fn has_passed(limit: Duration, since: SystemTime, now: SystemTime) -> bool {
    now.duration_since(since).is_ok_and(|age| age >= limit)
}

/// Whether it was in the last `limit`; a time that has not come yet is a made-up one, and was not.
fn is_within(limit: Duration, last: SystemTime, now: SystemTime) -> bool {
    now.duration_since(last).is_ok_and(|age| age < limit)
}

fn state_error(path: &Path, source: io::Error) -> ExpireError {
    ExpireError::State {
        path: path.to_owned(),
        source,
    }
}

fn remove_error(path: &Path, error: TreeError) -> ExpireError {
    ExpireError::Remove {
        path: path.to_owned(),
        source: Box::new(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct Bench {
        directory: tempfile::TempDir,
        state: StateDirectory,
    }

    impl Bench {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
            let state = StateDirectory::at(directory.path()).unwrap();
            Self { directory, state }
        }

        fn file(&self, name: &str) -> PathBuf {
            let path = self.directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "content").unwrap();
            path
        }

        fn expire(&self, days: u32) -> Expired {
            expire(&self.state, SystemTime::now() + DAY * days).unwrap()
        }
    }

    #[test]
    fn what_was_used_lately_stays() {
        let bench = Bench::new();
        let (file, cached) = (
            bench.file("tmp/k/file"),
            bench.file("cache/k/layer-0/upper/f"),
        );
        assert_eq!(bench.expire(9), Expired::default());
        assert!(file.exists() && cached.exists());
        let bench = Bench::new();
        let cached = bench.file("cache/k/layer-0/upper/f");
        assert_eq!(bench.expire(29), Expired::default());
        assert!(cached.exists());
    }

    #[test]
    fn directories_without_a_session_go_as_a_whole_whatever_a_target_made_of_them() {
        let bench = Bench::new();
        let outside = bench.file("outside/kept");
        bench.file("tmp/k/deep/file");
        let closed = bench.directory.path().join("tmp/k/closed");
        fs::create_dir(&closed).unwrap();
        fs::write(closed.join("file"), "").unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        symlink(
            outside.parent().unwrap(),
            bench.directory.path().join("tmp/k/link"),
        )
        .unwrap();
        symlink(
            outside.parent().unwrap(),
            bench.directory.path().join("tmp/link"),
        )
        .unwrap();
        bench.file("cache/k/layer-0/upper/f");
        assert_eq!(bench.expire(31).directories, 2);
        assert!(!bench.directory.path().join("tmp/k").exists());
        assert!(!bench.directory.path().join("cache/k").exists());
        assert!(outside.exists());
        let left = fs::read_dir(bench.directory.path().join("expiring")).unwrap();
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn in_a_directory_that_is_in_use_only_what_is_old_goes() {
        let bench = Bench::new();
        let file = bench.file("tmp/k/sub/file");
        let outside = bench.file("outside/kept");
        symlink(
            outside.parent().unwrap(),
            bench.directory.path().join("tmp/k/link"),
        )
        .unwrap();
        // A time that a target has set into the future does not keep a file.
        File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_times(fs::FileTimes::new().set_accessed(SystemTime::now() + DAY * 4000))
            .unwrap();
        let directory = open(&bench.directory.path().join("tmp/k"))
            .unwrap()
            .unwrap();
        let store = |days| Store {
            root: bench.directory.path(),
            now: SystemTime::now() + DAY * days,
            long_sessions: true,
        };
        assert_eq!(store(9).clear_old(&directory, MAX_DEPTH).unwrap(), 0);
        assert!(file.exists());
        // The file, its directory and the link.
        assert_eq!(store(11).clear_old(&directory, MAX_DEPTH).unwrap(), 3);
        assert!(!file.parent().unwrap().exists());
        assert!(outside.exists());
    }

    #[test]
    fn a_file_that_was_read_lately_stays() {
        let bench = Bench::new();
        let file = bench.file("tmp/k/file");
        let soon = SystemTime::now() + DAY * 20;
        File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_times(fs::FileTimes::new().set_accessed(soon))
            .unwrap();
        let directory = open(&bench.directory.path().join("tmp/k"))
            .unwrap()
            .unwrap();
        let store = Store {
            root: bench.directory.path(),
            now: soon + DAY,
            long_sessions: true,
        };
        assert_eq!(store.clear_old(&directory, MAX_DEPTH).unwrap(), 0);
        assert!(file.exists());
    }

    #[test]
    fn a_layer_that_a_session_holds_keeps_its_caches() {
        let bench = Bench::new();
        let cached = bench.file("cache/k/layer-0/upper/f");
        let layer = open(&bench.directory.path().join("cache/k/layer-0"))
            .unwrap()
            .unwrap();
        rustix::fs::flock(&layer, FlockOperation::LockExclusive).unwrap();
        assert_eq!(bench.expire(31), Expired::default());
        assert!(cached.exists());
        drop(layer);
        assert_eq!(bench.expire(33).directories, 1);
    }

    #[test]
    fn while_a_session_lives_that_long_no_directory_goes_as_a_whole() {
        let bench = Bench::new();
        bench.file("tmp/k/file");
        bench.file("sessions/0123456789abcdef");
        assert_eq!(
            bench.expire(31),
            Expired {
                directories: 0,
                entries: 1
            }
        );
        fs::remove_file(bench.directory.path().join("sessions/0123456789abcdef")).unwrap();
        assert_eq!(bench.expire(33).directories, 1);
    }

    #[test]
    fn it_is_looked_once_a_day_and_again_after_an_interruption() {
        let bench = Bench::new();
        assert_eq!(bench.expire(0), Expired::default());
        bench.file("tmp/k/file");
        // The mark says that somebody was here: ten days are not over for what was made since.
        let mark = bench.directory.path().join("expired");
        let later = SystemTime::now() + DAY * 11;
        File::options()
            .write(true)
            .open(&mark)
            .unwrap()
            .set_modified(later)
            .unwrap();
        assert_eq!(bench.expire(11), Expired::default());
        assert_eq!(bench.expire(12).directories, 1);
        // What an interrupted visit had moved away.
        bench.file("expiring/tmp-k-0/file");
        assert_eq!(bench.expire(13), Expired::default());
        assert!(!bench.directory.path().join("expiring/tmp-k-0").exists());
    }
}
