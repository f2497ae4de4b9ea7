//! The planner's rule of walks, for the plan at hand.
//!
//! It chooses no descriptor itself: it finds out which root an object belongs to, and asks. Invariant: the same plan
//! gives the same answers.

use std::collections::{BTreeSet, HashMap};

use ringfence_nt::{SecurityDescriptor, Sid};
use ringfence_plan::windows::descriptors::Trustees;
use ringfence_plan::windows::reach::Reach;
use ringfence_plan::windows::step::{AccountSids, FileId, Purpose};
use ringfence_plan::windows::walk::{Visited, WalkRule};
use ringfence_plan::windows::{WindowsPath, WindowsPlan};

use super::grants::ObjectRule;

/// The rule of a plan.
#[derive(Clone, Debug)]
pub struct PlanRule {
    /// The roots, the innermost first, and whom their entries name.
    roots: Vec<(WindowsPath, Trustees)>,
    elsewhere: Trustees,
    reach: Reach,
    held: HashMap<FileId, Purpose>,
    /// What decides on what lies below it.
    deciding: HashMap<WindowsPath, Purpose>,
}

impl PlanRule {
    /// The rule of `plan`.
    #[must_use]
    pub fn new(plan: &WindowsPlan) -> Self {
        let mut roots: Vec<(WindowsPath, Trustees)> = plan
            .roots
            .iter()
            .enumerate()
            .map(|(index, root)| (root.object.path.clone(), plan.trustees(Some(index))))
            .collect();
        let deciding = plan.held.iter().filter(|held| {
            let purpose = held.purpose;
            matches!(
                purpose,
                Purpose::Root | Purpose::Protected | Purpose::Secret
            )
        });
        let deciding = deciding.map(|held| (held.object.path.clone(), held.purpose));
        roots.sort_by_key(|(path, _)| std::cmp::Reverse(path.components().len()));
        Self {
            deciding: deciding.collect(),
            roots,
            elsewhere: plan.trustees(None),
            reach: plan.reach(),
            held: plan
                .held
                .iter()
                .map(|held| (held.object.id, held.purpose))
                .filter(|(_, purpose)| *purpose != Purpose::Walked)
                .collect(),
        }
    }
}

impl ObjectRule for PlanRule {
    fn next(
        &self,
        purpose: Purpose,
        path: &WindowsPath,
        parent: &SecurityDescriptor,
        object: &Visited<'_>,
    ) -> Option<SecurityDescriptor> {
        let root = self.roots.iter().find(|(root, _)| path.starts_with(root));
        let rule = WalkRule {
            purpose,
            trustees: root.map_or(&self.elsewhere, |(_, trustees)| trustees),
            reach: &self.reach,
        };
        rule.next(parent, object)
    }

    fn closed_by(&self, name: &WindowsPath) -> Option<Purpose> {
        let mut above = name.ancestors();
        let purpose = above.find_map(|above| self.deciding.get(&above).copied());
        purpose.filter(|purpose| *purpose != Purpose::Root)
    }

    fn held(&self, object: FileId) -> Option<Purpose> {
        self.held.get(&object).copied()
    }
}

/// Every SID that Ringfence has made for the person of `plan`.
#[must_use]
pub fn sids_of(plan: &WindowsPlan) -> BTreeSet<Sid> {
    let mut sids: BTreeSet<Sid> = plan.known.iter().copied().collect();
    sids.insert(plan.marker);
    sids.extend(plan.accounts.sids().iter().flat_map(AccountSids::all));
    sids.extend(plan.roots.iter().map(|root| root.capability));
    sids
}
