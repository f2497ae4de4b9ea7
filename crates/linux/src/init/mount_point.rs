//! Mount points in private directories of ours, made where they are missing.
//!
//! Invariant: nothing that a target left in the way is followed, or stays.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, unlinkat};
use rustix::io::Errno;

use ringfence_plan::step::MountPoint;
use ringfence_policy::AbsolutePath;

use super::mounts::{MountError, failed};

/// Makes a mount point inside a private directory of ours.
///
/// # Security
/// What lies in a private directory was made by targets of earlier commands: a link or a file in the way is removed,
/// never followed.
pub(super) fn make_mount_point(
    target: &AbsolutePath,
    kind: MountPoint,
) -> Result<OwnedFd, MountError> {
    let mut directory = openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open", target))?;
    let mut names = target
        .as_path()
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .peekable();
    while let Some(name) = names.next() {
        let is_file = kind == MountPoint::MakeFile && names.peek().is_none();
        directory = enter_or_make(directory.as_fd(), Path::new(name), is_file)
            .map_err(failed("make mount point", target))?;
    }
    Ok(directory)
}

fn enter_or_make(parent: BorrowedFd<'_>, name: &Path, is_file: bool) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let kind = if is_file {
        OFlags::empty()
    } else {
        OFlags::DIRECTORY
    };
    let open = || {
        openat2(
            parent,
            name,
            flags | kind,
            Mode::empty(),
            ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH,
        )
    };
    match open() {
        Err(Errno::NOENT) => {}
        Err(Errno::LOOP | Errno::NOTDIR) => unlinkat(parent, name, AtFlags::empty())?,
        other => return other,
    }
    if is_file {
        openat(
            parent,
            name,
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o600),
        )?;
    } else {
        mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
    }
    open()
}
