//! One walk over a root: repositories, names that match globs, files with a second hard link.
//!
//! Directories are opened relative to the root's descriptor with no link followed, so that a root's target can't
//! lead the walk out; mounts and the inside of `.git` are not entered. Invariant: each directory is read at most
//! once, and one that could not be read is reported.

mod cache;
mod holding;
mod patterns;
mod tree;

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use super::error::ObserveError;
use crate::open::open_without_links;
use cache::{Cache, Counts, Stamp};
use holding::{Holding, Reading, is_filled};
use patterns::Depth;
pub(super) use patterns::Patterns;
use tree::{Children, Gap, Malformed, Node, Writer};

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
    /// How many directories were looked at.
    pub(super) directories: u64,
    /// How many of them were read: what the rest holds was known.
    pub(super) read: u64,
}

/// Where a scan may keep what it found for the next one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keep<'a> {
    /// In this state directory of ours; with the time now, in seconds since 1970.
    In(&'a Path, i64),
    /// Nowhere: what is not looked at now must not be taken from then.
    Nothing,
}

/// As whom a session's commands run, where root observes and could look where they can't.
#[derive(Clone, Copy, Debug)]
pub(super) enum Insiders {
    /// As who observes: what can be read here can be read there, and nothing else.
    Caller,
    /// Root observes, and these own what a session can open: root itself, and the owner of the workspace.
    Root([u32; 2]),
}

impl Insiders {
    /// Those of a session for a workspace of this owner.
    pub(super) fn of(workspace: Option<u32>) -> Self {
        if rustix::process::geteuid().is_root() {
            Self::Root([0, workspace.unwrap_or(0)])
        } else {
            Self::Caller
        }
    }

    /// Whether only somebody else can enter the directory: its owner has no id in the session, so that no capability
    /// counts there, and its mode lets nobody but the owner in (an ACL neither: the group's bits are its mask).
    pub(super) fn are_kept_out(self, directory: &Stat) -> bool {
        match self {
            Self::Caller => false,
            Self::Root(owners) => {
                let others = Mode::XGRP | Mode::XOTH;
                !owners.contains(&directory.st_uid)
                    && !Mode::from_raw_mode(directory.st_mode).intersects(others)
            }
        }
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
    keep: Keep<'_>,
    insiders: Insiders,
) -> Result<Found, ObserveError> {
    let top = open(CWD, root).map_err(|source| ObserveError::OpenDirectory {
        path: root.to_owned(),
        source,
    })?;
    let cache = match keep {
        Keep::In(state, now) => Cache::open(state, root, &top, patterns.fingerprint(), now),
        Keep::Nothing => None,
    };
    let root = Root {
        path: root,
        top,
        patterns,
        insiders,
        mounts: mounts
            .iter()
            .filter_map(|mount| Some(mount.strip_prefix(root).ok()?.as_os_str().as_bytes()))
            .collect(),
    };
    match Walk::new(&root, cache.as_ref()).run() {
        Ok(found) => Ok(found),
        Err(Stop::TooManyDirectories) => Err(root.too_many()),
        // Not what a scan leaves behind: all is read again, and kept anew.
        Err(Stop::Malformed) => {
            let cache = cache.map(Cache::emptied);
            Walk::new(&root, cache.as_ref())
                .run()
                .map_err(|_| root.too_many())
        }
    }
}

/// What is walked, and what is sought.
struct Root<'a> {
    path: &'a Path,
    top: OwnedFd,
    patterns: &'a Patterns,
    insiders: Insiders,
    /// Mount points, seen from the top.
    mounts: HashSet<&'a [u8]>,
}

impl Root<'_> {
    fn too_many(&self) -> ObserveError {
        ObserveError::TooManyDirectories {
            root: self.path.to_owned(),
            limit: MAX_DIRECTORIES,
        }
    }
}

/// Why a walk was broken off.
enum Stop {
    TooManyDirectories,
    /// What was kept can't be used.
    Malformed,
}

impl From<Malformed> for Stop {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// A directory whose own directories are being visited.
struct Frame<'a> {
    below: Below<'a>,
    /// The length of its path.
    length: usize,
    depth: Depth,
    /// Where its length goes in what is written; `None` for the top.
    gap: Option<Gap>,
}

