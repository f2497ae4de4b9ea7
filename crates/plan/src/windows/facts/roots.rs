//! Directories that the policy names, and those that programs are started from.
//!
//! Invariant: a fact states what was seen; no field holds a decision.

use serde::{Deserialize, Serialize};

use crate::layout::{Anchor, GitDirectory};
use crate::windows::path::WindowsPath;

/// One directory that the policy names as workspace or writable root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowsRoot {
    /// The path as it was named; not resolved, perhaps no drive path.
    pub named: String,
    /// What it leads to.
    pub reached: Reached,
    /// Reparse points and substituted drives that were followed from `named`, by their own places.
    pub links: Vec<WindowsPath>,
    /// The root's top and the top of each repository in it, top first.
    pub anchors: Vec<Anchor<WindowsPath>>,
    /// Git directories without a working tree, found by what they hold.
    #[serde(default)]
    pub bare: Vec<GitDirectory<WindowsPath>>,
    /// Other volumes mounted inside, by their mount points.
    pub mounts: Vec<WindowsPath>,
    /// Files with a name outside this root.
    pub outside_links: Vec<WindowsPath>,
    /// Objects in closed directories of this root whose list is not exactly what their directory gives.
    #[serde(default)]
    pub astray: Vec<WindowsPath>,
    /// Directories that could not be read: what lies in them is not judged.
    pub unread: Vec<WindowsPath>,
}

impl WindowsRoot {
    /// The final path, where it is a directory on a drive.
    #[must_use]
    pub fn path(&self) -> Option<WindowsPath> {
        match &self.reached {
            Reached::Directory { path } => Some(path.clone()),
            Reached::Absent | Reached::File | Reached::Elsewhere { .. } => None,
        }
    }
}

/// What the name of a root leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    /// Nothing is there.
    Absent,
    /// A file.
    File,
    /// A directory on a drive.
    Directory {
        /// The final path.
        path: WindowsPath,
    },
    /// Something that is on no drive of this machine.
    Elsewhere {
        /// The final path, as the system tells it.
        path: String,
        /// What it is.
        what: Elsewhere,
    },
}

/// What a path that leads off this machine's drives is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Elsewhere {
    /// A share of another machine, by UNC or by a mapped drive.
    Network,
    /// A WSL distribution.
    Wsl,
    /// A device, or a volume without a drive letter.
    Device,
}

/// A directory that holds programs which commands start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDirectory {
    /// Its final path.
    pub path: WindowsPath,
    /// Why it is needed: the entry of PATH as written, or the shim that leads there.
    pub origin: String,
    /// Whether it is on PATH itself.
    pub found: ToolFound,
    /// Whether the person has agreed that sandboxed commands may read it.
    pub consent: Consent,
}

/// How a tool directory was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolFound {
    /// It is on PATH.
    Path,
    /// A shim on PATH starts programs in it: rustup, nvm, pyenv, Volta, scoop.
    Shim,
}

/// Whether a person has agreed to something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consent {
    /// They have.
    Given,
    /// They have not been asked, or have refused.
    #[default]
    Missing,
}

/// A shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shell {
    /// What it is called: `pwsh`.
    pub name: String,
    /// The executable; an alias of the Store is resolved to what it starts.
    pub path: WindowsPath,
}
