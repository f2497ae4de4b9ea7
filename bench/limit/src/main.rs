//! The yardstick L: builds the boundary of the full level with the fewest kernel calls we know, runs one command in
//! it, and passes its status through.
//!
//! It reads no policy, keeps no record, explains nothing and is **not a sandbox to use**: what it protects is what
//! its caller names. Invariant: every kernel call that the full level needs is made here once, so that its time is
//! the limit that the real program is compared with.

#![expect(
    clippy::print_stderr,
    reason = "a yardstick that failed says so and ends"
)]

mod boundary;
mod filter;
mod kernel;
mod mounts;
mod options;
mod stage;

use std::process::ExitCode;

use options::Options;
use stage::Stages;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(complaint) => {
            eprintln!("limit: {complaint}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let stages = Stages::begin(options.trace);
    match boundary::run(&options, stages) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            eprintln!("limit: {failure}");
            ExitCode::from(102)
        }
    }
}
