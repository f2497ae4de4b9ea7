//! From what should be to what has to be done: the person's steps, in order.
//!
//! Denies come before grants, so that nothing is open in between. Invariant: an object that is as planned has no step,
//! and no directory is walked unless its own descriptor changes.

use std::collections::{BTreeSet, HashSet};

use ringfence_nt::{Acl, SecurityDescriptor};

use crate::windows::descriptors::{Trustees, same_access, with_entries};
use crate::windows::error::PlanError;
use crate::windows::facts::{ObjectFact, WindowsFacts};
use crate::windows::objects::Objects;
use crate::windows::path::WindowsPath;
use crate::windows::plan::{GrantedRoot, HeldObject};
use crate::windows::reach::Reach;
use crate::windows::step::{ObjectKind, PersonStep, Purpose};
use crate::windows::walk::{Names, Visited, WalkRule};

/// Why an object gets its descriptor, in the order in which it is done.
const ORDER: [Purpose; 9] = [
    Purpose::Secret,
    Purpose::DeniedRead,
    Purpose::WorldWritable,
    Purpose::Protected,
    Purpose::Walked,
    Purpose::Between,
    Purpose::Ancestor,
    Purpose::Tool,
    Purpose::Root,
];

/// What steps are made from.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    pub(crate) facts: &'a WindowsFacts,
    pub(crate) objects: &'a Objects<'a>,
    pub(crate) held: &'a [HeldObject],
    pub(crate) reach: &'a Reach,
    pub(crate) roots: &'a [(WindowsPath, Trustees)],
}

/// One change of a descriptor.
struct Change<'a> {
    fact: &'a ObjectFact,
    before: &'a SecurityDescriptor,
    purpose: Purpose,
    after: SecurityDescriptor,
}

impl Steps<'_> {
    /// Every step that is needed.
    ///
    /// # Errors
    /// [`PlanError::FactsMismatch`] without facts of a held object.
    pub(crate) fn all(&self) -> Result<Vec<PersonStep>, PlanError> {
        let mut changes = Vec::new();
        for held in self.held {
            let fact = self.objects.require(&held.object.path)?;
            if let Some(before) = &fact.descriptor
                && !same_access(before, &held.descriptor)
            {
                changes.push(Change {
                    fact,
                    before,
                    purpose: held.purpose,
                    after: held.descriptor.clone(),
                });
            }
        }
        changes.extend(self.stale());
        self.astray(&mut changes)?;
        let walks = walks(&changes);
        let mut steps: Vec<PersonStep> = Vec::with_capacity(changes.len() + walks.len());
        for purpose in ORDER {
            for change in changes.iter().filter(|change| change.purpose == purpose) {
                steps.push(PersonStep::SetDacl {
                    object: change.fact.object.clone(),
                    purpose,
                    before: change.before.clone(),
                    after: change.after.clone(),
                });
            }
        }
        steps.extend(walks);
        Ok(steps)
    }

    /// Objects in the roots that have entries of ours from an earlier plan, and none in this one.
    fn stale(&self) -> Vec<Change<'_>> {
        let mut changes = Vec::new();
        for fact in &self.facts.objects {
            let path = &fact.object.path;
            let is_held = self
                .held
                .binary_search_by(|held| held.object.path.cmp(path))
                .is_ok();
            let is_other_root = self
                .facts
                .capabilities
                .iter()
                .any(|one| one.root == fact.object.id);
            let (Some(before), Some(trustees), false) = (
                &fact.descriptor,
                self.trustees_at(path),
                is_held || is_other_root,
            ) else {
                continue;
            };
            let mut explicit = before.acl().into_iter().flat_map(Acl::explicit);
            if !explicit.any(|ace| trustees.is_ours(ace)) {
                continue;
            }
            let parent = path.parent().and_then(|parent| self.held_at(&parent));
            let parent = parent.map(|held| &held.descriptor);
            let covered = self.covered(fact, before, trustees);
            let (purpose, after) = covered.unwrap_or_else(|| {
                let bare = with_entries(before, parent, fact.object.kind, &[], trustees);
                (Purpose::Walked, bare)
            });
            if same_access(before, &after) {
                continue;
            }
            changes.push(Change {
                fact,
                before,
                purpose,
                after,
            });
        }
        changes
    }

    /// Objects that somebody moved into a closed directory with the rights of another place, or that are open there for
    /// another reason. What lies below an object that changes is its walk's.
    fn astray<'a>(&'a self, changes: &mut Vec<Change<'a>>) -> Result<(), PlanError> {
        let mut written: HashSet<WindowsPath> = changes
            .iter()
            .map(|change| change.fact.object.path.clone())
            .collect();
        let astray: BTreeSet<&WindowsPath> = self
            .facts
            .roots
            .iter()
            .flat_map(|root| &root.astray)
            .collect();
        for path in astray {
            let is_walked = path.ancestors().any(|above| written.contains(&above));
            if is_walked || written.contains(path) || self.held_at(path).is_some() {
                continue;
            }
            // It may have gone since.
            if self.objects.get(path).is_none() {
                continue;
            }
            let fact = self.objects.require(path)?;
            let Some(trustees) = self.trustees_at(path) else {
                continue;
            };
            let before = fact.descriptor.as_ref().ok_or_else(|| PlanError::NotHeld {
                path: path.printable(),
                cause: "its access control list can't be read",
            })?;
            let Some((purpose, after)) = self.covered(fact, before, trustees) else {
                continue;
            };
            if same_access(before, &after) {
                continue;
            }
            written.insert(path.clone());
            changes.push(Change {
                fact,
                before,
                purpose,
                after,
            });
        }
        Ok(())
    }

    fn held_at(&self, path: &WindowsPath) -> Option<&HeldObject> {
        let index = self
            .held
            .binary_search_by(|held| held.object.path.cmp(path));
        index.ok().and_then(|index| self.held.get(index))
    }

    /// What the walk from the nearest object that is held makes of one below it, and why, where that closes what lies
    /// below it.
    fn covered(
        &self,
        fact: &ObjectFact,
        before: &SecurityDescriptor,
        trustees: &Trustees,
    ) -> Option<(Purpose, SecurityDescriptor)> {
        let path = &fact.object.path;
        let above = path.ancestors().find_map(|above| self.held_at(&above))?;
        if !matches!(above.purpose, Purpose::Protected | Purpose::Secret) {
            return None;
        }
        let parent = path.parent()?;
        let parent = match self.held_at(&parent) {
            Some(held) => &held.descriptor,
            None => self.objects.get(&parent)?.descriptor.as_ref()?,
        };
        let mut outside = self.facts.roots.iter().flat_map(|root| &root.outside_links);
        let rule = WalkRule {
            purpose: above.purpose,
            trustees,
            reach: self.reach,
        };
        let visited = Visited {
            kind: fact.object.kind,
            // Where its other names lie is the walk's to ask; closed by all of them it stays closed.
            names: if fact.links > 1 || outside.any(|linked| linked == path) {
                Names::Outside
            } else {
                Names::Inside
            },
            descriptor: before,
        };
        let next = rule.next(parent, &visited);
        Some((above.purpose, next.unwrap_or_else(|| before.clone())))
    }

    fn trustees_at(&self, path: &WindowsPath) -> Option<&Trustees> {
        self.roots
            .iter()
            .filter(|(root, _)| path.is_below(root))
            .max_by_key(|(root, _)| root.components().len())
            .map(|(_, trustees)| trustees)
    }
}

