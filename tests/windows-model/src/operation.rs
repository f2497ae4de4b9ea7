//! What a target can do in one step, and which steps are open to it in a state.
//!
//! Each is carried out by the simulated file system, which checks it; the list only leaves out what plainly has no
//! right. Invariant: an operation that the file system would allow is in the list of its state, up to the world's
//! names, redirects and the bounds.

use std::fmt;

use ringfence_nt::fs::{
    Caller, CaseRule, FileName, FileSystem, NewKind, Node, NodeId, Place, Reparse, ReparseKind,
    Replace, Status,
};
use ringfence_nt::{AccessMask, Ace, AceFlags, Acl, Control, CreatorDescriptor, Dacl, Sid, Token};

use crate::promise::Original;
use crate::search::Bounds;
use crate::state::Rights;
use crate::world::World;

/// The descriptor that a target gives to what it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// What is inherited.
    Inherited,
    /// Protected, everything for everybody and each of its own SIDs.
    Open,
    /// Protected and empty: nobody gets in.
    Closed,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Makes a file or a directory.
    Create(Place, NewKind, Shape),
    /// Deletes a name.
    Delete(Place),
    /// Empties a file by superseding it.
    Supersede(Place),
    /// Moves a name.
    Rename(Place, Place, Replace),
    /// Gives a file one more name.
    Link(Place, Place, Replace),
    /// Makes an object a reparse point.
    Redirect(Place, ReparseKind, String),
    /// Lets a directory tell case apart.
    TellCase(Place),
    /// Replaces a DACL.
    Descriptor(Place, Shape),
    /// Takes ownership.
    Own(Place),
}

impl Operation {
    /// The step as a person reads it.
    #[must_use]
    pub fn describe(&self, fs: &FileSystem) -> String {
        let at = |place: &Place| At(fs, place).to_string();
        match self {
            Self::Create(place, kind, shape) => {
                format!("create {kind:?} {} ({shape:?})", at(place))
            }
            Self::Delete(place) => format!("delete {}", at(place)),
            Self::Supersede(place) => format!("supersede {}", at(place)),
            Self::Rename(from, to, replace) => {
                format!("rename {} to {}{}", at(from), at(to), replacing(*replace))
            }
            Self::Link(from, to, replace) => {
                format!("link {} as {}{}", at(from), at(to), replacing(*replace))
            }
            Self::Redirect(place, kind, target) => format!("{kind:?} {} to {target}", at(place)),
            Self::TellCase(place) => format!("make {} tell case apart", at(place)),
            Self::Descriptor(place, shape) => format!("set DACL of {} ({shape:?})", at(place)),
            Self::Own(place) => format!("take ownership of {}", at(place)),
        }
    }

    /// The state after the step, if the file system allows it.
    ///
    /// # Errors
    /// Why it does not.
    pub fn carry_out(&self, fs: &FileSystem, caller: &Caller<'_>) -> Result<FileSystem, Status> {
        let mut after = fs.clone();
        match self {
            Self::Create(place, kind, shape) => {
                let given = shape.given(caller.token);
                after.create_place(caller, place, *kind, given.as_ref())?;
            }
            Self::Delete(place) => {
                let handle = after.open_place(caller, place, AccessMask::DELETE)?;
                after.delete(&handle)?;
            }
            Self::Supersede(place) => after.supersede(caller, place)?,
            Self::Rename(from, to, replace) => {
                let handle = after.open_place(caller, from, AccessMask::DELETE)?;
                after.rename(caller, &handle, to, *replace)?;
            }
            Self::Link(from, to, replace) => {
                let right = AccessMask::FILE_WRITE_ATTRIBUTES;
                let handle = after.open_place(caller, from, right).or_else(|_| {
                    after.open_place(caller, from, AccessMask::FILE_READ_ATTRIBUTES)
                })?;
                after.link(caller, &handle, to, *replace)?;
            }
            Self::Redirect(place, kind, target) => {
                let reparse = Reparse {
                    kind: *kind,
                    target: target.clone(),
                };
                let handle = after
                    .open_place(caller, place, AccessMask::FILE_WRITE_ATTRIBUTES)
                    .or_else(|_| after.open_place(caller, place, AccessMask::FILE_WRITE_DATA))?;
                after.set_reparse(&handle, reparse)?;
            }
            Self::TellCase(place) => {
                let right = AccessMask::FILE_WRITE_ATTRIBUTES;
                let handle = after.open_place(caller, place, right)?;
                after.set_case_rule(&handle, CaseRule::Sensitive)?;
            }
            Self::Descriptor(place, shape) => {
                let handle = after.open_place(caller, place, AccessMask::WRITE_DAC)?;
                let acl = shape.acl(caller.token);
                after.set_dacl(&handle, Dacl::Present(acl), Control::DACL_PROTECTED)?;
            }
            Self::Own(place) => {
                let handle = after.open_place(caller, place, AccessMask::WRITE_OWNER)?;
                after.set_owner(caller, &handle, caller.token.user)?;
            }
        }
        Ok(after)
    }
}

