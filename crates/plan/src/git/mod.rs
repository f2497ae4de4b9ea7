//! What the files of repositories say: where their parts lie, and what git would run because of them.
//!
//! Git itself is never run. Everything is read through a [`Disk`], which each system brings: this module decides what is
//! asked for, and what an answer means.
//!
//! Invariant: a broken repository is no error, and a directory that can't be looked into is no empty one.
//!
//! # Security
//! Every file of a repository is an attacker's. A `.git` file can name anybody's repository: it counts as the working
//! tree's own only if that repository names the tree in turn, and no link was followed on the way.

pub mod config;
mod directories;
mod references;
mod words;

use std::path::{Path, PathBuf};

use crate::layout::{Entry, Kind};

pub use directories::{bare, layout};
pub use references::{Root, references};

/// A file system as far as repositories are read from it; nothing is changed.
///
/// What is absent, or what the person may not see, is no error.
///
/// # Errors
/// Every method: the system's own.
#[expect(
    clippy::missing_errors_doc,
    reason = "one sentence above says it for all"
)]
pub trait Disk {
    /// A place on it.
    type Path: Clone + Ord;
    /// Why it can't be read.
    type Error;

    /// `name`, one component, in `directory`; `None` where nothing can be called so.
    fn below(&self, directory: &Self::Path, name: &str) -> Option<Self::Path>;
    /// The directory that `path` lies in; `None` for a root.
    fn above(&self, path: &Self::Path) -> Option<Self::Path>;
    /// Whether `path` is `directory` or lies below it.
    fn is_within(&self, path: &Self::Path, directory: &Self::Path) -> bool;
    /// `path` as git's configuration would write it.
    fn written(&self, path: &Self::Path) -> PathBuf;

    /// Where `path` leads, every link followed; `None` where that is no place on this disk.
    fn resolve(&mut self, path: &Self::Path) -> Result<Option<Place<Self::Path>>, Self::Error>;
    /// Where `value`, a path in a file of git's and never empty, leads from `base`.
    fn follow(
        &mut self,
        base: &Self::Path,
        value: &[u8],
    ) -> Result<Option<Place<Self::Path>>, Self::Error>;
    /// What stands at `path`, whose directory part is resolved first; returns the path with that part resolved.
    fn probe(&mut self, path: &Self::Path) -> Result<Probed<Self::Path>, Self::Error>;
    /// [`Disk::probe`] for every place that a path of git's configuration may mean.
    fn probe_written(&mut self, written: &Path) -> Result<Vec<Probed<Self::Path>>, Self::Error>;
    /// The directories in `directory`, links left out, sorted: none where it is absent, `None` where it can't be listed.
    fn directories(
        &mut self,
        directory: &Self::Path,
    ) -> Result<Option<Vec<Self::Path>>, Self::Error>;
    /// A small file of git's, `None` where git would read none.
    fn read(&mut self, file: &Self::Path, links: Links) -> Result<Option<Vec<u8>>, Self::Error>;
    /// Every configuration file that `written` may mean, links followed, each with the directory that it is written to
    /// lie in.
    fn configuration(&mut self, written: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, Self::Error>;
}

/// A path whose directory part is resolved, and what stands there.
pub type Probed<P> = (P, Entry<P>);

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<P> {
    /// The resolved path; what does not exist is appended as it was written.
    pub path: P,
    /// Whether a link was followed on the way.
    pub links: Links,
    /// What is there, if anything is.
    pub kind: Option<Kind>,
}

/// What of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// None was, or is to be, followed.
    Refused,
    /// They were, or are to be.
    Followed,
}

#[cfg(test)]
mod tests;
