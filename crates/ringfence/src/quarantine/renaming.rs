//! Quarantine by renaming alone: Windows.
//!
//! An object is opened itself, asked where it is, and moved by that handle: a link is moved, never what it leads to,
//! and a directory on the way that has become a link leads to nothing that is moved. Not looked at: whether a file has another name in a root, through
//! which a later session could write to what is kept. Invariant: after `take` the guarded name is gone from the workspace,
//! or there is an error.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::AsHandle as _;
use std::path::{Path, PathBuf};

use ringfence_plan::windows::WindowsPath;
use ringfence_policy::AbsolutePath;
use ringfence_policy::escape::escape_os;
use ringfence_windows::sys::file::{self, READ_ATTRIBUTES};
use ringfence_windows::sys::rename;

use super::naming::{ASIDE, OBJECT, RECORD};
use super::{
    Content, Entry, EntryId, Listing, ObjectKind, Place, Quarantine, QuarantineError, Taking,
};
use crate::clock;
use crate::state::file::StateFile;

/// `DELETE`
const DELETE: u32 = 0x0001_0000;
/// `FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT`
const ITSELF: u32 = 0x0220_0000;

impl Quarantine {
    /// Moves an object out of the workspace; `None` when it is not there (any more). On another volume than the state
    /// directory it stays beside its origin, under a harmless name.
    ///
    /// # Errors
    /// [`QuarantineError`]; the object is still under its name then.
    ///
    /// # Security
    /// The tree is an attacker's, who may be changing it meanwhile. Where a directory on the way is a link, that link
    /// is moved, and nothing that it leads to.
    pub fn take(&self, taking: &Taking<'_>) -> Result<Option<Entry>, QuarantineError> {
        let origin = match outermost_link(taking) {
            Some(link) => AbsolutePath::new(&link)
                .map_err(|error| object_error(&link, "quarantined", io::Error::other(error)))?,
            None => taking.path.clone(),
        };
        let path = origin.as_path();
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
            // A file on the way: nothing is below it.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let object = match open(&origin) {
            Ok(object) => object,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let id = EntryId::new(&origin);
        let mut entry = Entry {
            id: id.clone(),
            origin: origin.clone(),
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
        match relocate(&object, &self.entry(&id).join(OBJECT)) {
            Ok(()) => return Ok(Some(entry)),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
            Err(error) => {
                self.forget(&id)?;
                return Err(failed(error));
            }
        }
        let aside = path.with_file_name(format!("{ASIDE}{id}"));
        if let Err(error) = relocate(&object, &aside) {
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
        // A directory that a session made a link must not lead what it made to another place.
        let is_itself = |parent: &Path| {
            let real = fs::canonicalize(parent).ok();
            let named = AbsolutePath::new(parent).ok();
            let named = named.and_then(|named| WindowsPath::from_policy(&named).ok());
            let real = real.and_then(|real| {
                let real = real.to_string_lossy();
                WindowsPath::observed(real.strip_prefix(r"\\?\").unwrap_or(&real)).ok()
            });
            parent.is_dir() && named.is_some() && named == real
        };
        if !origin.parent().is_some_and(is_itself) {
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

/// The first directory on the way from the root to the guarded name that is a link.
fn outermost_link(taking: &Taking<'_>) -> Option<PathBuf> {
    let root = taking.root.as_path();
    let below = taking.path.as_path().parent()?.strip_prefix(root).ok()?;
    let mut path = root.to_owned();
    below.components().find_map(|part| {
        path.push(part);
        let metadata = fs::symlink_metadata(&path).ok()?;
        metadata.is_symlink().then(|| path.clone())
    })
}

/// Opens the object itself for being moved, and makes sure that it is where its path says.
fn open(origin: &AbsolutePath) -> io::Result<File> {
    let object = OpenOptions::new()
        .access_mode(DELETE | READ_ATTRIBUTES)
        .custom_flags(ITSELF)
        .open(origin.as_path())?;
    let place = file::final_path(object.as_handle()).map_err(io::Error::other)?;
    let place = place.to_string_lossy();
    let place = WindowsPath::observed(place.strip_prefix(r"\\?\").unwrap_or(&place));
    match (place, WindowsPath::from_policy(origin)) {
        (Ok(place), Ok(named)) if place == named => Ok(object),
        // A directory on the way became a link a moment ago: the next look finds that link.
        _ => Err(io::Error::other("it is no longer where its path says")),
    }
}

/// Moves an open object.
fn relocate(object: &File, to: &Path) -> io::Result<()> {
    rename::relocate(object.as_handle(), to.as_os_str())
        .map_err(|error| io::Error::from_raw_os_error(error.error.0.cast_signed()))
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
    use ringfence_audit::SessionId;
    use tempfile::TempDir;

    use super::*;
    use crate::quarantine::Reason;
    use crate::state::StateDirectory;

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

    struct Scratch {
        _directory: TempDir,
        root: AbsolutePath,
        quarantine: Quarantine,
    }

    impl Scratch {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let real = directory.path().canonicalize().unwrap();
            let real = real.to_str().unwrap();
            let real = PathBuf::from(real.strip_prefix(r"\\?\").unwrap_or(real));
            let root = real.join("work");
            fs::create_dir(&root).unwrap();
            let state = StateDirectory::at(&real.join("state")).unwrap();
            Self {
                _directory: directory,
                root: AbsolutePath::new(&root).unwrap(),
                quarantine: Quarantine::open(&state),
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.root.as_path().join(name)
        }

        fn take(&self, name: &str) -> Result<Option<Entry>, QuarantineError> {
            self.quarantine.take(&Taking {
                root: &self.root,
                path: &AbsolutePath::new(self.path(name)).unwrap(),
                session: &SessionId("0123456789abcdef".to_owned()),
                reason: Reason::ProtectedName {
                    origin: ".codex".to_owned(),
                },
            })
        }
    }

    // enforced-by-wine: files and handles.
    #[test]
    fn what_was_made_is_moved_whole_and_comes_back() {
        let scratch = Scratch::new();
        assert_eq!(scratch.take(".codex").unwrap(), None);
        fs::create_dir(scratch.path(".codex")).unwrap();
        fs::write(scratch.path(".codex/config.toml"), "x").unwrap();
        fs::write(scratch.path("beside"), "stays").unwrap();
        let entry = scratch.take(".codex").unwrap().unwrap();
        assert_eq!(entry.kind, ObjectKind::Directory);
        assert!(!scratch.path(".codex").exists());
        assert_eq!(fs::read(scratch.path("beside")).unwrap(), b"stays");
        assert_eq!(scratch.quarantine.list().unwrap().entries.len(), 1);
        scratch.quarantine.restore(&entry.id).unwrap();
        let back = fs::read(scratch.path(".codex/config.toml")).unwrap();
        assert_eq!(back, b"x");
    }

    // enforced-by-wine: a file that is held open by somebody who shares it with nobody.
    #[test]
    fn what_is_held_is_an_error_and_never_taken_for_absent() {
        let scratch = Scratch::new();
        let held = OpenOptions::new()
            .write(true)
            .create_new(true)
            .share_mode(0)
            .open(scratch.path(".envrc"))
            .unwrap();
        let error = scratch.take(".envrc").unwrap_err();
        assert!(scratch.path(".envrc").exists(), "{error}");
        assert_eq!(scratch.quarantine.list().unwrap().entries, []);
        drop(held);
        assert!(scratch.take(".envrc").unwrap().is_some());
        assert!(!scratch.path(".envrc").exists());
    }

    #[test]
    fn below_a_file_there_is_nothing() {
        let scratch = Scratch::new();
        fs::write(scratch.path("infra"), "a file").unwrap();
        assert_eq!(scratch.take("infra/prod").unwrap(), None);
        assert!(scratch.path("infra").exists());
    }

    #[test]
    #[ignore = "wine makes no links that it reports as links: for Windows itself"]
    fn a_link_on_the_way_is_moved_and_not_what_it_leads_to() {
        let scratch = Scratch::new();
        let outside = scratch.path("../outside");
        fs::create_dir_all(outside.join("prod")).unwrap();
        fs::write(outside.join("prod/precious"), "x").unwrap();
        std::os::windows::fs::symlink_dir(&outside, scratch.path("infra")).unwrap();
        let entry = scratch.take("infra/prod").unwrap().unwrap();
        assert_eq!(entry.origin.as_path(), scratch.path("infra"));
        assert_eq!(fs::read(outside.join("prod/precious")).unwrap(), b"x");
        assert!(fs::symlink_metadata(scratch.path("infra")).is_err());
    }
}
