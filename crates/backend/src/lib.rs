//! The contract every operating system's executor fulfils, and the messages between harness and runner.
//!
//! No operating system call is made here, and no decision. Invariant: what a session could not hold is in its
//! [`Enforcement`], never only in a log.

#![forbid(unsafe_code)]

pub mod call;
pub mod causes;
pub mod command;
pub mod enforcement;
#[cfg(unix)]
pub mod fake;
pub mod fault;
pub mod frame;
pub mod ledger;
pub mod session;
pub mod windows;
pub mod wire;

pub use command::{Afterwards, CommandId, CommandRequest, Ending, Outcome, Stream};
pub use enforcement::Enforcement;
pub use session::{Backend, Received, Remains, RunningSession};
