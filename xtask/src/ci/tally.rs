//! Counts of tests, read from what the test programs print.
//!
//! It runs nothing. Invariant: every closing line of a suite is counted once.

use std::fmt;

/// Tests, or steps that have none, by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Held.
    pub(crate) passed: u32,
    /// Did not hold.
    pub(crate) failed: u32,
    /// Could not run, or were left out.
    pub(crate) skipped: u32,
}

impl Tally {
    /// One that passed.
    pub(crate) const PASSED: Self = Self {
        passed: 1,
        failed: 0,
        skipped: 0,
    };
    /// One that failed.
    pub(crate) const FAILED: Self = Self {
        passed: 0,
        failed: 1,
        skipped: 0,
    };
    /// One that did not run.
    pub(crate) const SKIPPED: Self = Self {
        passed: 0,
        failed: 0,
        skipped: 1,
    };

    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed.saturating_add(other.passed),
            failed: self.failed.saturating_add(other.failed),
            skipped: self.skipped.saturating_add(other.skipped),
        }
    }

    /// The sum of all `test result:` lines, or nothing if there is none.
    pub(crate) fn read(output: &str) -> Option<Self> {
        output
            .lines()
            .filter_map(Self::read_line)
            .reduce(Self::plus)
    }

    /// One line as the standard test harness ends with
    /// (`test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`),
    /// or the conformance suite (`conformance: 5 passed, 0 failed, 1 skipped; 90 checks held, 0 notes`).
    fn read_line(line: &str) -> Option<Self> {
        let line = line.trim_start();
        let counts = match line.strip_prefix("test result: ") {
            Some(rest) => rest.split_once(". ")?.1,
            None => line
                .strip_prefix("conformance: ")
                .filter(|rest| rest.contains(" passed, ") && rest.contains(" failed, "))?,
        };
        let mut tally = Self::default();
        for count in counts.split([';', ',']) {
            let Some((number, what)) = count.trim_start().split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u32>() else {
                continue;
            };
            match what {
                "passed" => tally.passed = number,
                "failed" => tally.failed = number,
                "ignored" | "skipped" => tally.skipped = number,
                _ => {}
            }
        }
        Some(tally)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_result_lines_are_added_up() {
        let output = "running 2 tests\n\
            test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            noise 3 passed; 4 failed\n\
            test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 9 filtered out; finished in 1.20s\n";
        let tally = Tally::read(output).unwrap();
        assert_eq!(tally.to_string(), "7 passed, 3 failed, 1 skipped");
    }

    #[test]
    fn the_conformance_suite_is_counted_too() {
        let output = "conformance: the suite can't start: no probe\n\
            conformance: 41 passed, 2 failed, 3 skipped; 900 checks held, 5 notes\n";
        let tally = Tally::read(output).unwrap();
        assert_eq!(tally.to_string(), "41 passed, 2 failed, 3 skipped");
    }

    #[test]
    fn output_without_a_result_has_no_tally() {
        assert_eq!(Tally::read("error: could not compile\n"), None);
    }
}
