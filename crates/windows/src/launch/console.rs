//! The small program between the runner and a command with a terminal.
//!
//! A pseudo-console's host is started by whoever makes the console, with that process's token. The runner must not:
//! its host would have an unrestricted token beside a hostile program that talks to it. So a process that already has
//! a target's token, in the target's job, makes the console and starts the command on it. It is as confined as the
//! command, which may do with it what it likes.
//!
//! Invariant: [`host_console`] gets its orders from the handle in place of standard error, and nothing else.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Write as _};
use std::os::windows::io::{AsHandle as _, BorrowedHandle};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use ringfence_backend::command::TerminalSize;
use ringfence_backend::frame::{Format, FrameError, ReadError};
use ringfence_backend::windows::runner::InterruptKey;
use serde::{Deserialize, Serialize};

use super::interrupt::{INTERRUPT_ROLE, Interrupt};
use crate::sys::console::{ConsoleSize, PseudoConsole};
use crate::sys::process::{Arguments, Child, Command, Standard, StartError, start_suspended};
use crate::sys::{CallError, handle};

/// The argument that makes the runner's program such a host.
pub const CONSOLE_ROLE: &str = "--console";

/// The program that hosts a session's consoles and types on them, and what makes it do either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleHost {
    /// By absolute path.
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) interrupting: Vec<OsString>,
}

impl ConsoleHost {
    /// The runner's program, by absolute path, in that role.
    #[must_use]
    pub fn of_runner(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            arguments: vec![OsString::from(CONSOLE_ROLE)],
            interrupting: vec![OsString::from(INTERRUPT_ROLE)],
        }
    }
}

const FORMAT: Format = Format {
    version: 1,
    max_body: 256 << 10,
};

/// From the runner to the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum ConsoleOrder {
    /// Make a console of this size and start the command on it. The first order, once.
    Start {
        program: OsString,
        line: Line,
        size: TerminalSize,
    },
    /// The console has another size.
    Resize(TerminalSize),
    /// Type this on the console, with the host's own program as these arguments make it.
    Interrupt(InterruptKey, Vec<OsString>),
}

/// How the command's arguments are put together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Line {
    /// As for any program.
    Plain(Vec<OsString>),
    /// For `cmd.exe`: a batch file and its arguments.
    Batch(OsString, Vec<OsString>),
}

impl Line {
    pub(super) fn arguments(&self) -> Arguments<'_> {
        match self {
            Self::Plain(all) => Arguments::Plain(all),
            Self::Batch(script, all) => Arguments::Batch(script, all),
        }
    }
}

/// The runner's end of the way to a host.
#[derive(Debug)]
pub(super) struct ConsoleLine(PipeWriter);

impl ConsoleLine {
    /// A new way, with the host's end.
    pub(super) fn new() -> io::Result<(Self, PipeReader)> {
        let (theirs, ours) = io::pipe()?;
        Ok((Self(ours), theirs))
    }

    /// Tells the host what to start.
    pub(super) fn start(
        &mut self,
        program: OsString,
        line: Line,
        size: TerminalSize,
    ) -> Result<(), FrameError> {
        let mut frame = Vec::new();
        let order = ConsoleOrder::Start {
            program,
            line,
            size,
        };
        FORMAT.encode(&order, &mut frame)?;
        // A host that is gone reads nothing; its end is seen by who waits for it.
        let _ = self.0.write_all(&frame);
        Ok(())
    }

    /// Tells the host another size.
    pub(super) fn resize(&mut self, size: TerminalSize) {
        self.tell(&ConsoleOrder::Resize(size));
    }

    /// Tells the host what to type, and how its own program does that.
    pub(super) fn interrupt(&mut self, key: InterruptKey, host: &ConsoleHost) {
        self.tell(&ConsoleOrder::Interrupt(key, host.interrupting.clone()));
    }

    fn tell(&mut self, order: &ConsoleOrder) {
        let mut frame = Vec::new();
        if FORMAT.encode(order, &mut frame).is_ok() {
            let _ = self.0.write_all(&frame);
        }
    }
}

