//! Caches of the person that commands may write: an overlay with the writable layer in our state directory.
//!
//! The overlay covers the home as a whole, and only the cache directories of it are mounted: one file system for
//! any number of caches. Its layers are named by descriptors, so that no link and no odd name on the way matters.
//!
//! A layer is one session's at a time: the kernel leaves it undefined what two overlays on one layer do. It is
//! mounted `volatile`: without that the kernel would write the whole file system of the state directory back to the
//! disk at the end of each session. After a crash of the machine what was written last may be damaged, as it may be in
//! every cache. Invariant: a layer is used only under its lock.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, XattrFlags, chmodat, fchmod, flock,
    fsetxattr, mkdirat, openat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use ringfence_plan::step::{Mask, Placeholder};
use ringfence_policy::AbsolutePath;

use super::mounts::{MountError, Spot, attach, failed, new_file_system};
use crate::open::open_without_links;

/// More sessions of one workspace at the same time find no layer of their own.
const MAX_LAYERS: u32 = 64;

/// As deep as a mask can lie.
const MAX_DEPTH: u32 = 64;

type Result<T> = std::result::Result<T, MountError>;

/// What an overlay is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layers<'a> {
    /// The host's directory.
    pub(crate) lower: &'a AbsolutePath,
    /// Where our layers are.
    pub(crate) store: &'a AbsolutePath,
    /// What is mounted of it.
    pub(crate) directories: &'a [AbsolutePath],
    /// What is not shown.
    pub(crate) masked: &'a [Mask],
}

/// The caches, ready to be laid onto the view, and the lock of their layer.
#[derive(Debug)]
pub(crate) struct Caches {
    trees: Vec<(AbsolutePath, OwnedFd)>,
    layer: LayerLock,
}

/// Holds a layer for this session; freed when it is closed.
#[derive(Debug)]
pub(crate) struct LayerLock(OwnedFd);

impl LayerLock {
    /// Frees the layer for the next session: no command of this one is left.
    pub(crate) fn release(&self) {
        // Closing it frees it too: the kernel may only take its time.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Caches {
    /// Makes the overlay, attaches it to `/proc`, which the session's own will cover, and clones the directories.
    ///
    /// To be called before the mounts are sealed: the writable layer must be writable.
    pub(crate) fn open(layers: Layers<'_>) -> Result<Self> {
        let Layers { lower, store, .. } = layers;
        let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let host = open_without_links(CWD, lower.as_path(), directory)
            .map_err(failed("open (lower layer)", lower))?;
        let layer = take_layer(store).map_err(failed("take a layer in", store))?;
        let made = |name: &str| make(&layer, name).map_err(failed("make a layer in", store));
        let (upper, work) = (made("upper")?, made("work")?);
        settle(&work).map_err(failed("clean the layer in", store))?;
        // Their descriptors must live until the mount is made.
        let mask = match layers.masked {
            [] => None,
            _ => Some(lay_mask(&layer, layers).map_err(failed("make the mask in", store))?),
        };
        let lowers: Vec<String> = mask.iter().chain([&host]).map(by_descriptor).collect();
        let [lowers, upper, kernels] = [
            lowers.join(":"),
            by_descriptor(&upper),
            by_descriptor(&work),
        ]
        .map(|text| CString::new(text).unwrap_or_default());
        let options = [
            (c"lowerdir", lowers.as_c_str()),
            (c"upperdir", upper.as_c_str()),
            (c"workdir", kernels.as_c_str()),
            (c"index", c"off"),
            (c"userxattr", c""),
            (c"volatile", c""),
        ];
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let root = new_file_system(c"overlay", &options, attributes, layers.lower)?;
        open_up(&work).map_err(failed("chmod (the layer in)", store))?;
        let proc =
            AbsolutePath::new("/proc").map_err(|_| failed("name", layers.lower)(Errno::INVAL))?;
        // Kernels before 6.15 clone nothing from a detached tree.
        attach(&root, Spot::at(&proc).open()?, &proc)?;
        let mut trees = Vec::with_capacity(layers.directories.len());
        for path in layers.directories {
            let relative = below(path, layers.lower).map_err(failed("place", path))?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let place = open_without_links(&root, relative, flags)
                .map_err(failed("openat2 (in the overlay)", path))?;
            let clone = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH;
            let tree =
                open_tree(&place, c"", clone).map_err(failed("open_tree (overlay)", path))?;
            trees.push((path.clone(), tree));
        }
        Ok(Self {
            trees,
            layer: LayerLock(layer),
        })
    }

    /// The directories.
    pub(crate) fn directories(&self) -> impl Iterator<Item = &AbsolutePath> {
        self.trees.iter().map(|(path, _)| path)
    }

    /// Lays each directory onto its place in the view.
    pub(crate) fn attach(self) -> Result<LayerLock> {
        for (path, tree) in self.trees {
            attach(&tree, Spot::at(&path).open()?, &path)?;
        }
        Ok(self.layer)
    }
}

/// A path to a descriptor's object: the mount interface before Linux 6.13 takes no descriptors for layers.
fn by_descriptor(descriptor: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

fn below<'a>(path: &'a AbsolutePath, above: &AbsolutePath) -> std::result::Result<&'a Path, Errno> {
    path.as_path()
        .strip_prefix(above.as_path())
        .map_err(|_| Errno::INVAL)
}

