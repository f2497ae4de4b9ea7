//! The profile of an account and its registry hive, in memory: what of them targets could write.
//!
//! Both begin as the system makes them, with explicit entries for the account on an object below the top. Invariant:
//! the descriptors are kept as they were written; whether they hold is asked of them and not remembered.

use std::collections::BTreeMap;

use ringfence_nt::{AccessMask, Ace, AceFlags, Acl, SecurityDescriptor, Sid};

use crate::windows::guard::{Guarded, Shape, guarded, is_guarded};

/// The two parts of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfilePart {
    /// The directory, with what lies in it.
    Directory,
    /// The registry hive, with its keys.
    Hive,
}

/// A profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeProfile {
    /// Objects of the directory by their path below it.
    pub directory: BTreeMap<String, (Shape, SecurityDescriptor)>,
    /// Keys of the hive by their path below it.
    pub hive: BTreeMap<String, (Shape, SecurityDescriptor)>,
}

impl FakeProfile {
    /// As the system makes it for that account.
    #[must_use]
    pub fn new(account: Sid) -> Self {
        let of = |flags| {
            let full = AccessMask::FILE_ALL_ACCESS;
            let aces = [account, Sid::SYSTEM].map(|sid| Ace::allow(flags, full, sid));
            SecurityDescriptor::new(account, account, Acl::new(aces.to_vec()))
        };
        let part = |inherited, objects: &[(&str, Shape)]| {
            let object = |(name, shape): &(&str, Shape)| {
                let flags = match shape {
                    Shape::Container => inherited,
                    Shape::Leaf => AceFlags::NONE,
                };
                ((*name).to_owned(), (*shape, of(flags)))
            };
            objects.iter().map(object).collect()
        };
        let container = Shape::Container;
        Self {
            directory: part(
                AceFlags::INHERIT_ALL,
                &[
                    ("", container),
                    ("AppData", container),
                    ("NTUSER.DAT", Shape::Leaf),
                ],
            ),
            hive: part(
                AceFlags::CONTAINER_INHERIT,
                &[("", container), ("Software", container)],
            ),
        }
    }

    const fn part(
        &mut self,
        part: ProfilePart,
    ) -> &mut BTreeMap<String, (Shape, SecurityDescriptor)> {
        match part {
            ProfilePart::Directory => &mut self.directory,
            ProfilePart::Hive => &mut self.hive,
        }
    }

    pub(super) fn guard(&mut self, part: ProfilePart, whom: Guarded) {
        let entries = match part {
            ProfilePart::Directory => whom.profile(),
            ProfilePart::Hive => whom.hive(),
        };
        for (shape, descriptor) in self.part(part).values_mut() {
            if let Some(closed) = guarded(descriptor, &entries, *shape) {
                *descriptor = closed;
            }
        }
    }

    pub(super) fn is_guarded(&self, whom: Guarded) -> bool {
        let all = |part: &BTreeMap<String, (Shape, SecurityDescriptor)>, entries: &[Ace]| {
            let mut objects = part.values();
            objects.all(|(shape, found)| is_guarded(found, entries, *shape))
        };
        all(&self.directory, &whom.profile()) && all(&self.hive, &whom.hive())
    }
}
