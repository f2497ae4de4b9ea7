//! A tree with descriptors, in the model and on the server.
//!
//! Invariant: owners are users of the server, and no descriptor holds generic bits.

use std::sync::Arc;

use ringfence_nt::fs::{FileName, FileSystem, Node, NodeId, Place, ShortNames, VolumeName};
use ringfence_nt::{
    AccessMask, Ace, AceFlags, Acl, Dacl, GenericMapping, ObjectKind, SecurityDescriptor, Sid,
    Token, reinherit,
};

use super::cast::{Cast, Player};
use crate::access::Mutation;
use crate::random::Random;
use crate::world::World;

const FULL: AccessMask = AccessMask::FILE_ALL_ACCESS;
const READ: AccessMask = AccessMask(0x0012_00a9);
const DENIED: AccessMask = AccessMask(0x000d_0156);
const EVERYWHERE: AceFlags = AceFlags::INHERIT_ALL;
const HERE: AceFlags = AceFlags::NONE;

/// A tree and who plays in it.
#[derive(Clone, Debug)]
pub struct Stage {
    /// What a person calls it.
    pub name: String,
    /// The model's tree; its first volume is the server's share.
    pub fs: FileSystem,
    /// Who plays.
    pub cast: Cast,
    /// The token whose two passes the target and the second play.
    pub restricted: Token,
    /// A fault in the model's descriptors alone, to see that it is noticed.
    pub fault: Option<Mutation>,
}

impl Stage {
    /// A tree that somebody else built. Owners that the server does not know become its administrator.
    #[must_use]
    pub fn of(name: &str, fs: &FileSystem, cast: Cast, restricted: Token) -> Self {
        let mut fs = fs.clone();
        let users = Player::JUDGED.map(|player| cast.sid(player.name()));
        let ids: Vec<NodeId> = fs.nodes().map(|(id, _)| id).collect();
        for id in ids {
            if let Some(node) = fs.node_mut(id) {
                let mut descriptor = node.descriptor.as_ref().clone();
                let known = descriptor.owner.filter(|owner| users.contains(owner));
                descriptor.owner = known.or(Some(Cast::root()));
                descriptor.group = Some(Cast::primary());
                node.descriptor = Arc::new(descriptor);
            }
        }
        Self {
            name: name.to_owned(),
            fs,
            cast,
            restricted,
            fault: None,
        }
    }

    /// The workspace of the design without chance, with `granted` on its roots and a fault in the model.
    #[must_use]
    pub fn faulty(granted: AccessMask, fault: Mutation) -> Self {
        let cast = Self::usual_cast();
        let mut tree = Tree::new(&cast);
        for (path, kind, purpose) in LAYOUT {
            let entries = tree.entries(purpose, granted);
            tree.add(path, kind, entries);
        }
        let fs = tree.fs;
        let restricted = cast.restricted();
        Self {
            fault: Some(fault),
            ..Self::of(&format!("{fault:?}"), &fs, cast, restricted)
        }
    }

    /// The model's tree as the model takes it: with the fault, if there is one.
    pub(super) fn model(&self) -> FileSystem {
        let mut fs = self.fs.clone();
        let Some(fault) = self.fault else { return fs };
        for (_, id) in Self::objects(&self.fs) {
            if let Some(node) = fs.node_mut(id) {
                fault.apply(Arc::make_mut(&mut node.descriptor));
            }
        }
        fs
    }

    /// The SIDs of the stages made here.
    #[must_use]
    pub fn usual_cast() -> Cast {
        let own = |relative| Sid::new(5, &[21, 1, 2, 3, relative]).unwrap_or(Sid::NULL);
        Cast::new(&[
            (own(1001), "target"),
            (own(1002), "second"),
            (own(1003), "person"),
            (own(1100), "agents"),
            (own(9001), "capone"),
            (own(9002), "captwo"),
            (own(9003), "marker"),
            (own(9004), "session"),
        ])
    }

    /// A workspace as the design has it, with a fault or two of chance in its descriptors.
    #[must_use]
    pub fn random(seed: u64, index: u64) -> Self {
        let mut random = Random::new(seed, index);
        let cast = Self::usual_cast();
        let mut tree = Tree::new(&cast);
        for (path, kind, purpose) in LAYOUT {
            let (mut own, protection) = tree.entries(purpose, AccessMask::FILE_MODIFY);
            if random.chance(33) {
                tree.disturb(&mut own, &mut random);
            }
            tree.add(path, kind, (own, protection));
        }
        let fs = tree.fs;
        let restricted = cast.restricted();
        Self::of(&format!("workspace {index}"), &fs, cast, restricted)
    }

