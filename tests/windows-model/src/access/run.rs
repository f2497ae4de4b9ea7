//! Puts many cases to the oracle, in several processes, and compares each answer as it comes.
//!
//! Invariant: as many answers are compared as questions were asked, or the run is an error.

use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::ops::Range;
use std::process::{Child, ChildStdin};
use std::thread;

use super::compare::Tally;
use super::generate::{Case, Mutation};
use super::question::Answer;
use crate::oracle::{CAN_NOT_RUN, OracleError, Oracles, Ran};

const PROGRAM: &str = "access_check.py";

/// What to ask.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many cases.
    pub cases: u64,
    /// In how many processes at once.
    pub processes: u64,
    /// Which family of cases.
    pub seed: u64,
    /// A fault to put into the model's side.
    pub mutation: Option<Mutation>,
}

/// Asks all cases.
///
/// # Errors
/// [`OracleError`] if the oracle fails; an answer that differs is counted, not an error.
pub fn compare_cases(oracles: &Oracles, settings: Settings) -> Result<Ran<Tally>, OracleError> {
    let processes = settings.processes.max(1);
    let share = settings.cases.div_ceil(processes);
    let results = thread::scope(|scope| {
        let workers: Vec<_> = (0..processes)
            .map(|number| {
                let first = (number * share).min(settings.cases);
                let range = first..(first + share).min(settings.cases);
                scope.spawn(move || ask(oracles, settings, range))
            })
            .collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().map(join).collect::<Vec<_>>()
    });
    let mut tally = Tally::default();
    for result in results {
        match result? {
            Ran::Done(part) => tally.merge(part),
            Ran::Skipped(skip) => return Ok(Ran::Skipped(skip)),
        }
    }
    Ok(Ran::Done(tally))
}

/// Asks the cases of one range in one process: one thread writes, this one reads.
fn ask(
    oracles: &Oracles,
    settings: Settings,
    range: Range<u64>,
) -> Result<Ran<Tally>, OracleError> {
    let mut child = oracles.start(PROGRAM, &[])?;
    let input = child.stdin.take();
    let (compared, words) = thread::scope(|scope| {
        let questions = range.clone();
        scope.spawn(move || input.map(|input| write(input, settings.seed, questions)));
        let errors = child.stderr.take();
        let words = scope.spawn(move || {
            let mut text = String::new();
            // Only for a message: what can't be read is left out.
            let _ = errors.map(|mut errors| errors.read_to_string(&mut text));
            text
        });
        let compared = read(oracles, &mut child, settings, range.clone());
        (compared, words.join().unwrap_or_default())
    });
    let program = oracles.path(PROGRAM);
    let status = child.wait().map_err(|source| OracleError::Talk {
        program: program.clone(),
        source,
    })?;
    match status.code() {
        Some(CAN_NOT_RUN) => return oracles.can_not_run(PROGRAM, &words),
        // 1: it found a question malformed, which the comparison has counted.
        Some(0 | 1) => {}
        Some(_) | None => {
            return Err(OracleError::Ended {
                program,
                status,
                detail: words,
            });
        }
    }
    let tally = compared?;
    if tally.asked != range.end - range.start {
        return Err(OracleError::Silent {
            asked: range.end - range.start,
            given: tally.asked,
        });
    }
    Ok(Ran::Done(tally))
}

/// Writes the questions; where the oracle stops reading, the count of its answers will tell.
fn write(input: ChildStdin, seed: u64, range: Range<u64>) {
    let mut input = BufWriter::new(input);
    for index in range {
        let question = Case::generate(seed, index).question(index);
        let written = serde_json::to_vec(&question)
            .map_err(std::io::Error::other)
            .and_then(|line| input.write_all(&line))
            .and_then(|()| input.write_all(b"\n"));
        if written.is_err() {
            return;
        }
    }
    let _ = input.flush();
}

fn read(
    oracles: &Oracles,
    child: &mut Child,
    settings: Settings,
    range: Range<u64>,
) -> Result<Tally, OracleError> {
    let mut tally = Tally::default();
    let Some(output) = child.stdout.take() else {
        return Ok(tally);
    };
    for (number, line) in (range.start..).zip(BufReader::new(output).lines()) {
        let line = line.map_err(|source| OracleError::Talk {
            program: oracles.path(PROGRAM),
            source,
        })?;
        let answer: Answer = serde_json::from_str(&line).map_err(|source| OracleError::Answer {
            number,
            line: line.chars().take(200).collect(),
            source,
        })?;
        let case = Case::generate(settings.seed, number);
        let case = settings
            .mutation
            .map_or(case.clone(), |mutation| case.mutated(mutation));
        tally.add(number, &case, &answer);
    }
    Ok(tally)
}
