//! `ringfence-runner`: starts and watches the commands of one session, under the sandbox account.
//!
//! The harness starts it with the name of a pipe and nothing else; no person ever does. Targets start it, as confined
//! as they are, with `--connect HOST PORT`: then it is a way through the session's proxy, for `ssh`. Under the name of
//! `ssh` and its like it stands in for these programs in same-user mode, and fails as they would without a network. It
//! links no TLS and no async runtime. Invariant: whatever else it is given, it starts nothing.
//!
//! It is no console program: the system would start a console's host beside it, with the runner's own token and a list
//! that its targets pass.
#![cfg_attr(windows, windows_subsystem = "windows")]

use std::io::Write as _;
use std::process::ExitCode;

#[cfg(windows)]
mod windows;

fn main() -> ExitCode {
    #[cfg(windows)]
    {
        windows::run()
    }
    #[cfg(not(windows))]
    {
        say("ringfence-runner is a part of Ringfence on Windows; here, run `ringfence`");
        ExitCode::from(2)
    }
}

/// A line on standard error. Where there is none, nobody reads it.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
