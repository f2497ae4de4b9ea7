//! What one directory holds, as far as a plan depends on it; names are bytes.
//!
//! Reads one directory and opens none. Invariant: each entry is looked at once.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ringfence_policy::protected::FILLED;
use rustix::fs::{AtFlags, FileType};

use super::patterns::{Depth, Patterns};

/// What every git directory holds at its top, by which git itself knows one.
const BARE: [&[u8]; 3] = [b"HEAD", b"objects", b"refs"];

/// Whether tools fill the directory of that name.
pub(super) fn is_filled(name: &[u8]) -> bool {
    FILLED.iter().any(|filled| filled.as_bytes() == name)
}

/// What a directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holding {
    /// Directories to enter.
    pub(super) below: Vec<Vec<u8>>,
    /// A `.git` is in it.
    pub(super) is_repository: bool,
    /// It is a git directory itself.
    pub(super) is_bare: bool,
    /// What patterns match: the policy's hidden entry, and the name.
    pub(super) matches: Vec<(usize, Vec<u8>)>,
    /// Files with more than one hard link.
    pub(super) links: Vec<Vec<u8>>,
}

/// One directory while it is read.
pub(super) struct Reading<'a> {
    directory: &'a OwnedFd,
    depth: Depth,
    patterns: &'a Patterns,
    relative: PathBuf,
    /// How many of [`BARE`] were seen.
    parts: usize,
    holding: Holding,
}

impl<'a> Reading<'a> {
    /// Begins with the directory at `relative`.
    pub(super) fn new(
        directory: &'a OwnedFd,
        depth: Depth,
        patterns: &'a Patterns,
        relative: &Path,
    ) -> Self {
        Self {
            directory,
            depth,
            patterns,
            relative: relative.to_owned(),
            parts: 0,
            holding: Holding::default(),
        }
    }

    /// What all the entries make.
    pub(super) fn finish(mut self) -> Holding {
        self.holding.is_bare = self.parts == BARE.len();
        self.holding
    }

    /// Takes the next entry.
    pub(super) fn entry(&mut self, name: &[u8], kind: FileType) {
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
        for hidden in self.patterns.matching(&self.relative, name, self.depth) {
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
        if !is_hidden && (self.patterns.has_own() || !is_filled(name)) {
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
