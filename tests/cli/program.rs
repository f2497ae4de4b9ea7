//! The program under test, in a home of its own.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A home with a project in it.
pub(crate) struct Home {
    scratch: TempDir,
    path: PathBuf,
    project: PathBuf,
}

/// What a run of the program gave.
pub(crate) struct Ran {
    pub(crate) line: String,
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    /// In `/tmp` whatever TMPDIR says: which rule decides on a path depends on where it lies.
    pub(crate) fn new() -> Self {
        let scratch = tempfile::Builder::new()
            .prefix("ringfence-cli-")
            .tempdir_in("/tmp")
            .unwrap();
        let real = scratch.path().canonicalize().unwrap();
        let (path, project) = (real.join("home"), real.join("home/project"));
        fs::create_dir_all(&project).unwrap();
        Self {
            scratch,
            path,
            project,
        }
    }

    pub(crate) fn project(&self) -> &Path {
        &self.project
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The program with nothing of the caller's environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command
            .current_dir(&self.project)
            .env_clear()
            // Not the caller's: a directory in it that may not be entered turns "not found" into "refused".
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &self.path)
            .env("COLUMNS", "100")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ran {
        let mut command = self.command();
        command.args(arguments);
        self.finish(command)
    }

    /// The program as the next of a shell that has done `line`.
    pub(crate) fn run_after<A: AsRef<OsStr>>(&self, line: &str, arguments: &[A]) -> Ran {
        let own = self.command();
        let mut command = Command::new("/bin/sh");
        command
            .current_dir(&self.project)
            .env_clear()
            .envs(
                own.get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .stdin(Stdio::null())
            .args(["-c", &format!("{line}; exec \"$0\" \"$@\"")])
            .arg(own.get_program())
            .args(arguments);
        self.finish(command)
    }

    pub(crate) fn finish(&self, mut command: Command) -> Ran {
        let output = command.output().unwrap();
        let mut line = String::from("ringfence");
        for word in command.get_args() {
            let _ = write!(line, " {}", word.to_string_lossy());
        }
        let clean = |text: &str| self.clean(text);
        Ran {
            line: clean(&line),
            status: output.status.code(),
            stdout: clean(&String::from_utf8_lossy(&output.stdout)),
            stderr: clean(&String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// Takes this machine out of the text.
    fn clean(&self, text: &str) -> String {
        let scratch = self.scratch.path().canonicalize().unwrap();
        text.replace(&*scratch.to_string_lossy(), "[SCRATCH]")
            .replace(env!("CARGO_PKG_VERSION"), "[VERSION]")
    }
}

impl Ran {
    /// The whole of it as one text.
    pub(crate) fn snapshot(&self) -> String {
        let mut text = format!("$ {}\n", self.line);
        let _ = match self.status {
            Some(status) => writeln!(text, "exit {status}"),
            None => writeln!(text, "ended by a signal"),
        };
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.is_empty() {
                let _ = write!(text, "--- {name}\n{stream}");
                if !stream.ends_with('\n') {
                    text.push('\n');
                }
            }
        }
        text
    }
}

/// How much of a boundary this machine gives, found by doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Boundary {
    Full,
    Less,
}

/// Whether a test that needs the full boundary can run; `RINGFENCE_MUST_ENFORCE=full` makes a skip a failure.
pub(crate) fn boundary(home: &Home) -> Boundary {
    let ran = home.run(&["doctor", "--json"]);
    let full = ran.stdout.contains("\"level\": \"full\"");
    let must = std::env::var_os("RINGFENCE_MUST_ENFORCE").is_some_and(|value| value == "full");
    assert!(
        full || !must,
        "the full boundary is demanded and does not stand:\n{}",
        ran.snapshot()
    );
    if full {
        Boundary::Full
    } else {
        eprintln!("skipped: no full boundary here\n{}", ran.snapshot());
        Boundary::Less
    }
}
