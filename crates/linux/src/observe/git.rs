//! The file system as repositories are read from it: with the caller's own rights, as the caller's git would.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ringfence_plan::git::{Disk, Links, Place, Probed};
use ringfence_plan::layout::Entry;
use ringfence_policy::AbsolutePath;
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;

use super::error::ObserveError;
use super::host::read_at;
use super::names::Names;
use super::resolve::{Resolved, kind, probe_entry, resolve};

/// The files of git's configuration that hold for every repository of a person with the home `home`.
pub(super) fn global_files(home: &Path) -> [PathBuf; 3] {
    let user = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .unwrap_or_else(|| home.join(".config"));
    [
        PathBuf::from("/etc/gitconfig"),
        user.join("git/config"),
        home.join(".gitconfig"),
    ]
}

/// What this process sees.
pub(super) struct Seen;

impl Disk for Seen {
    type Path = AbsolutePath;
    type Error = ObserveError;

    fn below(&self, directory: &AbsolutePath, name: &str) -> Option<AbsolutePath> {
        directory.join(name).ok()
    }

    fn above(&self, path: &AbsolutePath) -> Option<AbsolutePath> {
        path.parent()
    }

    fn is_within(&self, path: &AbsolutePath, directory: &AbsolutePath) -> bool {
        path.starts_with(directory)
    }

    fn written(&self, path: &AbsolutePath) -> PathBuf {
        path.as_path().to_owned()
    }

    fn resolve(
        &mut self,
        path: &AbsolutePath,
    ) -> Result<Option<Place<AbsolutePath>>, ObserveError> {
        place(&resolve(path.as_path())?).map(Some)
    }

    fn follow(
        &mut self,
        base: &AbsolutePath,
        value: &[u8],
    ) -> Result<Option<Place<AbsolutePath>>, ObserveError> {
        // The letters are kept: after a link, `..` is the kernel's to understand.
        let path = base.as_path().join(OsStr::from_bytes(value));
        place(&resolve(&path)?).map(Some)
    }

    fn probe(&mut self, path: &AbsolutePath) -> Result<Probed<AbsolutePath>, ObserveError> {
        probe_entry(path.as_path())
    }

    fn probe_written(&mut self, written: &Path) -> Result<Vec<Probed<AbsolutePath>>, ObserveError> {
        Ok(vec![probe_entry(written)?])
    }

    fn directories(
        &mut self,
        directory: &AbsolutePath,
    ) -> Result<Option<Vec<AbsolutePath>>, ObserveError> {
        if probe_entry(directory.as_path())?.1 != Entry::Directory {
            return Ok(Some(Vec::new()));
        }
        let Ok(names) = Names::read(directory.as_path()) else {
            return Ok(None);
        };
        let mut paths = Vec::new();
        for name in names.iter() {
            let (path, entry) = probe_entry(&directory.as_path().join(name))?;
            if entry == Entry::Directory {
                paths.push(path);
            }
        }
        Ok(Some(paths))
    }

    fn read(&mut self, file: &AbsolutePath, links: Links) -> Result<Option<Vec<u8>>, ObserveError> {
        let flags = match links {
            Links::Refused => OFlags::NOFOLLOW,
            Links::Followed => OFlags::empty(),
        };
        match read(file.as_path(), flags) {
            // Git takes no pointer of that size either.
            Err(ObserveError::ReadFile {
                source: Errno::FBIG,
                ..
            }) => Ok(None),
            answer => answer,
        }
    }

    fn configuration(&mut self, written: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, ObserveError> {
        let directory = written.parent().unwrap_or(Path::new("/"));
        let content = read(written, OFlags::empty())?;
        Ok(content
            .map(|content| (directory.to_owned(), content))
            .into_iter()
            .collect())
    }
}

fn place(found: &Resolved) -> Result<Place<AbsolutePath>, ObserveError> {
    Ok(Place {
        path: found.absolute()?,
        links: match found.links.as_slice() {
            [] => Links::Refused,
            [_, ..] => Links::Followed,
        },
        kind: found.stat.as_ref().map(kind),
    })
}

fn read(file: &Path, flags: OFlags) -> Result<Option<Vec<u8>>, ObserveError> {
    match read_at(CWD, file.as_os_str(), flags) {
        Ok(content) => Ok(Some(content)),
        // Git reads nothing there either.
        Err(
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::ACCESS
            | Errno::ISDIR
            | Errno::LOOP
            | Errno::AGAIN,
        ) => Ok(None),
        Err(source) => Err(ObserveError::ReadFile {
            path: file.to_owned(),
            source,
        }),
    }
}
