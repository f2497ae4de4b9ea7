//! What a tree is, before and after: the second witness beside the probe's own word.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::checks::{Context, Failure};

/// Everything that a write-class call could have changed about one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    identity: (u64, u64),
    mode: u32,
    owner: (u32, u32),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    content: Vec<u8>,
}

/// A tree by its names.
pub type Snapshot = BTreeMap<PathBuf, Entry>;

/// The names and inode numbers of a tree: what a person's `ls -iR` shows.
pub type Listing = BTreeMap<PathBuf, u64>;

/// Takes down everything below `top`, and `top` itself.
///
/// # Errors
/// [`Failure::System`] with the path that could not be read.
pub fn snapshot(top: &Path) -> Result<Snapshot, Failure> {
    let mut found = Snapshot::new();
    walk(top, &mut |path, metadata| {
        let content = if metadata.is_file() {
            fs::read(path).unwrap_or_default()
        } else if metadata.is_symlink() {
            fs::read_link(path)
                .map(|target| target.into_os_string().into_encoded_bytes())
                .unwrap_or_default()
        } else {
            Vec::new()
        };
        let entry = Entry {
            identity: (metadata.dev(), metadata.ino()),
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            content,
        };
        found.insert(path.to_owned(), entry);
    })?;
    Ok(found)
}

/// Takes down the names and inode numbers below `top`.
///
/// # Errors
/// [`Failure::System`] with the path that could not be read.
pub fn listing(top: &Path) -> Result<Listing, Failure> {
    let mut found = Listing::new();
    walk(top, &mut |path, metadata| {
        found.insert(path.to_owned(), metadata.ino());
    })?;
    Ok(found)
}

/// The names below `top` that are not as they were in `before`; `top` itself when it can't be read any more.
#[must_use]
pub fn changed(before: &Snapshot, top: &Path) -> Vec<PathBuf> {
    match snapshot(top) {
        Ok(after) => difference(before, &after),
        Err(_) => vec![top.to_owned()],
    }
}

/// The names that differ between two snapshots.
fn difference(before: &Snapshot, after: &Snapshot) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = before
        .iter()
        .filter(|(path, entry)| after.get(*path) != Some(entry))
        .map(|(path, _)| path.clone())
        .collect();
    names.extend(
        after
            .keys()
            .filter(|path| !before.contains_key(*path))
            .cloned(),
    );
    names
}

fn walk(path: &Path, visit: &mut impl FnMut(&Path, &fs::Metadata)) -> Result<(), Failure> {
    let metadata = fs::symlink_metadata(path).context(|| format!("reading {}", path.display()))?;
    visit(path, &metadata);
    if metadata.is_dir() {
        let entries = fs::read_dir(path).context(|| format!("listing {}", path.display()))?;
        for entry in entries {
            let entry = entry.context(|| format!("listing {}", path.display()))?;
            walk(&entry.path(), visit)?;
        }
    }
    Ok(())
}
