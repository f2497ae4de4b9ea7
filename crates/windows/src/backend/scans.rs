//! What walks of roots have found, below `%LOCALAPPDATA%\Ringfence\scans`: one file for each root.
//!
//! It is the person's to write: believed where being wrong harms them alone. Invariant: a file is whole or as it was,
//! and one that can't be read or written costs a walk and nothing else.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::FileId;

use crate::observe::kept::{KeptScan, Scans};
use crate::sys::file::verbatim;

/// The largest file that is read or written, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// The files of a person.
#[derive(Clone, Debug)]
pub(super) struct ScanFiles {
    directory: PathBuf,
}

impl ScanFiles {
    /// Those below a person's directory.
    pub(super) fn below(directory: &WindowsPath) -> Self {
        Self {
            directory: PathBuf::from(verbatim(directory)).join("scans"),
        }
    }

    /// Forgets what was found of a root.
    pub(super) fn forget(&self, root: FileId) {
        // One that stays is of a root that is gone, and is never asked for.
        let _ = fs::remove_file(self.path(root));
    }

    fn path(&self, root: FileId) -> PathBuf {
        let name = format!("{:016x}-{:032x}.json", root.volume, root.file);
        self.directory.join(name)
    }
}

impl Scans for ScanFiles {
    fn kept(&mut self, root: FileId) -> Option<KeptScan> {
        let file = File::open(self.path(root)).ok()?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn keep(&mut self, root: FileId, scan: &KeptScan) {
        let path = self.path(root);
        // What can't be kept is found again.
        let _ = write(&self.directory, &path, scan);
    }
}

fn write(directory: &Path, path: &Path, scan: &KeptScan) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let bytes = serde_json::to_vec(scan)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length >= MAX_FILE) {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
    }
    // Two sessions may write at once: each a file of its own.
    let unfinished = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = File::create(&unfinished)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&unfinished, path)
}
