//! A workspace and an outside of its own for each case.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checks::{Context, Failure};

/// What files hold.
pub const ORIGINAL: &str = "as it was";

/// One case's piece of the machine; removed when it is dropped.
#[derive(Debug)]
pub struct Fixture {
    _directory: tempfile::TempDir,
    /// The workspace, with a bare frame of a repository and the probe in it.
    pub workspace: PathBuf,
    /// A directory beside it that no policy names.
    pub outside: PathBuf,
    /// The probe.
    pub probe: PathBuf,
}

impl Fixture {
    /// Makes one below `base`.
    ///
    /// # Errors
    /// [`Failure::System`] with what could not be made.
    pub fn new(base: &Path, probe: &Path) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new()
            .prefix("case-")
            .tempdir_in(base)
            .context(|| format!("making a directory in {}", base.display()))?;
        let fixture = Self {
            workspace: directory.path().join("project"),
            outside: directory.path().join("outside"),
            probe: directory.path().join("project").join("probe.exe"),
            _directory: directory,
        };
        for place in [&fixture.workspace, &fixture.outside] {
            make(place)?;
        }
        fs::copy(probe, &fixture.probe).context(|| format!("copying {}", probe.display()))?;
        Ok(fixture)
    }

    /// Makes the directories and files of a repository, as far as anybody looks at them.
    ///
    /// # Errors
    /// [`Failure::System`] with what could not be made.
    pub fn repository(&self) -> Result<(), Failure> {
        let git = self.workspace.join(".git");
        for directory in ["objects", "refs/heads", "hooks"] {
            make(&git.join(directory))?;
        }
        write(&git.join("HEAD"), "ref: refs/heads/main\n")?;
        write(
            &git.join("config"),
            "[core]\n\trepositoryformatversion = 0\n\tbare = false\n",
        )
    }
}

/// Makes a directory and those above it.
///
/// # Errors
/// [`Failure::System`] with its path.
pub fn make(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).context(|| format!("making {}", path.display()))
}

/// Writes a file, with its directories.
///
/// # Errors
/// [`Failure::System`] with its path.
pub fn write(path: &Path, content: &str) -> Result<(), Failure> {
    if let Some(parent) = path.parent() {
        make(parent)?;
    }
    fs::write(path, content).context(|| format!("writing {}", path.display()))
}
