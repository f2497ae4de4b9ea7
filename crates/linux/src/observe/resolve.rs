//! Paths resolved component by component, with the links that were followed.
//!
//! Invariant: no component of a resolved path is a symbolic link, as far as the path exists.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use ringfence_plan::linux::facts::{Entry, Kind, Object};
use ringfence_plan::step::FileId;
use ringfence_policy::AbsolutePath;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::error::ObserveError;
use crate::open::open_without_links;

/// As many links as the kernel follows in one lookup.
const MAX_LINKS: usize = 40;

/// A path as far as it resolves.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The resolved path; what does not exist is appended as it was written.
    pub(super) path: PathBuf,
    /// The links that were followed, by their own places.
    pub(super) links: Vec<PathBuf>,
    /// What is there; `None` where nothing is, or nothing the caller may see.
    pub(super) stat: Option<Stat>,
    /// The deepest directory that exists, where nothing is at the path.
    pub(super) existing: PathBuf,
}

impl Resolved {
    /// The object, where one is there.
    pub(super) fn object(&self) -> Option<Object> {
        let stat = self.stat.as_ref()?;
        Some(Object {
            path: AbsolutePath::new(&self.path).ok()?,
            id: file_id(stat),
            kind: kind(stat),
            owner: (stat.st_uid, stat.st_gid),
        })
    }

    /// The resolved path.
    ///
    /// # Errors
    /// [`ObserveError::Path`]; not for what the kernel resolved.
    pub(super) fn absolute(&self) -> Result<AbsolutePath, ObserveError> {
        absolute(&self.path)
    }
}

/// `path` as a plan holds it.
pub(super) fn absolute(path: &Path) -> Result<AbsolutePath, ObserveError> {
    AbsolutePath::new(path).map_err(|source| ObserveError::Path {
        path: path.to_owned(),
        source,
    })
}

pub(super) fn kind(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => Kind::Other,
    }
}

pub(super) fn file_id(stat: &Stat) -> FileId {
    FileId {
        device: stat.st_dev,
        inode: stat.st_ino,
    }
}

/// Resolves `path`, following every link.
///
/// # Errors
/// [`ObserveError::LookUp`], [`ObserveError::ReadLink`]: not for what is absent or may not be seen.
pub(super) fn resolve(path: &Path) -> Result<Resolved, ObserveError> {
    // Without a link on the way, `..` is what its letters say, but not above the root.
    if let Some(stat) = look_up_plain(path)
        && FileType::from_raw_mode(stat.st_mode) != FileType::Symlink
        && let Ok(normal) = AbsolutePath::new(path)
    {
        let path = normal.as_path().to_owned();
        return Ok(Resolved {
            existing: path.clone(),
            path,
            links: Vec::new(),
            stat: Some(stat),
        });
    }
    walk(path)
}

/// Looks `path` up if no link is on the way; the last component is not followed.
fn look_up_plain(path: &Path) -> Option<Stat> {
    let file = open_without_links(CWD, path, OFlags::PATH | OFlags::NOFOLLOW).ok()?;
    rustix::fs::fstat(&file).ok()
}

/// What `lstat` says: `None` where nothing is, or nothing the caller may see.
///
/// # Errors
/// [`ObserveError::LookUp`] for every other failure.
pub(super) fn look_up(path: &Path) -> Result<Option<Stat>, ObserveError> {
    found(rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)).map_err(|source| {
        ObserveError::LookUp {
            path: path.to_owned(),
            source,
        }
    })
}

/// What the caller may not search, its target may not either: that counts as nothing.
fn found<T>(answer: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP | Errno::NAMETOOLONG) => {
            Ok(None)
        }
        Err(source) => Err(source),
    }
}

