//! The profile that this process was given.
//!
//! Source: learn.microsoft.com `GetProfileType`.

use windows_sys::Win32::UI::Shell::GetProfileType;

use super::error::{CallError, check};

/// `userenv.h`.
const PT_TEMPORARY: u32 = 1;

/// What a profile is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The account's own.
    Kept,
    /// One that is thrown away at the end: the account's own could not be loaded.
    Temporary,
}

/// What this process's profile is.
///
/// # Errors
/// `GetProfileType`'s.
pub fn of_this_process() -> Result<Profile, CallError> {
    let mut flags = 0;
    // SAFETY: the flags are ours to write.
    let done = unsafe { GetProfileType(&raw mut flags) };
    check(done, "GetProfileType", "")?;
    Ok(if flags & PT_TEMPORARY == 0 {
        Profile::Kept
    } else {
        Profile::Temporary
    })
}
