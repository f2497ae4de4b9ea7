//! The variables of a command: the caller's, filtered by the policy, and the session's own on top.
//!
//! Which variable passes is the policy's decision, not this module's. Invariant: what is withheld is named, and its
//! value appears nowhere.

use std::ffi::{OsStr, OsString};

use ringfence_policy::environment::{FilteredEnvironment, filter};
use ringfence_policy::policy::EnvironmentPolicy;

/// The variables for a command: `variables` filtered by `policy`, then `session` (`TMPDIR` and its like) on top.
///
/// The session's own variables name places that exist only in its view, so they win over everything.
#[must_use]
pub fn compose(
    policy: &EnvironmentPolicy,
    session: &[(String, String)],
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> FilteredEnvironment {
    let mut environment = filter(policy, variables);
    for (name, value) in session {
        let name = OsString::from(name);
        environment.kept.retain(|(kept, _)| !is_same(kept, &name));
        // It is there, with the session's own value.
        environment
            .withheld
            .retain(|(withheld, _)| !is_same(withheld, &name));
        environment.kept.push((name, OsString::from(value)));
    }
    environment.kept.sort();
    environment
}

/// Whether two names are one variable's: on Windows their case does not matter.
fn is_same(one: &OsStr, other: &OsStr) -> bool {
    if cfg!(windows) {
        one.eq_ignore_ascii_case(other)
    } else {
        one == other
    }
}

/// [`compose`] for the variables of this process.
#[must_use]
pub fn compose_from_process(
    policy: &EnvironmentPolicy,
    session: &[(String, String)],
) -> FilteredEnvironment {
    compose(policy, session, std::env::vars_os())
}
