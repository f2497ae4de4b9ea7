//! Layers and their precedence: managed, command line, user, project, defaults.
//!
//! Merges documents into one [`Policy`] in which every value knows who said it; reads no file. The rules:
//!
//! - A single value is the strongest layer's that names it. Lists add up. Deny beats allow, but `allow_read` and
//!   `unprotected` of a stronger layer take back, by its exact words, what a weaker layer or a default denies.
//! - What the managed layer says is a limit. A single value may be narrowed, not widened; a list that grants is the
//!   whole of what may be granted, also an empty one; a list that denies can't be taken back. Asking for more on the
//!   command line is refused ([`ExitCode::ManagedRefusal`]); in a user's or project's file it is left out and noted.
//! - A project's file that nobody has trusted may only narrow the defaults: a key that would widen them is an error
//!   that names it, never silently left out.
//!
//! Invariant: an untrusted project's file never allows more than the other layers alone, nor does a managed file that
//! grants nothing itself.

mod check;
mod error;
mod merge;
mod narrow;
pub(crate) mod text;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::document::PolicyDocument;
use crate::parse::{ParseError, parse};
use crate::path::AbsolutePath;
use crate::place::{Place, locate, states};
use crate::policy::Policy;
use crate::secrets::Platform;

pub use check::refuse_root;
pub use error::{ForbiddenRoot, ResolveError, ResolveFault};

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

impl LayerKind {
    /// Its name in tables and notes.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Managed => "managed",
            Self::CommandLine => "command line",
            Self::User => "user",
            Self::Project => "project",
            Self::Default => "default",
        }
    }
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
    /// The file's text, for places in errors; `None` for a command line.
    pub text: Option<String>,
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
    /// The operating system whose secrets are meant.
    pub platform: Platform,
}

impl Layer {
    /// Parses one policy file; `source` is its name in errors.
    ///
    /// # Errors
    /// [`ParseError`] with line, column, key, cause and hint.
    pub fn from_file(
        kind: LayerKind,
        source: impl Into<String>,
        bytes: &[u8],
        trust: Trust,
    ) -> Result<Self, ParseError> {
        let source = source.into();
        let document = parse(&source, bytes)?;
        Ok(Self {
            kind,
            source,
            document,
            trust,
            text: std::str::from_utf8(bytes).ok().map(str::to_owned),
        })
    }

    /// What the options of one command say.
    #[must_use]
    pub fn from_command_line(document: PolicyDocument) -> Self {
        Self {
            kind: LayerKind::CommandLine,
            source: "command line".to_owned(),
            document,
            trust: Trust::Trusted,
            text: None,
        }
    }

    /// Where `entry` of `key` stands in this layer.
    pub(crate) fn place(&self, key: &str, entry: &str) -> Place {
        let option = match self.kind {
            LayerKind::CommandLine => option_of(key),
            LayerKind::Managed | LayerKind::User | LayerKind::Project | LayerKind::Default => None,
        };
        Place {
            source: self.source.clone(),
            key: option.unwrap_or(key).to_owned(),
            spot: self
                .text
                .as_deref()
                .and_then(|text| locate(text, key, entry)),
        }
    }

    /// Whether this layer names `key` at all, be it with an empty list.
    pub(crate) fn states(&self, key: &str) -> bool {
        self.text.as_deref().is_some_and(|text| states(text, key))
    }
}

/// The option of `ringfence run` that stands for `key`.
#[must_use]
pub fn option_of(key: &str) -> Option<&'static str> {
    let option = match key {
        "mode" => "--mode",
        "require" => "--require",
        "workspace" => "--workspace",
        "filesystem.writable_roots" => "--writable-root",
        "filesystem.deny_read" => "--deny-read",
        "filesystem.allow_read" => "--allow-read",
        "filesystem.protected" => "--protect",
        "filesystem.unprotected" => "--unprotect",
        "filesystem.git" => "--git",
        "network.mode" => "--network",
        "network.allow" => "--allow-host",
        "network.deny" => "--deny-host",
        "network.ask" => "--ask",
        "network.publish" => "--publish",
        "network.connect" => "--connect",
        "network.unix_sockets" => "--unix-socket",
        "environment.pass" | "environment.set" => "--env",
        "limits.memory" | "limits.processes" | "limits.time" => "--limit",
        _ => return None,
    };
    Some(option)
}

/// SHA-256 of a project file's exact bytes, as 64 hexadecimal digits: what `ringfence trust` remembers.
#[must_use]
pub fn trust_digest(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a String can't fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// Merges `layers` (any order) over the defaults into one policy.
///
/// # Errors
/// [`ResolveError`] naming layer, key, cause and hint.
pub fn resolve(layers: &[Layer], context: &Context) -> Result<Policy, ResolveError> {
    let mut ordered: Vec<&Layer> = layers.iter().collect();
    ordered.sort_by_key(|layer| layer.kind);
    for layer in &ordered {
        if layer.kind == LayerKind::Project && layer.trust == Trust::Untrusted {
            narrow::check(layer)?;
        }
        check::within_layer(layer, context)?;
    }
    let policy = merge::merge(&ordered, context)?;
    check::across_layers(&policy, &ordered)?;
    Ok(policy)
}

#[cfg(test)]
pub(crate) mod tests;

#[cfg(test)]
mod narrowing;
