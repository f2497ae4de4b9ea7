//! A host on which a plan has been carried out, with who acts on it and what is promised.
//!
//! It decides nothing about access. Invariant: every node of the host has exactly one [`Role`].

use std::collections::{BTreeMap, BTreeSet};

use ringfence_nt::fs::{Caller, FileName, FileSystem, NodeId, Place};
use ringfence_nt::{AccessMask, Control, Securable, Token, WriteClass};

use crate::promise::Promise;

/// What commands ask for where they work.
const WORK: AccessMask = AccessMask::FILE_MODIFY;
/// What programs ask of each directory above them.
const LOOK: AccessMask = AccessMask(0x0010_0080);

/// What an object is to the boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Outside every granted root.
    Outside,
    /// A granted root itself.
    Root,
    /// A directory between a root and what stays in it: a protected path, or a root of its own.
    Between,
    /// A protected path, or below one.
    Protected,
    /// A secret.
    Secret,
    /// Anything else in a granted root: the target's to change.
    Inside,
}

/// An object that is no file, with what the target must never get on it.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// What a person calls it.
    pub name: String,
    /// The object.
    pub object: Securable,
    /// None of these rights.
    pub never: AccessMask,
}

/// A host with a plan on it.
#[derive(Clone, Debug)]
pub struct World {
    /// What a person calls it.
    pub name: String,
    /// The files.
    pub fs: FileSystem,
    /// Who attacks.
    pub target: Token,
    /// Who sweeps: the person, unelevated.
    pub harness: Token,
    /// The granted roots.
    pub roots: Vec<NodeId>,
    /// Directories that the plan has made plain again when a command ends, with the roots.
    pub straightened: Vec<NodeId>,
    /// Protected paths that exist.
    pub protected: Vec<NodeId>,
    /// Protected names that do not exist.
    pub absent: Vec<Place>,
    /// Secrets, wherever they are.
    pub secrets: Vec<NodeId>,
    /// Where swept names go.
    pub quarantine: NodeId,
    /// Processes, tokens, pipes, desktops.
    pub guarded: Vec<Guarded>,
    /// Names that the target gives.
    pub names: Vec<FileName>,
    /// Where the target's reparse points lead.
    pub redirects: Vec<String>,
}

impl World {
    /// The role of every node.
    #[must_use]
    pub fn roles(&self) -> BTreeMap<NodeId, Role> {
        let fs = &self.fs;
        let below = |node: NodeId, tops: &[NodeId]| tops.iter().any(|top| fs.is_below(node, *top));
        let mut between = BTreeSet::new();
        for node in self
            .protected
            .iter()
            .copied()
            .chain(self.absent.iter().map(|place| place.parent))
        {
            self.collect_between(node, &mut between);
        }
        // A root in a root stays as well.
        for place in self.roots.iter().flat_map(|root| fs.places(*root)) {
            self.collect_between(place.parent, &mut between);
        }
        fs.nodes()
            .map(|(node, _)| {
                let role = if below(node, &self.secrets) {
                    Role::Secret
                } else if below(node, &self.protected) {
                    Role::Protected
                } else if self.roots.contains(&node) {
                    Role::Root
                } else if between.contains(&node) {
                    Role::Between
                } else if below(node, &self.roots) {
                    Role::Inside
                } else {
                    Role::Outside
                };
                (node, role)
            })
            .collect()
    }

    /// The directories above a node, up to and without its root, and the node itself where it is a directory whose
    /// absent names are guarded.
    fn collect_between(&self, node: NodeId, between: &mut BTreeSet<NodeId>) {
        if self.roots.contains(&node)
            || !self.roots.iter().any(|root| self.fs.is_below(node, *root))
        {
            return;
        }
        if !self.protected.contains(&node) {
            between.insert(node);
        }
        for place in self.fs.places(node) {
            self.collect_between(place.parent, between);
        }
    }

    /// What must work and does not: the target works in its roots and reads what it may, and the person works on what
    /// targets made.
    #[must_use]
    pub fn blocked(&self, class: WriteClass) -> Option<String> {
        let target = Caller {
            token: &self.target,
            class,
        };
        let person = Caller {
            token: &self.harness,
            class,
        };
        self.roles().into_iter().find_map(|(id, role)| {
            let node = self.fs.node(id)?;
            let made_inside = node.descriptor.owner == Some(self.target.user);
            // What has a list of its own inherits no grant; what a target made with one may be closed to it afterwards.
            let own_list = node.descriptor.control.contains(Control::DACL_PROTECTED);
            let of_target = match role {
                _ if own_list && (made_inside || role == Role::Inside) => AccessMask::NONE,
                Role::Outside | Role::Secret => AccessMask::NONE,
                Role::Protected | Role::Between => AccessMask::FILE_GENERIC_READ,
                Role::Root if node.is_directory() => WORK - AccessMask::DELETE,
                Role::Inside | Role::Root => WORK,
            };
            let of_person = match role {
                Role::Inside | Role::Root | Role::Between | Role::Protected => {
                    AccessMask::FILE_ALL_ACCESS
                }
                Role::Outside | Role::Secret => AccessMask::NONE,
            };
            let cases = [
                ("the target", &target, of_target),
                ("the person", &person, of_person),
            ];
            cases.into_iter().find_map(|(who, caller, needed)| {
                let is_odd = who == "the person" && !made_inside && role == Role::Inside;
                let opened = self.fs.open_by_id(caller, id, needed);
                (!is_odd && opened.is_err())
                    .then(|| format!("{who} can't open {} for {needed}", self.fs.path_of(id)))
            })
        })
    }

    /// Whether the target can look at every directory on the way to its roots.
    #[must_use]
    pub fn unseen(&self, class: WriteClass) -> Option<String> {
        let target = Caller {
            token: &self.target,
            class,
        };
        self.roots.iter().find_map(|root| {
            let mut at = *root;
            loop {
                let place = self.fs.places(at).next()?;
                at = place.parent;
                let seen = self.fs.open_by_id(&target, at, LOOK);
                if seen.is_err() {
                    return Some(self.fs.path_of(at));
                }
            }
        })
    }

    /// A promise that an object which is no file breaks, as it is.
    #[must_use]
    pub fn broken_by_objects(&self, class: WriteClass) -> Vec<(Promise, String)> {
        self.guarded
            .iter()
            .filter_map(|guarded| {
                let reach = guarded.object.reach(&self.target, class) & guarded.never;
                let said = format!("{} opens for {reach}", guarded.name);
                (!reach.is_empty()).then_some((Promise::ProcessesClosed, said))
            })
            .collect()
    }
}
