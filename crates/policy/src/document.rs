//! One policy file as it is written: every key optional, nothing resolved.
//!
//! The doc comments of this module are the text of `docs/policy.md` and of the JSON Schema.
//! Orders of enums go from narrow to wide, so that a limit is a comparison.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::allow::AllowRule;
use crate::host::HostRule;
use crate::units::{ByteSize, Span};

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
    /// Refuse to run (exit 102) unless every layer holds.
    Full,
    /// Run also where only a part of the boundary can be held; what is missing is printed.
    Partial,
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
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum NewRepositories {
    /// It is moved out whole.
    Quarantine,
    /// It stays; its hooks and executable configuration are moved out and reported.
    Clean,
    /// It stays as it is.
    Allow,
}

/// What happens to files in a root whose other name lies outside.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum HardLinks {
    /// They are read-only.
    ReadOnly,
    /// They are counted and reported.
    Warn,
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
    /// Only `pass` and the basics: PATH HOME USER LOGNAME SHELL LANG LC_* TERM TZ.
    Allowlist,
    /// Everything but what looks like a secret, an agent socket or a loader variable.
    Filtered,
}

/// Who answers when something is to be granted while a command runs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Reviewer {
    /// Nobody: what is not allowed is refused.
    None,
    /// The person at the terminal.
    Prompt,
    /// The program of `approvals.command`.
    Command,
}

/// How events are sent to an OpenTelemetry collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OtlpProtocol {
    /// Protocol buffers over HTTP.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// JSON over HTTP.
    #[serde(rename = "http/json")]
    HttpJson,
}

/// Who the target is on Windows.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum WindowsSandbox {
    /// A sandbox account of its own, made by the elevated set-up.
    Elevated,
    /// The caller's account with a restricted token; nothing needs an administrator. Network: advisory, secrets:
    /// readable.
    Unelevated,
}

/// What of the machine's own loopback commands reach on Windows, where they share it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Loopback {
    /// The proxy alone; programs that connect to themselves fail.
    ProxyOnly,
    /// Ports of the system's dynamic range too: a program's own servers, and whatever else listens there.
    Dynamic,
}

/// One policy file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyDocument {
    /// How much the target may write.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "workspace-write", "examples" = ["read-only"]))]
    pub mode: Option<Mode>,
    /// The level of enforcement below which nothing runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "partial", "examples" = ["full"]))]
    pub require: Option<Require>,
    /// What the target may read and write.
    #[serde(skip_serializing_if = "is_default")]
    pub filesystem: FilesystemDocument,
    /// Where the target may connect to.
    #[serde(skip_serializing_if = "is_default")]
    pub network: NetworkDocument,
    /// Which variables the target gets.
    #[serde(skip_serializing_if = "is_default")]
    pub environment: EnvironmentDocument,
    /// What the target may use up.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: LimitsDocument,
    /// Who is asked for more while a command runs, and for how long an answer holds.
    #[serde(skip_serializing_if = "is_default")]
    pub approvals: ApprovalsDocument,
    /// Where the record of what happened goes, beside the local log.
    #[serde(skip_serializing_if = "is_default")]
    pub audit: AuditDocument,
    /// What only Windows knows.
    #[serde(skip_serializing_if = "is_default")]
    pub windows: WindowsDocument,
}

/// `[filesystem]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilesystemDocument {
    /// Directories beside the workspace that may be written: absolute, or below `~`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [["~/scratch"]]))]
    pub writable_roots: Vec<String>,
    /// Paths that may not be read, beside the built-in secrets: absolute, below `~`, or relative to each writable
    /// root; `*`, `?`, `[…]` and `**` match names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [["~/notes", "**/*.pem"]]))]
    pub deny_read: Vec<String>,
    /// Built-in secrets, and `deny_read` entries of a weaker layer, that may be read after all: by their name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [["~/.npmrc"]]))]
    pub allow_read: Vec<String>,
    /// Names to protect from writing beside the built-in ones, relative to each writable root.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [["infra/prod"]]))]
    pub protected: Vec<String>,
    /// Built-in protected names, and `protected` entries of a weaker layer, that may be written after all. `.git` is
    /// governed by `git` alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [["AGENTS.md"]]))]
    pub unprotected: Vec<String>,
    /// What the target may do inside `.git`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "read-only", "examples" = ["commit"]))]
    pub git: Option<GitAccess>,
    /// What happens to a repository that a command makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "clean", "examples" = ["quarantine"]))]
    pub new_repositories: Option<NewRepositories>,
    /// What happens to files in a root that are also something outside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "warn", "examples" = ["read-only"]))]
    pub hard_links: Option<HardLinks>,
}

