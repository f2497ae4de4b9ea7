//! One walk over a root: repositories, names that match globs, files with a second hard link.
//!
//! Directories are opened relative to the root's descriptor with no link followed, so that a root's target can't
//! lead the walk out; mounts and the inside of `.git` are not entered. Invariant: each directory is read at most
//! once, and one that could not be read is reported.

mod cache;
mod patterns;

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::error::ObserveError;
use crate::open::open_without_links;
use cache::{Cache, Holding, Stamp};
use patterns::Depth;
pub(super) use patterns::Patterns;

/// Directories in which no name is protected and no repository sought: a mount in them breaks their removal, and
/// tools fill them. What a person's own pattern names is sought there too.
const FILLED: [&[u8]; 4] = [b"node_modules", b"target", b".venv", b"vendor"];

/// As many directories as one scan reads.
const MAX_DIRECTORIES: usize = 1_000_000;

/// A path in a root that a hidden pattern matches.
#[derive(Debug)]
pub(super) struct Match {
    /// Index of the policy's hidden entry.
    pub(super) hidden: usize,
    /// The path.
    pub(super) path: PathBuf,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Directories with a `.git`, the root's top not among them, sorted.
    pub(super) repositories: Vec<PathBuf>,
    /// Git directories without a working tree, sorted.
    pub(super) bare: Vec<PathBuf>,
    /// What hidden patterns match.
    pub(super) matches: Vec<Match>,
    /// Files of which another name was not found in the root, sorted.
    pub(super) outside_links: Vec<PathBuf>,
    /// Directories that could not be read.
    pub(super) unread: Vec<PathBuf>,
}

/// Where a scan may keep what it found for the next one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keep<'a> {
    /// In this state directory of ours; with the time now, in seconds since 1970.
    In(&'a Path, i64),
    /// Nowhere: what is not looked at now must not be taken from then.
    Nothing,
}

/// Walks `root`; `mounts` are the mount points below it.
///
/// # Errors
/// [`ObserveError::OpenDirectory`] for the root itself, [`ObserveError::TooManyDirectories`].
pub(super) fn walk(
    root: &Path,
    mounts: &[PathBuf],
    patterns: &Patterns,
    keep: Keep<'_>,
) -> Result<Found, ObserveError> {
    let top = open(CWD, root).map_err(|source| ObserveError::OpenDirectory {
        path: root.to_owned(),
        source,
    })?;
    let cache = match keep {
        Keep::In(state, now) => Cache::open(state, root, &top, patterns.fingerprint(), now),
        Keep::Nothing => None,
    };
    let mut walk = Walk {
        root,
        top,
        patterns,
        fills: patterns.has_own(),
        mounts: mounts.iter().map(PathBuf::as_path).collect(),
        found: Found::default(),
        pending: vec![(PathBuf::new(), Depth::Whole)],
        links: HashMap::new(),
        cache,
    };
    let mut buffer = vec![MaybeUninit::uninit(); 32 << 10];
    let mut count = 0;
    while let Some((relative, depth)) = walk.pending.pop() {
        count += 1;
        if count > MAX_DIRECTORIES {
            return Err(ObserveError::TooManyDirectories {
                root: root.to_owned(),
                limit: MAX_DIRECTORIES,
            });
        }
        walk.visit(&relative, depth, &mut buffer);
    }
    Ok(walk.finish())
}

struct Walk<'a> {
    root: &'a Path,
    top: OwnedFd,
    patterns: &'a Patterns,
    /// Whether directories that tools fill are entered.
    fills: bool,
    mounts: HashSet<&'a Path>,
    found: Found,
    pending: Vec<(PathBuf, Depth)>,
    /// Files with more than one name: how many names they have, and those found.
    links: HashMap<(u64, u64), (u64, Vec<PathBuf>)>,
    cache: Option<Cache>,
}

