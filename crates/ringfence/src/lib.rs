//! The library people embed: a session is one policy and one boundary in which many commands run.
//!
//! It reads policy files, asks the planner, has the plan carried out, launches commands with checked streams and a
//! filtered environment, guards names that don't exist yet, and keeps what outlives a session. It decides nothing
//! that the planner decides, and makes no change to the machine but in its own state directory, in quarantine's
//! origins, and on the caller's terminal.
//!
//! Invariant: when an error is returned, nothing of the session is left running.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(target_os = "linux"),
    allow(
        dead_code,
        unused_imports,
        clippy::unused_self,
        clippy::needless_pass_by_value,
        clippy::unnecessary_wraps,
        reason = "no observer tells of denials there, and repositories are not cleaned: that is built and not called"
    )
)]

#[cfg(windows)]
pub mod audit;
pub mod clock;
pub mod digest;
pub mod environment;
#[cfg(target_os = "linux")]
pub mod expire;
pub mod explain;
pub mod grants;
pub mod init;
pub mod load;
pub mod own_file;
pub mod paths;
pub mod platform;
pub mod quarantine;
pub mod session;
#[cfg(windows)]
pub mod setup;
pub mod shortage;
pub mod state;
#[cfg(target_os = "linux")]
pub mod stdio;
pub mod sweep;
mod text_file;
pub mod told;
pub mod trust;

pub use digest::Digest;
pub use explain::{Explanation, explain};
pub use grants::RootJudge;
pub use load::{LoadError, LoadRequest, Loaded, load_policy};
pub use quarantine::Quarantine;
/// The allocator that suits short starts; for `#[global_allocator]` of a static program.
#[cfg(target_os = "linux")]
pub use ringfence_linux::Allocator;
#[cfg(windows)]
pub use ringfence_windows::sys::console_event::{ConsoleEvent, ConsoleEvents};
#[cfg(any(target_os = "linux", windows))]
pub use session::NetworkControl;
pub use session::{BreakError, CommandSpec, Report, RunError, Session, SessionOptions, StartError};
pub use state::StateDirectory;
pub use sweep::{Leftovers, Swept, sweep_leftovers};
pub use trust::TrustStore;
