//! What directories of a large root held at the last scan, kept in our own state directory.
//!
//! A directory's names and their types change only together with its `ctime`, which no call sets and no target can
//! turn back. Two changes within one tick of the clock share a `ctime`, so a directory that was changed less than two
//! seconds before a scan began is not kept: a later change of a kept one always shows. Only file systems whose
//! `ctime` is the kernel's own are trusted with it.
//!
//! A file's number of hard links is not its directory's: known names are looked at again, and a second link to a file
//! in an unchanged directory is missed. Where the policy enforces something by hard links, there is no cache.
//!
//! Invariant: a file that is damaged, of another root or of other patterns counts as none.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, Stat};

/// Above so many directories, reading and writing a cache costs less than it saves.
const WORTH_KEEPING: usize = 2_000;

/// A directory changed so shortly before the scan, in seconds, may change again without its `ctime` telling.
const SETTLED: i64 = 2;

/// A cache that was not written for so long is removed; one still in use is made again.
const FORGOTTEN: Duration = Duration::from_hours(30 * 24);

/// The longest cache that is read, in bytes.
const MAX_BYTES: u64 = 512 << 20;

const MAGIC: &[u8; 8] = b"rfscan\x00\x02";

/// File systems whose `ctime` the kernel alone sets, with a clock of this machine: `f_type` of statfs(2).
const TRUSTED: [u64; 7] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683E, // btrfs
    0x0102_1994, // tmpfs
    0xF2F5_2010, // f2fs
    0x794C_7630, // overlayfs
    0x2FC1_2FC1, // zfs
];

/// A directory's identity and the time of its last change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) seconds: i64,
    pub(super) nanoseconds: u64,
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            seconds: stat.st_ctime,
            nanoseconds: stat.st_ctime_nsec,
        }
    }
}

/// The cache of one root.
pub(super) struct Cache {
    file: PathBuf,
    /// What tells this root and these patterns from others.
    key: Vec<u8>,
    /// When this scan began, in seconds.
    began: i64,
    /// What the last scan has left, [`Cache::tree`] in it.
    bytes: Vec<u8>,
}

/// How much of a tree a scan had to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Directories that may be kept.
    pub(super) settled: usize,
    /// Those among them that were not kept before.
    pub(super) fresh: usize,
}

impl Cache {
    /// Opens the cache of `root`, whose descriptor is `top`; `None` where its file system can't be trusted with one.
    pub(super) fn open(
        state: &Path,
        root: &Path,
        top: &OwnedFd,
        patterns: &str,
        now: i64,
    ) -> Option<Self> {
        let kind = rustix::fs::fstatfs(top).ok()?.f_type;
        if !TRUSTED
            .iter()
            .any(|trusted| i64::try_from(*trusted) == Ok(kind))
        {
            return None;
        }
        let stat = rustix::fs::fstat(top).ok()?;
        let root = root.as_os_str().as_bytes();
        let mut key = Vec::with_capacity(root.len() + patterns.len() + 8);
        for part in [root, patterns.as_bytes()] {
            key.extend_from_slice(&u32::try_from(part.len()).ok()?.to_le_bytes());
            key.extend_from_slice(part);
        }
        let name = format!(
            "{:x}-{:x}-{:016x}",
            stat.st_dev,
            stat.st_ino,
            checksum(patterns.as_bytes())
        );
        let mut cache = Self {
            file: state.join("scan").join(name),
            key,
            began: now,
            bytes: Vec::new(),
        };
        cache.bytes = cache.read().unwrap_or_default();
        Some(cache)
    }

    fn read(&self) -> Option<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, &self.file, flags, Mode::empty()).ok()?;
        let size = u64::try_from(rustix::fs::fstat(&file).ok()?.st_size).ok()?;
        if size > MAX_BYTES {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).ok()? + 1);
        std::io::Read::read_to_end(&mut std::fs::File::from(file), &mut bytes).ok()?;
        let rest = bytes.strip_prefix(MAGIC)?;
        let (sum, body) = rest.split_first_chunk::<8>()?;
        let is_whole = u64::from_le_bytes(*sum) == checksum(body);
        (is_whole && body.starts_with(&self.key)).then_some(bytes)
    }

    /// The same, with nothing left by any scan.
    pub(super) fn emptied(self) -> Self {
        Self {
            bytes: Vec::new(),
            ..self
        }
    }

    /// The tree as the last scan has left it; empty where there was none.
    pub(super) fn tree(&self) -> &[u8] {
        let start = MAGIC.len() + 8 + self.key.len();
        self.bytes.get(start..).unwrap_or_default()
    }

    /// The stamp to keep a directory by, if a later change of it will show; `stamp` was taken before it was read.
    pub(super) fn settled(&self, stamp: Stamp) -> Option<Stamp> {
        // Also one that changes in the future, as its clock says, is not settled.
        (stamp.seconds.saturating_add(SETTLED) < self.began).then_some(stamp)
    }

    /// Writes the cache if that pays. It is none of the facts: a failure costs time at the next scan.
    pub(super) fn store(&self, tree: &[u8], counts: Counts) {
        let pays = counts.settled > WORTH_KEEPING && counts.fresh > counts.settled / 16;
        if pays {
            let _ = self.write(tree);
        }
    }

    fn write(&self, tree: &[u8]) -> Option<()> {
        let body = [&self.key, tree].concat();
        let directory = self.file.parent()?;
        // The state directory itself is made by whoever needs more of it than a cache.
        let _ = rustix::fs::mkdirat(CWD, directory, Mode::RWXU);
        let name = self.file.file_name()?.to_string_lossy().into_owned();
        let temporary = directory.join(format!(".{name}-{}", std::process::id()));
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, &temporary, flags, Mode::RUSR | Mode::WUSR).ok()?;
        let mut file = std::fs::File::from(file);
        let parts = [&MAGIC[..], &checksum(&body).to_le_bytes(), &body];
        let written = parts
            .into_iter()
            .try_for_each(|part| std::io::Write::write_all(&mut file, part));
        forget_old(directory);
        let done = written.is_ok() && rustix::fs::rename(&temporary, &self.file).is_ok();
        if !done {
            let _ = rustix::fs::unlink(&temporary);
        }
        done.then_some(())
    }
}

/// Removes what no scan has written for long: its root may be gone.
fn forget_old(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        let age = written.map(|written| written.elapsed().unwrap_or_default());
        if age.is_ok_and(|age| age > FORGOTTEN) {
            // Another session may have been faster.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// FNV-1a over words: it finds damage, it stops nobody. The state directory is out of every target's reach.
fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |word: u64| sum = (sum ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        add(u64::from_le_bytes(*word));
    }
    for byte in rest {
        add(u64::from(*byte));
    }
    add(bytes.len() as u64);
    sum
}
