//! Starting commands: what the planner's launch specification says, done and read back.
//!
//! [`Session`] is the harness's side. With accounts of its own a session has a runner, another program under another
//! account, which [`serve`]s the same [`Engine`] that the harness itself uses in same-user mode. Nothing is decided
//! here. Invariant: no command starts before its token was read back and found restricted, and the write class was
//! measured and accepted; what is not so is refused as "not enforced".

#[cfg(windows)]
mod callers;
#[cfg(windows)]
mod command;
pub mod connect;
#[cfg(windows)]
mod console;
#[cfg(windows)]
mod engine;
pub mod exit;
#[cfg(windows)]
mod harden;
#[cfg(windows)]
mod interrupt;
#[cfg(windows)]
mod keeper;
#[cfg(windows)]
mod line;
pub mod program;
#[cfg(windows)]
mod serve;
#[cfg(windows)]
mod session;
#[cfg(windows)]
mod start;
mod stubs;
#[cfg(windows)]
mod target;
#[cfg(test)]
#[cfg(windows)]
mod tests;
#[cfg(windows)]
mod unbounded;

#[cfg(windows)]
pub use callers::{Answer, Callers};
#[cfg(windows)]
pub use console::{CONSOLE_ROLE, ConsoleHost, host_console};
#[cfg(windows)]
pub use engine::{Engine, OwnedStreams, Sink};
#[cfg(windows)]
pub use interrupt::{INTERRUPT_ROLE, Interrupt, interrupt};
#[cfg(windows)]
pub use serve::{ServeError, serve};
#[cfg(windows)]
pub use session::{Account, LentStreams, OpenError, Order, Session, SessionError};
pub use stubs::{STUBS, lay_stubs, with_stubs};
#[cfg(windows)]
pub use unbounded::Unbounded;
