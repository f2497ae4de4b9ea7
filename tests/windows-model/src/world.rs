//! A host on which a plan has been carried out, with who acts on it and what is promised.
//!
//! It decides nothing about access. Invariant: every node of the host has exactly one [`Role`].

use std::collections::{BTreeMap, BTreeSet};

use ringfence_nt::fs::{FileName, FileSystem, NodeId, Place};
use ringfence_nt::{AccessMask, Securable, Token};

use crate::promise::Promise;

/// What an object is to the boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Outside every granted root.
    Outside,
    /// A granted root itself.
    Root,
    /// A directory between a protected path and its root.
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

    /// A promise that an object which is no file breaks, as it is.
    #[must_use]
    pub fn broken_by_objects(&self, class: ringfence_nt::WriteClass) -> Vec<(Promise, String)> {
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
