//! The answer to "may it?", from the same rules that the session enforces.

use std::path::Path;

use ringfence_plan::Plan;
use ringfence_policy::{Decision, Operation};

/// Judges reading or writing `object`, a path as it is inside the session.
///
/// Links in `object` are followed as far as they exist, because that is what the kernel does; what does not exist is
/// judged as it is spelt.
#[must_use]
pub fn explain(plan: &Plan, operation: Operation, object: &Path) -> Decision {
    plan.rules.decide(operation, &resolve_links(object))
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
