//! In whose hands an object is: who owns it, and who else may change it.
//!
//! Deny entries are left out of account, so that the answer errs towards a stranger.
//! Invariant: without a list everybody may.

use ringfence_nt::{AccessMask, AceKind, Dacl, SecurityDescriptor, Sid};

/// What exchanges or rewrites a file: `FILE_WRITE_DATA`, `FILE_APPEND_DATA`, `DELETE`, `WRITE_DAC`, `WRITE_OWNER`.
pub const REWRITES: AccessMask = AccessMask(0x000D_0006);
/// What exchanges what lies in a directory: `FILE_DELETE_CHILD`, `DELETE`, `WRITE_DAC`, `WRITE_OWNER`. Whoever adds
/// a file owns that file.
pub const EXCHANGES: AccessMask = AccessMask(0x000D_0040);
/// What adds to a directory, or exchanges what lies in it.
pub const FILLS: AccessMask = AccessMask(0x000D_0046);

/// The system's own accounts, which stand above every person's.
const SYSTEMS: [Sid; 3] = [Sid::SYSTEM, Sid::ADMINISTRATORS, Sid::TRUSTED_INSTALLER];

/// Groups that everybody is in who has to do with a machine.
const CROWDS: [Sid; 6] = [
    Sid::EVERYONE,
    Sid::AUTHENTICATED_USERS,
    Sid::USERS,
    Sid::INTERACTIVE,
    Sid::GUESTS,
    Sid::ANONYMOUS,
];

/// Somebody in whose hands an object should not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// It belongs to them; nobody is named where it belongs to nobody.
    #[error("it belongs to {}", owner.map_or_else(|| "nobody".to_owned(), |owner| owner.to_string()))]
    Owner {
        /// Whose it is.
        owner: Option<Sid>,
    },
    /// They may change it.
    #[error("{0} may change it")]
    Writer(Sid),
    /// It has no list: everybody may change it.
    #[error("everybody may change it: it has no access list")]
    Everybody,
}

/// Whether `owner` is the system or its administrators.
#[must_use]
pub fn is_the_systems(owner: Option<Sid>) -> bool {
    owner.is_some_and(|owner| SYSTEMS.contains(&owner))
}

/// Who but the system owns the object of `found`, or has one of `rights` to it.
#[must_use]
pub fn stranger_to_the_system(found: &SecurityDescriptor, rights: AccessMask) -> Option<Stranger> {
    let owner = found.owner;
    if !is_the_systems(owner) {
        return Some(Stranger::Owner { owner });
    }
    writer(found, rights, |sid| !SYSTEMS.contains(&sid))
}

/// Who but `person` and the system owns the object of `found`, or which crowd has one of `rights` to it.
///
/// Whom the person named in a list by name is theirs to trust.
#[must_use]
pub fn stranger_to(
    person: Sid,
    found: &SecurityDescriptor,
    rights: AccessMask,
) -> Option<Stranger> {
    let owner = found.owner;
    if owner != Some(person) && !is_the_systems(owner) {
        return Some(Stranger::Owner { owner });
    }
    writer(found, rights, |sid| CROWDS.contains(&sid))
}

fn writer(
    found: &SecurityDescriptor,
    rights: AccessMask,
    is_strange: impl Fn(Sid) -> bool,
) -> Option<Stranger> {
    let rights = rights.0 | AccessMask::GENERIC_ALL.0 | AccessMask::GENERIC_WRITE.0;
    match &found.dacl {
        Dacl::Null => Some(Stranger::Everybody),
        Dacl::Present(list) => list
            .aces
            .iter()
            .filter(|ace| ace.kind == AceKind::Allow && ace.applies_here())
            .find(|ace| ace.mask.0 & rights != 0 && is_strange(ace.sid))
            .map(|ace| Stranger::Writer(ace.sid)),
    }
}

#[cfg(windows)]
mod look {
    use std::os::windows::io::AsHandle as _;

    use ringfence_backend::call::CallFailure;
    use ringfence_nt::{AccessMask, SecurityDescriptor};
    use ringfence_plan::windows::WindowsPath;

    use super::{Stranger, stranger_to, stranger_to_the_system};
    use crate::files::{failure, open_path};
    use crate::observe::machine::{MachineError, person};
    use crate::sys::file::descriptor;
    use crate::sys::nt_file::Access;

