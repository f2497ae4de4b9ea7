//! Where repositories keep their parts, and what git configuration leads to. Git itself is never run.
//!
//! # Security
//! Every file of a repository is an attacker's. A `.git` file can name anybody's repository: it counts as the working
//! tree's own only if that repository names the tree in turn, and no link was followed on the way.

mod config;
mod layout;

pub(super) use config::references;
pub(super) use layout::{bare, layout};
