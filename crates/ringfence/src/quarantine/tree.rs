//! Moving, copying and removing objects in a tree that an attacker made and may still be changing.
//!
//! Every step names an object by an open directory and one name. Invariant: no link is ever followed, and nothing
//! but regular files and directories is opened.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::ObjectKind;

/// What may be looked at and copied at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caps {
    /// Bytes of content.
    pub(crate) bytes: u64,
    /// Files, directories and links.
    pub(crate) entries: u64,
    /// Directories inside each other.
    pub(crate) depth: usize,
}

/// An error with the step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TreeError {
    /// The system refused a step.
    #[error("{0}")]
    System(&'static str, #[source] Errno),
    /// The object is larger than [`Caps`].
    #[error("it is too large to copy")]
    TooLarge,
    /// A part of the path is no directory, or a link.
    #[error("a part of the path is a link or no directory")]
    NotDirectory,
    /// The path has a part that is no plain name.
    #[error("the path is not below its root")]
    Outside,
}

type Result<T> = std::result::Result<T, TreeError>;

/// The flags a directory is opened with only to name things in it; needs no permission to read it.
fn place_flags() -> OFlags {
    #[cfg(target_os = "linux")]
    let kind = OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    let kind = OFlags::RDONLY;
    kind | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Opens a directory that the caller trusts, for naming things in it.
pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, place_flags(), Mode::empty()).map_err(directory_error)
}

fn directory_error(errno: Errno) -> TreeError {
    match errno {
        Errno::LOOP | Errno::NOTDIR => TreeError::NotDirectory,
        errno => TreeError::System("a directory could not be opened", errno),
    }
}

/// Opens the directory that holds `path`, walking down from `root` without following a link; `None` where a part
/// does not exist.
///
/// One `openat` per part instead of one `openat2`: the same promise, and it works where a filter refuses `openat2`.
pub(crate) fn open_parent(root: &Path, path: &Path) -> Result<Option<(OwnedFd, OsString)>> {
    let relative = path.strip_prefix(root).map_err(|_| TreeError::Outside)?;
    let mut names = Vec::new();
    for component in relative.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::Prefix(_)
            | Component::RootDir
            | Component::CurDir
            | Component::ParentDir => {
                return Err(TreeError::Outside);
            }
        }
    }
    let last = names.pop().ok_or(TreeError::Outside)?;
    let mut directory = open_directory(root)?;
    for name in names {
        let open = || rustix::fs::openat(&directory, name, place_flags(), Mode::empty());
        directory = match open_up(directory.as_fd(), open) {
            Ok(next) => next,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(directory_error(errno)),
        };
    }
    Ok(Some((directory, last.to_owned())))
}

/// Tries `attempt`, which names something in `directory`, again with all rights on it where it is refused: an attacker
/// may have taken them away from the directory that holds what is to be moved.
fn open_up<T>(
    directory: BorrowedFd<'_>,
    attempt: impl Fn() -> std::result::Result<T, Errno>,
) -> std::result::Result<T, Errno> {
    match attempt() {
        #[cfg(target_os = "linux")]
        Err(Errno::ACCESS) => {
            give_owner_rights(directory)?;
            attempt()
        }
        result => result,
    }
}

/// What is at `name`, not following it; `None` when nothing is.
pub(crate) fn examine(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Stat>> {
    let look = || rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    match open_up(directory, look) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(TreeError::System("it could not be examined", errno)),
    }
}

pub(crate) fn kind_of(stat: &Stat) -> ObjectKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => ObjectKind::File,
        FileType::Directory => ObjectKind::Directory,
        FileType::Symlink => ObjectKind::Symlink,
        _ => ObjectKind::Special,
    }
}

/// How a rename ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renamed {
    /// It is there now.
    Moved,
    /// It was not there any more.
    Gone,
    /// Something is there already.
    Occupied,
    /// The two places are on different file systems.
    OtherFileSystem,
}

