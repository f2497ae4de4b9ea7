//! Runs a program to its end and keeps what it printed.
//!
//! It decides nothing about what a failure means. Invariant: standard output and standard error come back in the
//! order in which they were written, because both are the same pipe.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why a program could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// No pipe for its output.
    #[error("can't make a pipe for the output of `{program}`")]
    Pipe {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// It did not start.
    #[error("can't start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// Its output or its status could not be read.
    #[error("can't read what `{program}` printed")]
    Read {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
}

/// What became of a program.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    /// Whether its status was 0.
    pub(crate) success: bool,
    /// Everything it printed, both streams.
    pub(crate) output: String,
}

/// Runs `command` with both output streams in one pipe and nothing on standard input.
pub(crate) fn capture(mut command: Command) -> Result<Finished, RunError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let pipe = |cause| RunError::Pipe {
        program: program.clone(),
        cause,
    };
    let read = |cause| RunError::Read {
        program: program.clone(),
        cause,
    };
    let (mut reader, writer) = std::io::pipe().map_err(pipe)?;
    command.stdin(std::process::Stdio::null());
    command.stdout(writer.try_clone().map_err(pipe)?);
    command.stderr(writer);
    let mut child = command.spawn().map_err(|cause| RunError::Start {
        program: program.clone(),
        cause,
    })?;
    // The command holds our copies of the pipe's writing end: with them open the end would never come.
    drop(command);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(read)?;
    let status = child.wait().map_err(read)?;
    Ok(Finished {
        success: status.success(),
        output: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// An error and its causes, a line each.
pub(crate) fn chain(failure: &dyn std::error::Error) -> String {
    let mut text = format!("{failure}\n");
    let mut source = failure.source();
    while let Some(cause) = source {
        text.push_str("  because: ");
        text.push_str(&cause.to_string());
        text.push('\n');
        source = cause.source();
    }
    text
}

/// Where `program` lies in PATH, if it is there.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_streams_come_back_in_order() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo one; echo two >&2; echo three; exit 3"]);
        let finished = capture(shell).unwrap();
        assert!(!finished.success);
        assert_eq!(finished.output, "one\ntwo\nthree\n");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let failure = capture(Command::new("/no/such/program")).unwrap_err();
        assert!(matches!(failure, RunError::Start { .. }));
        assert!(failure.to_string().contains("/no/such/program"));
        assert!(find("no-such-program-at-all").is_none());
        assert!(find("sh").is_some());
    }
}
