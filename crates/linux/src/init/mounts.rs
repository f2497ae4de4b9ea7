//! The session's view of the file system, built without leaving the host's root.
//!
//! The mount namespace is a private copy of the host's. Every mount in it is made read-only, nosuid and nodev; then
//! clones are laid on top. Nothing is pivoted and nothing of the host's mounts is changed. Every object is opened
//! once, without following links, and the descriptor is used from then on.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags, fstatvfs, mkdirat, openat,
    openat2, statat, symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};

use ringfence_plan::step::{FileId, MountAccess, MountPoint, Placeholder};
use ringfence_policy::AbsolutePath;

use super::mount_point::make_mount_point;
use super::origins::{Origin, Origins};
use super::overlay::{Caches, LayerLock};
use crate::sys::{self, MountAttributes, Reach};

/// Devices every program may use; all are harmless to open (Linux `admin-guide/devices.txt`).
const DEVICES: [&CStr; 6] = [c"null", c"zero", c"full", c"random", c"urandom", c"tty"];
/// Parts of `/proc` that change the kernel and that root could write without any capability.
const KERNEL_SETTINGS: [&str; 7] = [
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/proc/acpi",
    "/proc/scsi",
];

/// A mount operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}")]
pub(crate) struct MountError {
    /// The call and its purpose.
    pub(crate) operation: &'static str,
    /// The object.
    pub(crate) path: AbsolutePath,
    /// The kernel's answer.
    #[source]
    pub(crate) errno: Errno,
}

type Result<T> = std::result::Result<T, MountError>;

pub(super) fn failed(
    operation: &'static str,
    path: &AbsolutePath,
) -> impl FnOnce(Errno) -> MountError {
    let path = path.clone();
    move |errno| MountError {
        operation,
        path,
        errno,
    }
}

/// A name of the view, to be looked up without following links.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot<'a> {
    /// Where the look-up starts; the current directory for an absolute name.
    pub(crate) directory: BorrowedFd<'a>,
    /// The name from there.
    pub(crate) name: &'a Path,
    /// What the spot is called in the plan.
    pub(crate) path: &'a AbsolutePath,
}

impl<'a> Spot<'a> {
    /// The spot that an absolute path names now.
    pub(crate) fn at(path: &'a AbsolutePath) -> Self {
        Self {
            directory: CWD,
            name: path.as_path(),
            path,
        }
    }

    /// Opens what is there now, link or not, following no link and no magic link.
    pub(crate) fn open(self) -> Result<OwnedFd> {
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        openat2(self.directory, self.name, flags, Mode::empty(), resolve)
            .map_err(failed("openat2", self.path))
    }
}

/// The view while it is being built.
#[derive(Debug)]
pub(crate) struct View {
    sources: VecDeque<Source>,
    origins: Origins,
    devices: Vec<(&'static CStr, OwnedFd)>,
    placeholders: Placeholders,
    sealed_last: Vec<OwnedFd>,
    proc: Proc,
    /// How many mounts of ours cover `/proc`: the placeholders, and the overlay that the caches were cloned from.
    covers: u8,
    caches: Option<Caches>,
}

/// What a bind takes: the object in the sealed tree, and a clone of what is mounted there.
#[derive(Debug)]
struct Source {
    object: OwnedFd,
    clone: OwnedFd,
}

/// Which `/proc` the session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proc {
    /// The host's, with the placeholders lying on top of it for now.
    Covered,
    /// A new one, on top of the placeholders.
    New,
}

/// The unreadable objects that hidden paths are covered with: an empty file system of mode 000.
#[derive(Debug)]
struct Placeholders {
    directory: OwnedFd,
    file: OwnedFd,
}

impl View {
    /// Seals the mount namespace and takes clones of `sources`, which name the host's view, one for each
    /// [`View::bind`] to come and in that order.
    ///
    /// # Errors
    /// [`MountError`] for the first thing that could not be done.
    pub(crate) fn seal<'a>(
        sources: impl Iterator<Item = (&'a AbsolutePath, Option<FileId>)>,
        caches: Option<Caches>,
    ) -> Result<Self> {
        let root = root_path();
        // Device nodes first: the seal below forbids opening any, on every mount that exists by then.
        let mut devices = Vec::with_capacity(DEVICES.len());
        for name in DEVICES {
            devices.push((name, clone_device(name)?));
        }
        let attributes = MountAttributes {
            set: sys::ATTR_READ_ONLY | sys::ATTR_NO_SUID | sys::ATTR_NO_DEV,
            propagation: sys::PROPAGATION_PRIVATE,
            ..MountAttributes::default()
        };
        sys::mount_setattr(CWD, c"/", Reach::Recursive, attributes)
            .map_err(failed("mount_setattr (seal every mount below)", &root))?;
        let clones = sources
            .map(|(path, identity)| clone_source(path, identity))
            .collect::<Result<_>>()?;
        let placeholders = Placeholders::attach()?;
        Ok(Self {
            sources: clones,
            origins: Origins::default(),
            devices,
            placeholders,
            sealed_last: Vec::new(),
            proc: Proc::Covered,
            covers: 1 + u8::from(caches.is_some()),
            caches,
        })
    }

