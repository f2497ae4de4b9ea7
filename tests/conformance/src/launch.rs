//! Runs programs without the boundary (controls) and inside it, and reads the probe's answers.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::checks::{Context, Failure};
use crate::fixture::Fixture;
use crate::ground::Ground;
use crate::verdict::Verdict;

/// No case needs as long; what takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(3);
/// The kernel takes 128 KiB in one argument.
const LONGEST_ARGUMENT: usize = 100_000;

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// Its standard output.
    pub output: Vec<u8>,
    /// Its standard error.
    pub errors: Vec<u8>,
}

impl Finished {
    /// The exit status, or 128 + the signal.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.errors).into_owned()
    }

    /// The probe's verdict on standard output.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        verdict(&self.output, self.status)
    }
}

/// The last line of `output` as a verdict; silence and crashes are verdicts of their own.
#[must_use]
pub fn verdict(output: &[u8], status: ExitStatus) -> Verdict {
    let text = String::from_utf8_lossy(output);
    if let Some(verdict) = text
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
    {
        return verdict;
    }
    match status.signal() {
        Some(signal) => Verdict::Crashed { signal },
        None => Verdict::Silent {
            status: status.code().unwrap_or(-1),
        },
    }
}

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
        for chunk in chunks(attacks) {
            let text = serde_json::to_string(chunk)
                .map_err(|error| Failure::Meaningless(error.to_string()))?;
            let finished = self.inside(&self.probe(&["batch", &text]))?;
            let lines: Vec<Verdict> = finished
                .text()
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            if lines.len() != chunk.len() {
                return Err(Failure::Meaningless(format!(
                    "{} attacks, {} answers; exit status {}, standard error: {}",
                    chunk.len(),
                    lines.len(),
                    finished.code(),
                    finished.said()
                )));
            }
            verdicts.extend(lines);
        }
        Ok(verdicts)
    }
}

fn chunks(attacks: &[Vec<String>]) -> Vec<&[Vec<String>]> {
    let mut parts = Vec::new();
    let mut rest = attacks;
    while !rest.is_empty() {
        let mut length = 0;
        let count = rest
            .iter()
            .take_while(|attack| {
                length += attack.iter().map(|word| word.len() + 4).sum::<usize>() + 4;
                length < LONGEST_ARGUMENT
            })
            .count()
            .max(1);
        let (part, after) = rest.split_at(count);
        parts.push(part);
        rest = after;
    }
    parts
}

/// The caller's PATH without what lies below the caller's home: a fixture has a home of its own.
fn path() -> OsString {
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()
}

/// Starts `command`, feeds it `input`, and collects what it says.
///
/// # Errors
/// [`Failure::System`] when it can't be started, [`Failure::Hung`] when it does not end.
pub fn finish(command: &mut Command, input: Option<Vec<u8>>) -> Result<Finished, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(|| format!("starting {name}"))?;
    let feeder = child.stdin.take().zip(input).map(|(mut pipe, bytes)| {
        std::thread::spawn(move || {
            let _ = pipe.write_all(&bytes);
        })
    });
    let output = reader(child.stdout.take());
    let errors = reader(child.stderr.take());
    let status = wait(&mut child, &name)?;
    if let Some(feeder) = feeder {
        let _ = feeder.join();
    }
    Ok(Finished {
        status,
        output: output.join().unwrap_or_default(),
        errors: errors.join().unwrap_or_default(),
    })
}

fn reader<R: Read + Send + 'static>(pipe: Option<R>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// Waits for `child`, and kills it when it hangs.
///
/// # Errors
/// [`Failure::Hung`].
pub fn wait(child: &mut Child, name: &str) -> Result<ExitStatus, Failure> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context(|| format!("waiting for {name}"))? {
            return Ok(status);
        }
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Failure::Hung(name.to_owned()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a condition comes to hold within a few seconds; polled, so that a fast machine does not wait.
pub fn eventually(seconds: u64, mut holds: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    holds()
}

/// Opens a file as somebody's standard input.
///
/// # Errors
/// [`Failure::System`] with the path.
pub fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).context(|| format!("opening {}", path.display()))
}
