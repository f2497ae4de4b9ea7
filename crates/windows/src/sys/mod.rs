//! Thin, safe calls: one function per system call (or per pair that only makes sense together), one RAII type per
//! kind of handle or allocation.
//!
//! Invariant: no pointer and no raw handle leaves this module.

#![expect(unsafe_code, reason = "system calls that no safe crate wraps")]

pub mod access;
pub mod error;
pub mod file;
pub mod handle;
pub mod job;
pub mod machine;
mod memory;
pub mod pipe;
pub mod process;
pub mod protect;
pub mod random;
pub mod registry;
pub mod token;
pub mod volume;
mod wide;

pub use error::{CallError, Win32Error};
pub use wide::WideText;
