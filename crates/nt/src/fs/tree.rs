//! The file system as a whole: volumes, nodes by id, and the way from a path to a node.
//!
//! It checks no rights but those of the traverse check. Invariant: every entry names a node that exists, and every
//! node but the roots has at least one entry.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::descriptor::SecurityDescriptor;
use crate::mask::AccessMask;

use super::Status;
use super::name::FileName;
use super::node::{CaseRule, Entry, Kind, Node};
use super::open::{Caller, FinalReparse};
use super::path::{self, NtPath, Stream, VolumeName};

/// How many reparse points one path may go through ([MS-FSA] 2.1.5.1 leaves it to the system; Windows has 63).
const MAX_REPARSES: usize = 63;

/// Which volume; the position in the list of volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VolumeId(pub u32);

/// Which node: a volume and a file id, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    /// The volume.
    pub volume: VolumeId,
    /// The file id.
    pub file: u64,
}

/// Whether a volume makes short names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ShortNames {
    /// It does (the default of `C:`).
    Made,
    /// It does not (the default of other volumes).
    NotMade,
}

/// What a handle to a file needs for one more name of the file. `[unsettled]`
///
/// The algorithm ([MS-FSA] 2.1.5.15.6) names nothing. `CreateHardLink` opens with `FILE_WRITE_ATTRIBUTES`; since a
/// mitigation of 2015 (MS15-115), widened later, the kernel is reported to ask for it too. So it is measured on each
/// machine; what is not known there is the first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum LinkRule {
    /// Nothing: any handle will do.
    #[default]
    AnyHandle,
    /// `FILE_WRITE_ATTRIBUTES`.
    WriteAttributes,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Volume {
    /// Its names: drive letters, GUID, device.
    pub names: Vec<VolumeName>,
    /// Its root directory.
    pub root: NodeId,
    /// Whether it makes short names.
    pub short_names: ShortNames,
}

/// A name in a directory: where something is or would be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The directory.
    pub parent: NodeId,
    /// The name.
    pub name: FileName,
}

/// Where a path led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The node, if there is one.
    pub(super) node: Option<NodeId>,
    /// Its name and directory; none for a volume's root.
    pub(super) place: Option<Place>,
    /// Which stream of it.
    pub(super) stream: Stream,
}

/// Volumes and what lies on them.
///
/// A clone is cheap: nodes are shared until they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileSystem {
    volumes: Vec<Volume>,
    nodes: BTreeMap<NodeId, Arc<Node>>,
    next: u64,
    /// What linking asks of a handle.
    pub link_rule: LinkRule,
}

impl FileSystem {
    /// One without volumes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a volume with an empty root and gives it back.
    pub fn add_volume(
        &mut self,
        names: Vec<VolumeName>,
        short_names: ShortNames,
        root: SecurityDescriptor,
    ) -> VolumeId {
        let volume = VolumeId(u32::try_from(self.volumes.len()).unwrap_or(u32::MAX));
        let root = self.insert(volume, Node::directory(Arc::new(root)));
        self.volumes.push(Volume {
            names,
            root,
            short_names,
        });
        volume
    }

    /// The volume of that id.
    #[must_use]
    pub fn volume(&self, id: VolumeId) -> Option<&Volume> {
        self.volumes.get(usize::try_from(id.0).ok()?)
    }

