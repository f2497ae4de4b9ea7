//! The files of the project as git lists them: tracked, and new ones that are not ignored.
//!
//! It judges nothing. Invariant: a file that is not text is not in it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why the files could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    /// git did not start.
    #[error("can't start git")]
    Git(#[source] std::io::Error),
    /// git refused.
    #[error("`git ls-files` failed: {0}")]
    List(String),
    /// A file could not be read.
    #[error("can't read {0}")]
    Read(PathBuf, #[source] std::io::Error),
}

/// One text file.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    /// Its path from the top, with `/` between names.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) text: String,
}

impl SourceFile {
    /// Whether it is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|extension| extension == "rs")
    }
}

/// All text files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree(Vec<SourceFile>);

impl Tree {
    /// Reads the files below `root`.
    pub(crate) fn observe(root: &Path) -> Result<Self, TreeError> {
        // Root may check a clone that belongs to somebody else: git asks to be told so, for exactly this directory.
        let mut safe = OsString::from("safe.directory=");
        safe.push(root);
        let listed = Command::new("git")
            .current_dir(root)
            .arg("-c")
            .arg(safe)
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .output()
            .map_err(TreeError::Git)?;
        if !listed.status.success() {
            let complaint = String::from_utf8_lossy(&listed.stderr).into_owned();
            return Err(TreeError::List(complaint));
        }
        let mut files = Vec::new();
        for name in String::from_utf8_lossy(&listed.stdout).split_terminator('\0') {
            let path = root.join(name);
            // A tracked file that was just deleted, and links, have no text of their own.
            if !path.symlink_metadata().is_ok_and(|found| found.is_file()) {
                continue;
            }
            let bytes = std::fs::read(&path).map_err(|cause| TreeError::Read(path, cause))?;
            if let Ok(text) = String::from_utf8(bytes) {
                let path = name.to_owned();
                files.push(SourceFile { path, text });
            }
        }
        Ok(Self(files))
    }

    /// Every file.
    pub(crate) fn files(&self) -> &[SourceFile] {
        &self.0
    }

    /// The file at this path.
    pub(crate) fn file(&self, path: &str) -> Option<&SourceFile> {
        self.0.iter().find(|file| file.path == path)
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| SourceFile {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        Self(files.iter().map(file).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_own_files_are_found() {
        let project = crate::project::Project::observe().unwrap();
        let tree = Tree::observe(&project.root).unwrap();
        assert!(tree.file("xtask/src/tidy/tree.rs").is_some());
        assert!(
            tree.files()
                .iter()
                .all(|file| !file.path.starts_with("target/"))
        );
    }
}
