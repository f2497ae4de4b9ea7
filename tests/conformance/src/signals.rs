//! The state in which the suite starts programs: no signal is ignored, whoever started the suite.
//!
//! Invariant: what a case finds ignored, the case itself has ignored.
#![expect(unsafe_code, reason = "signal(2) has no safe form")]

/// Gives every signal its default action that a caller may have had ignored: `nohup` does, and so does a shell for what
/// it starts in the background.
pub fn reset() {
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ] {
        // SAFETY: SIG_DFL is a valid action for each, and the suite has no handler that this could take away.
        let _ = unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
