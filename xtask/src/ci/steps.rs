//! The list of checks, in the order in which they run: cheap and telling first.
//!
//! Each is a closure over what to start; none knows of another. Invariant: a step that lacks a tool says so instead
//! of passing.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::ordinary;
use super::tally::Tally;
use super::tools::{self, Caller, FOREIGN_TARGETS, Need, STATIC_TARGET};
use super::{Context, Extent, Step, Verdict};
use crate::bench;
use crate::plumbing::{self, Part, PlumbingError};
use crate::process;
use crate::project::{self, Project};
use crate::tidy;
use crate::verify;

/// Members that exist for Linux alone: not linted for the other systems.
const LINUX_ONLY: [&str; 4] = [
    "ringfence-bench",
    "ringfence-bench-limit",
    "ringfence-linux",
    "xtask",
];
/// Members that exist for Linux and Windows.
const NOT_FOR_MACOS: [&str; 1] = ["ringfence-conformance-tests"];

/// All checks of this extent.
pub(super) fn all(extent: Extent, context: &Context) -> Vec<Step> {
    let mut steps = vec![
        step("format", |context| {
            let mut command = project::cargo(&context.project.root);
            command.args(["fmt", "--all", "--check"]);
            plain(command)
        }),
        step("lint", lint_native),
        step("tests", run_tests),
        step("windows model, counted", count_model),
        step("tidy", check_tidy),
    ];
    if extent == Extent::Quick {
        return steps;
    }
    if context.tools.caller == Caller::Root {
        steps.push(step(
            "conformance as an ordinary user",
            ordinary::run_conformance,
        ));
    }
    steps.extend(FOREIGN_TARGETS.map(|target| {
        step(&format!("lint {target}"), move |context| {
            lint_foreign(context, target)
        })
    }));
    steps.push(step("Windows programs, linked", |context| {
        part(plumbing::build(&context.project))
    }));
    steps.push(step("Windows tests under wine", |context| {
        part(plumbing::tests(&context.project))
    }));
    steps.push(step("Windows programs refuse under wine", |context| {
        part(plumbing::refusals(&context.project))
    }));
    steps.push(step("release build, static", build_release));
    steps.push(step("demo", run_demo));
    steps.push(step("benchmark, short", run_benchmark));
    steps.push(step("dependencies", check_dependencies));
    steps
}

fn step(name: &str, check: impl Fn(&Context) -> Verdict + 'static) -> Step {
    Step {
        name: name.to_owned(),
        check: Box::new(check),
    }
}

/// What a part of the plumbing came to; what it has to say is printed.
#[expect(clippy::print_stdout, reason = "a build task talks to a person")]
fn part(part: Result<Part, PlumbingError>) -> Verdict {
    match part {
        Err(failure) => Verdict::not_run(&failure),
        Ok(Part::Skipped(reason)) => Verdict::Skipped(reason),
        Ok(Part::Failed(output)) => Verdict::Failed {
            tests: None,
            output,
        },
        Ok(Part::Held(text)) => {
            print!("{text}");
            Verdict::Passed(None)
        }
    }
}

/// Runs a command that has no tests in it.
pub(super) fn plain(command: Command) -> Verdict {
    match process::capture(command) {
        Err(failure) => Verdict::not_run(&failure),
        Ok(finished) if finished.success => Verdict::Passed(None),
        Ok(finished) => Verdict::Failed {
            tests: None,
            output: finished.output,
        },
    }
}

/// Runs a command whose output has `test result:` lines.
pub(super) fn tests(command: Command) -> Verdict {
    match process::capture(command) {
        Err(failure) => Verdict::not_run(&failure),
        Ok(finished) => {
            let tests = Tally::read(&finished.output);
            let held = finished.success && tests.is_some_and(|tests| tests.failed == 0);
            if held {
                Verdict::Passed(tests)
            } else {
                Verdict::Failed {
                    tests,
                    output: finished.output,
                }
            }
        }
    }
}

fn lint_native(context: &Context) -> Verdict {
    let mut command = project::cargo(&context.project.root);
    command.args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--locked",
    ]);
    command.args(["--", "-D", "warnings"]);
    plain(command)
}

/// Lints what must compile on other systems. Nothing is linked, so no linker or C library of theirs is needed.
fn lint_foreign(context: &Context, target: &'static str) -> Verdict {
    if let Some(reason) = context.tools.lacking(&[Need::Target(target)]) {
        return Verdict::Skipped(reason);
    }
    let mut command = project::cargo(&context.project.root);
    command.args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--locked",
    ]);
    command.args(["--target", target]);
    let only_linux = LINUX_ONLY.iter();
    let not_here = NOT_FOR_MACOS.iter().filter(|_| target.contains("apple"));
    for package in only_linux.chain(not_here) {
        if context.project.has(package) {
            command.args(["--exclude", package]);
        }
    }
    command.args(["--", "-D", "warnings"]);
    plain(command)
}

/// Every test of the workspace. The programs are built first: the suites that start them must not test old ones.
fn run_tests(context: &Context) -> Verdict {
    let project = &context.project;
    let mut build = project::cargo(&project.root);
    build.args(["build", "--quiet", "--workspace", "--bins", "--locked"]);
    let verdict = plain(build);
    if !matches!(verdict, Verdict::Passed(_)) {
        return verdict;
    }
    let mut command = project::cargo(&project.root);
    command.args([
        "test",
        "--quiet",
        "--workspace",
        "--no-fail-fast",
        "--locked",
    ]);
    command.env("RINGFENCE_BIN", program(project, "ringfence"));
    command.env("RINGFENCE_PROBE", program(project, "probe"));
    let figures = verify::figures_file(project);
    if let Err(cause) = std::fs::write(&figures, "") {
        return Verdict::Failed {
            tests: None,
            output: format!("can't write {}: {cause}\n", figures.display()),
        };
    }
    command.env(verify::FIGURES, figures);
    tests(command)
}

