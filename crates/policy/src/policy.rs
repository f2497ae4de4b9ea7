//! The resolved policy: what all layers together say, with the layer that said it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::allow::AllowRule;
use crate::document::{
    EnvironmentMode, GitAccess, HardLinks, Loopback, Mode, NetworkMode, NewRepositories,
    OtlpDocument, Require, Reviewer, WindowsSandbox,
};
use crate::host::HostRule;
use crate::layers::{LayerKind, Sourced};
use crate::path::AbsolutePath;
use crate::units::{ByteSize, Span};

/// One complete policy for one workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// How much the target may write.
    pub mode: Sourced<Mode>,
    /// The level of enforcement below which nothing runs.
    pub require: Sourced<Require>,
    /// The directory the command works in; the first writable root in `workspace-write`.
    pub workspace: AbsolutePath,
    /// The caller's home directory.
    pub home: AbsolutePath,
    /// Ringfence's own state directory; hidden from every target.
    pub state: AbsolutePath,
    /// What the target may read and write.
    pub filesystem: FilesystemPolicy,
    /// Where the target may connect to.
    pub network: NetworkPolicy,
    /// Which variables the target gets.
    pub environment: EnvironmentPolicy,
    /// What the target may use up.
    pub limits: Limits,
    /// Who is asked for more while a command runs.
    pub approvals: ApprovalsPolicy,
    /// Where events go beside the local log.
    pub otlp: Option<Sourced<OtlpDocument>>,
    /// Who the target is on Windows.
    pub windows_sandbox: Sourced<WindowsSandbox>,
    /// What of the machine's loopback the target reaches on Windows.
    pub windows_loopback: Sourced<Loopback>,
    /// What was asked for and not given, because a stronger layer says otherwise: one line each.
    pub notes: Vec<String>,
    /// The layers that were read, strongest first, for the record.
    pub layers: Vec<LayerKind>,
}

/// File rules after merging; patterns are still patterns, because what exists is a host fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesystemPolicy {
    /// Roots named by the policy beside the workspace. The workspace is not in this list.
    pub writable_roots: Vec<Sourced<AbsolutePath>>,
    /// Paths hidden from the target: built-in secrets and `deny_read`, less `allow_read`.
    pub hidden: Vec<HiddenPath>,
    /// Names protected at the top of each writable root and repository, less `unprotected`.
    pub protected: Vec<Sourced<String>>,
    /// What the target may do inside `.git`.
    pub git: Sourced<GitAccess>,
    /// What happens to a repository that a command makes.
    pub new_repositories: Sourced<NewRepositories>,
    /// What happens to files whose other name lies outside the roots.
    pub hard_links: Sourced<HardLinks>,
}

/// One entry of what no target may read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HiddenPath {
    /// What it covers.
    pub pattern: HiddenPattern,
    /// The words a person uses to name it in `allow_read`.
    pub name: String,
    /// Whether a built-in or a person's rule hides it.
    pub kind: HiddenKind,
    /// Parts of it that stay readable, absolute (for example `~/.ssh/known_hosts`), shown read-only.
    pub except: Vec<AbsolutePath>,
    /// The layer that said so.
    pub layer: LayerKind,
}

/// What a [`HiddenPath`] covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HiddenPattern {
    /// One path and everything below it.
    Path(AbsolutePath),
    /// A glob over absolute paths with a fixed directory part, for example `~/.cargo/credentials*`.
    HomeGlob(String),
    /// A glob relative to each writable root, with the names it does not cover (`.env.example`).
    RootGlob {
        /// The glob, in globset's syntax with literal separators.
        glob: String,
        /// Globs that take a match back.
        except: Vec<String>,
    },
}

/// Who hides a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HiddenKind {
    /// A secret that Ringfence knows by name.
    BuiltIn,
    /// The policy's `deny_read`.
    DenyRead,
}

/// Network rules after merging.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPolicy {
    /// Whether and how the target may leave.
    pub mode: Sourced<NetworkMode>,
    /// Destinations that are allowed.
    pub allow: Vec<Sourced<AllowRule>>,
    /// Destinations that are refused whatever `allow` says.
    pub deny: Vec<Sourced<HostRule>>,
    /// Hold an unlisted connection and ask.
    pub ask: Sourced<bool>,
    /// Ports inside that are reachable from the host's loopback.
    pub publish: Vec<Sourced<u16>>,
    /// Servers on the host's loopback that are reachable from inside.
    pub connect: Vec<Sourced<SocketAddr>>,
    /// Unix sockets that may be connected to, by path.
    pub unix_sockets: Vec<Sourced<AbsolutePath>>,
    /// A corporate proxy that the egress proxy uses.
    pub upstream_proxy: Option<Sourced<String>>,
}

/// Environment rules after merging.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentPolicy {
    /// How variables are chosen.
    pub mode: Sourced<EnvironmentMode>,
    /// Names let through whatever they look like.
    pub pass: Vec<Sourced<String>>,
    /// Variables set for the target.
    pub set: BTreeMap<String, Sourced<String>>,
}

/// Limits after merging; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of all the session's processes together.
    pub memory: Option<Sourced<ByteSize>>,
    /// Number of processes and threads of the session.
    pub processes: Option<Sourced<u32>>,
    /// Wall-clock time of a command.
    pub time: Option<Sourced<Span>>,
}

/// Approvals after merging.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalsPolicy {
    /// Who answers.
    pub reviewer: Sourced<Reviewer>,
    /// The program that answers, and its arguments; empty unless the reviewer is a command.
    pub command: Sourced<Vec<String>>,
    /// How long an answer is waited for.
    pub timeout: Sourced<Span>,
    /// The longest time that a grant may hold.
    pub max_duration: Sourced<Span>,
}
