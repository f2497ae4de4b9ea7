//! Descriptors, lists and SIDs on their way to and from the system, and the system's own access check.
//!
//! The bytes are `ringfence_nt`'s codec; the system is only asked. Source: learn.microsoft.com `AccessCheck`.

use std::mem::size_of;
use std::os::windows::io::{AsRawHandle as _, BorrowedHandle};

use ringfence_nt::{AccessMask, GenericMapping, SecurityDescriptor, Sid};
use windows_sys::Win32::Foundation::ERROR_ACCESS_DENIED;
use windows_sys::Win32::Security::{
    AccessCheck, GENERIC_MAPPING, GetLengthSid, PRIVILEGE_SET, PSID,
};

use super::error::{CallError, Win32Error, check};

/// `ERROR_INVALID_SECURITY_DESCR`.
const INVALID_DESCRIPTOR: Win32Error = Win32Error(1338);
/// `ERROR_INVALID_SID`.
const INVALID_SID: Win32Error = Win32Error(1337);

/// The bytes of a descriptor for a call.
pub(crate) fn descriptor_bytes(
    descriptor: &SecurityDescriptor,
    call: &'static str,
) -> Result<Vec<u8>, CallError> {
    descriptor
        .to_bytes()
        .map_err(|error| CallError::new(call, error, INVALID_DESCRIPTOR))
}

/// Copies a SID that the system gave us.
///
/// # Safety
/// `sid` is null or points to a valid SID for the length of the call.
pub(crate) unsafe fn copy_sid(sid: PSID, call: &'static str) -> Result<Sid, CallError> {
    if sid.is_null() {
        return Err(CallError::new(call, "no SID", INVALID_SID));
    }
    // SAFETY: the caller promises a valid SID.
    let length = unsafe { GetLengthSid(sid) };
    let length = usize::try_from(length).unwrap_or(0);
    // SAFETY: a valid SID has that many bytes.
    let bytes = unsafe { std::slice::from_raw_parts(sid.cast::<u8>(), length) };
    Sid::from_bytes(bytes).map_err(|error| CallError::new(call, error, INVALID_SID))
}

/// The rights of `desired` that the system gives `token` on an object with `descriptor`; none when it refuses.
///
/// `token` is an impersonation token, opened with `TOKEN_QUERY`. No disk is touched: this is how the write class of a
/// token is measured before the first command.
///
/// # Errors
/// `AccessCheck`'s.
pub fn granted(
    descriptor: &SecurityDescriptor,
    token: BorrowedHandle<'_>,
    desired: AccessMask,
    mapping: &GenericMapping,
) -> Result<AccessMask, CallError> {
    const CALL: &str = "AccessCheck";
    let bytes = descriptor_bytes(descriptor, CALL)?;
    let mapping = GENERIC_MAPPING {
        GenericRead: mapping.read.0,
        GenericWrite: mapping.write.0,
        GenericExecute: mapping.execute.0,
        GenericAll: mapping.all.0,
    };
    let mut privileges = PRIVILEGE_SET::default();
    let mut length = u32::try_from(size_of::<PRIVILEGE_SET>()).unwrap_or(0);
    let (mut granted, mut allowed) = (0, 0);
    // SAFETY: descriptor, mapping and results live for the call; the set has the length that is said.
    let done = unsafe {
        AccessCheck(
            bytes.as_ptr().cast_mut().cast(),
            token.as_raw_handle(),
            desired.0,
            &raw const mapping,
            &raw mut privileges,
            &raw mut length,
            &raw mut granted,
            &raw mut allowed,
        )
    };
    check(done, CALL, desired)?;
    if allowed != 0 {
        return Ok(AccessMask(granted));
    }
    match Win32Error::last() {
        Win32Error(ERROR_ACCESS_DENIED) => Ok(AccessMask::NONE),
        error => Err(CallError::new(CALL, desired, error)),
    }
}