/// What the tests have counted of the Windows model: states, mutants, attacks. A mutant that survives is a failure,
/// and so is a count of nothing.
#[expect(clippy::print_stdout, reason = "a build task talks to a person")]
fn count_model(context: &Context) -> Verdict {
    let figures = verify::figures_file(&context.project);
    match verify::counted(&figures) {
        Ok((text, true)) => {
            println!("{text}");
            Verdict::Passed(None)
        }
        Ok((output, false)) => Verdict::Failed {
            tests: None,
            output,
        },
        Err(cause) => Verdict::Failed {
            tests: None,
            output: format!("can't read {}: {cause}\n", figures.display()),
        },
    }
}

/// A program of the workspace as `cargo build` leaves it.
pub(super) fn program(project: &Project, name: &str) -> PathBuf {
    project.target.join("debug").join(name)
}

fn build_release(context: &Context) -> Verdict {
    if let Some(reason) = context.tools.lacking(&[Need::Target(STATIC_TARGET)]) {
        return Verdict::Skipped(reason);
    }
    let verdict = plain(bench::build(&context.project));
    if !matches!(verdict, Verdict::Passed(_)) {
        return verdict;
    }
    match is_static(&bench::program(&context.project, "ringfence")) {
        Ok(true) => Verdict::Passed(None),
        Ok(false) => Verdict::Failed {
            tests: None,
            output: "the release build asks for a dynamic loader\n".to_owned(),
        },
        Err(cause) => Verdict::Failed {
            tests: None,
            output: format!("can't read the release build: {cause}\n"),
        },
    }
}

/// The README's first command, with the static release: real builds and tests inside, then the attacks.
fn run_demo(context: &Context) -> Verdict {
    if let Some(reason) = context.tools.lacking(&[Need::Target(STATIC_TARGET)]) {
        return Verdict::Skipped(reason);
    }
    let mut demo = Command::new(bench::program(&context.project, "ringfence"));
    demo.arg("demo");
    plain(demo)
}

/// Whether the benchmark works: every row has a value. How fast it is, is for a person to judge.
fn run_benchmark(context: &Context) -> Verdict {
    let needs = [Need::Target(STATIC_TARGET), Need::Program("bwrap")];
    if let Some(reason) = context.tools.lacking(&needs) {
        return Verdict::Skipped(reason);
    }
    match process::capture(bench::measure(&context.project, &["--short"])) {
        Err(failure) => Verdict::not_run(&failure),
        Ok(finished) if finished.success && !finished.output.contains("no value") => {
            Verdict::Passed(None)
        }
        Ok(finished) => Verdict::Failed {
            tests: None,
            output: finished.output,
        },
    }
}

/// Whether an ELF file of 64 bits, little-endian, has no `PT_INTERP` segment (elf(5)).
fn is_static(path: &Path) -> std::io::Result<bool> {
    const INTERPRETER: u32 = 3;
    let bytes = std::fs::read(path)?;
    let broken = || std::io::Error::other("not an ELF file");
    if !bytes.starts_with(b"\x7fELF") {
        return Err(broken());
    }
    let number = |offset: usize, width: usize| {
        let field = bytes.get(offset..offset.checked_add(width)?)?;
        let value = field
            .iter()
            .rev()
            .fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
        usize::try_from(value).ok()
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let (Some(table), Some(size), Some(count)) = (table, size, count) else {
        return Err(broken());
    };
    Ok((0..count).all(|index| {
        let entry = index.saturating_mul(size).saturating_add(table);
        number(entry, 4).is_some_and(|kind| kind != INTERPRETER as usize)
    }))
}

fn check_tidy(context: &Context) -> Verdict {
    if let Some(reason) = context.tools.lacking(&[Need::Program("git")]) {
        return Verdict::Skipped(reason);
    }
    match tidy::check(&context.project) {
        Err(failure) => Verdict::not_run(&failure),
        Ok(findings) if tidy::has_errors(&findings) => Verdict::Failed {
            tests: None,
            output: tidy::render(&findings),
        },
        Ok(_) => Verdict::Passed(None),
    }
}

/// Bans, licences and sources: what needs no network. Advisories are for the hosted runners.
fn check_dependencies(context: &Context) -> Verdict {
    let Some(program) = tools::cargo_deny() else {
        return Verdict::Skipped(format!("missing: {}", Need::CargoDeny));
    };
    let mut command = Command::new(program);
    command.current_dir(&context.project.root);
    command.args(["--locked", "check", "bans", "licenses", "sources"]);
    plain(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failing_command_keeps_its_output() {
        let Verdict::Failed { output, .. } = plain(shell("echo why; exit 1")) else {
            panic!("status 1 is a failure");
        };
        assert_eq!(output, "why\n");
    }

    #[test]
    fn a_suite_that_prints_no_result_is_a_failure() {
        assert!(matches!(tests(shell("true")), Verdict::Failed { .. }));
    }

    #[test]
    fn a_suite_that_hides_a_failure_behind_status_0_is_a_failure() {
        let script =
            "echo 'test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out'";
        assert!(matches!(tests(shell(script)), Verdict::Failed { .. }));
    }

    #[test]
    fn this_test_itself_is_not_static() {
        let own = std::env::current_exe().unwrap();
        assert!(!is_static(&own).unwrap());
        assert!(
            is_static(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("Cargo.toml")
                    .as_path()
            )
            .is_err()
        );
    }
}
