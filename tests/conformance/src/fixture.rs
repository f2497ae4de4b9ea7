//! A home, a workspace, a state directory and an outside of its own for each case.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checks::{Context, Failure};
use crate::objects::prepare;

/// One case's piece of the machine; removed when it is dropped.
#[derive(Debug)]
pub struct Fixture {
    directory: tempfile::TempDir,
    /// The home directory.
    pub home: PathBuf,
    /// The workspace: a directory in the home.
    pub workspace: PathBuf,
    /// The parent of Ringfence's state directory.
    pub state: PathBuf,
    /// A directory beside the home that no policy names.
    pub outside: PathBuf,
}

impl Fixture {
    /// Makes one below `base`.
    ///
    /// # Errors
    /// [`Failure::System`] with the directory that could not be made.
    pub fn new(base: &Path) -> Result<Self, Failure> {
        Self::with_workspace(base, "project")
    }

    /// Makes one whose workspace has that name.
    ///
    /// # Errors
    /// [`Failure::System`] with the directory that could not be made.
    pub fn with_workspace(base: &Path, name: impl AsRef<Path>) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new()
            .prefix("case-")
            .tempdir_in(base)
            .context(|| format!("making a directory in {}", base.display()))?;
        let top = directory.path().to_owned();
        let home = top.join("home");
        let fixture = Self {
            workspace: home.join(name),
            state: top.join("state"),
            outside: top.join("outside"),
            home,
            directory,
        };
        for place in [&fixture.workspace, &fixture.state, &fixture.outside] {
            fs::create_dir_all(place).context(|| format!("making {}", place.display()))?;
        }
        Ok(fixture)
    }

    /// The directory that holds all of it.
    #[must_use]
    pub fn top(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file, with its directories.
    ///
    /// # Errors
    /// [`Failure::System`] with the file.
    pub fn write(&self, path: impl AsRef<Path>, content: &str) -> Result<PathBuf, Failure> {
        let path = self.top().join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).context(|| format!("making {}", parent.display()))?;
        }
        fs::write(&path, content).context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// Makes the objects of a write attack in `place`.
    ///
    /// # Errors
    /// [`Failure::System`] with the place.
    pub fn prepare(&self, place: &Path) -> Result<(), Failure> {
        prepare(place).context(|| format!("preparing {}", place.display()))
    }

    /// Makes a repository with one commit in `place`, by git itself.
    ///
    /// # Errors
    /// [`Failure`] when git can't.
    pub fn repository(&self, place: &Path) -> Result<(), Failure> {
        fs::create_dir_all(place).context(|| format!("making {}", place.display()))?;
        fs::write(place.join("tracked.txt"), "tracked\n")
            .context(|| format!("writing in {}", place.display()))?;
        for words in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &["config", "user.name", "Test"],
            &["config", "user.email", "test@example.com"],
            &["add", "tracked.txt"],
            &["commit", "--quiet", "--message=first"],
        ] {
            let output = std::process::Command::new("git")
                .args(words)
                .current_dir(place)
                .env("HOME", &self.home)
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .output()
                .context(|| "starting git".to_owned())?;
            if !output.status.success() {
                return Err(Failure::Meaningless(format!(
                    "git {words:?}: {}",
                    String::from_utf8_lossy(&output.stderr)
                )));
            }
        }
        Ok(())
    }
}
