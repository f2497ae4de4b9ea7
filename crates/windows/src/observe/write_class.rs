//! What the second pass of a write-restricted token covers on this machine: asked of a copy of our own token.
//!
//! No disk is touched. The runner measures again, on the very token of its targets, before the first command.
//! Invariant: a system that restricts nothing, or answers what fits no hypothesis, has no class.

use std::os::windows::io::AsHandle as _;

use ringfence_nt::measure::{Measured, MeasuringSids, measure};
use ringfence_nt::token::GroupState;
use ringfence_nt::{Acl, GenericMapping, Sid, WriteClass};

use crate::sys::access;
use crate::sys::token::{AccessToken, RestrictedToken};

/// The class of this machine; `None` where it restricts nothing.
#[must_use]
pub fn probe() -> Option<WriteClass> {
    measured()?.class()
}

/// What was measured; `None` where this machine restricts nothing.
#[must_use]
pub fn measured() -> Option<Measured> {
    let own = AccessToken::of_this_process().ok()?;
    // In no token of anybody's: `S-1-0` with parts of ours.
    let restricting = Sid::new(0, &[ringfence_plan::windows::sids::TAG, 0xffff]).ok()?;
    let token = own
        .restrict(&RestrictedToken {
            deny_only: Vec::new(),
            restricting: vec![restricting],
            default_dacl: Acl::default(),
        })
        .ok()?;
    let groups = token.groups().ok()?;
    let normal = groups
        .iter()
        .find(|group| group.state == GroupState::Enabled && group.sid != Sid::ADMINISTRATORS)?
        .sid;
    let asking = token.for_access_checks().ok()?;
    let sids = MeasuringSids {
        normal,
        restricting,
    };
    measure(sids, |descriptor, desired| {
        access::granted(
            descriptor,
            asking.as_handle(),
            desired,
            &GenericMapping::FILE,
        )
    })
    .ok()
}
