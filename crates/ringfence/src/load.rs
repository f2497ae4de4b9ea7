//! Reads the policy files and makes one policy of them.
//!
//! Invariant: a project file widens nothing unless a person trusted exactly its content.

use std::path::PathBuf;

use ringfence_policy::document::PolicyDocument;
use ringfence_policy::layers::{LayerKind, Trust};
use ringfence_policy::{AbsolutePath, ExitCode, Policy};

use crate::digest::Digest;
use crate::state::StateDirectory;

/// What a policy is loaded for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadRequest {
    /// The directory the command works in.
    pub workspace: AbsolutePath,
    /// The caller's home directory.
    pub home: AbsolutePath,
    /// What the command line says.
    pub command_line: PolicyDocument,
    /// A file to read instead of the user's own (`--config`).
    pub config: Option<PathBuf>,
    /// The administrator's file; [`MANAGED_POLICY`] but in tests. Never taken from anything a caller's command controls.
    pub managed: PathBuf,
}

/// The administrator's policy file.
pub const MANAGED_POLICY: &str = "/etc/ringfence/policy.toml";

/// The largest policy file that is read, in bytes.
pub const POLICY_FILE_LIMIT: u64 = 1 << 20;

/// One layer that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedLayer {
    /// Which layer it is.
    pub kind: LayerKind,
    /// The file, or `command line`.
    pub source: String,
    /// The digest of the file's content.
    pub digest: Option<Digest>,
    /// Whether a person has trusted it; only asked of a project file.
    pub trust: Trust,
}

/// A policy and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// What was read, strongest first.
    pub layers: Vec<LoadedLayer>,
    /// What a person should know, one line each.
    pub notes: Vec<String>,
}

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file could not be read.
    #[error("policy file `{path}` could not be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl LoadError {
    /// The exit status that goes with it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::PolicyInvalid
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        String::new()
    }
}

/// Reads the managed, user and project files, and merges them with the command line.
pub fn load_policy(request: &LoadRequest, state: &StateDirectory) -> Result<Loaded, LoadError> {
    let _ = (request, state);
    unimplemented!("soon")
}
