//! Where the project is and what it consists of, as `cargo metadata` and the source tree say.
//!
//! It judges nothing. Invariant: every path it gives lies in the workspace or in its target directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::process::{self, RunError};

/// Why the project could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProjectError {
    /// `cargo metadata` did not run.
    #[error("can't ask cargo about the workspace")]
    Cargo(#[source] RunError),
    /// `cargo metadata` refused.
    #[error("`cargo metadata` failed:\n{0}")]
    Metadata(String),
    /// `cargo metadata` answered something else.
    #[error("can't understand what `cargo metadata` said")]
    Format(#[source] serde_json::Error),
}

/// A dependency as a package declares it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Dependency {
    /// The package's name in its registry or workspace.
    pub(crate) name: String,
    /// `None` for a normal one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// The directory of a workspace member.
    pub(crate) path: Option<PathBuf>,
}

/// A crate of the workspace.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// What it declares to depend on.
    pub(crate) dependencies: Vec<Dependency>,
}

/// The workspace.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Project {
    /// Its members.
    pub(crate) packages: Vec<Package>,
    /// The directory of the top `Cargo.toml`.
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
}

/// A command that runs cargo at the top of the workspace `root`.
pub(crate) fn cargo(root: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root);
    command
}

impl Project {
    /// Asks cargo about the workspace that this program was built in.
    pub(crate) fn observe() -> Result<Self, ProjectError> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = cargo(here);
        command.args(["metadata", "--format-version=1", "--no-deps", "--quiet"]);
        let finished = process::capture(command).map_err(ProjectError::Cargo)?;
        if !finished.success {
            return Err(ProjectError::Metadata(finished.output));
        }
        // Warnings come first on the same pipe; the answer itself is one line.
        let answer = finished.output.lines().find(|line| line.starts_with('{'));
        serde_json::from_str(answer.unwrap_or(&finished.output)).map_err(ProjectError::Format)
    }

    /// Whether there is a member of this name.
    pub(crate) fn has(&self, package: &str) -> bool {
        self.packages.iter().any(|member| member.name == package)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_names_its_members() {
        let project = Project::observe().unwrap();
        assert!(project.has("xtask"));
        assert!(!project.has("no-such-crate"));
        assert!(project.root.join("Cargo.toml").is_file());
    }
}
