//! DPAPI: data that only this machine can open, and only with the same entropy.
//!
//! Source: learn.microsoft.com `CryptProtectData`, `CryptUnprotectData`. `LOCAL_MACHINE` because set-up may run under
//! another administrator than the person; any account of the machine could open it then, so the entropy is the key,
//! and lies in the registry where only that person and administrators read it.

use std::slice;

use windows_sys::Win32::Security::Cryptography::{
    CRYPT_INTEGER_BLOB, CRYPTPROTECT_LOCAL_MACHINE, CRYPTPROTECT_UI_FORBIDDEN, CryptProtectData,
    CryptUnprotectData,
};

use super::error::{CallError, Win32Error, check};
use super::memory::Local;

/// Seals `secret` for this machine and this entropy.
///
/// # Errors
/// `CryptProtectData`'s.
pub fn seal(secret: &[u8], entropy: &[u8]) -> Result<Vec<u8>, CallError> {
    const CALL: &str = "CryptProtectData";
    let (input, entropy) = (blob(secret, CALL)?, blob(entropy, CALL)?);
    let mut output = empty();
    // SAFETY: both inputs live for the call and are only read; the output is written by it; the rest may be null.
    let done = unsafe {
        CryptProtectData(
            &raw const input,
            std::ptr::null(),
            &raw const entropy,
            std::ptr::null(),
            std::ptr::null(),
            CRYPTPROTECT_UI_FORBIDDEN | CRYPTPROTECT_LOCAL_MACHINE,
            &raw mut output,
        )
    };
    check(done, CALL, "")?;
    // SAFETY: the call succeeded, so the output is its own allocation.
    Ok(unsafe { take(&output) }.expose().to_vec())
}

/// Opens what [`seal`] made.
///
/// # Errors
/// `CryptUnprotectData`'s: 13 (invalid data) for another machine, other entropy, or damage.
pub fn open(sealed: &[u8], entropy: &[u8]) -> Result<Secret, CallError> {
    const CALL: &str = "CryptUnprotectData";
    let (input, entropy) = (blob(sealed, CALL)?, blob(entropy, CALL)?);
    let mut output = empty();
    // SAFETY: as in `seal`; the description is not asked for.
    let done = unsafe {
        CryptUnprotectData(
            &raw const input,
            std::ptr::null_mut(),
            &raw const entropy,
            std::ptr::null(),
            std::ptr::null(),
            CRYPTPROTECT_UI_FORBIDDEN,
            &raw mut output,
        )
    };
    check(done, CALL, "")?;
    // SAFETY: the call succeeded, so the output is its own allocation.
    Ok(unsafe { take(&output) })
}

/// A secret: wiped when dropped, never shown.
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes bytes over, to be wiped with it.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Overwrites `bytes` so that the compiler can't leave it out.
fn wipe(bytes: &mut [u8]) {
    for byte in bytes {
        // SAFETY: a reference is valid to write through.
        unsafe { std::ptr::write_volatile(byte, 0) };
    }
}

const fn empty() -> CRYPT_INTEGER_BLOB {
    CRYPT_INTEGER_BLOB {
        cbData: 0,
        pbData: std::ptr::null_mut(),
    }
}

/// A blob that a call only reads.
fn blob(bytes: &[u8], call: &'static str) -> Result<CRYPT_INTEGER_BLOB, CallError> {
    let length =
        u32::try_from(bytes.len()).map_err(|_| CallError::new(call, "", Win32Error(87)))?;
    Ok(CRYPT_INTEGER_BLOB {
        cbData: length,
        pbData: bytes.as_ptr().cast_mut(),
    })
}

/// Copies a blob that the system allocated, wipes it and gives it back.
///
/// # Safety
/// `output` was filled by a call that succeeded and documents `LocalFree` for it.
unsafe fn take(output: &CRYPT_INTEGER_BLOB) -> Secret {
    // SAFETY: the caller's promise.
    let memory = unsafe { Local::adopt(output.pbData.cast()) };
    let length = usize::try_from(output.cbData).unwrap_or(0);
    if memory.as_ptr().is_null() {
        return Secret(Vec::new());
    }
    // SAFETY: the call has written that many bytes there, and nobody else has a reference.
    let bytes = unsafe { slice::from_raw_parts_mut(memory.as_ptr().cast::<u8>(), length) };
    let copy = bytes.to_vec();
    wipe(bytes);
    Secret(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    // plumbing-only under wine: it says nothing of where keys are kept.
    #[test]
    fn what_was_sealed_opens_with_the_same_entropy_alone() {
        let sealed = seal(b"a password", b"entropy").unwrap();
        assert!(!sealed.windows(10).any(|window| window == b"a password"));
        assert_eq!(open(&sealed, b"entropy").unwrap().expose(), b"a password");
        assert!(open(&sealed, b"other").is_err());
        assert!(open(&[], b"entropy").is_err());
    }
}
