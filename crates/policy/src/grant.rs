//! The narrowest option that would change a refusal.
//!
//! Every rule in the way is lifted by its own option, so that the words printed are enough and no more. Decides
//! nothing, and looks at nothing: whether a directory can be a writable root is the planner's to say, and who shows a
//! grant to a person asks it ([`Grant::roots`]). Invariant: what a hard block refuses has no grant.

use std::path::Path;

use crate::decision::{Grant, Operation};
use crate::document::{GitAccess, Mode};
use crate::escape::{escape_os, escape_path};
use crate::filesystem::{FilesystemRules, Match};
use crate::rule::RuleId;

const GIT_CAUTION: &str =
    "what is written there may run on this machine outside the boundary, at the next git command";
const PROTECTED_CAUTION: &str =
    "what is written there may run or instruct programs on this machine outside the boundary";
const DENY_READ_CAUTION: &str = "a policy hides this on purpose";
const ROOT_CAUTION: &str = "everything below that directory becomes writable";
const EQUALS_ROOT_CAUTION: &str =
    "whoever reaches this socket can become root on this machine: it equals no boundary at all";

/// The option that makes a directory writable.
const WRITABLE_ROOT: &str = "--writable-root";

/// Sockets whose owner does anything for anybody who reaches them, by the last parts of their path.
const SOCKETS_EQUAL_TO_ROOT: [&str; 9] = [
    "docker.sock",
    "podman/podman.sock",
    "containerd/containerd.sock",
    "crio/crio.sock",
    "buildkit/buildkitd.sock",
    "lxd/unix.socket",
    "incus/unix.socket",
    "libvirt/libvirt-sock",
    "systemd/private",
];

/// What the owner of a socket does for whoever reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketPower {
    /// Anything at all.
    Root,
    /// Anything that the person can do outside of the boundary: start programs, type into windows.
    Person,
    /// Signing with the person's keys.
    Keys,
}

/// Sockets that obey the person, by the last parts of their path.
const SOCKETS_EQUAL_TO_PERSON: [&str; 3] = ["bus", "systemd/notify", "tmux/default"];
/// Sockets of agents that hold keys.
const AGENTS: [&str; 6] = [
    "S.gpg-agent",
    "S.gpg-agent.ssh",
    "keyring/ssh",
    "gcr/ssh",
    "agent.sock",
    "ssh-agent.socket",
];

/// What whoever reaches the socket at `path` can do, by its usual place; `None` for an ordinary server.
#[must_use]
pub fn socket_power(path: &Path) -> Option<SocketPower> {
    let ends = |endings: &[&str]| endings.iter().any(|ending| path.ends_with(ending));
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default();
    let directory = path.parent().and_then(Path::file_name);
    let directory = directory.and_then(|name| name.to_str()).unwrap_or_default();
    // OpenSSH's own: /tmp/ssh-XXXXXXXXXX/agent.<pid>
    let is_agent = name.starts_with("agent.") && directory.starts_with("ssh-");
    // `wayland-0`, /tmp/.X11-unix/X0, /tmp/tmux-1000/default
    let is_display = name.starts_with("wayland-")
        || directory == ".X11-unix"
        || (directory.starts_with("tmux-") && name == "default");
    if equals_root(path) {
        Some(SocketPower::Root)
    } else if is_agent || ends(&AGENTS) {
        Some(SocketPower::Keys)
    } else if is_display || ends(&SOCKETS_EQUAL_TO_PERSON) {
        Some(SocketPower::Person)
    } else {
        None
    }
}

impl SocketPower {
    /// The caution that goes with it.
    #[must_use]
    pub fn caution(self) -> &'static str {
        match self {
            Self::Root => EQUALS_ROOT_CAUTION,
            Self::Person => {
                "whoever reaches this socket can do what you can on this machine: it equals no boundary at all"
            }
            Self::Keys => "whoever reaches this socket can sign with your keys as long as it does",
        }
    }
}

/// Words collected for a [`Grant`].
#[derive(Default)]
struct Words {
    arguments: Vec<String>,
    cautions: Vec<&'static str>,
}

impl Words {
    fn option(&mut self, name: &str, value: String, caution: &'static str) {
        let known = self
            .arguments
            .chunks(2)
            .any(|pair| matches!(pair, [option, given] if option == name && *given == value));
        if !known {
            self.arguments.push(name.to_owned());
            self.arguments.push(value);
        }
        if !caution.is_empty() && !self.cautions.contains(&caution) {
            self.cautions.push(caution);
        }
    }

    fn finish(self) -> Option<Grant> {
        (!self.arguments.is_empty()).then(|| Grant {
            arguments: self.arguments,
            caution: self.cautions.join("; "),
        })
    }
}

impl Grant {
    /// The directories that it makes writable, as the option spells them.
    pub fn roots(&self) -> impl Iterator<Item = &str> {
        let pairs = self.arguments.chunks(2);
        pairs.filter_map(|pair| match pair {
            [option, directory] if option == WRITABLE_ROOT => Some(directory.as_str()),
            _ => None,
        })
    }
}

