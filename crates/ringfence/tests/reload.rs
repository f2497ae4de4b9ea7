//! A policy that is loaded while a command runs: what it opens is open to that command, and what it takes back is shut.
//!
//! On the real boundary, where this machine has one: this program is the harness, the session's init and the command.

// Elsewhere every port goes to the proxy by itself, and nothing is added.
#[cfg(target_os = "linux")]
#[path = "reload/linux.rs"]
mod linux;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
