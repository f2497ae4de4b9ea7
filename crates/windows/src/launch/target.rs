//! The token of targets: what the specification says, with the session's own SIDs in it, made anew for each command.
//!
//! Invariant: a token that leaves this module was read back (its second pass, its deny-only groups, its privileges,
//! its default DACL, its own DACL), and its write class was accepted.

use std::os::windows::io::{AsHandle as _, BorrowedHandle};

use ringfence_backend::windows::runner::Refusal;
use ringfence_nt::measure::{MeasureError, MeasuringSids, measure};
use ringfence_nt::token::{FilterFlags, GroupState};
use ringfence_nt::{AccessMask, AceKind, GenericMapping, SecurityDescriptor, Sid, WriteClass};
use ringfence_plan::windows::launch::{self, LaunchSpec, TokenSpec, WriteClassRule};
use ringfence_plan::windows::sids::Placeholder;

use super::harden::{called, refusal};
use crate::sys::access;
use crate::sys::object;
use crate::sys::token::{AccessToken, RestrictError, RestrictedToken};

/// `TOKEN_ASSIGN_PRIMARY | TOKEN_DUPLICATE | TOKEN_IMPERSONATE | WRITE_DAC | WRITE_OWNER`, and everything at once.
const TAKES: AccessMask = AccessMask(0x100c_0007);

/// How the targets' tokens of one session are made.
#[derive(Debug)]
pub(super) struct TargetToken {
    own: AccessToken,
    wanted: RestrictedToken,
    descriptor: SecurityDescriptor,
    session: Sid,
}

impl TargetToken {
    /// Puts the session's SIDs into the specification.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] for other flags than this program sets; [`Refusal::NotEnforced`] where the logon SID is to
    /// be denied and the token has none.
    pub(super) fn new(own: AccessToken, spec: &LaunchSpec, session: Sid) -> Result<Self, Refusal> {
        let TokenSpec {
            flags,
            deny_only,
            restricting,
            default_dacl,
            descriptor,
        } = &spec.token;
        let known = FilterFlags::DISABLE_MAX_PRIVILEGE
            .with(FilterFlags::LUA_TOKEN)
            .with(FilterFlags::WRITE_RESTRICTED);
        if *flags != known {
            return Err(Refusal::Unknown(format!("the token flags {:#x}", flags.0)));
        }
        let logon = own.logon().map_err(called)?;
        if deny_only.contains(&Placeholder::Logon.sid()) && logon.is_none() {
            let what = "the logon SID that targets must not have is not in the token";
            return Err(Refusal::NotEnforced(what.to_owned()));
        }
        let logon = logon.unwrap_or(Sid::NULL);
        let bound = |sid: &Sid| launch::bind(*sid, session, logon);
        let wanted = RestrictedToken {
            deny_only: deny_only.iter().map(bound).collect(),
            restricting: restricting.iter().map(|one| bound(&one.sid)).collect(),
            default_dacl: launch::bind_list(default_dacl, session, logon),
        };
        let unbound = |sid: &Sid| Placeholder::ALL.iter().any(|one| one.sid() == *sid);
        if wanted
            .restricting
            .iter()
            .chain(&wanted.deny_only)
            .any(unbound)
        {
            let what = "an account that set-up has not made yet";
            return Err(Refusal::Unknown(what.to_owned()));
        }
        Ok(Self {
            own,
            wanted,
            descriptor: launch::bind_descriptor(descriptor, session, logon),
            session,
        })
    }

    /// Makes one.
    ///
    /// # Errors
    /// [`Refusal`]; above all [`Refusal::NotEnforced`] where the system restricts nothing.
    pub(super) fn make(&self) -> Result<AccessToken, Refusal> {
        let token = self
            .own
            .restrict(&self.wanted)
            .map_err(|error| match error {
                RestrictError::Call(error) => called(error).into(),
                RestrictError::NotEnforced(_) => Refusal::NotEnforced(error.to_string()),
            })?;
        object::protect(token.as_handle(), &self.descriptor, "target's token").map_err(refusal)?;
        Ok(token)
    }

