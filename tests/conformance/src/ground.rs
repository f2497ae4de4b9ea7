//! What the suite stands on: the two programs, the scratch directory, and what this machine can enforce.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Refusal;
use crate::checks::{Context, Failure};
use crate::finished::program;
use crate::fixture::Fixture;
use crate::suite::Needs;
use crate::verdict::Verdict;

/// The suite's ground.
#[derive(Debug)]
pub struct Ground {
    /// The program under test, copied likewise: it is attacked by running it inside itself, too.
    pub ringfence: PathBuf,
    /// The attacker, copied to where every user and every sandbox can read it.
    pub probe: PathBuf,
    /// Whether user namespaces can be made here.
    pub namespaces: bool,
    /// Landlock's version; 0 without it.
    pub landlock: u32,
    /// Whether `ip` is there.
    pub routes: bool,
    scratch: tempfile::TempDir,
}

impl Ground {
    /// Finds the programs (`RINGFENCE_BIN`, `RINGFENCE_PROBE`, else beside the test) and looks at the machine.
    ///
    /// # Errors
    /// [`Failure`] when a program is missing or no scratch directory can be made.
    pub fn find() -> Result<Self, Failure> {
        let tested = program("RINGFENCE_BIN", "ringfence", "ringfence-cli")?;
        let built = program("RINGFENCE_PROBE", "probe", "ringfence-conformance-tests")?;
        let scratch = scratch()?;
        let probe = scratch.path().join("probe");
        fs::copy(&built, &probe).context(|| format!("copying {}", built.display()))?;
        let ringfence = scratch.path().join("ringfence");
        fs::copy(&tested, &ringfence).context(|| format!("copying {}", tested.display()))?;
        let mut ground = Self {
            ringfence,
            probe,
            namespaces: false,
            landlock: 0,
            routes: Command::new("ip").arg("-V").output().is_ok(),
            scratch,
        };
        ground.namespaces = ground.plain(&["unshare", "mount"])?.succeeded();
        ground.landlock = ground
            .plain(&["landlock-version"])?
            .detail()
            .parse()
            .unwrap_or(0);
        Ok(ground)
    }

    /// What this machine has, in a line.
    #[must_use]
    pub fn machine(&self) -> String {
        format!(
            "user namespaces {}, Landlock ABI {}, uid {}",
            if self.namespaces {
                "work"
            } else {
                "are refused"
            },
            self.landlock,
            rustix::process::geteuid().as_raw()
        )
    }

    /// With what Ringfence refuses to run anything here: on Linux each case says what it needs instead.
    #[must_use]
    pub fn unenforced(&self) -> Option<&Refusal> {
        None
    }

    /// Why this machine can't run a case with these needs, if it can't.
    #[must_use]
    pub fn lacking(&self, needs: Needs) -> Option<&'static str> {
        match needs {
            Needs::Full | Needs::Internet if !self.namespaces => {
                Some("user namespaces are refused on this machine")
            }
            Needs::Full | Needs::Internet | Needs::Landlock if self.landlock == 0 => {
                Some("Landlock is missing on this machine")
            }
            Needs::Internet if !self.routes => Some("`ip` is not installed (package iproute2)"),
            Needs::Full | Needs::Internet | Needs::Landlock | Needs::Nothing => None,
        }
    }

    /// Where fixtures are made.
    #[must_use]
    pub fn base(&self) -> &Path {
        self.scratch.path()
    }

    /// A fixture of its own.
    ///
    /// # Errors
    /// [`Failure`] when it can't be made.
    pub fn fixture(&self) -> Result<Fixture, Failure> {
        Fixture::new(self.scratch.path())
    }

    /// Whether the suite runs as root: some controls need it.
    #[must_use]
    pub fn root(&self) -> bool {
        rustix::process::geteuid().is_root()
    }

    /// One attack without the boundary, outside every fixture.
    ///
    /// # Errors
    /// [`Failure::System`] when the probe can't be started.
    pub fn plain<S: AsRef<std::ffi::OsStr>>(&self, words: &[S]) -> Result<Verdict, Failure> {
        let output = Command::new(&self.probe)
            .args(words)
            .current_dir(self.scratch.path())
            .stdin(std::process::Stdio::null())
            .output()
            .context(|| format!("starting {}", self.probe.display()))?;
        Ok(crate::launch::verdict(&output.stdout, output.status))
    }
}

/// Places of which the sandbox has a private one of its own: what lies there is not seen inside.
const PRIVATE: [&str; 4] = ["/tmp", "/var/tmp", "/dev", "/run"];

/// A directory that the sandbox sees: `RINGFENCE_SCRATCH`, else cargo's own for tests, else the home.
fn scratch() -> Result<tempfile::TempDir, Failure> {
    let named = std::env::var_os("RINGFENCE_SCRATCH").map(PathBuf::from);
    let cargo = option_env!("CARGO_TARGET_TMPDIR").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let candidates = [named, cargo, home];
    let seen = |path: &&PathBuf| !PRIVATE.iter().any(|place| path.starts_with(place));
    candidates
        .iter()
        .flatten()
        .filter(seen)
        .find_map(|base| {
            tempfile::Builder::new()
                .prefix(".ringfence-conformance-")
                .tempdir_in(base)
                .ok()
        })
        .ok_or_else(|| {
            Failure::Meaningless(format!(
                "no scratch directory can be made: set RINGFENCE_SCRATCH to one that is not below {PRIVATE:?}"
            ))
        })
}
