//! Measures the boundary beside what a person would take instead: the same target, interleaved, in one run.
//!
//! It asserts no time; `cargo xtask bench` builds what it needs and starts it. Invariant: a goal is a ratio wherever
//! one can be had, because absolute times mean nothing on a shared machine; what could not be measured is said.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark talks to a person"
)]

/// The allocator of the static release: warm starts are measured through the library, as a program that embeds it.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: ringfence_linux::Allocator = ringfence_linux::Allocator::new();

mod again;
mod arguments;
mod contender;
mod cpu;
mod egress;
mod growth;
mod landlock;
mod samples;
mod scene;
mod size;
mod start;
mod steady;
mod table;
mod tail;
mod tree;
mod trial;
mod warm;
mod windows;

use std::process::ExitCode;

use arguments::{Area, Arguments, Format};
use table::Row;
use trial::TrialError;

fn main() -> ExitCode {
    // The library starts a session's init as this very program.
    ringfence::init::run_if_asked();
    if let Some(served) = egress::serve::run_if_asked() {
        if let Err(why) = served {
            eprintln!("bench: {why}");
        }
        return ExitCode::FAILURE;
    }
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(complaint) => {
            eprintln!("bench: {complaint}\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    match measure(&arguments) {
        Ok(rows) => {
            match arguments.format {
                Format::Table => print!("{}", table::render(&rows)),
                Format::Json => println!("{}", table::to_json(&rows)),
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("bench: {failure}");
            let mut source = std::error::Error::source(&failure);
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<Vec<Row>, TrialError> {
    let mut rows = Vec::new();
    for area in &arguments.areas {
        rows.extend(match area {
            Area::Start => start::measure(arguments)?,
            Area::Growth => growth::measure(arguments)?,
            Area::Mounts => growth::measure_among_mounts(arguments)?,
            Area::Tail => tail::measure(arguments)?,
            Area::Steady => steady::measure(arguments)?,
            Area::Egress => egress::measure(arguments)?,
            Area::Size => size::measure(arguments)?,
            Area::Windows => windows::measure(arguments),
            Area::WarmStart => warm::measure_start(arguments),
            Area::WarmTail => warm::measure_tail(arguments),
        });
    }
    Ok(rows)
}
