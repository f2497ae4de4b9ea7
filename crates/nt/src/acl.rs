//! Access control lists.
//!
//! Source: [MS-DTYP] 2.4.5 (ACL); learn.microsoft.com "Order of ACEs in a DACL".

use serde::{Deserialize, Serialize};

use crate::ace::{Ace, AceKind};

/// A list of entries in the order in which they are walked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Acl {
    /// The entries.
    pub aces: Vec<Ace>,
}

impl Acl {
    /// A list of these entries, in this order.
    #[must_use]
    pub const fn new(aces: Vec<Ace>) -> Self {
        Self { aces }
    }

    /// Whether explicit denies come first, then explicit allows, then what was inherited.
    ///
    /// Within the inherited part each generation has its own denies and allows, which the flags do not tell apart:
    /// its order is not judged.
    #[must_use]
    pub fn is_canonical(&self) -> bool {
        self.aces.is_sorted_by_key(canonical_rank)
    }

    /// The explicit entries, in order.
    pub fn explicit(&self) -> impl Iterator<Item = &Ace> {
        self.aces.iter().filter(|ace| !ace.is_inherited())
    }

    /// The inherited entries, in order.
    pub fn inherited(&self) -> impl Iterator<Item = &Ace> {
        self.aces.iter().filter(|ace| ace.is_inherited())
    }
}

/// 0 explicit deny, 1 explicit allow (and anything else explicit), 2 inherited.
fn canonical_rank(ace: &Ace) -> u8 {
    match ace.kind {
        AceKind::Allow | AceKind::Deny | AceKind::Audit | AceKind::MandatoryLabel
            if ace.is_inherited() =>
        {
            2
        }
        AceKind::Deny => 0,
        AceKind::Allow | AceKind::Audit | AceKind::MandatoryLabel => 1,
    }
}

impl FromIterator<Ace> for Acl {
    fn from_iter<T: IntoIterator<Item = Ace>>(aces: T) -> Self {
        Self::new(aces.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ace::AceFlags;
    use crate::mask::AccessMask;
    use crate::sid::Sid;

    const INHERITED: AceFlags = AceFlags::INHERITED;

    fn allow(flags: AceFlags) -> Ace {
        Ace::allow(flags, AccessMask::DELETE, Sid::EVERYONE)
    }

    fn deny(flags: AceFlags) -> Ace {
        Ace::deny(flags, AccessMask::DELETE, Sid::EVERYONE)
    }

    #[test]
    fn canonical_order_is_checked_not_assumed() {
        let none = AceFlags::NONE;
        assert!(Acl::default().is_canonical());
        assert!(
            Acl::new(vec![
                deny(none),
                allow(none),
                allow(INHERITED),
                deny(INHERITED)
            ])
            .is_canonical()
        );
        assert!(!Acl::new(vec![allow(none), deny(none)]).is_canonical());
        assert!(!Acl::new(vec![deny(INHERITED), deny(none)]).is_canonical());
        assert!(!Acl::new(vec![allow(INHERITED), allow(none)]).is_canonical());
    }
}