/// Renames without overwriting.
pub(crate) fn rename(
    from: (BorrowedFd<'_>, &OsStr),
    to: (BorrowedFd<'_>, &OsStr),
) -> Result<Renamed> {
    let attempt = || rename_exclusively(from, to);
    let result = match open_up(from.0, attempt) {
        // Moving a directory writes its `..`, so its own permissions count: an attacker may have taken them away.
        Err(Errno::ACCESS) => {
            make_accessible(from.0, from.1)?;
            attempt()
        }
        result => result,
    };
    match result {
        Ok(()) => Ok(Renamed::Moved),
        Err(Errno::NOENT) => Ok(Renamed::Gone),
        Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(Renamed::Occupied),
        Err(Errno::XDEV) => Ok(Renamed::OtherFileSystem),
        Err(errno) => Err(TreeError::System("it could not be moved", errno)),
    }
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
fn rename_exclusively(
    from: (BorrowedFd<'_>, &OsStr),
    to: (BorrowedFd<'_>, &OsStr),
) -> std::result::Result<(), Errno> {
    match rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        // A file system without the flag: checked first instead. The target is a directory of ours, or the person's
        // own, where only the person could put something in between.
        Err(Errno::INVAL) => match rustix::fs::statat(to.0, to.1, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => rustix::fs::renameat(from.0, from.1, to.0, to.1),
            Err(errno) => Err(errno),
        },
        result => result,
    }
}

/// Gives the owner all rights on a directory or file, never through a link.
pub(crate) fn make_accessible(directory: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    let error = |errno| TreeError::System("its permissions could not be changed", errno);
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    {
        let object = rustix::fs::openat(directory, name, flags | OFlags::PATH, Mode::empty())
            .map_err(error)?;
        give_owner_rights(object.as_fd()).map_err(error)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let object = rustix::fs::openat(
            directory,
            name,
            flags | OFlags::RDONLY | OFlags::NONBLOCK,
            Mode::empty(),
        )
        .map_err(error)?;
        rustix::fs::fchmod(&object, Mode::RWXU).map_err(error)
    }
}

/// Gives the owner all rights on an open directory or file.
#[cfg(target_os = "linux")]
fn give_owner_rights(object: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
    let stat = rustix::fs::fstat(object)?;
    let wanted = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Mode::RWXU,
        FileType::RegularFile => Mode::RUSR | Mode::WUSR,
        _ => return Ok(()),
    };
    let mode = Mode::from_raw_mode(stat.st_mode) | wanted;
    // A descriptor of kind O_PATH can't be given to fchmod; its name in /proc leads to exactly that object.
    rustix::fs::chmod(format!("/proc/self/fd/{}", object.as_raw_fd()), mode)
}

/// Opens a regular file or a directory for reading, also where its owner may not.
pub(crate) fn open_readable(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    flags: OFlags,
) -> Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let open = || rustix::fs::openat(directory, name, flags, Mode::empty());
    let opened = match open() {
        Err(Errno::ACCESS) => {
            make_accessible(directory, name)?;
            open()
        }
        opened => opened,
    };
    opened.map_err(|errno| TreeError::System("it could not be opened", errno))
}

/// The content of a regular file, never more than `limit` bytes.
pub(crate) fn read_file(directory: BorrowedFd<'_>, name: &OsStr, limit: usize) -> Result<Vec<u8>> {
    let error = |errno| TreeError::System("a file could not be read", errno);
    let file = open_readable(directory, name, OFlags::empty())?;
    if kind_of(&rustix::fs::fstat(&file).map_err(error)?) != ObjectKind::File {
        return Err(TreeError::System(
            "a file was exchanged while it was read",
            Errno::AGAIN,
        ));
    }
    let mut content = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = rustix::io::read(&file, &mut buffer).map_err(error)?;
        content.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if content.len() > limit {
            return Err(TreeError::TooLarge);
        }
        if count == 0 {
            return Ok(content);
        }
    }
}

/// The names in an open directory.
pub(crate) fn names_in(directory: &OwnedFd) -> Result<Vec<OsString>> {
    let entries = entries_in(directory)?;
    Ok(entries.into_iter().map(|(name, _)| name).collect())
}

/// The names in an open directory, each with its type as the file system tells it.
pub(crate) fn entries_in(directory: &OwnedFd) -> Result<Vec<(OsString, FileType)>> {
    use std::os::unix::ffi::OsStrExt;
    let error = |errno| TreeError::System("a directory could not be listed", errno);
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).map_err(error)? {
        let entry = entry.map_err(error)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push((name.to_owned(), entry.file_type()));
        }
    }
    Ok(names)
}

