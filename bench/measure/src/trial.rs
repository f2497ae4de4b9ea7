//! Runs contenders in turn and takes their times.
//!
//! It knows nothing of what they are. Invariant: in each round every contender runs once, so that a slow minute of
//! the machine hits all of them alike; a run that fails is a failure and never a time.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::contender::Contender;
use crate::samples::Samples;

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrialError {
    /// The scene could not be made.
    #[error("can't make {path}")]
    Scene {
        /// What was to be made.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// A contender did not start.
    #[error("can't start {name}")]
    Start {
        /// Which.
        name: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// A contender failed.
    #[error("{name} ended with {status}")]
    Status {
        /// Which.
        name: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// A file could not be read.
    #[error("can't read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// A mount of the scene could not be made.
    #[error("can't mount {path}")]
    Mount {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
}

/// Runs one contender once; standard output goes nowhere.
pub(crate) fn run_once(contender: &Contender) -> Result<Duration, TrialError> {
    let mut command = contender.command()?;
    command.stdout(Stdio::null());
    let begin = Instant::now();
    let status = command.status();
    let time = begin.elapsed();
    let status = status.map_err(|cause| TrialError::Start {
        name: contender.name.clone(),
        cause,
    })?;
    if status.success() {
        Ok(time)
    } else {
        Err(TrialError::Status {
            name: contender.name.clone(),
            status,
        })
    }
}

/// Runs one contender once and gives what it printed to standard output.
pub(crate) fn capture(contender: &Contender) -> Result<String, TrialError> {
    let mut command = contender.command()?;
    command.stderr(Stdio::inherit());
    let output = command.output().map_err(|cause| TrialError::Start {
        name: contender.name.clone(),
        cause,
    })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(TrialError::Status {
            name: contender.name.clone(),
            status: output.status,
        })
    }
}

/// Runs all contenders in turn: `warmup` rounds for nothing, then `rounds` that count.
///
/// A contender that fails in its first round is left out, with its failure.
pub(crate) fn interleave(
    contenders: &[Contender],
    warmup: usize,
    rounds: usize,
) -> Vec<(String, Result<Samples, TrialError>)> {
    let mut lanes: Vec<(&Contender, Vec<Duration>, Option<TrialError>)> = contenders
        .iter()
        .map(|contender| (contender, Vec::with_capacity(rounds), None))
        .collect();
    for round in 0..warmup.saturating_add(rounds) {
        for (contender, times, failure) in &mut lanes {
            if failure.is_some() {
                continue;
            }
            match run_once(contender) {
                Ok(time) if round >= warmup => times.push(time),
                Ok(_) => {}
                Err(cause) => *failure = Some(cause),
            }
        }
    }
    lanes
        .into_iter()
        .map(|(contender, times, failure)| {
            let name = contender.name.clone();
            let result = match (failure, Samples::new(times)) {
                (Some(cause), _) => Err(cause),
                (None, Some(samples)) => Ok(samples),
                (None, None) => Err(TrialError::Start {
                    name: name.clone(),
                    cause: std::io::Error::other("no rounds"),
                }),
            };
            (name, result)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contender_that_fails_has_no_times() {
        let good = Contender::new("good", ["true"]);
        let bad = Contender::new("bad", ["false"]);
        let absent = Contender::new("absent", ["/no/such/program"]);
        let results = interleave(&[good, bad, absent], 1, 3);
        let measured: Vec<bool> = results.iter().map(|(_, result)| result.is_ok()).collect();
        assert_eq!(measured, [true, false, false]);
    }
}
