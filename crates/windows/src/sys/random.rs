//! The system's generator of random numbers.

use windows_sys::Win32::Security::Cryptography::{
    BCRYPT_USE_SYSTEM_PREFERRED_RNG, BCryptGenRandom,
};

use super::error::{CallError, Win32Error};

/// Fills `bytes` from the system's generator.
///
/// # Errors
/// `BCryptGenRandom`'s status, as a number.
pub fn fill(bytes: &mut [u8]) -> Result<(), CallError> {
    let length = u32::try_from(bytes.len())
        .map_err(|_| CallError::new("BCryptGenRandom", "", Win32Error(87)))?;
    // SAFETY: the buffer is ours for the call and as long as is said; no algorithm handle is needed with this flag.
    let status = unsafe {
        BCryptGenRandom(
            std::ptr::null_mut(),
            bytes.as_mut_ptr(),
            length,
            BCRYPT_USE_SYSTEM_PREFERRED_RNG,
        )
    };
    if status == 0 {
        return Ok(());
    }
    Err(CallError::new(
        "BCryptGenRandom",
        "",
        Win32Error(status.cast_unsigned()),
    ))
}
