//! Handles: ownership is std's, this adds what std has no word for.

use std::os::windows::io::{
    AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle as _, OwnedHandle,
};

use windows_sys::Win32::Foundation::{
    DUPLICATE_SAME_ACCESS, DuplicateHandle, GetHandleInformation, HANDLE, HANDLE_FLAG_INHERIT,
    INVALID_HANDLE_VALUE, SetHandleInformation, WAIT_ABANDONED, WAIT_ABANDONED_0, WAIT_FAILED,
    WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use windows_sys::Win32::System::Threading::{
    CreateEventW, GetCurrentProcess, INFINITE, ResetEvent, SetEvent, WaitForMultipleObjects,
    WaitForSingleObject,
};

use super::error::{CallError, Win32Error, check};

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
    /// The object is signalled; a mutex is this thread's now, also where who had it has ended without giving it back.
    Signalled,
    /// The time is up.
    TimedOut,
}

/// Waits for `handle`, for at most `milliseconds`, or as long as it takes.
///
/// # Errors
/// `WaitForSingleObject`'s.
pub fn wait(handle: BorrowedHandle<'_>, milliseconds: Option<u32>) -> Result<Waited, CallError> {
    const CALL: &str = "WaitForSingleObject";
    let time = milliseconds.unwrap_or(INFINITE);
    // SAFETY: the handle is open for as long as it is borrowed.
    match unsafe { WaitForSingleObject(handle.as_raw_handle(), time) } {
        WAIT_OBJECT_0 | WAIT_ABANDONED => Ok(Waited::Signalled),
        WAIT_TIMEOUT => Ok(Waited::TimedOut),
        WAIT_FAILED => Err(CallError::last(CALL, "")),
        other => Err(CallError::new(
            CALL,
            "an answer that none is",
            Win32Error(other),
        )),
    }
}

/// Puts a copy of `handle` into `process`, with the same rights and not to be inherited; answers its value there.
///
/// # Errors
/// `DuplicateHandle`'s.
pub fn copy_into(
    process: BorrowedHandle<'_>,
    handle: BorrowedHandle<'_>,
) -> Result<u64, CallError> {
    let mut copy: HANDLE = std::ptr::null_mut();
    // SAFETY: GetCurrentProcess has no precondition; its pseudo handle is always valid.
    let here = unsafe { GetCurrentProcess() };
    // SAFETY: all three handles are open for as long as they are borrowed; the result is ours to write.
    let done = unsafe {
        DuplicateHandle(
            here,
            handle.as_raw_handle(),
            process.as_raw_handle(),
            &raw mut copy,
            0,
            0,
            DUPLICATE_SAME_ACCESS,
        )
    };
    check(done, "DuplicateHandle", "")?;
    Ok(u64::try_from(copy.addr()).unwrap_or(u64::MAX))
}

/// Takes over a handle that the harness has put into this process by [`copy_into`].
///
/// # Errors
/// `GetHandleInformation`'s: 6 (invalid handle) for a number that is no handle here.
///
/// # Security
/// The number comes from the program that started this one and holds it with every right: it could close or exchange
/// any handle here by itself.
pub fn adopt_sent(value: u64) -> Result<OwnedHandle, CallError> {
    const CALL: &str = "GetHandleInformation";
    let invalid = || CallError::new(CALL, value, Win32Error(6));
    let address = usize::try_from(value).map_err(|_| invalid())?;
    let handle = std::ptr::without_provenance_mut(address);
    let mut flags = 0;
    // SAFETY: the call judges any value; the flags are ours to write.
    let done = unsafe { GetHandleInformation(handle, &raw mut flags) };
    check(done, CALL, value)?;
    // SAFETY: it is open; the harness has made it here for this request alone, so nobody else owns it.
    unsafe { adopt(handle) }.ok_or_else(invalid)
}

/// An event that is set and cleared by hand.
#[derive(Debug)]
pub struct Signal(OwnedHandle);

impl Signal {
    /// A new one, not set.
    ///
    /// # Errors
    /// `CreateEventW`'s.
    pub fn new() -> Result<Self, CallError> {
        // SAFETY: no attributes, no name; reset by hand, not signalled.
        let handle = unsafe { CreateEventW(std::ptr::null(), 1, 0, std::ptr::null()) };
        // SAFETY: it was just made, or is null.
        let handle = unsafe { adopt(handle) };
        handle
            .map(Self)
            .ok_or_else(|| CallError::last("CreateEventW", ""))
    }

    /// Sets it. It can't fail for an event that is open with every right.
    pub fn set(&self) {
        // SAFETY: the event is open.
        unsafe { SetEvent(self.0.as_raw_handle()) };
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        matches!(wait(self.0.as_handle(), Some(0)), Ok(Waited::Signalled))
    }

    /// Clears it.
    pub fn clear(&self) {
        // SAFETY: the event is open.
        unsafe { ResetEvent(self.0.as_raw_handle()) };
    }
}

impl AsHandle for Signal {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}

/// Waits until one of `handles` is signalled, for at most `milliseconds`, or as long as it takes; answers the place of
/// the first that is.
///
/// # Errors
/// `WaitForMultipleObjects`'s; it takes 64 at most.
pub fn wait_for_any(
    handles: &[BorrowedHandle<'_>],
    milliseconds: Option<u32>,
) -> Result<Option<usize>, CallError> {
    const CALL: &str = "WaitForMultipleObjects";
    let time = milliseconds.unwrap_or(INFINITE);
    let raw: Vec<HANDLE> = handles.iter().map(AsRawHandle::as_raw_handle).collect();
    let count = u32::try_from(raw.len()).unwrap_or(u32::MAX);
    // SAFETY: the handles are open for as long as they are borrowed, and as many are said as there are.
    let answer = unsafe { WaitForMultipleObjects(count, raw.as_ptr(), 0, time) };
    if answer == WAIT_FAILED {
        return Err(CallError::last(CALL, ""));
    }
    if answer == WAIT_TIMEOUT {
        return Ok(None);
    }
    // Two runs of numbers, one for each handle; the second for a mutex whose owner has ended.
    let place = [WAIT_OBJECT_0, WAIT_ABANDONED_0]
        .into_iter()
        .filter_map(|first| answer.checked_sub(first))
        .find(|place| *place < count);
    let place = place.and_then(|place| usize::try_from(place).ok());
    place
        .map(Some)
        .ok_or_else(|| CallError::new(CALL, "an answer that none is", Win32Error(answer)))
}
