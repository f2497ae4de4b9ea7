//! A simulated Windows machine before Ringfence: volumes with their default descriptors, profiles, projects.
//!
//! Default descriptors are those that a fresh Windows 11 shows with `icacls`. Nothing of ours is in it. Invariant:
//! what is created below a directory inherits from it, as if its owner had made it.

use std::sync::Arc;

use ringfence_nt::fs::{
    FileName, FileSystem, LinkRule, Node, NodeId, Place, ShortNames, VolumeName, parse,
};
use ringfence_nt::{
    AccessMask, Ace, AceFlags, Acl, GenericMapping, ObjectKind, SecurityDescriptor, Sid, Token,
    for_new,
};

const ALL: AccessMask = AccessMask::FILE_ALL_ACCESS;
const READ: AccessMask = AccessMask(0x0012_00a9);
const MODIFY: AccessMask = AccessMask::FILE_MODIFY;
const ONLY_INHERITED: AceFlags = AceFlags::INHERIT_ALL.with(AceFlags::INHERIT_ONLY);

/// A person or an account of the machine.
#[must_use]
pub fn account(relative: u32) -> Sid {
    Sid::new(5, &[21, 10, 20, 30, relative]).expect("four subauthorities and a RID fit")
}

/// A machine.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its volumes.
    pub fs: FileSystem,
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// `C:` with `Users`, `ProgramData` and `Windows`, and an empty `D:`; nobody has a profile yet.
    #[must_use]
    pub fn new() -> Self {
        let mut fs = FileSystem::new();
        fs.link_rule = LinkRule::WriteAttributes;
        let names = |letter, device| vec![VolumeName::Letter(letter), VolumeName::Device(device)];
        fs.add_volume(names('C', 3), ShortNames::Made, system_drive());
        fs.add_volume(names('D', 4), ShortNames::NotMade, data_drive());
        let mut host = Self { fs };
        host.put("C:\\Users", Some(users_directory()), Sid::SYSTEM);
        host.put("C:\\ProgramData", Some(program_data()), Sid::SYSTEM);
        host.put("C:\\Windows", Some(windows_directory()), Sid::SYSTEM);
        host.file("C:\\Windows\\kernel32.dll", Sid::TRUSTED_INSTALLER);
        host
    }

    /// A person's profile: theirs, SYSTEM's and the administrators' alone.
    pub fn profile(&mut self, name: &str, person: Sid) -> NodeId {
        let list = [Sid::SYSTEM, Sid::ADMINISTRATORS, person]
            .map(|sid| Ace::allow(AceFlags::INHERIT_ALL, ALL, sid));
        let descriptor = described(person, &list).protected();
        self.put(&format!("C:\\Users\\{name}"), Some(descriptor), person)
    }

    /// A directory that `owner` makes.
    pub fn directory(&mut self, path: &str, owner: Sid) -> NodeId {
        self.put(path, None, owner)
    }

    /// A file that `owner` makes.
    pub fn file(&mut self, path: &str, owner: Sid) -> NodeId {
        self.file_of(path, owner, b"as it was")
    }

    /// A file that `owner` makes, with this in it.
    pub fn file_of(&mut self, path: &str, owner: Sid, content: &[u8]) -> NodeId {
        let place = self.place(path);
        let parent = self.descriptor(place.parent);
        let token = Token::new(owner, &[]);
        let file = &GenericMapping::FILE;
        let own = for_new(Some(&parent), &token, None, ObjectKind::Leaf, file);
        let mut node = Node::file(Arc::new(own));
        node.streams.insert(Vec::new(), content.to_vec());
        self.fs.place_node(&place, node).expect("the name is free")
    }

    /// A directory with a descriptor of its own, or with what it inherits.
    pub fn put(&mut self, path: &str, own: Option<SecurityDescriptor>, owner: Sid) -> NodeId {
        let place = self.place(path);
        let own = own.unwrap_or_else(|| {
            let parent = self.descriptor(place.parent);
            let token = Token::new(owner, &[]);
            let file = &GenericMapping::FILE;
            for_new(Some(&parent), &token, None, ObjectKind::Container, file)
        });
        self.fs
            .place_node(&place, Node::directory(Arc::new(own)))
            .expect("the name is free")
    }

    /// Gives an object another descriptor.
    pub fn describe(&mut self, id: NodeId, descriptor: SecurityDescriptor) {
        self.fs.node_mut(id).expect("the node exists").descriptor = Arc::new(descriptor);
    }

    /// What stands at a path.
    #[must_use]
    pub fn find(&self, path: &str) -> NodeId {
        self.fs
            .find(path)
            .unwrap_or_else(|status| panic!("{path}: {status}"))
    }

    /// The place that a path names, whether or not something is there.
    #[must_use]
    pub fn place(&self, path: &str) -> Place {
        let parsed = parse(path).expect("a path of this host");
        let (name, _) = parsed.names.split_last().expect("not a volume's root");
        let cut = path.rfind('\\').expect("an absolute path");
        let parent = path.get(..=cut).expect("cut at a separator");
        Place {
            parent: self.find(parent),
            name: name.clone(),
        }
    }

    /// The descriptor of an object.
    #[must_use]
    pub fn descriptor(&self, id: NodeId) -> SecurityDescriptor {
        let node = self.fs.node(id).expect("the node exists");
        node.descriptor.as_ref().clone()
    }
}

