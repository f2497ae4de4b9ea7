//! The access control table: which entries stand where, and what a descriptor becomes.
//!
//! | where | trustee | mask | inheritance |
//! |---|---|---|---|
//! | root | group, capability | allow `0x1301bf`: read, write, execute, DELETE; never `FILE_DELETE_CHILD` | files, directories |
//! | root | OWNER RIGHTS | allow `READ_CONTROL`: else the target rewrites the DACL of what it made | files, directories |
//! | root | the person | allow `0x1f01ff`: what sandboxed commands make stays theirs | files, directories |
//! | root itself | group, capability | deny `0x10040`: DELETE, `FILE_DELETE_CHILD` | none |
//! | protected path | group, capability | deny `0xd0156` | files, directories; again where an inherited deny would lose |
//! | between it and the root | group, capability | deny `0x10040` | none |
//! | above the root | group | allow `0x1200a0`: attributes, traverse; deny `0x10040` | none |
//! | private home | group, its own SID | as a root | as a root |
//! | tools | group | allow `0x1200a9`: read, execute | files, directories |
//! | secret in a root | – | protected, without us; OWNER RIGHTS only where an account owns it | – |
//! | secret elsewhere | group | deny `0x29` | files, directories |
//! | place that anyone may write | group | deny `0xd0156` | files, directories |
//!
//! The private home has a SID of its own, because a session that may not write its root still writes its home.
//! `FILE_DELETE_CHILD` is denied with DELETE, above roots too, because an entry of somebody else (Everyone, full control) may grant it
//! and the second pass may not cover it; files stay deletable, since each grants DELETE itself.
//!
//! Invariant: what comes out is in canonical order, keeps every entry that is not ours, and put in again comes out
//! unchanged.

use ringfence_nt::inherit::{self, reinherit};
use ringfence_nt::{
    AccessMask, Ace, AceFlags, AceKind, Acl, Control, Dacl, GenericMapping, SecurityDescriptor, Sid,
};

use crate::windows::reach::Reach;
use crate::windows::step::{AccountSids, ObjectKind, Purpose};

/// What a root grants: `0x1301bf`.
pub const WRITE: AccessMask = AccessMask::FILE_MODIFY;
/// What a protected path denies: `0xd0156`. Without SYNCHRONIZE and `READ_CONTROL`, or reads would break.
pub const PROTECT: AccessMask = AccessMask(0x000d_0156);
/// What a directory that must stay where it is denies: `0x10040`.
pub const STAY: AccessMask = AccessMask::DELETE.with(AccessMask::FILE_DELETE_CHILD);
/// What a directory above a root grants: `0x1200a0`.
pub const PASS: AccessMask = AccessMask::FILE_GENERIC_EXECUTE;
/// What a directory of tools grants: `0x1200a9`.
pub const EXECUTE: AccessMask =
    AccessMask::FILE_GENERIC_READ.with(AccessMask::FILE_GENERIC_EXECUTE);
/// What a secret elsewhere denies: `0x29`, data, extended attributes, execute.
pub const READ: AccessMask = AccessMask(0x29);
/// Everything.
pub const FULL: AccessMask = AccessMask::FILE_ALL_ACCESS;

/// Whom the entries of one root name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trustees {
    /// The accounts and their group; none in same-user mode.
    pub accounts: Option<AccountSids>,
    /// The person.
    pub person: Sid,
    /// The capability SID of the root, then those of roots that it lies in; none away from roots.
    pub capabilities: Vec<Sid>,
    /// Every other SID of ours that may stand on an object: earlier capabilities, the marker.
    pub known: Vec<Sid>,
}

impl Trustees {
    /// Whether an entry is one of ours by whom it names.
    #[must_use]
    pub fn is_ours(&self, ace: &Ace) -> bool {
        let of_accounts = self
            .accounts
            .is_some_and(|accounts| accounts.all().contains(&ace.sid));
        of_accounts || self.capabilities.contains(&ace.sid) || self.known.contains(&ace.sid)
    }

    /// The group: the SID of the normal pass that every target and runner carries.
    fn group(&self) -> Option<Sid> {
        self.accounts.map(|accounts| accounts.group)
    }

    /// An entry for each of `sids`.
    fn each(sids: impl Iterator<Item = Sid>, template: Ace) -> Vec<Ace> {
        sids.map(|sid| Ace { sid, ..template }).collect()
    }

    /// Denies that a SID of the normal pass and every capability carry.
    fn deny(&self, flags: AceFlags, mask: AccessMask) -> Vec<Ace> {
        let sids = self
            .group()
            .into_iter()
            .chain(self.capabilities.iter().copied());
        Self::each(sids, Ace::deny(flags, mask, Sid::NULL))
    }

