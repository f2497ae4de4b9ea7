//! `cargo xtask fuzz`: throws mutations at every reader of hostile bytes, optimised and with the checks of a debug build.
//!
//! It only starts the program of `tests/fuzz`. Invariant: its status is that program's.

use std::process::ExitCode;

use crate::project::{self, Project, ProjectError};

/// Why nothing was thrown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FuzzError {
    /// The workspace could not be read.
    #[error("can't read the workspace")]
    Project(#[source] ProjectError),
    /// cargo did not start.
    #[error("can't start cargo")]
    Start(#[source] std::io::Error),
}

/// Passes `words` on: `[--seconds N] [--start N] [TARGET]...`.
pub(crate) fn run(words: &[&str]) -> Result<ExitCode, FuzzError> {
    let project = Project::observe().map_err(FuzzError::Project)?;
    let mut command = project::cargo(&project.root);
    command.args(["run", "--quiet", "--profile", "model"]);
    command.args(["--package", "ringfence-fuzz-tests", "--bin", "fuzz", "--"]);
    let status = command.args(words).status().map_err(FuzzError::Start)?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
