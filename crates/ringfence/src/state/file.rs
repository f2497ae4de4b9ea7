//! The one way a state file is read and written.
//!
//! A file is one head line (kind, version, digest of the rest) and a JSON body. It is replaced as a whole: temporary
//! file, flush, rename, flush of the directory, under a lock that all processes share. What the file means is its
//! owner's business. Invariant: a reader sees the old content or the new, or an error; never a part.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use ringfence_policy::escape::escape_os;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::digest::Digest;

/// The largest state file that is believed, in bytes.
pub const MAX_SIZE: u64 = 16 << 20;

/// A state file of one kind, holding one `T`.
#[derive(Debug)]
pub struct StateFile<T> {
    path: PathBuf,
    kind: &'static str,
    version: u32,
    content: PhantomData<fn() -> T>,
}

/// Why a state file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// It could not be opened.
    #[error("state file `{path}` could not be opened")]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// It could not be read.
    #[error("state file `{path}` could not be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Somebody else could have written it: a link, another owner, or open to others.
    #[error("state file `{path}` is not believed: {reason}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// Its content is not what was written.
    #[error("state file `{path}` is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In which way.
        reason: &'static str,
    },
    /// A newer Ringfence wrote it.
    #[error("state file `{path}` has version {found}; this Ringfence knows {known}")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The version known.
        known: u32,
    },
    /// The lock could not be taken.
    #[error("the lock of state file `{path}` could not be taken")]
    Lock {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The content could not be put into words.
    #[error("the content of state file `{path}` could not be encoded")]
    Encode {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It could not be written.
    #[error("state file `{path}` could not be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl StateFileError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Foreign { path, .. } => {
                let path = escape_os(path);
                if cfg!(unix) {
                    format!("look at {path}; remove it if it is not yours, else chmod 600 it")
                } else {
                    format!("look at {path}, and remove it")
                }
            }
            Self::Damaged { path, .. } => format!("remove {}", escape_os(path)),
            Self::Version { .. } => "use the newer ringfence".to_owned(),
            Self::Open { path, .. }
            | Self::Read { path, .. }
            | Self::Lock { path, .. }
            | Self::Encode { path, .. }
            | Self::Write { path, .. } => {
                format!("check the disk and the permissions of {}", escape_os(path))
            }
        }
    }
}

/// A moment of [`StateFile::replace`]; a crash may come before each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteStep {
    Create,
    Write,
    WriteRest,
    Flush,
    Rename,
    FlushDirectory,
}

