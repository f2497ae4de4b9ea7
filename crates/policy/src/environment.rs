//! Which variables a target gets, and which are withheld and why.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use crate::policy::EnvironmentPolicy;

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
#[must_use]
pub fn filter(
    policy: &EnvironmentPolicy,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> FilteredEnvironment {
    let _ = (policy, variables.into_iter());
    unimplemented!("policy helper")
}
