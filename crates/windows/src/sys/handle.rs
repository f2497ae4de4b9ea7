//! Handles: ownership is std's, this adds what std has no word for.

use std::os::windows::io::{AsRawHandle as _, BorrowedHandle, FromRawHandle as _, OwnedHandle};

use windows_sys::Win32::Foundation::{
    HANDLE, HANDLE_FLAG_INHERIT, INVALID_HANDLE_VALUE, SetHandleInformation, WAIT_FAILED,
    WAIT_OBJECT_0,
};
use windows_sys::Win32::System::Threading::{INFINITE, WaitForSingleObject};

use super::error::{CallError, check};

/// Whether new processes may get a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inheritance {
    /// It stays here.
    None,
    /// It may be named in a process's handle list.
    Allowed,
}

/// Takes over a handle that a call has made; `None` for null and for `INVALID_HANDLE_VALUE`.
///
/// # Safety
/// A handle that is neither is open and owned by nobody else.
pub(crate) unsafe fn adopt(handle: HANDLE) -> Option<OwnedHandle> {
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return None;
    }
    // SAFETY: the caller promises that it is open and ours.
    Some(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Sets whether new processes may get `handle`.
///
/// # Errors
/// `SetHandleInformation`'s.
pub fn set_inheritance(
    handle: BorrowedHandle<'_>,
    inheritance: Inheritance,
) -> Result<(), CallError> {
    let value = match inheritance {
        Inheritance::None => 0,
        Inheritance::Allowed => HANDLE_FLAG_INHERIT,
    };
    // SAFETY: the handle is open for as long as it is borrowed; the rest are plain numbers.
    let done = unsafe { SetHandleInformation(handle.as_raw_handle(), HANDLE_FLAG_INHERIT, value) };
    check(done, "SetHandleInformation", "")
}

/// What waiting came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The object is signalled.
    Signalled,
    /// The time is up.
    TimedOut,
}

/// Waits for `handle`, for at most `milliseconds`, or as long as it takes.
///
/// # Errors
/// `WaitForSingleObject`'s.
pub fn wait(handle: BorrowedHandle<'_>, milliseconds: Option<u32>) -> Result<Waited, CallError> {
    let time = milliseconds.unwrap_or(INFINITE);
    // SAFETY: the handle is open for as long as it is borrowed.
    match unsafe { WaitForSingleObject(handle.as_raw_handle(), time) } {
        WAIT_OBJECT_0 => Ok(Waited::Signalled),
        WAIT_FAILED => Err(CallError::last("WaitForSingleObject", "")),
        _ => Ok(Waited::TimedOut),
    }
}
