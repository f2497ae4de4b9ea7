//! A person's files, and the steps and the rule for a workspace as the planner makes them.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use ringfence_nt::fs::{FileSystem, Node, NodeId, Reparse, ReparseKind};
use ringfence_nt::inherit::{self, reinherit};
use ringfence_nt::{
    AccessMask, Ace, AceFlags, AceKind, Acl, Control, Dacl, GenericMapping, SecurityDescriptor, Sid,
};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{FileId, Object, ObjectKind, PersonStep, Purpose};
use ringfence_plan::windows::walk::{Names, Visited};

use super::steps::{ada, bob, machine_sid, path};
use crate::fault::Faults;
use crate::ledger::{Ledger, MemoryStore};
use crate::windows::fake::FakeFiles;
use crate::windows::{GrantError, Granted, Grants, ObjectRule, PersonBook, Revoked, Walking};

pub(super) const ROOT: &str = "C:\\Users\\ada\\src\\ws";
pub(super) const HOME: &str = "C:\\ProgramData\\Ringfence\\A\\home";

/// The group of Ada's accounts.
pub(super) fn group() -> Sid {
    machine_sid().child(2001).unwrap()
}

/// Her offline account.
pub(super) fn offline() -> Sid {
    machine_sid().child(2002).unwrap()
}

/// The SID of her workspace.
pub(super) fn capability() -> Sid {
    Sid::new(0, &[0x5249_4e47, 1, 1, 2, 3, 4]).unwrap()
}

pub(super) fn ours() -> BTreeSet<Sid> {
    BTreeSet::from([group(), offline(), capability()])
}

pub(super) const fn protect() -> AccessMask {
    AccessMask(0x000d_0156)
}

/// What a person's directory has, for that person.
pub(super) fn owned(person: Sid) -> SecurityDescriptor {
    let all = AceFlags::INHERIT_ALL;
    let full = AccessMask::FILE_ALL_ACCESS;
    SecurityDescriptor::new(
        person,
        person,
        Acl::new(vec![
            Ace::allow(all, full, person),
            Ace::allow(all, full, Sid::SYSTEM),
        ]),
    )
}

pub(super) fn kind(kind: ObjectKind) -> inherit::ObjectKind {
    match kind {
        ObjectKind::Directory => inherit::ObjectKind::Container,
        ObjectKind::File => inherit::ObjectKind::Leaf,
    }
}

/// What a new object gets below `parent`.
pub(super) fn inherited(
    parent: &SecurityDescriptor,
    object: ObjectKind,
    owner: Sid,
) -> SecurityDescriptor {
    let bare = SecurityDescriptor::new(owner, owner, Acl::default());
    reinherit(parent, &bare, kind(object), &GenericMapping::FILE)
}

/// `descriptor` with these entries at their canonical place.
pub(super) fn with(descriptor: &SecurityDescriptor, added: &[Ace]) -> SecurityDescriptor {
    let aces = &descriptor.acl().unwrap().aces;
    let of = |kind: AceKind| added.iter().copied().filter(move |ace| ace.kind == kind);
    let explicit = |ace: &&Ace| ace.kind == AceKind::Deny && !ace.is_inherited();
    let acl: Acl = of(AceKind::Deny)
        .chain(aces.iter().filter(explicit).copied())
        .chain(of(AceKind::Allow))
        .chain(aces.iter().filter(|ace| !explicit(ace)).copied())
        .collect();
    SecurityDescriptor {
        dacl: Dacl::Present(acl),
        ..descriptor.clone()
    }
}

/// The rule of the tests: what a root gives is inherited, what is protected gets its denies again where they would
/// lose, and what has a name outside gets no more than reading.
pub(super) struct Rule(HashMap<FileId, Purpose>);

impl Rule {
    /// The rule beside these steps.
    pub(super) fn of(steps: &[PersonStep]) -> Self {
        let held = steps.iter().filter_map(|step| match step {
            PersonStep::SetDacl {
                object, purpose, ..
            } => Some((object.id, *purpose)),
            PersonStep::Walk { .. } | PersonStep::MakeHome { .. } => None,
        });
        Self(held.collect())
    }
}

impl ObjectRule for Rule {
    fn held(&self, object: FileId) -> Option<Purpose> {
        self.0.get(&object).copied()
    }

    fn next(
        &self,
        purpose: Purpose,
        _: &WindowsPath,
        parent: &SecurityDescriptor,
        object: &Visited<'_>,
    ) -> Option<SecurityDescriptor> {
        let found = object.descriptor;
        let foreign: Acl = found
            .acl()?
            .aces
            .iter()
            .filter(|ace| !ours().contains(&ace.sid))
            .copied()
            .collect();
        let stripped = SecurityDescriptor {
            dacl: Dacl::Present(foreign),
            ..found.clone()
        };
        let read = AccessMask::FILE_GENERIC_READ;
        let next = if object.names == Names::Outside {
            with(&stripped, &[Ace::allow(AceFlags::NONE, read, group())])
        } else {
            let next = reinherit(parent, &stripped, kind(object.kind), &GenericMapping::FILE);
            let explicit = next.acl()?.explicit().any(|ace| ace.kind == AceKind::Allow);
            if purpose == Purpose::Protected && explicit {
                with(
                    &next,
                    &[Ace::deny(AceFlags::INHERIT_ALL, protect(), group())],
                )
            } else {
                next
            }
        };
        (!crate::windows::same(&next, found)).then_some(next)
    }
}

