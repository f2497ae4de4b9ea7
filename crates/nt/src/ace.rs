//! Access control entries.
//!
//! Source: [MS-DTYP] 2.4.4 (ACE). Kinds that name object types, conditions or claims are not modelled: reading a
//! descriptor with one of them in its DACL is an error, never a guess.

use serde::{Deserialize, Serialize};

use crate::mask::AccessMask;
use crate::sid::Sid;

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AceKind {
    /// `ACCESS_ALLOWED_ACE_TYPE` (0x00).
    Allow,
    /// `ACCESS_DENIED_ACE_TYPE` (0x01).
    Deny,
    /// `SYSTEM_AUDIT_ACE_TYPE` (0x02); only in a SACL.
    Audit,
    /// `SYSTEM_MANDATORY_LABEL_ACE_TYPE` (0x11); only in a SACL.
    MandatoryLabel,
}

/// Which objects an entry applies to, and where it came from.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct AceFlags(pub u8);

impl AceFlags {
    /// None: the object itself alone.
    pub const NONE: Self = Self(0);
    /// `0x01` `OBJECT_INHERIT_ACE`: files in it get the entry.
    pub const OBJECT_INHERIT: Self = Self(0x01);
    /// `0x02` `CONTAINER_INHERIT_ACE`: directories in it get the entry.
    pub const CONTAINER_INHERIT: Self = Self(0x02);
    /// `0x04` `NO_PROPAGATE_INHERIT_ACE`: it is inherited by one level.
    pub const NO_PROPAGATE_INHERIT: Self = Self(0x04);
    /// `0x08` `INHERIT_ONLY_ACE`: it does not apply to this object.
    pub const INHERIT_ONLY: Self = Self(0x08);
    /// `0x10` `INHERITED_ACE`: it came from a parent.
    pub const INHERITED: Self = Self(0x10);
    /// Files and directories in it get the entry: `OI CI`.
    pub const INHERIT_ALL: Self = Self(0x03);

    /// Whether every flag of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// One entry of an access control list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ace {
    /// What it does.
    pub kind: AceKind,
    /// Where it applies.
    pub flags: AceFlags,
    /// Which rights; may hold generic bits in an entry that is only to be inherited.
    pub mask: AccessMask,
    /// Whom it names.
    pub sid: Sid,
}

impl Ace {
    /// An allow entry.
    #[must_use]
    pub const fn allow(flags: AceFlags, mask: AccessMask, sid: Sid) -> Self {
        Self {
            kind: AceKind::Allow,
            flags,
            mask,
            sid,
        }
    }

    /// A deny entry.
    #[must_use]
    pub const fn deny(flags: AceFlags, mask: AccessMask, sid: Sid) -> Self {
        Self {
            kind: AceKind::Deny,
            flags,
            mask,
            sid,
        }
    }

    /// Whether it takes part in decisions on the object it stands on.
    #[must_use]
    pub const fn applies_here(&self) -> bool {
        !self.flags.contains(AceFlags::INHERIT_ONLY)
    }

    /// Whether it came from a parent.
    #[must_use]
    pub const fn is_inherited(&self) -> bool {
        self.flags.contains(AceFlags::INHERITED)
    }
}
