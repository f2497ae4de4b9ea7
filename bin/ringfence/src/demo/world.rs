//! A person's world in small: a home with secrets, a project in it, another project beside it. Made twice, so that
//! the control of an attack works on one and the attack itself on the other.
//!
//! Invariant: everything is below one scratch directory, which is removed at the end.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::tools::{OWN_PROBE, Tools};

/// What the fake key holds: seen in an attack's output, the secret has leaked.
pub(crate) const SECRET: &str = "demo-secret-that-nobody-may-read";

/// The scratch directory's name is this and the process's id.
const PREFIX: &str = ".ringfence-demo-";

/// A file that is locked as long as the demo runs.
const ALIVE: &str = "alive";

/// A file that says that the directory shall stay.
const KEPT: &str = "KEPT";

const PROBE: &str = include_str!("probe.c");

/// Why the sample project could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorldError {
    /// No directory took it.
    #[error("no place for a scratch directory: `{path}` can't be written")]
    Scratch {
        /// The last place tried.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A file could not be made.
    #[error("can't write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A tool could not be started.
    #[error("can't start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A tool failed.
    #[error("`{command}` failed: {message}")]
    Tool {
        /// The command.
        command: String,
        /// What it said.
        message: String,
    },
}

/// The scratch directory; removed when it goes out of scope, unless it is kept.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    keep: bool,
    /// Locked as long as this demo runs.
    alive: Option<File>,
}

impl Scratch {
    /// Makes a directory that only this user can enter, in the home, else in `/var/tmp`: the sandbox replaces
    /// `/tmp`, and an attack on what is not there at all would prove nothing.
    pub(crate) fn make(keep: bool) -> Result<Self, WorldError> {
        let name = format!("{PREFIX}{}", std::process::id());
        let shared = (!cfg!(windows)).then(|| PathBuf::from("/var/tmp"));
        let places = std::env::home_dir().into_iter().chain(shared);
        let mut last = WorldError::Scratch {
            path: PathBuf::from("/var/tmp"),
            source: io::Error::from(io::ErrorKind::NotFound),
        };
        for place in places.filter(|place| place.is_absolute()) {
            remove_leftovers(&place);
            let path = place.join(&name);
            match make_private(&path) {
                Ok(path) => {
                    let alive = File::create(path.join(ALIVE)).ok();
                    let alive = alive.filter(|file| file.try_lock().is_ok());
                    let scratch = Self { path, keep, alive };
                    if keep {
                        let note = scratch.path.join(KEPT);
                        write(&note, "kept by `ringfence demo --keep`\n")?;
                    }
                    return Ok(scratch);
                }
                Err(source) => last = WorldError::Scratch { path, source },
            }
        }
        Err(last)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a directory that only this person can enter: on Windows, what lies in a profile is one.
fn make_private(path: &Path) -> io::Result<PathBuf> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().mode(0o700).create(path)?;
        path.canonicalize()
    }
    // Its canonical form is one that `cmd.exe` can't start in.
    #[cfg(not(unix))]
    {
        fs::create_dir(path)?;
        Ok(path.to_owned())
    }
}