const fn replacing(replace: Replace) -> &'static str {
    match replace {
        Replace::No => "",
        Replace::Yes => ", replacing",
    }
}

struct At<'a>(&'a FileSystem, &'a Place);

impl fmt::Display for At<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = self.0.path_of(self.1.parent);
        write!(
            formatter,
            "{}\\{}",
            parent.trim_end_matches('\\'),
            self.1.name
        )
    }
}

impl Shape {
    fn given(self, token: &Token) -> Option<CreatorDescriptor> {
        match self {
            Self::Inherited => None,
            Self::Open | Self::Closed => Some(CreatorDescriptor {
                owner: None,
                group: None,
                dacl: Some(Dacl::Present(self.acl(token))),
                control: Control::DACL_PROTECTED,
            }),
        }
    }

    /// Its list, as a creator would give it.
    #[must_use]
    pub fn acl(self, token: &Token) -> Acl {
        match self {
            Self::Closed | Self::Inherited => Acl::default(),
            Self::Open => {
                let own = token.restriction.sids().iter().copied();
                [Sid::EVERYONE, token.user]
                    .into_iter()
                    .chain(own)
                    .map(|sid| Ace::allow(AceFlags::INHERIT_ALL, AccessMask::FILE_ALL_ACCESS, sid))
                    .collect()
            }
        }
    }
}

/// Everything that may be open to the target in a state.
pub fn open_to(
    world: &World,
    fs: &FileSystem,
    original: &Original,
    rights: &mut Rights<'_>,
    bounds: &Bounds,
) -> Vec<Operation> {
    let view = View::of(fs, original, rights);
    let mut operations = Vec::new();
    view.creations(world, bounds, &mut operations);
    for object in &view.objects {
        changes(world, object, &mut operations);
        view.moves(world, object, bounds, &mut operations);
    }
    operations
}

/// A name with what the target may do to what it names.
struct Object<'a> {
    place: Place,
    node: &'a Node,
    id: NodeId,
    reach: AccessMask,
    owned: bool,
}

/// A directory with what the target may do in it.
struct Directory<'a> {
    id: NodeId,
    node: &'a Node,
    reach: AccessMask,
}

struct View<'a> {
    objects: Vec<Object<'a>>,
    directories: Vec<Directory<'a>>,
    made: usize,
    links: usize,
}

impl<'a> View<'a> {
    fn of(fs: &'a FileSystem, original: &Original, rights: &mut Rights<'_>) -> Self {
        let mut view = Self {
            objects: Vec::new(),
            directories: Vec::new(),
            made: 0,
            links: 0,
        };
        let mut names = 0;
        for (id, node) in fs.nodes() {
            let reach = rights.on(&node.descriptor);
            if !original.has(id) {
                view.made += 1;
            }
            names += node.entries().len();
            if node.is_directory() && node.reparse.is_none() {
                view.directories.push(Directory { id, node, reach });
            }
            for entry in node.entries() {
                let Some(child) = fs.node(entry.node) else {
                    continue;
                };
                let mut granted = rights.on(&child.descriptor);
                if reach.contains(AccessMask::FILE_DELETE_CHILD) {
                    granted |= AccessMask::DELETE;
                }
                view.objects.push(Object {
                    place: Place {
                        parent: id,
                        name: entry.name.clone(),
                    },
                    node: child,
                    id: entry.node,
                    reach: granted,
                    owned: !original.has(entry.node),
                });
            }
        }
        // Every node but a volume's root has one name; what is more are links.
        let volumes = fs
            .nodes()
            .filter(|(id, _)| fs.volume(id.volume).is_some_and(|own| own.root == *id))
            .count();
        view.links = (names + volumes).saturating_sub(fs.nodes().count());
        view
    }