impl Walk<'_> {
    fn visit(&mut self, relative: &Path, depth: Depth, buffer: &mut [MaybeUninit<u8>]) {
        let known = self
            .cache
            .as_mut()
            .and_then(|cache| cache.unchanged(&self.top, relative));
        let holding = match known {
            Some(holding) => holding,
            None => match self.read(relative, depth, buffer) {
                Ok(holding) => holding,
                // Gone or replaced meanwhile.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return,
                Err(_) => {
                    self.found.unread.push(self.root.join(relative));
                    return;
                }
            },
        };
        self.take(relative, depth, &holding);
    }

    fn read(
        &mut self,
        relative: &Path,
        depth: Depth,
        buffer: &mut [MaybeUninit<u8>],
    ) -> Result<Holding, Errno> {
        let below;
        let directory = if relative.as_os_str().is_empty() {
            &self.top
        } else {
            below = open_beneath(&self.top, relative)?;
            &below
        };
        // Before the names: a change while they are read must show the next time.
        let stamp = match self.cache {
            Some(_) => Some(Stamp::of(&rustix::fs::fstat(directory)?)),
            None => None,
        };
        let mut reading = Reading {
            directory,
            depth,
            fills: self.fills,
            patterns: self.patterns,
            relative: relative.to_owned(),
            parts: 0,
            holding: Holding::default(),
        };
        let mut entries = RawDir::new(directory, buffer);
        let mut is_whole = true;
        while let Some(entry) = entries.next() {
            let Ok(entry) = entry else {
                is_whole = false;
                break;
            };
            reading.entry(entry.file_name().to_bytes(), entry.file_type());
        }
        let mut holding = reading.holding;
        holding.is_bare = reading.parts == BARE.len();
        if !is_whole {
            self.found.unread.push(self.root.join(relative));
        } else if let (Some(cache), Some(stamp)) = (&mut self.cache, stamp) {
            cache.keep(relative, stamp, &holding);
        }
        Ok(holding)
    }

    /// Takes what a directory holds into what was found, and its directories into what is left to do.
    fn take(&mut self, relative: &Path, depth: Depth, holding: &Holding) {
        if holding.is_repository && !relative.as_os_str().is_empty() {
            self.found.repositories.push(self.root.join(relative));
        }
        if holding.is_bare {
            self.found.bare.push(self.root.join(relative));
        }
        for (hidden, name) in &holding.matches {
            let mut path = self.root.join(relative);
            path.push(OsStr::from_bytes(name));
            self.found.matches.push(Match {
                hidden: *hidden,
                path,
            });
        }
        for name in &holding.links {
            self.link(relative.join(OsStr::from_bytes(name)));
        }
        for name in &holding.below {
            let below = relative.join(OsStr::from_bytes(name));
            let is_mount =
                !self.mounts.is_empty() && self.mounts.contains(self.root.join(&below).as_path());
            if !is_mount {
                let depth = if is_filled(name) {
                    Depth::OwnPatterns
                } else {
                    depth
                };
                self.pending.push((below, depth));
            }
        }
    }

    fn link(&mut self, relative: PathBuf) {
        let Ok(stat) = rustix::fs::statat(&self.top, &relative, AtFlags::SYMLINK_NOFOLLOW) else {
            return;
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink > 1 {
            self.links
                .entry((stat.st_dev, stat.st_ino))
                .or_insert_with(|| (stat.st_nlink, Vec::new()))
                .1
                .push(self.root.join(relative));
        }
    }

    fn finish(mut self) -> Found {
        if let Some(cache) = self.cache {
            cache.store();
        }
        for (names, found) in self.links.into_values() {
            if u64::try_from(found.len()).is_ok_and(|count| count < names) {
                self.found.outside_links.extend(found);
            }
        }
        self.found.outside_links.sort_unstable();
        self.found.repositories.sort_unstable();
        self.found.bare.sort_unstable();
        self.found.unread.sort_unstable();
        self.found
            .matches
            .sort_by(|a, b| (&a.path, a.hidden).cmp(&(&b.path, b.hidden)));
        self.found
    }
}

/// What every git directory holds at its top, by which git itself knows one.
const BARE: [&[u8]; 3] = [b"HEAD", b"objects", b"refs"];

fn is_filled(name: &[u8]) -> bool {
    FILLED.contains(&name)
}

/// One directory while it is read.
struct Reading<'a> {
    directory: &'a OwnedFd,
    depth: Depth,
    fills: bool,
    patterns: &'a Patterns,
    relative: PathBuf,
    /// How many of [`BARE`] were seen.
    parts: usize,
    holding: Holding,
}

impl Reading<'_> {
    fn entry(&mut self, name: &[u8], kind: FileType) {
        match name {
            b"." | b".." => return,
            b".git" => {
                self.holding.is_repository = self.depth == Depth::Whole;
                return;
            }
            _ => {}
        }
        if self.depth == Depth::Whole && BARE.contains(&name) {
            self.parts += 1;
        }
        self.relative.push(OsStr::from_bytes(name));
        let matched = self.holding.matches.len();
        for hidden in self.patterns.matching(&self.relative, self.depth) {
            self.holding.matches.push((hidden, name.to_vec()));
        }
        self.relative.pop();
        let is_hidden = self.holding.matches.len() > matched;
        match kind {
            FileType::Directory => self.directory(name, is_hidden),
            FileType::RegularFile if self.depth == Depth::Whole => self.file(name, is_hidden),
            // A file system that tells no types in its directories.
            FileType::Unknown => self.file(name, is_hidden),
            FileType::RegularFile
            | FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice => {}
        }
    }

    fn directory(&mut self, name: &[u8], is_hidden: bool) {
        if !is_hidden && (self.fills || !is_filled(name)) {
            self.holding.below.push(name.to_vec());
        }
    }

    fn file(&mut self, name: &[u8], is_hidden: bool) {
        let name_os = OsStr::from_bytes(name);
        let Ok(stat) = rustix::fs::statat(self.directory, name_os, AtFlags::SYMLINK_NOFOLLOW)
        else {
            return;
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.directory(name, is_hidden),
            FileType::RegularFile if stat.st_nlink > 1 && self.depth == Depth::Whole => {
                self.holding.links.push(name.to_vec());
            }
            FileType::RegularFile
            | FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {}
        }
    }
}

fn open(at: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, path, FLAGS, Mode::empty())
}

const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn open_beneath(top: &OwnedFd, relative: &Path) -> Result<OwnedFd, Errno> {
    // `relative` was spelt by the scan from names it read, so it neither climbs nor is absolute.
    open_without_links(top, relative, FLAGS)
}

#[cfg(test)]
mod tests;