/// The grant for a refused `operation` on `path`; `None` where no option lifts it.
pub(crate) fn for_path(
    rules: &FilesystemRules,
    operation: Operation,
    path: &Path,
) -> Option<Grant> {
    let mut words = Words::default();
    for denial in rules.all_denials(operation, path)? {
        lift_denial(&mut words, rules.scope().git, denial, path)?;
    }
    match operation {
        Operation::Connect => words.option(
            "--unix-socket",
            escape_os(path),
            socket_power(path).map_or("", SocketPower::caution),
        ),
        Operation::Syscall | Operation::Signal | Operation::Trace => return None,
        Operation::Read | Operation::Write => lift_place(&mut words, rules, operation, path)?,
    }
    words.finish()
}

/// Adds the option that takes one deny rule away.
fn lift_denial(words: &mut Words, git: GitAccess, denial: Match<'_>, path: &Path) -> Option<()> {
    match denial.rule {
        RuleId::ProtectedName if is_git(denial.origin) => {
            let access = match git {
                GitAccess::ReadOnly if !runs_on_host(denial, path) => GitAccess::Commit,
                GitAccess::ReadOnly | GitAccess::Commit | GitAccess::Full => GitAccess::Full,
            };
            let caution = if access == GitAccess::Full {
                GIT_CAUTION
            } else {
                ""
            };
            words.option("--git", access.to_string(), caution);
        }
        RuleId::ProtectedName => {
            words.option("--unprotect", denial.origin.to_owned(), PROTECTED_CAUTION);
        }
        RuleId::GitExecutableConfig => words.option("--git", "full".to_owned(), GIT_CAUTION),
        RuleId::Secret => words.option("--allow-read", denial.origin.to_owned(), ""),
        RuleId::DenyRead => {
            words.option("--allow-read", denial.origin.to_owned(), DENY_READ_CAUTION);
        }
        RuleId::MountInsideRoot => {
            words.option(
                WRITABLE_ROOT,
                escape_path(denial.path.as_path()),
                ROOT_CAUTION,
            );
        }
        // No option lifts these: a hidden link's other name, our state, privileged bits, what is no path rule.
        RuleId::HardLinkOutside
        | RuleId::HiddenPlace
        | RuleId::RingfenceState
        | RuleId::PrivilegedMode
        | RuleId::WritableRoot
        | RuleId::PrivateDirectory
        | RuleId::Device
        | RuleId::NewEntry
        | RuleId::OutsideProcess
        | RuleId::ProcessLimit
        | RuleId::ReadDefault
        | RuleId::OutsideWritableRoots
        | RuleId::ReadOnlyMode
        | RuleId::SessionLoopback
        | RuleId::Offline
        | RuleId::DeniedHost
        | RuleId::AllowedHost
        | RuleId::NotListed
        | RuleId::Metadata
        | RuleId::PrivateAddress
        | RuleId::ConnectedServer
        | RuleId::PublishedPort
        | RuleId::HostMismatch
        | RuleId::Malformed
        | RuleId::Upgrade
        | RuleId::OtherProgram
        | RuleId::RequestScope
        | RuleId::TlsTermination
        | RuleId::UnknownCaller
        | RuleId::NetworkLimit
        | RuleId::UnixSocket
        | RuleId::SocketFamily
        | RuleId::Syscall
        | RuleId::FullAccess => return None,
    }
    Some(())
}

/// Adds the options that make a place of `path` good enough for `operation`.
fn lift_place(
    words: &mut Words,
    rules: &FilesystemRules,
    operation: Operation,
    path: &Path,
) -> Option<()> {
    let place = rules.deepest_place(path);
    let enough = match place {
        Some(place) => place.access.permits(operation),
        None => operation == Operation::Read,
    };
    if enough {
        return Some(());
    }
    if place.is_some_and(|place| place.rule == RuleId::NewEntry) {
        return None;
    }
    let in_workspace = path.starts_with(rules.scope().workspace.as_path());
    if rules.scope().mode == Mode::ReadOnly {
        words.option("--mode", Mode::WorkspaceWrite.to_string(), "");
    }
    if in_workspace && rules.scope().mode == Mode::ReadOnly {
        return Some(());
    }
    // The path itself may be no directory, and need not exist: then it makes no root.
    words.option(WRITABLE_ROOT, escape_path(path.parent()?), ROOT_CAUTION);
    Some(())
}

fn is_git(origin: &str) -> bool {
    origin == ".git" || origin.starts_with(".git/")
}

/// Whether `path` stays read-only with `git = "commit"`.
///
/// `.git` itself (it must not be renamed away), hooks, configuration, and what redirects git elsewhere.
fn runs_on_host(denial: Match<'_>, path: &Path) -> bool {
    if denial.origin != ".git" {
        return true;
    }
    let Ok(below) = path.strip_prefix(denial.path.as_path()) else {
        return true;
    };
    let mut names = below.components().map(std::path::Component::as_os_str);
    let Some(first) = names.next() else {
        return true;
    };
    let guarded = [
        "hooks",
        "config",
        "config.worktree",
        "commondir",
        "gitdir",
        "worktrees",
        "modules",
    ];
    guarded.iter().any(|name| first == *name)
        || (first == "info" && names.next().is_some_and(|second| second == "attributes"))
}

/// Whether reaching the socket at `path` is as good as being root.
#[must_use]
pub fn equals_root(path: &Path) -> bool {
    SOCKETS_EQUAL_TO_ROOT
        .iter()
        .any(|ending| path.ends_with(ending))
}
