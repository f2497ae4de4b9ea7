//! Why there is no plan: what it costs a person to read, and what to do next.

use ringfence_policy::escape::escape_os;
use ringfence_policy::path::PathError;
use ringfence_policy::system::{SYSTEM_HINT, SYSTEM_WORDS};
use ringfence_policy::{AbsolutePath, ExitCode};

use crate::linux::facts::ForbiddenReason;
use crate::plan::{COPY, COPY_OR_NARROWER, MAKE_IT, Missing};

/// Why a policy and a host make no plan. Nothing has been done when it is returned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A root, once resolved, may not be writable.
    #[error("`{named}` can't be a writable root: {reason}")]
    ForbiddenRoot {
        /// As the policy names it.
        named: AbsolutePath,
        /// What it is.
        reason: ForbiddenRoot,
    },
    /// A path that the policy hides holds the workspace.
    #[error("the workspace `{workspace}` lies in `{hidden}`, which the policy hides")]
    WorkspaceHidden {
        /// The workspace.
        workspace: AbsolutePath,
        /// What is hidden.
        hidden: AbsolutePath,
    },
    /// Neither namespaces nor Landlock, or no seccomp.
    #[error("no boundary can be held here: {cause}")]
    NotEnforceable {
        /// What is refused or absent.
        cause: String,
        /// What a person can do about it.
        cure: String,
    },
    /// `require = "full"`, and something of it is missing.
    #[error("`require = \"full\"` is not met: {}", names(.missing))]
    RequireFull {
        /// What is missing.
        missing: Vec<Missing>,
    },
    /// An existing protected name or secret can't be held with what this host offers.
    #[error("`{path}` exists and can't be held: {cause}")]
    NotHeld {
        /// The protected name or secret.
        path: AbsolutePath,
        /// Why not.
        cause: String,
    },
    /// The facts were gathered for another policy.
    #[error("the host facts say nothing about {what}")]
    FactsMismatch {
        /// What the policy needs to know.
        what: String,
    },
    /// A name can't be made a path.
    #[error("`{name}` makes no path")]
    Path {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: PathError,
    },
}

/// What makes an object unfit to be a writable root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForbiddenRoot {
    /// Nothing is there.
    #[error("it does not exist")]
    Absent,
    /// It is no directory.
    #[error("it is not a directory")]
    NotADirectory,
    /// It is an object that no policy may open.
    #[error("it is {}", forbidden(*.0))]
    Object(ForbiddenReason),
    /// It lies in our own state directory.
    #[error("it lies in Ringfence's own state directory")]
    InsideState,
    /// A link leads to it that another root's target could have made or changed, or into another root.
    #[error("the symbolic link `{link}` leads to `{resolved}` by way of another writable root")]
    LinkThroughRoot {
        /// The link, or the name.
        link: AbsolutePath,
        /// Where it leads.
        resolved: AbsolutePath,
    },
}

impl ForbiddenRoot {
    /// What to do where a grant would have made it writable.
    #[must_use]
    pub fn instead(&self) -> String {
        match self {
            Self::Absent => MAKE_IT.to_owned(),
            Self::NotADirectory => "name the directory that holds it".to_owned(),
            Self::Object(ForbiddenReason::System) => SYSTEM_HINT.to_owned(),
            Self::Object(ForbiddenReason::FileSystemRoot | ForbiddenReason::Home) => {
                COPY_OR_NARROWER.to_owned()
            }
            Self::Object(ForbiddenReason::HoldsState) | Self::InsideState => COPY.to_owned(),
            Self::LinkThroughRoot { resolved, .. } => format!(
                "if that directory is what you mean, name it without a link: {}",
                escape_os(resolved.as_path())
            ),
        }
    }
}

fn forbidden(reason: ForbiddenReason) -> &'static str {
    match reason {
        ForbiddenReason::FileSystemRoot => "the root of the file system",
        ForbiddenReason::Home => "the home directory itself",
        ForbiddenReason::HoldsState => {
            "a directory that holds Ringfence's own state, or that state itself"
        }
        ForbiddenReason::System => SYSTEM_WORDS,
    }
}

fn names(missing: &[Missing]) -> String {
    let names: Vec<&str> = missing.iter().map(|part| part.what.as_str()).collect();
    names.join(", ")
}

impl PlanError {
    /// The exit status that `ringfence run` ends with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::ForbiddenRoot { .. } | Self::WorkspaceHidden { .. } | Self::Path { .. } => {
                ExitCode::PolicyInvalid
            }
            Self::NotEnforceable { .. } | Self::RequireFull { .. } | Self::NotHeld { .. } => {
                ExitCode::NotEnforceable
            }
            Self::FactsMismatch { .. } => ExitCode::Internal,
        }
    }

    /// The next things to do, one line each.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::ForbiddenRoot { reason, .. } => match reason {
                ForbiddenRoot::Absent => vec!["make the directory, or correct its name".to_owned()],
                ForbiddenRoot::NotADirectory => {
                    vec!["name the directory that holds it".to_owned()]
                }
                ForbiddenRoot::Object(ForbiddenReason::System) => vec![SYSTEM_HINT.to_owned()],
                ForbiddenRoot::Object(
                    ForbiddenReason::FileSystemRoot
                    | ForbiddenReason::Home
                    | ForbiddenReason::HoldsState,
                )
                | ForbiddenRoot::InsideState => vec![
                    "name a project directory: `--workspace DIR` to run in, `--writable-root DIR` beside it".to_owned(),
                ],
                ForbiddenRoot::LinkThroughRoot { resolved, .. } => vec![format!(
                    "if that directory is what you mean, name it without a link: {resolved}"
                )],
            },
            Self::WorkspaceHidden { hidden, .. } => {
                vec![format!("take `{hidden}` out of `filesystem.deny_read`")]
            }
            Self::NotEnforceable { cure, .. } => {
                vec![
                    cure.clone(),
                    "`ringfence doctor` lists each layer".to_owned(),
                ]
            }
            Self::RequireFull { missing } => {
                let mut hints: Vec<String> = missing.iter().map(|part| part.cure.clone()).collect();
                hints.dedup();
                hints.push("or accept less with `--require partial`".to_owned());
                hints
            }
            Self::NotHeld { .. } => {
                vec!["`ringfence doctor` says how this host can enforce more".to_owned()]
            }
            Self::FactsMismatch { .. } => {
                vec!["gather the facts again for this policy: `ringfence plan --json`".to_owned()]
            }
            Self::Path { .. } => vec!["correct the name in the policy".to_owned()],
        }
    }
}
