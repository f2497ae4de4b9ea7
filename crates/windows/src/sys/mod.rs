//! Thin, safe calls: one function per system call (or per pair that only makes sense together), one RAII type per
//! kind of handle or allocation.
//!
//! Invariant: no pointer and no raw handle leaves this module.

#![expect(unsafe_code, reason = "system calls that no safe crate wraps")]

pub mod access;
pub mod account;
mod com;
pub mod connections;
pub mod console;
pub mod console_event;
pub mod drives;
pub mod elevate;
pub mod ending;
pub mod error;
pub mod file;
pub mod firewall;
pub mod handle;
pub mod icmp;
pub mod interrupt;
pub mod job;
pub mod job_limits;
pub mod journal;
pub mod key;
pub mod listener;
pub mod logon;
pub mod machine;
mod memory;
pub mod mitigation;
pub mod nt_file;
pub mod object;
pub mod pipe;
pub mod privilege;
pub mod process;
pub mod profile;
pub mod protect;
pub mod random;
pub mod registry;
pub mod rename;
pub mod rights;
pub mod running;
pub mod schannel;
pub mod signon;
pub mod snapshot;
pub mod socket;
pub mod station;
pub mod terminal;
pub mod token;
pub mod trespass;
pub mod volume;
pub mod watch;
pub mod wfp;
mod wide;

pub(crate) mod status;

pub use error::{CallError, Win32Error};
pub use wide::WideText;
