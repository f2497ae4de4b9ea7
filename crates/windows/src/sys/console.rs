//! Pseudo-consoles: a terminal whose screen is a pipe.
//!
//! Source: learn.microsoft.com "Creating a Pseudoconsole session". The console's host is a process that the caller
//! starts, with the caller's own token. Invariant: only a process that already has a target's token makes one.

use std::os::windows::io::{AsRawHandle as _, BorrowedHandle};

use windows_sys::Win32::System::Console::{
    COORD, ClosePseudoConsole, CreatePseudoConsole, HPCON, ResizePseudoConsole,
};

use super::error::{CallError, Win32Error};

/// A pseudo-console. Dropped, it ends what is still attached to it.
#[derive(Debug)]
pub struct PseudoConsole(HPCON);

/// Rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsoleSize {
    /// Rows of characters.
    pub rows: u16,
    /// Columns of characters.
    pub columns: u16,
}

impl PseudoConsole {
    /// Makes one that reads what is typed from `input` and writes its screen to `output`.
    ///
    /// # Errors
    /// `CreatePseudoConsole`'s.
    pub fn new(
        size: ConsoleSize,
        input: BorrowedHandle<'_>,
        output: BorrowedHandle<'_>,
    ) -> Result<Self, CallError> {
        let mut console = 0;
        // SAFETY: both handles are open, and the call makes copies of them; the result is ours to write.
        let status = unsafe {
            CreatePseudoConsole(
                coordinates(size),
                input.as_raw_handle(),
                output.as_raw_handle(),
                0,
                &raw mut console,
            )
        };
        succeeded(status, "CreatePseudoConsole")?;
        Ok(Self(console))
    }

    /// Sets another size.
    ///
    /// # Errors
    /// `ResizePseudoConsole`'s.
    pub fn resize(&self, size: ConsoleSize) -> Result<(), CallError> {
        // SAFETY: the console is open.
        let status = unsafe { ResizePseudoConsole(self.0, coordinates(size)) };
        succeeded(status, "ResizePseudoConsole")
    }

    /// What the attribute of a new process takes: the handle itself, not a pointer to it.
    pub(crate) fn as_value(&self) -> *const core::ffi::c_void {
        std::ptr::without_provenance(self.0.cast_unsigned())
    }
}

impl Drop for PseudoConsole {
    fn drop(&mut self) {
        // SAFETY: the console is open and closed once.
        unsafe { ClosePseudoConsole(self.0) };
    }
}

/// A console has at least one character, and at most as many as its own numbers hold.
fn coordinates(size: ConsoleSize) -> COORD {
    let within = |count: u16| i16::try_from(count).unwrap_or(i16::MAX).max(1);
    COORD {
        X: within(size.columns),
        Y: within(size.rows),
    }
}

fn succeeded(status: i32, call: &'static str) -> Result<(), CallError> {
    if status < 0 {
        return Err(CallError::new(call, "", Win32Error(status.cast_unsigned())));
    }
    Ok(())
}