/// A name.
#[must_use]
pub fn name(text: &str) -> FileName {
    FileName::new(text).expect("a name")
}

/// A descriptor of an owner, who is the primary group too, and a list.
#[must_use]
pub fn described(owner: Sid, aces: &[Ace]) -> SecurityDescriptor {
    SecurityDescriptor::new(owner, owner, Acl::new(aces.to_vec()))
}

fn system_drive() -> SecurityDescriptor {
    let aces = [
        Ace::allow(
            AceFlags::NONE,
            AccessMask::FILE_APPEND_DATA,
            Sid::AUTHENTICATED_USERS,
        ),
        Ace::allow(ONLY_INHERITED, MODIFY, Sid::AUTHENTICATED_USERS),
        Ace::allow(AceFlags::INHERIT_ALL, ALL, Sid::SYSTEM),
        Ace::allow(AceFlags::INHERIT_ALL, ALL, Sid::ADMINISTRATORS),
        Ace::allow(AceFlags::INHERIT_ALL, READ, Sid::USERS),
    ];
    described(Sid::TRUSTED_INSTALLER, &aces).protected()
}

fn data_drive() -> SecurityDescriptor {
    let aces = [
        Ace::allow(AceFlags::INHERIT_ALL, ALL, Sid::ADMINISTRATORS),
        Ace::allow(AceFlags::INHERIT_ALL, ALL, Sid::SYSTEM),
        Ace::allow(AceFlags::INHERIT_ALL, MODIFY, Sid::AUTHENTICATED_USERS),
        Ace::allow(AceFlags::INHERIT_ALL, READ, Sid::USERS),
    ];
    described(Sid::ADMINISTRATORS, &aces).protected()
}

fn users_directory() -> SecurityDescriptor {
    let aces = [
        Ace::allow(AceFlags::INHERIT_ALL, ALL, Sid::SYSTEM),
        Ace::allow(AceFlags::INHERIT_ALL, ALL, Sid::ADMINISTRATORS),
        Ace::allow(AceFlags::INHERIT_ALL, READ, Sid::USERS),
        Ace::allow(AceFlags::INHERIT_ALL, READ, Sid::EVERYONE),
    ];
    described(Sid::SYSTEM, &aces).protected()
}

fn program_data() -> SecurityDescriptor {
    let make = AccessMask(0x0010_0116);
    let aces = [
        Ace::allow(AceFlags::INHERIT_ALL, ALL, Sid::SYSTEM),
        Ace::allow(AceFlags::INHERIT_ALL, ALL, Sid::ADMINISTRATORS),
        Ace::allow(ONLY_INHERITED, ALL, Sid::CREATOR_OWNER),
        Ace::allow(AceFlags::INHERIT_ALL, READ, Sid::USERS),
        Ace::allow(AceFlags::CONTAINER_INHERIT, make, Sid::USERS),
    ];
    described(Sid::SYSTEM, &aces).protected()
}

fn windows_directory() -> SecurityDescriptor {
    let aces = [
        Ace::allow(AceFlags::INHERIT_ALL, ALL, Sid::TRUSTED_INSTALLER),
        Ace::allow(AceFlags::INHERIT_ALL, READ, Sid::SYSTEM),
        Ace::allow(AceFlags::INHERIT_ALL, READ, Sid::ADMINISTRATORS),
        Ace::allow(AceFlags::INHERIT_ALL, READ, Sid::USERS),
        Ace::allow(AceFlags::INHERIT_ALL, READ, Sid::ALL_APPLICATION_PACKAGES),
    ];
    described(Sid::TRUSTED_INSTALLER, &aces).protected()
}
