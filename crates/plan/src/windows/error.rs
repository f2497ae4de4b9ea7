//! Why there is no plan for a Windows machine: what it costs a person to read, and what to do next.

use ringfence_policy::ExitCode;

use crate::plan::Missing;
use crate::windows::path::{WindowsPath, WindowsPathError};
use crate::windows::refuse::Refusal;

/// Why a policy and a host make no plan. Nothing has been done when it is returned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A root may not be one.
    #[error("`{named}` can't be a writable root: {refusal}")]
    ForbiddenRoot {
        /// As the policy names it, escaped.
        named: String,
        /// Why, with the alternative.
        refusal: Refusal,
    },
    /// A path that the policy hides holds the workspace.
    #[error("the workspace `{workspace}` lies in `{hidden}`, which the policy hides")]
    WorkspaceHidden {
        /// The workspace, escaped.
        workspace: String,
        /// What is hidden, escaped.
        hidden: String,
    },
    /// A session that is alive has the root under another file policy, or only one of two roots that lie in each other.
    #[error(
        "`{root}` is in use by session {session}, under another file policy or with other roots around it"
    )]
    RootInUse {
        /// The root, escaped.
        root: String,
        /// The session.
        session: String,
    },
    /// A session that is alive must not read what the root is or lies in, and a root is read by all of a person's.
    #[error("`{root}` lies in what session {session} must not read")]
    RootDenied {
        /// The root, escaped.
        root: String,
        /// The session.
        session: String,
    },
    /// What the policy denies reading holds a root of a session that is alive.
    #[error("session {session} works in `{path}`, which this policy denies reading")]
    DeniedInUse {
        /// What is denied, escaped.
        path: String,
        /// The session.
        session: String,
    },
    /// More roots have capability SIDs than a token can hold in comfort.
    #[error("{count} roots have been granted to this person, and {limit} are the most")]
    TooManyRoots {
        /// How many, the new ones included.
        count: usize,
        /// The cap.
        limit: usize,
    },
    /// What the machine's rules say is overridden by policy.
    #[error("the firewall is governed by group policy: local rules take no effect")]
    FirewallOverridden,
    /// No ports are free for the proxy.
    #[error("no {count} TCP ports in a row are free for the proxy")]
    NoPorts {
        /// How many are needed.
        count: u16,
    },
    /// An account of that name belongs to somebody else's set-up.
    #[error("the account `{name}` exists and is not this person's")]
    ForeignAccount {
        /// The name.
        name: String,
    },
    /// The second pass does not cover what the boundary rests on.
    #[error(
        "this machine does not hold DELETE, WRITE_DAC and WRITE_OWNER against restricted tokens"
    )]
    WriteClass,
    /// Same-user mode, and what a restricted token covers has not been measured.
    #[error("what a restricted token covers on this machine has not been measured")]
    NotMeasured,
    /// `require = "full"`, and something of it is missing.
    #[error("`require = \"full\"` is not met: {}", names(.missing))]
    RequireFull {
        /// What is missing.
        missing: Vec<Missing>,
    },
    /// An existing protected name or secret can't be held.
    #[error("`{path}` exists and can't be held: {cause}")]
    NotHeld {
        /// The protected name or secret, escaped.
        path: String,
        /// Why not.
        cause: &'static str,
    },
    /// The facts were gathered for another policy, or say too little.
    #[error("the host facts say nothing about {what}")]
    FactsMismatch {
        /// What the plan needs to know.
        what: String,
    },
    /// A name can't be made a path.
    #[error("`{name}` makes no path")]
    Path {
        /// The name, escaped.
        name: String,
        /// Why.
        #[source]
        source: WindowsPathError,
    },
}

/// A session is named by its harness: `pid-` and that process.
fn wait_for(session: &str) -> String {
    format!("wait until session {session} has ended, or end that process")
}

fn names(missing: &[Missing]) -> String {
    let names: Vec<&str> = missing.iter().map(|part| part.what.as_str()).collect();
    names.join(", ")
}

/// `base` with a name of one or more parts below it.
///
/// # Errors
/// [`PlanError::Path`] for a name that is no plain one.
pub(crate) fn below(base: &WindowsPath, name: &str) -> Result<WindowsPath, PlanError> {
    base.join_name(name).map_err(|source| PlanError::Path {
        name: ringfence_policy::escape::escape(name.as_bytes()).into_owned(),
        source,
    })
}

impl PlanError {
    /// The exit status that `ringfence run` ends with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::ForbiddenRoot { .. } | Self::WorkspaceHidden { .. } | Self::Path { .. } => {
                ExitCode::PolicyInvalid
            }
            Self::RootInUse { .. }
            | Self::RootDenied { .. }
            | Self::DeniedInUse { .. }
            | Self::TooManyRoots { .. }
            | Self::FirewallOverridden
            | Self::NoPorts { .. }
            | Self::ForeignAccount { .. }
            | Self::WriteClass
            | Self::NotMeasured
            | Self::RequireFull { .. }
            | Self::NotHeld { .. } => ExitCode::NotEnforceable,
            Self::FactsMismatch { .. } => ExitCode::Internal,
        }
    }

    /// The next things to do, one line each.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let one = |hint: &str| vec![hint.to_owned()];
        match self {
            Self::ForbiddenRoot { refusal, .. } => one(refusal.reason.alternative()),
            Self::WorkspaceHidden { hidden, .. } => {
                vec![format!("take `{hidden}` out of `filesystem.deny_read`")]
            }
            Self::RootInUse { session, .. } => vec![
                wait_for(session),
                "or run with the same roots and `[filesystem]` settings as it".to_owned(),
            ],
            Self::RootDenied { session, .. } | Self::DeniedInUse { session, .. } => {
                vec![wait_for(session)]
            }
            Self::TooManyRoots { .. } => {
                one("give one back that is no longer used: `ringfence setup uninstall --root PATH`")
            }
            Self::FirewallOverridden => vec![
                "ask the administrator to let local rules take effect (\"Apply local firewall rules: Yes\" in the firewall's policy)".to_owned(),
                "without an administrator: `sandbox = \"unelevated\"`, where the network is advisory and secrets are readable".to_owned(),
            ],
            Self::NoPorts { .. } => one(
                "`netsh int ipv4 show excludedportrange tcp` shows who holds them; restart to free those of services",
            ),
            Self::ForeignAccount { name } => vec![format!(
                "look who made it: `net user {name}`; set-up never takes over an account"
            )],
            Self::WriteClass => one(
                "`ringfence doctor` prints what was measured; please report it, with the Windows build",
            ),
            Self::NotMeasured => one(
                "nothing can be held without it: this system makes restricted tokens that restrict nothing (wine does). Use Windows 10 22H2 or later; `ringfence doctor` prints what was measured",
            ),
            Self::RequireFull { missing } => {
                let mut hints: Vec<String> = missing.iter().map(|part| part.cure.clone()).collect();
                hints.dedup();
                hints.push("or accept less with `--require partial`".to_owned());
                hints
            }
            Self::NotHeld { .. } => one("`ringfence doctor` says how this host can enforce more"),
            Self::FactsMismatch { .. } => {
                one("gather the facts again for this policy: `ringfence plan --json`")
            }
            Self::Path { .. } => one("correct the name in the policy"),
        }
    }
}
