//! Many attacks of one process of the probe: lists that fit into an argument, and one answer each.
//!
//! Invariant: an answer too few is a failure, never a denial.

use crate::checks::Failure;
use crate::finished::Finished;
use crate::verdict::Verdict;

/// Parts of a list, each short enough for one argument of `longest` bytes.
#[must_use]
pub fn chunks(attacks: &[Vec<String>], longest: usize) -> Vec<&[Vec<String>]> {
    let mut parts = Vec::new();
    let mut rest = attacks;
    while !rest.is_empty() {
        let mut length = 0;
        let count = rest
            .iter()
            .take_while(|attack| {
                length += attack.iter().map(|word| word.len() + 4).sum::<usize>() + 4;
                length < longest
            })
            .count()
            .max(1);
        let (part, after) = rest.split_at(count);
        parts.push(part);
        rest = after;
    }
    parts
}

/// The verdicts that the probe has printed, in order.
///
/// # Errors
/// [`Failure::Meaningless`] unless there are as many as attacks.
pub fn answers(attacks: usize, finished: &Finished) -> Result<Vec<Verdict>, Failure> {
    let lines: Vec<Verdict> = finished
        .text()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    if lines.len() == attacks {
        return Ok(lines);
    }
    Err(Failure::Meaningless(format!(
        "{attacks} attacks, {} answers; exit status {}, standard error: {}",
        lines.len(),
        finished.code(),
        finished.said()
    )))
}
