//! One command of a session: what is asked, and how it ended.

use std::ffi::OsString;

use ringfence_policy::AbsolutePath;
use serde::{Deserialize, Serialize};

/// A command's number within its session, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CommandId(pub u64);

/// What one of the three standard streams is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// The next descriptor that travels with the request: a pipe or a file that the harness has checked.
    Descriptor,
    /// The session's own pseudo-terminal; its other side travels back with [`crate::wire::Event::Started`].
    Terminal,
    /// `/dev/null`.
    Null,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Rows of characters.
    pub rows: u16,
    /// Columns of characters.
    pub columns: u16,
}

/// What becomes of the session when a command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Afterwards {
    /// It ends too, without being asked, with all that the command left running.
    End,
    /// It stays for the next command.
    Stay,
}

/// A command to start inside the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRequest {
    /// Its number.
    pub id: CommandId,
    /// The program (a path with a slash, or a name searched in the command's own PATH) and its arguments.
    pub arguments: Vec<OsString>,
    /// All its variables.
    pub environment: Vec<(OsString, OsString)>,
    /// The directory it starts in, opened again inside.
    pub directory: AbsolutePath,
    /// Standard input, output and error.
    pub streams: [Stream; 3],
    /// The terminal's size, where a stream is one.
    pub terminal: Option<TerminalSize>,
    /// The caller's file mode creation mask.
    pub umask: u32,
    /// Signals (by number) that the caller ignores and the command shall ignore too.
    pub ignored_signals: Vec<i32>,
    /// Milliseconds after which it is ended.
    pub time_limit: Option<u64>,
    /// What becomes of the session then.
    pub afterwards: Afterwards,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// By itself, with this status.
    Exited(u8),
    /// By this signal.
    Signalled(i32),
    /// It ran into its time limit.
    TimeLimit,
    /// The session ran into its memory limit.
    MemoryLimit,
    /// The session ran into its limit on processes, where only init can hold it.
    ProcessLimit,
    /// The program was not found.
    NotFound,
    /// The program was found and could not be executed, with the system's error number.
    NotExecutable(i32),
}

/// What is known of a command that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// User plus system time of the command and its reaped children, in microseconds.
    pub cpu_microseconds: u64,
}
