//! Files and directories in memory: the simulated file system behind the calls that executors make.
//!
//! Invariant: every change of a descriptor is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringfence_nt::fs::{
    FileName, FileSystem, Node, NodeId, Place, Reparse, ShortNames, VolumeId, VolumeName,
};
use ringfence_nt::{Control, SecurityDescriptor, Sid};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::path::units;
use ringfence_plan::windows::step::{FileId, ObjectKind};

use crate::call::CallFailure;
use crate::fault::{DENIED, Faults};
use crate::windows::files::{Files, ObjectState, Redirection};
use crate::windows::tend::ReparsePoints;

/// `ERROR_INVALID_HANDLE`
const INVALID_HANDLE: u32 = 6;
/// `ERROR_CANT_ACCESS_FILE`: a reparse point stands on the way.
const REDIRECTED: u32 = 1920;

/// A file system in memory.
#[derive(Clone, Debug)]
pub struct FakeFiles {
    /// What lies on it.
    pub tree: FileSystem,
    /// Objects whose DACL whoever asks may not write.
    pub unwritable: BTreeSet<FileId>,
    /// How many descriptors were written.
    pub writes: u64,
    /// How many objects were opened.
    pub opens: u64,
    links: BTreeMap<NodeId, u32>,
    faults: Faults,
}

/// The serial of the first volume.
const SERIAL: u64 = 0x5eed_0000;

fn file_id(node: NodeId) -> FileId {
    FileId {
        volume: SERIAL.saturating_add(u64::from(node.volume.0)),
        file: u128::from(node.file),
    }
}

fn node_id(id: FileId) -> Option<NodeId> {
    Some(NodeId {
        volume: VolumeId(u32::try_from(id.volume.checked_sub(SERIAL)?).ok()?),
        file: u64::try_from(id.file).ok()?,
    })
}

impl FakeFiles {
    /// Volumes of these letters, their roots with this descriptor.
    #[must_use]
    pub fn new(letters: &[char], root: &SecurityDescriptor, faults: &Faults) -> Self {
        let mut tree = FileSystem::new();
        for letter in letters {
            let names = vec![VolumeName::Letter(*letter)];
            tree.add_volume(names, ShortNames::NotMade, root.clone());
        }
        Self::over(tree, faults)
    }

    /// What lies on `tree`.
    #[must_use]
    pub fn over(tree: FileSystem, faults: &Faults) -> Self {
        let mut links: BTreeMap<NodeId, u32> = BTreeMap::new();
        for (_, node) in tree.nodes() {
            for entry in node.entries() {
                let count = links.entry(entry.node).or_default();
                *count = count.saturating_add(1);
            }
        }
        links.retain(|_, count| *count > 1);
        Self {
            tree,
            unwritable: BTreeSet::new(),
            writes: 0,
            opens: 0,
            links,
            faults: faults.clone(),
        }
    }

    /// Puts a directory there.
    pub fn add_directory(&mut self, path: &str, descriptor: &SecurityDescriptor) -> Option<FileId> {
        self.add(path, Node::directory(Arc::new(descriptor.clone())))
    }

    /// Puts a file there.
    pub fn add_file(&mut self, path: &str, descriptor: &SecurityDescriptor) -> Option<FileId> {
        self.add(path, Node::file(Arc::new(descriptor.clone())))
    }

    /// Puts a reparse point there.
    pub fn add_reparse(
        &mut self,
        path: &str,
        descriptor: &SecurityDescriptor,
        reparse: Reparse,
    ) -> Option<FileId> {
        let mut node = Node::directory(Arc::new(descriptor.clone()));
        node.reparse = Some(reparse);
        self.add(path, node)
    }

    fn add(&mut self, path: &str, node: Node) -> Option<FileId> {
        let place = self.place(&WindowsPath::parse(path).ok()?)?;
        self.tree.place_node(&place, node).ok().map(file_id)
    }

    /// Gives the object at `path` another name.
    pub fn add_link(&mut self, path: &str, name: &str) -> Option<()> {
        let node = self.find(&WindowsPath::parse(path).ok()?).ok()??;
        let place = self.place(&WindowsPath::parse(name).ok()?)?;
        self.tree.place_link(&place, node).ok()?;
        let count = self.links.entry(node).or_insert(1);
        *count = count.saturating_add(1);
        Some(())
    }

