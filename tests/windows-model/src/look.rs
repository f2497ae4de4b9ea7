//! A simulated file system behind the executor's own way to look: what it observes is what it would observe there.
//!
//! Nobody's rights are asked: the person sees all. Invariant: no reparse point is followed.

use ringfence_backend::call::CallFailure;
use ringfence_nt::SecurityDescriptor;
use ringfence_nt::fs::{CaseRule, FileSystem, Kind, Node, NodeId, Place, ReparseKind};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::facts::{Case, Residency};
use ringfence_windows::observe::look::{Leads, Listed, ListedKind, Look, Off, Seen};

use crate::carry::{file_id, object};
use crate::host::name;

/// The files of a simulated machine.
#[derive(Clone, Copy, Debug)]
pub struct Disk<'a>(pub &'a FileSystem);

impl<'a> Disk<'a> {
    /// The node at a path, component by component, and its name there.
    fn find(self, at: &WindowsPath) -> Option<NodeId> {
        let mut id = self.0.find(&format!("{}:\\", at.drive())).ok()?;
        for component in at.components() {
            let place = Place {
                parent: id,
                name: name(component),
            };
            id = self.0.lookup(&place)?;
        }
        Some(id)
    }

    fn node(self, at: &WindowsPath) -> Option<(NodeId, &'a Node)> {
        let id = self.find(at)?;
        Some((id, self.0.node(id)?))
    }

    /// The path as its directories spell it.
    fn spelt(self, at: &WindowsPath) -> WindowsPath {
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
            kind: object(self.0, id).kind,
            links: u32::try_from(self.0.places(id).count().max(1)).unwrap_or(u32::MAX),
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
                        kind: kind(self.0.node(entry.node)?),
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
        let places = self.0.places(id);
        Ok(places
            .map(|place| {
                let parent = WindowsPath::observed(&self.0.path_of(place.parent)).ok()?;
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
