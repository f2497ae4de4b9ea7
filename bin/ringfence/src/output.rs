//! The two streams. A reader that has gone away (`| head`) ends the program's interest, not the program with a panic.

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Standard output did not take what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("standard output can't be written")]
struct OutputError(#[source] io::Error);

/// Writes what was asked for to standard output.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::internal(OutputError(error))),
        Ok(()) => Ok(()),
    }
}

/// Writes `value` to standard output as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value).map_err(Failure::internal)?;
    text.push('\n');
    data(&text)
}

/// Writes text for a person to standard error; where that is closed nobody is left to tell.
pub(crate) fn message(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}
