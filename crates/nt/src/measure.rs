//! The write class of a real token, measured by asking the system's own access check about descriptors in memory.
//!
//! It opens no object and asks nothing by itself: the caller puts the questions. Invariant: an answer that fits no
//! hypothesis, or a control question that fails, is never taken for a class.

use crate::ace::{Ace, AceFlags};
use crate::acl::Acl;
use crate::descriptor::SecurityDescriptor;
use crate::mask::{AccessMask, GenericMapping};
use crate::sid::Sid;
use crate::write_class::WriteClass;

/// The two SIDs of a write-restricted token that a measurement is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasuringSids {
    /// In the normal pass and not in the second.
    pub normal: Sid,
    /// In the second pass and not in the normal one.
    pub restricting: Sid,
}

/// What the system answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The rights of a file that the second pass decides on.
    pub covered: AccessMask,
    /// Whether it takes the whole request as soon as one of them is asked for.
    pub request: Request,
}

/// What of a request with a covered right goes through the second pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The covered rights.
    Covered,
    /// All of it.
    Whole,
}

/// Why nothing was measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeasureError<E> {
    /// The system did not answer.
    #[error("ask the system's access check")]
    Ask(E),
    /// Both passes grant these rights, and the system refused them.
    #[error("the system refuses {0} where both passes grant it")]
    Control(AccessMask),
}

impl Measured {
    /// The hypothesis that promises no more than was measured; none where even the least is not met.
    ///
    /// What is covered beyond a hypothesis is refused oftener, never less often.
    #[must_use]
    pub fn class(self) -> Option<WriteClass> {
        let by_strength = match self.request {
            Request::Whole => [WriteClass::H3, WriteClass::H4, WriteClass::H1].as_slice(),
            Request::Covered => [WriteClass::H2, WriteClass::H4, WriteClass::H1].as_slice(),
        };
        by_strength
            .iter()
            .copied()
            .find(|class| self.covered.contains(class.rights(&GenericMapping::FILE)))
    }
}

/// Measures: `granted` answers which of the rights that are asked for the token gets on an object with a descriptor.
///
/// # Errors
/// [`MeasureError`].
pub fn measure<E>(
    sids: MeasuringSids,
    granted: impl Fn(&SecurityDescriptor, AccessMask) -> Result<AccessMask, E>,
) -> Result<Measured, MeasureError<E>> {
    let allow = |mask, sid| Ace::allow(AceFlags::NONE, mask, sid);
    let all = AccessMask::FILE_ALL_ACCESS;
    let of = |restricting: AccessMask| {
        let mut aces = vec![allow(all, sids.normal)];
        if !restricting.is_empty() {
            aces.push(allow(restricting, sids.restricting));
        }
        SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, Acl::new(aces))
    };
    let gives = |descriptor: &SecurityDescriptor, desired: AccessMask| {
        let answer = granted(descriptor, desired).map_err(MeasureError::Ask)?;
        Ok::<bool, MeasureError<E>>(answer.contains(desired))
    };
    let (both, one) = (of(all), of(AccessMask::NONE));
    let mut covered = AccessMask::NONE;
    for right in all.bits() {
        if !gives(&both, right)? {
            return Err(MeasureError::Control(right));
        }
        if !gives(&one, right)? {
            covered |= right;
        }
    }
    let mixed = AccessMask::FILE_READ_DATA | AccessMask::FILE_WRITE_DATA;
    let request = if gives(&of(AccessMask::FILE_WRITE_DATA), mixed)? {
        Request::Covered
    } else {
        Request::Whole
    };
    Ok(Measured { covered, request })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::access_check;
    use crate::token::{FilterFlags, Token};
    use std::convert::Infallible;

    fn sids() -> (MeasuringSids, Token) {
        let (user, group) = (
            Sid::new(5, &[21, 1]).unwrap(),
            Sid::new(5, &[21, 2]).unwrap(),
        );
        let session = Sid::new(0, &[7, 7]).unwrap();
        let flags = FilterFlags::WRITE_RESTRICTED.with(FilterFlags::LUA_TOKEN);
        let token =
            Token::new(user, &[group, Sid::EVERYONE]).restrict(flags, &[], &[session, user]);
        let sids = MeasuringSids {
            normal: group,
            restricting: session,
        };
        (sids, token)
    }

    fn measured(token: &Token, class: WriteClass) -> Result<Measured, MeasureError<Infallible>> {
        measure(sids().0, |descriptor, desired| {
            let file = &GenericMapping::FILE;
            Ok(access_check(descriptor, token, desired, file, class).granted())
        })
    }

    #[test]
    fn each_class_of_the_model_is_told_from_the_others() {
        let (_, token) = sids();
        for class in WriteClass::ALL {
            let found = measured(&token, class).unwrap();
            assert_eq!(found.class(), Some(class), "{found:?}");
            assert_eq!(found.covered, class.rights(&GenericMapping::FILE));
        }
    }

    #[test]
    fn a_token_that_is_not_restricted_has_no_class() {
        let token = Token::new(sids().1.user, &[sids().0.normal]);
        let found = measured(&token, WriteClass::H2).unwrap();
        assert_eq!(found.covered, AccessMask::NONE);
        assert_eq!(found.class(), None);
    }

    #[test]
    fn one_missing_right_makes_a_weaker_class_and_never_a_stronger() {
        let file = GenericMapping::FILE;
        for (lost, weaker) in [
            (AccessMask::DELETE, Some(WriteClass::H1)),
            (AccessMask::WRITE_DAC, Some(WriteClass::H1)),
            (AccessMask::WRITE_OWNER, Some(WriteClass::H1)),
            (AccessMask::FILE_DELETE_CHILD, Some(WriteClass::H4)),
            (AccessMask::FILE_WRITE_DATA, None),
        ] {
            let found = Measured {
                covered: WriteClass::H2.rights(&file) - lost,
                request: Request::Covered,
            };
            assert_eq!(found.class(), weaker, "{lost}");
        }
        // More than a hypothesis needs is that hypothesis.
        let more = Measured {
            covered: AccessMask::FILE_ALL_ACCESS,
            request: Request::Covered,
        };
        assert_eq!(more.class(), Some(WriteClass::H2));
    }

    #[test]
    fn a_system_that_refuses_what_both_passes_grant_is_not_measured() {
        let deaf = measure::<Infallible>(sids().0, |_, _| Ok(AccessMask::NONE));
        assert_eq!(deaf, Err(MeasureError::Control(AccessMask::FILE_READ_DATA)));
    }
}
