//! Inheritance: the descriptor of a new object, and what propagation makes of an existing one.
//!
//! Sources: learn.microsoft.com "ACE Inheritance Rules", "DACL for a New Object", "Owner of a New Object",
//! "Automatic Propagation of Inheritable ACEs"; [MS-DTYP] 2.5.3.4 (`CreateSecurityDescriptor`); [MS-FSA] 2.1.5.1.1
//! (a new file inherits automatically). Where [MS-DTYP] and the rules page differ (an inherit-only entry of the parent
//! is effective in the child; entries of the creator stay whether or not they are inheritable), the page is followed.
//! System lists are not computed, and children that were never converted to automatic inheritance are not guessed at.
//!
//! What no document settles:
//! - `[unsettled]` a parent whose inheritable entries all pass by this kind of object: taken as if there were none, so
//!   the default DACL of the token applies, which grants at least as much as an empty list;
//! - `[unsettled]` a creator that gives a NULL DACL without protecting it: taken as given, which grants all.
//!
//! Invariant: an entry of the child is marked as inherited exactly if it was computed from the parent.

use crate::ace::{Ace, AceFlags};
use crate::acl::Acl;
use crate::descriptor::{Control, Dacl, SecurityDescriptor};
use crate::mask::{AccessMask, GenericMapping};
use crate::sid::Sid;
use crate::token::Token;

/// Whether an object can have children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A directory or a registry key: takes what is marked for containers, and passes entries on.
    Container,
    /// A file: takes what is marked for objects.
    Leaf,
}

/// What a creator gives for a new object; what is absent is taken from the parent and the token.
///
/// # Security
/// A target chooses all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreatorDescriptor {
    /// The owner.
    pub owner: Option<Sid>,
    /// The primary group.
    pub group: Option<Sid>,
    /// The DACL: absent, NULL or a list.
    pub dacl: Option<Dacl>,
    /// The control bits; only [`Control::DACL_PROTECTED`] matters.
    pub control: Control,
}

/// The descriptor of an object that a token makes in `parent`.
#[must_use]
pub fn for_new(
    parent: Option<&SecurityDescriptor>,
    token: &Token,
    given: Option<&CreatorDescriptor>,
    kind: ObjectKind,
    mapping: &GenericMapping,
) -> SecurityDescriptor {
    let owner = given
        .and_then(|given| given.owner)
        .unwrap_or(token.default_owner);
    let group = given
        .and_then(|given| given.group)
        .unwrap_or(token.primary_group);
    let object = NewObject {
        kind,
        owner: Some(owner),
        group: Some(group),
        mapping,
    };
    let is_protected = given.is_some_and(|given| given.control.contains(Control::DACL_PROTECTED));
    let inherited = match parent {
        Some(parent) if !is_protected => object.inherited(parent),
        Some(_) | None => Vec::new(),
    };
    let control = if is_protected {
        Control::DACL_PROTECTED
    } else if inherited.is_empty() {
        Control(0)
    } else {
        Control::DACL_AUTO_INHERITED
    };
    let dacl = match given.and_then(|given| given.dacl.as_ref()) {
        Some(Dacl::Null) => Dacl::Null,
        Some(Dacl::Present(acl)) => {
            let explicit = acl.explicit().flat_map(|ace| object.settle(*ace)).flatten();
            Dacl::Present(explicit.chain(inherited).collect())
        }
        None if !inherited.is_empty() => Dacl::Present(Acl::new(inherited)),
        None => token.default_dacl.as_ref().map_or(Dacl::Null, |acl| {
            let settle = |ace: &Ace| {
                let flags = ace.flags.without(AceFlags::INHERITED);
                object.settle(Ace { flags, ..*ace })
            };
            Dacl::Present(acl.aces.iter().flat_map(settle).flatten().collect())
        }),
    };
    SecurityDescriptor {
        owner: Some(owner),
        group: Some(group),
        dacl,
        sacl: None,
        control,
    }
}

