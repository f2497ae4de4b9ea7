//! The token of targets: what the specification says, with the session's own SIDs in it, made anew for each command.
//!
//! Invariant: a token that leaves this module was read back (its second pass, its deny-only groups, its privileges,
//! its default DACL, its own DACL), and its write class was accepted.

use std::os::windows::io::{AsHandle as _, BorrowedHandle};

use ringfence_backend::windows::runner::Refusal;
use ringfence_nt::measure::{MeasureError, MeasuringSids, measure};
use ringfence_nt::token::{FilterFlags, GroupState};
use ringfence_nt::{GenericMapping, SecurityDescriptor, Sid, WriteClass};
use ringfence_plan::windows::launch::{self, LaunchSpec, TokenSpec, WriteClassRule};
use ringfence_plan::windows::sids::Placeholder;

use super::harden::{called, refusal};
use crate::sys::access;
use crate::sys::object;
use crate::sys::token::{AccessToken, RestrictError, RestrictedToken};

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

    /// Whether a process that was started with such a token, and has not run yet, has what was made: its second pass and
    /// its descriptor.
    ///
    /// No document says whether a process gets the very token that it is started with, or a copy of it with the default
    /// descriptor of who starts it. A descriptor that is another one is put right here, before the first instruction.
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
        if found.acl() == self.descriptor.acl() {
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