    /// The system drive of a world that the planner has made its plan for, with the target's own token.
    ///
    /// # Errors
    /// The token has more SIDs than the server has groups.
    pub fn planned(world: &World) -> Result<Self, String> {
        let cast = Cast::of(&world.target, world.harness.user)?;
        Ok(Self::of(&world.name, &world.fs, cast, world.target.clone()))
    }

    /// Every object below the root, parents first, with its path on the server.
    #[must_use]
    pub fn objects(fs: &FileSystem) -> Vec<(String, NodeId)> {
        let root = fs.nodes().map(|(id, _)| id).next();
        let mut found: Vec<(String, NodeId)> =
            root.map(|root| (String::new(), root)).into_iter().collect();
        let mut next = 0;
        while let Some((path, id)) = found.get(next).cloned() {
            let entries = fs.node(id).map(Node::entries).unwrap_or_default();
            for entry in entries {
                let name = entry.name.to_string();
                let inner = if path.is_empty() {
                    name
                } else {
                    format!("{path}/{name}")
                };
                found.push((inner, entry.node));
            }
            next += 1;
        }
        found
    }
}

/// What an object is for, and so which entries stand on it.
#[derive(Clone, Copy)]
enum Purpose {
    Ancestor,
    Root,
    SecondRoot,
    Between,
    Protected,
    ExplicitAllow,
    Secret,
    Foreign,
    Plain,
}

const DIRECTORY: ObjectKind = ObjectKind::Container;
const FILE: ObjectKind = ObjectKind::Leaf;

const LAYOUT: [(&str, ObjectKind, Purpose); 18] = [
    ("home", DIRECTORY, Purpose::Ancestor),
    ("home/ws", DIRECTORY, Purpose::Root),
    ("home/ws/.git", DIRECTORY, Purpose::Protected),
    ("home/ws/.git/config", FILE, Purpose::Plain),
    ("home/ws/.git/hooks", DIRECTORY, Purpose::Plain),
    ("home/ws/.git/hooks/old", FILE, Purpose::ExplicitAllow),
    ("home/ws/src", DIRECTORY, Purpose::Plain),
    ("home/ws/src/main", FILE, Purpose::Plain),
    ("home/ws/src/empty", DIRECTORY, Purpose::Plain),
    ("home/ws/sub", DIRECTORY, Purpose::Between),
    ("home/ws/sub/.codex", DIRECTORY, Purpose::Protected),
    ("home/ws/sub/.codex/rules", FILE, Purpose::Plain),
    ("home/ws/secret", FILE, Purpose::Secret),
    ("home/ws/odd", FILE, Purpose::ExplicitAllow),
    ("home/two", DIRECTORY, Purpose::SecondRoot),
    ("home/two/file", FILE, Purpose::Plain),
    ("outside", DIRECTORY, Purpose::Foreign),
    ("outside/file", FILE, Purpose::Plain),
];

/// The tree while it is built.
struct Tree<'a> {
    fs: FileSystem,
    root: NodeId,
    cast: &'a Cast,
}

impl<'a> Tree<'a> {
    fn new(cast: &'a Cast) -> Self {
        let mut fs = FileSystem::new();
        let aces = vec![
            Ace::allow(EVERYWHERE, FULL, cast.sid("person")),
            Ace::allow(HERE, READ, cast.sid("agents")),
            Ace::allow(HERE, READ, cast.sid("capone")),
        ];
        let top = SecurityDescriptor::new(cast.sid("person"), Cast::primary(), Acl::new(aces));
        let names = vec![VolumeName::Letter('C')];
        let volume = fs.add_volume(names, ShortNames::NotMade, top.protected());
        let root = fs.volume(volume).map(|volume| volume.root);
        // A volume that was just added has a root; without one nothing can be built and nothing is compared.
        let root = root.unwrap_or(NodeId { volume, file: 0 });
        Self { fs, root, cast }
    }

    /// Makes an object as the person does, with entries of its own in front of what it inherits.
    fn add(&mut self, path: &str, kind: ObjectKind, (own, protection): (Vec<Ace>, Protection)) {
        let (parent, name) = match path.rsplit_once('/') {
            Some((parent, name)) => (self.find(parent), name),
            None => (self.root, path),
        };
        let (Some(above), Ok(name)) = (self.fs.node(parent), FileName::new(name)) else {
            return;
        };
        let mine = SecurityDescriptor::new(self.cast.sid("person"), Cast::primary(), Acl::new(own));
        let descriptor = match protection {
            Protection::Protected => mine.protected(),
            Protection::Inherits => {
                reinherit(&above.descriptor, &mine, kind, &GenericMapping::FILE)
            }
        };
        let node = match kind {
            ObjectKind::Container => Node::directory(Arc::new(descriptor)),
            ObjectKind::Leaf => Node::file(Arc::new(descriptor)),
        };
        // The names of the layout are different and their parents come first.
        let _ = self.fs.place_node(&Place { parent, name }, node);
    }