enum Below<'a> {
    /// As kept.
    Known(Children<'a>),
    /// As read, with what was kept of each.
    Read(std::vec::IntoIter<Vec<u8>>, HashMap<&'a [u8], &'a [u8]>),
}

struct Walk<'a> {
    root: &'a Root<'a>,
    cache: Option<&'a Cache>,
    found: Found,
    /// Files with more than one name: how many names they have, and those found.
    links: HashMap<(u64, u64), (u64, Vec<PathBuf>)>,
    /// The path of the directory that is looked at, from the top.
    path: Vec<u8>,
    writer: Writer,
    counts: Counts,
    buffer: Vec<MaybeUninit<u8>>,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Root<'a>, cache: Option<&'a Cache>) -> Self {
        Self {
            root,
            cache,
            found: Found::default(),
            links: HashMap::new(),
            path: Vec::new(),
            writer: Writer::default(),
            counts: Counts::default(),
            buffer: vec![MaybeUninit::uninit(); 32 << 10],
        }
    }

    fn run(mut self) -> Result<Found, Stop> {
        let kept = self
            .cache
            .map(Cache::tree)
            .filter(|bytes| !bytes.is_empty());
        let mut frames: Vec<Frame<'a>> = Vec::new();
        frames.extend(self.visit(kept, Depth::Whole, None)?);
        while let Some(frame) = frames.last_mut() {
            let depth = frame.depth;
            self.path.truncate(frame.length);
            // A name that was read is owned, one that was kept is borrowed.
            let owned;
            let (name, kept): (&[u8], _) = match &mut frame.below {
                Below::Known(children) => children.next()?.unwrap_or_default(),
                Below::Read(names, kept) => match names.next() {
                    Some(name) => {
                        owned = name;
                        (&owned, kept.get(owned.as_slice()).copied())
                    }
                    None => (&[], None),
                },
            };
            if name.is_empty() {
                if let Some(gap) = frame.gap {
                    self.writer.close(gap);
                }
                frames.pop();
                continue;
            }
            let gap = self.writer.child(name);
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name);
            let depth = if is_filled(name) {
                Depth::OwnPatterns
            } else {
                depth
            };
            let is_mount = self.root.mounts.contains(self.path.as_slice());
            if !is_mount && let Some(frame) = self.visit(kept, depth, Some(gap))? {
                frames.push(frame);
            }
        }
        Ok(self.finish())
    }

    /// Looks at the directory at the path, with what was kept of it; `None` where nothing is to be entered.
    fn visit(
        &mut self,
        kept: Option<&'a [u8]>,
        depth: Depth,
        gap: Option<Gap>,
    ) -> Result<Option<Frame<'a>>, Stop> {
        self.found.directories += 1;
        if self.found.directories > MAX_DIRECTORIES as u64 {
            return Err(Stop::TooManyDirectories);
        }
        let node = kept.map(Node::read).transpose()?;
        let below = match node {
            Some(node) if self.is_unchanged(&node) => {
                self.counts.settled += 1;
                self.take_known(&node)?;
                self.writer.again(&node);
                Below::Known(node.below)
            }
            changed => {
                self.found.read += 1;
                let Some(holding) = self.read(depth) else {
                    return Ok(None);
                };
                let known = match changed {
                    Some(node) => node.below.by_name()?,
                    None => HashMap::new(),
                };
                Below::Read(holding.below.into_iter(), known)
            }
        };
        Ok(Some(Frame {
            below,
            length: self.path.len(),
            depth,
            gap,
        }))
    }

    fn relative(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// The path of the directory that is looked at.
    fn whole_path(&self) -> PathBuf {
        if self.path.is_empty() {
            self.root.path.to_owned()
        } else {
            self.root.path.join(self.relative())
        }
    }

    /// Whether the directory is the one that was kept and has not changed since.
    ///
    /// # Security
    /// A link on the way may lead the look-up elsewhere, but never to an object of the same identity.
    fn is_unchanged(&self, node: &Node<'_>) -> bool {
        let Some(stamp) = node.stamp() else {
            return false;
        };
        let stat = if self.path.is_empty() {
            rustix::fs::fstat(&self.root.top)
        } else {
            rustix::fs::statat(&self.root.top, self.relative(), AtFlags::SYMLINK_NOFOLLOW)
        };
        stat.is_ok_and(|stat| Stamp::of(&stat) == stamp)
    }

    /// Reads the directory, takes what it holds into what was found, and writes it down; `None` where it can't be.
    fn read(&mut self, depth: Depth) -> Option<Holding> {
        match self.read_directory(depth) {
            Ok((holding, stamp)) => {
                self.take(&holding);
                let settled = stamp
                    .zip(self.cache)
                    .and_then(|(stamp, cache)| cache.settled(stamp));
                if settled.is_some() {
                    self.counts.settled += 1;
                    self.counts.fresh += 1;
                }
                self.writer.node(settled, &holding);
                Some(holding)
            }
            // Gone or replaced meanwhile.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
            Err(_) => {
                self.found.unread.push(self.whole_path());
                None
            }
        }
    }

    /// What the directory holds, and its stamp where all of it was read.
    fn read_directory(&mut self, depth: Depth) -> Result<(Holding, Option<Stamp>), Errno> {
        let below;
        let directory = if self.path.is_empty() {
            &self.root.top
        } else {
            below = open_beneath(&self.root.top, self.relative())?;
            &below
        };
        // Before the names: a change while they are read must show the next time.
        let stat = rustix::fs::fstat(directory)?;
        if self.root.insiders.are_kept_out(&stat) {
            return Err(Errno::ACCESS);
        }
        let stamp = self.cache.map(|_| Stamp::of(&stat));
        let relative = Path::new(OsStr::from_bytes(&self.path));
        let mut reading = Reading::new(directory, depth, self.root.patterns, relative);
        let mut entries = RawDir::new(directory, &mut self.buffer);
        let mut is_whole = true;
        while let Some(entry) = entries.next() {
            let Ok(entry) = entry else {
                is_whole = false;
                break;
            };
            reading.entry(entry.file_name().to_bytes(), entry.file_type());
        }
        let holding = reading.finish();
        if !is_whole {
            self.found.unread.push(self.whole_path());
        }
        Ok((holding, stamp.filter(|_| is_whole)))
    }

    fn take_known(&mut self, node: &Node<'_>) -> Result<(), Malformed> {
        let (is_repository, is_bare) = node.repository();
        self.take_kind(is_repository, is_bare);
        if node.has_lists() {
            let lists = node.lists()?;
            for (hidden, name) in lists.matches {
                self.take_match(hidden, name);
            }
            for name in lists.links {
                self.link(self.relative().join(OsStr::from_bytes(name)));
            }
        }
        Ok(())
    }

    fn take(&mut self, holding: &Holding) {
        self.take_kind(holding.is_repository, holding.is_bare);
        for (hidden, name) in &holding.matches {
            self.take_match(*hidden, name);
        }
        for name in &holding.links {
            self.link(self.relative().join(OsStr::from_bytes(name)));
        }
    }

    fn take_kind(&mut self, is_repository: bool, is_bare: bool) {
        if is_repository && !self.path.is_empty() {
            self.found.repositories.push(self.whole_path());
        }
        if is_bare {
            self.found.bare.push(self.whole_path());
        }
    }

    fn take_match(&mut self, hidden: usize, name: &[u8]) {
        let path = self.whole_path().join(OsStr::from_bytes(name));
        self.found.matches.push(Match { hidden, path });
    }

    fn link(&mut self, relative: PathBuf) {
        let Ok(stat) = rustix::fs::statat(&self.root.top, &relative, AtFlags::SYMLINK_NOFOLLOW)
        else {
            return;
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink > 1 {
            self.links
                .entry((stat.st_dev, stat.st_ino))
                .or_insert_with(|| (stat.st_nlink, Vec::new()))
                .1
                .push(self.root.path.join(relative));
        }
    }

    fn finish(mut self) -> Found {
        if let (Some(cache), Some(tree)) = (self.cache, self.writer.finish()) {
            cache.store(&tree, self.counts);
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
