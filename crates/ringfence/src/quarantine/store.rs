//! Taking, listing, restoring and dropping, on top of [`super::tree`].
//!
//! Invariant: from the moment `take` begins to copy, the guarded name is gone from the workspace; what comes back is
//! what lay here, and nothing that a session could write to meanwhile through another name.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ringfence_policy::AbsolutePath;

use super::naming::{ASIDE, OBJECT, RECORD};
use super::tree::{self, Caps, Renamed, TreeError};
use super::{Content, Entry, EntryId, Listing, Place, Quarantine, QuarantineError, Taking};
use crate::clock;
use crate::state::file::StateFile;

/// What is copied at most when an object lies on another file system than the state directory.
const CAPS: Caps = Caps {
    bytes: 256 << 20,
    entries: 50_000,
    depth: 64,
};

/// How far files with other names are sought, and how much of them is copied.
const SHARED_CAPS: Caps = Caps {
    entries: 1_000_000,
    depth: 256,
    ..CAPS
};

impl Quarantine {
    /// Moves an object out of the workspace; `None` when it is not there (any more).
    ///
    /// On the same file system it is one rename; files with other names then get a content of their own, because a
    /// later session may write through those. Else it is renamed in place to a harmless name at once, then
    /// copied and removed; where it is too large for that, it stays under that name ([`Place::Aside`]).
    ///
    /// # Errors
    /// [`QuarantineError`]; the object may still be under its name then.
    ///
    /// # Security
    /// The tree is an attacker's, who may be changing it meanwhile. Nothing outside `taking.root` is touched.
    pub fn take(&self, taking: &Taking<'_>) -> Result<Option<Entry>, QuarantineError> {
        self.take_within(taking, CAPS, SHARED_CAPS)
    }

    pub(super) fn take_within(
        &self,
        taking: &Taking<'_>,
        caps: Caps,
        mut shared: Caps,
    ) -> Result<Option<Entry>, QuarantineError> {
        let failed = |error: TreeError| object_error(taking.path, "quarantined", error);
        let found =
            tree::open_parent(taking.root.as_path(), taking.path.as_path()).map_err(failed)?;
        let Some((parent, name)) = found else {
            return Ok(None);
        };
        let Some(stat) = tree::examine(parent.as_fd(), &name).map_err(failed)? else {
            return Ok(None);
        };
        let id = EntryId::new(taking.path);
        let mut entry = Entry {
            id: id.clone(),
            origin: taking.path.clone(),
            root: taking.root.clone(),
            time: clock::now(),
            session: taking.session.clone(),
            reason: taking.reason.clone(),
            kind: tree::kind_of(&stat),
            place: Place::Stored,
            content: Content::Own,
        };
        let store = self.make_entry(&entry)?;
        let moved = tree::rename((parent.as_fd(), &name), (store.as_fd(), OsStr::new(OBJECT)));
        match moved {
            Ok(Renamed::Moved) => {
                if tree::separate(store.as_fd(), OsStr::new(OBJECT), &mut shared).is_err() {
                    entry.content = Content::Shared;
                    self.record(&id)
                        .write(&entry)
                        .map_err(QuarantineError::Record)?;
                }
                return Ok(Some(entry));
            }
            Ok(Renamed::OtherFileSystem) => {}
            Ok(Renamed::Gone | Renamed::Occupied) => {
                self.forget(&id)?;
                return Ok(None);
            }
            Err(error) => {
                self.forget(&id)?;
                return Err(failed(error));
            }
        }
        let aside = OsString::from(format!("{ASIDE}{id}"));
        match tree::rename((parent.as_fd(), &name), (parent.as_fd(), &aside)).map_err(failed)? {
            Renamed::Moved => {}
            Renamed::Gone | Renamed::Occupied | Renamed::OtherFileSystem => {
                self.forget(&id)?;
                return Ok(None);
            }
        }
        if !bring_home((parent.as_fd(), &aside), store.as_fd(), caps) {
            let path = sibling(taking.path, &aside)?;
            entry.place = Place::Aside(path);
            self.record(&id)
                .write(&entry)
                .map_err(QuarantineError::Record)?;
        }
        Ok(Some(entry))
    }

