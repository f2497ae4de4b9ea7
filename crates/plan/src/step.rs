//! One change to the machine or to the session: a closed, serialisable list that leaves nothing to decide.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use ringfence_policy::AbsolutePath;

use crate::linux::landlock::Ruleset;

/// A file's identity: device and inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileId {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

/// A namespace of its own for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Namespace {
    /// `CLONE_NEWUSER`
    User,
    /// `CLONE_NEWNS`
    Mount,
    /// `CLONE_NEWPID`
    Pid,
    /// `CLONE_NEWNET`
    Net,
    /// `CLONE_NEWIPC`
    Ipc,
    /// `CLONE_NEWUTS`
    Uts,
    /// `CLONE_NEWCGROUP`
    Cgroup,
}

/// Who the target is: ids are the host's and stay the same inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The caller's uid: the one that init runs as.
    pub uid: u32,
    /// The caller's gid.
    pub gid: u32,
    /// The uid and gid the target runs as when root works in somebody else's workspace; otherwise the caller's.
    pub target: (u32, u32),
}

/// What is there to be mounted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountPoint {
    /// It exists in the session's view.
    Existing,
    /// A directory (with its parents) is made first; only ever inside a private directory of ours.
    ///
    /// Commands of earlier sessions have written that directory: no symbolic link in it may be followed.
    MakeDirectory,
    /// An empty file (with its parents) is made first; only ever inside a private directory of ours. No symbolic
    /// link is followed, as above.
    MakeFile,
}

/// Whether a mount may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountAccess {
    /// Read-write on the top mount alone: what is mounted below stays read-only.
    ReadWrite,
    /// Read-only, recursively.
    ReadOnly,
}

/// What kind of placeholder hides a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placeholder {
    /// An empty directory of mode 000.
    Directory,
    /// An empty file of mode 000.
    File,
}

/// A path of the host that a layer above it covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mask {
    /// The path.
    pub path: AbsolutePath,
    /// What covers it.
    pub placeholder: Placeholder,
}

/// Which calls the observer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Observe {
    /// None: absent protected names are found by the sweep alone.
    Off,
    /// Calls that write to a path, connect, or are refused.
    Writes,
    /// The same, and opens for reading and execve.
    All,
}

/// Whether IP sockets exist for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpSockets {
    /// A network namespace holds them.
    InNamespace,
    /// There is no namespace to hold them: the filter refuses them.
    Refused,
}

/// A version of the Internet Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What a socket of the session's network is served for, outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// A listener that takes connections as they are: where they wanted to go is their local address.
    Captured,
    /// A listener that stands for one server of the host's loopback, at the same address.
    Connected,
    /// A listener that is told where to connect to: HTTP and SOCKS.
    Proxy,
    /// A datagram socket that answers questions for names.
    DnsDatagrams,
    /// A listener that answers questions for names.
    DnsStream,
}

/// A socket that is made inside the session's network and handed out: the only way out of it.
///
/// A wildcard address of V6 takes both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServedSocket {
    /// What it is bound to.
    pub address: SocketAddr,
    /// What it is served for.
    pub service: Service,
}

/// How a limit is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitMechanism {
    /// A cgroup of version 2 below this directory, which the caller may write.
    CgroupV2 {
        /// The parent directory.
        parent: AbsolutePath,
    },
    /// A cgroup of version 1 in this controller's hierarchy.
    CgroupV1 {
        /// The parent directory.
        parent: AbsolutePath,
    },
    /// init sums the tree's proportional memory, or counts its processes, and ends it above the limit.
    Watched,
    /// `RLIMIT_NPROC`, set after the user namespace; never for root.
    ResourceLimit,
}

