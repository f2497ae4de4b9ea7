//! What the boundary promises about files, as a question to a state: is it still kept?
//!
//! Data, extended attributes, attributes and streams decide no access, so the search does not try writing them one by
//! one: a state in which the target *could* change what is promised unchanged breaks the promise. Invariant: a state
//! that the plan itself left is judged by the same rules as one that the target made.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ringfence_nt::fs::{Caller, FileSystem, Node, NodeId, Place, Replace, Status};
use ringfence_nt::{AccessMask, WriteClass};

use crate::state::Rights;
use crate::world::{Role, World};

/// Something that no sequence of operations may bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Promise {
    /// A protected path is neither changed, removed nor replaced.
    ProtectedUnchanged,
    /// A protected name that did not exist is in quarantine when the command is reported as ended.
    AbsentQuarantined,
    /// Nothing outside the granted roots is written, neither another root of the person nor another person's.
    OutsideUnwritten,
    /// A root keeps its name, and leads nowhere else.
    RootStays,
    /// Only what the target made itself gets another descriptor.
    DescriptorsStay,
    /// The runner, its token and pipe, and sibling sessions can't be opened for writing.
    ProcessesClosed,
    /// A secret is not read.
    SecretsUnread,
}

impl Promise {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ProtectedUnchanged,
        Self::AbsentQuarantined,
        Self::OutsideUnwritten,
        Self::RootStays,
        Self::DescriptorsStay,
        Self::ProcessesClosed,
        Self::SecretsUnread,
    ];
}

impl fmt::Display for Promise {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ProtectedUnchanged => "protected paths stay",
            Self::AbsentQuarantined => "absent protected names are quarantined",
            Self::OutsideUnwritten => "nothing outside is written",
            Self::RootStays => "roots stay",
            Self::DescriptorsStay => "descriptors stay",
            Self::ProcessesClosed => "processes are closed",
            Self::SecretsUnread => "secrets are not read",
        })
    }
}

/// Every right by which an object is changed: data, append, extended attributes, attributes, children, DELETE,
/// `WRITE_DAC`, `WRITE_OWNER`.
pub const CHANGES: AccessMask = AccessMask(0x000d_0156);

/// What was there before the target began, and what it was.
#[derive(Debug)]
pub struct Original {
    nodes: BTreeMap<NodeId, Was>,
}

#[derive(Debug)]
struct Was {
    role: Role,
    node: Node,
    places: Vec<Place>,
}

impl Original {
    /// What this world is like before anything is done.
    #[must_use]
    pub fn of(world: &World, fs: &FileSystem) -> Self {
        let roles = world.roles();
        let was = |id: NodeId, node: &Node| Was {
            role: roles.get(&id).copied().unwrap_or(Role::Outside),
            node: node.clone(),
            places: fs.places(id).collect(),
        };
        let nodes = fs.nodes().map(|(id, node)| (id, was(id, node)));
        Self {
            nodes: nodes.collect(),
        }
    }

    /// Whether this node was there before.
    #[must_use]
    pub fn has(&self, id: NodeId) -> bool {
        self.nodes.contains_key(&id)
    }

    /// The nodes that were there, by id.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.keys().copied()
    }

    /// What this state breaks, each promise once, with what it is about.
    pub fn broken(&self, fs: &FileSystem, rights: &mut Rights<'_>) -> Vec<(Promise, String)> {
        let mut broken: Vec<(Promise, String)> = Vec::new();
        for (id, was) in &self.nodes {
            let Some(promise) = was.broken(*id, fs, rights) else {
                continue;
            };
            if broken.iter().all(|(known, _)| *known != promise) {
                let reach = fs
                    .node(*id)
                    .map_or(AccessMask::NONE, |now| rights.on(&now.descriptor));
                let path = was.path(*id, fs);
                let said = format!("{path} ({:?}), which opens for {reach}", was.role);
                broken.push((promise, said));
            }
        }
        broken
    }
}

impl Was {
    fn path(&self, id: NodeId, fs: &FileSystem) -> String {
        match self.places.first() {
            Some(place) => {
                let parent = fs.path_of(place.parent);
                format!("{}\\{}", parent.trim_end_matches('\\'), place.name)
            }
            None => fs.path_of(id),
        }
    }