/// Ada's files, her ledger, and what the next set-up would do.
pub(super) struct Desk {
    pub(super) faults: Faults,
    pub(super) store: MemoryStore,
    pub(super) files: FakeFiles,
}

impl Desk {
    /// A workspace with a repository, a secret, a file whose other name is outside, and a junction that leads out.
    pub(super) fn new() -> Self {
        let faults = Faults::new();
        let mut files = FakeFiles::new(&['C', 'D'], &owned(Sid::SYSTEM), &faults);
        let root = owned(Sid::SYSTEM);
        for directory in [
            "C:\\Users",
            "C:\\ProgramData",
            "C:\\ProgramData\\Ringfence",
            "C:\\Windows",
        ] {
            files.add_directory(directory, &root).unwrap();
        }
        files
            .add_directory("C:\\ProgramData\\Ringfence\\A", &root)
            .unwrap();
        for (profile, person) in [("C:\\Users\\ada", ada()), ("C:\\Users\\bob", bob())] {
            files.add_directory(profile, &owned(person)).unwrap();
        }
        let mut desk = Self {
            store: MemoryStore::new(&faults),
            files,
            faults,
        };
        for directory in [
            "C:\\Users\\ada\\src",
            "C:\\Users\\ada\\out",
            ROOT,
            "C:\\Users\\ada\\src\\ws\\.git",
            "C:\\Users\\ada\\src\\ws\\.git\\hooks",
            "C:\\Users\\ada\\src\\ws\\src",
            "C:\\Users\\bob\\ws",
        ] {
            desk.make(directory, ObjectKind::Directory);
        }
        for file in [
            "C:\\Users\\ada\\src\\ws\\.git\\config",
            "C:\\Users\\ada\\src\\ws\\.git\\hooks\\pre-commit",
            "C:\\Users\\ada\\src\\ws\\.env",
            "C:\\Users\\ada\\src\\ws\\src\\main.rs",
            "C:\\Users\\ada\\out\\linked",
            "C:\\Users\\ada\\out\\notes",
            "C:\\Users\\bob\\ws\\plan",
        ] {
            desk.make(file, ObjectKind::File);
        }
        desk.files
            .add_link(
                "C:\\Users\\ada\\out\\linked",
                "C:\\Users\\ada\\src\\ws\\linked",
            )
            .unwrap();
        desk.files
            .add_link(
                "C:\\Users\\ada\\src\\ws\\src\\main.rs",
                "C:\\Users\\ada\\src\\ws\\again.rs",
            )
            .unwrap();
        let reparse = Reparse {
            kind: ReparseKind::Junction,
            target: "C:\\Users\\ada\\out".to_owned(),
        };
        let junction =
            desk.inherited_at("C:\\Users\\ada\\src\\ws\\junction", ObjectKind::Directory);
        desk.files
            .add_reparse("C:\\Users\\ada\\src\\ws\\junction", &junction, reparse)
            .unwrap();
        // A hook with rights of its own, which an inherited deny would lose against.
        let hook = path("C:\\Users\\ada\\src\\ws\\.git\\hooks\\pre-commit");
        let id = desk.files.id(&hook).unwrap();
        let write = Ace::allow(AceFlags::NONE, AccessMask::FILE_MODIFY, Sid::USERS);
        let changed = with(desk.files.descriptor(id).unwrap(), &[write]);
        desk.files.change(id, changed).unwrap();
        desk
    }

    pub(super) fn descriptor_at(&self, text: &str) -> SecurityDescriptor {
        let id = self.files.id(&path(text)).unwrap();
        self.files.descriptor(id).unwrap().clone()
    }

    fn inherited_at(&self, text: &str, object: ObjectKind) -> SecurityDescriptor {
        let parent = path(text).parent().unwrap();
        let parent = self.descriptor_at(&parent.to_string());
        inherited(&parent, object, parent.owner.unwrap())
    }

    /// Makes an object that inherits all it has.
    pub(super) fn make(&mut self, text: &str, object: ObjectKind) {
        let descriptor = self.inherited_at(text, object);
        match object {
            ObjectKind::Directory => self.files.add_directory(text, &descriptor),
            ObjectKind::File => self.files.add_file(text, &descriptor),
        }
        .unwrap();
    }

    pub(super) fn object(&self, text: &str, kind: ObjectKind) -> Object {
        let path = path(text);
        let id = self.files.id(&path).unwrap();
        Object { path, id, kind }
    }

