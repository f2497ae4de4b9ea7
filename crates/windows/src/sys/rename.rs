//! A file put in another's place.

use std::ffi::OsStr;

use windows_sys::Win32::Storage::FileSystem::{
    MOVEFILE_REPLACE_EXISTING, MOVEFILE_WRITE_THROUGH, MoveFileExW,
};

use super::error::{CallError, Win32Error, check};
use super::wide::WideText;

/// Renames `from` to `to`, in the place of what is there, and waits until that is on the disk.
///
/// # Errors
/// `MoveFileExW`'s.
pub fn replace(from: &OsStr, to: &OsStr) -> Result<(), CallError> {
    const CALL: &str = "MoveFileExW";
    let object = to.display();
    let wide =
        |text| WideText::new(text).map_err(|_| CallError::new(CALL, &object, Win32Error(123)));
    let (from, onto) = (wide(from)?, wide(to)?);
    let flags = MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH;
    // SAFETY: both names live for the call and end in a zero.
    let done = unsafe { MoveFileExW(from.as_ptr(), onto.as_ptr(), flags) };
    check(done, CALL, &object)
}