/// One change. Steps run in order; the sources of all `Bind`s name the host's view and are taken before the first
/// mount, their targets name the session's view at that point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Makes a directory of ours on the host, with its parents. Outlives the session.
    MakePrivateDirectory {
        /// Where.
        path: AbsolutePath,
        /// Its permission bits.
        mode: u32,
        /// Who owns it, where not the caller.
        owner: Option<(u32, u32)>,
    },
    /// Puts the session into namespaces of its own.
    EnterNamespaces {
        /// Which.
        namespaces: Vec<Namespace>,
        /// Who the target is.
        identity: Identity,
    },
    /// Brings the session's own loopback interface up.
    RaiseLoopback,
    /// Delivers what is sent to any address to the session itself: a local default route over its loopback.
    CaptureAddresses {
        /// Of which family.
        family: AddressFamily,
    },
    /// Makes a socket in the session's network, for the harness to serve.
    Serve {
        /// Which.
        socket: ServedSocket,
    },
    /// Lets the harness connect to this port of the session's loopback.
    Publish {
        /// Which.
        port: u16,
    },
    /// Lets commands connect to this Unix socket of the host, through the harness and to no other.
    ReachSocket {
        /// As the policy names it.
        named: AbsolutePath,
        /// Where it lies, resolved.
        path: AbsolutePath,
        /// The object that the planner judged; the harness connects to it and to nothing that takes its name later.
        identity: FileId,
    },
    /// Makes every mount private, read-only, nosuid and nodev, recursively from `/`.
    SealMounts,
    /// Mounts a new `/proc` for the session's process namespace; kernel settings in it read-only.
    MountProc,
    /// Keeps the host's `/proc`, read-only, where the kernel refuses a new one.
    KeepProc,
    /// Mounts a small `/dev`: null zero full random urandom tty ptmx pts shm.
    MountDevices,
    /// Mounts an empty temporary file system.
    ///
    /// `ReadOnly` takes effect after the plan's last mount step, so that later steps can make mount points in it.
    /// It also hides a directory of which a part stays readable: the part is bound into it.
    MountTemporary {
        /// Where.
        target: AbsolutePath,
        /// Its permission bits.
        mode: u32,
        /// Whether the target may write it.
        access: MountAccess,
    },
    /// Mounts a file or directory of the host's view at a place of the session's view.
    Bind {
        /// What, in the host's view.
        source: AbsolutePath,
        /// Where, in the session's view.
        target: AbsolutePath,
        /// Read-write or read-only.
        access: MountAccess,
        /// What must be found there: the object that the planner judged.
        identity: Option<FileId>,
        /// Whether the mount point exists.
        mount_point: MountPoint,
    },
    /// Makes directories of the host writable without changing them: what is written goes to a layer of ours, which
    /// lies over the host's content and stays for the next session.
    ///
    /// One overlay file system (kernel document `filesystems/overlayfs`) of the whole `lower`, of which only
    /// `directories` are mounted. Its descriptors are taken before the first mount.
    MountOverlay {
        /// The host's directory that is seen below what is written.
        lower: AbsolutePath,
        /// A directory of ours that holds the layers. A layer belongs to one session at a time: sessions of one
        /// workspace that run at once have one each.
        store: AbsolutePath,
        /// The directories below `lower` that are mounted, each at its own place.
        directories: Vec<AbsolutePath>,
        /// What the host has below `directories` and is not shown: an empty, unreadable object stands there.
        masked: Vec<Mask>,
    },
    /// Makes a directory a mount point, so that it can't be renamed away from above a protected name.
    ///
    /// A recursive bind on itself that keeps each mount's own access: what is read-only below stays so.
    Pin {
        /// The directory, in the session's view.
        path: AbsolutePath,
    },
    /// Makes an existing protected path read-only, by a mount on itself.
    Protect {
        /// The path, in the session's view; never a symbolic link.
        path: AbsolutePath,
    },
    /// Holds a symbolic link in place, by a mount of the link on itself.
    ///
    /// `open_tree` with `AT_SYMLINK_NOFOLLOW`, then `move_mount` without following the target. The link still
    /// leads where it led; unlinking it, renaming it and renaming over it give `EBUSY` (measured on Linux 6.18).
    ProtectLink {
        /// The link, in the session's view; its parents are no links.
        path: AbsolutePath,
    },
    /// Makes a part of a protected path writable again, by a mount on itself (`git = "commit"`).
    Unprotect {
        /// The path, in the session's view.
        path: AbsolutePath,
    },
    /// Hides a path behind an empty, unreadable placeholder.
    Hide {
        /// The path, in the session's view; never a symbolic link.
        path: AbsolutePath,
        /// File or directory.
        placeholder: Placeholder,
        /// What is there; made only in an empty directory of ours.
        mount_point: MountPoint,
    },
    /// Limits memory.
    LimitMemory {
        /// In bytes.
        bytes: u64,
        /// How it is held.
        mechanism: LimitMechanism,
    },
    /// Limits the number of processes and threads.
    LimitProcesses {
        /// How many.
        count: u32,
        /// How it is held.
        mechanism: LimitMechanism,
    },
    /// Drops every capability from every set, for good.
    DropCapabilities,
    /// Sets `no_new_privs`.
    SetNoNewPrivs,
    /// Restricts every command by a Landlock ruleset.
    RestrictPaths {
        /// The ruleset.
        ruleset: Ruleset,
    },
    /// Installs the system call filter on every command.
    FilterSyscalls {
        /// Which calls the observer sees.
        observe: Observe,
        /// Whether IP sockets exist.
        ip_sockets: IpSockets,
    },
}

/// What undoes a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inverse {
    /// It ends with the session's last process: the kernel undoes it.
    SessionEnd,
    /// Removes the directory and what is in it.
    RemovePrivateDirectory {
        /// Where.
        path: AbsolutePath,
    },
}

impl Step {
    /// What undoes this step.
    #[must_use]
    pub fn inverse(&self) -> Inverse {
        match self {
            Self::MakePrivateDirectory { path, .. } => {
                Inverse::RemovePrivateDirectory { path: path.clone() }
            }
            Self::EnterNamespaces { .. }
            | Self::RaiseLoopback
            | Self::CaptureAddresses { .. }
            | Self::Serve { .. }
            | Self::Publish { .. }
            | Self::ReachSocket { .. }
            | Self::SealMounts
            | Self::MountProc
            | Self::KeepProc
            | Self::MountDevices
            | Self::MountTemporary { .. }
            | Self::Bind { .. }
            | Self::MountOverlay { .. }
            | Self::Pin { .. }
            | Self::Protect { .. }
            | Self::ProtectLink { .. }
            | Self::Unprotect { .. }
            | Self::Hide { .. }
            | Self::LimitMemory { .. }
            | Self::LimitProcesses { .. }
            | Self::DropCapabilities
            | Self::SetNoNewPrivs
            | Self::RestrictPaths { .. }
            | Self::FilterSyscalls { .. } => Inverse::SessionEnd,
        }
    }
}
