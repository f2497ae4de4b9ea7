//! `cargo xtask ci`: every check there is, one after the other, with its name, its time and its verdict.
//!
//! It stops at nothing: a failed step does not keep the next from running. Invariant: the last line counts every
//! step and every test exactly once, and a step that could not run is counted as skipped.

mod ordinary;
mod steps;
mod tally;
mod tools;

use std::process::ExitCode;
use std::time::Instant;

use crate::process;
use crate::project::{Project, ProjectError};

use tally::Tally;
use tools::Tools;

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything.
    Whole,
    /// What a person waits for at a desk: this machine's own target, nothing installed.
    Quick,
}

/// Why there was no run at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CiError {
    /// The workspace could not be read.
    #[error("can't read the workspace")]
    Project(#[source] ProjectError),
}

/// What a step says of itself.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It held; the tests it ran, if it ran tests.
    Passed(Option<Tally>),
    /// It did not; what was printed, whole.
    Failed {
        /// The tests it ran, if it ran tests.
        tests: Option<Tally>,
        /// Everything the programs printed.
        output: String,
    },
    /// It could not run, and why.
    Skipped(String),
}

impl Verdict {
    /// The verdict on a step that could not even be carried out.
    fn not_run(failure: &dyn std::error::Error) -> Self {
        Self::Failed {
            tests: None,
            output: process::chain(failure),
        }
    }

    /// What it adds to the last line: its tests, or one for the step itself.
    fn tally(&self) -> Tally {
        match self {
            Self::Passed(tests) => tests.unwrap_or(Tally::PASSED),
            // A suite that failed without a failed test (it did not compile, or it crashed) is still one failure.
            Self::Failed { tests, .. } => match tests {
                Some(tests) if tests.failed > 0 => *tests,
                Some(tests) => tests.plus(Tally::FAILED),
                None => Tally::FAILED,
            },
            Self::Skipped(_) => Tally::SKIPPED,
        }
    }
}

/// What every step may look at.
pub(crate) struct Context {
    /// The workspace.
    pub(crate) project: Project,
    /// What this machine has.
    pub(crate) tools: Tools,
}

/// A check with a name.
pub(crate) struct Step {
    name: String,
    check: Box<dyn Fn(&Context) -> Verdict>,
}

/// Runs the steps, prints what became of them, and gives the status of the whole.
pub(crate) fn run(extent: Extent) -> Result<ExitCode, CiError> {
    let project = Project::observe().map_err(CiError::Project)?;
    let started = Instant::now();
    let mut total = Tally::default();
    let mut skipped = Vec::new();

    let (tools, verdict) = timed("tools", || Tools::prepare(&project, extent));
    total = total.plus(verdict.tally());
    let context = Context { project, tools };
    for step in steps::all(extent, &context) {
        let ((), verdict) = timed(&step.name, || ((), (step.check)(&context)));
        total = total.plus(verdict.tally());
        if let Verdict::Skipped(reason) = verdict {
            skipped.push((step.name, reason));
        }
    }

    println!("\n{} s in all", started.elapsed().as_secs());
    for (name, reason) in &skipped {
        println!("SKIPPED {name}: {reason}");
    }
    if let Some(advice) = context.tools.advice() {
        println!("{advice}");
    }
    println!("{total}");
    Ok(if total.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Prints the step's line, and the whole output of one that failed.
fn timed<T>(name: &str, work: impl FnOnce() -> (T, Verdict)) -> (T, Verdict) {
    let started = Instant::now();
    let (value, verdict) = work();
    let seconds = started.elapsed().as_secs_f32();
    match &verdict {
        Verdict::Passed(None) => println!("{name:<44} {seconds:>7.1} s  passed"),
        Verdict::Passed(Some(tests)) => {
            println!("{name:<44} {seconds:>7.1} s  passed: {tests}");
        }
        Verdict::Skipped(reason) => {
            println!("{name:<44} {seconds:>7.1} s  SKIPPED: {reason}");
        }
        Verdict::Failed { tests, output } => {
            let counts = tests.map_or_else(String::new, |tests| format!(": {tests}"));
            println!("{name:<44} {seconds:>7.1} s  FAILED{counts}");
            for line in output.lines() {
                println!("    {line}");
            }
        }
    }
    (value, verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_that_crashed_counts_as_a_failure() {
        let crashed = Verdict::Failed {
            tests: Some(Tally {
                passed: 7,
                failed: 0,
                skipped: 1,
            }),
            output: String::new(),
        };
        assert_eq!(crashed.tally().to_string(), "7 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn a_step_without_tests_counts_as_one() {
        assert_eq!(Verdict::Passed(None).tally(), Tally::PASSED);
        let skipped = Verdict::Skipped("no compiler".to_owned());
        assert_eq!(skipped.tally(), Tally::SKIPPED);
    }
}
