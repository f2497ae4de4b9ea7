//! Carries a plan out on a simulated host, as the real executor must.
//!
//! It decides nothing: steps say what becomes of one object, and the planner's rule what becomes of each object below.
//! Invariant: an object is found by its identity, never by its path, and no reparse point is followed.

use std::sync::Arc;

use ringfence_nt::fs::{FileSystem, Node, NodeId, Place, VolumeId};
use ringfence_nt::{Sid, Token};
use ringfence_plan::windows::reach::Reach;
use ringfence_plan::windows::step::{
    self, AccountSids, FileId, MachineStep, Object, PersonInverse, PersonStep, Purpose,
};
use ringfence_plan::windows::walk::{Names, Visited, WalkRule, without_entries};
use ringfence_plan::windows::{WindowsPath, WindowsPlan};

use crate::host::name;

/// The serial of a simulated volume.
const SERIAL: u64 = 0x5eed_0000;

/// The identity of a node as facts and plans write it.
#[must_use]
pub fn file_id(node: NodeId) -> FileId {
    FileId {
        volume: SERIAL + u64::from(node.volume.0),
        file: u128::from(node.file),
    }
}

/// The node that an identity names, if it can be one of this host.
#[must_use]
pub fn node_of(id: FileId) -> Option<NodeId> {
    Some(NodeId {
        volume: VolumeId(u32::try_from(id.volume.checked_sub(SERIAL)?).ok()?),
        file: u64::try_from(id.file).ok()?,
    })
}

/// The object that a plan would name for a node.
#[must_use]
pub fn object(fs: &FileSystem, node: NodeId) -> Object {
    let path = fs.path_of(node);
    Object {
        path: WindowsPath::observed(&path).unwrap_or_else(|error| panic!("{path}: {error}")),
        id: file_id(node),
        kind: kind_of(fs.node(node)),
    }
}

/// What a plan would call a node.
pub(crate) fn kind_of(node: Option<&Node>) -> step::ObjectKind {
    if node.is_some_and(Node::is_directory) {
        step::ObjectKind::Directory
    } else {
        step::ObjectKind::File
    }
}

/// What an executor does besides what the plan says; anything but [`Walking::Whole`] is a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walking {
    /// It walks every object.
    Whole,
    /// It leaves out objects with explicit entries.
    SkipsExplicit,
    /// It leaves out objects whose list is protected.
    SkipsProtected,
}

/// Carries out the machine's directories and then the person's steps; gives back what a ledger would hold: every
/// change of one object, those of walks too, in order.
pub fn carry_out(fs: &mut FileSystem, plan: &WindowsPlan, walking: Walking) -> Vec<PersonStep> {
    let mut done = Vec::new();
    if let Some(accounts) = plan.accounts.sids() {
        for step in &plan.machine_steps {
            if let MachineStep::MakeDirectory { path, descriptor } = step {
                make_directory(fs, path, descriptor.resolve(&accounts));
            }
        }
    }
    for step in &plan.person_steps {
        match step {
            PersonStep::SetDacl { object, after, .. } => {
                let id = node_of(object.id).expect("an object of this host");
                let node = fs.node_mut(id).expect("the object is there");
                node.descriptor = Arc::new(after.clone());
                done.push(step.clone());
            }
            PersonStep::Walk { root, purpose } => {
                let id = node_of(root.id).expect("an object of this host");
                let mut walk = Walk::new(plan, fs, id, walking);
                walk.below(fs, id, *purpose);
                done.append(&mut walk.done);
            }
            PersonStep::MakeHome { path, descriptor } => {
                make_directory(fs, path, descriptor.clone());
            }
        }
    }
    done
}

/// Undoes a plan: the inverses of its person's steps, the last first, then what walks changed.
pub fn undo(fs: &mut FileSystem, inverses: &[PersonInverse]) {
    for inverse in inverses {
        match inverse {
            PersonInverse::RestoreDacl {
                object,
                expected,
                descriptor,
                remove,
            } => {
                let Some(node) = node_of(object.id).and_then(|id| fs.node_mut(id)) else {
                    continue;
                };
                if node.descriptor.dacl == expected.dacl {
                    node.descriptor = Arc::new(descriptor.clone());
                } else if let Some(less) = without_entries(&node.descriptor, remove) {
                    node.descriptor = Arc::new(less);
                }
            }
            PersonInverse::Walked | PersonInverse::RemoveHome { .. } => {}
        }
    }
}

