//! Project policy files that a person has trusted, each by its exact digest.
//!
//! Invariant: a store that can't be read trusts nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ringfence_policy::layers::Trust;
use ringfence_policy::{AbsolutePath, ExitCode};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::digest::Digest;
use crate::load::POLICY_FILE_LIMIT;
use crate::state::StateDirectory;
use crate::state::file::{StateFile, StateFileError};
use crate::text_file;

/// One trusted file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedFile {
    /// Its real path.
    pub path: AbsolutePath,
    /// The digest of its content when it was trusted.
    pub digest: Digest,
    /// When, RFC 3339.
    pub since: String,
}

/// The trusted files.
#[derive(Debug)]
pub struct TrustStore {
    file: StateFile<Vec<TrustedFile>>,
}

/// What [`TrustStore::add`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// The digest that is trusted now.
    pub digest: Digest,
    /// Where a damaged store was put aside; everything trusted in it must be trusted anew.
    pub damaged_store: Option<PathBuf>,
}

/// Whether a file had been trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It was, and no longer is.
    Trusted,
    /// It was not.
    Unknown,
}

/// Why the trust store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file to trust could not be found.
    #[error("`{path}` could not be resolved")]
    Resolve {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The file to trust could not be read.
    #[error("`{path}` could not be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The store could not be read or written.
    #[error("the record of trusted files can't be used")]
    Store(#[source] StateFileError),
}

impl TrustError {
    /// The exit status that goes with it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Resolve { .. } | Self::Read { .. } => ExitCode::PolicyInvalid,
            Self::Store(_) => ExitCode::Internal,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Resolve { path, .. } => {
                format!("name an existing policy file; {} is none", path.display())
            }
            Self::Read { .. } => "name a regular file of at most 1 MiB".to_owned(),
            Self::Store(error) => error.hint(),
        }
    }
}

impl TrustStore {
    /// The store in `state`; nothing is read yet.
    #[must_use]
    pub fn open(state: &StateDirectory) -> Self {
        Self {
            file: StateFile::new(state.path().as_path().join("trust"), "trust", 1),
        }
    }

    /// Trusts the file at `path` with exactly the content it has now. A damaged store is put aside first.
    ///
    /// # Errors
    /// [`TrustError`]; nothing is trusted that was not before.
    pub fn add(&self, path: &Path) -> Result<Added, TrustError> {
        let path = resolve(path)?;
        let read = text_file::read(path.as_path(), POLICY_FILE_LIMIT).and_then(|found| {
            found.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))
        });
        let text = read.map_err(|source| TrustError::Read {
            path: path.as_path().to_owned(),
            source,
        })?;
        let digest = Digest::of(&text.bytes);
        let since = clock::now();
        let suffix = since.replace(':', "");
        let damaged_store = self
            .file
            .set_damaged_aside(&suffix)
            .map_err(TrustError::Store)?;
        let trusted = TrustedFile {
            path,
            digest,
            since,
        };
        self.file
            .update(|list| {
                let mut by_path = by_path(list.unwrap_or_default());
                by_path.insert(trusted.path.clone(), trusted);
                (by_path.into_values().collect(), ())
            })
            .map_err(TrustError::Store)?;
        Ok(Added {
            digest,
            damaged_store,
        })
    }

    /// All trusted files, by path.
    ///
    /// # Errors
    /// [`TrustError::Store`].
    pub fn list(&self) -> Result<Vec<TrustedFile>, TrustError> {
        Ok(self
            .file
            .read()
            .map_err(TrustError::Store)?
            .unwrap_or_default())
    }

    /// Whether the file at the real path `path` is trusted with this digest.
    ///
    /// # Errors
    /// [`TrustError::Store`]; nothing is trusted then.
    pub fn is_trusted(&self, path: &AbsolutePath, digest: &Digest) -> Result<Trust, TrustError> {
        let list = self.list()?;
        let known = list
            .iter()
            .any(|file| file.path == *path && file.digest == *digest);
        Ok(if known {
            Trust::Trusted
        } else {
            Trust::Untrusted
        })
    }

    /// Takes trust back. The file itself need not exist any more.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn remove(&self, path: &Path) -> Result<Removed, TrustError> {
        let path = match resolve(path) {
            Ok(path) => path,
            Err(error) => AbsolutePath::new(path).map_err(|_| error)?,
        };
        self.file
            .update(|list| {
                let mut by_path = by_path(list.unwrap_or_default());
                let removed = by_path
                    .remove(&path)
                    .map_or(Removed::Unknown, |_| Removed::Trusted);
                (by_path.into_values().collect(), removed)
            })
            .map_err(TrustError::Store)
    }
}

