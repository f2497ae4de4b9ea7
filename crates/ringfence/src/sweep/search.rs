//! Finds repositories where nobody watched them being made.
//!
//! It reads names only and follows nothing: no link, and no mount, because what is mounted inside a root can't be
//! written in a session. Invariant: what it did not look into is counted, so that nobody takes silence for safety.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use ringfence_policy::{AbsolutePath, FilesystemRules, Operation};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, makedev, statx};
use rustix::io::Errno;

use crate::quarantine::tree;

/// Names that are read at most; a workspace of this size is searched in a few seconds.
const MAX_ENTRIES: usize = 2_000_000;

/// What a search found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Git directories, and what may be one, that the session could write.
    pub(super) repositories: Vec<AbsolutePath>,
    /// Directories that were not looked into.
    pub(super) unread: usize,
    entries: usize,
}

/// A directory that is still to be read.
struct Pending {
    parent: Rc<OwnedFd>,
    name: OsString,
    path: AbsolutePath,
}

/// Looks for repositories in `root` whose hooks or configuration `rules` let a command write.
pub(super) fn repositories(root: &AbsolutePath, rules: &FilesystemRules) -> Found {
    let mut found = Found::default();
    let mut pending = Vec::new();
    match tree::open_directory(root.as_path()) {
        Ok(parent) => pending.push(Pending {
            parent: Rc::new(parent),
            name: OsString::from("."),
            path: root.clone(),
        }),
        Err(_) => found.unread += 1,
    }
    while let Some(next) = pending.pop() {
        if found.entries > MAX_ENTRIES || !found.read(&next, rules, &mut pending) {
            found.unread += 1;
        }
    }
    found
}

impl Found {
    /// Reads one directory; whether that could be done.
    fn read(
        &mut self,
        directory: &Pending,
        rules: &FilesystemRules,
        pending: &mut Vec<Pending>,
    ) -> bool {
        let (parent, name) = (directory.parent.as_fd(), &directory.name);
        let open = || open_on_same_mount(parent, name);
        let opened = match open() {
            // A command may have closed it to hide what it made in it.
            Err(Errno::ACCESS) => match tree::make_accessible(parent, name) {
                Ok(()) => open(),
                Err(_) => return false,
            },
            opened => opened,
        };
        let opened = match opened {
            Ok(opened) => opened,
            // A mount, a link, or gone.
            Err(errno) => {
                return matches!(
                    errno,
                    Errno::XDEV | Errno::LOOP | Errno::NOTDIR | Errno::NOENT
                );
            }
        };
        let Ok(entries) = tree::entries_in(&opened) else {
            return false;
        };
        self.entries = self.entries.saturating_add(entries.len());
        let has = |name: &str| entries.iter().any(|(entry, _)| entry == OsStr::new(name));
        if has("HEAD") && (has("commondir") || (has("objects") && has("refs"))) {
            self.add(&directory.path, rules);
            return true;
        }
        let opened = Rc::new(opened);
        let mut is_whole = true;
        for (name, kind) in entries {
            let Ok(path) = directory.path.join(Path::new(&name)) else {
                is_whole = false;
                continue;
            };
            if name == ".git" {
                self.add(&path, rules);
            } else if matches!(kind, FileType::Directory | FileType::Unknown) {
                pending.push(Pending {
                    parent: Rc::clone(&opened),
                    name,
                    path,
                });
            }
        }
        is_whole
    }

    fn add(&mut self, repository: &AbsolutePath, rules: &FilesystemRules) {
        let may_write = |name: &str| {
            let path = repository.as_path().join(name);
            rules.is_allowed(Operation::Write, &path)
        };
        if may_write("config") || may_write("hooks") {
            self.repositories.push(repository.clone());
        }
    }
}

/// Opens the directory `name` of `parent` for reading; `XDEV` where another mount begins there, `LOOP` or `NOTDIR` at a
/// link.
///
/// Not by `openat2(2)`, which would do it in one call: Ringfence's own filter refuses it, and a nested harness must find
/// what the outer one would.
fn open_on_same_mount(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    if mount_of(opened.as_fd())? == mount_of(parent)? {
        Ok(opened)
    } else {
        Err(Errno::XDEV)
    }
}

/// What tells mounts apart: the mount's number (since Linux 5.8), and the device.
fn mount_of(directory: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    let found = statx(
        directory,
        "",
        AtFlags::EMPTY_PATH,
        StatxFlags::BASIC_STATS | StatxFlags::MNT_ID,
    )?;
    let device = makedev(found.stx_dev_major, found.stx_dev_minor);
    let has_number = found.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    Ok((if has_number { found.stx_mnt_id } else { 0 }, device))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn neither_a_link_nor_another_mount_is_entered() {
        let scratch = tempfile::tempdir().unwrap();
        let inner = scratch.path().join("inner");
        fs::create_dir(&inner).unwrap();
        symlink(&inner, scratch.path().join("link")).unwrap();
        let directory = File::open(scratch.path()).unwrap();
        let root = File::open("/").unwrap();
        let open = |parent: &File, name: &str| {
            open_on_same_mount(parent.as_fd(), OsStr::new(name)).map(drop)
        };
        assert_eq!(open(&directory, "inner"), Ok(()));
        assert_eq!(open(&directory, "."), Ok(()));
        assert_eq!(open(&directory, "absent"), Err(Errno::NOENT));
        let at_link = open(&directory, "link").unwrap_err();
        assert!(matches!(at_link, Errno::LOOP | Errno::NOTDIR), "{at_link}");
        // The control: it can be entered, and is another mount.
        assert!(File::open("/proc/self").is_ok());
        assert_eq!(open(&root, "proc"), Err(Errno::XDEV));
    }
}