/// The first layer that no other session holds.
fn take_layer(store: &AbsolutePath) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let store = open_without_links(CWD, store.as_path(), flags)?;
    for number in 0..MAX_LAYERS {
        let layer = make(&store, format!("layer-{number}"))?;
        match flock(&layer, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(layer),
            Err(Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::BUSY)
}

/// Opens the directory `name`, made if it is not there.
fn make(parent: &OwnedFd, name: impl AsRef<Path>) -> std::result::Result<OwnedFd, Errno> {
    let name = name.as_ref();
    match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// What the kernel makes below a layer's `work` when it mounts it `volatile`, the innermost first.
const MARK: &str = "work/incompat/volatile/dirty";
const MARKED: [&str; 3] = ["work/incompat/volatile", "work/incompat", "work"];

/// Removes the kernel's mark that the layer was mounted `volatile`; it would refuse to mount it again.
fn settle(work: &OwnedFd) -> std::result::Result<(), Errno> {
    let directories = MARKED.map(|name| (name, AtFlags::REMOVEDIR));
    let marks = [(MARK, AtFlags::empty())].into_iter().chain(directories);
    for (mark, kind) in marks {
        match unlinkat(work, mark, kind) {
            // What else lies in `work` the kernel removes itself.
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::NOTEMPTY) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Gives those directories permissions: the kernel makes them without any, and a person could not remove our state.
fn open_up(work: &OwnedFd) -> std::result::Result<(), Errno> {
    for name in MARKED.iter().rev() {
        match chmodat(work, *name, Mode::RWXU, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Says of a directory in a layer that nothing of the layers below it shows (kernel document `filesystems/overlayfs`,
/// with the mount option `userxattr`).
const OPAQUE: &str = "user.overlay.opaque";

/// A layer between the host's and ours in which an empty object without permissions covers each masked one. What the
/// target then does at that name, it does in its own layer.
fn lay_mask(layer: &OwnedFd, layers: Layers<'_>) -> std::result::Result<OwnedFd, Errno> {
    clear(layer, Path::new("mask"), 0)?;
    let mask = make(layer, "mask")?;
    for Mask { path, placeholder } in layers.masked {
        let relative = below(path, layers.lower)?;
        let mut names: Vec<_> = relative.iter().collect();
        let Some(last) = names.pop() else {
            return Err(Errno::INVAL);
        };
        let mut directory = rustix::io::fcntl_dupfd_cloexec(&mask, 3)?;
        for name in names {
            directory = make(&directory, Path::new(name))?;
        }
        match placeholder {
            Placeholder::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                openat(&directory, last, flags, Mode::empty())?;
            }
            Placeholder::Directory => {
                let covered = make(&directory, Path::new(last))?;
                fsetxattr(&covered, OPAQUE, b"y", XattrFlags::empty())?;
                fchmod(&covered, Mode::empty())?;
            }
        }
    }
    Ok(mask)
}

/// Removes a directory of ours with all that is in it, following no link.
fn clear(parent: &OwnedFd, name: &Path, depth: u32) -> std::result::Result<(), Errno> {
    if depth > MAX_DEPTH {
        return Err(Errno::LOOP);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match openat(parent, name, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let mut names: Vec<(PathBuf, FileType)> = Vec::new();
    for entry in Dir::read_from(directory.as_fd())? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let name = PathBuf::from(std::ffi::OsStr::from_bytes(name));
            names.push((name, entry.file_type()));
        }
    }
    for (name, kind) in names {
        if kind == FileType::Directory {
            clear(&directory, &name, depth + 1)?;
        } else {
            unlinkat(&directory, &name, AtFlags::empty())?;
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}
