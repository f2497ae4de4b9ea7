//! What a tree is, before and after: names, contents and descriptors, beside the probe's own word.

use std::collections::BTreeMap;
use std::fs;
use std::os::windows::io::AsHandle as _;
use std::path::{Path, PathBuf};

use ringfence_plan::windows::WindowsPath;
use ringfence_windows::sys::file;

use crate::checks::{Context, Failure};

/// `READ_CONTROL`
const READ_CONTROL: u32 = 0x0002_0000;

/// A tree by its names: what files hold, and every object's owner and list.
pub type Snapshot = BTreeMap<PathBuf, (Option<Vec<u8>>, String)>;

/// Takes down `top` and everything below it.
///
/// # Errors
/// [`Failure`] with the path that could not be read.
pub fn snapshot(top: &Path) -> Result<Snapshot, Failure> {
    let mut found = Snapshot::new();
    let mut open = vec![top.to_owned()];
    while let Some(path) = open.pop() {
        let about =
            fs::symlink_metadata(&path).context(|| format!("looking at {}", path.display()))?;
        let content = if about.is_file() {
            Some(fs::read(&path).context(|| format!("reading {}", path.display()))?)
        } else {
            None
        };
        if about.is_dir() {
            for entry in fs::read_dir(&path).context(|| format!("listing {}", path.display()))? {
                let entry = entry.context(|| format!("listing {}", path.display()))?;
                open.push(entry.path());
            }
        }
        let descriptor = descriptor(&path)?;
        found.insert(path, (content, descriptor));
    }
    Ok(found)
}

/// An object's owner, group and list, as text.
///
/// # Errors
/// [`Failure::Meaningless`] where they can't be read.
pub fn descriptor(path: &Path) -> Result<String, Failure> {
    let meaningless = |error: &dyn std::error::Error| {
        Failure::Meaningless(format!("the descriptor of {}: {error}", path.display()))
    };
    let named = WindowsPath::parse(&path.to_string_lossy()).map_err(|error| meaningless(&error))?;
    let opened = file::open_itself(&named, READ_CONTROL).map_err(|error| meaningless(&error))?;
    let opened = opened.ok_or_else(|| {
        Failure::Meaningless(format!(
            "{} can't be opened to be looked at",
            path.display()
        ))
    })?;
    let read = file::descriptor(opened.as_handle()).map_err(|error| meaningless(&error))?;
    Ok(format!("{read:?}"))
}

/// The names at which two snapshots differ.
#[must_use]
pub fn changed(before: &Snapshot, after: &Snapshot) -> Vec<PathBuf> {
    before
        .keys()
        .chain(after.keys().filter(|path| !before.contains_key(*path)))
        .filter(|path| before.get(*path) != after.get(*path))
        .cloned()
        .collect()
}