/// Copies an object to a place that does not exist yet; owner and set-id bits are not kept, special files are left
/// out. What was copied stays when it fails: the caller removes it.
pub(crate) fn copy(
    from: (BorrowedFd<'_>, &OsStr),
    to: (BorrowedFd<'_>, &OsStr),
    caps: &mut Caps,
) -> Result<()> {
    let Some(stat) = examine(from.0, from.1)? else {
        return Ok(());
    };
    caps.entries = caps.entries.checked_sub(1).ok_or(TreeError::TooLarge)?;
    match kind_of(&stat) {
        ObjectKind::File => copy_file(from, to, &stat, caps),
        ObjectKind::Directory => copy_directory(from, to, &stat, caps),
        ObjectKind::Symlink => {
            let error = |errno| TreeError::System("a link could not be copied", errno);
            let target = rustix::fs::readlinkat(from.0, from.1, Vec::new()).map_err(error)?;
            rustix::fs::symlinkat(target, to.0, to.1).map_err(error)
        }
        ObjectKind::Special => Ok(()),
    }
}

/// Gives every regular file in an object that has further names a content of its own: what is written through those
/// no longer shows here. Where it fails, some of them may still share theirs.
pub(crate) fn separate(directory: BorrowedFd<'_>, name: &OsStr, caps: &mut Caps) -> Result<()> {
    let own = OsStr::new(".ringfence-own");
    let mut copy_shared = |directory: BorrowedFd<'_>,
                           name: &OsStr,
                           stat: &Stat,
                           caps: &mut Caps| {
        let copied = copy_file((directory, name), (directory, own), stat, caps).and_then(|()| {
            rustix::fs::renameat(directory, own, directory, name)
                .map_err(|errno| TreeError::System("a copy could not be put in place", errno))
        });
        if copied.is_err() {
            let _ = unlink(directory, own, AtFlags::empty());
        }
        copied
    };
    visit_shared(directory, name, caps, &mut copy_shared)
}

/// Whether a regular file in an object has further names, through which its content may be changed.
pub(crate) fn is_shared(directory: BorrowedFd<'_>, name: &OsStr, caps: &mut Caps) -> Result<bool> {
    let mut shared = false;
    visit_shared(directory, name, caps, &mut |_, _, _, _| {
        shared = true;
        Ok(())
    })?;
    Ok(shared)
}

/// What is done with a file that has further names.
type OnShared<'a> = dyn FnMut(BorrowedFd<'_>, &OsStr, &Stat, &mut Caps) -> Result<()> + 'a;

fn visit_shared(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    caps: &mut Caps,
    on_shared: &mut OnShared<'_>,
) -> Result<()> {
    let Some(stat) = examine(directory, name)? else {
        return Ok(());
    };
    caps.entries = caps.entries.checked_sub(1).ok_or(TreeError::TooLarge)?;
    match kind_of(&stat) {
        ObjectKind::File if stat.st_nlink > 1 => on_shared(directory, name, &stat, caps),
        ObjectKind::File | ObjectKind::Symlink | ObjectKind::Special => Ok(()),
        ObjectKind::Directory => {
            caps.depth = caps.depth.checked_sub(1).ok_or(TreeError::TooLarge)?;
            let opened = open_readable(directory, name, OFlags::DIRECTORY)?;
            for inner in names_in(&opened)? {
                visit_shared(opened.as_fd(), &inner, caps, on_shared)?;
            }
            caps.depth += 1;
            Ok(())
        }
    }
}

fn permissions(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode) & (Mode::RWXU | Mode::RWXG | Mode::RWXO)
}

