//! What the runner does to itself before anything else: it has the same user as its targets.
//!
//! The harness has set the DACLs of its process and of its first thread before its first instruction; here follow the
//! token, the default of all that it makes, and once more process and threads. Invariant: everything is read back.

use std::os::windows::io::AsHandle as _;

use ringfence_backend::windows::runner::{Called, Refusal};
use ringfence_plan::windows::launch::RunnerHardening;

use crate::sys::CallError;
use crate::sys::object::{self, ProtectError};
use crate::sys::token::AccessToken;

/// Protects this process, its threads and its token.
///
/// # Errors
/// [`Refusal`]: nothing may be started then.
pub(super) fn harden(own: &AccessToken, wanted: &RunnerHardening) -> Result<(), Refusal> {
    own.set_default_dacl(&wanted.default_dacl).map_err(called)?;
    if own.default_dacl().map_err(called)?.as_ref() != Some(&wanted.default_dacl) {
        let what = "the runner's default DACL is not what was set";
        return Err(Refusal::NotEnforced(what.to_owned()));
    }
    object::protect(own.as_handle(), &wanted.token, "runner's token").map_err(refusal)?;
    object::protect_this_process(&wanted.process, &wanted.thread).map_err(refusal)
}

fn refusal(error: ProtectError) -> Refusal {
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
