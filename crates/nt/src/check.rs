//! The access check: which rights a token gets on an object, in both passes.
//!
//! Sources: [MS-DTYP] 2.5.3.2 (access check algorithm); learn.microsoft.com "How `AccessCheck` Works", "Interaction
//! Between Threads and Securable Objects", "Order of ACEs in a DACL", "Null DACLs and Empty DACLs", "Restricted
//! Tokens", `CreateRestrictedToken`, "SID Attributes in an Access Token", "Security identifiers" (OWNER RIGHTS).
//! Integrity labels, conditions and object types are not modelled.
//!
//! What no document settles is taken the way that gives the attacker more:
//! - `[unsettled]` an owner whose SID is deny-only in the token still counts as the owner;
//! - `[unsettled]` implicit rights are decided for each pass alone: the second pass gives them where the owner is one
//!   of the restricting SIDs, and the first does so whatever the restricting SIDs are;
//! - `[unsettled]` under [`WriteClass::H3`] a request for the maximum gets each right that it would get when asked for
//!   alone;
//! - `[unsettled]` a request for nothing is granted nothing, not denied;
//! - `[unsettled]` a descriptor without owner or group is walked as it stands. The call `AccessCheck` refuses such
//!   ones; nothing says that an open does.
//!
//! Invariant: nothing is allocated, and a right is granted only if each pass that covers it grants it.

use crate::ace::{Ace, AceKind};
use crate::descriptor::SecurityDescriptor;
use crate::mask::{AccessMask, GenericMapping};
use crate::sid::Sid;
use crate::token::{GroupState, Privileges, Restriction, Token};
use crate::write_class::WriteClass;

/// The owner's rights, unless an OWNER RIGHTS entry takes their place.
const OWNER_IMPLICIT: AccessMask = AccessMask::READ_CONTROL.with(AccessMask::WRITE_DAC);

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The request as mapped, or the maximum that was asked for.
    Granted(AccessMask),
    /// Nothing is granted, for this reason.
    Denied(Denial),
}

impl Access {
    /// The rights of the handle that an open with this answer gives; none when denied.
    #[must_use]
    pub const fn granted(self) -> AccessMask {
        match self {
            Self::Granted(mask) => mask,
            Self::Denied(_) => AccessMask::NONE,
        }
    }

    /// Whether the request is granted.
    #[must_use]
    pub const fn is_granted(self) -> bool {
        match self {
            Self::Granted(_) => true,
            Self::Denied(_) => false,
        }
    }
}

/// Why a request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Which pass denied it; the first that did.
    pub pass: Pass,
    /// The rights that were not to be had: those that the entry denies, or those that no entry grants.
    pub missing: AccessMask,
    /// What decided.
    pub cause: DenialCause,
}

/// What decided that a request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialCause {
    /// The deny entry at this index of the DACL.
    Entry(usize),
    /// The end of the DACL was reached.
    NoEntry,
    /// `ACCESS_SYSTEM_SECURITY` needs `SeSecurityPrivilege` (`STATUS_PRIVILEGE_NOT_HELD`).
    Privilege,
}

/// A pass over the DACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// For the user and the groups.
    Normal,
    /// For the restricting SIDs alone.
    Restricting,
}

/// Decides a request.
///
/// `desired` may hold generic bits and `MAXIMUM_ALLOWED`; generic bits of the request and of entries are mapped
/// with `mapping`. `class` says what the second pass covers, if the token is write-restricted.
#[must_use]
pub fn access_check(
    descriptor: &SecurityDescriptor,
    token: &Token,
    desired: AccessMask,
    mapping: &GenericMapping,
    class: WriteClass,
) -> Access {
    let desired = mapping.map(desired);
    let named = desired - AccessMask::MAXIMUM_ALLOWED;
    if let Err(denial) = check_named(descriptor, token, named, mapping, class) {
        return Access::Denied(denial);
    }
    if !desired.contains(AccessMask::MAXIMUM_ALLOWED) {
        return Access::Granted(named);
    }
    let granted = named | maximum_allowed(descriptor, token, mapping, class);
    if granted.is_empty() {
        return Access::Denied(nothing_to_be_had(descriptor, token, mapping));
    }
    Access::Granted(granted)
}

