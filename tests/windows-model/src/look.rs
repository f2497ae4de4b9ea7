//! A simulated file system behind the executor's own way to look: what it observes is what it would observe there.
//!
//! Nobody's rights are asked: the person sees all. Invariant: no reparse point is followed.

use std::collections::BTreeMap;

use ringfence_backend::call::CallFailure;
use ringfence_nt::SecurityDescriptor;
use ringfence_nt::fs::{CaseRule, FileSystem, Kind, Node, NodeId, Place, ReparseKind};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::facts::{Case, Residency};
use ringfence_windows::observe::look::{Leads, Listed, ListedKind, Look, Off, Seen};

use crate::carry::{file_id, kind_of};
use crate::host::name;

/// The files of a simulated machine.
#[derive(Clone, Debug)]
pub struct Disk<'a> {
    fs: &'a FileSystem,
    /// What has several names, with their number: counted once, since every file is asked for it.
    links: BTreeMap<NodeId, u32>,
}

impl<'a> Disk<'a> {
    /// The files that stand in `fs`.
    #[must_use]
    pub fn new(fs: &'a FileSystem) -> Self {
        let mut links: BTreeMap<NodeId, u32> = BTreeMap::new();
        for (_, node) in fs.nodes() {
            for entry in node.entries() {
                *links.entry(entry.node).or_default() += 1;
            }
        }
        links.retain(|_, names| *names > 1);
        Self { fs, links }
    }

    /// The node at a path, component by component, and its name there.
    fn find(&self, at: &WindowsPath) -> Option<NodeId> {
        let mut id = self.fs.find(&format!("{}:\\", at.drive())).ok()?;
        for component in at.components() {
            let place = Place {
                parent: id,
                name: name(component),
            };
            id = self.fs.lookup(&place)?;
        }
        Some(id)
    }

    fn node(&self, at: &WindowsPath) -> Option<(NodeId, &'a Node)> {
        let id = self.find(at)?;
        Some((id, self.fs.node(id)?))
    }

    /// The path as its directories spell it.
    fn spelt(&self, at: &WindowsPath) -> WindowsPath {
        let (Some(parent), Some(last)) = (at.parent(), at.name()) else {
            return at.clone();
        };
        let above = self.spelt(&parent);
        let directory = self.node(&parent).map(|(_, node)| node);
        let entry = directory.and_then(|directory| directory.entry(&name(last)));
        match entry {
            Some(entry) => above.join_observed(&entry.name).unwrap_or(above),
            None => at.clone(),
        }
    }
}

impl Look for Disk<'_> {
    fn look(&mut self, path: &WindowsPath) -> Result<Option<Seen>, CallFailure> {
        let Some((id, node)) = self.node(path) else {
            return Ok(None);
        };
        let case = match &node.kind {
            Kind::Directory {
                case: CaseRule::Sensitive,
                ..
            } => Case::Sensitive,
            Kind::File | Kind::Directory { .. } => Case::Insensitive,
        };
        Ok(Some(Seen {
            place: Ok(self.spelt(path)),
            id: file_id(id),
            kind: kind_of(Some(node)),
            links: self.links.get(&id).copied().unwrap_or(1),
            leads: node
                .reparse
                .as_ref()
                .map(|reparse| Leads::Path(reparse.target.clone())),
            case,
            residency: Residency::Local,
        }))
    }

    fn list(&mut self, directory: &WindowsPath) -> Result<Option<Vec<Listed>>, CallFailure> {
        let Some((_, node)) = self.node(directory) else {
            return Ok(None);
        };
        let kind = |node: &Node| match &node.reparse {
            Some(reparse) => match reparse.kind {
                ReparseKind::Junction | ReparseKind::Symlink => ListedKind::Link,
            },
            None if node.is_directory() => ListedKind::Directory,
            None => ListedKind::File,
        };
        let entries = node.entries().iter();
        Ok(Some(
            entries
                .filter_map(|entry| {
                    Some(Listed {
                        name: entry.name.clone(),
                        kind: kind(self.fs.node(entry.node)?),
                    })
                })
                .collect(),
        ))
    }

    fn read(&mut self, file: &WindowsPath) -> Result<Option<Vec<u8>>, CallFailure> {
        let node = self.node(file).map(|(_, node)| node);
        let content = node
            .filter(|node| node.reparse.is_none())
            .and_then(|node| node.streams.get(&Vec::new()));
        Ok(content.cloned())
    }

    fn names(&mut self, file: &WindowsPath) -> Result<Vec<Option<WindowsPath>>, CallFailure> {
        let Some(id) = self.find(file) else {
            return Ok(Vec::new());
        };
        let places = self.fs.places(id);
        Ok(places
            .map(|place| {
                let parent = WindowsPath::observed(&self.fs.path_of(place.parent)).ok()?;
                parent.join_observed(&place.name).ok()
            })
            .collect())
    }

    fn descriptor(
        &mut self,
        path: &WindowsPath,
    ) -> Result<Option<SecurityDescriptor>, CallFailure> {
        let node = self.node(path).map(|(_, node)| node);
        Ok(node.map(|node| node.descriptor.as_ref().clone()))
    }

    fn elsewhere(&mut self, _named: &str) -> Result<Option<Off>, CallFailure> {
        Ok(None)
    }
}