impl<T: Serialize + DeserializeOwned> StateFile<T> {
    /// The file at `path`, which must lie in the checked state directory.
    #[must_use]
    pub fn new(path: PathBuf, kind: &'static str, version: u32) -> Self {
        Self {
            path,
            kind,
            version,
            content: PhantomData,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its content; `None` when there is no file. Needs no lock: files are replaced whole.
    ///
    /// # Errors
    /// [`StateFileError`]; nothing of a file that is not whole and ours is returned.
    pub fn read(&self) -> Result<Option<T>, StateFileError> {
        let Some(bytes) = self.read_bytes()? else {
            return Ok(None);
        };
        self.decode(&bytes).map(Some)
    }

    /// Replaces the content by what `change` makes of it, while no other process can.
    ///
    /// # Errors
    /// [`StateFileError`]; the old content stays then.
    pub fn update<R>(&self, change: impl FnOnce(Option<T>) -> (T, R)) -> Result<R, StateFileError> {
        let _lock = self.lock()?;
        let (content, result) = change(self.read()?);
        self.replace(&content, |_| Ok(()))?;
        Ok(result)
    }

    /// Writes `content` whatever was there.
    ///
    /// # Errors
    /// [`StateFileError`]; the old content stays then.
    pub fn write(&self, content: &T) -> Result<(), StateFileError> {
        let _lock = self.lock()?;
        self.replace(content, |_| Ok(()))
    }

    /// Gives the file its first and only content: writes it to `file`, which is open at `temporary`, and renames that.
    ///
    /// For a file that only its maker ever writes, under a name that nobody else uses. It is not flushed: what is
    /// written survives every end of its maker, and a power cut only by luck. A reader still never believes a part,
    /// because of the digest.
    ///
    /// # Errors
    /// [`StateFileError`]; there is no file under its name then.
    #[cfg(target_os = "linux")]
    pub(crate) fn place(
        &self,
        file: &mut File,
        temporary: &Path,
        content: &T,
    ) -> Result<(), StateFileError> {
        let bytes = self.encode(content)?;
        file.write_all(&bytes)
            .and_then(|()| std::fs::rename(temporary, &self.path))
            .map_err(|source| self.write_error(source))
    }

    /// Renames a damaged file, so that a new one can be begun and the old one looked at; `None` when it is not damaged.
    ///
    /// # Errors
    /// [`StateFileError`] when it can't be renamed.
    pub fn set_damaged_aside(&self, suffix: &str) -> Result<Option<PathBuf>, StateFileError> {
        let _lock = self.lock()?;
        if !matches!(self.read(), Err(StateFileError::Damaged { .. })) {
            return Ok(None);
        }
        let aside = self.sibling(&format!(".damaged-{suffix}"));
        std::fs::rename(&self.path, &aside).map_err(|source| self.write_error(source))?;
        Ok(Some(aside))
    }

    fn read_bytes(&self) -> Result<Option<Vec<u8>>, StateFileError> {
        let mut options = OpenOptions::new();
        options.read(true);
        no_follow(&mut options);
        let file = match options.open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(StateFileError::Open {
                    path: self.path.clone(),
                    source,
                });
            }
        };
        let read_error = |source| StateFileError::Read {
            path: self.path.clone(),
            source,
        };
        let metadata = file.metadata().map_err(read_error)?;
        if let Some(reason) = distrust(&metadata) {
            return Err(StateFileError::Foreign {
                path: self.path.clone(),
                reason,
            });
        }
        let mut bytes = Vec::new();
        file.take(MAX_SIZE + 1)
            .read_to_end(&mut bytes)
            .map_err(read_error)?;
        if bytes.len() as u64 > MAX_SIZE {
            return Err(self.damaged("it is too large"));
        }
        Ok(Some(bytes))
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, StateFileError> {
        let newline = bytes.iter().position(|byte| *byte == b'\n');
        let (head, body) = newline
            .and_then(|index| bytes.split_at_checked(index))
            .ok_or_else(|| self.damaged("it has no head line"))?;
        let body = body.get(1..).unwrap_or_default();
        let head = std::str::from_utf8(head).map_err(|_| self.damaged("its head is no text"))?;
        let mut words = head.split(' ');
        let (Some("ringfence"), Some(kind), Some(version), Some(digest), None) = (
            words.next(),
            words.next(),
            words.next(),
            words.next(),
            words.next(),
        ) else {
            return Err(self.damaged("its head has another form"));
        };
        if kind != self.kind {
            return Err(self.damaged("it is of another kind"));
        }
        let found = version
            .parse()
            .map_err(|_| self.damaged("its version is no number"))?;
        let digest: Digest = digest
            .parse()
            .map_err(|_| self.damaged("its digest has another form"))?;
        if digest != Digest::of(body) {
            return Err(self.damaged("its digest is not that of its content"));
        }
        if found != self.version {
            return Err(StateFileError::Version {
                path: self.path.clone(),
                found,
                known: self.version,
            });
        }
        serde_json::from_slice(body).map_err(|_| self.damaged("its content has another form"))
    }

    fn encode(&self, content: &T) -> Result<Vec<u8>, StateFileError> {
        let body = serde_json::to_vec(content).map_err(|source| StateFileError::Encode {
            path: self.path.clone(),
            source,
        })?;
        let digest = Digest::of(&body);
        let mut bytes = format!("ringfence {} {} {digest}\n", self.kind, self.version).into_bytes();
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Replaces the file; the caller holds the lock. `before` is told each step, and its error ends the writing
    /// there, as a crash would.
    fn replace(
        &self,
        content: &T,
        mut before: impl FnMut(WriteStep) -> io::Result<()>,
    ) -> Result<(), StateFileError> {
        let bytes = self.encode(content)?;
        let temporary = self.sibling(".tmp");
        let mut write = || -> io::Result<()> {
            before(WriteStep::Create)?;
            // A crash may have left one; the lock says that nobody is using it.
            match std::fs::remove_file(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let mut file = create_private(&temporary)?;
            let (first, rest) = bytes.split_at(bytes.len() / 2);
            before(WriteStep::Write)?;
            file.write_all(first)?;
            before(WriteStep::WriteRest)?;
            file.write_all(rest)?;
            before(WriteStep::Flush)?;
            file.sync_all()?;
            before(WriteStep::Rename)?;
            std::fs::rename(&temporary, &self.path)?;
            before(WriteStep::FlushDirectory)?;
            flush_directory(&self.path)
        };
        write().map_err(|source| self.write_error(source))
    }

    fn lock(&self) -> Result<File, StateFileError> {
        let path = self.sibling(".lock");
        let lock_error = |source| StateFileError::Lock {
            path: self.path.clone(),
            source,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        no_follow(&mut options);
        private_mode(&mut options);
        let file = options.open(&path).map_err(lock_error)?;
        file.lock().map_err(lock_error)?;
        Ok(file)
    }

    fn sibling(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    }

    fn damaged(&self, reason: &'static str) -> StateFileError {
        StateFileError::Damaged {
            path: self.path.clone(),
            reason,
        }
    }

    fn write_error(&self, source: io::Error) -> StateFileError {
        StateFileError::Write {
            path: self.path.clone(),
            source,
        }
    }
}

/// Makes a file that was not there, for its owner alone.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    private_mode(&mut options);
    options.open(path)
}

#[cfg(unix)]
fn private_mode(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600);
}

#[cfg(not(unix))]
fn private_mode(_options: &mut OpenOptions) {}

/// Refuses links, and never waits for the other end of a FIFO.
#[cfg(unix)]
pub(crate) fn no_follow(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    let flags =
        rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    options.custom_flags(flags.bits().cast_signed());
}

#[cfg(not(unix))]
pub(crate) fn no_follow(_options: &mut OpenOptions) {}

#[cfg(unix)]
fn distrust(metadata: &std::fs::Metadata) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;
    if !metadata.is_file() {
        Some("it is no regular file")
    } else if metadata.uid() != rustix::process::geteuid().as_raw() {
        Some("it belongs to another user")
    } else if metadata.mode() & 0o077 != 0 {
        Some("it is open to others")
    } else if metadata.nlink() > 1 {
        // None at all is a file that was replaced since it was opened: whole, and ours.
        Some("it has a second name")
    } else {
        None
    }
}

#[cfg(not(unix))]
fn distrust(metadata: &std::fs::Metadata) -> Option<&'static str> {
    (!metadata.is_file()).then_some("it is no regular file")
}

#[cfg(unix)]
fn flush_directory(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(not(unix))]
fn flush_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
pub(crate) mod tests;
