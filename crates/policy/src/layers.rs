//! Layers and their precedence: managed, command line, user, project, defaults.

use serde::{Deserialize, Serialize};

use crate::document::PolicyDocument;
use crate::path::AbsolutePath;
use crate::policy::Policy;

/// Where a setting comes from, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerKind {
    /// The administrator's file.
    Managed,
    /// Options of this command.
    CommandLine,
    /// The user's own file.
    User,
    /// `.ringfence/policy.toml` of the workspace.
    Project,
    /// Built in.
    Default,
}

/// A value and the layer that said it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// The layer.
    pub layer: LayerKind,
}

/// One parsed file or command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Which layer it is.
    pub kind: LayerKind,
    /// Its name in errors: a path, or `command line`.
    pub source: String,
    /// What it says.
    pub document: PolicyDocument,
    /// Whether a person has trusted exactly this file; only asked of [`LayerKind::Project`].
    pub trust: Trust,
}

/// Whether a project file may widen the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// It may only narrow.
    Untrusted,
    /// A person has trusted the file with exactly this digest.
    Trusted,
}

/// What the policy is resolved against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The caller's home directory.
    pub home: AbsolutePath,
    /// The directory the command works in.
    pub workspace: AbsolutePath,
    /// Ringfence's own state directory.
    pub state: AbsolutePath,
}

/// Why layers don't make a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Filled in by the policy helper: one variant per kind of fault.
    #[error("{source_name}: {key}: {reason}")]
    Invalid {
        /// The layer's name.
        source_name: String,
        /// The dotted key.
        key: String,
        /// What is wrong.
        reason: String,
        /// The next thing to do.
        hint: String,
    },
}

/// Merges `layers` (any order) over the defaults into one policy.
///
/// # Errors
/// [`ResolveError`] naming layer, key, cause and hint.
pub fn resolve(layers: &[Layer], context: &Context) -> Result<Policy, ResolveError> {
    let _ = (layers, context);
    unimplemented!("policy helper")
}
