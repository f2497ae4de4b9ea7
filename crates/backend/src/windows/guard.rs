//! The entries that keep targets from writing the profile of their account, put on each object of it.
//!
//! They are explicit everywhere: an object of the profile may have an explicit entry for the account, which an
//! inherited denial would lose to. Invariant: put on twice they are there once, and nothing else changes.

use ringfence_nt::{Ace, AceFlags, AceKind, Acl, Dacl, SecurityDescriptor, Sid};
use ringfence_plan::windows::machine::{hive_entries, profile_entries};
use ringfence_plan::windows::step::{AceTemplate, Trustee};

/// Whether an object has children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// It has: what is made in it inherits the entries.
    Container,
    /// It has none.
    Leaf,
}

/// Whom the entries name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// The marker SID of the account's targets.
    pub marker: Sid,
    /// The person's group.
    pub group: Sid,
}

impl Guarded {
    /// The entries of the profile.
    #[must_use]
    pub fn profile(&self) -> Vec<Ace> {
        self.resolve(&profile_entries(self.marker))
    }

    /// The entries of the registry hive.
    #[must_use]
    pub fn hive(&self) -> Vec<Ace> {
        self.resolve(&hive_entries(self.marker))
    }

    fn resolve(&self, entries: &[AceTemplate]) -> Vec<Ace> {
        let sid = |trustee| match trustee {
            Trustee::Sid(sid) => sid,
            // The accounts themselves are named by none.
            Trustee::Group | Trustee::Account(_) => self.group,
        };
        entries
            .iter()
            .map(|entry| Ace {
                kind: entry.kind,
                flags: entry.flags,
                mask: entry.mask,
                sid: sid(entry.trustee),
            })
            .collect()
    }
}

fn fitting(entries: &[Ace], shape: Shape) -> impl Iterator<Item = Ace> {
    entries.iter().map(move |ace| Ace {
        flags: match shape {
            Shape::Container => ace.flags,
            Shape::Leaf => AceFlags::NONE,
        },
        ..*ace
    })
}

/// Whether the entries are on an object.
#[must_use]
pub fn is_guarded(descriptor: &SecurityDescriptor, entries: &[Ace], shape: Shape) -> bool {
    descriptor
        .acl()
        .is_some_and(|acl| fitting(entries, shape).all(|ace| acl.aces.contains(&ace)))
}

/// The descriptor with the entries on it; none where they are, or where it lets everybody do everything.
#[must_use]
pub fn guarded(
    descriptor: &SecurityDescriptor,
    entries: &[Ace],
    shape: Shape,
) -> Option<SecurityDescriptor> {
    let acl = descriptor.acl()?;
    if is_guarded(descriptor, entries, shape) {
        return None;
    }
    let ours: Vec<Ace> = fitting(entries, shape).collect();
    let others = || acl.aces.iter().filter(|ace| !ours.contains(ace)).copied();
    let denies = |ace: &Ace| ace.kind == AceKind::Deny && !ace.is_inherited();
    let aces: Acl = ours
        .iter()
        .copied()
        .filter(denies)
        .chain(others().filter(denies))
        .chain(ours.iter().copied().filter(|ace| !denies(ace)))
        .chain(others().filter(|ace| !denies(ace)))
        .collect();
    Some(SecurityDescriptor {
        dacl: Dacl::Present(aces),
        ..descriptor.clone()
    })
}

#[cfg(test)]
mod tests {
    use ringfence_nt::AccessMask;

    use super::*;

    fn whom() -> Guarded {
        Guarded {
            marker: Sid::new(0, &[1, 2]).unwrap(),
            group: Sid::new(5, &[21, 1, 2, 3, 1003]).unwrap(),
        }
    }

    #[test]
    fn entries_are_put_on_once_in_canonical_order_and_the_rest_stays() {
        let entries = whom().profile();
        let user = Ace::allow(AceFlags::NONE, AccessMask::FILE_ALL_ACCESS, Sid::USERS);
        let inherited = Ace::allow(AceFlags::INHERITED, AccessMask(1), Sid::SYSTEM);
        let before =
            SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, Acl::new(vec![user, inherited]));
        for shape in [Shape::Container, Shape::Leaf] {
            let after = guarded(&before, &entries, shape).unwrap();
            assert!(is_guarded(&after, &entries, shape));
            assert!(after.acl().unwrap().is_canonical());
            assert_eq!(guarded(&after, &entries, shape), None);
            let kept = |ace: &Ace| after.acl().unwrap().aces.contains(ace);
            assert!(kept(&user) && kept(&inherited));
            assert_eq!(after.acl().unwrap().aces.len(), entries.len() + 2);
        }
        let leaf = guarded(&before, &entries, Shape::Leaf).unwrap();
        assert!(!is_guarded(&leaf, &entries, Shape::Container));
    }

    #[test]
    fn an_object_that_is_open_to_everybody_is_not_called_guarded() {
        let mut open = SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, Acl::default());
        open.dacl = Dacl::Null;
        let entries = whom().hive();
        assert_eq!(guarded(&open, &entries, Shape::Leaf), None);
        assert!(!is_guarded(&open, &entries, Shape::Leaf));
    }
}