/// Makes a directory with this descriptor, and the directories above it that are missing.
fn make_directory(
    fs: &mut FileSystem,
    path: &WindowsPath,
    descriptor: ringfence_nt::SecurityDescriptor,
) {
    if let Ok(id) = fs.find(&path.to_string()) {
        if let Some(node) = fs.node_mut(id) {
            node.descriptor = Arc::new(descriptor);
        }
        return;
    }
    let above = path.parent().expect("not a drive's root");
    if fs.find(&above.to_string()).is_err() {
        make_directory(fs, &above, descriptor.clone());
    }
    let place = Place {
        parent: fs.find(&above.to_string()).expect("it was made"),
        name: name(path.name().expect("not a drive's root")),
    };
    fs.place_node(&place, Node::directory(Arc::new(descriptor)))
        .expect("the name is free");
}

struct Walk<'a> {
    plan: &'a WindowsPlan,
    reach: Reach,
    top: NodeId,
    trustees: ringfence_plan::windows::descriptors::Trustees,
    walking: Walking,
    done: Vec<PersonStep>,
}

impl<'a> Walk<'a> {
    fn new(plan: &'a WindowsPlan, fs: &FileSystem, top: NodeId, walking: Walking) -> Self {
        let innermost = plan
            .roots
            .iter()
            .enumerate()
            .filter(|(_, root)| node_of(root.object.id).is_some_and(|root| fs.is_below(top, root)))
            .max_by_key(|(_, root)| root.object.path.components().len());
        Self {
            plan,
            reach: plan.reach(),
            top,
            trustees: plan.trustees(innermost.map(|(index, _)| index)),
            walking,
            done: Vec::new(),
        }
    }

    fn below(&mut self, fs: &mut FileSystem, directory: NodeId, purpose: Purpose) {
        let Some(parent) = fs.node(directory) else {
            return;
        };
        if parent.reparse.is_some() {
            return;
        }
        let descriptor = Arc::clone(&parent.descriptor);
        let children: Vec<NodeId> = parent.entries().iter().map(|entry| entry.node).collect();
        for child in children {
            // What the plan holds by itself has its descriptor already, and its own purpose below.
            let held = self
                .plan
                .held
                .iter()
                .find(|held| held.object.id == file_id(child))
                .map(|held| held.purpose);
            if let Some(purpose) = held {
                self.below(fs, child, purpose);
                continue;
            }
            self.visit(fs, child, &descriptor, purpose);
            self.below(fs, child, purpose);
        }
    }

    fn visit(
        &mut self,
        fs: &mut FileSystem,
        id: NodeId,
        parent: &ringfence_nt::SecurityDescriptor,
        purpose: Purpose,
    ) {
        // By all names of a file: what is closed by one of them is closed by all.
        let closing: Vec<Option<Purpose>> = fs
            .places(id)
            .map(|place| self.plan.closed_by(&named(fs, &place)))
            .collect();
        let mixed = Purpose::of_mixed_names(&closing);
        let purpose = mixed.unwrap_or(purpose);
        let inside = mixed.is_none()
            && fs
                .places(id)
                .all(|place| fs.is_below(place.parent, self.top));
        let Some(node) = fs.node(id) else { return };
        let own = Arc::clone(&node.descriptor);
        let is_skipped = match self.walking {
            Walking::Whole => false,
            Walking::SkipsExplicit => own.acl().is_none_or(|acl| acl.explicit().next().is_some()),
            Walking::SkipsProtected => own.control.contains(ringfence_nt::Control::DACL_PROTECTED),
        };
        if is_skipped {
            return;
        }
        let rule = WalkRule {
            purpose,
            trustees: &self.trustees,
            reach: &self.reach,
        };
        let visited = Visited {
            kind: kind_of(Some(node)),
            names: if inside {
                Names::Inside
            } else {
                Names::Outside
            },
            descriptor: &own,
        };
        let Some(next) = rule.next(parent, &visited) else {
            return;
        };
        self.done.push(PersonStep::SetDacl {
            object: object(fs, id),
            purpose: Purpose::Walked,
            before: own.as_ref().clone(),
            after: next.clone(),
        });
        if let Some(node) = fs.node_mut(id) {
            node.descriptor = Arc::new(next);
        }
    }
}

/// The path of a name.
fn named(fs: &FileSystem, place: &Place) -> WindowsPath {
    let parent = fs.path_of(place.parent);
    WindowsPath::observed(&parent)
        .ok()
        .and_then(|parent| parent.join_observed(&place.name).ok())
        .unwrap_or_else(|| panic!("{parent}\\{}", place.name))
}

/// The token of a person's runner: one of their accounts, logged on with a password at the machine.
#[must_use]
pub fn runner_token(accounts: &AccountSids, user: Sid, logon: Sid) -> Token {
    let mut groups = vec![accounts.group];
    groups.extend(ringfence_plan::windows::reach::well_known_groups());
    groups.push(logon);
    let mut token = Token::new(user, &groups);
    token.privileges = ringfence_nt::Privileges::CHANGE_NOTIFY;
    token
}
