//! Text for a person: tables, denials, colours. Pure but for the question whether a stream is a terminal.
//!
//! Invariant: text that comes from a target or a repository passes [`escape::printable`] before it is printed.

pub(crate) mod denials;
pub(crate) mod escape;
pub(crate) mod policy;
pub(crate) mod report;
pub(crate) mod style;
pub(crate) mod table;
