//! Access masks, their bits for each kind of object, and generic mappings.
//!
//! Sources: [MS-DTYP] 2.4.3 (`ACCESS_MASK`); learn.microsoft.com "File Access Rights Constants", "Process Security
//! and Access Rights", "Thread …", "Access Rights for Access-Token Objects", "Registry Key Security and Access
//! Rights", "Desktop Security and Access Rights", "Window Station Security and Access Rights", "Job Object …".

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Not, Sub};

use serde::{Deserialize, Serialize};

/// A set of rights.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccessMask(pub u32);

impl AccessMask {
    /// No right.
    pub const NONE: Self = Self(0);

    /// `0x00010000`: delete the object.
    pub const DELETE: Self = Self(0x0001_0000);
    /// `0x00020000`: read the descriptor, without its SACL.
    pub const READ_CONTROL: Self = Self(0x0002_0000);
    /// `0x00040000`: change the DACL.
    pub const WRITE_DAC: Self = Self(0x0004_0000);
    /// `0x00080000`: change the owner.
    pub const WRITE_OWNER: Self = Self(0x0008_0000);
    /// `0x00100000`: wait on the object; every open of a file asks for it.
    pub const SYNCHRONIZE: Self = Self(0x0010_0000);
    /// `0x01000000`: read and write the SACL; only a privilege gives it.
    pub const ACCESS_SYSTEM_SECURITY: Self = Self(0x0100_0000);
    /// `0x02000000`: in a request, whatever may be had.
    pub const MAXIMUM_ALLOWED: Self = Self(0x0200_0000);
    /// `0x10000000`
    pub const GENERIC_ALL: Self = Self(0x1000_0000);
    /// `0x20000000`
    pub const GENERIC_EXECUTE: Self = Self(0x2000_0000);
    /// `0x40000000`
    pub const GENERIC_WRITE: Self = Self(0x4000_0000);
    /// `0x80000000`
    pub const GENERIC_READ: Self = Self(0x8000_0000);
    /// The four generic bits: `0xf0000000`.
    pub const GENERIC: Self = Self(0xf000_0000);

    /// `0x001`: read data; list a directory.
    pub const FILE_READ_DATA: Self = Self(0x001);
    /// `0x002`: write data; add a file to a directory.
    pub const FILE_WRITE_DATA: Self = Self(0x002);
    /// `0x004`: append data; add a subdirectory.
    pub const FILE_APPEND_DATA: Self = Self(0x004);
    /// `0x008`: read extended attributes.
    pub const FILE_READ_EA: Self = Self(0x008);
    /// `0x010`: write extended attributes.
    pub const FILE_WRITE_EA: Self = Self(0x010);
    /// `0x020`: execute; traverse a directory.
    pub const FILE_EXECUTE: Self = Self(0x020);
    /// `0x040`: delete any child, whatever the child's own DACL says.
    pub const FILE_DELETE_CHILD: Self = Self(0x040);
    /// `0x080`: read attributes.
    pub const FILE_READ_ATTRIBUTES: Self = Self(0x080);
    /// `0x100`: write attributes.
    pub const FILE_WRITE_ATTRIBUTES: Self = Self(0x100);
    /// `0x001f01ff`: every right of a file.
    pub const FILE_ALL_ACCESS: Self = Self(0x001f_01ff);
    /// `0x00120089`: `FILE_GENERIC_READ`.
    pub const FILE_GENERIC_READ: Self = Self(0x0012_0089);
    /// `0x00120116`: `FILE_GENERIC_WRITE`.
    pub const FILE_GENERIC_WRITE: Self = Self(0x0012_0116);
    /// `0x001200a0`: `FILE_GENERIC_EXECUTE`.
    pub const FILE_GENERIC_EXECUTE: Self = Self(0x0012_00a0);
    /// `0x001301bf`: read, write, execute and DELETE, without `FILE_DELETE_CHILD`, `WRITE_DAC` and `WRITE_OWNER`.
    pub const FILE_MODIFY: Self = Self(0x0013_01bf);

    /// Whether every bit of `other` is in this mask.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a bit of `other` is in this mask.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no bit is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both masks together, usable in constants.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Each bit alone, the lowest first.
    pub fn bits(self) -> impl Iterator<Item = Self> {
        (0..u32::BITS)
            .map(|bit| Self(1 << bit))
            .filter(move |bit| self.contains(*bit))
    }
}

