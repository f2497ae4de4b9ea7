//! From a path as a thread spelt it to the object it names in the session.
//!
//! The session's root is the reader's own (`chroot` and `pivot_root` are refused), so absolute paths need no
//! translation but for the names below `/proc` that mean "myself", which are read as the thread's wherever the way leads
//! through them. Invariant: objects are opened by name alone
//! (`O_PATH`), so that no device, pipe or file system is woken.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, openat2, readlink};
use rustix::io::Errno;

use super::call::{Base, Follow};

/// How many links are followed at the end of a path; the kernel follows 40.
const MAX_LINKS: usize = 40;

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Resolved {
    /// A name in a directory that exists; whether the name does is another question.
    Name {
        /// Its path, without links.
        path: PathBuf,
    },
    /// An object that is reached without a last name: a descriptor, `.`, `/`.
    Object {
        /// Its path, without links.
        path: PathBuf,
    },
    /// A directory on the way is missing or out of reach: the kernel refuses the call whatever the rules say.
    Nowhere {
        /// The path by its letters, where it is absolute.
        spelt: PathBuf,
    },
}

impl Resolved {
    /// The path that it is judged by.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Name { path } | Self::Object { path } | Self::Nowhere { spelt: path } => path,
        }
    }
}

/// What resolving is done with; kept for its buffers.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    start: Vec<u8>,
    link: Vec<u8>,
}

impl Resolver {
    /// Resolves `spelt` as `thread` means it; an empty one is the object that `base` is. `None` for what has no
    /// path: a pipe, a socket, a deleted file, a bad descriptor.
    pub(super) fn resolve(
        &mut self,
        thread: u32,
        base: Base,
        spelt: &[u8],
        follow: Follow,
    ) -> Option<Resolved> {
        self.start.clear();
        begin(&mut self.start, thread, base, spelt);
        if spelt.is_empty() {
            return match base {
                Base::WorkingDirectory => None,
                Base::Descriptor(_) => self.object_of_link(),
            };
        }
        if let Some(path) = self.without_links(thread, base, spelt, follow) {
            return Some(Resolved::Name { path });
        }
        let path = std::mem::take(&mut self.start);
        let resolved = if self.is_plain(thread, base, spelt) {
            self.walk(thread, &path, follow)
        } else {
            self.walk_as_thread(thread, &path, follow)
        };
        self.start = path;
        resolved
    }

    /// The common case at the least cost: a path spelt without detours, on which the kernel finds no link, is its own
    /// answer. `None` where it is not so, or can't be told.
    fn without_links(
        &mut self,
        thread: u32,
        base: Base,
        spelt: &[u8],
        follow: Follow,
    ) -> Option<PathBuf> {
        let spelt = spelt.strip_prefix(b"./").unwrap_or(spelt);
        if !is_direct(spelt) {
            return None;
        }
        let path = if spelt.starts_with(b"/") {
            absolute(spelt)?
        } else {
            let mut link = Vec::with_capacity(32);
            begin(&mut link, thread, base, b"");
            let directory = self.read_link(&link)?;
            directory.join(OsStr::from_bytes(spelt))
        };
        let open = |path: &Path, flags: OFlags| {
            let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
            openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
        };
        if follow == Follow::Yes {
            match open(&path, OFlags::empty()) {
                Ok(_) => return Some(path),
                // Its directory may be there.
                Err(Errno::NOENT) => {}
                Err(_) => return None,
            }
        }
        let directory = open(path.parent()?, OFlags::DIRECTORY);
        directory.is_ok().then_some(path)
    }

    /// Whether the way to the last name crosses no link of `/proc` to an open object: those mean another object to each
    /// reader, and a target can reach them by links of its own.
    fn is_plain(&mut self, thread: u32, base: Base, spelt: &[u8]) -> bool {
        if spelt.starts_with(b"/") {
            let (directory, _) = split(&self.start);
            return crosses_no_object(CWD, directory);
        }
        let mut link = Vec::with_capacity(32);
        begin(&mut link, thread, base, b"");
        let (directory, _) = split(spelt);
        open_directory(CWD, &link).is_ok_and(|opened| crosses_no_object(opened, directory))
    }

