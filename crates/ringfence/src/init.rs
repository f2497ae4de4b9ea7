//! What a program that starts sessions calls first of all: [`run_if_asked`], as it is the session's init too, and
//! [`outlive_file_size_limit`].

use std::io;

#[cfg(target_os = "linux")]
pub use ringfence_linux::init::run_if_asked;

/// Lets a write beyond the caller's limit on the size of files fail, instead of ending this process in the middle of a
/// session. Commands get the default action again, or go on ignoring the signal where the caller does.
///
/// # Errors
/// The system's, for sigaction.
#[cfg(target_os = "linux")]
pub fn outlive_file_size_limit() -> io::Result<()> {
    use signal_hook::consts::SIGXFSZ;
    if ringfence_linux::ignored_signals().contains(&SIGXFSZ) {
        return Ok(());
    }
    // A handler, other than an ignored signal, does not pass through execve(2).
    signal_hook::flag::register(SIGXFSZ, std::sync::Arc::default()).map(drop)
}

/// Does nothing where there is no such signal.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn outlive_file_size_limit() -> io::Result<()> {
    Ok(())
}

/// Does nothing where there is no executor.
#[cfg(not(target_os = "linux"))]
pub fn run_if_asked() {}