    /// The id of what lies at a path.
    #[must_use]
    pub fn id(&self, path: &WindowsPath) -> Option<FileId> {
        self.find(path).ok().flatten().map(file_id)
    }

    /// The descriptor of an object.
    #[must_use]
    pub fn descriptor(&self, id: FileId) -> Option<&SecurityDescriptor> {
        Some(self.tree.node(node_id(id)?)?.descriptor.as_ref())
    }

    /// Changes an object, as somebody else does.
    pub fn change(&mut self, id: FileId, descriptor: SecurityDescriptor) -> Option<()> {
        self.tree.node_mut(node_id(id)?)?.descriptor = Arc::new(descriptor);
        Some(())
    }

    /// Where a path's last component would stand.
    fn place(&self, path: &WindowsPath) -> Option<Place> {
        let parent = self.find(&path.parent()?).ok()??;
        let name = FileName::from_units(&units(path.name()?)).ok()?;
        Some(Place { parent, name })
    }

    /// The node at a path; an error where a reparse point stands on the way.
    fn find(&self, path: &WindowsPath) -> Result<Option<NodeId>, u32> {
        let letter = VolumeName::Letter(path.drive());
        let volumes = (0..).map_while(|number| self.tree.volume(VolumeId(number)));
        let mut volumes = volumes.filter(|volume| volume.names.contains(&letter));
        let Some(mut node) = volumes.next().map(|volume| volume.root) else {
            return Ok(None);
        };
        for component in path.components() {
            if self
                .tree
                .node(node)
                .is_some_and(|node| node.reparse.is_some())
            {
                return Err(REDIRECTED);
            }
            let Ok(name) = FileName::from_units(&units(component)) else {
                return Ok(None);
            };
            let place = Place { parent: node, name };
            let Some(next) = self.tree.lookup(&place) else {
                return Ok(None);
            };
            node = next;
        }
        Ok(Some(node))
    }

    fn node(&self, call: &'static str, id: NodeId) -> Result<&Node, CallFailure> {
        self.faults.look(call, "a handle")?;
        self.tree
            .node(id)
            .ok_or_else(|| CallFailure::new(call, "a handle", INVALID_HANDLE))
    }

    /// The path of a node, if all its names are text.
    fn path_of(&self, place: &Place) -> Option<WindowsPath> {
        let above = match self.tree.places(place.parent).next() {
            Some(above) => self.path_of(&above)?,
            None => WindowsPath::parse(&self.tree.path_of(place.parent)).ok()?,
        };
        above.join_observed(&place.name).ok()
    }

    fn write(
        &mut self,
        call: &'static str,
        id: NodeId,
        write: impl FnOnce(&mut Node),
    ) -> Result<(), CallFailure> {
        self.writes = self.writes.saturating_add(1);
        let denied = self.unwritable.contains(&file_id(id));
        let tree = &mut self.tree;
        self.faults.change(call, "a handle", || {
            if denied {
                return Err(CallFailure::new(call, "a handle", DENIED));
            }
            let node = tree
                .node_mut(id)
                .ok_or_else(|| CallFailure::new(call, "a handle", INVALID_HANDLE))?;
            write(node);
            Ok(())
        })
    }
}

/// Empties a directory; what its reparse points lead to stays.
fn remove_below(tree: &mut FileSystem, id: NodeId) {
    let entries = tree
        .node(id)
        .map_or_else(Vec::new, |node| node.entries().to_vec());
    for entry in entries {
        remove_below(tree, entry.node);
        let place = Place {
            parent: id,
            name: entry.name,
        };
        // A name that stays makes the directory's own removal fail.
        let _kept = tree.displace(&place);
    }
}

impl Files for FakeFiles {
    type Handle = NodeId;

    fn open(&mut self, path: &WindowsPath) -> Result<Option<NodeId>, CallFailure> {
        let object = path.to_string();
        self.faults.look("NtCreateFile", &object)?;
        self.opens = self.opens.saturating_add(1);
        self.find(path)
            .map_err(|code| CallFailure::new("NtCreateFile", object, code))
    }

    fn open_id(&mut self, id: FileId) -> Result<Option<NodeId>, CallFailure> {
        self.faults.look("OpenFileById", "a file id")?;
        self.opens = self.opens.saturating_add(1);
        Ok(node_id(id).filter(|id| self.tree.node(*id).is_some()))
    }

