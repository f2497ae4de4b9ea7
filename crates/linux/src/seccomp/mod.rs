//! The system call filter of a session: a table of rules, our own compiler from it to BPF, and its installation.
//!
//! [`compile`] is pure; [`install`] and [`install_with_listener`] change the calling thread. What the filter hands
//! to the listener is answered by [`crate::observer`]. Why there is a compiler here: `docs/decisions/0001`.
//!
//! Invariant: a refusal holds in every mode. Without an observer the kernel answers it, with one the observer
//! does, and with a dead one the call fails with `ENOSYS`.

mod bpf;
mod compile;
mod install;
mod rules;
pub mod table;
#[cfg(test)]
mod tests;

pub use bpf::Instruction;
pub use compile::{ARCHITECTURE, Program};
pub use install::{SeccompError, install, install_with_listener, probe_listener, probe_seccomp};
pub use table::{Access, Call, Family, FilterProfile, UnixSockets, Verdict};

/// Compiles the filter of a session.
#[must_use]
pub fn compile(profile: &FilterProfile) -> Program {
    compile::compile(&rules::RULES, *profile)
}

/// The rule that decides a call of this machine's own architecture, with the call's name; `None` where no rule
/// names it, so that it is allowed.
#[must_use]
pub fn decide(
    profile: &FilterProfile,
    number: u32,
    arguments: &[u64; 6],
) -> Option<(&'static Call, Family, Verdict)> {
    table::decide(&rules::RULES, profile, number, arguments)
}
