//! The planner: policy and host facts in, one plan out.
//!
//! Everything is decided here and nothing is done: this crate can't reach the disk, the clock, the network or
//! the environment (`clippy.toml` beside it bans them). The executors carry a [`Plan`] out step by step.
//!
//! Invariant: the same policy and facts give the same plan, byte for byte.

#![forbid(unsafe_code)]

pub mod facts;
pub mod git;
pub mod layout;
pub mod lint;
pub mod linux;
pub mod macos;
pub mod plan;
pub mod proxy;
pub mod render;
pub mod step;
pub mod windows;

pub use facts::HostFacts;
pub use plan::{Level, Missing, Plan, PlanHash};
pub use render::{diff, render_step};
pub use step::Step;