    fn creations(&self, world: &World, bounds: &Bounds, operations: &mut Vec<Operation>) {
        if self.made >= bounds.made {
            return;
        }
        for directory in &self.directories {
            for (kind, right) in [
                (NewKind::File, AccessMask::FILE_WRITE_DATA),
                (NewKind::Directory, AccessMask::FILE_APPEND_DATA),
            ] {
                if !directory.reach.contains(right) {
                    continue;
                }
                for name in free(directory, &world.names) {
                    for shape in [Shape::Inherited, Shape::Open, Shape::Closed] {
                        let place = place(directory, name);
                        operations.push(Operation::Create(place, kind, shape));
                    }
                }
            }
        }
    }

    fn moves(
        &self,
        world: &World,
        object: &Object<'_>,
        bounds: &Bounds,
        operations: &mut Vec<Operation>,
    ) {
        let may_move = object.reach.contains(AccessMask::DELETE);
        let may_link = !object.node.is_directory() && self.links < bounds.links;
        if !may_move && !may_link {
            return;
        }
        let add = if object.node.is_directory() {
            AccessMask::FILE_APPEND_DATA
        } else {
            AccessMask::FILE_WRITE_DATA
        };
        for directory in &self.directories {
            let same = directory.id == object.place.parent;
            let room = directory.reach.contains(add);
            if !room && !same {
                continue;
            }
            for name in free(directory, &world.names) {
                let to = || place(directory, name);
                if may_move {
                    operations.push(Operation::Rename(object.place.clone(), to(), Replace::No));
                }
                if may_link && room {
                    operations.push(Operation::Link(object.place.clone(), to(), Replace::No));
                }
            }
            for entry in directory.node.entries() {
                if entry.node == object.id {
                    continue;
                }
                let to = || place(directory, &entry.name);
                if may_move {
                    operations.push(Operation::Rename(object.place.clone(), to(), Replace::Yes));
                }
                if may_link && room {
                    operations.push(Operation::Link(object.place.clone(), to(), Replace::Yes));
                }
            }
        }
    }
}

fn changes(world: &World, object: &Object<'_>, operations: &mut Vec<Operation>) {
    let at = || object.place.clone();
    if object.reach.contains(AccessMask::DELETE) && object.node.entries().is_empty() {
        operations.push(Operation::Delete(at()));
        // What may be written need not be superseded: the state tells that already.
        let may_write = object.reach.contains(AccessMask::FILE_WRITE_DATA);
        if !object.owned && !object.node.is_directory() && !may_write {
            operations.push(Operation::Supersede(at()));
        }
    }
    let write = AccessMask::FILE_WRITE_DATA | AccessMask::FILE_WRITE_ATTRIBUTES;
    if object.reach.intersects(write)
        && object.node.reparse.is_none()
        && object.node.entries().is_empty()
    {
        for target in &world.redirects {
            let kind = if object.node.is_directory() {
                ReparseKind::Junction
            } else {
                ReparseKind::Symlink
            };
            operations.push(Operation::Redirect(at(), kind, target.clone()));
        }
    }
    if object.reach.contains(AccessMask::FILE_WRITE_ATTRIBUTES) && tells_no_case(object.node) {
        operations.push(Operation::TellCase(at()));
    }
    if object.reach.contains(AccessMask::WRITE_DAC) {
        operations.push(Operation::Descriptor(at(), Shape::Open));
        operations.push(Operation::Descriptor(at(), Shape::Closed));
    }
    if object.reach.contains(AccessMask::WRITE_OWNER) && !object.owned {
        operations.push(Operation::Own(at()));
    }
}

fn place(directory: &Directory<'_>, name: &FileName) -> Place {
    Place {
        parent: directory.id,
        name: name.clone(),
    }
}

fn free<'a>(
    directory: &Directory<'_>,
    names: &'a [FileName],
) -> impl Iterator<Item = &'a FileName> {
    names
        .iter()
        .filter(|name| directory.node.entry(name).is_none())
}

fn tells_no_case(node: &Node) -> bool {
    matches!(
        node.kind,
        ringfence_nt::fs::Kind::Directory {
            case: CaseRule::Insensitive,
            ..
        }
    )
}
