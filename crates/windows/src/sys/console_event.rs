//! Ctrl-C, Ctrl-Break and the closing of this process's console, taken over for a while; and the first two, sent to
//! another process's console.
//!
//! Source: learn.microsoft.com `SetConsoleCtrlHandler`, `HandlerRoutine`, `GenerateConsoleCtrlEvent`, `AttachConsole`,
//! `CreateProcessWithLogonW`. The handler runs on a thread of the system's. Invariant: an event that nobody has taken
//! over does what it did before.

use std::os::windows::io::{AsHandle as _, BorrowedHandle};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ringfence_backend::windows::runner::InterruptKey;
use windows_sys::Win32::System::Console::{
    AttachConsole, CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT,
    CTRL_SHUTDOWN_EVENT, FreeConsole, GenerateConsoleCtrlEvent, SetConsoleCtrlHandler,
};
use windows_sys::core::BOOL;

use super::error::{CallError, check};
use super::handle::Signal;

/// What a console tells its processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleEvent {
    /// Ctrl-C was typed.
    CtrlC,
    /// Ctrl-Break was typed.
    CtrlBreak,
    /// The console is closed, or the person signs out. This process is ended within seconds.
    Close,
}

/// How often each came: Ctrl-C, Ctrl-Break, the end.
static CAME: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];
/// Set when one has come. There from the first time on: the handler may run at any time after.
static NEWS: OnceLock<Signal> = OnceLock::new();

/// The console's events, until this is dropped. One at a time has them.
#[derive(Debug)]
pub struct ConsoleEvents(&'static Signal);

impl ConsoleEvents {
    /// Takes them over.
    ///
    /// # Errors
    /// `CreateEventW`'s and `SetConsoleCtrlHandler`'s.
    pub fn take_over() -> Result<Self, CallError> {
        let news = if let Some(news) = NEWS.get() {
            news
        } else {
            let made = Signal::new()?;
            NEWS.get_or_init(|| made)
        };
        for count in &CAME {
            count.store(0, Ordering::SeqCst);
        }
        news.clear();
        set_handler(Handler::Added)?;
        Ok(Self(news))
    }

    /// Those that came since the last time, the end last.
    pub fn take(&mut self) -> Vec<ConsoleEvent> {
        // Cleared first: what comes from here on is signalled again.
        self.0.clear();
        let kinds = [
            ConsoleEvent::CtrlC,
            ConsoleEvent::CtrlBreak,
            ConsoleEvent::Close,
        ];
        let came = kinds.into_iter().zip(&CAME).flat_map(|(kind, count)| {
            let times = usize::try_from(count.swap(0, Ordering::SeqCst)).unwrap_or(usize::MAX);
            std::iter::repeat_n(kind, times)
        });
        came.collect()
    }

    /// What is signalled when one has come.
    #[must_use]
    pub fn readiness(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}

impl Drop for ConsoleEvents {
    fn drop(&mut self) {
        // One that can't be taken off hears of what nobody asks for.
        let _ = set_handler(Handler::Removed);
    }
}

/// What is done with the handler.
#[derive(Clone, Copy, Debug)]
enum Handler {
    Removed,
    Added,
}

fn set_handler(handler: Handler) -> Result<(), CallError> {
    let adds = i32::from(matches!(handler, Handler::Added));
    // SAFETY: the handler is a function of this program: it lives as long as it.
    let done = unsafe { SetConsoleCtrlHandler(Some(note), adds) };
    check(done, "SetConsoleCtrlHandler", "")
}

unsafe extern "system" fn note(event: u32) -> BOOL {
    let [ctrl_c, ctrl_break, close] = &CAME;
    let count = match event {
        CTRL_C_EVENT => ctrl_c,
        CTRL_BREAK_EVENT => ctrl_break,
        CTRL_CLOSE_EVENT | CTRL_LOGOFF_EVENT | CTRL_SHUTDOWN_EVENT => close,
        _ => return 0,
    };
    // One that is not taken for long counts no further.
    let _ = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| {
        Some((count + 1).min(16))
    });
    if let Some(news) = NEWS.get() {
        news.set();
    }
    if std::ptr::eq(count, close) {
        // The process is ended when this returns. The system gives it some five seconds to finish; as soon as it has,
        // it ends by itself.
        std::thread::sleep(Duration::from_mins(1));
    }
    1
}

/// Lets this process, and what it starts from now on, hear of Ctrl-C again.
///
/// A process that begins a process group has it switched off, and so has all that it starts;
/// `CreateProcessWithLogonW` always begins one.
///
/// # Errors
/// `SetConsoleCtrlHandler`'s.
pub fn hear_ctrl_c() -> Result<(), CallError> {
    // SAFETY: without a handler the call sets one flag of this process.
    let done = unsafe { SetConsoleCtrlHandler(None, 0) };
    check(done, "SetConsoleCtrlHandler", "")
}

/// Tells every process on the console of `process` that the key was typed, as the console itself would.
///
/// This process leaves its own console for that one. It does not end by the event. Ctrl-C can't be sent to a process
/// group, only to all on a console.
///
/// # Errors
/// `AttachConsole`'s, where the process has no console or is gone; `GenerateConsoleCtrlEvent`'s.
pub fn type_on_console_of(process: u32, key: InterruptKey) -> Result<(), CallError> {
    // SAFETY: no precondition. Fails where there is none, which is as well.
    unsafe { FreeConsole() };
    // SAFETY: the call judges any number.
    let done = unsafe { AttachConsole(process) };
    check(done, "AttachConsole", process)?;
    // SAFETY: the handler is a function of this program: it lives as long as it.
    let done = unsafe { SetConsoleCtrlHandler(Some(outlive), 1) };
    check(done, "SetConsoleCtrlHandler", "")?;
    let event = match key {
        InterruptKey::CtrlC => CTRL_C_EVENT,
        InterruptKey::CtrlBreak => CTRL_BREAK_EVENT,
    };
    // SAFETY: zero is every process on this process's console.
    let done = unsafe { GenerateConsoleCtrlEvent(event, 0) };
    check(done, "GenerateConsoleCtrlEvent", process)
}

unsafe extern "system" fn outlive(_event: u32) -> BOOL {
    1
}