    fn broken(&self, id: NodeId, fs: &FileSystem, rights: &mut Rights<'_>) -> Option<Promise> {
        let stays = match self.role {
            Role::Inside => None,
            Role::Outside => Some(Promise::OutsideUnwritten),
            Role::Root => Some(Promise::RootStays),
            Role::Between | Role::Protected | Role::Secret => Some(Promise::ProtectedUnchanged),
        };
        let Some(now) = fs.node(id) else {
            return stays;
        };
        if !Arc::ptr_eq(&now.descriptor, &self.node.descriptor)
            && now.descriptor != self.node.descriptor
        {
            return Some(Promise::DescriptorsStay);
        }
        let reach = rights.on(&now.descriptor);
        if self.role == Role::Secret
            && reach.intersects(AccessMask::FILE_READ_DATA | AccessMask::FILE_EXECUTE)
        {
            return Some(Promise::SecretsUnread);
        }
        let stays = stays?;
        let kept = self.places.iter().all(|place| has_exactly(fs, place, id));
        // An empty directory can be made a junction: adding a file and redirecting a directory are one right. Where one
        // must stay the harness takes that back when a command ends; `unswept` judges whether it can.
        let is_restored = matches!(self.role, Role::Root | Role::Between);
        if !kept || (!is_restored && now.reparse != self.node.reparse) {
            return Some(stays);
        }
        match self.role {
            Role::Root | Role::Between | Role::Inside => None,
            Role::Outside | Role::Protected | Role::Secret => {
                let writable = reach.intersects(CHANGES)
                    || now.kind != self.node.kind
                    || now.streams != self.node.streams
                    || self.can_be_deleted(fs, rights);
                writable.then_some(stays)
            }
        }
    }

    /// Whether a directory of one of its own names lets the target delete it. Another name in a directory of the
    /// target's own may go.
    fn can_be_deleted(&self, fs: &FileSystem, rights: &mut Rights<'_>) -> bool {
        self.places.iter().any(|place| {
            fs.node(place.parent).is_some_and(|parent| {
                rights
                    .on(&parent.descriptor)
                    .contains(AccessMask::FILE_DELETE_CHILD)
            })
        })
    }
}

/// Whether the directory has this very name for this node.
fn has_exactly(fs: &FileSystem, place: &Place, id: NodeId) -> bool {
    fs.node(place.parent).is_some_and(|parent| {
        parent
            .entries()
            .iter()
            .any(|entry| entry.name == place.name && entry.node == id)
    })
}

/// What the harness can't put right when the command ends: roots, and directories in them that the plan names, are
/// directories again where they lead elsewhere, then everything under a guarded absent name is carried into quarantine.
#[must_use]
pub fn unswept(world: &World, fs: &FileSystem, class: WriteClass) -> Option<(Promise, String)> {
    let found = guarded_names(world, fs);
    let redirected: Vec<NodeId> = world
        .straightened
        .iter()
        .copied()
        .filter(|root| fs.node(*root).is_some_and(|node| node.reparse.is_some()))
        .collect();
    if let Some(place) = world.absent.iter().find(|place| {
        let parent = fs.node(place.parent);
        parent.is_some_and(|node| node.reparse.is_some()) && !redirected.contains(&place.parent)
    }) {
        let said = format!("{} leads elsewhere for good", fs.path_of(place.parent));
        return Some((Promise::AbsentQuarantined, said));
    }
    if found.is_empty() && redirected.is_empty() {
        return None;
    }
    let mut after = fs.clone();
    let caller = Caller {
        token: &world.harness,
        class,
    };
    for root in redirected {
        let restored = after
            .open_by_id(&caller, root, AccessMask::FILE_WRITE_ATTRIBUTES)
            .and_then(|handle| after.delete_reparse(&handle));
        if let Err(status) = restored {
            let said = format!("{} leads elsewhere: {status}", after.path_of(root));
            return Some((Promise::RootStays, said));
        }
    }
    unquarantined(world, after, &caller, &found).map(|said| (Promise::AbsentQuarantined, said))
}

fn unquarantined(
    world: &World,
    mut after: FileSystem,
    caller: &Caller<'_>,
    found: &[Place],
) -> Option<String> {
    for (number, place) in found.iter().enumerate() {
        let to = |parent| Place {
            parent,
            name: crate::host::name(&format!("swept-{number}")),
        };
        let moved = after
            .open_place(caller, place, AccessMask::DELETE)
            .and_then(|handle| {
                let kept = after.rename(caller, &handle, &to(world.quarantine), Replace::No);
                match kept {
                    // On another volume it stays beside its origin, under a harmless name.
                    Err(Status::NotSameDevice) => {
                        after.rename(caller, &handle, &to(place.parent), Replace::No)
                    }
                    kept => kept,
                }
            });
        if let Err(status) = moved {
            let path = after.path_of(place.parent);
            return Some(format!("{path}\\{}: {status}", place.name));
        }
    }
    let left = guarded_names(world, &after);
    left.first().map(|place| {
        format!(
            "{}\\{} is still there",
            after.path_of(place.parent),
            place.name
        )
    })
}

/// Every name that is, without case or as a short name, one that is guarded.
#[must_use]
pub fn guarded_names(world: &World, fs: &FileSystem) -> Vec<Place> {
    let mut found = Vec::new();
    for guarded in &world.absent {
        let entries = fs.node(guarded.parent).map_or(&[][..], Node::entries);
        for entry in entries {
            let short = entry.short.as_ref();
            if entry.name.same(&guarded.name) || short.is_some_and(|own| own.same(&guarded.name)) {
                found.push(Place {
                    parent: guarded.parent,
                    name: entry.name.clone(),
                });
            }
        }
    }
    found
}
