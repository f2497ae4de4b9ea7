//! Carries a person's steps out on a simulated host: the executor that the real one must agree with.
//!
//! It decides nothing. Invariant: a walk follows no reparse point and changes inherited parts alone.

use std::sync::Arc;

use ringfence_nt::fs::{FileSystem, NodeId, VolumeId};
use ringfence_nt::{GenericMapping, ObjectKind, reinherit};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{self, FileId, Object, PersonStep};

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
    let directory = fs
        .node(node)
        .is_some_and(ringfence_nt::fs::Node::is_directory);
    Object {
        path: WindowsPath::parse(&path).unwrap_or_else(|error| panic!("{path}: {error}")),
        id: file_id(node),
        kind: if directory {
            step::ObjectKind::Directory
        } else {
            step::ObjectKind::File
        },
    }
}

/// Carries out the steps, in order.
pub fn apply(fs: &mut FileSystem, steps: &[PersonStep]) {
    for step in steps {
        match step {
            PersonStep::SetDacl { object, after, .. } => {
                let id = node_of(object.id).expect("an object of this host");
                let node = fs.node_mut(id).expect("the object is there");
                node.descriptor = Arc::new(after.clone());
            }
            PersonStep::Walk { root, .. } => {
                let id = node_of(root.id).expect("an object of this host");
                walk(fs, id);
            }
            PersonStep::MakeHome { .. } => {}
        }
    }
}

/// Brings what lies below a directory in line with it.
pub fn walk(fs: &mut FileSystem, top: NodeId) {
    let Some(parent) = fs.node(top) else { return };
    if parent.reparse.is_some() {
        return;
    }
    let descriptor = Arc::clone(&parent.descriptor);
    let children: Vec<NodeId> = parent.entries().iter().map(|entry| entry.node).collect();
    for child in children {
        let Some(node) = fs.node_mut(child) else {
            continue;
        };
        let kind = if node.is_directory() {
            ObjectKind::Container
        } else {
            ObjectKind::Leaf
        };
        let after = reinherit(&descriptor, &node.descriptor, kind, &GenericMapping::FILE);
        node.descriptor = Arc::new(after);
        walk(fs, child);
    }
}
