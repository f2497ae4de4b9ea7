//! The person's own console, handed over to a command's terminal for a while.
//!
//! Source: learn.microsoft.com "Console Modes", `SetConsoleMode`, `GetConsoleScreenBufferInfo`.
//! Invariant: modes are as before when the guard is dropped.

use std::os::windows::io::{AsRawHandle as _, BorrowedHandle};

use windows_sys::Win32::System::Console::{
    CONSOLE_SCREEN_BUFFER_INFO, GetConsoleMode, GetConsoleScreenBufferInfo, SetConsoleMode,
};

use super::error::{CallError, check};

/// `ENABLE_VIRTUAL_TERMINAL_INPUT`: keys come as sequences; no line, no echo, no Ctrl-C of ours.
const RAW_INPUT: u32 = 0x200;
/// `ENABLE_PROCESSED_OUTPUT | ENABLE_VIRTUAL_TERMINAL_PROCESSING | DISABLE_NEWLINE_AUTO_RETURN`
const RAW_OUTPUT: u32 = 0x1 | 0x4 | 0x8;

/// A console whose modes are a terminal's.
#[derive(Debug)]
pub struct RawConsole<'a> {
    input: BorrowedHandle<'a>,
    output: BorrowedHandle<'a>,
    before: [u32; 2],
}

impl<'a> RawConsole<'a> {
    /// Sets the modes.
    ///
    /// # Errors
    /// `GetConsoleMode`'s and `SetConsoleMode`'s: not a console.
    pub fn enter(input: BorrowedHandle<'a>, output: BorrowedHandle<'a>) -> Result<Self, CallError> {
        let raw = Self {
            input,
            output,
            before: [mode(input)?, mode(output)?],
        };
        set(input, RAW_INPUT)?;
        set(output, RAW_OUTPUT)?;
        Ok(raw)
    }
}

impl Drop for RawConsole<'_> {
    fn drop(&mut self) {
        let [input, output] = self.before;
        // There is nobody to tell, and nothing else to try.
        let _ = set(self.input, input);
        let _ = set(self.output, output);
    }
}

/// How many rows and columns of a console are seen.
///
/// # Errors
/// `GetConsoleScreenBufferInfo`'s: not a console.
pub fn size(output: BorrowedHandle<'_>) -> Result<(u16, u16), CallError> {
    let mut info = CONSOLE_SCREEN_BUFFER_INFO::default();
    // SAFETY: the handle is open; the structure is ours to write.
    let done = unsafe { GetConsoleScreenBufferInfo(output.as_raw_handle(), &raw mut info) };
    check(done, "GetConsoleScreenBufferInfo", "")?;
    let window = info.srWindow;
    let length = |first: i16, last: i16| u16::try_from(last.saturating_sub(first) + 1).unwrap_or(1);
    Ok((
        length(window.Top, window.Bottom),
        length(window.Left, window.Right),
    ))
}

fn mode(console: BorrowedHandle<'_>) -> Result<u32, CallError> {
    let mut mode = 0;
    // SAFETY: the handle is open; the mode is ours to write.
    let done = unsafe { GetConsoleMode(console.as_raw_handle(), &raw mut mode) };
    check(done, "GetConsoleMode", "")?;
    Ok(mode)
}

fn set(console: BorrowedHandle<'_>, mode: u32) -> Result<(), CallError> {
    // SAFETY: the handle is open.
    let done = unsafe { SetConsoleMode(console.as_raw_handle(), mode) };
    check(done, "SetConsoleMode", "")
}
