//! Programs started, fed and waited for, on every system; and the probe's answer read from what they said.
//!
//! It does not know the boundary. Invariant: nothing is waited for without an end.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::checks::{Context, Failure};
use crate::verdict::Verdict;

/// No case needs as long; what takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(3);

/// What ended a program that did not end by itself: a signal, or on Windows the code of an exception.
#[must_use]
pub fn crash(status: ExitStatus) -> Option<i32> {
    #[cfg(unix)]
    {
        std::os::unix::process::ExitStatusExt::signal(&status)
    }
    #[cfg(windows)]
    {
        // NTSTATUS values of severity "error" are negative.
        status.code().filter(|code| *code < 0)
    }
}

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
            .unwrap_or_else(|| 128 + crash(self.status).unwrap_or(0))
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
    match crash(status) {
        Some(signal) => Verdict::Crashed { signal },
        None => Verdict::Silent {
            status: status.code().unwrap_or(-1),
        },
    }
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

/// A program of this workspace: named by `variable`, else built now by the cargo that runs the test, else beside it.
///
/// # Errors
/// [`Failure`] when it does not build, or is not there.
pub fn program(variable: &str, name: &str, package: &str) -> Result<PathBuf, Failure> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(PathBuf::from(path));
    }
    let test = std::env::current_exe().context(|| "finding the test itself".to_owned())?;
    let directory = test
        .parent()
        .and_then(Path::parent)
        .ok_or_else(|| Failure::Meaningless("the test lies in no target directory".to_owned()))?;
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--package", package, "--bin", name]);
        if directory.ends_with("release") {
            command.arg("--release");
        }
        let status = command.status().context(|| format!("building {name}"))?;
        if !status.success() {
            return Err(Failure::Meaningless(format!("{name} does not build")));
        }
    }
    let path = directory.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if path.exists() {
        return Ok(path);
    }
    Err(Failure::Meaningless(format!(
        "{} is missing: run `cargo build --package {package}`, or set {variable}",
        path.display()
    )))
}