/// Removes what a demo that was interrupted has left: its process is gone, and it was not asked to keep anything.
fn remove_leftovers(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        let kept = entry.path().join(KEPT).exists();
        if owner.is_some_and(|pid| is_dead(pid, &entry.path())) && !kept {
            // Somebody else's in a shared place: it stays.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether nobody uses the directory of the demo with this process id any more.
fn is_dead(process: u32, path: &Path) -> bool {
    if cfg!(windows) {
        // One that is just being made has no such file yet.
        let alive = fs::OpenOptions::new().write(true).open(path.join(ALIVE));
        alive.is_ok_and(|file| file.try_lock().is_ok())
    } else {
        !Path::new(&format!("/proc/{process}")).exists()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.alive.take());
        release(&self.path);
        if !self.keep {
            // Nothing is left to tell it to; a second demo uses another name.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Takes back what sessions in the scratch directory have left in the person's ledger and homes.
#[cfg(windows)]
fn release(path: &Path) {
    use ringfence::setup::Uninstall;
    use ringfence_plan::windows::WindowsPath;

    let real = ringfence::paths::real(path).unwrap_or_else(|_| path.to_owned());
    let Ok(place) = WindowsPath::observed(&real.to_string_lossy()) else {
        return;
    };
    let left = match Uninstall::new().and_then(|uninstall| uninstall.release(&place)) {
        Ok(left) => left,
        Err(error) => vec![error.to_string()],
    };
    for one in left {
        crate::output::message(&format!(
            "ringfence: left of the demo: {}; take it back with `ringfence setup uninstall --root \"{}\"`\n",
            crate::render::escape::one_line(&one),
            place.printable()
        ));
    }
}

/// Other systems keep nothing of a session in the directory.
#[cfg(not(windows))]
const fn release(_path: &Path) {}

/// One home with all that is in it.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// The home directory.
    pub(crate) home: PathBuf,
    /// The project: the workspace.
    pub(crate) project: PathBuf,
}

impl World {
    /// Makes the home `name` in the scratch directory.
    pub(crate) fn make(scratch: &Scratch, name: &str, tools: &Tools) -> Result<Self, WorldError> {
        let home = scratch.path().join(name);
        let world = Self {
            project: home.join("project"),
            home,
        };
        world.plant_home()?;
        world.plant_project(tools)?;
        if let Some(git) = &tools.git {
            world.commit(git)?;
        }
        Ok(world)
    }

    fn plant_home(&self) -> Result<(), WorldError> {
        write(
            &self.home.join(".bashrc"),
            "# the person's own shell start-up file\n",
        )?;
        write(&self.home.join(".ssh/id_ed25519"), &format!("{SECRET}\n"))?;
        write(
            &self.home.join("other/notes.txt"),
            "another project of the same person\n",
        )?;
        if cfg!(windows) {
            let profile = "# what the person's own PowerShell runs first\n";
            write(&self.home.join("Documents/profile.ps1"), profile)?;
        }
        restrict(&self.home.join(".ssh"), 0o700)?;
        restrict(&self.home.join(".ssh/id_ed25519"), 0o600)
    }

    fn plant_project(&self, tools: &Tools) -> Result<(), WorldError> {
        let file = |name: &str, text: &str| write(&self.project.join(name), text);
        file("README.md", "# greet\n\nA sample project.\n")?;
        file(".gitignore", ".env\n/build/\n/target/\n__pycache__/\n")?;
        file(".env", &format!("API_KEY={SECRET}\n"))?;
        if let Some(compiler) = &tools.c {
            file("greet.c", GREET_C)?;
            file(
                "build.sh",
                &BUILD_SH.replace("{cc}", &compiler.to_string_lossy()),
            )?;
            self.build_probe(compiler)?;
        }
        if tools.powershell.is_some() {
            file("build/daemon.ps1", DAEMON_PS1)?;
        }
        file("build/README", "What is built lies here.\n")?;
        if cfg!(windows) {
            self.copy_probe()?;
        }
        if tools.cargo.is_some() {
            file("Cargo.toml", CARGO_TOML)?;
            file("src/lib.rs", LIB_RS)?;
        }
        if tools.python.is_some() {
            file("greet.py", GREET_PY)?;
            file("test_greet.py", TEST_GREET_PY)?;
        }
        Ok(())
    }

    /// The attacker's tool, an ordinary program in the project.
    fn build_probe(&self, compiler: &Path) -> Result<(), WorldError> {
        let source = self.project.join("build/probe.c");
        write(&source, PROBE)?;
        run(Command::new(compiler)
            .arg("-o")
            .arg(self.project.join("build/probe"))
            .arg(&source))
    }

    /// The same on Windows: this program, which has such attacks in it.
    fn copy_probe(&self) -> Result<(), WorldError> {
        let path = self.project.join(OWN_PROBE);
        let copied = std::env::current_exe().and_then(|own| fs::copy(own, &path));
        copied
            .map(drop)
            .map_err(|source| WorldError::Write { path, source })
    }

    fn commit(&self, git: &Path) -> Result<(), WorldError> {
        let git = |arguments: &[&str]| {
            run(Command::new(git)
                .args([
                    "-c",
                    "init.defaultBranch=main",
                    "-c",
                    "user.name=Demo",
                    "-c",
                    "user.email=demo@example.com",
                ])
                .args([
                    "-c",
                    "core.hooksPath=/dev/null",
                    "-c",
                    "commit.gpgSign=false",
                ])
                .args(arguments)
                .current_dir(&self.project)
                .env("HOME", &self.home)
                .env_remove("GIT_DIR")
                .env_remove("GIT_WORK_TREE"))
        };
        git(&["init", "--quiet"])?;
        git(&["add", "--all"])?;
        git(&["commit", "--quiet", "--message", "Greet"])?;
        // Something for `git diff` to show.
        write(
            &self.project.join("README.md"),
            "# greet\n\nA sample project, being changed.\n",
        )
    }
}

fn run(command: &mut Command) -> Result<(), WorldError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| WorldError::Start { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(WorldError::Tool {
        command: format!("{command:?}"),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn write(path: &Path, text: &str) -> Result<(), WorldError> {
    let made = match path.parent() {
        Some(parent) => fs::create_dir_all(parent),
        None => Ok(()),
    };
    made.and_then(|()| fs::write(path, text))
        .map_err(|source| WorldError::Write {
            path: path.to_owned(),
            source,
        })
}

#[cfg(unix)]
fn restrict(path: &Path, mode: u32) -> Result<(), WorldError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|source| {
        WorldError::Write {
            path: path.to_owned(),
            source,
        }
    })
}

/// What lies in a profile is nobody else's already.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "as on Unix")]
fn restrict(_path: &Path, _mode: u32) -> Result<(), WorldError> {
    Ok(())
}

/// Holds its lock for two minutes, shared with nobody, and says its process id.
const DAEMON_PS1: &str =
    "$lock = [IO.File]::Open('build\\daemon.lock', 'OpenOrCreate', 'ReadWrite', 'None')
Set-Content build\\daemon.pid $PID
Start-Sleep 120
";

const GREET_C: &str = r#"#include <stdio.h>
#include <string.h>

static int greet(char *buffer, size_t size, const char *name) {
    return snprintf(buffer, size, "Hello, %s!", name);
}

int main(int argc, char **argv) {
    char buffer[64];
    if (argc > 1 && !strcmp(argv[1], "--test")) {
        greet(buffer, sizeof buffer, "test");
        return strcmp(buffer, "Hello, test!") != 0;
    }
    greet(buffer, sizeof buffer, "world");
    puts(buffer);
    return 0;
}
"#;

const BUILD_SH: &str = "set -e
mkdir -p build
{cc} -Wall -o build/greet greet.c
build/greet
build/greet --test
";

const CARGO_TOML: &str = r#"[package]
name = "greet"
version = "0.1.0"
edition = "2021"

[workspace]
"#;

const LIB_RS: &str = r#"/// Greets.
pub fn greet(name: &str) -> String {
    format!("Hello, {name}!")
}

#[cfg(test)]
mod tests {
    #[test]
    fn greets_by_name() {
        assert_eq!(super::greet("test"), "Hello, test!");
    }

    #[test]
    fn temporary_files_work() {
        let path = std::env::temp_dir().join("greet-test");
        std::fs::write(&path, "x").unwrap();
        std::fs::remove_file(path).unwrap();
    }
}
"#;

const GREET_PY: &str = r#"def greet(name):
    return f"Hello, {name}!"
"#;

const TEST_GREET_PY: &str = r#"import socket, threading, unittest
from greet import greet


class GreetTest(unittest.TestCase):
    def test_greets_by_name(self):
        self.assertEqual(greet("test"), "Hello, test!")

    def test_own_loopback_works(self):
        server = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: server.accept()[0].sendall(greet("net").encode()))
        thread.start()
        with socket.create_connection(server.getsockname()) as client:
            self.assertEqual(client.recv(64), b"Hello, net!")
        thread.join()
        server.close()
"#;
