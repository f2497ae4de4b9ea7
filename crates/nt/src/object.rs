//! Objects that are no files: processes, threads, tokens, pipes, window stations, desktops.
//!
//! They have a kind and a descriptor, and can be opened; what a handle to one is good for is not modelled. Invariant: an
//! open grants what the access check grants, and nothing else.
//!
//! Sources: the page of each kind on learn.microsoft.com ("Process Security and Access Rights", "Thread …", "Access
//! Rights for Access-Token Objects", "Named Pipe …", "Window Station …", "Desktop …").

use serde::{Deserialize, Serialize};

use crate::check::{Access, access_check, maximum_allowed};
use crate::descriptor::SecurityDescriptor;
use crate::mask::{AccessMask, GenericMapping};
use crate::token::Token;
use crate::write_class::WriteClass;

/// What kind of object it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecurableKind {
    /// A process.
    Process,
    /// A thread.
    Thread,
    /// An access token.
    Token,
    /// A named pipe.
    Pipe,
    /// A window station.
    WindowStation,
    /// A desktop.
    Desktop,
    /// A job.
    Job,
}

impl SecurableKind {
    /// What generic rights mean for it.
    #[must_use]
    pub const fn mapping(self) -> GenericMapping {
        match self {
            Self::Process => GenericMapping::PROCESS,
            Self::Thread => THREAD,
            Self::Token => GenericMapping::TOKEN,
            Self::Pipe => GenericMapping::FILE,
            Self::WindowStation => WINDOW_STATION,
            Self::Desktop => DESKTOP,
            Self::Job => JOB,
        }
    }
}

/// `[unsettled]` "Thread Security and Access Rights" names the rights, and no document their mapping; all is `winnt.h`'s
/// `THREAD_ALL_ACCESS`.
const THREAD: GenericMapping = mapping(0x0002_0048, 0x0002_0437, 0x0012_1800, 0x001f_ffff);
/// "Window Station Security and Access Rights", interactive station.
const WINDOW_STATION: GenericMapping = mapping(0x0002_0303, 0x0002_001c, 0x0002_0060, 0x000f_037f);
/// "Desktop Security and Access Rights".
const DESKTOP: GenericMapping = mapping(0x0002_0041, 0x0002_00be, 0x0002_0100, 0x000f_01ff);
/// `[unsettled]` "Job Object Security and Access Rights" names the rights, and no document their mapping.
const JOB: GenericMapping = mapping(0x0002_0004, 0x0002_000b, 0x0012_0000, 0x001f_003f);

const fn mapping(read: u32, write: u32, execute: u32, all: u32) -> GenericMapping {
    GenericMapping {
        read: AccessMask(read),
        write: AccessMask(write),
        execute: AccessMask(execute),
        all: AccessMask(all),
    }
}

/// An object with a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Securable {
    /// What it is.
    pub kind: SecurableKind,
    /// Who may do what to it.
    pub descriptor: SecurityDescriptor,
}

impl Securable {
    /// Opens it.
    #[must_use]
    pub fn open(&self, token: &Token, desired: AccessMask, class: WriteClass) -> Access {
        let mapping = self.kind.mapping();
        access_check(&self.descriptor, token, desired, &mapping, class)
    }

    /// Every right that an open by this token can have.
    #[must_use]
    pub fn reach(&self, token: &Token, class: WriteClass) -> AccessMask {
        maximum_allowed(&self.descriptor, token, &self.kind.mapping(), class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ace::{Ace, AceFlags};
    use crate::acl::Acl;
    use crate::sid::Sid;

    #[test]
    fn every_generic_right_is_part_of_all() {
        for kind in [
            SecurableKind::Process,
            SecurableKind::Thread,
            SecurableKind::Token,
            SecurableKind::Pipe,
            SecurableKind::WindowStation,
            SecurableKind::Desktop,
            SecurableKind::Job,
        ] {
            let mapping = kind.mapping();
            for part in [mapping.read, mapping.write, mapping.execute] {
                assert!(mapping.all.contains(part), "{kind:?} {part}");
            }
        }
    }

    #[test]
    fn an_open_is_decided_by_the_descriptor_and_the_kind() {
        let user: Sid = "S-1-5-21-1-2-3-1001".parse().unwrap();
        let entry = Ace::allow(AceFlags::NONE, AccessMask::GENERIC_READ, user);
        let process = Securable {
            kind: SecurableKind::Process,
            descriptor: SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, Acl::new(vec![entry])),
        };
        let token = Token::new(user, &[]);
        let reach = process.reach(&token, WriteClass::H2);
        assert_eq!(reach, GenericMapping::PROCESS.read);
        assert!(
            process
                .open(&token, AccessMask(0x10), WriteClass::H2)
                .is_granted()
        );
        assert!(
            !process
                .open(&token, AccessMask(0x20), WriteClass::H2)
                .is_granted()
        );
    }
}
