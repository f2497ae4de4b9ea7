//! The scene that all contenders work in: a workspace with protected names, a home with secrets, a private `/tmp`.
//!
//! It lies below `/var/tmp`: below `/tmp` it would be hidden by the boundary itself. Invariant: it goes away with
//! its owner.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::trial::TrialError;

/// Protected names that exist in the workspace: the ten of the goal.
pub(crate) const PROTECTED: [&str; 10] = [
    ".git",
    ".codex",
    ".agents",
    ".claude",
    ".cursor",
    ".gemini",
    ".vscode",
    ".idea",
    ".mcp.json",
    "AGENTS.md",
];

/// Secrets that exist in the home, beside the workspace's `.env` and the host's shadow file.
const SECRETS: [&str; 5] = [".ssh", ".gnupg", ".aws", ".netrc", ".npmrc"];

/// A scratch directory with everything in it.
#[derive(Debug)]
pub(crate) struct Scene {
    top: tempfile::TempDir,
    extra: usize,
}

impl Scene {
    /// Makes it, with `extra` protected paths beside the ten.
    pub(crate) fn make(extra: usize) -> Result<Self, TrialError> {
        let top = tempfile::Builder::new()
            .prefix("ringfence-bench-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir_in("/var/tmp")
            .map_err(|cause| TrialError::Scene {
                path: "/var/tmp".into(),
                cause,
            })?;
        let scene = Self { top, extra };
        for directory in [scene.workspace(), scene.home(), scene.tmp()] {
            make_directory(&directory)?;
        }
        for name in PROTECTED {
            make_entry(&scene.workspace().join(name))?;
        }
        write(
            &scene.workspace().join(".git/HEAD"),
            b"ref: refs/heads/main\n",
        )?;
        for directory in ["objects", "refs", "hooks"] {
            make_directory(&scene.workspace().join(".git").join(directory))?;
        }
        write(
            &scene.workspace().join(".git/config"),
            b"[core]\n\tbare = false\n",
        )?;
        for name in SECRETS {
            make_entry(&scene.home().join(name))?;
        }
        write(&scene.workspace().join(".env"), b"TOKEN=not-a-token\n")?;
        if extra > 0 {
            scene.make_extra()?;
        }
        Ok(scene)
    }

    fn make_extra(&self) -> Result<(), TrialError> {
        make_directory(&self.workspace().join("many"))?;
        let names: Vec<String> = (0..self.extra)
            .map(|index| format!("many/p{index:05}"))
            .collect();
        for name in &names {
            write(&self.workspace().join(name), b"")?;
        }
        write(&self.list(), names.join("\n").as_bytes())?;
        let quoted: Vec<String> = names
            .iter()
            .map(|name| format!("  \"{name}\",\n"))
            .collect();
        let policy = format!("[filesystem]\nprotected = [\n{}]\n", quoted.concat());
        write(&self.policy(), policy.as_bytes())
    }

    /// The writable root.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.top.path().join("workspace")
    }

    /// The home directory.
    pub(crate) fn home(&self) -> PathBuf {
        self.top.path().join("home")
    }

    /// What the others mount as `/tmp`.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.top.path().join("tmp")
    }

    /// The extra protected paths, one a line; only there when there are some.
    pub(crate) fn list(&self) -> PathBuf {
        self.top.path().join("protected.txt")
    }

    /// A policy file that names them.
    pub(crate) fn policy(&self) -> PathBuf {
        self.top.path().join("policy.toml")
    }

    /// The paths that are hidden.
    pub(crate) fn secrets(&self) -> Vec<PathBuf> {
        let mut secrets: Vec<PathBuf> = SECRETS.iter().map(|name| self.home().join(name)).collect();
        secrets.push(self.workspace().join(".env"));
        secrets.push("/etc/shadow".into());
        secrets
    }

    /// bwrap's arguments for the same policy, separated by NUL, in a file.
    pub(crate) fn write_bubblewrap_arguments(&self) -> Result<PathBuf, TrialError> {
        let workspace = self.workspace();
        let mut words: Vec<OsString> =
            ["--unshare-all", "--die-with-parent", "--ro-bind", "/", "/"]
                .map(OsString::from)
                .into();
        words.extend(
            [
                "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run", "--bind",
            ]
            .map(OsString::from),
        );
        words.extend([self.tmp().into(), "/tmp".into(), "--bind".into()]);
        words.extend([workspace.clone().into(), workspace.clone().into()]);
        let extra = (0..self.extra).map(|index| format!("many/p{index:05}"));
        for name in PROTECTED.into_iter().map(str::to_owned).chain(extra) {
            let path: OsString = workspace.join(name).into();
            words.extend(["--ro-bind".into(), path.clone(), path]);
        }
        for secret in self.secrets() {
            if secret.is_dir() {
                words.extend(["--tmpfs".into(), secret.into()]);
            } else {
                words.extend(["--ro-bind".into(), "/dev/null".into(), secret.into()]);
            }
        }
        let mut bytes = Vec::new();
        for word in words {
            bytes.extend_from_slice(word.as_bytes());
            bytes.push(0);
        }
        let path = self.top.path().join("bwrap.args");
        write(&path, &bytes)?;
        Ok(path)
    }
}

/// Writes a file, with its parents.
pub(crate) fn write_deep(path: &Path, bytes: &[u8]) -> Result<(), TrialError> {
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
    }
    write(path, bytes)
}

/// A directory, or a file where the name has an extension or is a known file.
fn make_entry(path: &Path) -> Result<(), TrialError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_file = path.extension().is_some() || [".netrc", ".npmrc"].contains(&name.as_ref());
    if is_file {
        write(path, b"x\n")
    } else {
        make_directory(path)
    }
}

fn make_directory(path: &Path) -> Result<(), TrialError> {
    std::fs::create_dir_all(path).map_err(|cause| TrialError::Scene {
        path: path.to_owned(),
        cause,
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), TrialError> {
    std::fs::write(path, bytes).map_err(|cause| TrialError::Scene {
        path: path.to_owned(),
        cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_that_is_named_exists() {
        let scene = Scene::make(3).unwrap();
        for name in PROTECTED {
            assert!(scene.workspace().join(name).exists(), "{name}");
        }
        let list = std::fs::read_to_string(scene.list()).unwrap();
        assert_eq!(list.lines().count(), 3);
        assert!(
            list.lines()
                .all(|name| scene.workspace().join(name).is_file())
        );
        assert!(scene.home().join(".ssh").is_dir() && scene.home().join(".netrc").is_file());
        let arguments = std::fs::read(scene.write_bubblewrap_arguments().unwrap()).unwrap();
        let binds = arguments
            .split(|byte| *byte == 0)
            .filter(|word| *word == b"--ro-bind")
            .count();
        assert!(binds >= 1 + 10 + 3);
    }
}