impl BitOr for AccessMask {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for AccessMask {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for AccessMask {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for AccessMask {
    type Output = Self;
    /// The bits of this mask that are not in the other.
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl Not for AccessMask {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl fmt::Display for AccessMask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#x}", self.0)
    }
}

impl fmt::Debug for AccessMask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// What each generic right means for one kind of object.
///
/// Source: learn.microsoft.com "`GENERIC_MAPPING` structure" and the page of each kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenericMapping {
    /// `GENERIC_READ`.
    pub read: AccessMask,
    /// `GENERIC_WRITE`.
    pub write: AccessMask,
    /// `GENERIC_EXECUTE`.
    pub execute: AccessMask,
    /// `GENERIC_ALL`.
    pub all: AccessMask,
}

impl GenericMapping {
    /// Files, directories and named pipes.
    pub const FILE: Self = Self {
        read: AccessMask::FILE_GENERIC_READ,
        write: AccessMask::FILE_GENERIC_WRITE,
        execute: AccessMask::FILE_GENERIC_EXECUTE,
        all: AccessMask::FILE_ALL_ACCESS,
    };
    /// Processes: read is query and `VM_READ`; write is VM and handle work; execute is query, wait and terminate.
    ///
    /// `[unsettled]` "Process Security and Access Rights" names the rights, and no document their mapping; these values
    /// are what [`WriteClass`](crate::WriteClass) is computed from. Ending a process is no write here, so the second
    /// pass keeps no target from ending processes of the account's other sessions.
    pub const PROCESS: Self = Self {
        read: AccessMask(0x0002_0410),
        write: AccessMask(0x0002_0bea),
        execute: AccessMask(0x0012_1001),
        all: AccessMask(0x001f_ffff),
    };
    /// Registry keys.
    pub const KEY: Self = Self {
        read: AccessMask(0x0002_0019),
        write: AccessMask(0x0002_0006),
        execute: AccessMask(0x0002_0019),
        all: AccessMask(0x000f_003f),
    };
    /// Access tokens: every right of their own is part of a generic one, and reading is copying too.
    ///
    /// `[unsettled]` "Access Rights for Access-Token Objects" names `TOKEN_READ` and its like without `TOKEN_DUPLICATE` and
    /// `TOKEN_IMPERSONATE`; those are names for requests, and no document says what the system maps generic rights to.
    pub const TOKEN: Self = Self {
        read: AccessMask(0x0002_001a),
        write: AccessMask(0x0002_01e0),
        execute: AccessMask(0x0002_0005),
        all: AccessMask(0x000f_01ff),
    };

    /// `mask` with its generic bits replaced by what they mean for this kind of object.
    #[must_use]
    pub fn map(&self, mask: AccessMask) -> AccessMask {
        let mut mapped = mask - AccessMask::GENERIC;
        for (generic, meaning) in [
            (AccessMask::GENERIC_READ, self.read),
            (AccessMask::GENERIC_WRITE, self.write),
            (AccessMask::GENERIC_EXECUTE, self.execute),
            (AccessMask::GENERIC_ALL, self.all),
        ] {
            if mask.contains(generic) {
                mapped |= meaning;
            }
        }
        mapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modify_lets_no_child_be_deleted() {
        let held_back =
            AccessMask::FILE_DELETE_CHILD | AccessMask::WRITE_DAC | AccessMask::WRITE_OWNER;
        assert_eq!(
            AccessMask::FILE_ALL_ACCESS - AccessMask::FILE_MODIFY,
            held_back
        );
    }

    #[test]
    fn generic_bits_are_replaced() {
        let mapped = GenericMapping::FILE.map(AccessMask::GENERIC_READ | AccessMask::DELETE);
        assert_eq!(mapped, AccessMask::FILE_GENERIC_READ | AccessMask::DELETE);
        assert_eq!(
            GenericMapping::FILE.map(AccessMask::GENERIC_ALL),
            AccessMask::FILE_ALL_ACCESS
        );
    }

    #[test]
    fn bits_are_the_mask_taken_apart() {
        let whole = AccessMask(0xd0156)
            .bits()
            .fold(AccessMask::NONE, |all, bit| all | bit);
        assert_eq!(whole, AccessMask(0xd0156));
    }
}
