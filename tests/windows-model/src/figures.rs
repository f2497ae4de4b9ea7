//! What the tests counted, for whoever runs them: printed, and added to the file that `RINGFENCE_FIGURES` names.
//!
//! `cargo xtask verify-windows-model` adds them up. Invariant: a figure is one line, its fields apart by tabs, the
//! first field its kind.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;

use crate::search::Report;

/// The environment variable that names the file.
pub const FILE: &str = "RINGFENCE_FIGURES";
/// The environment variable that asks for the long searches, if it is `full`.
pub const SIZE: &str = "RINGFENCE_MODEL";

/// How long the tests may search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Seconds, without optimisation: what `cargo test` does.
    Short,
    /// Minutes, optimised.
    Full,
}

impl Size {
    /// What the environment asks for.
    #[must_use]
    pub fn asked() -> Self {
        match env::var(SIZE).as_deref() {
            Ok("full") => Self::Full,
            Ok(_) | Err(_) => Self::Short,
        }
    }

    /// One or the other.
    #[must_use]
    pub fn of<T>(self, short: T, full: T) -> T {
        match self {
            Self::Short => short,
            Self::Full => full,
        }
    }
}

/// Prints what a search saw and adds its counts to the file.
#[expect(
    clippy::print_stdout,
    reason = "counterexamples are for whoever runs the tests"
)]
pub fn record_search(report: &Report) {
    println!("{report}");
    let broken: Vec<String> = report.broken.keys().map(ToString::to_string).collect();
    record(&[
        "search",
        &report.world,
        &format!("{:?}", report.class),
        &report.states.to_string(),
        &report.operations.to_string(),
        &report.depth.to_string(),
        &format!("{:?}", report.extent),
        &broken.join("; "),
    ]);
}

/// Prints a figure and adds it to the file.
///
/// # Panics
/// The file can't be written: a figure that is lost would look like a test that never ran.
#[expect(
    clippy::print_stdout,
    reason = "figures are for whoever runs the tests"
)]
pub fn record(fields: &[&str]) {
    let line = fields
        .iter()
        .map(|field| field.replace(['\t', '\n'], " "))
        .collect::<Vec<String>>()
        .join("\t");
    println!("{line}");
    let Some(path) = env::var_os(FILE) else {
        return;
    };
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .unwrap_or_else(|error| panic!("can't write {}: {error}", path.display()));
}