    /// Whether one of the accounts owns an object.
    #[must_use]
    pub fn own(&self, descriptor: &SecurityDescriptor) -> bool {
        let owner = descriptor.owner;
        self.accounts.is_some_and(|accounts| {
            [accounts.offline, accounts.online]
                .map(Some)
                .contains(&owner)
        })
    }

    /// The explicit entries that an object of this purpose gets; [`Purpose::Secret`] has none but is rebuilt whole.
    #[must_use]
    pub fn entries(&self, purpose: Purpose, kind: ObjectKind) -> Vec<Ace> {
        let below = inherited_flags(kind);
        let group = |ace: Ace| Self::each(self.group().into_iter(), ace);
        match purpose {
            Purpose::Root => {
                let own = self.capabilities.first().copied();
                let granted = self.group().into_iter().chain(own);
                let mut entries = self.deny(AceFlags::NONE, STAY);
                entries.extend(Self::each(granted, Ace::allow(below, WRITE, Sid::NULL)));
                if self.accounts.is_some() {
                    let bound = AccessMask::READ_CONTROL;
                    entries.push(Ace::allow(below, bound, Sid::OWNER_RIGHTS));
                    entries.push(Ace::allow(below, FULL, self.person));
                }
                entries
            }
            Purpose::Protected => self.deny(below, PROTECT),
            Purpose::Between => self.deny(AceFlags::NONE, STAY),
            Purpose::Ancestor => {
                let mut entries = group(Ace::deny(AceFlags::NONE, STAY, Sid::NULL));
                entries.extend(group(Ace::allow(AceFlags::NONE, PASS, Sid::NULL)));
                entries
            }
            Purpose::Tool => group(Ace::allow(below, EXECUTE, Sid::NULL)),
            Purpose::DeniedRead => group(Ace::deny(below, READ, Sid::NULL)),
            Purpose::WorldWritable => group(Ace::deny(below, PROTECT, Sid::NULL)),
            Purpose::Secret | Purpose::Profile | Purpose::Walked => Vec::new(),
        }
    }

    /// The entries of a file that has a name outside its root: it may be read and started, and not written.
    #[must_use]
    pub fn linked_outside(&self) -> Vec<Ace> {
        let mut entries = self.deny_here(PROTECT);
        let read = Ace::allow(AceFlags::NONE, EXECUTE, Sid::NULL);
        entries.extend(Self::each(self.group().into_iter(), read));
        entries
    }

    /// Denies on one object alone.
    #[must_use]
    pub fn deny_here(&self, mask: AccessMask) -> Vec<Ace> {
        self.deny(AceFlags::NONE, mask)
    }

