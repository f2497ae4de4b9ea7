//! The runner's roles, by its name and its arguments.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ringfence_windows::causes::in_one_sentence;
use ringfence_windows::launch::connect::{CONNECT_ROLE, connect};
use ringfence_windows::launch::{
    CONSOLE_ROLE, INTERRUPT_ROLE, Interrupt, STUBS, ServeError, host_console, interrupt, serve,
};
use ringfence_windows::sys::pipe::PipeName;

use crate::say;

/// The status of a session that the machine can't hold.
const REFUSED: u8 = 102;
/// The status of a wrong call.
const USAGE: u8 = 2;
/// The status that `ssh` ends with when it can't connect.
const NO_CONNECTION: u8 = 255;

pub(crate) fn run() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().map(PathBuf::from).unwrap_or_default();
    if let Some(stub) = stub(&name) {
        say(&format!(
            "ringfence: {stub} is switched off: in same-user mode commands are discouraged from the network"
        ));
        return ExitCode::from(NO_CONNECTION);
    }
    let all: Vec<OsString> = arguments.take(4).collect();
    if let [role, key, process] = all.as_slice()
        && role == INTERRUPT_ROLE
    {
        return Interrupt::parse(key, process).map_or_else(usage, type_it);
    }
    if let [role, host, port] = all.as_slice()
        && role == CONNECT_ROLE
    {
        return match connect(host, port) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&format!("ringfence: {}", in_one_sentence(&error)));
                ExitCode::from(NO_CONNECTION)
            }
        };
    }
    let [argument] = all.as_slice() else {
        return usage();
    };
    if argument == CONSOLE_ROLE {
        return console();
    }
    let Some(pipe) = pipe(argument) else {
        return usage();
    };
    let Ok(this) = std::env::current_exe() else {
        return usage();
    };
    match serve(&pipe, &this) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&in_one_sentence(&error));
            match error {
                ServeError::Refused(_) => ExitCode::from(REFUSED),
                ServeError::Connect(_) | ServeError::Read(_) => ExitCode::FAILURE,
            }
        }
    }
}

/// Types on a command's console; who started it sees by the status whether that was done.
fn type_it(order: Interrupt) -> ExitCode {
    match interrupt(order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Hosts a console; ends with the status of the command on it, all 32 bits.
fn console() -> ExitCode {
    match host_console() {
        Ok(code) => std::process::exit(code.cast_signed()),
        Err(error) => {
            // Standard error is where the orders come from: what is said goes to the screen.
            let _ = std::io::Write::write_all(
                &mut std::io::stdout(),
                format!("ringfence: {}\r\n", in_one_sentence(&error)).as_bytes(),
            );
            ExitCode::FAILURE
        }
    }
}

/// The program that this one stands in for, if its name says so.
fn stub(name: &Path) -> Option<&'static str> {
    let stem = name.file_stem()?.to_str()?;
    let mut all = STUBS.iter();
    all.find(|stub| stub.eq_ignore_ascii_case(stem)).copied()
}

fn pipe(argument: &OsString) -> Option<PipeName> {
    PipeName::parse(argument.to_str()?)
}

fn usage() -> ExitCode {
    say("ringfence-runner is started by ringfence; run `ringfence run -- COMMAND`");
    ExitCode::from(USAGE)
}
