//! Project policy files that a person has trusted, each by its exact digest.
//!
//! Invariant: a store that can't be read trusts nothing.

use std::path::{Path, PathBuf};

use ringfence_policy::ExitCode;
use ringfence_policy::layers::Trust;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::state::StateDirectory;

/// One trusted file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedFile {
    /// Its real path.
    pub path: PathBuf,
    /// The digest of its content when it was trusted.
    pub digest: Digest,
    /// When, RFC 3339.
    pub since: String,
}

/// The trusted files.
#[derive(Debug)]
pub struct TrustStore {
    state: StateDirectory,
}

/// Why the trust store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file to trust could not be read.
    #[error("`{path}` could not be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl TrustError {
    /// The exit status that goes with it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::Internal
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        String::new()
    }
}

impl TrustStore {
    /// The store in `state`; nothing is read yet.
    #[must_use]
    pub fn open(state: &StateDirectory) -> Self {
        Self {
            state: state.clone(),
        }
    }

    /// Trusts the file at `path` with exactly the content it has now.
    pub fn add(&self, path: &Path) -> Result<Digest, TrustError> {
        let _ = (path, &self.state);
        unimplemented!("soon")
    }

    /// All trusted files, by path.
    pub fn list(&self) -> Result<Vec<TrustedFile>, TrustError> {
        unimplemented!("soon")
    }

    /// Whether the file at `path` is trusted with this digest.
    pub fn is_trusted(&self, path: &Path, digest: &Digest) -> Result<Trust, TrustError> {
        let _ = (path, digest);
        unimplemented!("soon")
    }

    /// Takes trust back; `false` when the file was not trusted.
    pub fn remove(&self, path: &Path) -> Result<bool, TrustError> {
        let _ = path;
        unimplemented!("soon")
    }
}
