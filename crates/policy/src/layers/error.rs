//! Why layers don't make a policy.

use crate::document::{GitAccess, NetworkMode};
use crate::exit::ExitCode;
use crate::host::HostError;
use crate::parse::closest;
use crate::place::{Place, report};
use crate::units::{ByteSize, LEAST_MEMORY};

/// Why layers don't make a policy: where, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct ResolveError {
    /// The layer, the key, and the line where there is one.
    pub place: Box<Place>,
    /// What is wrong.
    pub fault: Box<ResolveFault>,
}

/// What makes a directory unfit to be writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForbiddenRoot {
    /// `/`
    #[error("the root of the file system")]
    FileSystemRoot,
    /// The caller's home.
    #[error("the home directory itself")]
    Home,
    /// A directory that holds the home.
    #[error("above the home directory")]
    AboveHome,
    /// Our state directory or one that holds it.
    #[error("where Ringfence keeps its own state, or above it")]
    HoldsState,
    /// A directory in our state.
    #[error("inside Ringfence's own state")]
    InsideState,
    /// [`crate::system`]
    #[error("{}", crate::system::SYSTEM_WORDS)]
    System,
}

/// What is wrong with one value of a layer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveFault {
    /// A path that is neither absolute nor below `~`.
    #[error("`{0}` is neither absolute nor below `~`")]
    RelativePath(String),
    /// A path that can't be one: a NUL byte, or `..` above the root.
    #[error("`{path}`: {reason}")]
    BadPath {
        /// The words of the policy.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A protected name that is no relative name.
    #[error("`{0}` is not a relative name without `.` and `..`")]
    BadName(String),
    /// A pattern that is no glob.
    #[error("`{glob}` is not a pattern: {reason}")]
    BadGlob {
        /// The words of the policy.
        glob: String,
        /// Why not.
        reason: String,
    },
    /// A writable root that would take the boundary away.
    #[error("`{path}` can't be writable: it is {reason}")]
    ForbiddenRoot {
        /// The root.
        path: String,
        /// What it is.
        reason: ForbiddenRoot,
    },
    /// An `allow_read` entry that names no secret.
    #[error("`{name}` is no built-in secret and no `deny_read` entry of a weaker layer{}", meant(suggestion.as_deref()))]
    UnknownSecret {
        /// The words of the policy.
        name: String,
        /// The entry that is spelt much like it, or that holds it.
        suggestion: Option<String>,
    },
    /// An `unprotected` entry that names nothing protected.
    #[error("`{name}` is no built-in protected name and no `protected` entry of a weaker layer{}", meant(suggestion.as_deref()))]
    UnknownProtected {
        /// The words of the policy.
        name: String,
        /// The entry that is spelt much like it.
        suggestion: Option<String>,
    },
    /// `.git` among the unprotected names.
    #[error("`.git` is governed by `git` alone")]
    GitUnprotected,
    /// Two keys of one layer that say opposite things of one object.
    #[error("`{object}` stands in `{other}` too: one of them says the opposite of the other")]
    Contradiction {
        /// The object.
        object: String,
        /// The other key.
        other: &'static str,
    },
    /// A host that one layer allows on the command line and another denies.
    #[error("`{host}` is denied by {denied_by}, and deny beats allow")]
    DeniedElsewhere {
        /// The host.
        host: String,
        /// The layer that denies it.
        denied_by: &'static str,
    },
    /// A host rule that must not allow what it means.
    #[error("`{host}`: {reason}")]
    BadHost {
        /// The rule.
        host: String,
        /// Why not.
        reason: HostError,
    },
    /// `ask` where nothing could be asked.
    #[error("`ask` does nothing with `network.mode = \"{0}\"`")]
    AskWithoutAllowlist(NetworkMode),
    /// A host that is allowed where nothing is reached, and nobody has said that nothing shall be.
    #[error("`{0}` is not reached with `network.mode = \"offline\"`, which is the default")]
    AllowOffline(String),
    /// A limit on requests where everything is allowed.
    #[error("`{0}` limits requests, and `network.mode = \"open\"` allows all of them")]
    ScopeInOpenMode(String),
    /// An address of `connect` that is not a loopback address and a port.
    #[error("`{0}` is not a loopback address and a port")]
    NotLoopback(String),
    /// Port 0.
    #[error("port 0 is no port")]
    ZeroPort,
    /// A limit of nothing.
    #[error("a limit of 0 lets nothing run")]
    ZeroLimit,
    /// A limit on memory in which not even the session's own first process lives.
    #[error("a command can't start in {0} of memory")]
    MemoryTooSmall(ByteSize),
    /// A URL that is none, or of the wrong kind.
    #[error("`{url}` is not {expected}")]
    BadUrl {
        /// The words of the policy.
        url: String,
        /// What is taken.
        expected: &'static str,
    },
    /// A variable's name or value that can't be one, or that is Ringfence's own.
    #[error("`{name}` {reason}")]
    BadVariable {
        /// The variable.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A reviewer that is a command, without the command, or the other way round.
    #[error("{0}")]
    BadReviewer(&'static str),
    /// A project file that nobody has trusted asks for more than the defaults.
    #[error("`{value}` widens the policy, and nobody has trusted this file")]
    UntrustedWidening {
        /// What it asks for.
        value: String,
    },
    /// The command line asks for more than the managed policy allows.
    #[error("the managed policy ({managed}) does not allow `{value}`; its limit is {limit}")]
    ManagedRefusal {
        /// What was asked for.
        value: String,
        /// What is allowed.
        limit: String,
        /// The managed layer's name.
        managed: String,
    },
}

fn meant(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |word| format!("; did you mean `{word}`?"))
}

impl ResolveError {
    pub(crate) fn new(place: Place, fault: ResolveFault) -> Self {
        Self {
            place: Box::new(place),
            fault: Box::new(fault),
        }
    }

    /// The exit status that tells a script which kind of fault it is.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match *self.fault {
            ResolveFault::ManagedRefusal { .. } => ExitCode::ManagedRefusal,
            ResolveFault::RelativePath(_)
            | ResolveFault::BadPath { .. }
            | ResolveFault::BadName(_)
            | ResolveFault::BadGlob { .. }
            | ResolveFault::ForbiddenRoot { .. }
            | ResolveFault::UnknownSecret { .. }
            | ResolveFault::UnknownProtected { .. }
            | ResolveFault::GitUnprotected
            | ResolveFault::Contradiction { .. }
            | ResolveFault::DeniedElsewhere { .. }
            | ResolveFault::BadHost { .. }
            | ResolveFault::AskWithoutAllowlist(_)
            | ResolveFault::AllowOffline(_)
            | ResolveFault::ScopeInOpenMode(_)
            | ResolveFault::NotLoopback(_)
            | ResolveFault::ZeroPort
            | ResolveFault::ZeroLimit
            | ResolveFault::MemoryTooSmall(_)
            | ResolveFault::BadUrl { .. }
            | ResolveFault::BadVariable { .. }
            | ResolveFault::BadReviewer(_)
            | ResolveFault::UntrustedWidening { .. } => ExitCode::PolicyInvalid,
        }
    }

    /// The next thing to do.
    #[must_use]
    pub fn hint(&self) -> String {
        match &*self.fault {
            ResolveFault::RelativePath(path) if path.starts_with('$') || path.starts_with('~') => {
                "variables and other people's homes are not expanded: write the path out".into()
            }
            ResolveFault::RelativePath(path) => {
                let root = if cfg!(windows) { "C:\\" } else { "/" };
                format!("write it from the root or from your home: `{root}{path}` or `~/{path}`")
            }
            ResolveFault::BadPath { .. } => "write an absolute path".into(),
            ResolveFault::BadName(_) => "write a name relative to each writable root: `infra/prod`".into(),
            ResolveFault::BadGlob { .. } => "`*` and `?` match within a name, `**` across names: `**/*.pem`".into(),
            ResolveFault::ForbiddenRoot { reason: ForbiddenRoot::System, .. } => crate::system::SYSTEM_HINT.into(),
            ResolveFault::ForbiddenRoot { .. } if self.place.key.ends_with("workspace") => {
                "run it in a project's directory, or name one with `--workspace DIR`; `--mode read-only` runs anywhere".into()
            }
            ResolveFault::ForbiddenRoot { .. } => "name a directory below it that the command needs".into(),
            ResolveFault::UnknownSecret { .. } => {
                "`ringfence policy check` lists the names; a whole entry is taken back, not a part of it".into()
            }
            ResolveFault::UnknownProtected { .. } => "`ringfence policy check` lists the names".into(),
            ResolveFault::GitUnprotected => {
                let (commit, full) = (GitAccess::Commit, GitAccess::Full);
                format!("set `filesystem.git` to `{commit}` or `{full}`")
            }
            ResolveFault::Contradiction { .. } => "remove one of them".into(),
            ResolveFault::DeniedElsewhere { .. } => "remove it here or there".into(),
            ResolveFault::BadHost { reason, .. } => reason.hint().into(),
            ResolveFault::AskWithoutAllowlist(_) => "set `network.mode = \"allowlist\"`, or remove `ask`".into(),
            ResolveFault::AllowOffline(_) => {
                "set `network.mode = \"allowlist\"` (`--network allowlist`), or leave the host out".into()
            }
            ResolveFault::ScopeInOpenMode(_) => {
                "set `network.mode = \"allowlist\"`, or write the host without methods and paths".into()
            }
            ResolveFault::NotLoopback(_) => {
                "`connect` reaches this machine's own servers: `127.0.0.1:5432` or `[::1]:5432`; other hosts belong into `allow`".into()
            }
            ResolveFault::ZeroPort => "write a port from 1 to 65535".into(),
            ResolveFault::ZeroLimit => "write a larger limit, or remove the key for no limit".into(),
            ResolveFault::MemoryTooSmall(_) => {
                format!("write at least {LEAST_MEMORY}, or remove the key for no limit")
            }
            ResolveFault::BadUrl { .. } => "leave out user names, passwords and paths".into(),
            ResolveFault::BadVariable { .. } => "see `environment` in docs/policy.md".into(),
            ResolveFault::BadReviewer(_) => {
                "set both: `reviewer = \"command\"` and `command = [\"/path/of/program\"]`".into()
            }
            ResolveFault::UntrustedWidening { .. } => {
                format!("read the file, then `ringfence trust {}`; or remove the key", self.place.source)
            }
            ResolveFault::ManagedRefusal { .. } => "remove it, or ask your administrator".into(),
        }
    }

    /// The error laid out for a person: message, excerpt with a caret, hint.
    #[must_use]
    pub fn report(&self) -> String {
        report(self, &self.place, &self.hint())
    }
}

/// The name of `known` that `name` is spelt like, or that holds it as a path.
pub(crate) fn suggestion<'known>(
    name: &str,
    known: impl Iterator<Item = &'known str> + Clone,
) -> Option<String> {
    let holder = known.clone().find(|entry| {
        name.strip_prefix(entry)
            .is_some_and(|rest| rest.starts_with('/'))
    });
    holder.or_else(|| closest(name, known)).map(str::to_owned)
}