    fn open_child(
        &mut self,
        directory: &NodeId,
        name: &FileName,
    ) -> Result<Option<NodeId>, CallFailure> {
        self.node("NtCreateFile", *directory)?;
        self.opens = self.opens.saturating_add(1);
        Ok(self.tree.lookup(&Place {
            parent: *directory,
            name: name.clone(),
        }))
    }

    fn observe(&mut self, object: &NodeId) -> Result<ObjectState, CallFailure> {
        let node = self.node("GetFileInformationByHandleEx", *object)?;
        let kind = if node.is_directory() {
            ObjectKind::Directory
        } else {
            ObjectKind::File
        };
        let redirection = match node.reparse {
            Some(_) => Redirection::Reparse,
            None => Redirection::None,
        };
        Ok(ObjectState {
            id: file_id(*object),
            kind,
            redirection,
            links: self.links.get(object).copied().unwrap_or(1),
        })
    }

    fn list(&mut self, directory: &NodeId) -> Result<Vec<FileName>, CallFailure> {
        let node = self.node("NtQueryDirectoryFile", *directory)?;
        let names = node.entries().iter().map(|entry| entry.name.clone());
        Ok(names.collect())
    }

    fn observe_names(&mut self, object: &NodeId) -> Result<Vec<Option<WindowsPath>>, CallFailure> {
        self.node("FindFirstFileName", *object)?;
        let places: Vec<Place> = self.tree.places(*object).collect();
        Ok(places.iter().map(|place| self.path_of(place)).collect())
    }

    fn observe_descriptor(&mut self, object: &NodeId) -> Result<SecurityDescriptor, CallFailure> {
        let node = self.node("NtQuerySecurityObject", *object)?;
        Ok(node.descriptor.as_ref().clone())
    }

    fn set_dacl(
        &mut self,
        object: &NodeId,
        descriptor: &SecurityDescriptor,
    ) -> Result<(), CallFailure> {
        let kept = Control::DACL_PROTECTED.with(Control::DACL_AUTO_INHERITED);
        let control = Control(descriptor.control.0 & kept.0);
        self.write("NtSetSecurityObject", *object, |node| {
            node.descriptor = Arc::new(SecurityDescriptor {
                dacl: descriptor.dacl.clone(),
                control,
                ..node.descriptor.as_ref().clone()
            });
        })
    }

    fn set_owner(&mut self, object: &NodeId, owner: Sid) -> Result<(), CallFailure> {
        self.write("NtSetSecurityObject", *object, |node| {
            node.descriptor = Arc::new(SecurityDescriptor {
                owner: Some(owner),
                ..node.descriptor.as_ref().clone()
            });
        })
    }

    fn make_directory(
        &mut self,
        path: &WindowsPath,
        descriptor: &SecurityDescriptor,
    ) -> Result<(), CallFailure> {
        let object = path.to_string();
        let failed = |code| CallFailure::new("NtCreateFile", path.to_string(), code);
        let found = self.find(path).map_err(failed)?;
        let place = self.place(path);
        let tree = &mut self.tree;
        self.faults.change("NtCreateFile", &object, || {
            let descriptor = Arc::new(descriptor.clone());
            if let Some(node) = found.and_then(|id| tree.node_mut(id)) {
                node.descriptor = descriptor;
                return Ok(());
            }
            let place = place.ok_or_else(|| failed(INVALID_HANDLE))?;
            tree.place_node(&place, Node::directory(descriptor))
                .map(drop)
                .map_err(|_| failed(DENIED))
        })
    }

    fn remove_directory(&mut self, directory: &NodeId) -> Result<(), CallFailure> {
        let id = *directory;
        let tree = &mut self.tree;
        self.faults.change("NtSetInformationFile", "a handle", || {
            remove_below(tree, id);
            let place = tree.places(id).next();
            place
                .and_then(|place| tree.displace(&place).ok())
                .ok_or_else(|| CallFailure::new("NtSetInformationFile", "a handle", DENIED))
        })
    }
}

impl ReparsePoints for FakeFiles {
    fn remove_reparse_point(&mut self, object: &NodeId) -> Result<(), CallFailure> {
        self.write("FSCTL_DELETE_REPARSE_POINT", *object, |node| {
            node.reparse = None;
        })
    }
}
