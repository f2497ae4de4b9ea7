//! The table of calls that change something at a path, on Windows: the attack, and what it is tried on.
//!
//! Each row runs without the boundary (its control), where it must be refused, and in the workspace (its sibling).

use std::path::{Path, PathBuf};

use super::fixture::{ORIGINAL, make, write};
use crate::checks::Failure;

/// Whether the same call works inside, in the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sibling {
    /// It must.
    Works,
    /// It is refused everywhere: who may change a list or an owner may change the boundary.
    Refused,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name, and that of the directory in which its objects lie.
    pub name: &'static str,
    /// The attack's words; those in braces stand for objects.
    pub words: &'static str,
    /// Codes by which a volume says that it has no such thing.
    pub lacks: &'static [i32],
    /// What the sibling must do.
    pub sibling: Sibling,
}

const fn row(name: &'static str, words: &'static str) -> Row {
    Row {
        name,
        words,
        lacks: &[],
        sibling: Sibling::Works,
    }
}

const fn never(name: &'static str, words: &'static str) -> Row {
    Row {
        sibling: Sibling::Refused,
        ..row(name, words)
    }
}

/// Every row.
pub const ROWS: &[Row] = &[
    row("create", "create {absent}"),
    row("make-directory", "make-directory {absent}"),
    row("write", "write {file}"),
    row("append", "append {file}"),
    row("truncate", "truncate {file}"),
    row("delete", "delete {file}"),
    row("remove-directory", "remove-directory {directory}"),
    row("rename", "rename {file} {absent}"),
    row("rename-directory", "rename {directory} {absent}"),
    row("rename-out", "rename {file} {mine-absent}"),
    row("rename-in", "rename {mine} {absent}"),
    row("replace", "rename {mine} {file}"),
    row("hard-link-of", "link {file} {mine-absent}"),
    row("hard-link-into", "link {mine} {absent}"),
    row("set-times", "set-times {file}"),
    row("set-attributes", "set-attributes {file}"),
    Row {
        // ERROR_FILE_NOT_FOUND, ERROR_INVALID_NAME: a volume without streams.
        lacks: &[2, 123],
        ..row("write-stream", "write-stream {file}")
    },
    row("right-to-write", "open {file} 0x2"),
    row("right-to-write-extended-attributes", "open {file} 0x10"),
    row("right-to-write-attributes", "open {file} 0x100"),
    row("right-to-delete", "open {file} 0x10000"),
    row("right-to-add-a-file", "open {directory} 0x2"),
    row("right-to-add-a-directory", "open {directory} 0x4"),
    never("right-to-set-the-list", "open {file} 0x40000"),
    never("right-to-set-the-owner", "open {file} 0x80000"),
    never("right-to-set-a-directorys-list", "open {directory} 0x40000"),
    never(
        "right-to-set-a-directorys-owner",
        "open {directory} 0x80000",
    ),
];

/// Where a row's objects are.
#[derive(Clone, Debug)]
pub struct Objects {
    place: PathBuf,
    mine: PathBuf,
}

impl Objects {
    /// Makes the objects of `row` below `place`, and the attacker's own below `mine`.
    ///
    /// # Errors
    /// [`Failure::System`] with what could not be made.
    pub fn make(row: &Row, place: &Path, mine: &Path) -> Result<Self, Failure> {
        let objects = Self {
            place: place.join(row.name),
            mine: mine.join(row.name),
        };
        make(&objects.place.join("directory"))?;
        write(&objects.place.join("file"), ORIGINAL)?;
        write(&objects.mine.join("mine"), ORIGINAL)?;
        Ok(objects)
    }

    /// The attack's words.
    #[must_use]
    pub fn words(&self, row: &Row) -> Vec<String> {
        row.words.split(' ').map(|word| self.fill(word)).collect()
    }

    fn fill(&self, word: &str) -> String {
        let path = match word {
            "{file}" => self.place.join("file"),
            "{directory}" => self.place.join("directory"),
            "{absent}" => self.place.join("absent"),
            "{mine}" => self.mine.join("mine"),
            "{mine-absent}" => self.mine.join("absent"),
            word => return word.to_owned(),
        };
        path.to_string_lossy().into_owned()
    }
}
