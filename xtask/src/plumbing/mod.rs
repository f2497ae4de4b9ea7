//! `cargo xtask windows-plumbing`: what can be shown of the Windows programs without Windows.
//!
//! It builds them for `x86_64-pc-windows-gnu`, runs the tests of what is in them under wine, and shows that on a system
//! that enforces nothing they say so, run nothing and leave nothing half-made. It proves nothing about the boundary.
//! Invariant: a test without a declared class is a failure, and what did not run is named.

mod classes;
mod imports;
mod negative;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::process::{self, RunError};
use crate::project::{self, Project, ProjectError};

/// The target that wine runs.
pub(crate) const TARGET: &str = "x86_64-pc-windows-gnu";

/// The programs: the package, and the file.
const PROGRAMS: [(&str, &str); 3] = [
    ("ringfence-cli", "ringfence.exe"),
    ("ringfence-setup", "ringfence-setup.exe"),
    ("ringfence-runner", "ringfence-runner.exe"),
];

/// Packages whose tests run under wine.
const TESTED: [&str; 4] = [
    "ringfence",
    "ringfence-windows",
    "ringfence-setup",
    "ringfence-runner",
];

/// Why nothing was shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlumbingError {
    /// The workspace could not be read.
    #[error("can't read the workspace")]
    Project(#[source] ProjectError),
    /// A program did not run.
    #[error("can't run the plumbing")]
    Run(#[source] RunError),
    /// A program is not where cargo puts it.
    #[error("can't find what was built")]
    Built(#[source] std::io::Error),
}

pub(crate) use negative::run as refusals;

/// How a part ended.
pub(crate) enum Part {
    /// It held; what is worth saying.
    Held(String),
    /// It did not.
    Failed(String),
    /// It could not run, and why.
    Skipped(String),
}

/// Runs every part and prints what became of it.
#[expect(clippy::print_stdout, reason = "a build task talks to a person")]
pub(crate) fn run() -> Result<ExitCode, PlumbingError> {
    let project = Project::observe().map_err(PlumbingError::Project)?;
    let mut failed = false;
    for (name, part) in [
        ("programs", build(&project)?),
        ("tests under wine", tests(&project)?),
        ("negative rung", negative::run(&project)?),
    ] {
        match part {
            Part::Held(text) => println!("{name}: held\n{}", indented(&text)),
            Part::Skipped(reason) => println!("{name}: SKIPPED: {reason}"),
            Part::Failed(text) => {
                failed = true;
                println!("{name}: FAILED\n{}", indented(&text));
            }
        }
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("    {line}")).collect();
    lines.join("\n")
}

/// Builds the programs as they are shipped, tells their sizes, and looks at what the elevated one calls.
pub(crate) fn build(project: &Project) -> Result<Part, PlumbingError> {
    if process::find("x86_64-w64-mingw32-gcc").is_none() {
        return Ok(Part::Skipped(
            "missing: x86_64-w64-mingw32-gcc (Debian: gcc-mingw-w64-x86-64); nothing was linked"
                .to_owned(),
        ));
    }
    let mut command = project::cargo(&project.root);
    command.args(["build", "--quiet", "--release", "--locked", "--bins"]);
    command.args(["--target", TARGET]);
    let there = PROGRAMS.iter().filter(|(package, _)| project.has(package));
    for (package, _) in there.clone() {
        command.args(["--package", package]);
    }
    let finished = process::capture(command).map_err(PlumbingError::Run)?;
    if !finished.success {
        return Ok(Part::Failed(finished.output));
    }
    let mut text = String::new();
    for (_, file) in there {
        let path = directory(project).join(file);
        let bytes = path.metadata().map_err(PlumbingError::Built)?.len();
        // Writing to a String can't fail.
        let _ = writeln!(text, "{file:<24} {:>6} KiB", bytes / 1024);
    }
    match imports::run(project)? {
        Part::Held(imports) => text.push_str(&imports),
        Part::Skipped(reason) => {
            let _ = writeln!(text, "skipped: {reason}");
        }
        failed @ Part::Failed(_) => return Ok(failed),
    }
    Ok(Part::Held(text))
}

/// Where the programs are.
pub(crate) fn directory(project: &Project) -> PathBuf {
    project.target.join(TARGET).join("release")
}

/// Our own way to start a program under wine.
pub(crate) fn runner(project: &Project) -> PathBuf {
    project.root.join("xtask/wine/run.sh")
}

/// Where wine keeps what it believes to be a machine.
pub(crate) fn prefix(project: &Project) -> PathBuf {
    project.target.join("wine")
}

/// Why wine can't be used, if it can't.
pub(crate) fn lacking(project: &Project) -> Option<String> {
    let named = std::env::var_os("RINGFENCE_WINE").map(PathBuf::from);
    let found = named.is_some_and(|path| path.exists())
        || Path::new("/usr/lib/wine/wine64").exists()
        || ["wine64", "wine"]
            .iter()
            .any(|program| process::find(program).is_some());
    if !found {
        return Some("wine is not installed (Debian: wine wine64)".to_owned());
    }
    let linker = process::find("x86_64-w64-mingw32-gcc").is_none();
    if linker {
        return Some("mingw is not installed (Debian: gcc-mingw-w64-x86-64)".to_owned());
    }
    (!runner(project).is_file()).then(|| "xtask/wine/run.sh is missing".to_owned())
}

/// The tests of what is in the programs, each with its class.
pub(crate) fn tests(project: &Project) -> Result<Part, PlumbingError> {
    if let Some(reason) = lacking(project) {
        return Ok(Part::Skipped(reason));
    }
    let mut command = project::cargo(&project.root);
    command.args(["test", "--locked", "--no-fail-fast", "--target", TARGET]);
    for package in TESTED.into_iter().filter(|package| project.has(package)) {
        command.args(["--package", package]);
    }
    command.args(["--lib", "--bins", "--tests"]);
    command.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", runner(project));
    command.env("RINGFENCE_WINE_PREFIX", prefix(project));
    let finished = process::capture(command).map_err(PlumbingError::Run)?;
    if !finished.success {
        return Ok(Part::Failed(finished.output));
    }
    Ok(match classes::count(&finished.output) {
        Ok(counts) => Part::Held(counts),
        Err(undeclared) => Part::Failed(format!(
            "tests without a class, to be declared in xtask/src/plumbing/classes.rs:\n{undeclared}"
        )),
    })
}

/// Starts one of the programs under wine, in an empty directory.
fn under_wine(project: &Project, file: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(runner(project));
    command.arg(directory(project).join(file));
    command.args(arguments);
    command.env("RINGFENCE_WINE_PREFIX", prefix(project));
    command.env("RINGFENCE_WINE_TIMEOUT", "120");
    command
}
