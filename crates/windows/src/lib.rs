//! The Windows executor: carries the planner's steps out, starts commands, measures what the machine enforces.
//!
//! Everything unsafe of Ringfence on Windows is in [`sys`]: thin calls with RAII types, each followed by a read-back
//! where the call may say yes and do nothing. It decides nothing. Nothing of it has been executed on Windows yet;
//! what ran ran under wine, which enforces no boundary.
//!
//! Invariant: an API that succeeds and changes nothing is an error here.

#[cfg(windows)]
pub mod audit;
#[cfg(windows)]
pub mod backend;
pub mod command_line;
pub mod condition;
pub mod custody;
pub mod environment_block;
#[cfg(windows)]
pub mod files;
pub mod firewall_text;
pub mod launch;
#[cfg(windows)]
pub mod ledger_file;
#[cfg(windows)]
pub mod machine;
pub mod observe;
pub mod password;
#[cfg(windows)]
pub mod setup;
#[cfg(windows)]
pub mod sys;

pub use ringfence_backend::causes;
