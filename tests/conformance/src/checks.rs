//! What one case has found: every check counted, every failure told in one line.

use crate::verdict::{UNKNOWN_CALLS, Verdict};

/// A case that could not be carried through; it fails, whatever it had checked so far.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The operating system refused something that the case itself needs.
    #[error("{what}")]
    System {
        /// What was tried, with its object.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A program did not end in three minutes and was killed.
    #[error("{0} did not end")]
    Hung(String),
    /// Anything else that makes the case meaningless.
    #[error("{0}")]
    Meaningless(String),
}

/// Names the object of a failed operation.
pub trait Context<T> {
    /// Turns the error into a [`Failure`] that says what was tried.
    ///
    /// # Errors
    /// The same as before, named.
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<std::io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::System {
            what: what(),
            source: error.into(),
        })
    }
}

/// Whether a control shows that an attack can be judged on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// It succeeds without the boundary: a refusal inside is the boundary's.
    Stands,
    /// This kernel or this user can't do it at all: noted, and not counted as held.
    Absent,
}

/// The checks of one case.
#[derive(Debug, Default)]
pub struct Checks {
    passed: usize,
    failures: Vec<String>,
    notes: Vec<String>,
    absent: Vec<String>,
    skipped: Option<String>,
}

impl Checks {
    /// How many checks passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.passed
    }

    /// One line for each failed check.
    #[must_use]
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// What could not be judged here, and why.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What the case would have tried, had it been on this machine.
    #[must_use]
    pub fn absences(&self) -> &[String] {
        &self.absent
    }

    /// Why the case was left out, if it was.
    #[must_use]
    pub fn skipped(&self) -> Option<&str> {
        self.skipped.as_deref()
    }

    /// Leaves the case out: this machine lacks what it needs.
    pub fn skip(&mut self, reason: impl Into<String>) {
        self.skipped = Some(reason.into());
    }

    /// Says what could not be judged.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Says that something is not on this machine and was not tried: the summary repeats it.
    pub fn absent(&mut self, what: impl Into<String>) {
        self.absent.push(what.into());
    }

    /// Counts one check; `detail` is told only when it fails.
    pub fn that(&mut self, name: &str, holds: bool, detail: impl FnOnce() -> String) {
        if holds {
            self.passed += 1;
        } else {
            self.failures.push(format!("{name}: {}", detail()));
        }
    }

    /// The attack must succeed without the boundary. A call that this kernel doesn't have is noted instead.
    pub fn control(&mut self, name: &str, verdict: &Verdict) -> Control {
        if let Verdict::Failed { errno, call } = verdict
            && UNKNOWN_CALLS.contains(errno)
        {
            self.note(format!(
                "{name}: not on this system ({call}, error {errno})"
            ));
            return Control::Absent;
        }
        self.that(&format!("control {name}"), verdict.succeeded(), || {
            format!("must succeed without the boundary, but: {verdict:?}")
        });
        if verdict.succeeded() {
            Control::Stands
        } else {
            Control::Absent
        }
    }

    /// The same call where it is allowed must succeed inside.
    pub fn sibling(&mut self, name: &str, verdict: &Verdict) {
        self.that(&format!("sibling {name}"), verdict.succeeded(), || {
            format!("must work inside, but: {verdict:?}")
        });
    }

    /// The attack must be refused inside, with one of [`crate::verdict::DENIALS`] or of `also`.
    pub fn refused(&mut self, name: &str, verdict: &Verdict, also: &[i32]) {
        self.that(name, verdict.refused(also), || {
            format!("must be refused, but: {verdict:?}")
        });
    }

    /// Two values must be the same.
    pub fn same<T: PartialEq + std::fmt::Debug>(&mut self, name: &str, found: &T, expected: &T) {
        self.that(name, found == expected, || {
            format!("found {found:?}, expected {expected:?}")
        });
    }
}