/// The child's descriptor after its parent's has changed: explicit entries stay, in order and in front, and the
/// inherited part is computed anew; a protected DACL stays as it is.
///
/// A child without a DACL that inherits something has a list of that alone afterwards; one whose every entry goes has
/// an empty list, which lets nobody in.
#[must_use]
pub fn reinherit(
    parent: &SecurityDescriptor,
    child: &SecurityDescriptor,
    kind: ObjectKind,
    mapping: &GenericMapping,
) -> SecurityDescriptor {
    if child.control.contains(Control::DACL_PROTECTED) {
        return child.clone();
    }
    let object = NewObject {
        kind,
        owner: child.owner,
        group: child.group,
        mapping,
    };
    let inherited = object.inherited(parent);
    let dacl = match &child.dacl {
        Dacl::Null if inherited.is_empty() => Dacl::Null,
        Dacl::Null => Dacl::Present(Acl::new(inherited)),
        Dacl::Present(acl) => Dacl::Present(acl.explicit().copied().chain(inherited).collect()),
    };
    SecurityDescriptor {
        dacl,
        control: child.control.with(Control::DACL_AUTO_INHERITED),
        ..child.clone()
    }
}

/// The object that entries are computed for.
struct NewObject<'a> {
    kind: ObjectKind,
    owner: Option<Sid>,
    group: Option<Sid>,
    mapping: &'a GenericMapping,
}

impl NewObject<'_> {
    /// What it inherits, in the parent's order.
    fn inherited(&self, parent: &SecurityDescriptor) -> Vec<Ace> {
        let aces = parent.acl().map_or(&[][..], |acl| &acl.aces);
        aces.iter()
            .flat_map(|ace| self.inherit(*ace))
            .flatten()
            .collect()
    }

    /// What it inherits of one entry of the parent: the table of "ACE Inheritance Rules".
    fn inherit(&self, ace: Ace) -> [Option<Ace>; 2] {
        let for_leaves = ace.flags.contains(AceFlags::OBJECT_INHERIT);
        let for_containers = ace.flags.contains(AceFlags::CONTAINER_INHERIT);
        let once = ace.flags.contains(AceFlags::NO_PROPAGATE_INHERIT);
        let effective = Ace {
            flags: AceFlags::INHERITED,
            ..ace
        };
        let passed_on = Ace {
            flags: ace
                .flags
                .without(AceFlags::INHERIT_ONLY)
                .with(AceFlags::INHERITED),
            ..ace
        };
        let only_passed_on = Ace {
            flags: passed_on.flags.with(AceFlags::INHERIT_ONLY),
            ..ace
        };
        match self.kind {
            ObjectKind::Leaf if for_leaves => [Some(self.resolve(effective)), None],
            ObjectKind::Container if for_containers && once => {
                [Some(self.resolve(effective)), None]
            }
            ObjectKind::Container if for_containers => self.settle(passed_on),
            ObjectKind::Container if for_leaves && !once => [Some(only_passed_on), None],
            ObjectKind::Leaf | ObjectKind::Container => [None; 2],
        }
    }

    /// An entry that is to stand on the object: if it applies here and is generic, it is made specific; and if it is
    /// also to be passed on, a second one that is only inherited keeps what is generic.
    fn settle(&self, ace: Ace) -> [Option<Ace>; 2] {
        let generic = ace.mask.intersects(AccessMask::GENERIC)
            || ace.sid == Sid::CREATOR_OWNER
            || ace.sid == Sid::CREATOR_GROUP;
        if !ace.applies_here() || !generic {
            return [Some(ace), None];
        }
        let inheritable = ace.flags.0 & AceFlags::INHERIT_ALL.0 != 0;
        let effective = self.resolve(Ace {
            flags: ace
                .flags
                .without(AceFlags::INHERIT_ALL)
                .without(AceFlags::NO_PROPAGATE_INHERIT),
            ..ace
        });
        let kept = Ace {
            flags: ace.flags.with(AceFlags::INHERIT_ONLY),
            ..ace
        };
        let passed_on = inheritable && self.kind == ObjectKind::Container;
        [Some(effective), passed_on.then_some(kept)]
    }

    /// An entry with this object's rights and SIDs in the place of generic ones.
    fn resolve(&self, ace: Ace) -> Ace {
        let creator = match ace.sid {
            Sid::CREATOR_OWNER => self.owner,
            Sid::CREATOR_GROUP => self.group,
            _ => None,
        };
        Ace {
            mask: self.mapping.map(ace.mask),
            sid: creator.unwrap_or(ace.sid),
            ..ace
        }
    }
}

#[cfg(test)]
mod tests;
