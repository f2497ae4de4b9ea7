//! What a native call answers.

use std::fmt;

use windows_sys::Win32::Foundation::{NTSTATUS, RtlNtStatusToDosError};

use super::error::{CallError, Win32Error};

/// The statuses that callers tell apart. Source: [MS-ERREF] 2.3.1.
pub(crate) mod value {
    pub(crate) const NO_MORE_ENTRIES: i32 = 0x8000_001a_u32.cast_signed();
    pub(crate) const NO_MORE_FILES: i32 = 0x8000_0006_u32.cast_signed();
    pub(crate) const BUFFER_OVERFLOW: i32 = 0x8000_0005_u32.cast_signed();
    pub(crate) const NOT_IMPLEMENTED: i32 = 0xc000_0002_u32.cast_signed();
    pub(crate) const INVALID_INFO_CLASS: i32 = 0xc000_0003_u32.cast_signed();
    pub(crate) const INVALID_PARAMETER: i32 = 0xc000_000d_u32.cast_signed();
    pub(crate) const NO_SUCH_FILE: i32 = 0xc000_000f_u32.cast_signed();
    pub(crate) const BUFFER_TOO_SMALL: i32 = 0xc000_0023_u32.cast_signed();
    pub(crate) const OBJECT_NAME_INVALID: i32 = 0xc000_0033_u32.cast_signed();
    pub(crate) const OBJECT_NAME_NOT_FOUND: i32 = 0xc000_0034_u32.cast_signed();
    pub(crate) const OBJECT_NAME_COLLISION: i32 = 0xc000_0035_u32.cast_signed();
    pub(crate) const OBJECT_PATH_NOT_FOUND: i32 = 0xc000_003a_u32.cast_signed();
    pub(crate) const DELETE_PENDING: i32 = 0xc000_0056_u32.cast_signed();
    pub(crate) const NOT_SUPPORTED: i32 = 0xc000_00bb_u32.cast_signed();
    pub(crate) const NOT_A_DIRECTORY: i32 = 0xc000_0103_u32.cast_signed();
    pub(crate) const CANNOT_DELETE: i32 = 0xc000_0121_u32.cast_signed();
}

/// The Win32 code of a status.
pub(crate) fn code_of(status: NTSTATUS) -> Win32Error {
    // SAFETY: RtlNtStatusToDosError has no precondition.
    Win32Error(unsafe { RtlNtStatusToDosError(status) })
}

/// A failed native call.
pub(crate) fn failed(call: &'static str, object: impl fmt::Display, status: NTSTATUS) -> CallError {
    CallError::new(call, object, code_of(status))
}

/// Turns a status into a result. Warnings (`0x8…`) count as failures: callers ask for those they want.
pub(crate) fn check(
    status: NTSTATUS,
    call: &'static str,
    object: impl fmt::Display,
) -> Result<(), CallError> {
    if status >= 0 {
        return Ok(());
    }
    Err(failed(call, object, status))
}
