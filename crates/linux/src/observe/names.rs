//! The names in one directory.
//!
//! Invariant: read once, sorted, in two allocations however many they are.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, RawDir};
use rustix::io::Errno;

/// The sorted names in a directory, `.` and `..` left out.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    sorted: Vec<Range<usize>>,
}

impl Names {
    /// Reads them; a link at `directory` is followed.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn read(directory: &Path) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, directory, flags, Mode::empty())?;
        let mut buffer = vec![MaybeUninit::uninit(); 16 << 10];
        let mut entries = RawDir::new(&directory, &mut buffer);
        let mut names = Self::default();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                let start = names.bytes.len();
                names.bytes.extend_from_slice(name);
                names.sorted.push(start..names.bytes.len());
            }
        }
        let bytes = &names.bytes;
        names
            .sorted
            .sort_unstable_by(|a, b| bytes.get(a.clone()).cmp(&bytes.get(b.clone())));
        Ok(names)
    }

    /// Every name.
    pub(super) fn iter(&self) -> impl Iterator<Item = &OsStr> {
        self.sorted
            .iter()
            .filter_map(|range| self.bytes.get(range.clone()))
            .map(OsStr::from_bytes)
    }

    /// Whether `wanted` is among them.
    pub(super) fn holds(&self, wanted: &OsStr) -> bool {
        self.sorted
            .binary_search_by(|range| self.bytes.get(range.clone()).cmp(&Some(wanted.as_bytes())))
            .is_ok()
    }
}
