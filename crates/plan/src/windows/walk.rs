//! The rule of a walk: what one object below a directory becomes, given its parent as it is now.
//!
//! The executor opens one object at a time, follows no reparse point, asks this rule, and sets what it says by the
//! raw call; where an object has a step of its own, that step's purpose holds from there on. Nothing propagates by
//! itself. Invariant: asked twice, the rule changes nothing the second time.

use ringfence_nt::inherit::reinherit;
use ringfence_nt::{
    AccessMask, Ace, AceFlags, Acl, Control, Dacl, GenericMapping, SecurityDescriptor,
};

use crate::windows::descriptors::{
    EXECUTE, PROTECT, READ, Trustees, bind_owner, container, outranks_inherited, same_access,
    secret, with_entries,
};
use crate::windows::reach::Reach;
use crate::windows::step::{ObjectKind, Purpose};

/// Where the names of a file lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// It has one name, or all of them lie in the directory that is walked.
    Inside,
    /// One of them lies outside, or that can't be told.
    Outside,
}

/// An object that the walk has opened.
#[derive(Clone, Copy, Debug)]
pub struct Visited<'a> {
    /// Whether it has children.
    pub kind: ObjectKind,
    /// Where its names lie.
    pub names: Names,
    /// Its descriptor as it is now.
    pub descriptor: &'a SecurityDescriptor,
}

/// Whether an object has nothing but what its directory gives: no walk from above would find more to do there than in
/// the directory itself.
#[must_use]
pub fn inherits_alone(
    parent: &SecurityDescriptor,
    kind: ObjectKind,
    descriptor: &SecurityDescriptor,
) -> bool {
    let is_protected = descriptor.control.contains(Control::DACL_PROTECTED);
    let has_own = descriptor
        .acl()
        .is_none_or(|acl| acl.explicit().next().is_some());
    let given = reinherit(parent, descriptor, container(kind), &GenericMapping::FILE);
    !is_protected && !has_own && same_access(&given, descriptor)
}

/// The rule of one walk.
#[derive(Clone, Copy, Debug)]
pub struct WalkRule<'a> {
    /// Why the directory that it began at has a descriptor of ours.
    pub purpose: Purpose,
    /// Whom its entries name.
    pub trustees: &'a Trustees,
    /// What the accounts could reach by themselves.
    pub reach: &'a Reach,
}

impl WalkRule<'_> {
    /// What `object` becomes, below a parent with the descriptor `parent`; `None` where it stays.
    ///
    /// # Security
    /// A target may have made the object, its descriptor and its other names.
    #[must_use]
    pub fn next(
        &self,
        parent: &SecurityDescriptor,
        object: &Visited<'_>,
    ) -> Option<SecurityDescriptor> {
        let next = match object.names {
            Names::Inside => self.inside(parent, object),
            // What it inherits here would be granted at its other name too.
            Names::Outside => self.linked_outside(object),
        };
        (!same_access(&next, object.descriptor)).then_some(next)
    }

    fn inside(&self, parent: &SecurityDescriptor, object: &Visited<'_>) -> SecurityDescriptor {
        let Visited {
            kind, descriptor, ..
        } = *object;
        let stamp =
            |ours: &[Ace]| with_entries(descriptor, Some(parent), kind, ours, self.trustees);
        match self.purpose {
            // Without entries of its own; those that an earlier plan left go.
            Purpose::Root | Purpose::Between => {
                let next = self.adopt(stamp(&[]), kind);
                bind_owner(next, kind, self.trustees)
            }
            Purpose::Protected | Purpose::WorldWritable | Purpose::DeniedRead => {
                let mask = if self.purpose == Purpose::DeniedRead {
                    READ
                } else {
                    PROTECT
                };
                let ours = if outranks_inherited(descriptor, mask) {
                    self.trustees.entries(self.purpose, kind)
                } else {
                    Vec::new()
                };
                bind_owner(stamp(&ours), kind, self.trustees)
            }
            Purpose::Secret => {
                let next = reinherit(parent, descriptor, container(kind), &GenericMapping::FILE);
                if self.reach.of_accounts(Some(&next)).intersects(READ) {
                    secret(descriptor, kind, self.trustees, self.reach)
                } else {
                    bind_owner(next, kind, self.trustees)
                }
            }
            Purpose::Tool => stamp(&[]),
            Purpose::Ancestor | Purpose::Profile | Purpose::Walked => descriptor.clone(),
        }
    }

    /// Takes from the accounts what they must not do by any of the names; gives no more than reading, and takes
    /// nothing from others, to whom the other name may belong.
    fn linked_outside(&self, object: &Visited<'_>) -> SecurityDescriptor {
        let stamp = |ours: &[Ace]| {
            let kept = with_entries(object.descriptor, None, object.kind, ours, self.trustees);
            bind_owner(kept, object.kind, self.trustees)
        };
        let ours = match self.purpose {
            Purpose::Root | Purpose::Between | Purpose::Protected => {
                let mut ours = self.trustees.linked_outside();
                if self.reach.of_accounts(Some(&stamp(&[]))).contains(EXECUTE) {
                    ours.retain(|ace| ace.mask != EXECUTE);
                }
                ours
            }
            Purpose::Secret => self.trustees.deny_here(READ | PROTECT),
            Purpose::DeniedRead | Purpose::WorldWritable => {
                self.trustees.entries(self.purpose, object.kind)
            }
            Purpose::Tool | Purpose::Ancestor | Purpose::Profile | Purpose::Walked => {
                return object.descriptor.clone();
            }
        };
        stamp(&ours)
    }

    /// Gives the person back what a sandboxed command made without them: a protected DACL that leaves them out.
    fn adopt(&self, descriptor: SecurityDescriptor, kind: ObjectKind) -> SecurityDescriptor {
        adopt(descriptor, kind, self.trustees)
    }
}

