//! Whether every step can be undone, whatever its kind: by its own inverse, and without taking what is not ours.
//!
//! Invariant: a step that this module does not object to has an inverse that names the same object, which no other
//! step of the plan made.

use std::collections::HashSet;

use super::{Lint, LintRule};
use crate::windows::facts::WindowsFacts;
use crate::windows::machine::{MachineDirectories, is_own_key};
use crate::windows::step::{MachineInverse, MachineStep, PersonInverse, PersonStep, PortRange};

impl Lint<'_> {
    /// Every step of the plan.
    pub(super) fn undo(&mut self, facts: &WindowsFacts) {
        let plan = self.plan;
        for step in &plan.person_steps {
            self.undo_person(step);
        }
        let own = MachineDirectories::of(facts).ok().map(|own| own.top);
        let mut undone: HashSet<String> = HashSet::new();
        for (index, step) in plan.machine_steps.iter().enumerate() {
            let inverse = step.inverse();
            let before = plan.machine_steps.get(..index).unwrap_or_default();
            let is_ours = match step {
                // What is in the directory goes with it.
                MachineStep::MakeDirectory { path, .. } => {
                    own.as_ref().is_some_and(|own| path.starts_with(own))
                }
                MachineStep::EnsureAccount { record, .. } => {
                    own.as_ref().is_some_and(|own| record.is_below(own))
                }
                MachineStep::SetValue { key, .. } => is_own_key(key),
                MachineStep::InstallFilters { filters } => {
                    let keys: HashSet<_> = filters.iter().map(|filter| filter.key).collect();
                    keys.len() == filters.len()
                }
                // Undone before its account, so made after it.
                MachineStep::DenyLogon { role, .. } => before.iter().any(
                    |made| matches!(made, MachineStep::EnsureAccount { role: of, .. } if of == role),
                ),
                MachineStep::ReservePorts {
                    ports: PortRange { first, last },
                } => *first > 0 && first <= last,
                MachineStep::EnsureGroup { .. } | MachineStep::AddFirewallRule { .. } => true,
            };
            // A second step on one object would take what the first one made for what was there.
            let is_first = undone.insert(format!("{inverse:?}").to_lowercase());
            if !is_ours || !is_first || !undoes(&inverse, step) {
                self.error(
                    LintRule::NotInvertible,
                    &format!("machine step {}", index + 1),
                );
            }
        }
    }

    fn undo_person(&mut self, step: &PersonStep) {
        let plan = self.plan;
        let (path, is_undone) = match (step, step.inverse()) {
            (
                PersonStep::SetDacl {
                    object,
                    before,
                    after,
                    ..
                },
                PersonInverse::RestoreDacl {
                    object: of,
                    expected,
                    descriptor,
                    ..
                },
            ) => {
                let same = of == *object && expected == *after && descriptor == *before;
                let kept = before.owner == after.owner && before.group == after.group;
                (&object.path, same && kept)
            }
            // Each object that it changes is undone by itself; the directory it begins at must be one of them.
            (PersonStep::Walk { root, .. }, PersonInverse::Walked) => {
                let is_changed = plan.person_steps.iter().any(
                    |one| matches!(one, PersonStep::SetDacl { object, .. } if object.id == root.id),
                );
                (&root.path, is_changed)
            }
            // What is in the home goes with it.
            (PersonStep::MakeHome { path, .. }, PersonInverse::RemoveHome { path: of }) => {
                let is_home = plan.roots.iter().any(|root| root.home == *path);
                (path, of == *path && is_home)
            }
            (PersonStep::SetDacl { object, .. } | PersonStep::Walk { root: object, .. }, _) => {
                (&object.path, false)
            }
            (PersonStep::MakeHome { path, .. }, _) => (path, false),
        };
        if !is_undone {
            let path = path.printable();
            self.error(LintRule::NotInvertible, &path);
        }
    }
}

/// Whether the inverse names what the step makes.
fn undoes(inverse: &MachineInverse, step: &MachineStep) -> bool {
    match (inverse, step) {
        (MachineInverse::RemoveGroup { name }, MachineStep::EnsureGroup { name: made, .. }) => {
            name == made
        }
        (
            MachineInverse::RemoveAccount { name, record },
            MachineStep::EnsureAccount {
                name: made,
                record: sealed,
                ..
            },
        ) => name == made && record == sealed,
        (
            MachineInverse::AllowLogon { role, rights },
            MachineStep::DenyLogon {
                role: of,
                rights: denied,
            },
        ) => role == of && rights == denied,
        (
            MachineInverse::RemoveDirectory { path },
            MachineStep::MakeDirectory { path: made, .. },
        ) => path == made,
        (
            MachineInverse::RestoreValue { key, name },
            MachineStep::SetValue {
                key: at, name: of, ..
            },
        ) => key == at && name == of,
        (MachineInverse::RemoveFilters { keys }, MachineStep::InstallFilters { filters }) => {
            filters.iter().map(|filter| &filter.key).eq(keys)
        }
        (MachineInverse::RemoveFirewallRule { name }, MachineStep::AddFirewallRule { rule }) => {
            *name == rule.name
        }
        (MachineInverse::ReleasePorts { ports }, MachineStep::ReservePorts { ports: made }) => {
            ports == made
        }
        (_, _) => false,
    }
}
