//! What the suite stands on: the programs, a place that others may write too, and whether anything is enforced.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use ringfence_windows::sys::token::AccessToken;

use super::fixture::Fixture;
use super::launch::Launch;
use crate::Refusal;
use crate::checks::{Context, Failure};
use crate::finished::{finish, program};
use crate::suite::Needs;

/// `NotEnforceable` and `SetupMissing`: with these nothing runs.
const REFUSALS: [i32; 2] = [102, 105];

/// The suite's ground.
#[derive(Debug)]
pub struct Ground {
    /// The program under test, where it was built: its runner lies beside it.
    pub ringfence: PathBuf,
    /// The attacker; each workspace gets a copy.
    pub probe: PathBuf,
    /// Whose rights the suite has.
    pub person: String,
    refusal: Option<Refusal>,
    scratch: tempfile::TempDir,
}

impl Ground {
    /// Finds the programs (`RINGFENCE_BIN`, `RINGFENCE_PROBE`, else beside the test) and asks whether anything runs.
    ///
    /// # Errors
    /// [`Failure`] when a program is missing, no scratch directory can be made, or Ringfence fails in another way
    /// than by refusing.
    pub fn find() -> Result<Self, Failure> {
        let ringfence = program("RINGFENCE_BIN", "ringfence", "ringfence-cli")?;
        let probe = program("RINGFENCE_PROBE", "probe", "ringfence-conformance-tests")?;
        let person = AccessToken::of_this_process()
            .and_then(|token| token.user())
            .map_err(|error| Failure::Meaningless(format!("whose token this is: {error}")))?
            .to_string();
        let scratch = scratch(&person)?;
        let mut ground = Self {
            ringfence,
            probe,
            person,
            refusal: None,
            scratch,
        };
        ground.refusal = ground.ask()?;
        Ok(ground)
    }

    /// Whether a command that does nothing runs.
    fn ask(&self) -> Result<Option<Refusal>, Failure> {
        let fixture = self.fixture()?;
        let finished = Launch::new(self, &fixture).inside(&["cmd", "/d", "/c", "exit", "0"])?;
        let said = finished
            .said()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        match finished.code() {
            0 => Ok(None),
            code if REFUSALS.contains(&code) => Ok(Some(Refusal {
                status: u8::try_from(code).unwrap_or(u8::MAX),
                said,
            })),
            code => Err(Failure::Meaningless(format!(
                "a command that does nothing ends with {code}: {}",
                finished.said()
            ))),
        }
    }

    /// What this machine has, in a line.
    #[must_use]
    pub fn machine(&self) -> String {
        match &self.refusal {
            None => format!("commands run, person {}", self.person),
            Some(refusal) => format!(
                "NOT ENFORCED: `ringfence run` ends with {}: {}; the controls run alone",
                refusal.status, refusal.said
            ),
        }
    }

    /// With what Ringfence refuses to run anything here.
    #[must_use]
    pub fn unenforced(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Why a case can't be run here at all: controls can, everywhere.
    #[must_use]
    pub fn lacking(&self, needs: Needs) -> Option<&'static str> {
        match needs {
            Needs::Full | Needs::Nothing => None,
            Needs::Internet | Needs::Landlock => Some("it is for Linux"),
        }
    }

    /// A fixture of its own.
    ///
    /// # Errors
    /// [`Failure`] when it can't be made.
    pub fn fixture(&self) -> Result<Fixture, Failure> {
        Fixture::new(self.scratch.path(), &self.probe)
    }
}

impl Drop for Ground {
    /// Takes back the access rights of the workspaces, before they are removed.
    fn drop(&mut self) {
        let mut command = Command::new(&self.ringfence);
        command
            .args(["setup", "uninstall", "--yes", "--root"])
            .arg(self.scratch.path())
            .stdin(Stdio::null());
        // What can't be taken back is found by the uninstall that the machine's administrator runs.
        let _ = finish(&mut command, None);
    }
}

/// A directory that everybody who has signed in may write, and that is the person's: what is refused there is refused
/// for the boundary's sake. At `RINGFENCE_SCRATCH`, else at the root of the system's drive.
fn scratch(person: &str) -> Result<tempfile::TempDir, Failure> {
    let base = std::env::var_os("RINGFENCE_SCRATCH").map_or_else(
        || {
            let mut drive = std::env::var_os("SystemDrive").unwrap_or_else(|| "C:".into());
            drive.push("\\");
            PathBuf::from(drive)
        },
        PathBuf::from,
    );
    let directory = tempfile::Builder::new()
        .prefix("ringfence-conformance-")
        .tempdir_in(&base)
        .context(|| format!("making a directory in {}", base.display()))?;
    let mut command = Command::new("icacls");
    command.arg(directory.path()).args([
        "/grant",
        &format!("*{person}:(OI)(CI)F"),
        // Authenticated Users, modify.
        "*S-1-5-11:(OI)(CI)M",
    ]);
    let finished = finish(command.stdin(Stdio::null()), None)?;
    if finished.code() != 0 {
        return Err(Failure::Meaningless(format!(
            "icacls for {}: {}",
            directory.path().display(),
            finished.said()
        )));
    }
    Ok(directory)
}
