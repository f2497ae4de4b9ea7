//! Ctrl-C, Ctrl-Break and the closing of the console, noted instead of obeyed at once.
//!
//! Source: learn.microsoft.com `SetConsoleCtrlHandler`, `HandlerRoutine`, "CTRL+CLOSE Signal". The handler runs on a
//! thread of the system's. Invariant: a handler never answers a closing: that would end the process in the middle of a
//! step, and until then the system waits for some seconds.

use std::sync::atomic::{AtomicBool, Ordering};

use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler};
use windows_sys::core::BOOL;

use super::error::{CallError, check};

static ASKED: AtomicBool = AtomicBool::new(false);

unsafe extern "system" fn note(event: u32) -> BOOL {
    ASKED.store(true, Ordering::Relaxed);
    if is_answered(event) {
        return 1;
    }
    // The work ends the process when it is done, or the system does.
    loop {
        std::thread::park();
    }
}

/// Whether the process lives on where a handler says that it has seen to `event`.
const fn is_answered(event: u32) -> bool {
    matches!(event, CTRL_C_EVENT | CTRL_BREAK_EVENT)
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

#[cfg(test)]
mod tests {
    use super::*;
    use windows_sys::Win32::System::Console::{
        CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
    };

    #[test]
    fn plumbing_only_a_key_is_answered_and_a_closing_holds_the_system_up_until_the_work_is_done() {
        // SAFETY: the handler asks nothing of its caller.
        assert_eq!(unsafe { note(CTRL_C_EVENT) }, 1);
        assert!(is_asked());
        assert!(is_answered(CTRL_BREAK_EVENT));
        for closing in [CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT] {
            let (sender, receiver) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                // SAFETY: as above.
                let _ = sender.send(unsafe { note(closing) });
            });
            let waited = receiver.recv_timeout(std::time::Duration::from_millis(100));
            assert_eq!(waited, Err(std::sync::mpsc::RecvTimeoutError::Timeout));
        }
    }
}