    /// The node of that id: what opening by file id finds.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id).map(Arc::as_ref)
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().map(|(id, node)| (*id, node.as_ref()))
    }

    /// Every place where a node has a name.
    pub fn places(&self, id: NodeId) -> impl Iterator<Item = Place> {
        self.nodes.iter().flat_map(move |(parent, node)| {
            node.entries()
                .iter()
                .filter(move |entry| entry.node == id)
                .map(|entry| Place {
                    parent: *parent,
                    name: entry.name.clone(),
                })
        })
    }

    /// What a directory has under that name.
    #[must_use]
    pub fn lookup(&self, place: &Place) -> Option<NodeId> {
        Some(self.node(place.parent)?.entry(&place.name)?.node)
    }

    /// The node at a path, through reparse points, as somebody who needs no right would find it.
    ///
    /// # Errors
    /// [`Status`].
    pub fn find(&self, text: &str) -> Result<NodeId, Status> {
        let path = path::parse(text).map_err(|_| Status::ObjectNameInvalid)?;
        self.resolve(&path, FinalReparse::Follow, None)?
            .node
            .ok_or(Status::ObjectNameNotFound)
    }

    /// A path of the node from its volume's root, for a person to read.
    #[must_use]
    pub fn path_of(&self, id: NodeId) -> String {
        match self.places(id).next() {
            Some(place) => {
                let parent = self.path_of(place.parent);
                format!("{}\\{}", parent.trim_end_matches('\\'), place.name)
            }
            None => match self.volume(id.volume) {
                Some(volume) if volume.root == id => match volume.names.first() {
                    Some(VolumeName::Letter(letter)) => format!("{letter}:\\"),
                    Some(VolumeName::Guid(guid)) => format!("\\\\?\\Volume{{{guid}}}\\"),
                    Some(VolumeName::Device(number)) => {
                        format!("\\Device\\HarddiskVolume{number}\\")
                    }
                    None => String::from("?:\\"),
                },
                Some(_) | None => format!("<file id {}>", id.file),
            },
        }
    }

    /// Puts a node into a directory, without asking anybody: for building a tree.
    ///
    /// # Errors
    /// [`Status::ObjectPathNotFound`], [`Status::NotADirectory`], [`Status::ObjectNameCollision`].
    pub fn place_node(&mut self, place: &Place, node: Node) -> Result<NodeId, Status> {
        self.check_free(place)?;
        let id = self.insert(place.parent.volume, node);
        self.add_entry(place, id)?;
        Ok(id)
    }

    /// Gives a node one more name, without asking anybody: for building a tree.
    ///
    /// # Errors
    /// As [`FileSystem::place_node`].
    pub fn place_link(&mut self, place: &Place, id: NodeId) -> Result<(), Status> {
        self.check_free(place)?;
        self.add_entry(place, id)
    }

    /// Takes a name away, and its node with the last of its names, without asking anybody: for executors that are
    /// trusted.
    ///
    /// # Errors
    /// [`Status::ObjectNameNotFound`], [`Status::DirectoryNotEmpty`].
    pub fn displace(&mut self, place: &Place) -> Result<(), Status> {
        let id = self.lookup(place).ok_or(Status::ObjectNameNotFound)?;
        if self.node(id).is_some_and(|node| !node.entries().is_empty()) {
            return Err(Status::DirectoryNotEmpty);
        }
        self.remove_entry(place)
    }

    /// The node, to be changed without asking anybody: for building a tree and for executors that are trusted.
    pub fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(&id).map(Arc::make_mut)
    }

    /// Walks a path. With a caller, its right to traverse is checked where no privilege bypasses that.
    pub(super) fn resolve(
        &self,
        path: &NtPath,
        last: FinalReparse,
        caller: Option<&Caller<'_>>,
    ) -> Result<Found, Status> {
        let mut path = path.clone();
        for _ in 0..=MAX_REPARSES {
            match self.walk(&path, last, caller)? {
                Step::Arrived(found) => return Ok(found),
                Step::Redirected(target) => path = target,
            }
        }
        Err(Status::ReparsePointNotResolved)
    }

    /// One walk until the end or the first reparse point on the way.
    fn walk(
        &self,
        path: &NtPath,
        last: FinalReparse,
        caller: Option<&Caller<'_>>,
    ) -> Result<Step, Status> {
        let mut at = self
            .volumes
            .iter()
            .find(|volume| volume.names.contains(&path.volume))
            .ok_or(Status::ObjectPathNotFound)?
            .root;
        let mut place = None;
        for (index, name) in path.names.iter().enumerate() {
            let directory = self.node(at).ok_or(Status::ObjectPathNotFound)?;
            if !directory.is_directory() {
                return Err(Status::ObjectPathNotFound);
            }
            if let Some(caller) = caller {
                caller.check_traverse(directory)?;
            }
            let is_last = index + 1 == path.names.len();
            let here = Place {
                parent: at,
                name: name.clone(),
            };
            let Some(entry) = directory.entry(name) else {
                return if is_last {
                    Ok(Step::Arrived(Found {
                        node: None,
                        place: Some(here),
                        stream: path.stream.clone(),
                    }))
                } else {
                    Err(Status::ObjectPathNotFound)
                };
            };
            let node = self.node(entry.node).ok_or(Status::ObjectPathNotFound)?;
            if let Some(reparse) = &node.reparse
                && !(is_last && last == FinalReparse::Open)
            {
                let mut target =
                    path::parse(&reparse.target).map_err(|_| Status::ReparsePointNotResolved)?;
                target
                    .names
                    .extend(path.names.iter().skip(index + 1).cloned());
                target.stream.clone_from(&path.stream);
                return Ok(Step::Redirected(target));
            }
            place = Some(Place {
                parent: at,
                name: entry.name.clone(),
            });
            at = entry.node;
        }
        Ok(Step::Arrived(Found {
            node: Some(at),
            place,
            stream: path.stream.clone(),
        }))
    }

    pub(super) fn insert(&mut self, volume: VolumeId, node: Node) -> NodeId {
        self.next += 1;
        let id = NodeId {
            volume,
            file: self.next,
        };
        self.nodes.insert(id, Arc::new(node));
        id
    }

    fn check_free(&self, place: &Place) -> Result<(), Status> {
        let parent = self.node(place.parent).ok_or(Status::ObjectPathNotFound)?;
        if !parent.is_directory() {
            return Err(Status::NotADirectory);
        }
        match parent.entry(&place.name) {
            Some(_) => Err(Status::ObjectNameCollision),
            None => Ok(()),
        }
    }

    /// Adds a name to a directory, with a short name where the volume makes them.
    pub(super) fn add_entry(&mut self, place: &Place, node: NodeId) -> Result<(), Status> {
        let volume = self
            .volume(place.parent.volume)
            .map(|volume| volume.short_names);
        let parent = self
            .node_mut(place.parent)
            .ok_or(Status::ObjectPathNotFound)?;
        let Kind::Directory { entries, case } = &mut parent.kind else {
            return Err(Status::NotADirectory);
        };
        // A directory that tells case apart gets no short names. [unsettled]
        let short = match (volume, &*case) {
            (Some(ShortNames::Made), CaseRule::Insensitive) => place.name.short(|candidate| {
                entries.iter().any(|entry| {
                    entry.name.same(candidate)
                        || entry.short.as_ref().is_some_and(|own| own.same(candidate))
                })
            }),
            (Some(ShortNames::Made | ShortNames::NotMade) | None, _) => None,
        };
        entries.push(Entry {
            name: place.name.clone(),
            short,
            node,
        });
        entries.sort();
        Ok(())
    }

    /// Takes the very name out of a directory, and the node with its last name.
    pub(super) fn remove_entry(&mut self, place: &Place) -> Result<(), Status> {
        let node = self.detach(place)?;
        if self.places(node).next().is_none() {
            self.nodes.remove(&node);
        }
        Ok(())
    }

    /// Takes the very name out of a directory and leaves the node.
    pub(super) fn detach(&mut self, place: &Place) -> Result<NodeId, Status> {
        let parent = self
            .node_mut(place.parent)
            .ok_or(Status::ObjectPathNotFound)?;
        let Kind::Directory { entries, .. } = &mut parent.kind else {
            return Err(Status::NotADirectory);
        };
        let at = entries
            .iter()
            .position(|entry| entry.name == place.name)
            .ok_or(Status::ObjectNameNotFound)?;
        Ok(entries.remove(at).node)
    }

    /// Whether `inner` is `outer` or lies below it.
    #[must_use]
    pub fn is_below(&self, inner: NodeId, outer: NodeId) -> bool {
        inner == outer
            || self
                .places(inner)
                .any(|place| self.is_below(place.parent, outer))
    }
}

/// What one walk came to.
enum Step {
    Arrived(Found),
    Redirected(NtPath),
}

impl Caller<'_> {
    /// [MS-FSA] 2.1.5.1: with `SeChangeNotifyPrivilege` nobody asks; without it each directory does.
    fn check_traverse(&self, directory: &Node) -> Result<(), Status> {
        if self
            .token
            .privileges
            .contains(crate::token::Privileges::CHANGE_NOTIFY)
        {
            return Ok(());
        }
        self.check(&directory.descriptor, AccessMask::FILE_EXECUTE)
    }
}
