//! The planner for Windows: policy, host facts and what was done before in; accounts, descriptors, filters out.
//!
//! Everything is decided here, on any machine. Nothing of it has been executed on Windows yet.

pub mod facts;
pub mod path;
pub mod step;

pub use path::{WindowsPath, WindowsPathError};
