//! Runs the conformance suite a second time, as an ordinary user, when the checks run as root.
//!
//! It builds nothing for that user: the programs are copied to a scratch directory that the user owns. Invariant:
//! the suite never runs with uid 0 here.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::{Context, Verdict, steps};
use crate::ci::tools::Need;
use crate::process;
use crate::project;

/// The user that is made for it, and its group.
const USER: &str = "ringfence-ci";

const SUITE: &str = "ringfence-conformance-tests";

/// What cargo says of something it built, as far as we care.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

/// Why the scratch directory could not be made.
#[derive(Debug, thiserror::Error)]
enum ScratchError {
    #[error("can't make the directory {0}")]
    Make(PathBuf, #[source] std::io::Error),
    #[error("can't set the mode of {0}")]
    Mode(PathBuf, #[source] std::io::Error),
    #[error("can't copy {0}")]
    Copy(PathBuf, #[source] std::io::Error),
    #[error("can't give {0} to {USER}")]
    Owner(PathBuf, #[source] std::io::Error),
}

/// A directory that goes away with its owner.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is an empty-handed copy below the temporary directory: not worth a failure.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The conformance suite as [`USER`].
pub(super) fn run_conformance(context: &Context) -> Verdict {
    if !context.project.has(SUITE) {
        return Verdict::Skipped(format!("there is no package {SUITE}"));
    }
    if let Some(reason) = context.tools.lacking(&[Need::Program("setpriv")]) {
        return Verdict::Skipped(reason);
    }
    let suites = match build_suites(context) {
        Ok(suites) => suites,
        Err(verdict) => return verdict,
    };
    let (uid, gid) = match make_user() {
        Ok(ids) => ids,
        Err(verdict) => return verdict,
    };
    let scratch = match make_scratch(uid, gid) {
        Ok(scratch) => scratch,
        Err(failure) => return Verdict::not_run(&failure),
    };
    let programs = ["ringfence", "probe"].map(|name| steps::program(&context.project, name));
    let copies: Result<Vec<PathBuf>, ScratchError> = programs
        .iter()
        .chain(&suites)
        .map(|program| copy_program(program, &scratch.0))
        .collect();
    let copies = match copies {
        Ok(copies) => copies,
        Err(failure) => return Verdict::not_run(&failure),
    };
    let [ringfence, probe, suites @ ..] = copies.as_slice() else {
        return Verdict::Skipped("nothing was built".to_owned());
    };
    let mut script = Command::new("setpriv");
    script
        .arg(format!("--reuid={uid}"))
        .arg(format!("--regid={gid}"));
    script.args(["--init-groups", "--inh-caps=-all", "sh", "-c"]);
    script.arg("status=0; for suite do \"$suite\" || status=$?; done; exit $status");
    script.arg("sh").args(suites);
    let home = scratch.0.join("home");
    script.current_dir(&home);
    script
        .env("HOME", &home)
        .env("USER", USER)
        .env("LOGNAME", USER);
    script.env("TMPDIR", home.join("tmp"));
    script.env("RINGFENCE_BIN", ringfence);
    script.env("RINGFENCE_PROBE", probe);
    for variable in [
        "CARGO_HOME",
        "RUSTUP_HOME",
        "XDG_RUNTIME_DIR",
        "RINGFENCE_STATE",
    ] {
        script.env_remove(variable);
    }
    steps::tests(script)
}

/// Builds the suite's programs and says where they are.
fn build_suites(context: &Context) -> Result<Vec<PathBuf>, Verdict> {
    let mut command = project::cargo(&context.project.root);
    // The same selection as the test step: another one would build everything again with other features.
    command.args(["test", "--workspace", "--no-run", "--locked"]);
    command.args(["--message-format=json-render-diagnostics", "--quiet"]);
    let finished = process::capture(command).map_err(|failure| Verdict::not_run(&failure))?;
    if !finished.success {
        return Err(Verdict::Failed {
            tests: None,
            output: finished.output,
        });
    }
    let suites: Vec<PathBuf> = finished
        .output
        .lines()
        .filter(|line| line.contains(SUITE))
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
        .filter(|artifact| {
            let kinds = artifact
                .target
                .as_ref()
                .map(|target| target.kind.as_slice());
            kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"))
        })
        .filter_map(|artifact| artifact.executable)
        .collect();
    if suites.is_empty() {
        return Err(Verdict::Skipped(format!("{SUITE} has no test program")));
    }
    Ok(suites)
}

/// Makes the user if it is not there, and gives its uid and gid.
fn make_user() -> Result<(u32, u32), Verdict> {
    let look_up = || {
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        ids_of(USER, &users)
    };
    if let Some(ids) = look_up() {
        return Ok(ids);
    }
    let mut command = Command::new("useradd");
    command.args([
        "--system",
        "--user-group",
        "--no-create-home",
        "--shell",
        "/usr/sbin/nologin",
        USER,
    ]);
    let finished = process::capture(command).map_err(|failure| Verdict::not_run(&failure))?;
    look_up().ok_or(Verdict::Failed {
        tests: None,
        output: format!("can't make the user {USER}:\n{}", finished.output),
    })
}

/// The uid and gid of `name` in the text of passwd(5); never those of root.
fn ids_of(name: &str, users: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid: u32 = fields.nth(1)?.parse().ok()?;
        let gid: u32 = fields.next()?.parse().ok()?;
        (uid != 0 && gid != 0).then_some((uid, gid))
    })
}

/// A directory for the programs, which root owns, and in it a home, which the user owns.
fn make_scratch(uid: u32, gid: u32) -> Result<Scratch, ScratchError> {
    // Not below /tmp or /var/tmp: the boundary has both of its own, and would hide the home in them.
    let top = Path::new("/srv").join(format!("ringfence-ci-{}", std::process::id()));
    std::fs::create_dir(&top).map_err(|cause| ScratchError::Make(top.clone(), cause))?;
    let scratch = Scratch(top);
    set_mode(&scratch.0, 0o755)?;
    let home = scratch.0.join("home");
    for directory in [home.clone(), home.join("tmp")] {
        std::fs::create_dir(&directory)
            .map_err(|cause| ScratchError::Make(directory.clone(), cause))?;
        set_mode(&directory, 0o700)?;
        std::os::unix::fs::chown(&directory, Some(uid), Some(gid))
            .map_err(|cause| ScratchError::Owner(directory.clone(), cause))?;
    }
    Ok(scratch)
}

fn copy_program(program: &Path, directory: &Path) -> Result<PathBuf, ScratchError> {
    let name = program.file_name().unwrap_or(program.as_os_str());
    let copy = directory.join(name);
    std::fs::copy(program, &copy).map_err(|cause| ScratchError::Copy(program.to_owned(), cause))?;
    set_mode(&copy, 0o755)?;
    Ok(copy)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), ScratchError> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(|cause| ScratchError::Mode(path.to_owned(), cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str =
        "root:x:0:0:root:/root:/bin/sh\nringfence-ci:x:998:997::/:/usr/sbin/nologin\n";

    #[test]
    fn ids_are_read_from_the_users_own_line() {
        assert_eq!(ids_of("ringfence-ci", USERS), Some((998, 997)));
        assert_eq!(ids_of("ringfence", USERS), None);
    }

    #[test]
    fn root_is_never_the_ordinary_user() {
        assert_eq!(ids_of("root", USERS), None);
        assert_eq!(ids_of("evil", "evil:x:0:997::/:/bin/sh\n"), None);
    }
}
