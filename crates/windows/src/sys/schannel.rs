//! The system's own TLS, as far as one can go without a server: credentials, and the first message of a handshake.
//!
//! Source: learn.microsoft.com `AcquireCredentialsHandle (Schannel)`, `InitializeSecurityContext (Schannel)`.
//! Invariant: nothing is sent.

use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::SEC_I_CONTINUE_NEEDED;
use windows_sys::Win32::Security::Authentication::Identity::{
    AcquireCredentialsHandleW, DeleteSecurityContext, FreeContextBuffer, FreeCredentialsHandle,
    ISC_REQ_ALLOCATE_MEMORY, ISC_REQ_STREAM, InitializeSecurityContextW, SECBUFFER_TOKEN,
    SECBUFFER_VERSION, SECPKG_CRED_OUTBOUND, SecBuffer, SecBufferDesc, UNISP_NAME,
};
use windows_sys::Win32::Security::Credentials::SecHandle;

use super::error::{CallError, Win32Error};
use super::wide::WideText;

struct Credentials(SecHandle);

impl Drop for Credentials {
    fn drop(&mut self) {
        // SAFETY: AcquireCredentialsHandleW gave it, and nobody else frees it.
        unsafe { FreeCredentialsHandle(&raw const self.0) };
    }
}

struct Context(SecHandle);

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: InitializeSecurityContextW gave it, and nobody else deletes it.
        unsafe { DeleteSecurityContext(&raw const self.0) };
    }
}

/// Begins a handshake with `server`, and throws its first message away; how many bytes that had.
///
/// # Errors
/// The calls', their `HRESULT` as a number: `0x8009030d` (`SEC_E_UNKNOWN_CREDENTIALS`) and its like.
pub fn begin_handshake(server: &str) -> Result<u32, CallError> {
    const CALL: &str = "InitializeSecurityContextW";
    let target =
        WideText::new(server).map_err(|error| CallError::new(CALL, error, Win32Error(87)))?;
    let credentials = credentials()?;
    let mut message = SecBuffer {
        cbBuffer: 0,
        BufferType: SECBUFFER_TOKEN,
        pvBuffer: null_mut(),
    };
    let mut output = SecBufferDesc {
        ulVersion: SECBUFFER_VERSION,
        cBuffers: 1,
        pBuffers: &raw mut message,
    };
    let mut context = SecHandle::default();
    let mut attributes = 0;
    // SAFETY: the credentials are live; there is no context yet and no input; the name ends in a zero; the description
    // and the buffer that it points to live for the call; the results are ours to write.
    let result = unsafe {
        InitializeSecurityContextW(
            &raw const credentials.0,
            null(),
            target.as_ptr(),
            ISC_REQ_ALLOCATE_MEMORY | ISC_REQ_STREAM,
            0,
            0,
            null(),
            0,
            &raw mut context,
            &raw mut output,
            &raw mut attributes,
            null_mut(),
        )
    };
    if result != SEC_I_CONTINUE_NEEDED {
        return Err(CallError::new(
            CALL,
            server,
            Win32Error(result.cast_unsigned()),
        ));
    }
    let _context = Context(context);
    let bytes = message.cbBuffer;
    // SAFETY: the call allocated it, as it was asked to, and nobody else frees it.
    unsafe { FreeContextBuffer(message.pvBuffer) };
    if bytes == 0 {
        // It said that there is a message to send, and made none.
        return Err(CallError::new(CALL, server, Win32Error(13)));
    }
    Ok(bytes)
}

fn credentials() -> Result<Credentials, CallError> {
    const CALL: &str = "AcquireCredentialsHandleW";
    let mut handle = SecHandle::default();
    // SAFETY: the package's name ends in a zero; without data the defaults are taken; the results are ours to write.
    let result = unsafe {
        AcquireCredentialsHandleW(
            null(),
            UNISP_NAME,
            SECPKG_CRED_OUTBOUND,
            null(),
            null(),
            None,
            null(),
            &raw mut handle,
            null_mut(),
        )
    };
    if result == 0 {
        return Ok(Credentials(handle));
    }
    Err(CallError::new(
        CALL,
        "Schannel",
        Win32Error(result.cast_unsigned()),
    ))
}
