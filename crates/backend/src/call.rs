//! A call to the operating system that failed, as data.
//!
//! The executors of the operating systems have an error of their own for each operation; across the contract goes
//! which call it was, on what, and the system's code. Invariant: it never says that something is denied by us.

/// A call that the operating system refused, or that died with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call} failed for {object} (code {code})")]
pub struct CallFailure {
    /// The call's name, as its documentation has it.
    pub call: &'static str,
    /// What it was for.
    pub object: String,
    /// The system's code.
    pub code: u32,
}

impl CallFailure {
    /// A failure of `call` for `object`.
    #[must_use]
    pub fn new(call: &'static str, object: impl Into<String>, code: u32) -> Self {
        Self {
            call,
            object: object.into(),
            code,
        }
    }
}
