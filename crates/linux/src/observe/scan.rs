//! One walk over a root: repositories, names that match globs, files with a second hard link.
//!
//! Directories are opened relative to the root's descriptor with no link followed, so that a root's target can't
//! lead the walk out; mounts and the inside of `.git` are not entered. Invariant: each directory is read at most
//! once, and one that could not be read is reported.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ringfence_policy::Policy;
use ringfence_policy::glob::Glob;
use ringfence_policy::policy::HiddenPattern;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::error::ObserveError;
use super::hidden::compile;
use crate::open::open_without_links;

/// Directories in which no name is protected: a mount in them breaks their removal, and tools fill them.
const SKIPPED: [&[u8]; 4] = [b"node_modules", b"target", b".venv", b"vendor"];

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
    /// What hidden patterns match.
    pub(super) matches: Vec<Match>,
    /// Files of which another name was not found in the root, sorted.
    pub(super) outside_links: Vec<PathBuf>,
    /// Directories that could not be read.
    pub(super) unread: Vec<PathBuf>,
}

/// The policy's patterns for names in roots.
pub(super) struct Patterns(Vec<Pattern>);

struct Pattern {
    hidden: usize,
    glob: Glob,
    except: Vec<Glob>,
}

impl Patterns {
    /// Compiles the patterns of `policy`.
    ///
    /// # Errors
    /// [`ObserveError::Glob`].
    pub(super) fn compile(policy: &Policy) -> Result<Self, ObserveError> {
        let mut patterns = Vec::new();
        for (hidden, entry) in policy.filesystem.hidden.iter().enumerate() {
            let HiddenPattern::RootGlob { glob, except } = &entry.pattern else {
                continue;
            };
            patterns.push(Pattern {
                hidden,
                glob: compile(glob)?,
                except: except
                    .iter()
                    .map(|glob| compile(glob))
                    .collect::<Result<_, _>>()?,
            });
        }
        Ok(Self(patterns))
    }

    /// The policy's hidden entries that `relative` matches.
    fn matching(&self, relative: &Path) -> impl Iterator<Item = usize> {
        self.0
            .iter()
            .filter(move |pattern| {
                pattern.glob.is_match(relative)
                    && !pattern.except.iter().any(|glob| glob.is_match(relative))
            })
            .map(|pattern| pattern.hidden)
    }
}

/// Walks `root`; `mounts` are the mount points below it.
///
/// # Errors
/// [`ObserveError::OpenDirectory`] for the root itself, [`ObserveError::TooManyDirectories`].
pub(super) fn walk(
    root: &Path,
    mounts: &[PathBuf],
    patterns: &Patterns,
) -> Result<Found, ObserveError> {
    let top = open(CWD, root).map_err(|source| ObserveError::OpenDirectory {
        path: root.to_owned(),
        source,
    })?;
    let mounts: HashSet<&Path> = mounts.iter().map(PathBuf::as_path).collect();
    let mut walk = Walk {
        root,
        patterns,
        mounts,
        found: Found::default(),
        pending: Vec::new(),
        links: HashMap::new(),
    };
    let mut buffer = vec![MaybeUninit::uninit(); 32 << 10];
    walk.read(&top, Path::new(""), &mut buffer);
    let mut count = 1;
    while let Some(relative) = walk.pending.pop() {
        count += 1;
        if count > MAX_DIRECTORIES {
            return Err(ObserveError::TooManyDirectories {
                root: root.to_owned(),
                limit: MAX_DIRECTORIES,
            });
        }
        match open_beneath(&top, &relative) {
            Ok(directory) => walk.read(&directory, &relative, &mut buffer),
            // Gone or replaced meanwhile.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(_) => walk.found.unread.push(root.join(&relative)),
        }
    }
    Ok(walk.finish())
}

struct Walk<'a> {
    root: &'a Path,
    patterns: &'a Patterns,
    mounts: HashSet<&'a Path>,
    found: Found,
    pending: Vec<PathBuf>,
    /// Files with more than one name: how many names they have, and those found.
    links: HashMap<(u64, u64), (u64, Vec<PathBuf>)>,
}

impl Walk<'_> {
    fn read(&mut self, directory: &OwnedFd, relative: &Path, buffer: &mut [MaybeUninit<u8>]) {
        let mut entries = RawDir::new(directory, buffer);
        while let Some(entry) = entries.next() {
            let Ok(entry) = entry else {
                self.found.unread.push(self.root.join(relative));
                return;
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if name == b".git" {
                if !relative.as_os_str().is_empty() {
                    self.found.repositories.push(self.root.join(relative));
                }
                continue;
            }
            self.entry(
                directory,
                relative,
                OsStr::from_bytes(name),
                entry.file_type(),
            );
        }
    }

    fn entry(&mut self, directory: &OwnedFd, above: &Path, name: &OsStr, kind: FileType) {
        let relative = above.join(name);
        let mut hidden = false;
        for index in self.patterns.matching(&relative) {
            hidden = true;
            self.found.matches.push(Match {
                hidden: index,
                path: self.root.join(&relative),
            });
        }
        match kind {
            FileType::Directory => {
                let enter = !hidden
                    && !SKIPPED.contains(&name.as_bytes())
                    && (self.mounts.is_empty()
                        || !self.mounts.contains(self.root.join(&relative).as_path()));
                if enter {
                    self.pending.push(relative);
                }
            }
            FileType::RegularFile | FileType::Unknown => self.stat(directory, name, relative),
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice => {}
        }
    }

    fn stat(&mut self, directory: &OwnedFd, name: &OsStr, relative: PathBuf) {
        let Ok(stat) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return;
        };
        match FileType::from_raw_mode(stat.st_mode) {
            // A file system that tells no types in its directories.
            FileType::Directory if !SKIPPED.contains(&name.as_bytes()) => {
                self.pending.push(relative);
            }
            FileType::RegularFile if stat.st_nlink > 1 => {
                let known = self
                    .links
                    .entry((stat.st_dev, stat.st_ino))
                    .or_insert_with(|| (stat.st_nlink, Vec::new()));
                known.1.push(self.root.join(relative));
            }
            FileType::Directory
            | FileType::RegularFile
            | FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {}
        }
    }

    fn finish(mut self) -> Found {
        for (names, found) in self.links.into_values() {
            if u64::try_from(found.len()).is_ok_and(|count| count < names) {
                self.found.outside_links.extend(found);
            }
        }
        self.found.outside_links.sort_unstable();
        self.found.repositories.sort_unstable();
        self.found.unread.sort_unstable();
        self.found
            .matches
            .sort_by(|a, b| (&a.path, a.hidden).cmp(&(&b.path, b.hidden)));
        self.found
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
