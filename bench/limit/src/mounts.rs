//! The session's view of the file system: the host's tree sealed, and ours on top. It never looks at what it mounts
//! on. Invariant: a copy of a mount is taken in the sealed tree, so that what is put back for a protected name is
//! read-only by birth and needs no call of its own.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::kernel;

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

fn on_top(mount: &OwnedFd, path: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(mount, c"", CWD, path, flags)?)
}

/// A copy of the mount at `path`, with what lies beneath it.
fn copy(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, path, flags)?)
}

fn new(kind: &CStr, options: &[(&CStr, &CStr)], flags: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        flags,
    )?)
}

/// Makes everything private, read-only, nosuid and nodev.
pub(crate) fn seal() -> io::Result<()> {
    kernel::set_mount_attributes(
        CWD,
        c"/",
        libc::AT_RECURSIVE,
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        0,
        PRIVATE,
    )
}

/// `mount_setattr`'s `propagation`: private.
const PRIVATE: u64 = libc::MS_PRIVATE;

/// Puts a writable copy of `source` on `target`.
pub(crate) fn bind_writable(source: &Path, target: &Path) -> io::Result<()> {
    let mount = copy(source)?;
    let writable = libc::MOUNT_ATTR_RDONLY;
    kernel::set_mount_attributes(mount.as_fd(), c"", libc::AT_EMPTY_PATH, 0, writable, 0)?;
    on_top(&mount, target)
}

/// Makes the workspace writable, and its protected names mounts that are not.
pub(crate) fn open_workspace(workspace: &Path, protect: &[std::path::PathBuf]) -> io::Result<()> {
    let sealed = rustix::fs::open(workspace, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    bind_writable(workspace, workspace)?;
    let open = rustix::fs::open(workspace, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    for name in protect {
        let mount = open_tree(sealed.as_fd(), name, flags)?;
        let put = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(mount.as_fd(), c"", open.as_fd(), name, put)?;
    }
    Ok(())
}

/// A new `/proc`, its kernel settings read-only.
pub(crate) fn mount_proc() -> io::Result<()> {
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc = new(c"proc", &[], flags)?;
    on_top(&proc, Path::new("/proc"))?;
    for name in ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"] {
        let settings = match copy(Path::new(name)) {
            Ok(settings) => settings,
            // Not every kernel has every one of them.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            Err(cause) => return Err(cause),
        };
        let locked = libc::MOUNT_ATTR_RDONLY;
        kernel::set_mount_attributes(settings.as_fd(), c"", libc::AT_EMPTY_PATH, locked, 0, 0)?;
        on_top(&settings, Path::new(name))?;
    }
    Ok(())
}

/// A small `/dev` with the placeholders that hide secrets.
pub(crate) fn mount_devices() -> io::Result<()> {
    let devices = DEVICES.map(|name| (name, copy(&Path::new("/dev").join(name))));
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let dev = new(c"tmpfs", &[(c"mode", c"755")], flags)?;
    on_top(&dev, Path::new("/dev"))?;
    for (name, device) in devices {
        let place = Path::new("/dev").join(name);
        drop(std::fs::File::create(&place)?);
        let device = device?;
        let usable = libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_RDONLY;
        kernel::set_mount_attributes(device.as_fd(), c"", libc::AT_EMPTY_PATH, 0, usable, 0)?;
        on_top(&device, &place)?;
    }
    for directory in ["/dev/pts", "/dev/shm"] {
        std::fs::create_dir(directory)?;
    }
    let options = [(c"ptmxmode", c"666"), (c"mode", c"620")];
    let terminals = new(c"devpts", &options, flags)?;
    on_top(&terminals, Path::new("/dev/pts"))?;
    for (target, link) in [
        ("pts/ptmx", "/dev/ptmx"),
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ] {
        std::os::unix::fs::symlink(target, link)?;
    }
    Ok(())
}

/// An empty `/run`.
pub(crate) fn hide_run() -> io::Result<()> {
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let run = new(c"tmpfs", &[(c"mode", c"755")], flags)?;
    on_top(&run, Path::new("/run"))
}

/// Hides files and directories behind empty ones that nobody may read.
pub(crate) fn hide(paths: &[std::path::PathBuf]) -> io::Result<()> {
    let store = Path::new("/dev/.hidden");
    std::fs::create_dir(store)?;
    let (file, directory) = (store.join("file"), store.join("directory"));
    let unreadable = Mode::empty();
    drop(rustix::fs::open(
        &file,
        OFlags::CREATE | OFlags::CLOEXEC,
        unreadable,
    )?);
    rustix::fs::mkdir(&directory, unreadable)?;
    for path in paths {
        let placeholder = if path.metadata()?.is_dir() {
            &directory
        } else {
            &file
        };
        let mount = copy(placeholder)?;
        let locked = libc::MOUNT_ATTR_RDONLY;
        kernel::set_mount_attributes(mount.as_fd(), c"", libc::AT_EMPTY_PATH, locked, 0, 0)?;
        on_top(&mount, path)?;
    }
    Ok(())
}
