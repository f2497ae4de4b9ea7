//! One policy file as it is written: every key optional, nothing resolved.
//!
//! The doc comments of this module are the text of `docs/policy.md` and of the JSON Schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much the target may write.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing but private directories.
    ReadOnly,
    /// The workspace, named roots and private directories.
    WorkspaceWrite,
    /// No boundary at all.
    FullAccess,
}

/// The level of enforcement below which nothing runs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Require {
    /// Run also where only a part of the boundary can be held; what is missing is printed.
    Partial,
    /// Refuse to run (exit 102) unless every layer holds.
    Full,
}

/// What the target may do inside `.git`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum GitAccess {
    /// Nothing is written.
    ReadOnly,
    /// Commits work; hooks, configuration and what else runs on the host stay read-only.
    Commit,
    /// `.git` is as any other directory.
    Full,
}

/// What happens to a repository that a command makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NewRepositories {
    /// It stays; its hooks and executable configuration are moved out and reported.
    Clean,
    /// It is moved out whole.
    Quarantine,
    /// It stays as it is.
    Allow,
}

/// What happens to files in a root whose other name lies outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HardLinks {
    /// They are counted and reported.
    Warn,
    /// They are read-only.
    ReadOnly,
}

/// Whether and how the target may leave.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// No network but the session's own loopback.
    Offline,
    /// The destinations of `allow`.
    Allowlist,
    /// Every public destination.
    Open,
}

/// How variables are chosen.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EnvironmentMode {
    /// Everything but what looks like a secret, an agent socket or a loader variable.
    Filtered,
    /// Only `pass` and the basics: PATH HOME USER SHELL LANG LC_* TERM TZ.
    Allowlist,
}

/// One policy file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyDocument {
    /// How much the target may write. Default: `workspace-write`.
    pub mode: Option<Mode>,
    /// The level of enforcement below which nothing runs. Default: `partial`.
    pub require: Option<Require>,
    /// What the target may read and write.
    pub filesystem: FilesystemDocument,
    /// Where the target may connect to.
    pub network: NetworkDocument,
    /// Which variables the target gets.
    pub environment: EnvironmentDocument,
    /// What the target may use up.
    pub limits: LimitsDocument,
}

/// `[filesystem]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilesystemDocument {
    /// Directories beside the workspace that may be written: absolute, or below `~`.
    pub writable_roots: Vec<String>,
    /// Paths and globs that may not be read, beside the built-in secrets.
    pub deny_read: Vec<String>,
    /// Built-in secrets that may be read after all, by their name.
    pub allow_read: Vec<String>,
    /// Names to protect beside the built-in ones, relative to each writable root.
    pub protected: Vec<String>,
    /// Built-in protected names that may be written after all.
    pub unprotected: Vec<String>,
    /// What the target may do inside `.git`. Default: `read-only`.
    pub git: Option<GitAccess>,
    /// What happens to a repository that a command makes. Default: `clean`.
    pub new_repositories: Option<NewRepositories>,
    /// What happens to files whose other name lies outside the roots. Default: `warn`.
    pub hard_links: Option<HardLinks>,
}

/// `[network]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkDocument {
    /// Whether and how the target may leave. Default: `offline`.
    pub mode: Option<NetworkMode>,
    /// Destinations that are allowed: `HOST` or `HOST:PORT`; without a port 80 and 443.
    pub allow: Vec<String>,
    /// Destinations that are refused whatever `allow` says.
    pub deny: Vec<String>,
    /// Hold an unlisted connection and ask, instead of refusing it. Default: false.
    pub ask: Option<bool>,
    /// Ports of servers inside that are reached from the host's loopback.
    pub publish: Vec<u16>,
    /// Servers on the host's loopback that are reached from inside: `ADDRESS:PORT`.
    pub connect: Vec<String>,
    /// Unix sockets that may be connected to, by absolute path.
    pub unix_sockets: Vec<String>,
    /// A corporate proxy to go through: `http://HOST:PORT`.
    pub upstream_proxy: Option<String>,
}

/// `[environment]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnvironmentDocument {
    /// How variables are chosen. Default: `filtered`.
    pub mode: Option<EnvironmentMode>,
    /// Variables let through by name.
    pub pass: Vec<String>,
    /// Variables set for the target.
    pub set: BTreeMap<String, String>,
}

/// `[limits]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsDocument {
    /// Memory of all the session's processes together, for example `4GiB`.
    pub memory: Option<String>,
    /// Number of processes and threads of the session.
    pub processes: Option<u32>,
    /// Wall-clock time of a command, for example `30m`.
    pub time: Option<String>,
}