/// Why a host started nothing.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// A standard handle is missing.
    #[error("take the standard handles")]
    Handles(#[source] io::Error),
    /// The first order did not come.
    #[error("read the first order")]
    Order(#[source] ReadError),
    /// It was another, or none.
    #[error("the first order is not to start a command")]
    OutOfOrder,
    /// The console could not be made.
    #[error("make the console")]
    Console(#[source] CallError),
    /// The command could not be started.
    #[error("start the command")]
    Start(#[source] StartError),
    /// The command could not be let run or waited for.
    #[error("wait for the command")]
    Wait(#[source] CallError),
}

/// Makes a console on the standard input and output, starts the command on it that the orders name, and waits for
/// its end. Answers its exit status.
///
/// # Errors
/// [`ConsoleError`].
pub fn host_console() -> Result<u32, ConsoleError> {
    let own = |stream: BorrowedHandle<'_>| {
        let handle = stream.try_clone_to_owned();
        handle.map_err(ConsoleError::Handles)
    };
    let input = own(io::stdin().as_handle())?;
    let output = own(io::stdout().as_handle())?;
    let mut orders = File::from(own(io::stderr().as_handle())?);
    let first = FORMAT.read(&mut orders).map_err(ConsoleError::Order)?;
    let Some(ConsoleOrder::Start {
        program,
        line,
        size,
    }) = first
    else {
        return Err(ConsoleError::OutOfOrder);
    };
    let console = PseudoConsole::new(sides(size), input.as_handle(), output.as_handle())
        .map_err(ConsoleError::Console)?;
    // The console's host has its own; who reads the screen must see its end when the console is closed.
    drop((input, output));
    let child = start(&console, &program, &line)?;
    child.resume().map_err(ConsoleError::Wait)?;
    let process = child.id();
    let console = Arc::new(Mutex::new(Some(console)));
    let resized = Arc::clone(&console);
    // Ends with the process: nobody waits for an order that may never come.
    std::thread::spawn(move || follow(orders, &resized, process));
    let code = child.wait(None).map_err(ConsoleError::Wait)?;
    // Closed before this process ends: what is still on the screen is written out first.
    drop(
        console
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(),
    );
    Ok(code.unwrap_or(u32::MAX))
}

fn start(console: &PseudoConsole, program: &OsString, line: &Line) -> Result<Child, ConsoleError> {
    // The host was started with the command's own variables and directory.
    let environment: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| !name.as_encoded_bytes().contains(&b'='))
        .collect();
    let directory = std::env::current_dir().map_err(ConsoleError::Handles)?;
    for stream in [io::stdin().as_handle(), io::stdout().as_handle()] {
        // The list of handles is not used here: nothing may be inherited by flag either.
        let _ = handle::set_inheritance(stream, handle::Inheritance::None);
    }
    let command = Command {
        program,
        arguments: line.arguments(),
        environment: &environment,
        directory: directory.as_os_str(),
        desktop: None,
        standard: Standard::Console(console),
        token: None,
        jobs: &[],
    };
    start_suspended(&command).map_err(ConsoleError::Start)
}

/// Carries orders out until there are no more; how often the console was asked to take another size.
pub(super) fn follow(
    mut orders: impl io::Read,
    console: &Mutex<Option<PseudoConsole>>,
    process: u32,
) -> u32 {
    let mut resized = 0;
    while let Ok(Some(order)) = FORMAT.read(&mut orders) {
        match order {
            ConsoleOrder::Start { .. } => break,
            ConsoleOrder::Resize(size) => {
                let console = console.lock().unwrap_or_else(PoisonError::into_inner);
                let done = console.as_ref().map(|console| console.resize(sides(size)));
                // One that refuses keeps its old size: the command runs on.
                resized += u32::from(done.is_some());
            }
            ConsoleOrder::Interrupt(key, role) => interrupt(Interrupt { key, process }, role),
        }
    }
    resized
}

/// Starts this program to type on a console; where it can't, the person has the console's own keyboard still.
fn interrupt(order: Interrupt, role: Vec<OsString>) {
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let typist = std::process::Command::new(program)
        .args(role)
        .args(order.arguments())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Ok(mut typist) = typist {
        let _ = typist.wait();
    }
}

pub(super) const fn sides(size: TerminalSize) -> ConsoleSize {
    ConsoleSize {
        rows: size.rows,
        columns: size.columns,
    }
}
