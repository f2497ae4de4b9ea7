//! A program that is measured: its words, its variables, and what it reads.
//!
//! The same target in all of them. Invariant: no working directory is set per start, because that would turn
//! `posix_spawn` into a fork where the C library is old.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::arguments::Arguments;
use crate::scene::{PROTECTED, Scene};
use crate::trial::TrialError;

/// A program that is measured.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    /// Its name in the table.
    pub(crate) name: String,
    words: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    input: Option<PathBuf>,
}

impl Contender {
    /// A program and its arguments.
    pub(crate) fn new<W: Into<OsString>>(name: &str, words: impl IntoIterator<Item = W>) -> Self {
        Self {
            name: name.to_owned(),
            words: words.into_iter().map(Into::into).collect(),
            variables: Vec::new(),
            input: None,
        }
    }

    fn with_variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// The same under another name.
    pub(crate) fn named(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }

    /// Ready to start.
    pub(crate) fn command(&self) -> Result<Command, TrialError> {
        let failed = |cause| TrialError::Start {
            name: self.name.clone(),
            cause,
        };
        let Some((program, arguments)) = self.words.split_first() else {
            return Err(failed(std::io::Error::other("no program")));
        };
        let mut command = Command::new(program);
        command.args(arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(match &self.input {
            Some(path) => File::open(path).map_err(failed)?.into(),
            None => Stdio::null(),
        });
        Ok(command)
    }
}

/// Which calls the observer sees, as the command line says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Observer {
    /// None.
    Off,
    /// Those that write to a path.
    Writes,
}

impl Observer {
    fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Writes => "writes",
        }
    }
}

/// P: the target alone.
pub(crate) fn plain(target: &[&str]) -> Contender {
    Contender::new("P", target.iter().copied())
}

/// R: `ringfence run`.
pub(crate) fn ringfence(
    arguments: &Arguments,
    scene: &Scene,
    observer: Observer,
    target: &[&str],
) -> Contender {
    let policy = scene.list().is_file().then(|| scene.policy());
    run(arguments, scene, observer, policy, target)
}

/// R with further options.
pub(crate) fn ringfence_with(
    arguments: &Arguments,
    scene: &Scene,
    options: &[OsString],
    target: &[&str],
) -> Contender {
    let mut contender = run(arguments, scene, Observer::Writes, None, target);
    // Behind the program and `run`.
    contender.words.splice(2..2, options.iter().cloned());
    contender
}

/// R with the scene's policy file.
pub(crate) fn ringfence_with_policy(
    arguments: &Arguments,
    scene: &Scene,
    target: &[&str],
) -> Contender {
    let policy = Some(scene.policy());
    run(arguments, scene, Observer::Writes, policy, target)
}

fn run(
    arguments: &Arguments,
    scene: &Scene,
    observer: Observer,
    policy: Option<PathBuf>,
    target: &[&str],
) -> Contender {
    let mut words: Vec<OsString> = vec![arguments.ringfence.clone().into(), "run".into()];
    words.extend(["--quiet".into(), "--observe".into(), observer.word().into()]);
    words.extend(["--workspace".into(), scene.workspace().into()]);
    if let Some(policy) = policy {
        words.extend(["--config".into(), policy.into()]);
    }
    words.push("--".into());
    words.extend(target.iter().map(OsString::from));
    let name = match observer {
        Observer::Off => "R, observer off",
        Observer::Writes => "R",
    };
    Contender::new(name, words).with_variable("HOME", scene.home())
}

/// L: the same kernel calls and nothing else.
pub(crate) fn limit(arguments: &Arguments, scene: &Scene, target: &[&str]) -> Contender {
    let mut words: Vec<OsString> = vec![arguments.limit.clone().into()];
    words.extend(["--workspace".into(), scene.workspace().into()]);
    words.extend(["--tmp".into(), scene.tmp().into()]);
    if scene.list().is_file() {
        words.extend(["--protect-list".into(), scene.list().into()]);
    }
    for name in PROTECTED {
        words.extend(["--protect".into(), name.into()]);
    }
    for secret in scene.secrets() {
        words.extend(["--hide".into(), secret.into()]);
    }
    words.push("--".into());
    words.extend(target.iter().map(OsString::from));
    Contender::new("L", words)
}

/// B: bubblewrap with the same policy, its arguments from a file.
pub(crate) fn bubblewrap(scene: &Scene, target: &[&str]) -> Result<Contender, TrialError> {
    let input = scene.write_bubblewrap_arguments()?;
    let mut words: Vec<OsString> = vec!["bwrap".into(), "--args".into(), "0".into(), "--".into()];
    words.extend(target.iter().map(OsString::from));
    let mut contender = Contender::new("bwrap", words);
    contender.input = Some(input);
    Ok(contender)
}

/// The tools that the caller named.
pub(crate) fn peers(arguments: &Arguments, scene: &Scene, target: &[&str]) -> Vec<Contender> {
    let peer = |(name, command): &(String, Vec<OsString>)| {
        let words = command
            .iter()
            .cloned()
            .chain(target.iter().map(OsString::from));
        Contender::new(name, words).with_variable("HOME", scene.home())
    };
    arguments.peers.iter().map(peer).collect()
}
