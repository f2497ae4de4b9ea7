//! Runs programs without the boundary (controls) and inside it, and reads the probe's answers.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::batch::{answers, chunks};
use crate::checks::Failure;
use crate::fixture::Fixture;
use crate::ground::Ground;
use crate::verdict::Verdict;

pub use crate::finished::{Finished, eventually, finish, open, verdict, wait};

/// The kernel takes 128 KiB in one argument.
const LONGEST_ARGUMENT: usize = 100_000;

/// How something is run in a fixture.
#[derive(Debug)]
pub struct Launch<'a> {
    ground: &'a Ground,
    fixture: &'a Fixture,
    options: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    directory: PathBuf,
    wrapper: Vec<OsString>,
}

impl<'a> Launch<'a> {
    /// In the fixture's workspace, with its home and state, and no option.
    #[must_use]
    pub fn new(ground: &'a Ground, fixture: &'a Fixture) -> Self {
        Self {
            ground,
            fixture,
            options: Vec::new(),
            variables: Vec::new(),
            directory: fixture.workspace.clone(),
            wrapper: Vec::new(),
        }
    }

    /// Where it is run.
    #[must_use]
    pub fn fixture(&self) -> &'a Fixture {
        self.fixture
    }

    /// Adds options of `ringfence run`.
    #[must_use]
    pub fn options<S: AsRef<OsStr>>(mut self, options: &[S]) -> Self {
        self.options
            .extend(options.iter().map(|option| option.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the caller.
    #[must_use]
    pub fn variable(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts in another directory.
    #[must_use]
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        directory.as_ref().clone_into(&mut self.directory);
        self
    }

    /// Puts a program of the probe in front of `ringfence`.
    #[must_use]
    pub fn wrapper<S: AsRef<OsStr>>(mut self, words: &[S]) -> Self {
        self.wrapper = words.iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    fn command(&self, words: &[OsString]) -> Result<Command, Failure> {
        let (program, arguments) = words
            .split_first()
            .ok_or_else(|| Failure::Meaningless("nothing to run".to_owned()))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.directory)
            .env_clear()
            .env("HOME", &self.fixture.home)
            .env("XDG_STATE_HOME", &self.fixture.state)
            .env("USER", "tester")
            .env("LANG", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("PATH", path())
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// The command that runs `words` without the boundary.
    ///
    /// # Errors
    /// [`Failure::Meaningless`] for no words.
    pub fn plain_command<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Command, Failure> {
        let words: Vec<OsString> = words.iter().map(|word| word.as_ref().to_owned()).collect();
        self.command(&words)
    }

    /// The command that runs `words` inside.
    ///
    /// # Errors
    /// [`Failure::Meaningless`] for no words.
    pub fn inside_command<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Command, Failure> {
        let mut all = self.wrapper.clone();
        all.push(self.ground.ringfence.clone().into_os_string());
        all.push("run".into());
        all.extend(self.options.iter().cloned());
        all.push("--".into());
        all.extend(words.iter().map(|word| word.as_ref().to_owned()));
        self.command(&all)
    }

    /// The command that runs `ringfence` itself with `words`.
    ///
    /// # Errors
    /// [`Failure`] when it can't be started or hangs.
    pub fn ringfence<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Finished, Failure> {
        let mut all = vec![self.ground.ringfence.clone().into_os_string()];
        all.extend(words.iter().map(|word| word.as_ref().to_owned()));
        finish(self.command(&all)?.stdin(Stdio::null()), None)
    }

    /// Runs `words` without the boundary.
    ///
    /// # Errors
    /// [`Failure`] when it can't be started or hangs.
    pub fn plain<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Finished, Failure> {
        finish(self.plain_command(words)?.stdin(Stdio::null()), None)
    }

    /// Runs `words` inside.
    ///
    /// # Errors
    /// [`Failure`] when it can't be started or hangs.
    pub fn inside<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Finished, Failure> {
        finish(self.inside_command(words)?.stdin(Stdio::null()), None)
    }

    /// Runs a shell script inside.
    ///
    /// # Errors
    /// [`Failure`] when it can't be started or hangs.
    pub fn shell(&self, script: &str) -> Result<Finished, Failure> {
        self.inside(&["/bin/sh", "-c", script])
    }

    /// One attack without the boundary.
    ///
    /// # Errors
    /// [`Failure`] when it can't be started or hangs.
    pub fn attack_plain<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Verdict, Failure> {
        Ok(self.plain(&self.probe(words))?.verdict())
    }

    /// One attack inside.
    ///
    /// # Errors
    /// [`Failure`] when it can't be started or hangs.
    pub fn attack_inside<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Verdict, Failure> {
        let finished = self.inside(&self.probe(words))?;
        let verdict = finished.verdict();
        if let Verdict::Silent { .. } = verdict {
            return Err(Failure::Meaningless(format!(
                "the probe said nothing; exit status {}, standard error: {}",
                finished.code(),
                finished.said()
            )));
        }
        Ok(verdict)
    }

    /// The probe's command line for one attack.
    #[must_use]
    pub fn probe<S: AsRef<OsStr>>(&self, words: &[S]) -> Vec<OsString> {
        std::iter::once(self.ground.probe.clone().into_os_string())
            .chain(words.iter().map(|word| word.as_ref().to_owned()))
            .collect()
    }

    /// Many attacks in as few sessions as their words fit into; one verdict each, in order.
    ///
    /// # Errors
    /// [`Failure`] when a session can't be started, hangs, or says less than it was asked.
    pub fn batch_inside(&self, attacks: &[Vec<String>]) -> Result<Vec<Verdict>, Failure> {
        let mut verdicts = Vec::new();
        for chunk in chunks(attacks, LONGEST_ARGUMENT) {
            let text = serde_json::to_string(chunk)
                .map_err(|error| Failure::Meaningless(error.to_string()))?;
            let finished = self.inside(&self.probe(&["batch", &text]))?;
            verdicts.extend(answers(chunk.len(), &finished)?);
        }
        Ok(verdicts)
    }
}

/// The caller's PATH without what lies below the caller's home: a fixture has a home of its own.
fn path() -> OsString {
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()
}