    /// Walks one name at a time, with "myself" in `/proc` read as the thread.
    fn walk_as_thread(&mut self, thread: u32, start: &[u8], follow: Follow) -> Option<Resolved> {
        let mut directory = open_directory(CWD, b"/").ok()?;
        let mut names = Vec::new();
        push_names(&mut names, start);
        let mut links = 0;
        while let Some(mut name) = names.pop() {
            if name == b".." {
                directory = open_directory(directory, b"..").ok()?;
                continue;
            }
            let above = self.path_of(directory.as_fd())?;
            if above == Path::new("/proc") && matches!(&*name, b"self" | b"thread-self") {
                name = thread.to_string().into_bytes();
            }
            let is_last = names.is_empty();
            let path = above.join(OsStr::from_bytes(&name));
            if is_last && follow == Follow::No {
                return Some(Resolved::Name { path });
            }
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let name = OsStr::from_bytes(&name);
            let open = |flags| rustix::fs::openat(&directory, name, flags, Mode::empty());
            let Ok(object) = open(flags | OFlags::NOFOLLOW) else {
                return is_last.then_some(Resolved::Name { path });
            };
            let kind = rustix::fs::fstat(&object).ok()?.st_mode;
            if FileType::from_raw_mode(kind) != FileType::Symlink {
                if is_last {
                    return Some(Resolved::Name { path });
                }
                directory = object;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return None;
            }
            if above.starts_with("/proc") {
                directory = open(flags).ok()?;
                continue;
            }
            let target = rustix::fs::readlinkat(&directory, name, Vec::new()).ok()?;
            if target.as_bytes().starts_with(b"/") {
                directory = open_directory(CWD, b"/").ok()?;
            }
            push_names(&mut names, target.as_bytes());
        }
        self.path_of(directory.as_fd())
            .map(|path| Resolved::Object { path })
    }

    fn walk(&mut self, thread: u32, start: &[u8], follow: Follow) -> Option<Resolved> {
        let mut current = split(start);
        let Ok(mut parent) = open_directory(CWD, current.0) else {
            return nowhere(start);
        };
        let mut names: (Vec<u8>, Vec<u8>);
        for _ in 0..MAX_LINKS {
            let name = current.1;
            if matches!(name, b"" | b"." | b"..") {
                let object =
                    open_directory(parent.as_fd(), if name.is_empty() { b"." } else { name })
                        .ok()?;
                return self
                    .path_of(object.as_fd())
                    .map(|path| Resolved::Object { path });
            }
            let link = match follow {
                Follow::Yes => rustix::fs::readlinkat(
                    parent.as_fd(),
                    OsStr::from_bytes(name),
                    std::mem::take(&mut self.link),
                ),
                Follow::No => Err(Errno::INVAL),
            };
            let Ok(target) = link else {
                let directory = self.path_of(parent.as_fd())?;
                let path = directory.join(OsStr::from_bytes(name));
                return Some(Resolved::Name { path });
            };
            let target = target.into_bytes();
            let directory = self.path_of(parent.as_fd())?;
            if directory.starts_with("/proc") {
                // A link to an open object: its text is a path only where the object has one.
                return target.starts_with(b"/").then(|| Resolved::Object {
                    path: PathBuf::from(OsString::from_vec(target)),
                });
            }
            let (next, last) = split(&target);
            if !crosses_no_object(parent.as_fd(), next) {
                return self.walk_as_thread(thread, start, follow);
            }
            parent = match open_directory(parent.as_fd(), next) {
                Ok(parent) => parent,
                Err(_) => {
                    return nowhere(
                        directory
                            .join(OsStr::from_bytes(&target))
                            .as_os_str()
                            .as_bytes(),
                    );
                }
            };
            names = (next.to_vec(), last.to_vec());
            current = (&names.0, &names.1);
        }
        None
    }

    /// The object that the `/proc` link in `start` leads to.
    fn object_of_link(&mut self) -> Option<Resolved> {
        let start = std::mem::take(&mut self.start);
        let path = self.read_link(&start);
        self.start = start;
        path.map(|path| Resolved::Object { path })
    }

