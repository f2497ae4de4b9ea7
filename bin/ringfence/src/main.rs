//! The harness's command line: what a person or an agent's harness types.
//!
//! Text for a person is made here and decisions are not. What was asked for goes to standard output, everything else
//! to standard error. Invariant: the exit status is the command's own, or one of [`ringfence_policy::ExitCode`].

mod cli;
mod commands;
mod context;
mod demo;
mod failure;
mod layer;
mod output;
mod render;

use std::process::ExitCode as Status;

use clap::Parser;

use crate::cli::{Command, CommandLine};
use crate::failure::Failure;

/// The static release's allocator.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: ringfence::Allocator = ringfence::Allocator::new();

/// The process could not be made ready.
#[derive(Debug, thiserror::Error)]
#[error("the signal of the limit on file sizes can't be taken over")]
struct SignalError(#[source] std::io::Error);

fn main() -> Status {
    // This same program is the session's init, when the harness starts it as that: nothing may come before.
    ringfence::init::run_if_asked();
    let line = CommandLine::parse();
    let done = ringfence::init::outlive_file_size_limit()
        .map_err(|error| Failure::internal(SignalError(error)))
        .and_then(|()| dispatch(&line.command));
    match done {
        Ok(status) => Status::from(status),
        Err(failure) => {
            output::message(&failure.render());
            Status::from(failure.exit().code())
        }
    }
}

fn dispatch(command: &Command) -> Result<u8, Failure> {
    match command {
        Command::Run(run) => commands::run::run(run),
        Command::Shell(shell) => commands::run::shell(shell),
        Command::Demo(demo) => demo::run(demo),
        Command::Explain(explain) => commands::explain::run(explain),
        Command::Plan(plan) => commands::plan::run(plan),
        Command::Doctor(doctor) => commands::doctor::run(doctor),
        Command::Setup(setup) => commands::setup::run(setup),
        Command::Audit(audit) => commands::audit::run(audit),
        Command::Policy(policy) => commands::policy::run(policy),
        Command::Trust(trust) => commands::trust::run(trust),
        Command::Quarantine(quarantine) => commands::quarantine::run(quarantine),
        Command::Completions(completions) => commands::generate::completions(completions),
        Command::Man => commands::generate::man(),
    }
}