/// The walks below changed directories; one that another walk comes through needs none of its own.
fn walks(changes: &[Change<'_>]) -> Vec<PersonStep> {
    let purpose = |change: &Change<'_>| match change.purpose {
        Purpose::Root
        | Purpose::Protected
        | Purpose::Secret
        | Purpose::DeniedRead
        | Purpose::Tool
        | Purpose::WorldWritable => Some(change.purpose),
        // What an earlier plan left is taken back as what an ordinary object of a root is.
        Purpose::Walked => Some(Purpose::Root),
        Purpose::Between | Purpose::Ancestor | Purpose::Profile => None,
    };
    let mut directories: Vec<(&Change<'_>, Purpose)> = changes
        .iter()
        .filter(|change| {
            change.fact.object.kind == ObjectKind::Directory && change.fact.reparse.is_none()
        })
        .filter_map(|change| Some((change, purpose(change)?)))
        .collect();
    directories.sort_by(|(a, _), (b, _)| a.fact.object.path.cmp(&b.fact.object.path));
    let mut outermost: Option<&WindowsPath> = None;
    let mut walks = Vec::new();
    for (change, purpose) in directories {
        let path = &change.fact.object.path;
        if outermost.is_some_and(|above| path.is_below(above)) {
            continue;
        }
        outermost = Some(path);
        walks.push(PersonStep::Walk {
            root: change.fact.object.clone(),
            purpose,
        });
    }
    walks
}

/// The private home of the workspace, where it is not there, or not as it should be.
pub(crate) fn home(
    roots: &[GrantedRoot],
    trustees: &[(WindowsPath, Trustees)],
    objects: &Objects<'_>,
) -> Option<PersonStep> {
    let (root, (_, trustees)) = (roots.first()?, trustees.first()?);
    let descriptor = trustees.home(root.home_sid);
    let present = objects
        .get(&root.home)
        .and_then(|fact| fact.descriptor.as_ref());
    let is_made = present.is_some_and(|present| same_access(present, &descriptor));
    (!is_made).then(|| PersonStep::MakeHome {
        path: root.home.clone(),
        descriptor,
    })
}
