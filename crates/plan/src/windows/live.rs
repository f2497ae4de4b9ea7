//! Sessions that are alive, and whether another one may run beside them.
//!
//! Entries on objects name the person's group and the capability SIDs of roots, so they are the same for all sessions
//! of a person: what one policy needs, another would take away. Invariant: two sessions that may run at the same time
//! want the same entries on every object that both hold.

use crate::windows::error::PlanError;
use crate::windows::facts::{LiveRoot, LiveSession};
use crate::windows::plan::{GrantedRoot, WindowsPlan};
use crate::windows::step::Purpose;

impl LiveSession {
    /// What a session of `plan` is to others while it lives.
    #[must_use]
    pub fn of(id: String, plan: &WindowsPlan) -> Self {
        let held = plan.held.iter();
        Self {
            id,
            roots: plan.roots.iter().map(LiveRoot::of).collect(),
            denied_read: held
                .filter(|held| held.purpose == Purpose::DeniedRead)
                .map(|held| held.object.path.clone())
                .collect(),
        }
    }

    fn in_use(&self, root: &GrantedRoot, roots: &[GrantedRoot]) -> Option<PlanError> {
        let own = &root.object.path;
        // Of two roots, one in the other, the policy of either decides on what lies in both.
        let overlaps = |live: &&LiveRoot| {
            live.root == root.object.id
                || live
                    .path
                    .as_ref()
                    .is_some_and(|path| path.starts_with(own) || own.starts_with(path))
        };
        // And whoever has only one of the two takes the other's entries away.
        let has_both = |live: &LiveRoot| {
            let mut theirs = self.roots.iter();
            theirs.any(|one| one.root == root.object.id)
                && roots.iter().any(|one| one.object.id == live.root)
        };
        let mut others = self.roots.iter().filter(overlaps);
        let other = others.find(|live| live.policy != root.policy || !has_both(live));
        other.map(|_| PlanError::RootInUse {
            root: own.printable(),
            session: self.id.clone(),
        })
    }

    /// A root grants the group reading: the session that denies it would read what lies there.
    fn denies(&self, root: &GrantedRoot) -> Option<PlanError> {
        let own = &root.object.path;
        let mut denied = self.denied_read.iter();
        denied
            .any(|path| own.starts_with(path))
            .then(|| PlanError::RootDenied {
                root: own.printable(),
                session: self.id.clone(),
            })
    }

    /// The other way round: what `new` denies would be taken away from this session while it works there.
    fn is_denied_by(&self, new: &Self) -> Option<PlanError> {
        let roots = self.roots.iter().filter_map(|live| live.path.as_ref());
        let mut taken = roots.flat_map(|root| {
            let denied = new.denied_read.iter();
            denied.filter(move |path| root.starts_with(path))
        });
        taken.next().map(|path| PlanError::DeniedInUse {
            path: path.printable(),
            session: self.id.clone(),
        })
    }
}

impl LiveRoot {
    fn of(root: &GrantedRoot) -> Self {
        Self {
            root: root.object.id,
            path: Some(root.object.path.clone()),
            policy: root.policy.clone(),
        }
    }
}

/// Whether a session of `plan` may run beside `sessions`.
///
/// # Errors
/// [`PlanError::RootInUse`], [`PlanError::RootDenied`] or [`PlanError::DeniedInUse`], naming the session in the way.
pub fn check_beside(plan: &WindowsPlan, sessions: &[LiveSession]) -> Result<(), PlanError> {
    let new = LiveSession::of(String::new(), plan);
    for session in sessions {
        let in_the_way = plan
            .roots
            .iter()
            .find_map(|root| {
                let in_use = session.in_use(root, &plan.roots);
                in_use.or_else(|| session.denies(root))
            })
            .or_else(|| session.is_denied_by(&new));
        if let Some(error) = in_the_way {
            return Err(error);
        }
    }
    Ok(())
}
