//! What a call failed with.

use std::fmt;

use windows_sys::Win32::Foundation::GetLastError;

/// A Win32 error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub struct Win32Error(pub u32);

impl Win32Error {
    /// The calling thread's last error; to be asked for right after the call that failed.
    #[must_use]
    pub fn last() -> Self {
        // SAFETY: GetLastError has no precondition.
        Self(unsafe { GetLastError() })
    }
}

impl fmt::Display for Win32Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The system's own text is localised; the number is what documentation is found by.
        write!(formatter, "Win32 error {}", self.0)
    }
}

/// A call, with its object, that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}{}{object}", if object.is_empty() { "" } else { " " })]
pub struct CallError {
    /// The function, as Microsoft's documentation names it.
    pub call: &'static str,
    /// What it was called for; empty where there is only one.
    pub object: String,
    /// The system's answer.
    #[source]
    pub error: Win32Error,
}

impl CallError {
    /// The call failed with the thread's last error.
    #[must_use]
    pub fn last(call: &'static str, object: impl fmt::Display) -> Self {
        let error = Win32Error::last();
        Self::new(call, object, error)
    }

    /// The call failed with this code.
    #[must_use]
    pub fn new(call: &'static str, object: impl fmt::Display, error: Win32Error) -> Self {
        Self {
            call,
            object: object.to_string(),
            error,
        }
    }
}

/// Turns a `BOOL` into a result with the last error.
pub(crate) fn check(
    succeeded: windows_sys::core::BOOL,
    call: &'static str,
    object: impl fmt::Display,
) -> Result<(), CallError> {
    if succeeded == 0 {
        return Err(CallError::last(call, object));
    }
    Ok(())
}
