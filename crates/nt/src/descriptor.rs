//! Security descriptors.
//!
//! Source: [MS-DTYP] 2.4.6 (`SECURITY_DESCRIPTOR`).

use serde::{Deserialize, Serialize};

use crate::acl::Acl;
use crate::sid::Sid;

/// The control bits that are kept; those that only say which parts are present follow from the parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Control(pub u16);

impl Control {
    /// `0x0400` `SE_DACL_AUTO_INHERITED`: its inherited entries follow its parent's.
    pub const DACL_AUTO_INHERITED: Self = Self(0x0400);
    /// `0x1000` `SE_DACL_PROTECTED`: nothing is inherited into the DACL.
    pub const DACL_PROTECTED: Self = Self(0x1000);
    /// `0x0800` `SE_SACL_AUTO_INHERITED`
    pub const SACL_AUTO_INHERITED: Self = Self(0x0800);
    /// `0x2000` `SE_SACL_PROTECTED`
    pub const SACL_PROTECTED: Self = Self(0x2000);
    /// `0x0100` `SE_DACL_AUTO_INHERIT_REQ`: asks that the DACL be propagated.
    pub const DACL_AUTO_INHERIT_REQ: Self = Self(0x0100);
    /// `0x0200` `SE_SACL_AUTO_INHERIT_REQ`
    pub const SACL_AUTO_INHERIT_REQ: Self = Self(0x0200);
    /// Every bit that a descriptor keeps: `0x3f00`.
    pub const KEPT: Self = Self(0x3f00);

    /// Whether every bit of `other` is set.
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

/// A descriptor's discretionary list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dacl {
    /// None: everybody may do everything. Absent and NULL mean the same to an access check.
    Null,
    /// This list; an empty one lets nobody do anything.
    Present(Acl),
}

/// An object's owner, group and lists.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SecurityDescriptor {
    /// The owner.
    pub owner: Option<Sid>,
    /// The primary group.
    pub group: Option<Sid>,
    /// The discretionary list.
    pub dacl: Dacl,
    /// The system list (audit, mandatory label); not read from files without a privilege.
    pub sacl: Option<Acl>,
    /// The control bits.
    pub control: Control,
}

impl SecurityDescriptor {
    /// A descriptor of an owner, a group and a list, with no control bit.
    #[must_use]
    pub const fn new(owner: Sid, group: Sid, dacl: Acl) -> Self {
        Self {
            owner: Some(owner),
            group: Some(group),
            dacl: Dacl::Present(dacl),
            sacl: None,
            control: Control(0),
        }
    }

    /// The same with a DACL into which nothing is inherited.
    #[must_use]
    pub const fn protected(mut self) -> Self {
        self.control = self.control.with(Control::DACL_PROTECTED);
        self
    }

    /// The list, if there is one.
    #[must_use]
    pub const fn acl(&self) -> Option<&Acl> {
        match &self.dacl {
            Dacl::Null => None,
            Dacl::Present(acl) => Some(acl),
        }
    }
}
