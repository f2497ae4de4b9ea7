//! The variables that every command gets: private home, caches, git, PATH; in same-user mode what discourages network.
//!
//! Variables are compatibility, never a boundary. Invariant: sorted by name, each name once.

use std::collections::BTreeMap;

use ringfence_policy::Policy;
use ringfence_policy::document::GitAccess;

use crate::proxy::has_egress;
use crate::windows::error::{PlanError, below};
use crate::windows::facts::{GitIdentity, WindowsFacts};
use crate::windows::path::WindowsPath;
use crate::windows::plan::GrantedRoot;

/// Temporary files and caches below a private home, by the variables that point to them.
const CACHES: &[(&str, &str)] = &[
    ("TEMP", "tmp"),
    ("TMP", "tmp"),
    ("TMPDIR", "tmp"),
    ("NUGET_PACKAGES", "cache/nuget"),
    ("npm_config_cache", "cache/npm"),
    ("PIP_CACHE_DIR", "cache/pip"),
    ("UV_CACHE_DIR", "cache/uv"),
    ("GOCACHE", "cache/go-build"),
];

/// The home itself, and what is both a cache and a program's home.
const HOME: &[(&str, &str)] = &[
    ("HOME", ""),
    ("USERPROFILE", ""),
    ("APPDATA", "AppData/Roaming"),
    ("LOCALAPPDATA", "AppData/Local"),
    ("CARGO_HOME", "cache/cargo"),
    ("GOPATH", "cache/go"),
];

/// What discourages the network where nothing holds it, beside the variables of the closed port that the session holds
/// ([`crate::proxy::discouraging_variables`]).
const DISCOURAGE: &[(&str, &str)] = &[
    ("GIT_SSH_COMMAND", SWITCHED_OFF),
    // Of a command that it does not know git first asks which program it is.
    ("GIT_SSH_VARIANT", "simple"),
    ("PIP_NO_INDEX", "1"),
    ("NPM_CONFIG_OFFLINE", "true"),
    ("CARGO_NET_OFFLINE", "true"),
];

/// Git gives it to its shell, with the server behind it (git-config(1) `core.sshCommand`). No program of Windows is
/// named: the shell of Git for Windows takes options like `/c` for paths.
const SWITCHED_OFF: &str = "echo 'ringfence: ssh is switched off in same-user mode' >&2; exit 255;";

/// The variables of a session with accounts of its own.
///
/// # Errors
/// [`PlanError::Path`]; not for the names of this module.
pub(crate) fn of_account(
    policy: &Policy,
    facts: &WindowsFacts,
    path: &[WindowsPath],
    workspace: &GrantedRoot,
) -> Result<Vec<(String, String)>, PlanError> {
    let mut variables = shared(policy, facts, path, &workspace.object.path);
    point(&mut variables, &workspace.home, CACHES)?;
    point(&mut variables, &workspace.home, HOME)?;
    // rustup's shims look for toolchains below the home that they no longer see.
    let rustup = facts.tools.iter().find_map(|tool| {
        std::iter::once(tool.path.clone())
            .chain(tool.path.ancestors())
            .find(|path| {
                path.name()
                    .is_some_and(|name| name.eq_ignore_ascii_case(".rustup"))
            })
    });
    if let Some(rustup) = rustup {
        variables.insert("RUSTUP_HOME".to_owned(), rustup.to_string());
    }
    Ok(variables.into_iter().collect())
}

/// The variables of same-user mode: the home is the person's own, temporary files and caches are not.
///
/// # Errors
/// [`PlanError::Path`]; not for the names of this module.
pub(crate) fn of_person(
    policy: &Policy,
    facts: &WindowsFacts,
    path: &[WindowsPath],
    workspace: &GrantedRoot,
) -> Result<Vec<(String, String)>, PlanError> {
    let mut variables = shared(policy, facts, path, &workspace.object.path);
    point(&mut variables, &workspace.home, CACHES)?;
    // Where something may leave, the variables of the session's proxy take this place.
    if !has_egress(&policy.network) {
        for (name, value) in DISCOURAGE {
            variables.insert((*name).to_owned(), (*value).to_owned());
        }
    }
    Ok(variables.into_iter().collect())
}

/// Adds variables that point into the private home.
fn point(
    variables: &mut BTreeMap<String, String>,
    home: &WindowsPath,
    places: &[(&str, &str)],
) -> Result<(), PlanError> {
    for (name, place) in places {
        let path = if place.is_empty() {
            home.clone()
        } else {
            below(home, place)?
        };
        variables.insert((*name).to_owned(), path.to_string());
    }
    Ok(())
}

fn shared(
    policy: &Policy,
    facts: &WindowsFacts,
    path: &[WindowsPath],
    workspace: &WindowsPath,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut set = |name: &str, value: String| variables.insert(name.to_owned(), value);
    // For prompts and test suites that want to know; a hint, never a proof: anybody can set it.
    set("RINGFENCE_SESSION", "1".to_owned());
    if policy.filesystem.git.value == GitAccess::ReadOnly {
        // `git status` refreshes the index on the side; with `.git` read-only that is only noise.
        set("GIT_OPTIONAL_LOCKS", "0".to_owned());
    }
    let path: Vec<String> = path.iter().map(ToString::to_string).collect();
    if !path.is_empty() {
        set("PATH", path.join(";"));
    }
    let mut git = git_settings(facts.person.git_identity.as_ref(), workspace);
    if policy.network.scoped_rules().next().is_some() {
        // With Schannel git reads no file of certificates (git-config(1) `http.schannelUseSSLCAInfo`); the one that it is
        // told of has the system's own too.
        git.push(("http.sslBackend", "openssl".to_owned()));
    }
    set("GIT_CONFIG_COUNT", git.len().to_string());
    for (index, (key, value)) in git.into_iter().enumerate() {
        set(&format!("GIT_CONFIG_KEY_{index}"), key.to_owned());
        set(&format!("GIT_CONFIG_VALUE_{index}"), value);
    }
    variables
}

/// The person's name for commits, and leave to use a work tree that another account owns.
fn git_settings(
    identity: Option<&GitIdentity>,
    workspace: &WindowsPath,
) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    if let Some(identity) = identity {
        settings.push(("user.name", identity.name.clone()));
        settings.push(("user.email", identity.email.clone()));
    }
    settings.push(("safe.directory", workspace.to_string().replace('\\', "/")));
    settings
}
