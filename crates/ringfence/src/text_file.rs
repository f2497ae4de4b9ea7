//! Reads a small text file that somebody else may have put there.
//!
//! Invariant: only a regular file is read, never through a link at its end, and never more than its reader allows.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use crate::state::file::no_follow;

/// What was found.
#[derive(Debug)]
pub(crate) struct TextFile {
    /// The content, as bytes: a digest is over exactly these.
    pub(crate) bytes: Vec<u8>,
    /// Of the file that was read, not of the name.
    pub(crate) metadata: Metadata,
}

/// Reads the file at `path`; `None` when there is none.
///
/// # Errors
/// The system's error; `InvalidInput` for what is no regular file or larger than `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Option<TextFile>> {
    let mut options = OpenOptions::new();
    options.read(true);
    no_follow(&mut options);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidInput, reason);
    if !metadata.is_file() {
        return Err(invalid("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(invalid("it is too large"));
    }
    Ok(Some(TextFile { bytes, metadata }))
}