    /// Whether a process that was started with such a token, and has not run yet, has what was made: its second pass, and
    /// a descriptor that lets nobody take it.
    ///
    /// No document says whether a process gets the very token that it is started with, or a copy of it with the default
    /// list of that token or of who starts it. A list that lets somebody take it is replaced here, before the first
    /// instruction.
    ///
    /// # Errors
    /// [`Refusal`]: it must not run.
    pub(super) fn settle(&self, process: BorrowedHandle<'_>) -> Result<(), Refusal> {
        const WHAT: &str = "token of the command";
        let token = AccessToken::of_process_with_descriptor(process).map_err(called)?;
        let mut there = token.restricting().map_err(called)?;
        there.sort_unstable();
        if there != self.restricting() {
            let what = "the command's token is not restricted as asked";
            return Err(Refusal::NotEnforced(what.to_owned()));
        }
        let found = object::dacl(token.as_handle(), WHAT).map_err(called)?;
        if is_closed(&found, self.session) {
            return Ok(());
        }
        let token = AccessToken::of_process_to_protect(process).map_err(called)?;
        object::protect(token.as_handle(), &self.descriptor, WHAT).map_err(refusal)
    }

    /// The SIDs of the second pass, sorted.
    fn restricting(&self) -> Vec<Sid> {
        let mut sids = self.wanted.restricting.clone();
        sids.sort_unstable();
        sids.dedup();
        sids
    }

    /// Measures what the second pass of `token` covers, and asks whether `rule` accepts it.
    ///
    /// # Errors
    /// [`Refusal::WriteClass`] where it does not.
    pub(super) fn measure(
        &self,
        token: &AccessToken,
        rule: WriteClassRule,
    ) -> Result<WriteClass, Refusal> {
        let sids = MeasuringSids {
            normal: self.normal(token)?,
            restricting: self.session,
        };
        let asking = token.for_access_checks().map_err(called)?;
        let file = &GenericMapping::FILE;
        let measured = measure(sids, |descriptor, desired| {
            access::granted(descriptor, asking.as_handle(), desired, file)
        });
        let measured = measured.map_err(|error| match error {
            MeasureError::Ask(error) => called(error).into(),
            MeasureError::Control(_) => Refusal::NotEnforced(error.to_string()),
        })?;
        match measured.class() {
            Some(class) if rule.accepts(class) => Ok(class),
            class @ (Some(_) | None) => Err(Refusal::WriteClass {
                covered: measured.covered,
                class,
            }),
        }
    }

    /// A SID that counts in the normal pass and not in the second.
    fn normal(&self, token: &AccessToken) -> Result<Sid, Refusal> {
        let groups = token.groups().map_err(called)?;
        let mut counting = groups
            .into_iter()
            .filter(|group| group.state == GroupState::Enabled)
            .map(|group| group.sid);
        let restricting = &self.wanted.restricting;
        counting
            .find(|sid| !restricting.contains(sid))
            .ok_or_else(|| {
                let what = "the token has no group that is not in its second pass too";
                Refusal::NotEnforced(what.to_owned())
            })
    }
}

/// Whether a token's list gives nobody but SYSTEM and the session what takes the token: to copy it, to act as it, to
/// start with it, to open it further.
fn is_closed(descriptor: &SecurityDescriptor, session: Sid) -> bool {
    let trusted = [Sid::SYSTEM, session];
    descriptor.acl().is_some_and(|acl| {
        acl.aces.iter().all(|ace| {
            ace.kind != AceKind::Allow || trusted.contains(&ace.sid) || !ace.mask.intersects(TAKES)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(sddl: &str) -> SecurityDescriptor {
        SecurityDescriptor::from_sddl(sddl).unwrap()
    }

    #[test]
    fn a_token_is_closed_where_nobody_but_its_session_may_take_it() {
        let session = Sid::new(0, &[1, 2, 3]).unwrap();
        for closed in [
            // What is set, and what a target's default list comes to.
            "O:BUG:BUD:(A;;0x20098;;;BU)(A;;0x20098;;;S-1-0-1-2-3)(A;;0xf01ff;;;SY)(A;;RC;;;OW)",
            "O:BUG:BUD:(A;;0x200f8;;;BU)(A;;0xf01ff;;;S-1-0-1-2-3)(A;;0xf01ff;;;SY)(A;;RC;;;OW)",
            "O:BUG:BUD:(D;;0xf01ff;;;BU)",
        ] {
            assert!(is_closed(&described(closed), session), "{closed}");
        }
        for open in [
            "O:BUG:BUD:(A;;0xf01ff;;;SY)(A;;0xf01ff;;;BA)(A;;RC;;;OW)",
            "O:BUG:BUD:(A;;0x2;;;BU)",
            "O:BUG:BUD:(A;;0x4;;;BU)",
            "O:BUG:BUD:(A;;WD;;;OW)",
            "O:BUG:BUD:(A;;0xf01ff;;;S-1-0-1-2-4)",
            "O:BUG:BU",
            "O:BUG:BUD:NO_ACCESS_CONTROL",
        ] {
            assert!(!is_closed(&described(open), session), "{open}");
        }
    }
}
