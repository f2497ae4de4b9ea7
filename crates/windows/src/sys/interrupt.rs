//! Ctrl-C, Ctrl-Break and the closing of the console, noted instead of obeyed at once.
//!
//! Source: learn.microsoft.com `SetConsoleCtrlHandler`. The handler runs on a thread of the system's.

use std::sync::atomic::{AtomicBool, Ordering};

use windows_sys::Win32::System::Console::SetConsoleCtrlHandler;
use windows_sys::core::BOOL;

use super::error::{CallError, check};

static ASKED: AtomicBool = AtomicBool::new(false);

unsafe extern "system" fn note(_event: u32) -> BOOL {
    ASKED.store(true, Ordering::Relaxed);
    1
}

/// From now on an interrupt is noted; the program decides where it ends.
///
/// # Errors
/// `SetConsoleCtrlHandler`'s.
pub fn watch() -> Result<(), CallError> {
    // SAFETY: the handler is a function of this program: it lives as long as it.
    let done = unsafe { SetConsoleCtrlHandler(Some(note), 1) };
    check(done, "SetConsoleCtrlHandler", "")
}

/// Whether somebody has asked to end.
#[must_use]
pub fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