/// Every right that a request for `MAXIMUM_ALLOWED` gives; what only a privilege gives must be asked for by name.
///
/// A deny hits the bits that no earlier entry has granted, and the reverse.
/// On an object without a DACL it is all that the mapping knows.
#[must_use]
pub fn maximum_allowed(
    descriptor: &SecurityDescriptor,
    token: &Token,
    mapping: &GenericMapping,
    class: WriteClass,
) -> AccessMask {
    let normal = maximum_of_pass(descriptor, token, Pass::Normal, mapping);
    let covered = match token.restriction {
        Restriction::None => return normal,
        // Without a DACL there is no pass at all.
        Restriction::All(_) | Restriction::Writes(_) if descriptor.acl().is_none() => {
            return normal;
        }
        Restriction::All(_) => !AccessMask::NONE,
        Restriction::Writes(_) => class.rights(mapping),
    };
    let restricting = maximum_of_pass(descriptor, token, Pass::Restricting, mapping);
    normal & (restricting | !covered)
}

/// Decides a request for named rights in one pass alone, whether or not the token has that pass.
///
/// For explanations and for comparing with other implementations: [`access_check`] puts the passes together.
/// `desired` is mapped and without `MAXIMUM_ALLOWED`.
///
/// # Errors
/// What decided that it is denied.
pub fn check_pass(
    descriptor: &SecurityDescriptor,
    token: &Token,
    pass: Pass,
    desired: AccessMask,
    mapping: &GenericMapping,
) -> Result<(), Denial> {
    let mut remaining = desired;
    if remaining.contains(AccessMask::ACCESS_SYSTEM_SECURITY) {
        // [MS-DTYP] 2.5.3.2: no entry grants it.
        if !token.privileges.contains(Privileges::SECURITY) {
            return Err(Denial {
                pass,
                missing: AccessMask::ACCESS_SYSTEM_SECURITY,
                cause: DenialCause::Privilege,
            });
        }
        remaining = remaining - AccessMask::ACCESS_SYSTEM_SECURITY;
    }
    if token.privileges.contains(Privileges::TAKE_OWNERSHIP) {
        remaining = remaining - AccessMask::WRITE_OWNER;
    }
    // "Null DACLs and Empty DACLs": without a list everything is granted, also to restricted tokens.
    let Some(acl) = descriptor.acl() else {
        return Ok(());
    };
    let caller = Caller::new(token, pass, descriptor.owner);
    remaining = remaining - caller.implicit_rights(&acl.aces);
    for (index, ace) in acl.aces.iter().enumerate() {
        if remaining.is_empty() {
            return Ok(());
        }
        let hit = remaining & mapping.map(ace.mask);
        if hit.is_empty() || !caller.is_named_by(ace) {
            continue;
        }
        match ace.kind {
            AceKind::Allow => remaining = remaining - hit,
            AceKind::Deny => {
                return Err(Denial {
                    pass,
                    missing: hit,
                    cause: DenialCause::Entry(index),
                });
            }
            AceKind::Audit | AceKind::MandatoryLabel => {}
        }
    }
    if remaining.is_empty() {
        return Ok(());
    }
    Err(Denial {
        pass,
        missing: remaining,
        cause: DenialCause::NoEntry,
    })
}