fn walk(path: &Path) -> Result<Resolved, ObserveError> {
    let mut left: Vec<OsString> = parts(path);
    let mut current = PathBuf::from("/");
    let mut links = Vec::new();
    let mut last = look_up(&current)?;
    while let Some(part) = left.pop() {
        if part == OsStr::new("..") {
            current.pop();
            last = look_up(&current)?;
            continue;
        }
        let next = current.join(&part);
        let Some(stat) = look_up(&next)? else {
            return Ok(unfinished(current, &part, &left, links));
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            current = next;
            last = Some(stat);
            continue;
        }
        if links.len() == MAX_LINKS {
            return Ok(unfinished(current, &part, &left, links));
        }
        let target = read_link(&next)?;
        links.push(next);
        if target.is_absolute() {
            current = PathBuf::from("/");
        }
        last = look_up(&current)?;
        left.extend(parts(&target));
    }
    Ok(Resolved {
        existing: current.clone(),
        path: current,
        links,
        stat: last,
    })
}

fn unfinished(existing: PathBuf, part: &OsStr, left: &[OsString], links: Vec<PathBuf>) -> Resolved {
    let mut path = existing.join(part);
    for part in left.iter().rev() {
        if part == OsStr::new("..") {
            path.pop();
        } else {
            path.push(part);
        }
    }
    Resolved {
        path,
        links,
        stat: None,
        existing,
    }
}

/// The components of `path` in reverse, without the root and `.`.
fn parts(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
        })
        .collect()
}

fn read_link(path: &Path) -> Result<PathBuf, ObserveError> {
    let target =
        rustix::fs::readlinkat(CWD, path, Vec::new()).map_err(|source| ObserveError::ReadLink {
            path: path.to_owned(),
            source,
        })?;
    Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
}

/// What stands at `path`, whose directory part is resolved first; returns the path with that part resolved.
///
/// # Errors
/// As [`resolve`].
pub(super) fn probe_entry(path: &Path) -> Result<(AbsolutePath, Entry), ObserveError> {
    if let Some(stat) = look_up_plain(path)
        && let Ok(normal) = AbsolutePath::new(path)
    {
        return Ok((normal, entry_of(path, &stat)?));
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        // The root, or a path that ends in `..`.
        return Ok((resolve(path)?.absolute()?, Entry::Directory));
    };
    let parent = resolve(parent)?;
    let path = parent.path.join(name);
    if parent.stat.is_none() {
        let existing = absolute(&parent.existing)?;
        return Ok((absolute(&path)?, Entry::AbsentParent { existing }));
    }
    let entry = match look_up(&path)? {
        None => Entry::Absent,
        Some(stat) => entry_of(&path, &stat)?,
    };
    Ok((absolute(&path)?, entry))
}

/// What stands at the name `name`, one component, in the directory `directory`, which is resolved.
///
/// # Errors
/// As [`resolve`].
pub(super) fn probe_name(directory: &Directory<'_>, name: &str) -> Result<Entry, ObserveError> {
    let found = found(rustix::fs::statat(
        &directory.descriptor,
        name,
        AtFlags::SYMLINK_NOFOLLOW,
    ));
    let path = || directory.path.join(name);
    match found {
        Ok(Some(stat)) => entry_of(&path(), &stat),
        Ok(None) => Ok(Entry::Absent),
        Err(source) => Err(ObserveError::LookUp {
            path: path(),
            source,
        }),
    }
}

/// A resolved directory in which many names are looked up.
pub(super) struct Directory<'a> {
    path: &'a Path,
    descriptor: OwnedFd,
}

impl<'a> Directory<'a> {
    /// Opens it; `None` where nothing is, or nothing the caller may see.
    ///
    /// # Errors
    /// [`ObserveError::LookUp`].
    pub(super) fn open(path: &'a Path) -> Result<Option<Self>, ObserveError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match found(rustix::fs::openat(CWD, path, flags, Mode::empty())) {
            Ok(descriptor) => Ok(descriptor.map(|descriptor| Self { path, descriptor })),
            Err(source) => Err(ObserveError::LookUp {
                path: path.to_owned(),
                source,
            }),
        }
    }
}

/// The entry of an object that was looked up at `path` without following it.
///
/// # Errors
/// As [`resolve`].
pub(super) fn entry_of(path: &Path, stat: &Stat) -> Result<Entry, ObserveError> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Ok(match kind(stat) {
            Kind::Directory => Entry::Directory,
            Kind::File => Entry::File,
            Kind::Other => Entry::Other,
        });
    }
    let end = resolve(path)?;
    Ok(Entry::Symlink {
        target: end.absolute()?,
        kind: end.stat.as_ref().map(kind),
    })
}
