//! Facts of a Linux machine: everything that a plan depends on, and nothing else.
//!
//! Gathered by the executor's `observe`, stored as JSON for golden tests and `ringfence plan --host-facts`.
//! Paths in facts are resolved (no component is a symbolic link) unless the field says otherwise.
//!
//! Invariant: a fact states what was seen; no field holds a decision.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use ringfence_policy::AbsolutePath;

use crate::step::FileId;

pub use crate::layout::{
    Anchor, BackLink, Child, Entry, GitDirectory, GitLayout, GitReference, GitRole, HiddenFact,
    Kind, NameFact,
};

/// The facts of one Linux host, for one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxFacts {
    /// The kernel's release, for people: `6.8.0-45-generic`.
    pub kernel: String,
    /// Highest Landlock ABI the kernel offers; 0 for none.
    pub landlock_abi: u32,
    /// Whether an unprivileged user namespace is expected to work. The proof is the launch itself.
    pub user_namespaces: UserNamespaces,
    /// What of seccomp works.
    pub seccomp: Seccomp,
    /// Whether the kernel is expected to mount a new `/proc` in a user namespace.
    pub proc_mount: ProcMount,
    /// Who calls.
    pub caller: Caller,
    /// The caller's home, where it exists.
    pub home: Option<Object>,
    /// Our state directory; what of it does not exist yet is appended as it was named.
    pub state: AbsolutePath,
    /// Objects that may not be a writable root.
    pub forbidden: Vec<Forbidden>,
    /// The places that the session replaces or hides, where they exist.
    pub places: Vec<PlaceFact>,
    /// Paths below hidden places that commands need.
    pub needed: Vec<Needed>,
    /// The workspace, then the policy's writable roots in its order.
    pub roots: Vec<RootFacts>,
    /// What the policy's hidden paths and patterns match.
    pub hidden: Vec<HiddenFact>,
    /// Paths that git configuration runs, reads as configuration, or takes hooks from, inside a root.
    pub git_references: Vec<GitReference>,
    /// Where limits can be set.
    pub cgroups: Vec<Cgroup>,
    /// The network's facts, where the policy lets anything leave the session or be published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkFacts>,
    /// What the Unix sockets are that the policy opens, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<SocketFact>,
    /// Entries of directories that Landlock alone has to grant piecemeal; empty where namespaces work.
    pub listings: Vec<Listing>,
    /// The person's caches, where tools look for them.
    #[serde(default)]
    pub caches: Vec<CacheFact>,
    /// Whether what a session writes can be laid over a directory of the host.
    #[serde(default)]
    pub overlay: Overlay,
}

/// A kind of cache: what tools fetch or make again when it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheName {
    /// `$XDG_CACHE_HOME`, `~/.cache`: pip, uv, Go's build cache, and most others.
    User,
    /// `$npm_config_cache`, `~/.npm`
    Npm,
    /// `$CARGO_HOME`, `~/.cargo`: `registry` and `git` in it.
    Cargo,
    /// `$GOPATH`, `~/go`: `pkg` in it.
    Go,
    /// `~/.m2`: `repository` in it.
    Maven,
}

/// Where a cache is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheFact {
    /// Which.
    pub cache: CacheName,
    /// What is at the directory that the tool's variable or its own default names; `None` where nothing is.
    pub object: Option<Object>,
    /// What exists of the parts that the tool fills; the directory itself where it fills all of it.
    pub parts: Vec<Object>,
    /// Whether the caller has set the variable by which a session could send the tool elsewhere.
    pub setting: Setting,
}

/// Whether a variable is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// It is.
    Set,
    /// It is not, or it is empty.
    Unset,
}

/// Whether an overlay file system with its writable layer in our state directory is expected to work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlay {
    /// Nothing known speaks against it. The proof is the launch itself.
    Available,
    /// Nobody has looked.
    #[default]
    Unknown,
    /// It does not work here.
    Refused {
        /// What refuses it.
        cause: String,
    },
}

/// What a session's own network depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkFacts {
    /// Whether the kernel has IPv6.
    pub ipv6: Ipv6,
    /// The name servers of `/etc/resolv.conf`, which the session's programs will ask.
    pub name_servers: Vec<IpAddr>,
}

/// Whether the kernel has IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ipv6 {
    /// It has.
    Available,
    /// It was built or started without.
    Absent,
}

/// Whether user namespaces work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserNamespaces {
    /// Nothing known speaks against it.
    Available,
    /// They are refused.
    Refused {
        /// What refuses them: a sysctl with its value, `AppArmor`, an outer sandbox.
        cause: String,
        /// What a person can do about it.
        cure: String,
    },
}

/// What of seccomp works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seccomp {
    /// Filters and a listener.
    Listener,
    /// Filters; the kernel offers no listener.
    FilterOnly,
    /// No filters.
    Absent,
}

/// Whether a new `/proc` can be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcMount {
    /// It can.
    New,
    /// Mounts below the present one hide parts of it: the kernel would refuse a new one as too revealing.
    Kept,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// An object that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its resolved path.
    pub path: AbsolutePath,
    /// Device and inode.
    pub id: FileId,
    /// Its kind.
    pub kind: Kind,
    /// Its owner: uid and gid.
    pub owner: (u32, u32),
}

