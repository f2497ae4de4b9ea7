//! `ringfence-setup`: the one program of Ringfence that runs as administrator, and only when asked.
//!
//! The harness starts it with a request and the hash that the person has seen; an administrator may start it by hand.
//! It links no network library, no TLS and no async runtime. Invariant: it does one of five verbs, and of those only
//! what the plan of the request's own hash says.

mod arguments;
mod text;
#[cfg(windows)]
mod windows;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    #[cfg(windows)]
    {
        ExitCode::from(windows::run(&arguments))
    }
    #[cfg(not(windows))]
    {
        say(&format!(
            "`ringfence-setup {}` is a part of Ringfence on Windows; nothing is set up here",
            arguments.verb.verb().word()
        ));
        ExitCode::from(ringfence_policy::exit::ExitCode::NotEnforceable.code())
    }
}

/// A line on standard error. Where there is none, nobody reads it.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
