//! Which variables a target gets, and which are withheld and why.
//!
//! Judges names by the tables of [`names`] and values by the shapes of [`shapes`]; reads no environment itself.
//! Invariant: a value never leaves this module but as the target's own variable; records hold names alone.

mod names;
mod shapes;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use serde::{Deserialize, Serialize};

use crate::document::EnvironmentMode;
use crate::policy::EnvironmentPolicy;

pub use names::{AGENT_SOCKETS, LOADERS, NamedVariable, SECRET_WORDS};
pub use shapes::SHAPES;

/// Why a variable was withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WithheldReason {
    /// Its name looks like a secret's.
    SecretName,
    /// Its value has the shape of a known secret.
    SecretValue,
    /// It names a socket of an agent or a daemon.
    AgentSocket,
    /// It changes what the loader or an interpreter runs.
    Loader,
    /// The mode is `allowlist` and it is not listed.
    NotListed,
}

/// The variables of a target, and what was withheld (names only, never values).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilteredEnvironment {
    /// What the target gets, sorted by name.
    pub kept: Vec<(OsString, OsString)>,
    /// What it does not get.
    pub withheld: Vec<(OsString, WithheldReason)>,
}

/// Chooses from `variables` what the target gets; `set` of the policy comes last and wins.
///
/// A name that comes twice keeps its first value, as `getenv` does. Withheld names are sorted too.
///
/// # Security
/// Values may hold anything and be large; each is looked at once.
#[must_use]
pub fn filter(
    policy: &EnvironmentPolicy,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> FilteredEnvironment {
    let mut kept = BTreeMap::new();
    let mut withheld = BTreeMap::new();
    for (name, value) in variables {
        match judge(policy, &name, &value) {
            None => {
                kept.entry(name).or_insert(value);
            }
            Some(reason) => {
                withheld.entry(name).or_insert(reason);
            }
        }
    }
    for (name, value) in &policy.set {
        let name = OsString::from(name);
        withheld.remove(&name);
        kept.insert(name, OsString::from(&value.value));
    }
    // A name may have come with a harmless and a secret value: then it is withheld.
    kept.retain(|name, _| !withheld.contains_key(name));
    FilteredEnvironment {
        kept: kept.into_iter().collect(),
        withheld: withheld.into_iter().collect(),
    }
}

/// Why a variable is withheld, or `None` for one that passes.
fn judge(policy: &EnvironmentPolicy, name: &OsStr, value: &OsStr) -> Option<WithheldReason> {
    let bytes = name.as_encoded_bytes();
    if bytes.to_ascii_uppercase().starts_with(b"RINGFENCE_") {
        // Our own variables steer the harness; no target gets them, whatever `pass` says.
        return Some(WithheldReason::NotListed);
    }
    if policy
        .pass
        .iter()
        .any(|passed| name == passed.value.as_str())
    {
        return None;
    }
    match policy.mode.value {
        EnvironmentMode::Allowlist if names::is_basic(bytes) => None,
        EnvironmentMode::Allowlist => Some(WithheldReason::NotListed),
        EnvironmentMode::Filtered => {
            names::judge_name(bytes).or_else(|| judge_value(bytes, value.as_encoded_bytes()))
        }
    }
}

fn judge_value(name: &[u8], value: &[u8]) -> Option<WithheldReason> {
    if shapes::looks_secret(value) {
        return Some(WithheldReason::SecretValue);
    }
    // bash reads a function from a variable named so: `BASH_FUNC_ls%%=() { …`.
    let function = name.starts_with(b"BASH_FUNC_") || value.starts_with(b"() {");
    (function || names::loads_code(name, value)).then_some(WithheldReason::Loader)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{LayerKind, Sourced};
    use proptest::prelude::*;

    fn policy(mode: EnvironmentMode, pass: &[&str], set: &[(&str, &str)]) -> EnvironmentPolicy {
        let sourced = |value: &str| Sourced {
            value: value.to_owned(),
            layer: LayerKind::User,
        };
        EnvironmentPolicy {
            mode: Sourced {
                value: mode,
                layer: LayerKind::User,
            },
            pass: pass.iter().map(|name| sourced(name)).collect(),
            set: set
                .iter()
                .map(|(name, value)| ((*name).to_owned(), sourced(value)))
                .collect(),
        }
    }

    fn run(policy: &EnvironmentPolicy, variables: &[(&str, &str)]) -> FilteredEnvironment {
        let variables = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        filter(policy, variables)
    }

    fn kept(filtered: &FilteredEnvironment) -> Vec<&str> {
        filtered
            .kept
            .iter()
            .map(|(name, _)| name.to_str().unwrap())
            .collect()
    }

    #[test]
    fn secrets_agents_and_loaders_are_withheld_and_the_rest_passes() {
        let filtered = run(
            &policy(EnvironmentMode::Filtered, &[], &[]),
            &[
                ("PATH", "/usr/bin"),
                ("EDITOR", "vi"),
                ("MY_API_TOKEN", "x"),
                ("HARMLESS", "ghp_0123456789abcdefghijABCDEFGHIJ012345"),
                ("SSH_AUTH_SOCK", "/run/agent"),
                ("LD_PRELOAD", "/x.so"),
                ("BASH_FUNC_ls%%", "() { :; }"),
                ("RINGFENCE_STATE", "/x"),
            ],
        );
        assert_eq!(kept(&filtered), ["EDITOR", "PATH"]);
        let reasons: Vec<_> = filtered
            .withheld
            .iter()
            .map(|(name, reason)| (name.to_str().unwrap(), *reason))
            .collect();
        assert_eq!(
            reasons,
            [
                ("BASH_FUNC_ls%%", WithheldReason::Loader),
                ("HARMLESS", WithheldReason::SecretValue),
                ("LD_PRELOAD", WithheldReason::Loader),
                ("MY_API_TOKEN", WithheldReason::SecretName),
                ("RINGFENCE_STATE", WithheldReason::NotListed),
                ("SSH_AUTH_SOCK", WithheldReason::AgentSocket),
            ]
        );
    }

    #[test]
    fn pass_lets_a_name_through_but_never_our_own() {
        let filtered = run(
            &policy(
                EnvironmentMode::Filtered,
                &["MY_API_TOKEN", "RINGFENCE_STATE"],
                &[],
            ),
            &[
                ("MY_API_TOKEN", "x"),
                ("RINGFENCE_STATE", "/x"),
                ("OTHER_TOKEN", "y"),
            ],
        );
        assert_eq!(kept(&filtered), ["MY_API_TOKEN"]);
    }

    #[test]
    fn set_wins_over_everything() {
        let filtered = run(
            &policy(
                EnvironmentMode::Filtered,
                &[],
                &[("A_TOKEN", "mine"), ("EDITOR", "ed")],
            ),
            &[("A_TOKEN", "theirs"), ("EDITOR", "vi")],
        );
        assert_eq!(
            filtered.kept,
            [
                ("A_TOKEN".into(), "mine".into()),
                ("EDITOR".into(), "ed".into())
            ]
        );
        assert!(filtered.withheld.is_empty());
    }

    #[test]
    fn allowlist_keeps_the_basics_and_what_is_listed() {
        let filtered = run(
            &policy(EnvironmentMode::Allowlist, &["CI"], &[]),
            &[
                ("PATH", "/bin"),
                ("LC_ALL", "C"),
                ("LCX", "1"),
                ("CI", "1"),
                ("EDITOR", "vi"),
                ("TZ", "UTC"),
            ],
        );
        assert_eq!(kept(&filtered), ["CI", "LC_ALL", "PATH", "TZ"]);
        assert!(
            filtered
                .withheld
                .iter()
                .all(|(_, reason)| *reason == WithheldReason::NotListed)
        );
    }

    #[test]
    fn a_name_with_a_secret_second_value_is_withheld() {
        let filtered = run(
            &policy(EnvironmentMode::Filtered, &[], &[]),
            &[("A", "1"), ("A", "-----BEGIN PRIVATE KEY-----")],
        );
        assert!(filtered.kept.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_kept_and_withheld_are_apart(variables in proptest::collection::vec(("[A-Z_]{1,12}", ".{0,40}"), 0..20)) {
            let given: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let filtered = run(&policy(EnvironmentMode::Filtered, &[], &[]), &given);
            for (name, _) in &filtered.kept {
                prop_assert!(filtered.withheld.iter().all(|(withheld, _)| withheld != name));
            }
            prop_assert!(filtered.kept.is_sorted());
        }
    }
}
