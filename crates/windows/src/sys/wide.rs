//! Text as Windows takes it: UTF-16, ended by a zero.

use std::ffi::OsStr;
use std::os::windows::ffi::OsStrExt as _;

/// Text with a final zero and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WideText(Vec<u16>);

/// The text holds a zero: a call would take a part of it for the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text holds a zero character")]
pub struct InnerZero;

impl WideText {
    /// Makes one of `text`.
    ///
    /// # Errors
    /// [`InnerZero`].
    pub fn new(text: impl AsRef<OsStr>) -> Result<Self, InnerZero> {
        let mut units: Vec<u16> = text.as_ref().encode_wide().collect();
        if units.contains(&0) {
            return Err(InnerZero);
        }
        units.push(0);
        Ok(Self(units))
    }

    /// For calls that read it.
    pub(crate) fn as_ptr(&self) -> *const u16 {
        self.0.as_ptr()
    }

    /// For calls that take it as theirs to write, such as a command line.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u16 {
        self.0.as_mut_ptr()
    }
}
