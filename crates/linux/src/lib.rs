//! The Linux executor.
pub mod landlock;
pub mod seccomp;