fn by_path(list: Vec<TrustedFile>) -> BTreeMap<AbsolutePath, TrustedFile> {
    list.into_iter()
        .map(|file| (file.path.clone(), file))
        .collect()
}

/// The real path: what the policy loader asks about is one too.
fn resolve(path: &Path) -> Result<AbsolutePath, TrustError> {
    let resolve_error = |source| TrustError::Resolve {
        path: path.to_owned(),
        source,
    };
    let real = crate::paths::real(path).map_err(resolve_error)?;
    AbsolutePath::new(real).map_err(|error| {
        resolve_error(std::io::Error::new(std::io::ErrorKind::InvalidInput, error))
    })
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    struct Scratch {
        directory: tempfile::TempDir,
        store: TrustStore,
        policy: PathBuf,
    }

    fn scratch() -> Scratch {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::at(&directory.path().join("state")).unwrap();
        let policy = directory.path().canonicalize().unwrap().join("policy.toml");
        std::fs::write(&policy, "mode = \"read-only\"\n").unwrap();
        Scratch {
            store: TrustStore::open(&state),
            directory,
            policy,
        }
    }

    #[test]
    fn trust_is_in_exactly_one_content() {
        let scratch = scratch();
        let path = AbsolutePath::new(&scratch.policy).unwrap();
        let before = Digest::of(b"mode = \"read-only\"\n");
        assert_eq!(
            scratch.store.is_trusted(&path, &before).unwrap(),
            Trust::Untrusted
        );
        assert_eq!(scratch.store.add(&scratch.policy).unwrap().digest, before);
        assert_eq!(
            scratch.store.is_trusted(&path, &before).unwrap(),
            Trust::Trusted
        );
        let changed = Digest::of(b"mode = \"full-access\"\n");
        assert_eq!(
            scratch.store.is_trusted(&path, &changed).unwrap(),
            Trust::Untrusted
        );
        let elsewhere = AbsolutePath::new("/elsewhere/policy.toml").unwrap();
        assert_eq!(
            scratch.store.is_trusted(&elsewhere, &before).unwrap(),
            Trust::Untrusted
        );
        std::fs::remove_file(&scratch.policy).unwrap();
        assert_eq!(
            scratch.store.remove(&scratch.policy).unwrap(),
            Removed::Trusted
        );
        assert_eq!(
            scratch.store.remove(&scratch.policy).unwrap(),
            Removed::Unknown
        );
        assert_eq!(
            scratch.store.is_trusted(&path, &before).unwrap(),
            Trust::Untrusted
        );
    }

    #[test]
    fn a_damaged_store_trusts_nothing_and_is_kept() {
        let scratch = scratch();
        let path = AbsolutePath::new(&scratch.policy).unwrap();
        let digest = scratch.store.add(&scratch.policy).unwrap().digest;
        let store = scratch.directory.path().join("state/trust");
        let whole = std::fs::read(&store).unwrap();
        std::fs::write(&store, &whole[..whole.len() - 1]).unwrap();
        assert!(matches!(
            scratch.store.is_trusted(&path, &digest),
            Err(TrustError::Store(_))
        ));
        let added = scratch.store.add(&scratch.policy).unwrap();
        assert_eq!(
            std::fs::read(added.damaged_store.unwrap()).unwrap(),
            whole[..whole.len() - 1]
        );
        assert_eq!(
            scratch.store.is_trusted(&path, &digest).unwrap(),
            Trust::Trusted
        );
    }

    #[test]
    fn a_link_is_trusted_as_what_it_leads_to() {
        let scratch = scratch();
        let link = scratch.directory.path().join("link");
        std::os::unix::fs::symlink(&scratch.policy, &link).unwrap();
        scratch.store.add(&link).unwrap();
        let list = scratch.store.list().unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].path.as_path(), scratch.policy);
    }
}