/// What decides whether one more directory can be a writable root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateRoot {
    /// The directory; of its content nothing is known.
    pub root: RootFacts,
    /// The policy's own roots, likewise.
    pub roots: Vec<RootFacts>,
    /// Objects that may not be a writable root.
    pub forbidden: Vec<Forbidden>,
    /// Our state directory.
    pub state: AbsolutePath,
}

/// An object that may not be a writable root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forbidden {
    /// The object.
    pub id: FileId,
    /// Its path.
    pub path: AbsolutePath,
    /// Why.
    pub reason: ForbiddenReason,
}

/// Why an object may not be a writable root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForbiddenReason {
    /// It is `/`.
    FileSystemRoot,
    /// It is the caller's home itself.
    Home,
    /// It is our state directory, or holds it.
    HoldsState,
    /// It is the kernel's or the running system's own: `/proc`, `/sys`, `/dev`, `/run`, or such a file system mounted
    /// elsewhere. What lies below it is, too.
    System,
}

/// A place that the session replaces or hides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceFact {
    /// Which.
    pub place: PlaceName,
    /// The directory, resolved.
    pub path: AbsolutePath,
}

/// The places that every session replaces or hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlaceName {
    /// `/tmp`
    Tmp,
    /// `/var/tmp`
    VarTmp,
    /// `/run`
    Run,
    /// `/var/run`, where it is not a link to `/run`.
    VarRun,
    /// `$XDG_RUNTIME_DIR`
    RuntimeDirectory,
    /// `/dev/shm`
    SharedMemory,
}

/// A path of the host that the policy names as a Unix socket to be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketFact {
    /// As the policy names it.
    pub named: AbsolutePath,
    /// What is there.
    pub state: SocketState,
}

/// What is found where a socket is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketState {
    /// A socket.
    Socket(Object),
    /// Something else.
    Other,
    /// Nothing, or nothing that the caller may see.
    Absent,
}

/// A path below a hidden place that commands need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needed {
    /// Where commands look for it.
    pub path: AbsolutePath,
    /// What is there, resolved; the same as `path` but for links.
    pub source: AbsolutePath,
    /// Its kind.
    pub kind: Kind,
    /// What needs it: `/etc/resolv.conf`, or the entry of PATH as it is written.
    pub origin: String,
}

/// One directory that the policy names as workspace or writable root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFacts {
    /// The path as the policy names it; not resolved.
    pub named: AbsolutePath,
    /// What it resolves to; `None` where nothing is there.
    pub object: Option<Object>,
    /// Symbolic links that were followed from `named` to `object`, by their own places.
    pub links: Vec<AbsolutePath>,
    /// The root's top and the top of each repository in it, top first.
    pub anchors: Vec<Anchor>,
    /// Bare repositories: git directories without a working tree, found by what they hold.
    #[serde(default)]
    pub bare: Vec<GitDirectory>,
    /// Mount points inside, the root itself not among them.
    pub mounts: Vec<AbsolutePath>,
    /// Files that have another hard link outside this root.
    pub outside_links: Vec<AbsolutePath>,
    /// Directories that could not be read: what lies in them is not judged.
    pub unread: Vec<AbsolutePath>,
    /// What the scan of this root took.
    #[serde(default)]
    pub scan: ScanFact,
}

/// What a scan took: no plan depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanFact {
    /// How many directories were looked at.
    pub directories: u64,
    /// How many of them were read; what the others hold was known from an earlier scan.
    pub read: u64,
}

/// A cgroup directory in which the caller may make another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// What it can limit.
    pub controller: Controller,
    /// Of which version.
    pub version: CgroupVersion,
    /// The directory.
    pub path: AbsolutePath,
}

/// A cgroup controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Controller {
    /// `memory`
    Memory,
    /// `pids`
    Pids,
}

/// A version of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupVersion {
    /// One hierarchy per controller.
    V1,
    /// One hierarchy.
    V2,
}

/// The entries of one directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The directory.
    pub path: AbsolutePath,
    /// What is in it; symbolic links are left out, because a grant on one grants nothing.
    pub children: Vec<Child>,
}

impl LinuxFacts {
    /// The place `name`, where it exists.
    #[must_use]
    pub fn place(&self, name: PlaceName) -> Option<&AbsolutePath> {
        self.places
            .iter()
            .find(|fact| fact.place == name)
            .map(|fact| &fact.path)
    }

    /// The identity that a target should have: the workspace's owner where root works for somebody else.
    #[must_use]
    pub fn target_identity(&self) -> (u32, u32) {
        let own = (self.caller.uid, self.caller.gid);
        let workspace = self.roots.first().and_then(|root| root.object.as_ref());
        match workspace {
            Some(object) if self.caller.uid == 0 && object.owner.0 != 0 => object.owner,
            Some(_) | None => own,
        }
    }
}
