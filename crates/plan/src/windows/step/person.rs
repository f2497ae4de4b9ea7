//! Steps that the person's own rights suffice for.
//!
//! Invariant: each names one object by its identity, and what its descriptor was before.

use serde::{Deserialize, Serialize};

use ringfence_nt::{Ace, SecurityDescriptor};

use super::Object;
use crate::windows::path::WindowsPath;

/// Why an object gets a descriptor of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A writable root.
    Root,
    /// A protected path, or a child of one that inherits no deny.
    Protected,
    /// A directory between a protected path and its root.
    Between,
    /// A directory above a root, passed through.
    Ancestor,
    /// A directory of tools.
    Tool,
    /// A secret inside a root.
    Secret,
    /// A secret elsewhere that the accounts could read.
    DeniedRead,
    /// A place that anyone may write.
    WorldWritable,
    /// The profile of the sandbox account.
    Profile,
    /// An object below one of these, changed on the walk.
    Walked,
}

impl Purpose {
    /// Why a file is closed whichever of its names is met, where its names are not judged alike; `names` says of each
    /// why it is closed, if it is. A secret by one name is a secret.
    #[must_use]
    pub fn of_mixed_names(names: &[Option<Self>]) -> Option<Self> {
        let strongest = match names.iter().flatten().next() {
            Some(_) if names.contains(&Some(Self::Secret)) => Some(Self::Secret),
            first => first.copied(),
        };
        strongest.filter(|_| names.iter().any(|one| *one != strongest))
    }
}

/// One change that the person's own rights suffice for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are the large one"
)]
pub enum PersonStep {
    /// Replaces the DACL of one object; owner and group stay.
    SetDacl {
        /// Which.
        object: Object,
        /// Why.
        purpose: Purpose,
        /// Its descriptor as the planner saw it: another one stops the step.
        before: SecurityDescriptor,
        /// Its descriptor afterwards.
        after: SecurityDescriptor,
    },
    /// Brings what lies below a directory in line with it, by the planner's own rule per object.
    ///
    /// Each object that changes is an entry of its own in the ledger, as a [`PersonStep::SetDacl`] of
    /// [`Purpose::Walked`]. No link is followed; an object with a name outside is reported and gets no write access.
    Walk {
        /// The directory.
        root: Object,
        /// The purpose of the directory, which chooses the rule.
        purpose: Purpose,
    },
    /// Makes the private home of a root, below our directory of this person.
    MakeHome {
        /// Where.
        path: WindowsPath,
        /// Its descriptor.
        descriptor: SecurityDescriptor,
    },
}

/// What undoes a [`PersonStep`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are the large one"
)]
pub enum PersonInverse {
    /// Puts back `descriptor` if the object still has `expected`; else another changed it since, and exactly the
    /// entries in `remove` go.
    RestoreDacl {
        /// Which.
        object: Object,
        /// What the step had set.
        expected: SecurityDescriptor,
        /// What was there before.
        descriptor: SecurityDescriptor,
        /// The entries that the step had added.
        remove: Vec<Ace>,
    },
    /// Nothing of its own: the entries of the objects it changed are undone one by one.
    Walked,
    /// Removes the home and what is in it.
    RemoveHome {
        /// Where.
        path: WindowsPath,
    },
}

impl PersonStep {
    /// What undoes this step.
    #[must_use]
    pub fn inverse(&self) -> PersonInverse {
        match self {
            Self::SetDacl {
                object,
                before,
                after,
                ..
            } => PersonInverse::RestoreDacl {
                object: object.clone(),
                expected: after.clone(),
                descriptor: before.clone(),
                remove: added(before, after),
            },
            Self::Walk { .. } => PersonInverse::Walked,
            Self::MakeHome { path, .. } => PersonInverse::RemoveHome { path: path.clone() },
        }
    }
}

/// The entries of `after` that `before` does not have, as often as they were added.
fn added(before: &SecurityDescriptor, after: &SecurityDescriptor) -> Vec<Ace> {
    let mut present: Vec<Ace> = before.acl().map_or_else(Vec::new, |acl| acl.aces.clone());
    let mut added = Vec::new();
    for ace in after.acl().map_or(&[][..], |acl| &acl.aces) {
        match present.iter().position(|known| known == ace) {
            Some(index) => drop(present.swap_remove(index)),
            None => added.push(*ace),
        }
    }
    added
}

#[cfg(test)]
mod tests {
    use ringfence_nt::{AccessMask, AceFlags, Acl, Sid};

    use super::*;
    use crate::windows::step::{FileId, ObjectKind};

    fn descriptor(aces: &[Ace]) -> SecurityDescriptor {
        SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, Acl::new(aces.to_vec()))
    }

    #[test]
    fn an_inverse_removes_exactly_what_was_added() {
        let theirs = Ace::allow(AceFlags::NONE, AccessMask::DELETE, Sid::EVERYONE);
        let ours = Ace::deny(AceFlags::INHERIT_ALL, AccessMask::DELETE, Sid::USERS);
        let step = PersonStep::SetDacl {
            object: Object {
                path: WindowsPath::parse("C:\\w").unwrap(),
                id: FileId { volume: 1, file: 2 },
                kind: ObjectKind::Directory,
            },
            purpose: Purpose::Root,
            before: descriptor(&[theirs]),
            // A second copy of an entry of theirs is ours too.
            after: descriptor(&[ours, theirs, theirs]),
        };
        let PersonInverse::RestoreDacl { remove, .. } = step.inverse() else {
            panic!("a descriptor's inverse restores it");
        };
        assert_eq!(remove, [ours, theirs]);
    }
}