    fn set(&self, text: &str, object: ObjectKind, purpose: Purpose, added: &[Ace]) -> PersonStep {
        let before = self.descriptor_at(text);
        let mut after = with(&before, added);
        if purpose == Purpose::Secret {
            let explicit = |ace: &Ace| Ace {
                flags: AceFlags::NONE,
                ..*ace
            };
            let acl = before.acl().unwrap().aces.iter().map(explicit).collect();
            after.dacl = Dacl::Present(acl);
            after.control = after.control.with(Control::DACL_PROTECTED);
        }
        PersonStep::SetDacl {
            object: self.object(text, object),
            purpose,
            before,
            after,
        }
    }

    /// The steps for the workspace, from what is there now.
    pub(super) fn steps(&self) -> Vec<PersonStep> {
        let all = AceFlags::INHERIT_ALL;
        let modify = AccessMask::FILE_MODIFY;
        let pass = [Ace::allow(AceFlags::NONE, AccessMask(0x0012_00a0), group())];
        let root = [
            Ace::deny(AceFlags::NONE, AccessMask::DELETE, group()),
            Ace::allow(all, modify, group()),
            Ace::allow(all, modify, capability()),
            Ace::allow(all, AccessMask::READ_CONTROL, Sid::OWNER_RIGHTS),
            Ace::allow(all, AccessMask::FILE_ALL_ACCESS, ada()),
        ];
        let git = [
            Ace::deny(all, protect(), group()),
            Ace::deny(all, protect(), capability()),
        ];
        let directory = ObjectKind::Directory;
        let dot_git = format!("{ROOT}\\.git");
        let dot_env = format!("{ROOT}\\.env");
        vec![
            self.set("C:\\Users\\ada", directory, Purpose::Ancestor, &pass),
            self.set("C:\\Users\\ada\\src", directory, Purpose::Ancestor, &pass),
            self.set(ROOT, directory, Purpose::Root, &root),
            self.set(&dot_git, directory, Purpose::Protected, &git),
            self.set(&dot_env, ObjectKind::File, Purpose::Secret, &[]),
            PersonStep::Walk {
                root: self.object(ROOT, directory),
                purpose: Purpose::Root,
            },
            PersonStep::Walk {
                root: self.object(&dot_git, directory),
                purpose: Purpose::Protected,
            },
            PersonStep::MakeHome {
                path: path(HOME),
                descriptor: owned(ada()).protected(),
            },
        ]
    }

    pub(super) fn grants<T>(
        &mut self,
        act: impl FnOnce(&mut Grants<'_, MemoryStore, FakeFiles>) -> Result<T, GrantError>,
    ) -> Result<T, GrantError> {
        let mut ledger: Ledger<PersonBook, MemoryStore> =
            Ledger::open(self.store.clone()).map_err(GrantError::Ledger)?;
        act(&mut Grants {
            person: ada(),
            ours: &ours(),
            ledger: &mut ledger,
            files: &mut self.files,
        })
    }

    pub(super) fn apply(&mut self, steps: &[PersonStep]) -> Result<Granted, GrantError> {
        self.apply_until(steps, u64::MAX)
    }

    /// Applies, and stops the walk once that many objects were visited.
    pub(super) fn apply_until(
        &mut self,
        steps: &[PersonStep],
        visited: u64,
    ) -> Result<Granted, GrantError> {
        let mut progress = |progress: crate::windows::Progress| {
            if progress.visited >= visited {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let rule = Rule::of(steps);
        self.grants(|grants| {
            let mut walking = Walking {
                rule: &rule,
                progress: &mut progress,
            };
            grants.apply(steps, &mut walking)
        })
    }

    pub(super) fn uninstall(&mut self) -> Result<Revoked, GrantError> {
        self.grants(|grants| {
            let revoked = grants.uninstall()?;
            Ok(revoked)
        })
    }

    pub(super) fn roll_back(&mut self) -> Result<Revoked, GrantError> {
        self.grants(|grants| {
            let revoked = grants.roll_back()?;
            Ok(revoked)
        })
    }

    pub(super) fn restart(&self, surviving: usize) {
        self.faults.restart();
        self.store.restart(surviving);
    }
}

/// Every node, without the number that the next one will get.
pub(super) fn nodes(tree: &FileSystem) -> Vec<(NodeId, Node)> {
    tree.nodes().map(|(id, node)| (id, node.clone())).collect()
}

/// Every object that carries something of ours.
pub(super) fn carriers(tree: &FileSystem) -> Vec<String> {
    tree.nodes()
        .filter(|(_, node)| {
            let named = node
                .descriptor
                .acl()
                .is_some_and(|acl| acl.aces.iter().any(|ace| ours().contains(&ace.sid)));
            named
                || node
                    .descriptor
                    .owner
                    .is_some_and(|owner| ours().contains(&owner))
        })
        .map(|(id, _)| tree.path_of(id))
        .collect()
}
