//! The conformance suite's entry: a harness of its own, because a case is more than a function that returns.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(unix)]
    ringfence_conformance_tests::signals::reset();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    ExitCode::from(ringfence_conformance_tests::suite::run(&arguments))
}
