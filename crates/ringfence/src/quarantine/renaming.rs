//! Quarantine by renaming alone, where objects can't be opened relative to a directory: Windows.
//!
//! A rename moves a link, never what it leads to. Not looked at: whether a file has another name in a root, through
//! which a later session could write to what is kept. Invariant: after `take` the guarded name is gone from the workspace,
//! or there is an error.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ringfence_policy::AbsolutePath;
use ringfence_policy::escape::escape_os;

use super::naming::{ASIDE, OBJECT, RECORD};
use super::{
    Content, Entry, EntryId, Listing, ObjectKind, Place, Quarantine, QuarantineError, Taking,
};
use crate::clock;
use crate::state::file::StateFile;

impl Quarantine {
    /// Moves an object out of the workspace; `None` when it is not there (any more). On another volume than the state
    /// directory it stays beside its origin, under a harmless name.
    ///
    /// # Errors
    /// [`QuarantineError`]; the object is still under its name then.
    pub fn take(&self, taking: &Taking<'_>) -> Result<Option<Entry>, QuarantineError> {
        let path = taking.path.as_path();
        let failed = |source| object_error(path, "quarantined", source);
        let is_link = |directory: &Path| match fs::symlink_metadata(directory) {
            Ok(metadata) => Ok(metadata.is_symlink()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        check_way(taking.root.as_path(), path, is_link).map_err(failed)?;
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let id = EntryId::new(taking.path);
        let mut entry = Entry {
            id: id.clone(),
            origin: taking.path.clone(),
            root: taking.root.clone(),
            time: clock::now(),
            session: taking.session.clone(),
            reason: taking.reason.clone(),
            kind: if metadata.is_symlink() {
                ObjectKind::Symlink
            } else if metadata.is_dir() {
                ObjectKind::Directory
            } else {
                ObjectKind::File
            },
            place: Place::Stored,
            content: Content::Own,
        };
        fs::create_dir_all(self.entry(&id)).map_err(|source| self.directory_error(source))?;
        self.write(&entry)?;
        match fs::rename(path, self.entry(&id).join(OBJECT)) {
            Ok(()) => return Ok(Some(entry)),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
            Err(error) => {
                self.forget(&id)?;
                return Err(failed(error));
            }
        }
        let aside = path.with_file_name(format!("{ASIDE}{id}"));
        if let Err(error) = fs::rename(path, &aside) {
            self.forget(&id)?;
            return Err(failed(error));
        }
        entry.place = Place::Aside(
            AbsolutePath::new(&aside)
                .map_err(|error| object_error(path, "quarantined", io::Error::other(error)))?,
        );
        self.write(&entry)?;
        Ok(Some(entry))
    }

    /// All entries, oldest first.
    ///
    /// # Errors
    /// [`QuarantineError::Directory`].
    pub fn list(&self) -> Result<Listing, QuarantineError> {
        let mut listing = Listing::default();
        let names = match fs::read_dir(&self.directory) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
            Err(source) => return Err(self.directory_error(source)),
        };
        for name in names {
            let name = name.map_err(|source| self.directory_error(source))?;
            let Some(id) = name.file_name().to_str().map(|id| EntryId(id.to_owned())) else {
                continue;
            };
            if !id.is_well_formed() {
                continue;
            }
            match self.record(&id).read() {
                Ok(Some(entry)) if entry.id == id => listing.entries.push(entry),
                Ok(Some(_)) => listing
                    .unrecorded
                    .push((id, "its record is of another object".to_owned())),
                Ok(None) => listing.unrecorded.push((id, "it has no record".to_owned())),
                Err(error) => listing.unrecorded.push((id, error.to_string())),
            }
        }
        listing
            .entries
            .sort_by(|one, other| (&one.time, &one.id).cmp(&(&other.time, &other.id)));
        listing.unrecorded.sort();
        Ok(listing)
    }

    /// Puts an object back where it was; refuses to overwrite.
    ///
    /// # Errors
    /// [`QuarantineError`]; the object is still in quarantine then.
    pub fn restore(&self, id: &EntryId) -> Result<Entry, QuarantineError> {
        let entry = self.find(id)?;
        let origin = entry.origin.as_path();
        if fs::symlink_metadata(origin).is_ok() {
            return Err(QuarantineError::Occupied {
                path: origin.to_owned(),
            });
        }
        if !origin.parent().is_some_and(Path::is_dir) {
            return Err(QuarantineError::NoParent {
                path: origin.to_owned(),
            });
        }
        fs::rename(self.object(&entry), origin)
            .map_err(|error| object_error(origin, "restored", error))?;
        self.forget(id)?;
        Ok(entry)
    }

    /// Removes an object for good; `None` when it had no readable record.
    ///
    /// # Errors
    /// [`QuarantineError`].
    pub fn drop(&self, id: &EntryId) -> Result<Option<Entry>, QuarantineError> {
        let entry = match self.find(id) {
            Ok(entry) => Some(entry),
            Err(QuarantineError::Record(_)) => None,
            Err(error) => return Err(error),
        };
        if let Some(entry) = &entry {
            remove(&self.object(entry))
                .map_err(|error| object_error(entry.origin.as_path(), "dropped", error))?;
        }
        self.forget(id)?;
        Ok(entry)
    }

    fn find(&self, id: &EntryId) -> Result<Entry, QuarantineError> {
        let unknown = || QuarantineError::Unknown { id: id.0.clone() };
        if !id.is_well_formed() || !self.entry(id).is_dir() {
            return Err(unknown());
        }
        self.record(id)
            .read()
            .map_err(QuarantineError::Record)?
            .ok_or_else(unknown)
    }

    fn entry(&self, id: &EntryId) -> PathBuf {
        self.directory.join(&id.0)
    }

    fn record(&self, id: &EntryId) -> StateFile<Entry> {
        StateFile::new(self.entry(id).join(RECORD), "quarantine", 1)
    }

    fn write(&self, entry: &Entry) -> Result<(), QuarantineError> {
        self.record(&entry.id)
            .write(entry)
            .map_err(QuarantineError::Record)
    }

    fn object(&self, entry: &Entry) -> PathBuf {
        match &entry.place {
            Place::Stored => self.entry(&entry.id).join(OBJECT),
            Place::Aside(path) => path.as_path().to_owned(),
        }
    }

    fn forget(&self, id: &EntryId) -> Result<(), QuarantineError> {
        remove(&self.entry(id)).map_err(|error| object_error(&self.entry(id), "dropped", error))
    }

    fn directory_error(&self, source: io::Error) -> QuarantineError {
        QuarantineError::Directory {
            path: self.directory.clone(),
            source,
        }
    }
}

/// Removes what is there, links themselves; nothing is fine.
fn remove(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if metadata.is_dir() && !metadata.is_symlink() {
        return fs::remove_dir_all(path);
    }
    fs::remove_file(path).or_else(|_| fs::remove_dir(path))
}

/// Whether no directory from `root` down to `path` leads elsewhere.
///
/// # Security
/// A command may make an empty directory a junction: what lies under the guarded name behind it is the person's own.
fn check_way(
    root: &Path,
    path: &Path,
    is_link: impl Fn(&Path) -> io::Result<bool>,
) -> io::Result<()> {
    let directories = path.ancestors().skip(1);
    for directory in directories.take_while(|directory| directory.starts_with(root)) {
        if is_link(directory)? {
            return Err(io::Error::other(format!(
                "`{}` on the way has become a link, and nothing behind it was touched",
                escape_os(directory)
            )));
        }
    }
    Ok(())
}

fn object_error(path: &Path, action: &'static str, source: io::Error) -> QuarantineError {
    QuarantineError::Object {
        path: path.to_owned(),
        action,
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_behind_a_link_is_not_taken() {
        let (root, path) = (Path::new("C:\\w"), Path::new("C:\\w\\lib\\deep\\.git"));
        let linked = |at: &'static str| move |one: &Path| Ok(one == Path::new(at));
        assert!(check_way(root, path, |_| Ok(false)).is_ok(), "control");
        assert!(
            check_way(root, path, linked("C:\\")).is_ok(),
            "control: above the root"
        );
        for at in ["C:\\w", "C:\\w\\lib", "C:\\w\\lib\\deep"] {
            assert!(check_way(root, path, linked(at)).is_err(), "{at}");
        }
        let unreadable = |_: &Path| Err(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(check_way(root, path, unreadable).is_err());
    }
}