fn copy_file(
    from: (BorrowedFd<'_>, &OsStr),
    to: (BorrowedFd<'_>, &OsStr),
    stat: &Stat,
    caps: &mut Caps,
) -> Result<()> {
    let error = |errno| TreeError::System("a file could not be copied", errno);
    let source = open_readable(from.0, from.1, OFlags::empty())?;
    let opened = rustix::fs::fstat(&source).map_err(error)?;
    if kind_of(&opened) != ObjectKind::File {
        return Err(TreeError::System(
            "a file was exchanged while it was copied",
            Errno::AGAIN,
        ));
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to.0, to.1, flags, permissions(stat)).map_err(error)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = rustix::io::read(&source, &mut buffer).map_err(error)?;
        let mut rest = buffer.get(..count).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        caps.bytes = caps
            .bytes
            .checked_sub(count as u64)
            .ok_or(TreeError::TooLarge)?;
        while !rest.is_empty() {
            let written = rustix::io::write(&target, rest).map_err(error)?;
            rest = rest.get(written..).unwrap_or_default();
        }
    }
}

fn copy_directory(
    from: (BorrowedFd<'_>, &OsStr),
    to: (BorrowedFd<'_>, &OsStr),
    stat: &Stat,
    caps: &mut Caps,
) -> Result<()> {
    let error = |errno| TreeError::System("a directory could not be copied", errno);
    caps.depth = caps.depth.checked_sub(1).ok_or(TreeError::TooLarge)?;
    let source = open_readable(from.0, from.1, OFlags::DIRECTORY)?;
    rustix::fs::mkdirat(to.0, to.1, permissions(stat) | Mode::RWXU).map_err(error)?;
    let target = open_readable(to.0, to.1, OFlags::DIRECTORY)?;
    for name in names_in(&source)? {
        copy((source.as_fd(), &name), (target.as_fd(), &name), caps)?;
    }
    caps.depth += 1;
    Ok(())
}

/// Directories inside each other that [`remove`] descends into before it moves what is deeper up.
const REMOVE_DEPTH: usize = 32;

/// Removes an object and everything in it, however deep: what lies too deep is first moved up beside it, so that
/// neither descriptors nor the stack run out.
pub(crate) fn remove(directory: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    let mut waiting = vec![name.to_owned()];
    let mut moved_up = 0_u64;
    while let Some(name) = waiting.pop() {
        let mut removal = Removal {
            base: directory,
            stem: &name,
            waiting: &mut waiting,
            moved_up: &mut moved_up,
        };
        removal.remove(directory, &name, REMOVE_DEPTH)?;
    }
    Ok(())
}

struct Removal<'a> {
    base: BorrowedFd<'a>,
    stem: &'a OsStr,
    waiting: &'a mut Vec<OsString>,
    moved_up: &'a mut u64,
}

impl Removal<'_> {
    fn remove(&mut self, directory: BorrowedFd<'_>, name: &OsStr, depth: usize) -> Result<()> {
        let Some(stat) = examine(directory, name)? else {
            return Ok(());
        };
        if kind_of(&stat) != ObjectKind::Directory {
            return unlink(directory, name, AtFlags::empty());
        }
        if depth == 0 {
            return self.move_up(directory, name);
        }
        make_accessible(directory, name)?;
        let opened = open_readable(directory, name, OFlags::DIRECTORY)?;
        for inner in names_in(&opened)? {
            self.remove(opened.as_fd(), &inner, depth - 1)?;
        }
        unlink(directory, name, AtFlags::REMOVEDIR)
    }

    fn move_up(&mut self, directory: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        loop {
            *self.moved_up += 1;
            let mut up = OsString::from(format!(".deep-{}-", self.moved_up));
            up.push(
                self.stem
                    .to_string_lossy()
                    .chars()
                    .take(32)
                    .collect::<String>(),
            );
            match rename((directory, name), (self.base, &up))? {
                Renamed::Moved => {
                    self.waiting.push(up);
                    return Ok(());
                }
                Renamed::Gone => return Ok(()),
                Renamed::Occupied => {}
                Renamed::OtherFileSystem => {
                    return Err(TreeError::System("a mount lies in it", Errno::BUSY));
                }
            }
        }
    }
}

fn unlink(directory: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> Result<()> {
    match rustix::fs::unlinkat(directory, name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(TreeError::System("it could not be removed", errno)),
    }
}
