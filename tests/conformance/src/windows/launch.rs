//! Runs programs without the boundary (controls) and inside it, with the person's own variables.

use std::ffi::{OsStr, OsString};
use std::process::{Command, Stdio};

use super::fixture::Fixture;
use super::ground::Ground;
use crate::batch::{answers, chunks};
use crate::checks::Failure;
use crate::finished::{Finished, finish};
use crate::verdict::Verdict;

/// A command line has at most 32,767 units; quoting may double what is quoted.
const LONGEST_ARGUMENT: usize = 12_000;

/// How something is run in a fixture's workspace.
#[derive(Debug)]
pub struct Launch<'a> {
    ground: &'a Ground,
    fixture: &'a Fixture,
    variables: Vec<(OsString, OsString)>,
}

impl<'a> Launch<'a> {
    /// In the fixture's workspace.
    #[must_use]
    pub fn new(ground: &'a Ground, fixture: &'a Fixture) -> Self {
        Self {
            ground,
            fixture,
            variables: Vec::new(),
        }
    }

    /// Sets a variable of the caller.
    #[must_use]
    pub fn variable(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    fn command(&self, program: &OsStr) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.fixture.workspace)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// The command that runs the probe without the boundary.
    #[must_use]
    pub fn plain_command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = self.command(self.fixture.probe.as_os_str());
        command.args(words);
        command
    }

    /// The command that runs `words` inside.
    #[must_use]
    pub fn inside_command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = self.command(self.ground.ringfence.as_os_str());
        command.args(["run", "--"]).args(words);
        command
    }

    /// The probe's command line, inside.
    #[must_use]
    pub fn probe_command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let program = self.fixture.probe.as_os_str();
        let words: Vec<&OsStr> = std::iter::once(program)
            .chain(words.iter().map(AsRef::as_ref))
            .collect();
        self.inside_command(&words)
    }

    /// Runs `ringfence` itself.
    ///
    /// # Errors
    /// [`Failure`] when it can't be started or hangs.
    pub fn ringfence<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Finished, Failure> {
        finish(
            self.command(self.ground.ringfence.as_os_str()).args(words),
            None,
        )
    }

    /// Runs `words` inside.
    ///
    /// # Errors
    /// [`Failure`] when it can't be started or hangs.
    pub fn inside<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Finished, Failure> {
        finish(&mut self.inside_command(words), None)
    }

    /// One attack without the boundary.
    ///
    /// # Errors
    /// [`Failure`] when it can't be started or hangs.
    pub fn attack_plain<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Verdict, Failure> {
        Ok(finish(&mut self.plain_command(words), None)?.verdict())
    }

    /// Many attacks without the boundary; one verdict each, in order.
    ///
    /// # Errors
    /// As [`Self::batch_inside`].
    pub fn batch_plain(&self, attacks: &[Vec<String>]) -> Result<Vec<Verdict>, Failure> {
        batch(attacks, |words| {
            finish(&mut self.plain_command(words), None)
        })
    }

    /// Many attacks in as few sessions as their words fit into; one verdict each, in order.
    ///
    /// # Errors
    /// [`Failure`] when a session can't be started, hangs, or says less than it was asked.
    pub fn batch_inside(&self, attacks: &[Vec<String>]) -> Result<Vec<Verdict>, Failure> {
        batch(attacks, |words| {
            finish(&mut self.probe_command(words), None)
        })
    }
}

fn batch(
    attacks: &[Vec<String>],
    run: impl Fn(&[&str]) -> Result<Finished, Failure>,
) -> Result<Vec<Verdict>, Failure> {
    let mut verdicts = Vec::new();
    for chunk in chunks(attacks, LONGEST_ARGUMENT) {
        let list = serde_json::to_string(chunk)
            .map_err(|error| Failure::Meaningless(error.to_string()))?;
        verdicts.extend(answers(chunk.len(), &run(&["batch", &list])?)?);
    }
    Ok(verdicts)
}