/// Adds the person's full entry to an object that one of the accounts owns and that leaves the person out; the runner
/// does this at the end of each command.
#[must_use]
pub fn adopt(
    descriptor: SecurityDescriptor,
    kind: ObjectKind,
    trustees: &Trustees,
) -> SecurityDescriptor {
    let Dacl::Present(acl) = &descriptor.dacl else {
        return descriptor;
    };
    let has_person = acl.aces.iter().any(|ace| {
        ace.sid == trustees.person
            && ace.applies_here()
            && ace.mask.contains(AccessMask::FILE_ALL_ACCESS)
    });
    if !trustees.own(&descriptor) || has_person {
        return descriptor;
    }
    let flags = crate::windows::descriptors::inherited_flags(kind);
    let entry = Ace::allow(flags, AccessMask::FILE_ALL_ACCESS, trustees.person);
    let explicit_denies =
        |ace: &&Ace| ace.kind == ringfence_nt::AceKind::Deny && !ace.is_inherited();
    let entries: Acl = acl
        .aces
        .iter()
        .filter(explicit_denies)
        .copied()
        .chain([entry])
        .chain(acl.aces.iter().filter(|ace| !explicit_denies(ace)).copied())
        .collect();
    SecurityDescriptor {
        dacl: Dacl::Present(entries),
        ..descriptor
    }
}

/// `current` without exactly these entries, each as often as it is named; `None` where none of them is there.
///
/// For an object that somebody else changed since we did: what they did is kept.
#[must_use]
pub fn without_entries(current: &SecurityDescriptor, remove: &[Ace]) -> Option<SecurityDescriptor> {
    let Dacl::Present(acl) = &current.dacl else {
        return None;
    };
    let same = |ace: &Ace, other: &Ace| {
        let flags = |ace: &Ace| ace.flags.without(AceFlags::INHERITED);
        ace.kind == other.kind
            && ace.mask == other.mask
            && ace.sid == other.sid
            && flags(ace) == flags(other)
    };
    let mut kept = acl.aces.clone();
    for ace in remove {
        if let Some(index) = kept.iter().position(|one| same(one, ace)) {
            kept.remove(index);
        }
    }
    (kept.len() != acl.aces.len()).then(|| SecurityDescriptor {
        dacl: Dacl::Present(Acl::new(kept)),
        ..current.clone()
    })
}
