//! Which directories may be writable roots, judged on the objects that their names resolve to.
//!
//! Invariant: a root that passes is a directory, is none of the forbidden objects, and no other root's target could
//! have chosen where its name leads.

use ringfence_policy::system::is_system;
use ringfence_policy::{AbsolutePath, Policy};

use crate::linux::error::{ForbiddenRoot, PlanError};
use crate::linux::facts::{
    CandidateRoot, Forbidden, ForbiddenReason, Kind, LinuxFacts, Object, RootFacts,
};
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
        let object = directory(root).map_err(|reason| refused(root, reason))?;
        if is_writable_mode(policy.mode.value) {
            Grounds::of(facts)
                .judge(root, object)
                .map_err(|reason| refused(root, reason))?;
        }
    }
    Ok(())
}

/// Why one more directory can't be a writable root; `None` where it can.
#[must_use]
pub fn refuse_root(candidate: &CandidateRoot) -> Option<ForbiddenRoot> {
    let grounds = Grounds {
        forbidden: &candidate.forbidden,
        state: &candidate.state,
        roots: &candidate.roots,
    };
    let judged =
        directory(&candidate.root).and_then(|object| grounds.judge(&candidate.root, object));
    judged.err()
}

fn directory(root: &RootFacts) -> Result<&Object, ForbiddenRoot> {
    match &root.object {
        None => Err(ForbiddenRoot::Absent),
        Some(object) if object.kind != Kind::Directory => Err(ForbiddenRoot::NotADirectory),
        Some(object) => Ok(object),
    }
}

/// What a root is judged by, beside itself.
struct Grounds<'a> {
    forbidden: &'a [Forbidden],
    state: &'a AbsolutePath,
    roots: &'a [RootFacts],
}

impl<'a> Grounds<'a> {
    fn of(facts: &'a LinuxFacts) -> Self {
        Self {
            forbidden: &facts.forbidden,
            state: &facts.state,
            roots: &facts.roots,
        }
    }

    fn judge(&self, root: &RootFacts, object: &Object) -> Result<(), ForbiddenRoot> {
        self.check_object(object)?;
        self.check_links(root, object)
    }

    fn check_object(&self, object: &Object) -> Result<(), ForbiddenRoot> {
        let mut forbidden = self.forbidden.iter();
        if let Some(forbidden) =
            forbidden.find(|forbidden| forbidden.id == object.id || forbidden.path == object.path)
        {
            return Err(ForbiddenRoot::Object(forbidden.reason));
        }
        let is_system = is_system(object.path.as_path())
            || self.forbidden.iter().any(|forbidden| {
                forbidden.reason == ForbiddenReason::System
                    && (object.path.starts_with(&forbidden.path)
                        || forbidden.path.starts_with(&object.path))
            });
        if is_system {
            return Err(ForbiddenRoot::Object(ForbiddenReason::System));
        }
        if object.path.starts_with(self.state) {
            return Err(ForbiddenRoot::InsideState);
        }
        Ok(())
    }

    fn check_links(&self, root: &RootFacts, object: &Object) -> Result<(), ForbiddenRoot> {
        for other in self.roots {
            let Some(place) = &other.object else { continue };
            if place.id == object.id || place.path == object.path {
                continue;
            }
            let inside = root.links.iter().find(|link| link.starts_with(&place.path));
            let led_inside = (!root.links.is_empty() && object.path.starts_with(&place.path))
                .then_some(&root.named);
            if let Some(link) = inside.or(led_inside) {
                // A link on the way to both roots, such as a home that is one, leads nobody into the other.
                if inside.is_none() && root.named.starts_with(&other.named) {
                    continue;
                }
                return Err(ForbiddenRoot::LinkThroughRoot {
                    link: link.clone(),
                    resolved: object.path.clone(),
                });
            }
        }
        Ok(())
    }
}

fn refused(root: &RootFacts, reason: ForbiddenRoot) -> PlanError {
    PlanError::ForbiddenRoot {
        named: root.named.clone(),
        reason,
    }
}