    fn find(&self, path: &str) -> NodeId {
        let text = format!("C:\\{}", path.replace('/', "\\"));
        self.fs.find(&text).unwrap_or(self.root)
    }

    /// The entries that the design puts there, with `granted` on roots.
    fn entries(&self, purpose: Purpose, granted: AccessMask) -> (Vec<Ace>, Protection) {
        let sid = |name| self.cast.sid(name);
        let ours = [sid("agents"), sid("capone")];
        let second = [sid("agents"), sid("captwo")];
        let deny = |flags, mask, sids: [Sid; 2]| sids.map(|sid| Ace::deny(flags, mask, sid));
        let allow = |flags, mask, sids: [Sid; 2]| sids.map(|sid| Ace::allow(flags, mask, sid));
        let mut protection = Protection::Inherits;
        let mut aces = Vec::new();
        match purpose {
            Purpose::Ancestor => aces.extend(allow(HERE, AccessMask(0x0012_00a0), ours)),
            Purpose::Root | Purpose::SecondRoot => {
                let sids = match purpose {
                    Purpose::SecondRoot => second,
                    _ => ours,
                };
                aces.extend(deny(HERE, AccessMask::DELETE, sids));
                aces.extend(allow(EVERYWHERE, granted, sids));
                let read = AccessMask::READ_CONTROL;
                aces.push(Ace::allow(EVERYWHERE, read, Sid::OWNER_RIGHTS));
                aces.push(Ace::allow(EVERYWHERE, FULL, sid("person")));
            }
            Purpose::Between => aces.extend(deny(HERE, AccessMask::DELETE, ours)),
            Purpose::Protected => aces.extend(deny(EVERYWHERE, DENIED, ours)),
            Purpose::ExplicitAllow => aces.extend(allow(HERE, AccessMask::FILE_MODIFY, ours)),
            Purpose::Secret => {
                aces.push(Ace::allow(HERE, FULL, sid("person")));
                protection = Protection::Protected;
            }
            Purpose::Foreign => {
                aces.push(Ace::allow(EVERYWHERE, READ, Sid::EVERYONE));
                aces.push(Ace::allow(EVERYWHERE, READ, sid("capone")));
            }
            Purpose::Plain => {}
        }
        (aces, protection)
    }

    /// A change that a plan must never make, or that a person may have made before.
    fn disturb(&self, aces: &mut Vec<Ace>, random: &mut Random) {
        let names = [
            "target", "second", "agents", "capone", "captwo", "everyone", "person",
        ];
        let mut trustee = self.cast.sid(random.one_of(&names, "agents"));
        let masks = [
            0x0001_0000,
            0x40,
            0x0013_01ff,
            0x000d_0156,
            0x0012_0089,
            0x2,
            0x6,
            0x0004_0000,
        ];
        let mut mask = AccessMask(random.one_of(&masks, 0x2));
        if random.chance(15) {
            trustee = Sid::OWNER_RIGHTS;
            // For a new child the server looks at the directory's list without its owner.
            mask = mask - (AccessMask::FILE_WRITE_DATA | AccessMask::FILE_APPEND_DATA);
        }
        let flags = AceFlags(random.one_of(&[0_u8, 1, 2, 3, 7, 11], 0));
        let ace = if random.chance(40) {
            Ace::deny(flags, mask, trustee)
        } else {
            Ace::allow(flags, mask, trustee)
        };
        match random.below(4) {
            0 => aces.push(ace),
            1 => aces.insert(0, ace),
            2 if aces.len() > 1 => aces.swap(0, 1),
            _ => {
                for ace in aces.iter_mut() {
                    ace.mask |= AccessMask::FILE_DELETE_CHILD;
                }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protection {
    Inherits,
    Protected,
}

/// What the server keeps of a list: no flag that says where an entry came from, and no entry twice.
pub(super) fn kept(dacl: &Dacl) -> Option<Vec<Ace>> {
    let Dacl::Present(acl) = dacl else {
        return None;
    };
    let mut kept = Vec::new();
    for ace in &acl.aces {
        let flags = ace.flags.without(AceFlags::INHERITED);
        let plain = Ace { flags, ..*ace };
        if !kept.contains(&plain) {
            kept.push(plain);
        }
    }
    Some(kept)
}