    /// Mounts a new `/proc`, kernel settings read-only.
    pub(crate) fn mount_proc(&mut self) -> Result<()> {
        let path = absolute("/proc");
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let proc = new_file_system(c"proc", &[], attributes, &path)?;
        attach(&proc, Spot::at(&path).open()?, &path)?;
        self.origins.show(&path, Origin::New);
        self.proc = Proc::New;
        for setting in KERNEL_SETTINGS {
            match hold_again(Spot::at(&absolute(setting)), Hold::Protect) {
                Err(MountError {
                    errno: Errno::NOENT,
                    ..
                }) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Mounts a small `/dev` with a terminal file system of its own and an empty `/dev/shm`.
    pub(crate) fn mount_devices(&mut self) -> Result<()> {
        let path = absolute("/dev");
        let tree = new_temporary(c"0755", &path)?;
        for (name, _) in &self.devices {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            openat(&tree, *name, flags, Mode::empty())
                .map_err(failed("openat (device mount point in)", &path))?;
        }
        for name in [c"pts", c"shm"] {
            mkdirat(&tree, name, Mode::from_raw_mode(0o755))
                .map_err(failed("mkdirat (in)", &path))?;
        }
        for (name, target) in [
            (c"ptmx", c"pts/ptmx"),
            (c"fd", c"/proc/self/fd"),
            (c"stdin", c"/proc/self/fd/0"),
            (c"stdout", c"/proc/self/fd/1"),
            (c"stderr", c"/proc/self/fd/2"),
        ] {
            symlinkat(target, &tree, name).map_err(failed("symlinkat (in)", &path))?;
        }
        attach(&tree, Spot::at(&path).open()?, &path)?;
        self.origins.show(&path, Origin::New);
        for (name, device) in self.devices.drain(..) {
            let place = openat(&tree, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed("openat (device mount point in)", &path))?;
            attach(&device, place, &path)?;
        }
        let terminals = absolute("/dev/pts");
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let options = [
            (c"newinstance", c""),
            (c"ptmxmode", c"0666"),
            (c"mode", c"0620"),
        ];
        let devpts = new_file_system(c"devpts", &options, attributes, &terminals)?;
        attach(&devpts, Spot::at(&terminals).open()?, &terminals)?;
        self.mount_temporary(&absolute("/dev/shm"), 0o1777, MountAccess::ReadWrite)?;
        self.sealed_last.push(tree);
        Ok(())
    }

    /// Mounts an empty file system; a read-only one stays writable for us until the view is finished.
    pub(crate) fn mount_temporary(
        &mut self,
        target: &AbsolutePath,
        mode: u32,
        access: MountAccess,
    ) -> Result<()> {
        let mode = std::ffi::CString::new(format!("{mode:o}")).unwrap_or_default();
        let tree = new_temporary(&mode, target)?;
        attach(&tree, Spot::at(target).open()?, target)?;
        self.origins.show(target, Origin::New);
        match access {
            MountAccess::ReadOnly => self.sealed_last.push(tree),
            MountAccess::ReadWrite => {}
        }
        Ok(())
    }

    /// Lays the next of the clones that [`View::seal`] took onto a place of the view.
    pub(crate) fn bind(
        &mut self,
        target: &AbsolutePath,
        access: MountAccess,
        mount_point: MountPoint,
    ) -> Result<()> {
        let source = self
            .sources
            .pop_front()
            .ok_or_else(|| failed("bind (no source was taken for)", target)(Errno::NOENT))?;
        if access == MountAccess::ReadWrite {
            match sys::mount_setattr(&source.clone, c"", Reach::Top, writable()) {
                // The host itself mounts it read-only; the kernel does not let us widen that.
                Ok(()) | Err(Errno::PERM) => {}
                Err(errno) => return Err(failed("mount_setattr (make writable)", target)(errno)),
            }
        }
        let place = place_at(target, mount_point)?;
        attach(&source.clone, place, target)?;
        self.origins.show(target, Origin::Sealed(source.object));
        Ok(())
    }

    /// Holds a path by a clone of itself, taken from the sealed tree where the view shows an object of it.
    pub(crate) fn hold(&mut self, path: &AbsolutePath, hold: Hold) -> Result<()> {
        let spot = Spot::at(path);
        let place = spot.open()?;
        match self.sealed_object(path, &place) {
            Some(object) => lay_sealed(&object, place, path, hold)?,
            None => lay_on_itself(spot, place, hold)?,
        }
        self.origins.cover(path);
        Ok(())
    }

    /// The same object as `place`, in the sealed tree. Somebody outside may have put another one there just now:
    /// then there is none.
    fn sealed_object(&self, path: &AbsolutePath, place: &OwnedFd) -> Option<OwnedFd> {
        let (directory, name) = self.origins.of(path)?;
        let spot = Spot {
            directory,
            name,
            path,
        };
        let object = spot.open().ok()?;
        let same = identity(&object).ok()? == identity(place).ok()?;
        same.then_some(object)
    }

    /// Lays the overlaid caches onto the view; what comes back frees their layer.
    pub(crate) fn attach_caches(&mut self) -> Result<Option<LayerLock>> {
        let Some(caches) = self.caches.take() else {
            return Ok(None);
        };
        for path in caches.directories() {
            self.origins.show(path, Origin::New);
        }
        caches.attach().map(Some)
    }

    /// Covers a path with a placeholder that can't be read.
    pub(crate) fn hide(
        &mut self,
        path: &AbsolutePath,
        placeholder: Placeholder,
        mount_point: MountPoint,
    ) -> Result<()> {
        let source = match placeholder {
            Placeholder::Directory => &self.placeholders.directory,
            Placeholder::File => &self.placeholders.file,
        };
        let place = place_at(path, mount_point)?;
        let tree = open_tree(source, c"", clone_flags())
            .map_err(failed("open_tree (placeholder for)", path))?;
        attach(&tree, place, path)?;
        self.origins.show(path, Origin::New);
        Ok(())
    }

    /// Seals what was left writable for the build; the view is complete then.
    pub(crate) fn finish(self) -> Result<()> {
        for tree in &self.sealed_last {
            sys::mount_setattr(tree, c"", Reach::Top, read_only())
                .map_err(failed("mount_setattr (seal)", &root_path()))?;
        }
        match self.proc {
            Proc::New => Ok(()),
            Proc::Covered => {
                let path = absolute("/proc");
                for _ in 0..self.covers {
                    unmount(c"/proc", UnmountFlags::DETACH)
                        .map_err(failed("umount2 (uncover)", &path))?;
                }
                Ok(())
            }
        }
    }
}

impl Placeholders {
    /// Mounts the placeholders on `/proc`, where the session's own `/proc` covers them.
    ///
    /// They must be attached somewhere: kernels before 6.15 clone nothing from a detached tree.
    fn attach() -> Result<Self> {
        let path = absolute("/proc");
        let tree = new_temporary(c"0000", &path)?;
        mkdirat(&tree, c"directory", Mode::empty())
            .map_err(failed("mkdirat (placeholder)", &path))?;
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(&tree, c"file", flags, Mode::empty())
            .map_err(failed("openat (placeholder)", &path))?;
        attach(&tree, Spot::at(&path).open()?, &path)?;
        sys::mount_setattr(&tree, c"", Reach::Top, read_only())
            .map_err(failed("mount_setattr (placeholder)", &path))?;
        let open = |name| {
            openat(&tree, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed("openat (placeholder)", &path))
        };
        Ok(Self {
            directory: open(c"directory")?,
            file: open(c"file")?,
        })
    }
}

/// What is to be mounted upon.
fn place_at(target: &AbsolutePath, mount_point: MountPoint) -> Result<OwnedFd> {
    match mount_point {
        MountPoint::Existing => Spot::at(target).open(),
        MountPoint::MakeDirectory | MountPoint::MakeFile => make_mount_point(target, mount_point),
    }
}

/// How a path is held by a clone of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// A directory becomes a mount point; it stays as writable as it is.
    Pin,
    /// Read-only, with all that is mounted below.
    Protect,
    /// A part of a protected path becomes writable.
    Unprotect,
}

/// Holds what stands at the spot now: for a mount that fell off, and for what is not in the sealed tree.
pub(crate) fn hold_again(spot: Spot<'_>, hold: Hold) -> Result<()> {
    let place = spot.open()?;
    lay_on_itself(spot, place, hold)
}

/// Covers a path with a fresh placeholder: for a mount that fell off after the view was finished.
pub(crate) fn hide_again(spot: Spot<'_>, placeholder: Placeholder) -> Result<()> {
    let path = spot.path;
    let place = spot.open()?;
    let tree = new_temporary(c"0000", path)?;
    match placeholder {
        Placeholder::Directory => {
            attach(&tree, place, path)?;
            sys::mount_setattr(&tree, c"", Reach::Top, read_only())
                .map_err(failed("mount_setattr (placeholder)", path))
        }
        Placeholder::File => {
            // A file can only be cloned from an attached tree: lend it the terminal directory for a moment.
            let lent = absolute("/dev/shm");
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(&tree, c"file", flags, Mode::empty())
                .map_err(failed("openat (placeholder)", path))?;
            attach(&tree, Spot::at(&lent).open()?, &lent)?;
            let file = open_tree(
                &tree,
                c"file",
                OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
            )
            .map_err(failed("open_tree (placeholder for)", path));
            unmount("/dev/shm", UnmountFlags::DETACH)
                .map_err(failed("umount2 (placeholder)", &lent))?;
            let file = file?;
            attach(&file, place, path)?;
            sys::mount_setattr(&file, c"", Reach::Top, read_only())
                .map_err(failed("mount_setattr (placeholder)", path))
        }
    }
}

fn lay_on_itself(spot: Spot<'_>, place: OwnedFd, hold: Hold) -> Result<()> {
    let path = spot.path;
    let tree = open_tree(&place, c"", clone_flags()).map_err(failed("open_tree (clone)", path))?;
    let change = match hold {
        Hold::Pin => None,
        Hold::Protect => Some((Reach::Recursive, read_only())),
        Hold::Unprotect => Some((Reach::Top, writable())),
    };
    if let Some((reach, attributes)) = change {
        sys::mount_setattr(&tree, c"", reach, attributes).map_err(failed("mount_setattr", path))?;
    }
    attach(&tree, place, path)
}

/// Lays a clone of `object`, which is `place` in the sealed tree: read-only by birth, with all that is mounted below.
fn lay_sealed(object: &OwnedFd, place: OwnedFd, path: &AbsolutePath, hold: Hold) -> Result<()> {
    let tree = open_tree(object, c"", clone_flags()).map_err(failed("open_tree (clone)", path))?;
    let is_writable = match hold {
        Hold::Protect => false,
        Hold::Unprotect => true,
        Hold::Pin => {
            let status = fstatvfs(&place).map_err(failed("fstatvfs", path))?;
            !status.f_flag.contains(StatVfsMountFlags::RDONLY)
        }
    };
    if is_writable {
        sys::mount_setattr(&tree, c"", Reach::Top, writable())
            .map_err(failed("mount_setattr", path))?;
    }
    attach(&tree, place, path)
}

fn read_only() -> MountAttributes {
    MountAttributes {
        set: sys::ATTR_READ_ONLY,
        ..MountAttributes::default()
    }
}

fn writable() -> MountAttributes {
    MountAttributes {
        clear: sys::ATTR_READ_ONLY,
        ..MountAttributes::default()
    }
}

fn clone_flags() -> OpenTreeFlags {
    OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE
}

fn clone_source(path: &AbsolutePath, planned: Option<FileId>) -> Result<Source> {
    let object = Spot::at(path).open()?;
    if let Some(planned) = planned
        && planned != identity(&object).map_err(failed("fstat", path))?
    {
        // Another object stands there than the one the planner judged.
        return Err(failed("compare the identity of", path)(Errno::STALE));
    }
    let clone =
        open_tree(&object, c"", clone_flags()).map_err(failed("open_tree (clone)", path))?;
    Ok(Source { object, clone })
}

fn identity(object: &OwnedFd) -> std::result::Result<FileId, Errno> {
    let status = statat(object, c"", AtFlags::EMPTY_PATH)?;
    Ok(FileId {
        device: status.st_dev,
        inode: status.st_ino,
    })
}

fn clone_device(name: &'static CStr) -> Result<OwnedFd> {
    let path = absolute("/dev")
        .join(Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())))
        .unwrap_or_else(|_| root_path());
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path.as_path(), flags).map_err(failed("open_tree (clone device)", &path))
}

fn new_temporary(mode: &CStr, path: &AbsolutePath) -> Result<OwnedFd> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    new_file_system(c"tmpfs", &[(c"mode", mode)], attributes, path)
}

pub(super) fn new_file_system(
    kind: &CStr,
    options: &[(&CStr, &CStr)],
    attributes: MountAttrFlags,
    path: &AbsolutePath,
) -> Result<OwnedFd> {
    let context =
        fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("fsopen (for)", path))?;
    for (key, value) in options {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(&context, *key)
                .map_err(failed("fsconfig (for)", path))?;
        } else {
            fsconfig_set_string(&context, *key, *value).map_err(failed("fsconfig (for)", path))?;
        }
    }
    fsconfig_create(&context).map_err(failed("fsconfig create (for)", path))?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(failed("fsmount (for)", path))
}

pub(super) fn attach(tree: impl AsFd, place: OwnedFd, path: &AbsolutePath) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, c"", place, c"", flags).map_err(failed("move_mount (onto)", path))
}

fn absolute(path: &str) -> AbsolutePath {
    AbsolutePath::new(path).unwrap_or_else(|_| root_path())
}

fn root_path() -> AbsolutePath {
    AbsolutePath::root()
}
