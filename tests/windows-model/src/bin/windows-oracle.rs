//! Compares the NT model with the oracles at length: `windows-oracle access-check [--cases N] [--processes N] [--seed N]`.
//!
//! Exit status: 0 all agreed, 1 some differ or the oracle failed, 2 wrong arguments, 3 nothing was compared.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a person"
)]

use std::error::Error;
use std::process::ExitCode;

use ringfence_windows_model::access::{Settings, compare_cases};
use ringfence_windows_model::oracle::{OracleError, Oracles, Ran};

const USAGE: &str = "usage: windows-oracle access-check [--cases N] [--processes N] [--seed N]";
const NOTHING_COMPARED: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let settings = match words.as_slice() {
        ["access-check", options @ ..] => settings(options),
        _ => None,
    };
    let Some(settings) = settings else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match compare(settings) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("windows-oracle: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn settings(options: &[&str]) -> Option<Settings> {
    let mut settings = Settings {
        cases: 1_000_000,
        processes: 2,
        seed: 1,
        mutation: None,
    };
    for pair in options.chunks(2) {
        let [name, value] = pair else { return None };
        let number = value.parse().ok()?;
        match *name {
            "--cases" => settings.cases = number,
            "--processes" => settings.processes = number,
            "--seed" => settings.seed = number,
            _ => return None,
        }
    }
    Some(settings)
}

fn compare(settings: Settings) -> Result<ExitCode, OracleError> {
    let oracles = match Oracles::find()? {
        Ran::Done(oracles) => oracles,
        Ran::Skipped(skip) => {
            println!("{skip}");
            return Ok(ExitCode::from(NOTHING_COMPARED));
        }
    };
    match compare_cases(&oracles, settings)? {
        Ran::Skipped(skip) => {
            println!("{skip}");
            Ok(ExitCode::from(NOTHING_COMPARED))
        }
        Ran::Done(tally) => {
            println!("access check against samba: {tally}");
            for disagreement in &tally.disagreements {
                println!("{disagreement}");
            }
            let agreed = tally.disagreed == 0 && tally.asked == settings.cases;
            Ok(if agreed {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}
