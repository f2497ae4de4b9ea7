//! What a filter asks of a user, as the descriptor that the filtering platform checks, and back.
//!
//! Source: learn.microsoft.com `FWPM_CONDITION_ALE_USER_ID`, "Access Control (Windows Filtering Platform)". A token
//! matches where the descriptor grants it `FWP_ACTRL_MATCH_FILTER` (0x1). Invariant: a condition goes there and back
//! as itself, and a descriptor of any other form is none of ours.

use ringfence_nt::{AceKind, SecurityDescriptor};
use ringfence_plan::windows::filters::match_descriptor;
use ringfence_plan::windows::step::{Condition, Trustee};

/// The descriptor of a condition on the user; none for another condition, or with a trustee that is still to be made.
#[must_use]
pub fn user_descriptor(condition: &Condition) -> Option<SecurityDescriptor> {
    let trustee = match condition {
        Condition::User(user)
        | Condition::UserOr(user, _)
        | Condition::NotUser(user)
        | Condition::NotUserNorAnonymous(user) => *user,
        Condition::Loopback
        | Condition::Tcp
        | Condition::RemotePorts(_)
        | Condition::RawEndpoint
        | Condition::Promiscuous => return None,
    };
    let Trustee::Sid(sid) = trustee else {
        return None;
    };
    match_descriptor(condition, |_| sid)
}

/// The condition that a descriptor stands for; none for one that we do not make.
#[must_use]
pub fn condition_of(descriptor: &SecurityDescriptor) -> Option<Condition> {
    // Who is denied first tells the form; that the rest is as we make it is compared below.
    let condition = match descriptor.acl()?.aces.as_slice() {
        [one, other, ..] if one.kind == AceKind::Deny && other.kind == AceKind::Deny => {
            Condition::NotUserNorAnonymous(Trustee::Sid(one.sid))
        }
        [one, ..] if one.kind == AceKind::Deny => Condition::NotUser(Trustee::Sid(one.sid)),
        [one] => Condition::User(Trustee::Sid(one.sid)),
        [one, other] => Condition::UserOr(Trustee::Sid(one.sid), other.sid),
        _ => return None,
    };
    let made = user_descriptor(&condition)?;
    (made.acl() == descriptor.acl()).then_some(condition)
}

#[cfg(test)]
mod tests {
    use ringfence_nt::{
        Access, AccessMask, Ace, AceFlags, Acl, GenericMapping, Token, WriteClass, access_check,
    };
    use ringfence_plan::windows::filters::MATCH_FILTER;

    use super::*;
    use ringfence_nt::Sid;

    const MATCH: AccessMask = MATCH_FILTER;

    fn account(rid: u32) -> Sid {
        Sid::new(5, &[21, 1, 2, 3, rid]).unwrap()
    }

    #[test]
    fn a_condition_goes_there_and_back_as_itself() {
        let (user, marker) = (
            Trustee::Sid(account(1001)),
            Sid::new(0, &[1, 2, 3]).unwrap(),
        );
        for condition in [
            Condition::User(user),
            Condition::UserOr(user, marker),
            Condition::NotUser(user),
            Condition::NotUserNorAnonymous(user),
        ] {
            let descriptor = user_descriptor(&condition).unwrap();
            let bytes = descriptor.to_bytes().unwrap();
            let read = SecurityDescriptor::from_bytes(&bytes).unwrap();
            assert_eq!(condition_of(&read), Some(condition));
        }
        assert_eq!(user_descriptor(&Condition::Tcp), None);
        assert_eq!(user_descriptor(&Condition::User(Trustee::Group)), None);
    }

    #[test]
    fn a_descriptor_that_somebody_edited_is_none_of_ours() {
        let mut descriptor = user_descriptor(&Condition::User(Trustee::Sid(account(1)))).unwrap();
        for ace in [
            Ace::deny(AceFlags::NONE, MATCH, account(1)),
            Ace::allow(AceFlags::NONE, AccessMask(3), account(1)),
        ] {
            descriptor.dacl = ringfence_nt::Dacl::Present(Acl::new(vec![ace]));
            assert_eq!(condition_of(&descriptor), None);
        }
        descriptor.dacl = ringfence_nt::Dacl::Null;
        assert_eq!(condition_of(&descriptor), None);
    }

    #[test]
    fn the_user_matches_and_everybody_else_does_not() {
        let matches = |condition: &Condition, user| {
            let descriptor = user_descriptor(condition).unwrap();
            let token = Token::new(user, &[Sid::EVERYONE]);
            let (mapping, class) = (GenericMapping::FILE, WriteClass::H2);
            let access = access_check(&descriptor, &token, MATCH, &mapping, class);
            matches!(access, Access::Granted(_))
        };
        let user = Condition::User(Trustee::Sid(account(1)));
        assert!(matches(&user, account(1)) && !matches(&user, account(2)));
        let others = Condition::NotUser(Trustee::Sid(account(1)));
        assert!(!matches(&others, account(1)) && matches(&others, account(2)));
    }
}
