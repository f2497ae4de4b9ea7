//! The files beside the state directory that a command must not choose the content of: a policy file, an event file.
//!
//! Invariant: what passes lies, with every link on the way to it, where no session of this policy may write, and has
//! no other name through which one could. It is looked at before anything is read from it or made there.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ringfence_policy::document::{GitAccess, Mode};
use ringfence_policy::escape::escape_os;
use ringfence_policy::{AbsolutePath, ExitCode, Policy};

/// What a file is to Ringfence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnFile {
    /// The user's policy: what is in it holds for the next run.
    Policy,
    /// Where events are recorded.
    Events,
}

impl fmt::Display for OwnFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Policy => "policy file",
            Self::Events => "event file",
        })
    }
}

/// Why a file can't be used: a command could write it. Nothing ran, and nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum OwnFileError {
    /// It lies in a writable root, where it is not protected.
    #[error(
        "the {file} `{path}` lies in the writable root `{root}`, where a command can change it"
    )]
    InRoot {
        /// What it is.
        file: OwnFile,
        /// Its real path.
        path: PathBuf,
        /// The root.
        root: PathBuf,
    },
    /// A link on the way to it lies in a writable root: a command could lead it elsewhere.
    #[error(
        "the way to the {file} `{path}` leads through the link `{link}` in the writable root `{root}`"
    )]
    LinkInRoot {
        /// What it is.
        file: OwnFile,
        /// The path as it was named.
        path: PathBuf,
        /// The link.
        link: PathBuf,
        /// The root.
        root: PathBuf,
    },
    /// It has another name, which may lie in a writable root.
    #[error("the {file} `{path}` has {names} names: a command could change it through another")]
    OtherNames {
        /// What it is.
        file: OwnFile,
        /// Its real path.
        path: PathBuf,
        /// How many.
        names: u64,
    },
    /// It could not be found out where the file lies.
    #[error("it could not be found out where `{path}` leads")]
    Resolve {
        /// The path as it was named.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl OwnFileError {
    /// The exit status that goes with it.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        ExitCode::PolicyInvalid
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::InRoot { file, .. } => format!(
                "keep the {file} outside the workspace and every writable root, or in the workspace's `.ringfence`, \
                 which no command may write"
            ),
            Self::LinkInRoot { file, .. } => format!("name the {file} by its own path"),
            Self::OtherNames { path, .. } => {
                let path = escape_os(path);
                let copy = if cfg!(windows) {
                    format!("copy \"{path}\" \"{path}.own\"")
                } else {
                    format!("cp {path} {path}.own")
                };
                format!("make a copy, and name that: {copy}")
            }
            Self::Resolve { .. } => "check the permissions of the directories above it".to_owned(),
        }
    }
}

/// Refuses `path` as a `file` of ours where a command under `policy` could write it. It need not exist.
///
/// # Errors
/// [`OwnFileError`].
///
/// # Security
/// What lies in the writable roots, links above all, is an attacker's.
pub fn check(policy: &Policy, file: OwnFile, path: &Path) -> Result<(), OwnFileError> {
    match policy.mode.value {
        Mode::WorkspaceWrite => {}
        // Nothing is written in the one; the other has no boundary that could be switched off.
        Mode::ReadOnly | Mode::FullAccess => return Ok(()),
    }
    let way = follow(path).map_err(|source| OwnFileError::Resolve {
        path: path.to_owned(),
        source,
    })?;
    let roots = roots(policy);
    for link in &way.links {
        if let Some(root) = roots.iter().find(|root| is_open(policy, root, link)) {
            return Err(OwnFileError::LinkInRoot {
                file,
                path: path.to_owned(),
                link: link.clone(),
                root: root.clone(),
            });
        }
    }
    if let Some(root) = roots.iter().find(|root| is_open(policy, root, &way.end)) {
        return Err(OwnFileError::InRoot {
            file,
            path: way.end,
            root: root.clone(),
        });
    }
    match other_names(&way.end) {
        Some(names) => Err(OwnFileError::OtherNames {
            file,
            path: way.end,
            names,
        }),
        None => Ok(()),
    }
}

/// The roots as they are named and as they really are.
fn roots(policy: &Policy) -> Vec<PathBuf> {
    let named = policy.filesystem.writable_roots.iter();
    let named = std::iter::once(&policy.workspace).chain(named.map(|root| &root.value));
    let both = |root: &AbsolutePath| {
        let named = root.as_path().to_owned();
        let real = crate::paths::real(&named).ok();
        std::iter::once(named).chain(real)
    };
    named.flat_map(both).collect()
}

/// Whether `path` lies below `root` and below no name that is protected at its top.
fn is_open(policy: &Policy, root: &Path, path: &Path) -> bool {
    let inside = match path.strip_prefix(root) {
        Ok(inside) if !inside.as_os_str().is_empty() => inside,
        // The root itself is nothing that a command could replace.
        Ok(_) | Err(_) => return false,
    };
    let is_protected = |name: &str| match (name, policy.filesystem.git.value) {
        (".git", GitAccess::Commit | GitAccess::Full) => false,
        (name, _) => inside.starts_with(name),
    };
    let names = &policy.filesystem.protected;
    !names.iter().any(|name| is_protected(&name.value))
}

/// Where a path leads.
struct Way {
    /// The real path; what does not exist as it was named.
    end: PathBuf,
    /// The links that were followed, by their own places.
    links: Vec<PathBuf>,
}

#[cfg(target_os = "linux")]
fn follow(path: &Path) -> io::Result<Way> {
    let (end, links) =
        ringfence_linux::observe::follow(&std::path::absolute(path)?).map_err(io::Error::other)?;
    Ok(Way { end, links })
}

/// Where links can't be followed one by one, the path as it was named counts as one: both ends are looked at.
#[cfg(not(target_os = "linux"))]
fn follow(path: &Path) -> io::Result<Way> {
    let named = std::path::absolute(path)?;
    let real = match crate::paths::real(&named) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match (named.parent(), named.file_name()) {
                (Some(parent), Some(name)) => crate::paths::real(parent)
                    .map_or_else(|_| named.clone(), |parent| parent.join(name)),
                _ => named.clone(),
            }
        }
        Err(error) => return Err(error),
    };
    let links = if real == named {
        Vec::new()
    } else {
        vec![named]
    };
    Ok(Way { end: real, links })
}

/// How many names a regular file has that the caller, and so a command, may write or may make writable; `None` where it
/// is one.
#[cfg(unix)]
fn other_names(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::symlink_metadata(path).ok()?;
    let several = metadata.is_file() && metadata.nlink() > 1;
    // An owner gives itself by chmod(2) what the mode denies.
    let is_owner = metadata.uid() == rustix::process::geteuid().as_raw();
    let writable = || rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    (several && (is_owner || writable())).then(|| metadata.nlink())
}

/// Not asked there.
#[cfg(not(unix))]
const fn other_names(_path: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
