//! The DACLs of kernel objects: processes, threads, tokens.
//!
//! Source: learn.microsoft.com `SetKernelObjectSecurity`, "Process Security and Access Rights". Invariant: a DACL that
//! was set is read back; another one than was asked for is an error.

use std::os::windows::io::{AsRawHandle as _, BorrowedHandle};

use ringfence_nt::SecurityDescriptor;
use windows_sys::Win32::Foundation::ERROR_INSUFFICIENT_BUFFER;
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GetKernelObjectSecurity, SetKernelObjectSecurity,
};
use windows_sys::Win32::Storage::FileSystem::{READ_CONTROL, WRITE_DAC};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThread, GetCurrentThreadId, OpenThread,
};

use super::access::descriptor_bytes;
use super::error::{CallError, Win32Error, check};
use super::handle::adopt;
use super::snapshot::threads_of;

/// Why an object is not protected.
#[derive(Debug, thiserror::Error)]
pub enum ProtectError {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The call said yes, and the object has another DACL.
    #[error("the DACL of the {0} is not what was set")]
    NotKept(&'static str),
}

/// Sets the DACL of a process, a thread or a token, and reads it back. The handle needs `READ_CONTROL` and `WRITE_DAC`.
///
/// # Errors
/// [`ProtectError`].
pub fn protect(
    object: BorrowedHandle<'_>,
    descriptor: &SecurityDescriptor,
    what: &'static str,
) -> Result<(), ProtectError> {
    const CALL: &str = "SetKernelObjectSecurity";
    let bytes = descriptor_bytes(descriptor, CALL)?;
    // SAFETY: the handle is open while it is lent; the descriptor lives for the call and is only read.
    let done = unsafe {
        SetKernelObjectSecurity(
            object.as_raw_handle(),
            DACL_SECURITY_INFORMATION,
            bytes.as_ptr().cast_mut().cast(),
        )
    };
    check(done, CALL, what)?;
    if dacl(object, what)?.acl() != descriptor.acl() {
        return Err(ProtectError::NotKept(what));
    }
    Ok(())
}

/// The descriptor of an object, its DACL alone.
///
/// # Errors
/// `GetKernelObjectSecurity`'s; 1338 for a descriptor that is not understood.
pub fn dacl(
    object: BorrowedHandle<'_>,
    what: &'static str,
) -> Result<SecurityDescriptor, CallError> {
    const CALL: &str = "GetKernelObjectSecurity";
    let object = object.as_raw_handle();
    let mut needed = 0;
    let information = DACL_SECURITY_INFORMATION;
    // SAFETY: without a buffer the call only says how many bytes it needs.
    unsafe {
        GetKernelObjectSecurity(
            object,
            information,
            std::ptr::null_mut(),
            0,
            &raw mut needed,
        )
    };
    let error = Win32Error::last();
    if needed == 0 && error.0 != ERROR_INSUFFICIENT_BUFFER {
        return Err(CallError::new(CALL, what, error));
    }
    let mut bytes = vec![0_u8; usize::try_from(needed).unwrap_or(0)];
    let buffer = bytes.as_mut_ptr().cast();
    // SAFETY: the buffer has as many bytes as is said.
    let done =
        unsafe { GetKernelObjectSecurity(object, information, buffer, needed, &raw mut needed) };
    check(done, CALL, what)?;
    SecurityDescriptor::from_bytes(&bytes)
        .map_err(|error| CallError::new(CALL, error, Win32Error(1338)))
}

/// Sets the DACL of this process and of every thread that it has; threads that come later get the token's default.
///
/// # Errors
/// [`ProtectError`].
pub fn protect_this_process(
    process: &SecurityDescriptor,
    thread: &SecurityDescriptor,
) -> Result<(), ProtectError> {
    // SAFETY: it has no precondition; the pseudo handle is always valid.
    let current = unsafe { GetCurrentThread() };
    // SAFETY: a pseudo handle needs no closing and is valid for as long as this thread runs.
    let current = unsafe { BorrowedHandle::borrow_raw(current) };
    protect(current, thread, "thread")?;
    // SAFETY: as above.
    let this = unsafe { GetCurrentThreadId() };
    for id in threads_of(std::process::id())? {
        if id == this {
            continue;
        }
        // SAFETY: the call has no precondition: a number that is no thread is refused.
        let handle = unsafe { OpenThread(READ_CONTROL | WRITE_DAC, 0, id) };
        // SAFETY: it was just opened, or is null.
        let Some(handle) = (unsafe { adopt(handle) }) else {
            let error = Win32Error::last();
            // 87: it has ended since it was listed.
            if error.0 == 87 {
                continue;
            }
            return Err(CallError::new("OpenThread", id, error).into());
        };
        protect(
            std::os::windows::io::AsHandle::as_handle(&handle),
            thread,
            "thread",
        )?;
    }
    // SAFETY: as for the thread.
    let current = unsafe { GetCurrentProcess() };
    // SAFETY: as for the thread.
    let current = unsafe { BorrowedHandle::borrow_raw(current) };
    protect(current, process, "process")
}
