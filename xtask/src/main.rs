//! The project's own build tasks: `ci` (every check there is), `tidy` (rules that no compiler knows) and `bench`.
//!
//! It does no check itself that a step could do: it finds what is there, runs it, and counts. Invariant: a step that
//! could not run is never counted as passed.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a build task talks to a person"
)]

mod bench;
mod ci;
mod fuzz;
mod plumbing;
mod process;
mod project;
mod tidy;
mod verify;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND
  ci [--quick]      every check there is; as root, installs what is missing first
                    --quick: format, lints, tests and tidy of this machine's own target
  tidy              the rules that no compiler knows: arrows between crates, promises and their tests, documents
  fuzz [--seconds N] [--start N] [TARGET]...
                    mutations thrown at every reader of hostile bytes, for that long each
  verify-windows-model [--without-oracles]
                    what is proven about the Windows boundary without Windows, at length; an oracle that is not here
                    is a failure, unless none is asked
  windows-plumbing  the Windows programs, built here, and tried under wine, which enforces nothing
  bench [start|growth|tail|steady|size|windows]... [--json] [--short] [--peer NAME=COMMAND]...
                    the boundary beside bwrap, a bare spawn (P) and the least that the kernel asks for (L)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["ci"] => ci::run(ci::Extent::Whole).map_err(Failure::Ci),
        ["ci", "--quick"] => ci::run(ci::Extent::Quick).map_err(Failure::Ci),
        ["bench", rest @ ..] => bench::run(rest).map_err(Failure::Bench),
        ["fuzz", rest @ ..] => fuzz::run(rest).map_err(Failure::Fuzz),
        ["verify-windows-model"] => verify::run(verify::Oracles::Needed).map_err(Failure::Verify),
        ["verify-windows-model", "--without-oracles"] => {
            verify::run(verify::Oracles::Without).map_err(Failure::Verify)
        }
        ["windows-plumbing"] => plumbing::run().map_err(Failure::Plumbing),
        ["tidy"] => tidy::run().map_err(Failure::Tidy),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(status) => status,
        Err(failure) => {
            eprint!("xtask: {}", process::chain(&failure));
            ExitCode::FAILURE
        }
    }
}

/// Why a task could not be done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("can't run the checks")]
    Ci(#[source] ci::CiError),
    #[error("can't fuzz")]
    Fuzz(#[source] fuzz::FuzzError),
    #[error("can't measure")]
    Bench(#[source] bench::BenchError),
    #[error("can't verify the Windows model")]
    Verify(#[source] verify::VerifyError),
    #[error("can't try the Windows programs")]
    Plumbing(#[source] plumbing::PlumbingError),
    #[error("can't apply the project's rules")]
    Tidy(#[source] tidy::TidyError),
}