    /// Why it can't be told in whose hands something is.
    #[derive(Debug, thiserror::Error)]
    pub enum CustodyError {
        /// A call failed.
        #[error("the system does not tell whose it is")]
        Call(#[from] CallFailure),
        /// Nobody can tell who asks.
        #[error("the system does not tell who asks")]
        Person(#[from] MachineError),
    }

    /// [`stranger_to_the_system`] of what is at `path`, no link followed; `None` as well where nothing is there.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub fn stranger_to_the_system_at(
        path: &WindowsPath,
        rights: AccessMask,
    ) -> Result<Option<Stranger>, CustodyError> {
        let found = look(path)?;
        Ok(found.and_then(|found| stranger_to_the_system(&found, rights)))
    }

    /// [`stranger_to`] the person of this process, of what is at `path`, no link followed; `None` as well where nothing
    /// is there.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub fn stranger_to_the_person_at(
        path: &WindowsPath,
        rights: AccessMask,
    ) -> Result<Option<Stranger>, CustodyError> {
        let own = person()?;
        let found = look(path)?;
        Ok(found.and_then(|found| stranger_to(own, &found, rights)))
    }

    fn look(path: &WindowsPath) -> Result<Option<SecurityDescriptor>, CallFailure> {
        let Some(opened) = open_path(path, Access::Look)? else {
            return Ok(None);
        };
        descriptor(opened.as_handle()).map(Some).map_err(failure)
    }
}

#[cfg(windows)]
pub use look::{CustodyError, stranger_to_the_person_at, stranger_to_the_system_at};

#[cfg(test)]
mod tests {
    use ringfence_nt::{Ace, AceFlags, Acl};

    use super::*;

    fn person(number: u32) -> Sid {
        Sid::new(5, &[21, 1, 2, 3, number]).unwrap()
    }

    fn found(owner: Sid, aces: &[(AceFlags, u32, Sid)]) -> SecurityDescriptor {
        let aces = aces
            .iter()
            .map(|(flags, mask, sid)| Ace::allow(*flags, AccessMask(*mask), *sid))
            .collect();
        SecurityDescriptor::new(owner, Sid::SYSTEM, Acl::new(aces))
    }

    #[test]
    fn what_administrators_alone_change_is_the_systems() {
        let sound = [
            (AceFlags::NONE, 0x001F_01FF, Sid::SYSTEM),
            (AceFlags::NONE, 0x001F_01FF, Sid::ADMINISTRATORS),
            (AceFlags::NONE, 0x0012_00A9, Sid::USERS),
            (AceFlags::INHERIT_ONLY, 0x1000_0000, Sid::CREATOR_OWNER),
        ];
        for owner in [Sid::SYSTEM, Sid::ADMINISTRATORS, Sid::TRUSTED_INSTALLER] {
            let found = found(owner, &sound);
            assert_eq!(stranger_to_the_system(&found, REWRITES), None);
        }
        let planted = found(person(1001), &sound);
        assert_eq!(
            stranger_to_the_system(&planted, REWRITES),
            Some(Stranger::Owner {
                owner: Some(person(1001))
            })
        );
        for mask in [
            0x2,
            0x4,
            0x1_0000,
            0x4_0000,
            0x8_0000,
            0x4000_0000,
            0x1000_0000,
        ] {
            for writer in [Sid::USERS, Sid::EVERYONE, person(1001)] {
                let found = found(Sid::SYSTEM, &[(AceFlags::NONE, mask, writer)]);
                assert_eq!(
                    stranger_to_the_system(&found, REWRITES),
                    Some(Stranger::Writer(writer)),
                    "{mask:#x}"
                );
            }
        }
    }

    #[test]
    fn files_may_be_added_beside_a_policy_and_not_to_our_state() {
        // What directories in `%ProgramData%` inherit.
        let data = found(
            Sid::ADMINISTRATORS,
            &[(AceFlags::NONE, 0x0010_0116, Sid::USERS)],
        );
        assert_eq!(stranger_to_the_system(&data, EXCHANGES), None);
        let own = person(1001);
        assert_eq!(
            stranger_to(own, &data, FILLS),
            Some(Stranger::Writer(Sid::USERS))
        );
        let named = found(own, &[(AceFlags::NONE, 0x001F_01FF, person(1002))]);
        assert_eq!(stranger_to(own, &named, FILLS), None);
        assert_eq!(
            stranger_to(person(1002), &named, FILLS),
            Some(Stranger::Owner { owner: Some(own) })
        );
    }

    #[test]
    fn without_an_owner_or_a_list_it_is_anybodys() {
        let mut open = found(Sid::SYSTEM, &[]);
        open.dacl = Dacl::Null;
        assert_eq!(
            stranger_to_the_system(&open, REWRITES),
            Some(Stranger::Everybody)
        );
        open.owner = None;
        let told = stranger_to_the_system(&open, REWRITES).map(|stranger| stranger.to_string());
        assert_eq!(told.as_deref(), Some("it belongs to nobody"));
    }
}
