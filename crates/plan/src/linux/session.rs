//! What a session is called and what its commands are told: its key, private directories, variables.
//!
//! Invariant: two sessions share a private directory only if workspace object and network policy are the same.

use sha2::{Digest, Sha256};

use ringfence_policy::filesystem::{FilesystemRules, Scope};
use ringfence_policy::{AbsolutePath, Policy};

use crate::linux::error::PlanError;
use crate::linux::facts::{LinuxFacts, RootFacts};
use crate::plan::{Guard, Level, Plan};
use crate::render::hexadecimal;
use crate::step::Step;

/// A path that this program names itself.
///
/// # Errors
/// [`PlanError::Path`]; not for the constants it is called with.
pub(crate) fn path(text: &str) -> Result<AbsolutePath, PlanError> {
    AbsolutePath::new(text).map_err(|source| PlanError::Path {
        name: text.to_owned(),
        source,
    })
}

/// `base` with `relative` below it.
///
/// # Errors
/// [`PlanError::Path`] for a name that climbs out.
pub(crate) fn below(base: &AbsolutePath, relative: &str) -> Result<AbsolutePath, PlanError> {
    base.join(relative).map_err(|source| PlanError::Path {
        name: relative.to_owned(),
        source,
    })
}

/// The directory part of an absolute glob, and the rest; `None` where there is no fixed directory.
pub(crate) fn split_glob(glob: &str) -> Result<Option<(AbsolutePath, &str)>, PlanError> {
    let special = glob.find(['*', '?', '[', '{']).unwrap_or(glob.len());
    let Some(slash) = glob.get(..special).and_then(|fixed| fixed.rfind('/')) else {
        return Ok(None);
    };
    let (directory, rest) = glob.split_at(slash);
    let directory = if directory.is_empty() { "/" } else { directory };
    Ok(Some((path(directory)?, rest.trim_start_matches('/'))))
}

/// The private directory that is `/tmp` inside: one per workspace object and network policy.
///
/// # Errors
/// [`PlanError::Path`]; not for a well-formed policy.
pub(crate) fn private_tmp(policy: &Policy, facts: &LinuxFacts) -> Result<AbsolutePath, PlanError> {
    // A plain value: serialising it can't fail, and without it the key is only shared by equal failures.
    let network = serde_json::to_vec(&policy.network).unwrap_or_default();
    below(
        &facts.state,
        &format!("tmp/{}", workspace_key(policy, facts, &network)),
    )
}

/// The directory that keeps what sessions of one workspace write to caches.
///
/// # Errors
/// [`PlanError::Path`]; not for a well-formed policy.
pub(crate) fn cache_store(policy: &Policy, facts: &LinuxFacts) -> Result<AbsolutePath, PlanError> {
    below(
        &facts.state,
        &format!("cache/{}", workspace_key(policy, facts, &[])),
    )
}

/// A name for the workspace's object, told apart further by `also`.
fn workspace_key(policy: &Policy, facts: &LinuxFacts, also: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(policy.workspace.as_path().as_os_str().as_encoded_bytes());
    hasher.update([0]);
    if let Some(object) = facts.roots.first().and_then(|root| root.object.as_ref()) {
        hasher.update(object.id.device.to_le_bytes());
        hasher.update(object.id.inode.to_le_bytes());
    }
    hasher.update(also);
    let digest = hasher.finalize();
    hexadecimal(
        digest
            .first_chunk::<16>()
            .map_or(&digest[..], |key| &key[..]),
    )
}

/// The steps that make our state directory and the private `/tmp` in it, each parent its own mode 0700.
pub(crate) fn make_private(facts: &LinuxFacts, tmp: &AbsolutePath) -> Result<Vec<Step>, PlanError> {
    let target = facts.target_identity();
    let own = (facts.caller.uid, facts.caller.gid);
    let make = |path: AbsolutePath, mode, owner| Step::MakePrivateDirectory { path, mode, owner };
    Ok(vec![
        make(facts.state.clone(), 0o700, None),
        make(below(&facts.state, "tmp")?, 0o700, None),
        make(tmp.clone(), 0o1777, (target != own).then_some(target)),
    ])
}

/// Variables of every command, sorted by name.
pub(crate) fn environment(
    facts: &LinuxFacts,
    tmp: &str,
    git: GitWrites,
    caches: Vec<(String, String)>,
) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = ["TEMP", "TMP", "TMPDIR", "TMPPREFIX"]
        .into_iter()
        .map(|name| {
            // zsh writes here-documents to files whose names begin with TMPPREFIX.
            let value = if name.ends_with("PREFIX") {
                format!("{tmp}/zsh")
            } else {
                tmp.to_owned()
            };
            (name.to_owned(), value)
        })
        .collect();
    // For prompts and test suites that want to know; a hint, never a proof: anybody can set it.
    variables.push(("RINGFENCE_SESSION".to_owned(), "1".to_owned()));
    if facts.target_identity().0 == 0 {
        // chown to an id that is not mapped fails; tar as root tries it for every file.
        variables.push(("TAR_OPTIONS".to_owned(), "--no-same-owner".to_owned()));
    }
    match git {
        // `git status` refreshes the index on the side; with `.git` read-only that is only noise.
        GitWrites::Refused => {
            variables.push(("GIT_OPTIONAL_LOCKS".to_owned(), "0".to_owned()));
        }
        GitWrites::Allowed => {}
    }
    variables.extend(caches);
    variables.sort();
    variables
}

/// Whether commands can write to `.git`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GitWrites {
    /// They can.
    Allowed,
    /// They can't.
    Refused,
}

/// The resolved workspace.
pub(crate) fn workspace(policy: &Policy, facts: &LinuxFacts) -> AbsolutePath {
    facts
        .roots
        .first()
        .and_then(|root: &RootFacts| root.object.as_ref())
        .map_or_else(|| policy.workspace.clone(), |object| object.path.clone())
}

/// What the session's rules are made for.
pub(crate) fn scope(policy: &Policy, facts: &LinuxFacts) -> Scope {
    Scope {
        mode: policy.mode.value,
        git: policy.filesystem.git.value,
        workspace: workspace(policy, facts),
        home: policy.home.clone(),
    }
}

/// The plan of `full-access`: no boundary, and a note that says so.
pub(crate) fn unbounded(policy: &Policy) -> Plan {
    Plan {
        level: Level::None,
        missing: Vec::new(),
        notes: vec![
            "mode = \"full-access\": there is no boundary, the command can do what its caller can"
                .to_owned(),
        ],
        steps: Vec::new(),
        rules: FilesystemRules::new(
            Scope {
                mode: policy.mode.value,
                git: policy.filesystem.git.value,
                workspace: policy.workspace.clone(),
                home: policy.home.clone(),
            },
            Vec::new(),
            Vec::new(),
        ),
        guard: Guard {
            absent: Vec::new(),
            roots: Vec::new(),
            new_repositories: policy.filesystem.new_repositories.value,
            commit_directories: Vec::new(),
        },
        environment: Vec::new(),
        workspace: policy.workspace.clone(),
        windows: None,
    }
}
