//! Finds the oracles (other implementations of NT access control) and starts them.
//!
//! They are not part of the project: they lie where `RINGFENCE_ORACLES` points, or beside the checkout. Invariant:
//! absent oracles are a [`Skip`], which says where it looked; oracles that were named and do not work are an error.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The environment variable that names the folder of the oracles.
pub const VARIABLE: &str = "RINGFENCE_ORACLES";

/// Where the oracles lie, seen from the root of a checkout.
const BESIDE_THE_CHECKOUT: &str = "../shared/oracles";

/// The exit status with which an oracle says that this machine can't run it.
pub const CAN_NOT_RUN: i32 = 3;

/// The folder of the oracles.
#[derive(Clone, Debug)]
pub struct Oracles {
    folder: PathBuf,
    named: Named,
}

/// How the folder was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// Somebody named it: then it has to work.
    Variable,
    /// It happens to be there.
    Found,
}

/// Why nothing was compared.
#[derive(Debug)]
pub struct Skip {
    reason: String,
}

impl fmt::Display for Skip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SKIPPED, nothing compared: {}", self.reason)
    }
}

/// An oracle that does not work.
#[derive(Debug, thiserror::Error)]
pub enum OracleError {
    /// The variable names a folder that is none.
    #[error("{VARIABLE} names {}, which is no folder; name the folder of the oracles or unset it", .0.display())]
    Folder(PathBuf),
    /// It did not start.
    #[error("can't start {}", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It could not be written to or read from.
    #[error("can't talk to {}", .program.display())]
    Talk {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// This machine can't run it, though it was named.
    #[error("{} says that this machine can't run it: {detail}", .program.display())]
    CanNotRun {
        /// The program.
        program: PathBuf,
        /// Its words.
        detail: String,
    },
    /// It ended otherwise than expected.
    #[error("{} ended with {status}: {detail}", .program.display())]
    Ended {
        /// The program.
        program: PathBuf,
        /// How.
        status: ExitStatus,
        /// Its words.
        detail: String,
    },
    /// It said something that is no answer.
    #[error("answer {number} of the oracle is not understood: {line}")]
    Answer {
        /// Which, from 0.
        number: u64,
        /// The beginning of what it said.
        line: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A stage could not be played.
    #[error("the server could not play {stage}: {error}")]
    Stage {
        /// Which.
        stage: String,
        /// Its words.
        error: String,
    },
    /// It said less than it was asked.
    #[error("the oracle gave {given} answers to {asked} questions")]
    Silent {
        /// Questions.
        asked: u64,
        /// Answers.
        given: u64,
    },
}

/// What looking for the oracles, or running one, came to.
#[derive(Debug)]
pub enum Ran<T> {
    /// It ran; the result.
    Done(T),
    /// It could not run here.
    Skipped(Skip),
}

impl Oracles {
    /// Looks for the folder.
    ///
    /// # Errors
    /// [`OracleError::Folder`] if somebody named one that is not there.
    pub fn find() -> Result<Ran<Self>, OracleError> {
        if let Some(folder) = std::env::var_os(VARIABLE).map(PathBuf::from) {
            if !folder.is_dir() {
                return Err(OracleError::Folder(folder));
            }
            return Ok(Ran::Done(Self {
                folder,
                named: Named::Variable,
            }));
        }
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folder = checkout.join(BESIDE_THE_CHECKOUT);
        if folder.is_dir() {
            return Ok(Ran::Done(Self {
                folder,
                named: Named::Found,
            }));
        }
        let reason = format!("{VARIABLE} is not set and there is no {BESIDE_THE_CHECKOUT}");
        Ok(Ran::Skipped(Skip { reason }))
    }

    /// A file of the oracles.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.join(relative)
    }

    /// Starts one of them with all its streams as pipes.
    ///
    /// # Errors
    /// [`OracleError::Start`].
    pub fn start(&self, relative: &str, arguments: &[&str]) -> Result<Child, OracleError> {
        let program = self.path(relative);
        Command::new(&program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| OracleError::Start { program, source })
    }

    /// What "this machine can't run it" means: a skip, unless somebody named the oracles.
    ///
    /// # Errors
    /// [`OracleError::CanNotRun`].
    pub fn can_not_run<T>(&self, relative: &str, detail: &str) -> Result<Ran<T>, OracleError> {
        let program = self.path(relative);
        let detail = detail.trim().to_owned();
        match self.named {
            Named::Variable => Err(OracleError::CanNotRun { program, detail }),
            Named::Found => {
                let reason = format!("{} can't run here: {detail}", program.display());
                Ok(Ran::Skipped(Skip { reason }))
            }
        }
    }
}
