//! The real path of what exists, as policies spell paths.

use std::io;
use std::path::{Path, PathBuf};

/// `path` with every link followed; on Windows without the `\\?\` that the system puts before a drive.
///
/// # Errors
/// The system's, above all where nothing is there.
pub fn real(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize().map(plain)
}

#[cfg(windows)]
fn plain(real: PathBuf) -> PathBuf {
    let text = real.to_str().and_then(|text| text.strip_prefix(r"\\?\"));
    let is_drive = |text: &&str| text.as_bytes().get(1) == Some(&b':');
    match text.filter(is_drive) {
        Some(drive) => PathBuf::from(drive),
        None => real,
    }
}

#[cfg(not(windows))]
fn plain(real: PathBuf) -> PathBuf {
    real
}
