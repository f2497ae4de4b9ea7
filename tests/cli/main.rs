//! The whole command line as a stack of snapshots: what a person types, what is printed, and the exit status.
//!
//! The program is the real one and its home is a directory of the test. Invariant: a snapshot holds no path, version
//! or number of the machine it was made on.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "the whole target is tests; clippy's exemption only knows functions that are marked as such"
)]

mod demo;
mod errors;
mod explain;
mod generate;
mod help;
mod plan;
mod policy;
mod program;
mod run;
mod state;