    /// The absolute path that a link holds.
    fn read_link(&mut self, link: &[u8]) -> Option<PathBuf> {
        let text = readlink(OsStr::from_bytes(link), std::mem::take(&mut self.link)).ok()?;
        let path = absolute(text.as_bytes());
        self.link = text.into_bytes();
        path
    }

    /// The path of an open object, as the kernel knows it.
    fn path_of(&mut self, object: impl AsFd) -> Option<PathBuf> {
        let mut name = [0_u8; 32];
        let mut rest = name.as_mut_slice();
        write!(rest, "/proc/self/fd/{}", object.as_fd().as_raw_fd()).ok()?;
        let unused = rest.len();
        let name = name.get(..32 - unused)?;
        self.read_link(name)
    }
}

/// Whether a path has neither `.` nor `..`, no doubled separator and none at its end.
fn is_direct(path: &[u8]) -> bool {
    let relative = path.strip_prefix(b"/").unwrap_or(path);
    relative
        .split(|byte| *byte == b'/')
        .all(|name| !matches!(name, b"" | b"." | b".."))
}

fn absolute(path: &[u8]) -> Option<PathBuf> {
    path.starts_with(b"/")
        .then(|| PathBuf::from(OsStr::from_bytes(path)))
}

/// A path whose directory is missing: what can be said of it is its letters.
fn nowhere(path: &[u8]) -> Option<Resolved> {
    absolute(path).map(|spelt| Resolved::Nowhere { spelt })
}

/// Writes where a thread's path begins: names that mean the thread itself are spelt out with its number.
fn begin(start: &mut Vec<u8>, thread: u32, base: Base, spelt: &[u8]) {
    const OWN: [(&[u8], &str); 6] = [
        (b"/proc/self", ""),
        (b"/proc/thread-self", ""),
        (b"/dev/fd", "/fd"),
        (b"/dev/stdin", "/fd/0"),
        (b"/dev/stdout", "/fd/1"),
        (b"/dev/stderr", "/fd/2"),
    ];
    // Writing to a vector can't fail.
    let mut push = |text: std::fmt::Arguments<'_>| drop(start.write_fmt(text));
    if !spelt.starts_with(b"/") {
        match base {
            Base::WorkingDirectory => push(format_args!("/proc/{thread}/cwd")),
            Base::Descriptor(number) => push(format_args!("/proc/{thread}/fd/{number}")),
        }
        if !spelt.is_empty() {
            start.push(b'/');
            start.extend_from_slice(spelt);
        }
        return;
    }
    for (own, place) in OWN {
        if let Some(rest) = spelt.strip_prefix(own)
            && (rest.is_empty() || rest.starts_with(b"/"))
        {
            push(format_args!("/proc/{thread}{place}"));
            start.extend_from_slice(rest);
            return;
        }
    }
    start.extend_from_slice(spelt);
}

/// A path's directory and last name; separators at its end are dropped.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(0, |last| last + 1);
    let (path, _) = path.split_at(end);
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(0) => (b"/", path.get(1..).unwrap_or_default()),
        Some(at) => (
            path.get(..at).unwrap_or_default(),
            path.get(at + 1..).unwrap_or_default(),
        ),
        // Only separators, or a single name of a link's text.
        None if path.is_empty() => (b"/", b""),
        None => (b".", path),
    }
}

/// Pushes the names of `path`, the first on top.
fn push_names(names: &mut Vec<Vec<u8>>, path: &[u8]) {
    let parts = path.split(|byte| *byte == b'/').rev();
    names.extend(
        parts
            .filter(|name| !matches!(*name, b"" | b"."))
            .map(<[u8]>::to_vec),
    );
}

/// Whether `path` is looked up without a link of `/proc` to an open object, as far as it goes.
fn crosses_no_object(base: impl AsFd, path: &[u8]) -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_MAGICLINKS;
    !matches!(
        openat2(base, path, flags, Mode::empty(), resolve),
        Err(Errno::LOOP)
    )
}

fn open_directory(base: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        base,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}
