//! The answer to "may it?", from the same rules that the session enforces.

use std::path::Path;

use ringfence_plan::{Plan, Step};
use ringfence_policy::{Decision, Operation, RuleId};

/// Judges reading or writing `object`, a path as it is inside the session.
///
/// Links in `object` are followed as far as they exist, because that is what the kernel does; what does not exist is
/// judged as it is spelt.
#[must_use]
pub fn explain(plan: &Plan, operation: Operation, object: &Path) -> Decision {
    let real = resolve_links(object);
    let decision = plan.rules.decide(operation, &real);
    match decision {
        Decision::Allow {
            rule: RuleId::ReadDefault,
            ..
        } if operation == Operation::Read && is_replaced_device(plan, &real) => Decision::Deny {
            rule: RuleId::HiddenPlace,
            origin: "/dev".to_owned(),
            grant: None,
        },
        Decision::Deny {
            rule,
            origin,
            grant: None,
        } if operation == Operation::Write && real.is_dir() => {
            // A directory can be a root itself, where its parent can't: asked as for what is made in it.
            let inside = plan.rules.decide(operation, &real.join("new"));
            let grant = match inside {
                Decision::Deny { grant, .. } => grant,
                Decision::Allow { .. } => None,
            };
            Decision::Deny {
                rule,
                origin,
                grant,
            }
        }
        Decision::Allow { .. } | Decision::Deny { .. } => decision,
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
