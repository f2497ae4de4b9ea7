//! Which directories may be writable roots, judged on the objects that their names resolve to.
//!
//! Invariant: a root that passes is a directory, is none of the forbidden objects, and no other root's target could
//! have chosen where its name leads.

use ringfence_policy::Policy;
use ringfence_policy::system::is_system;

use crate::linux::error::{ForbiddenRoot, PlanError};
use crate::linux::facts::{ForbiddenReason, Kind, LinuxFacts, Object, RootFacts};
use crate::linux::holds::is_writable_mode;

/// Checks every root of `policy`; in read-only mode only that the workspace is a directory.
///
/// # Errors
/// [`PlanError::ForbiddenRoot`], naming the root as the policy names it; [`PlanError::FactsMismatch`].
pub(crate) fn check(policy: &Policy, facts: &LinuxFacts) -> Result<(), PlanError> {
    let wanted = std::iter::once(&policy.workspace).chain(
        policy
            .filesystem
            .writable_roots
            .iter()
            .map(|root| &root.value),
    );
    let mut known = facts.roots.iter();
    for path in wanted {
        let root = known
            .next()
            .filter(|root| root.named == *path)
            .ok_or_else(|| PlanError::FactsMismatch {
                what: format!("the writable root `{path}`"),
            })?;
        let object = directory(root)?;
        if is_writable_mode(policy.mode.value) {
            check_object(root, object, facts)?;
            check_links(root, object, facts)?;
        }
    }
    Ok(())
}

fn directory(root: &RootFacts) -> Result<&Object, PlanError> {
    match &root.object {
        None => Err(refused(root, ForbiddenRoot::Absent)),
        Some(object) if object.kind != Kind::Directory => {
            Err(refused(root, ForbiddenRoot::NotADirectory))
        }
        Some(object) => Ok(object),
    }
}

fn check_object(root: &RootFacts, object: &Object, facts: &LinuxFacts) -> Result<(), PlanError> {
    if let Some(forbidden) = facts
        .forbidden
        .iter()
        .find(|forbidden| forbidden.id == object.id || forbidden.path == object.path)
    {
        return Err(refused(root, ForbiddenRoot::Object(forbidden.reason)));
    }
    let is_system = is_system(object.path.as_path())
        || facts.forbidden.iter().any(|forbidden| {
            forbidden.reason == ForbiddenReason::System
                && (object.path.starts_with(&forbidden.path)
                    || forbidden.path.starts_with(&object.path))
        });
    if is_system {
        let reason = ForbiddenRoot::Object(ForbiddenReason::System);
        return Err(refused(root, reason));
    }
    if object.path.starts_with(&facts.state) {
        return Err(refused(root, ForbiddenRoot::InsideState));
    }
    Ok(())
}

fn check_links(root: &RootFacts, object: &Object, facts: &LinuxFacts) -> Result<(), PlanError> {
    for other in &facts.roots {
        let Some(place) = &other.object else { continue };
        if place.id == object.id || place.path == object.path {
            continue;
        }
        let inside = root.links.iter().find(|link| link.starts_with(&place.path));
        let led_inside =
            (!root.links.is_empty() && object.path.starts_with(&place.path)).then_some(&root.named);
        if let Some(link) = inside.or(led_inside) {
            // A link on the way to both roots, such as a home that is one, leads nobody into the other.
            if inside.is_none() && root.named.starts_with(&other.named) {
                continue;
            }
            return Err(refused(
                root,
                ForbiddenRoot::LinkThroughRoot {
                    link: link.clone(),
                    resolved: object.path.clone(),
                },
            ));
        }
    }
    Ok(())
}

fn refused(root: &RootFacts, reason: ForbiddenRoot) -> PlanError {
    PlanError::ForbiddenRoot {
        named: root.named.clone(),
        reason,
    }
}
