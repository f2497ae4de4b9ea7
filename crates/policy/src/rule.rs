//! The names of the rules a decision can rest on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The rule that decided; printed in denials, events and `explain`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[non_exhaustive]
pub enum RuleId {
    /// The path lies in a writable root.
    #[serde(rename = "fs.writable-root")]
    WritableRoot,
    /// The path lies in a directory of the session's own (`/tmp`, `/dev/shm`, the private cache root).
    #[serde(rename = "fs.private-directory")]
    PrivateDirectory,
    /// A device that every program needs (`/dev/null` and its like, the terminal).
    #[serde(rename = "fs.device")]
    Device,
    /// Reading is allowed where nothing else decides.
    #[serde(rename = "fs.read-default")]
    ReadDefault,
    /// Writing outside every writable root.
    #[serde(rename = "fs.outside-writable-roots")]
    OutsideWritableRoots,
    /// The mode is `read-only`: there is no writable root.
    #[serde(rename = "fs.read-only-mode")]
    ReadOnlyMode,
    /// A protected name at the top of a writable root or of a repository in one.
    #[serde(rename = "fs.protected-name")]
    ProtectedName,
    /// A file that git configuration inside the root makes executable on the host (hooks path, include).
    #[serde(rename = "fs.git-executable-config")]
    GitExecutableConfig,
    /// A built-in secret.
    #[serde(rename = "fs.secret")]
    Secret,
    /// A path that the policy's `deny_read` names.
    #[serde(rename = "fs.deny-read")]
    DenyRead,
    /// A mount that already existed inside a writable root and was not named.
    #[serde(rename = "fs.mount-inside-root")]
    MountInsideRoot,
    /// A file whose other hard link lies outside every writable root.
    #[serde(rename = "fs.hard-link-outside")]
    HardLinkOutside,
    /// Without namespaces: nothing is made, removed or renamed directly in a directory that holds a protected name or a
    /// secret.
    #[serde(rename = "fs.new-entry")]
    NewEntry,
    /// A place the sandbox hides whole (`/run`, the host's `/tmp`).
    #[serde(rename = "fs.hidden-place")]
    HiddenPlace,
    /// Ringfence's own state: a hard block that nothing lifts.
    #[serde(rename = "fs.ringfence-state")]
    RingfenceState,
    /// A setuid or setgid bit, or a device node.
    #[serde(rename = "fs.privileged-mode")]
    PrivilegedMode,
    /// Loopback inside the session's own network.
    #[serde(rename = "net.session-loopback")]
    SessionLoopback,
    /// The network is `offline`.
    #[serde(rename = "net.offline")]
    Offline,
    /// A `deny` rule of the network section.
    #[serde(rename = "net.denied-host")]
    DeniedHost,
    /// An `allow` rule of the network section.
    #[serde(rename = "net.allowed-host")]
    AllowedHost,
    /// No rule names the destination.
    #[serde(rename = "net.not-listed")]
    NotListed,
    /// A cloud metadata address: a hard block that nothing lifts.
    #[serde(rename = "net.metadata")]
    Metadata,
    /// An address that is not public (private, link-local, loopback, reserved, …), also behind a name, which no rule
    /// names itself.
    #[serde(rename = "net.private-address")]
    PrivateAddress,
    /// A server on the host's loopback that `connect` names.
    #[serde(rename = "net.connected-server")]
    ConnectedServer,
    /// A port inside the session that `publish` opens to the host's loopback.
    #[serde(rename = "net.published-port")]
    PublishedPort,
    /// The `Host` of a request or the server name of a TLS greeting is missing, hidden, or another than the one that
    /// was allowed.
    #[serde(rename = "net.host-mismatch")]
    HostMismatch,
    /// What can't be read strictly: a host, a request, a greeting, a DNS question.
    #[serde(rename = "net.malformed")]
    Malformed,
    /// A change of protocol inside a connection that no rule's `upgrade` names: a WebSocket, `CONNECT` inside `CONNECT`.
    #[serde(rename = "net.upgrade")]
    Upgrade,
    /// A request that no rule for its host means by its method and path, or whose path can be read in two ways; and
    /// what is no request of HTTP, to a host of which only requests are allowed.
    #[serde(rename = "net.request-scope")]
    RequestScope,
    /// TLS that has to be read, because only some requests to the host are allowed, and can't be: the origin's
    /// certificate is not trusted, or the program does not accept the session's.
    #[serde(rename = "net.tls-termination")]
    TlsTermination,
    /// A rule allows the destination to other programs than the one that tried, or it is not known which that is.
    #[serde(rename = "net.other-program")]
    OtherProgram,
    /// A program that connects to the proxy and belongs to no command of the session.
    #[serde(rename = "net.unknown-caller")]
    UnknownCaller,
    /// A limit of the proxy: connections, time, bytes.
    #[serde(rename = "net.limit")]
    NetworkLimit,
    /// A Unix socket that is not granted by name.
    #[serde(rename = "net.unix-socket")]
    UnixSocket,
    /// A socket family or protocol that leaves the boundary (packet, vsock, …).
    #[serde(rename = "net.socket-family")]
    SocketFamily,
    /// A system call that the filter refuses.
    #[serde(rename = "kernel.syscall")]
    Syscall,
    /// A process that the session did not start: it can't be seen, signalled or traced.
    #[serde(rename = "process.outside")]
    OutsideProcess,
    /// The policy's limit on processes and threads.
    #[serde(rename = "limit.processes")]
    ProcessLimit,
    /// `full-access`: there is no boundary.
    #[serde(rename = "mode.full-access")]
    FullAccess,
}

impl RuleId {
    /// Its name, as it is printed everywhere: `net.not-listed`.
    #[must_use]
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            Ok(_) | Err(_) => format!("{self:?}"),
        }
    }
}