/// `[network]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkDocument {
    /// Whether and how the target may leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "offline", "examples" = ["allowlist"]))]
    pub mode: Option<NetworkMode>,
    /// Destinations that are allowed: `HOST` or `HOST:PORT`; without a port 80 and 443. `*.example.com` means the
    /// names below it, `**.example.com` itself too. A name opens only public addresses: where it leads to a private
    /// one, that address is named too. With methods and paths behind it (`HOST GET,HEAD /v1/**`, or a table) only
    /// those requests of HTTP: the proxy then reads what is said to that host, TLS too, with a certificate of the
    /// session's own, which is added to what the session's programs trust; programs that accept none fail. Terms come
    /// last (`HOST upgrade=websocket bytes-out=10MiB`, or keys of the table): `upgrade` names the protocols that a request
    /// may change to, which are then not read; `bytes_out` is the most that may leave under the rule in one session
    /// (a reload that changes the rule counts anew); `server_name = "any"` lets TLS leave out, hide (ECH) or change the server's name; `programs` (`program=PATH`) means
    /// these programs alone: a help, not a wall, since a program can be made to serve another. On Linux a program inside
    /// can't listen at a port that a rule names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [["packages.example.org", "*.example.net", "example.com:22", { "host": "api.example.com", "methods": ["GET"], "paths": ["/v1/**"] }, { "host": "chat.example.com", "upgrade": ["websocket"], "bytes_out": "10MiB" }]]))]
    pub allow: Vec<AllowRule>,
    /// Destinations that are refused whatever `allow` says; without a port on every port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [["uploads.example.net"]]))]
    pub deny: Vec<HostRule>,
    /// Hold a connection that no rule names and ask, instead of refusing it. Needs `mode = "allowlist"`.
    ///
    /// Nobody can be asked yet: the connection is held for `approvals.timeout`, nothing is sent meanwhile, and then it
    /// is refused. With `approvals.reviewer = "none"` it is refused at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false, "examples" = [true]))]
    pub ask: Option<bool>,
    /// Ports of servers inside that are reached from the host's loopback.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [[3000]]))]
    pub publish: Vec<u16>,
    /// Servers on the host's loopback that are reached from inside: `ADDRESS:PORT`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [["127.0.0.1:5432"]]))]
    pub connect: Vec<String>,
    /// Unix sockets of this machine that may be connected to: absolute, or below `~`.
    ///
    /// The server must be there when the session begins: it is reached as the object that it is then, and whatever
    /// takes its name later is not. Stream sockets only; bytes pass, descriptors do not. What whoever reaches the
    /// server can do is allowed with it: Docker's socket equals root, and is granted with a warning.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [["~/.cache/example/daemon.sock"]]))]
    pub unix_sockets: Vec<String>,
    /// A corporate proxy to go through: `http://HOST:PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["http://proxy.example.com:8080"]))]
    pub upstream_proxy: Option<String>,
}

/// `[environment]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnvironmentDocument {
    /// How variables are chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "filtered", "examples" = ["allowlist"]))]
    pub mode: Option<EnvironmentMode>,
    /// Variables let through by name, whatever they look like.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [["CI", "MY_API_TOKEN"]]))]
    pub pass: Vec<String>,
    /// Variables set for the target.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("default" = {}, "examples" = [{ "NODE_ENV": "test" }]))]
    pub set: BTreeMap<String, String>,
}

/// `[limits]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsDocument {
    /// Memory of all the session's processes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["4GiB"]))]
    pub memory: Option<ByteSize>,
    /// Number of processes and threads of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), extend("examples" = [512]))]
    pub processes: Option<u32>,
    /// Wall-clock time of a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["30m"]))]
    pub time: Option<Span>,
}

/// `[approvals]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApprovalsDocument {
    /// Who answers when something is to be granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "prompt", "examples" = ["none"]))]
    pub reviewer: Option<Reviewer>,
    /// The program that answers, and its arguments. Runs outside the boundary. Needs `reviewer = "command"`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [["/usr/local/bin/my-approver"]]))]
    pub command: Vec<String>,
    /// How long an answer is waited for; then it is a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "2m", "examples" = ["30s"]))]
    pub timeout: Option<Span>,
    /// The longest time that a grant may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "8h", "examples" = ["1h"]))]
    pub max_duration: Option<Span>,
}

/// `[audit]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuditDocument {
    /// An OpenTelemetry collector that events are sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [{ "endpoint": "http://localhost:4318", "protocol": "http/protobuf" }]))]
    pub otlp: Option<OtlpDocument>,
}

/// `audit.otlp`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtlpDocument {
    /// Where: `http://HOST:PORT` or `https://HOST:PORT`.
    pub endpoint: String,
    /// How. Default: `http/protobuf`.
    #[serde(default = "OtlpProtocol::usual")]
    pub protocol: OtlpProtocol,
}

/// `[windows]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WindowsDocument {
    /// Who the target is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "elevated", "examples" = ["unelevated"]))]
    pub sandbox: Option<WindowsSandbox>,
    /// What of the machine's own loopback commands reach. A change needs `ringfence setup install` again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "dynamic", "examples" = ["proxy-only"]))]
    pub loopback: Option<Loopback>,
}

impl OtlpProtocol {
    /// The protocol of an endpoint that names none.
    #[must_use]
    pub fn usual() -> Self {
        Self::HttpProtobuf
    }
}

fn is_default<T: Default + PartialEq>(section: &T) -> bool {
    *section == T::default()
}

/// The word that a policy file uses for a value.
macro_rules! word_in_file {
    ($($type:ident { $($variant:ident => $word:literal),+ $(,)? })+) => {$(
        impl $type {
            /// The word that a policy file uses for it.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.word())
            }
        }
    )+};
}

word_in_file! {
    Mode { ReadOnly => "read-only", WorkspaceWrite => "workspace-write", FullAccess => "full-access" }
    Require { Full => "full", Partial => "partial" }
    GitAccess { ReadOnly => "read-only", Commit => "commit", Full => "full" }
    NewRepositories { Quarantine => "quarantine", Clean => "clean", Allow => "allow" }
    HardLinks { ReadOnly => "read-only", Warn => "warn" }
    NetworkMode { Offline => "offline", Allowlist => "allowlist", Open => "open" }
    EnvironmentMode { Allowlist => "allowlist", Filtered => "filtered" }
    Reviewer { None => "none", Prompt => "prompt", Command => "command" }
    OtlpProtocol { HttpProtobuf => "http/protobuf", HttpJson => "http/json" }
    Loopback { ProxyOnly => "proxy-only", Dynamic => "dynamic" }
    WindowsSandbox { Elevated => "elevated", Unelevated => "unelevated" }
}
