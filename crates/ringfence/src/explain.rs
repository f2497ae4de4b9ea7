//! The answer to "may it?", from the same rules that the session enforces.

use std::path::Path;

use ringfence_plan::{Plan, Step};
use ringfence_policy::decision::RefusedRoot;
use ringfence_policy::{Decision, Grant, Operation, Policy, RuleId};

use crate::grants::RootJudge;

/// The answer on one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The verdict; its grant is one that a run would take.
    pub decision: Decision,
    /// The directory that would have to be writable, and why it can't be.
    pub refused_root: Option<RefusedRoot>,
}

/// Judges reading or writing `object`, a path as it is inside the session of `plan`, which is made of `policy`.
///
/// Links in `object` are followed as far as they exist, because that is what the kernel does; what does not exist is
/// judged as it is spelt.
#[must_use]
pub fn explain(policy: &Policy, plan: &Plan, operation: Operation, object: &Path) -> Explanation {
    let real = resolve_links(object);
    match plan.rules.decide(operation, &real) {
        Decision::Allow {
            rule: RuleId::ReadDefault,
            ..
        } if operation == Operation::Read && is_replaced_device(plan, &real) => Explanation {
            decision: Decision::Deny {
                rule: RuleId::HiddenPlace,
                origin: "/dev".to_owned(),
                grant: None,
            },
            refused_root: None,
        },
        Decision::Deny {
            rule,
            origin,
            grant,
        } => {
            let (grant, refused_root) = narrowest(policy, plan, operation, &real, grant);
            Explanation {
                decision: Decision::Deny {
                    rule,
                    origin,
                    grant,
                },
                refused_root,
            }
        }
        decision @ Decision::Allow { .. } => Explanation {
            decision,
            refused_root: None,
        },
    }
}

/// The grant that a run would take, or what it would be refused for.
fn narrowest(
    policy: &Policy,
    plan: &Plan,
    operation: Operation,
    real: &Path,
    grant: Option<Grant>,
) -> (Option<Grant>, Option<RefusedRoot>) {
    if cfg!(windows) && operation == Operation::Connect {
        // No option opens a socket or a pipe by its path there.
        return (None, None);
    }
    let mut judge = RootJudge::new(policy);
    let refused = grant.as_ref().and_then(|grant| judge.refuse(grant));
    if grant.is_some() && refused.is_none() {
        return (grant, None);
    }
    // A directory can be a root itself, where its parent can't: asked as for what is made in it.
    let inside = (operation == Operation::Write && real.is_dir())
        .then(|| plan.rules.decide(operation, &real.join("new")));
    let Some(Decision::Deny {
        grant: Some(inside),
        ..
    }) = inside
    else {
        return (None, refused);
    };
    match judge.refuse(&inside) {
        Some(refused) => (None, Some(refused)),
        None => (Some(inside), None),
    }
}

/// Whether `path` is a device of the host where the session has its own few.
fn is_replaced_device(plan: &Plan, path: &Path) -> bool {
    let Ok(below) = path.strip_prefix("/dev") else {
        return false;
    };
    let is_own = ["", "fd", "stdin", "stdout", "stderr", "shm"]
        .iter()
        .any(|own| below == Path::new(own) || (!own.is_empty() && below.starts_with(own)));
    !is_own && plan.steps.contains(&Step::MountDevices)
}

/// `path` with the links of its longest existing part followed.
#[must_use]
pub fn resolve_links(path: &Path) -> std::path::PathBuf {
    let mut missing = Vec::new();
    let mut existing = path;
    loop {
        if let Ok(real) = crate::paths::real(existing) {
            return missing
                .iter()
                .rev()
                .fold(real, |path, name| path.join(name));
        }
        match (existing.parent(), existing.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name);
                existing = parent;
            }
            (None, _) | (_, None) => return path.to_owned(),
        }
    }
}
