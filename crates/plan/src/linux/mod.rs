//! The plan for Linux.

pub mod facts;
pub mod landlock;
