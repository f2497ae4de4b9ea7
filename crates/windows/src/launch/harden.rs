//! What the runner does to itself before anything else: it has the same user as its targets.
//!
//! The harness has set the DACLs of its process and of its first thread before its first instruction; here follow the
//! token, the default of all that it makes, and once more process and threads, and what it
//! loads from now on: it shares the names of drives with its targets. Invariant: everything is read back.

use std::os::windows::io::AsHandle as _;

use ringfence_backend::windows::runner::{Called, Refusal};
use ringfence_nt::Sid;
use ringfence_plan::windows::launch::{RunnerHardening, bind_descriptor, bind_list};

use crate::sys::CallError;
use crate::sys::mitigation::{LoadError, load_the_systems_own};
use crate::sys::object::{self, ProtectError};
use crate::sys::token::AccessToken;

/// Protects this process, its threads and its token in the session of this SID, and has it load no library that is not
/// the system's.
///
/// # Errors
/// [`Refusal`]: nothing may be started then.
pub(super) fn harden(
    own: &AccessToken,
    wanted: &RunnerHardening,
    session: Sid,
) -> Result<(), Refusal> {
    // By its logon SID the runner reaches its own token, which starting a target takes. Without one nobody is named by
    // it, and the start fails.
    let logon = own.logon().map_err(called)?.unwrap_or(Sid::NULL);
    let default_dacl = bind_list(&wanted.default_dacl, session, logon);
    own.set_default_dacl(&default_dacl).map_err(called)?;
    if own.default_dacl().map_err(called)? != Some(default_dacl) {
        let what = "the runner's default DACL is not what was set";
        return Err(Refusal::NotEnforced(what.to_owned()));
    }
    let token = bind_descriptor(&wanted.token, session, logon);
    object::protect(own.as_handle(), &token, "runner's token").map_err(refusal)?;
    object::protect_this_process(&wanted.process, &wanted.thread).map_err(refusal)?;
    load_the_systems_own().map_err(|error| match error {
        LoadError::Call(error) => called(error).into(),
        LoadError::NotKept(_) => Refusal::NotEnforced(error.to_string()),
    })
}

/// An object that is not protected as the protocol says it.
pub(super) fn refusal(error: ProtectError) -> Refusal {
    match error {
        ProtectError::Call(error) => called(error).into(),
        ProtectError::NotKept(_) => Refusal::NotEnforced(error.to_string()),
    }
}

/// A failed call as the protocol says it.
pub(super) fn called(error: CallError) -> Called {
    Called {
        call: error.call.to_owned(),
        object: error.object,
        code: error.error.0,
    }
}