    /// The descriptor of a private home that `sid` may write.
    #[must_use]
    pub fn home(&self, sid: Sid) -> SecurityDescriptor {
        let of_home = Self {
            capabilities: vec![sid],
            ..self.clone()
        };
        let below = AceFlags::INHERIT_ALL;
        let mut entries = of_home.entries(Purpose::Root, ObjectKind::Directory);
        for all in [self.person, Sid::SYSTEM, Sid::ADMINISTRATORS] {
            let entry = Ace::allow(below, FULL, all);
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
        SecurityDescriptor::new(self.person, self.person, Acl::new(entries)).protected()
    }
}

/// `OI CI` on a directory, nothing on a file.
#[must_use]
pub const fn inherited_flags(kind: ObjectKind) -> AceFlags {
    match kind {
        ObjectKind::Directory => AceFlags::INHERIT_ALL,
        ObjectKind::File => AceFlags::NONE,
    }
}

/// The model's word for a kind of object.
#[must_use]
pub const fn container(kind: ObjectKind) -> inherit::ObjectKind {
    match kind {
        ObjectKind::Directory => inherit::ObjectKind::Container,
        ObjectKind::File => inherit::ObjectKind::Leaf,
    }
}

/// `before` with `ours` as our only explicit entries; what it inherits is computed from `parent`, where given.
///
/// Entries of others stay, and in their order within denies and allows.
#[must_use]
pub fn with_entries(
    before: &SecurityDescriptor,
    parent: Option<&SecurityDescriptor>,
    kind: ObjectKind,
    ours: &[Ace],
    trustees: &Trustees,
) -> SecurityDescriptor {
    let theirs: Vec<Ace> = before
        .acl()
        .into_iter()
        .flat_map(Acl::explicit)
        .filter(|ace| !trustees.is_ours(ace) && !ours.contains(ace))
        .copied()
        .collect();
    let is_deny = |ace: &&Ace| ace.kind == AceKind::Deny;
    let is_other = |ace: &&Ace| ace.kind != AceKind::Deny;
    let explicit = ours
        .iter()
        .filter(is_deny)
        .chain(theirs.iter().filter(is_deny))
        .chain(ours.iter().filter(is_other))
        .chain(theirs.iter().filter(is_other))
        .copied();
    let inherited = before.acl().into_iter().flat_map(Acl::inherited).copied();
    let stamped = SecurityDescriptor {
        // A NULL DACL becomes a list only if there is something to put into it.
        dacl: match before.dacl {
            Dacl::Null if ours.is_empty() => Dacl::Null,
            Dacl::Null | Dacl::Present(_) => Dacl::Present(explicit.chain(inherited).collect()),
        },
        ..before.clone()
    };
    match parent {
        Some(parent) => reinherit(parent, &stamped, container(kind), &GenericMapping::FILE),
        None => stamped,
    }
}

/// A secret's descriptor: nothing is inherited, the person and SYSTEM have all, and nobody is left whom the accounts
/// count among. Where one of the accounts owns it, an OWNER RIGHTS entry binds them.
#[must_use]
pub fn secret(
    before: &SecurityDescriptor,
    kind: ObjectKind,
    trustees: &Trustees,
    reach: &Reach,
) -> SecurityDescriptor {
    let flags = inherited_flags(kind);
    let whole = [
        Ace::allow(flags, FULL, trustees.person),
        Ace::allow(flags, FULL, Sid::SYSTEM),
    ];
    let theirs: Vec<Ace> = before
        .acl()
        .into_iter()
        .flat_map(|acl| &acl.aces)
        .map(|ace| Ace {
            flags: ace.flags.without(AceFlags::INHERITED),
            ..*ace
        })
        .filter(|ace| !trustees.is_ours(ace) && !whole.contains(ace))
        .filter(|ace| ace.sid != Sid::OWNER_RIGHTS)
        .filter(|ace| ace.kind == AceKind::Deny || !reach.is_carried(ace.sid))
        .collect();
    let (denies, others): (Vec<Ace>, Vec<Ace>) = theirs
        .into_iter()
        .partition(|ace| ace.kind == AceKind::Deny);
    let mut entries = denies;
    entries.extend(whole);
    for ace in others {
        if !entries.contains(&ace) {
            entries.push(ace);
        }
    }
    let closed = SecurityDescriptor {
        dacl: Dacl::Present(Acl::new(entries)),
        control: before.control.with(Control::DACL_PROTECTED),
        ..before.clone()
    };
    // What a command made, the person may have filled in since: its owner must not open it again.
    bind_owner(closed, kind, trustees)
}

/// Binds the owner of an object that one of the accounts owns: an OWNER RIGHTS entry gives `READ_CONTROL` and no more.
///
/// Without any such entry the owner rewrites the DACL; one that the owner put there by itself may grant everything.
#[must_use]
pub fn bind_owner(
    descriptor: SecurityDescriptor,
    kind: ObjectKind,
    trustees: &Trustees,
) -> SecurityDescriptor {
    let Dacl::Present(acl) = &descriptor.dacl else {
        return descriptor;
    };
    if !trustees.own(&descriptor) {
        return descriptor;
    }
    let of_owner = |ace: &&Ace| ace.kind == AceKind::Allow && ace.sid == Sid::OWNER_RIGHTS;
    let is_wide = |ace: &&Ace| of_owner(ace) && !AccessMask::READ_CONTROL.contains(ace.mask);
    let kept: Vec<Ace> = acl
        .aces
        .iter()
        .filter(|ace| !is_wide(ace))
        .copied()
        .collect();
    let bound = kept.iter().any(|ace| of_owner(&ace) && ace.applies_here());
    let entries = if bound {
        kept
    } else {
        let entry = Ace::allow(
            inherited_flags(kind),
            AccessMask::READ_CONTROL,
            Sid::OWNER_RIGHTS,
        );
        // Last of what is explicit: there it stays when our other entries are put in again.
        let (inherited, mut explicit): (Vec<Ace>, Vec<Ace>) =
            kept.into_iter().partition(Ace::is_inherited);
        explicit.push(entry);
        explicit.extend(inherited);
        explicit
    };
    SecurityDescriptor {
        dacl: Dacl::Present(Acl::new(entries)),
        ..descriptor
    }
}

/// Whether an inherited deny of `mask` would lose on this object: it is protected from inheritance, or an explicit
/// allow comes before what is inherited.
#[must_use]
pub fn outranks_inherited(descriptor: &SecurityDescriptor, mask: AccessMask) -> bool {
    let Some(acl) = descriptor.acl() else {
        return true;
    };
    descriptor.control.contains(Control::DACL_PROTECTED)
        || acl.explicit().any(|ace| {
            ace.kind == AceKind::Allow && GenericMapping::FILE.map(ace.mask).intersects(mask)
        })
}

/// Whether two descriptors let the same in: DACL and protection. Owner, group and system list are not ours.
#[must_use]
pub fn same_access(left: &SecurityDescriptor, right: &SecurityDescriptor) -> bool {
    left.dacl == right.dacl
        && left.control.contains(Control::DACL_PROTECTED)
            == right.control.contains(Control::DACL_PROTECTED)
}