    /// All entries, oldest first.
    ///
    /// # Errors
    /// [`QuarantineError::Directory`].
    pub fn list(&self) -> Result<Listing, QuarantineError> {
        let mut listing = Listing::default();
        let names = match std::fs::read_dir(&self.directory) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
            Err(source) => return Err(self.directory_error(source)),
        };
        for name in names {
            let name = name
                .map_err(|source| self.directory_error(source))?
                .file_name();
            let Some(id) = name.to_str().map(|name| EntryId(name.to_owned())) else {
                continue;
            };
            if !id.is_well_formed() {
                continue;
            }
            match self.record(&id).read() {
                Ok(Some(entry)) if entry.id == id => {
                    if self.object_of(&entry).symlink_metadata().is_ok() {
                        listing.entries.push(entry);
                    }
                }
                Ok(Some(_)) => listing
                    .unrecorded
                    .push((id, "its record is of another object".to_owned())),
                Ok(None) => {
                    if self
                        .entry_directory(&id)
                        .join(OBJECT)
                        .symlink_metadata()
                        .is_ok()
                    {
                        listing.unrecorded.push((id, "it has no record".to_owned()));
                    }
                }
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
        let failed = |error: TreeError| object_error(&entry.origin, "restored", error);
        let origin = entry.origin.as_path();
        let (parent, name) = tree::open_parent(entry.root.as_path(), origin)
            .map_err(failed)?
            .ok_or_else(|| QuarantineError::NoParent {
                path: origin.to_owned(),
            })?;
        let (from, stored) = self.open_object(&entry)?;
        // The name that it was changed by may be gone by now; and where the record was not written, it may still be there.
        let shared = match entry.content {
            Content::Shared => true,
            Content::Own => {
                tree::is_shared(from.as_fd(), &stored, &mut SHARED_CAPS.clone()) == Ok(true)
            }
        };
        if shared {
            return Err(QuarantineError::Shared {
                id: id.0.clone(),
                object: self.object_of(&entry),
            });
        }
        let occupied = || QuarantineError::Occupied {
            path: origin.to_owned(),
        };
        match tree::rename((from.as_fd(), &stored), (parent.as_fd(), &name)).map_err(failed)? {
            Renamed::Moved => {}
            Renamed::Gone => return Err(QuarantineError::Unknown { id: id.0.clone() }),
            Renamed::Occupied => return Err(occupied()),
            Renamed::OtherFileSystem => {
                let aside = OsString::from(format!("{ASIDE}{id}"));
                let mut caps = CAPS;
                let copied =
                    tree::copy((from.as_fd(), &stored), (parent.as_fd(), &aside), &mut caps)
                        .and_then(|()| {
                            tree::rename((parent.as_fd(), &aside), (parent.as_fd(), &name))
                        });
                if !matches!(copied, Ok(Renamed::Moved)) {
                    tree::remove(parent.as_fd(), &aside).map_err(failed)?;
                }
                match copied.map_err(failed)? {
                    Renamed::Moved => {}
                    Renamed::Gone | Renamed::Occupied | Renamed::OtherFileSystem => {
                        return Err(occupied());
                    }
                }
            }
        }
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
            let (directory, name) = self.open_object(entry)?;
            let removed = tree::remove(directory.as_fd(), &name);
            removed.map_err(|error| object_error(&entry.origin, "dropped", error))?;
        }
        self.forget(id)?;
        Ok(entry)
    }

