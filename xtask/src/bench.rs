//! `cargo xtask bench`: builds the static release programs and starts `bench/measure` with them.
//!
//! It measures nothing itself. Invariant: what is measured was built just now, for the target that is named.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::project::{self, Project, ProjectError};

/// The target of everything that is measured: static, with musl as its C library.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The workspace could not be read.
    #[error("can't read the workspace")]
    Project(#[source] ProjectError),
    /// cargo or the benchmark did not start.
    #[error("can't start {0}")]
    Start(&'static str, #[source] std::io::Error),
    /// The programs were not built.
    #[error(
        "the static release build failed; if the target is missing: rustup target add {TARGET}"
    )]
    Build,
}

/// The command that builds what is measured.
pub(crate) fn build(project: &Project) -> Command {
    let mut command = project::cargo(&project.root);
    command.args(["build", "--release", "--locked", "--target", TARGET]);
    for package in ["ringfence-cli", "ringfence-bench", "ringfence-bench-limit"] {
        command.args(["--package", package]);
    }
    command
}

/// A program as [`build`] leaves it.
pub(crate) fn program(project: &Project, name: &str) -> PathBuf {
    project.target.join(TARGET).join("release").join(name)
}

/// The command that measures.
pub(crate) fn measure(project: &Project, arguments: &[&str]) -> Command {
    let mut command = Command::new(program(project, "measure"));
    command
        .arg("--ringfence")
        .arg(program(project, "ringfence"));
    command.arg("--limit").arg(program(project, "limit"));
    command.args(arguments);
    command
}

/// Builds, says what is measured, measures.
pub(crate) fn run(arguments: &[&str]) -> Result<ExitCode, BenchError> {
    let project = Project::observe().map_err(BenchError::Project)?;
    let built = build(&project)
        .status()
        .map_err(|cause| BenchError::Start("cargo", cause))?;
    if !built.success() {
        return Err(BenchError::Build);
    }
    eprintln!(
        "static release build for {TARGET} (libc: musl); R is `ringfence run`, P a bare posix_spawn,"
    );
    eprintln!("L our minimal program with the same kernel calls; medians of interleaved runs");
    let measured = measure(&project, arguments)
        .status()
        .map_err(|cause| BenchError::Start("the benchmark", cause))?;
    Ok(if measured.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
