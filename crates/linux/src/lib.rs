//! The Linux executor: namespaces, mounts, Landlock, seccomp, and the session's init.
//!
//! Carries out the steps of a plan and decides nothing; the only Linux crate with unsafe code. It knows neither
//! approvals nor an async runtime. Invariant: a step that fails ends the launch, and nothing runs.

#![cfg(target_os = "linux")]

mod allocator;
mod channel;
#[cfg(all(any(target_env = "musl", test), target_arch = "x86_64"))]
mod copy;
mod exec;
pub mod init;
pub mod keeper;
pub mod landlock;

pub mod observe;
pub mod observer;
mod open;
mod process;
pub mod seccomp;
pub mod session;
mod sys;

pub use allocator::Allocator;
pub use channel::ChannelError;
pub use sys::ignored_signals;

/// Whether a filter already confines this test, as inside a session: then there is no second listener, and a control may
/// fail as the attack does.
#[cfg(test)]
pub(crate) fn is_nested() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .any(|line| line.starts_with("Seccomp:") && line.ends_with('2'))
}
