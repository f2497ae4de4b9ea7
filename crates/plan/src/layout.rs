//! What stands at names: entries, repositories and secrets, as every system's facts tell them.
//!
//! `P` is the system's path; a field says whether it is resolved.
//!
//! Invariant: a fact states what was seen; no field holds a decision.

use serde::{Deserialize, Serialize};

use ringfence_policy::AbsolutePath;

/// What kind of file something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A socket, a FIFO or a device.
    Other,
}

/// What stands at a name; the last component is not followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry<P = AbsolutePath> {
    /// Nothing, in a directory that exists.
    Absent,
    /// Nothing, and the directory it would lie in is missing too.
    AbsentParent {
        /// The deepest directory above it that exists.
        existing: P,
    },
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A socket, a FIFO or a device.
    Other,
    /// A symbolic link, or a junction.
    Symlink {
        /// Where it leads, as far as that resolves.
        target: P,
        /// What is there; `None` for a dangling link or one that goes in a circle.
        kind: Option<Kind>,
    },
}

/// A directory at whose top names are protected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor<P = AbsolutePath> {
    /// The directory.
    pub path: P,
    /// What stands at each of the policy's protected names and at `.git`.
    pub names: Vec<NameFact<P>>,
    /// The repository's layout, where `.git` leads to one.
    pub git: Option<GitLayout<P>>,
}

/// What stands at a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameFact<P = AbsolutePath> {
    /// The name, relative to its anchor.
    pub name: String,
    /// What is there.
    pub entry: Entry<P>,
}

/// Where a repository keeps its parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitLayout<P = AbsolutePath> {
    /// The git directory of this working tree.
    pub directory: P,
    /// The directory shared by all working trees; the same as `directory` in an ordinary repository.
    pub common: P,
    /// Whether the git directory names this working tree in turn, with no link on the way.
    pub back_link: BackLink,
    /// Git directories whose inside matters to `git = "commit"`; empty under other settings.
    pub directories: Vec<GitDirectory<P>>,
}

/// Whether a git directory that lies elsewhere names the working tree that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackLink {
    /// It does, or it lies in the working tree's own `.git`.
    Mutual,
    /// It does not: whoever wrote the `.git` file may have chosen somebody else's repository.
    OneSided,
}

/// One git directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitDirectory<P = AbsolutePath> {
    /// Where it is.
    pub path: P,
    /// What it is to the working tree.
    pub role: GitRole,
    /// What stands at the names that run something on the host; empty for what is closed whole.
    pub names: Vec<NameFact<P>>,
}

/// What a git directory is to a working tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GitRole {
    /// Its own, or the common one.
    Own,
    /// That of another working tree of the same repository: closed whole.
    OtherWorktree,
    /// A place of submodules or working trees that could not be looked into: closed whole.
    Unread,
    /// That of a submodule, at any depth below `modules`.
    Module,
    /// A repository of its own, without a working tree.
    Bare,
}

/// What a hidden path or pattern of the policy matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HiddenFact<P = AbsolutePath> {
    /// The name of the policy's entry.
    pub name: String,
    /// The path as it was named or found; its directory part is resolved where it exists.
    pub path: P,
    /// What is there.
    pub entry: Entry<P>,
    /// What exists of the policy entry's exceptions below it; never a symbolic link.
    pub shown: Vec<Child<P>>,
    /// What else lies in a directory that shows something; in part, where it is much.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<Child<P>>,
}

/// A path inside a root that git configuration leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitReference<P = AbsolutePath> {
    /// The configuration key: `core.hookspath`.
    pub key: String,
    /// The path.
    pub path: P,
    /// What is there.
    pub entry: Entry<P>,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child<P = AbsolutePath> {
    /// Its path.
    pub path: P,
    /// Its kind.
    pub kind: Kind,
}