    /// Makes the entry's directory and writes its record.
    fn make_entry(&self, entry: &Entry) -> Result<OwnedFd, QuarantineError> {
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700);
        match builder.create(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(self.directory_error(error));
            }
            Ok(()) | Err(_) => {}
        }
        let directory = self.entry_directory(&entry.id);
        builder
            .create(&directory)
            .map_err(|source| self.directory_error(source))?;
        self.record(&entry.id)
            .write(entry)
            .map_err(QuarantineError::Record)?;
        tree::open_directory(&directory)
            .map_err(|error| object_error(&entry.origin, "quarantined", error))
    }

    /// Removes an entry's directory with what is in it.
    fn forget(&self, id: &EntryId) -> Result<(), QuarantineError> {
        let path = AbsolutePath::new(self.entry_directory(id));
        let failed = |error: TreeError| QuarantineError::Object {
            path: self.entry_directory(id),
            action: "dropped",
            source: Box::new(error),
        };
        if path.is_err() {
            return Ok(());
        }
        let directory = tree::open_directory(&self.directory).map_err(failed)?;
        tree::remove(directory.as_fd(), OsStr::new(&id.0)).map_err(failed)
    }

    fn find(&self, id: &EntryId) -> Result<Entry, QuarantineError> {
        let unknown = || QuarantineError::Unknown { id: id.0.clone() };
        if !id.is_well_formed() || !self.entry_directory(id).is_dir() {
            return Err(unknown());
        }
        self.record(id)
            .read()
            .map_err(QuarantineError::Record)?
            .ok_or_else(unknown)
    }

    fn entry_directory(&self, id: &EntryId) -> PathBuf {
        self.directory.join(&id.0)
    }

    fn record(&self, id: &EntryId) -> StateFile<Entry> {
        StateFile::new(self.entry_directory(id).join(RECORD), "quarantine", 1)
    }

    fn object_of(&self, entry: &Entry) -> PathBuf {
        match &entry.place {
            Place::Stored => self.entry_directory(&entry.id).join(OBJECT),
            Place::Aside(path) => path.as_path().to_owned(),
        }
    }

    /// The directory that holds the object now, and its name there.
    fn open_object(&self, entry: &Entry) -> Result<(OwnedFd, OsString), QuarantineError> {
        let failed = |error: TreeError| object_error(&entry.origin, "opened", error);
        match &entry.place {
            Place::Stored => {
                let directory =
                    tree::open_directory(&self.entry_directory(&entry.id)).map_err(failed)?;
                Ok((directory, OsString::from(OBJECT)))
            }
            Place::Aside(path) => tree::open_parent(entry.root.as_path(), path.as_path())
                .map_err(failed)?
                .ok_or_else(|| QuarantineError::Unknown {
                    id: entry.id.0.clone(),
                }),
        }
    }

    fn directory_error(&self, source: io::Error) -> QuarantineError {
        QuarantineError::Directory {
            path: self.directory.clone(),
            source,
        }
    }
}

/// Copies what was set aside into its entry and removes it there; `false` when it must stay.
fn bring_home(aside: (BorrowedFd<'_>, &OsStr), store: BorrowedFd<'_>, mut caps: Caps) -> bool {
    let object = OsStr::new(OBJECT);
    if tree::copy(aside, (store, object), &mut caps).is_err() {
        // What is left of a broken copy is of no use; the whole object is beside its origin.
        let _ = tree::remove(store, object);
        return false;
    }
    tree::remove(aside.0, aside.1).is_ok()
}

fn sibling(path: &AbsolutePath, name: &OsStr) -> Result<AbsolutePath, QuarantineError> {
    let parent = path.as_path().parent().unwrap_or(Path::new("/"));
    AbsolutePath::new(parent.join(name)).map_err(|error| QuarantineError::Object {
        path: path.as_path().to_owned(),
        action: "quarantined",
        source: Box::new(error),
    })
}

fn object_error(path: &AbsolutePath, action: &'static str, error: TreeError) -> QuarantineError {
    QuarantineError::Object {
        path: path.as_path().to_owned(),
        action,
        source: Box::new(error),
    }
}
