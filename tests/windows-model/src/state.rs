//! States of a search, made comparable: one key for all states that differ only in how the target's own objects are
//! numbered.
//!
//! Invariant: two states with one key allow the same operations and break the same promises.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use ringfence_nt::fs::{CaseRule, FileSystem, Kind, Node, NodeId};
use ringfence_nt::{
    AccessMask, GenericMapping, SecurityDescriptor, Token, WriteClass, maximum_allowed,
};

use crate::promise::Original;

/// Descriptors, each kept once, with what the target may do by them.
#[derive(Debug)]
pub struct Rights<'a> {
    token: &'a Token,
    class: WriteClass,
    /// Where a kept descriptor lies, to its number. Kept ones never move.
    by_address: HashMap<usize, usize>,
    by_value: HashMap<Arc<SecurityDescriptor>, usize>,
    kept: Vec<(Arc<SecurityDescriptor>, AccessMask)>,
}

impl<'a> Rights<'a> {
    /// What this token may do.
    #[must_use]
    pub fn new(token: &'a Token, class: WriteClass) -> Self {
        Self {
            token,
            class,
            by_address: HashMap::new(),
            by_value: HashMap::new(),
            kept: Vec::new(),
        }
    }

    /// Every right that the token gets by this descriptor.
    pub fn on(&mut self, descriptor: &Arc<SecurityDescriptor>) -> AccessMask {
        let number = self.number(descriptor);
        self.kept
            .get(number)
            .map_or(AccessMask::NONE, |(_, rights)| *rights)
    }

    /// The one copy of this descriptor.
    pub fn keep(&mut self, descriptor: &Arc<SecurityDescriptor>) -> Arc<SecurityDescriptor> {
        let number = self.number(descriptor);
        self.kept
            .get(number)
            .map_or_else(|| Arc::clone(descriptor), |(kept, _)| Arc::clone(kept))
    }

    fn number(&mut self, descriptor: &Arc<SecurityDescriptor>) -> usize {
        let address = Arc::as_ptr(descriptor) as usize;
        if let Some(number) = self.by_address.get(&address) {
            return *number;
        }
        if let Some(number) = self.by_value.get(descriptor) {
            return *number;
        }
        let number = self.kept.len();
        let file = &GenericMapping::FILE;
        let rights = maximum_allowed(descriptor, self.token, file, self.class);
        self.kept.push((Arc::clone(descriptor), rights));
        self.by_address.insert(address, number);
        self.by_value.insert(Arc::clone(descriptor), number);
        number
    }
}

/// A state's key: 128 bits, so that two different states of one search share one with a chance of about 2^-80.
pub type Key = u128;

/// The key of a state.
pub fn key(fs: &FileSystem, original: &Original, rights: &mut Rights<'_>) -> Key {
    let mut numbers: HashMap<NodeId, usize> = HashMap::new();
    let mut order: Vec<NodeId> = original.ids().collect();
    for (number, id) in order.iter().enumerate() {
        numbers.insert(*id, number);
    }
    let mut words: Vec<u64> = Vec::with_capacity(order.len() * 4);
    let mut next = 0;
    // `order` grows while it is walked: the target's own objects get their numbers as they are met.
    while let Some(id) = order.get(next).copied() {
        next += 1;
        let Some(node) = fs.node(id) else {
            words.push(u64::MAX);
            continue;
        };
        words.push(shape(node, rights));
        for entry in node.entries() {
            let fresh = order.len();
            let number = *numbers.entry(entry.node).or_insert_with(|| {
                order.push(entry.node);
                fresh
            });
            words.push(hash(&(&entry.name, &entry.short), 0));
            words.push(number as u64);
        }
        words.push(u64::MAX - 1);
    }
    (u128::from(hash(&words, 1)) << 64) | u128::from(hash(&words, 2))
}

/// What a node is, apart from what is in it.
fn shape(node: &Node, rights: &mut Rights<'_>) -> u64 {
    let kind = match &node.kind {
        Kind::File => 0_u8,
        Kind::Directory { case, .. } => match case {
            CaseRule::Insensitive => 1,
            CaseRule::Sensitive => 2,
        },
    };
    let descriptor = rights.number(&node.descriptor);
    hash(&(kind, descriptor, &node.reparse, &node.streams), 0)
}

fn hash(value: &impl Hash, seed: u8) -> u64 {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    value.hash(&mut hasher);
    hasher.finish()
}
