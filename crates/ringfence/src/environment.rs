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

/// What a session's last command was given, kept for the next: most have the variables of the one before, and judging
/// them all again was a twentieth of a start.
#[derive(Debug, Default)]
pub(crate) struct Composed(Option<Last>);

#[derive(Debug)]
struct Last {
    session: Vec<(String, String)>,
    variables: Vec<(OsString, OsString)>,
    environment: FilteredEnvironment,
}

impl Composed {
    /// [`compose`] for the variables of this process as they are now. The policy must be the same each time.
    pub(crate) fn compose(
        &mut self,
        policy: &EnvironmentPolicy,
        session: Vec<(String, String)>,
    ) -> FilteredEnvironment {
        self.compose_of(policy, session, std::env::vars_os().collect())
    }

    fn compose_of(
        &mut self,
        policy: &EnvironmentPolicy,
        session: Vec<(String, String)>,
        variables: Vec<(OsString, OsString)>,
    ) -> FilteredEnvironment {
        let last = self.0.take();
        let last = last.filter(|last| last.session == session && last.variables == variables);
        let last = last.unwrap_or_else(|| Last {
            environment: compose(policy, &session, variables.iter().cloned()),
            session,
            variables,
        });
        let environment = last.environment.clone();
        self.0 = Some(last);
        environment
    }
}

#[cfg(test)]
mod tests {
    use ringfence_policy::document::EnvironmentMode;
    use ringfence_policy::layers::{LayerKind, Sourced};

    use super::*;

    fn policy() -> EnvironmentPolicy {
        let sourced = |value: &str| Sourced {
            value: value.to_owned(),
            layer: LayerKind::User,
        };
        EnvironmentPolicy {
            mode: Sourced {
                value: EnvironmentMode::Filtered,
                layer: LayerKind::User,
            },
            pass: Vec::new(),
            set: [("EDITOR".to_owned(), sourced("ed"))].into(),
        }
    }

    fn pairs<T: for<'a> From<&'a str>>(pairs: &[(&str, &str)]) -> Vec<(T, T)> {
        pairs
            .iter()
            .map(|(name, value)| (T::from(name), T::from(value)))
            .collect()
    }

    #[test]
    fn what_is_kept_is_what_would_be_composed_whatever_changes() {
        let mut composed = Composed::default();
        let session: [&[(&str, &str)]; 2] = [&[], &[("TMPDIR", "/tmp")]];
        let variables: [&[(&str, &str)]; 4] = [
            &[],
            &[("A", "1")],
            &[("A", "2"), ("MY_TOKEN", "x")],
            &[("A", "1"), ("TMPDIR", "/elsewhere")],
        ];
        for session in session {
            for variables in variables.iter().chain(variables.iter().rev()) {
                let fresh = compose(&policy(), &pairs(session), pairs(variables));
                for _ in 0..2 {
                    let kept = composed.compose_of(&policy(), pairs(session), pairs(variables));
                    assert_eq!(kept, fresh);
                }
                assert!(fresh.kept.contains(&("EDITOR".into(), "ed".into())));
            }
        }
    }
}