/// What one pass gives at most, without what only a privilege gives.
#[must_use]
pub fn maximum_of_pass(
    descriptor: &SecurityDescriptor,
    token: &Token,
    pass: Pass,
    mapping: &GenericMapping,
) -> AccessMask {
    let Some(acl) = descriptor.acl() else {
        return mapping.all;
    };
    let caller = Caller::new(token, pass, descriptor.owner);
    let mut granted = caller.implicit_rights(&acl.aces);
    let mut denied = AccessMask::NONE;
    for ace in &acl.aces {
        let undecided = mapping.map(ace.mask) - granted - denied;
        if undecided.is_empty() || !caller.is_named_by(ace) {
            continue;
        }
        match ace.kind {
            AceKind::Allow => granted |= undecided,
            AceKind::Deny => denied |= undecided,
            AceKind::Audit | AceKind::MandatoryLabel => {}
        }
    }
    // Bits that say how to ask are no rights, and only a privilege gives the other one.
    granted - AccessMask::MAXIMUM_ALLOWED - AccessMask::ACCESS_SYSTEM_SECURITY
}

/// Both passes for named rights.
fn check_named(
    descriptor: &SecurityDescriptor,
    token: &Token,
    desired: AccessMask,
    mapping: &GenericMapping,
    class: WriteClass,
) -> Result<(), Denial> {
    check_pass(descriptor, token, Pass::Normal, desired, mapping)?;
    let second = match token.restriction {
        Restriction::None => return Ok(()),
        Restriction::All(_) => desired,
        Restriction::Writes(_) => class.second_pass(desired, mapping),
    };
    if second.is_empty() {
        return Ok(());
    }
    check_pass(descriptor, token, Pass::Restricting, second, mapping)
}

/// Why a request for the maximum gets nothing.
fn nothing_to_be_had(
    descriptor: &SecurityDescriptor,
    token: &Token,
    mapping: &GenericMapping,
) -> Denial {
    let normal = maximum_of_pass(descriptor, token, Pass::Normal, mapping);
    Denial {
        pass: if normal.is_empty() {
            Pass::Normal
        } else {
            Pass::Restricting
        },
        missing: AccessMask::MAXIMUM_ALLOWED,
        cause: DenialCause::NoEntry,
    }
}

/// Whom a pass takes the caller for.
struct Caller<'a> {
    token: &'a Token,
    pass: Pass,
    owner: Ownership,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ownership {
    Owner,
    Other,
}

impl<'a> Caller<'a> {
    fn new(token: &'a Token, pass: Pass, owner: Option<Sid>) -> Self {
        let owns = owner.is_some_and(|owner| match pass {
            Pass::Normal => {
                token.user.is(&owner) || token.groups.iter().any(|group| group.sid.is(&owner))
            }
            Pass::Restricting => token.restriction.sids().iter().any(|sid| sid.is(&owner)),
        });
        Self {
            token,
            pass,
            owner: if owns {
                Ownership::Owner
            } else {
                Ownership::Other
            },
        }
    }

    /// What being the owner gives: nothing as soon as an entry that applies here names OWNER RIGHTS, whatever it says.
    fn implicit_rights(&self, aces: &[Ace]) -> AccessMask {
        let replaced = || {
            aces.iter()
                .any(|ace| ace.applies_here() && ace.sid.is(&Sid::OWNER_RIGHTS))
        };
        if self.owner == Ownership::Owner && !replaced() {
            OWNER_IMPLICIT
        } else {
            AccessMask::NONE
        }
    }

    /// Whether an entry applies here and speaks of the caller: a deny also through SIDs that are deny-only.
    fn is_named_by(&self, ace: &Ace) -> bool {
        if !ace.applies_here() {
            return false;
        }
        if self.owner == Ownership::Owner && ace.sid.is(&Sid::OWNER_RIGHTS) {
            return true;
        }
        let counts = |state: GroupState| match state {
            GroupState::Enabled => true,
            GroupState::DenyOnly => ace.kind == AceKind::Deny,
        };
        match self.pass {
            Pass::Normal => {
                (self.token.user.is(&ace.sid) && counts(self.token.user_state))
                    || self
                        .token
                        .groups
                        .iter()
                        .any(|group| group.sid.is(&ace.sid) && counts(group.state))
            }
            Pass::Restricting => {
                let mut sids = self.token.restriction.sids().iter();
                sids.any(|sid| sid.is(&ace.sid))
            }
        }
    }
}

#[cfg(test)]
mod tests;
