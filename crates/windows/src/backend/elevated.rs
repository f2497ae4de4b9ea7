//! Asking the elevated program: one request, one question to the person, one receipt.
//!
//! The request's file may be changed by whoever runs as the person, so what the person has consented to stands on the
//! command line, by its hash. Invariant: a receipt counts only from the process that was started.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read as _};
use std::os::windows::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::windows::io::AsHandle as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ringfence_backend::windows::{
    MAX_RECEIPT, PLAN_ARGUMENT, RECEIPT_ARGUMENT, REQUEST_ARGUMENT, REQUEST_VERSION, SETUP_PROGRAM,
    SetupReceipt, SetupRequest, SetupVerb,
};
use ringfence_nt::{AccessMask, Ace, AceFlags, Acl, SecurityDescriptor, Sid};
use ringfence_plan::windows::machine::Subject;

use super::person::PersonFiles;
use crate::command_line;
use crate::sys::handle::{Waited, wait};
use crate::sys::pipe::{Connection, PipeName, PipeServer};
use crate::sys::{CallError, elevate};

/// How long the elevated program may take, in milliseconds: an uninstall waits for logon sessions to end.
const PATIENCE: u32 = 15 * 60 * 1000;
/// How long a receipt may take that was sent before the program ended.
const LATE: Duration = Duration::from_secs(3);

/// Why there is no receipt.
#[derive(Debug, thiserror::Error)]
pub enum ElevateError {
    /// The program is not beside this one.
    #[error("`{path}` is missing; install Ringfence again, all programs in one directory")]
    Program {
        /// Where it should be.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The request could not be written.
    #[error("the request `{path}` could not be written")]
    Request {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Paths can't be put on a command line.
    #[error("the elevated program's command line can't be made")]
    CommandLine(#[source] command_line::CommandLineError),
    /// The pipe for the receipt could not be made.
    #[error("the pipe for the receipt could not be made")]
    Pipe(#[source] CallError),
    /// It was not started: above all, the person said no.
    #[error("the elevated program was not started")]
    Start(#[source] CallError),
    /// Another process connected.
    #[error("process {found} answered in place of the elevated program, process {expected}")]
    Stranger {
        /// The elevated program's.
        expected: u32,
        /// The one that came.
        found: u32,
    },
    /// It ended without a receipt.
    #[error("the elevated program ended without a receipt")]
    NoReceipt(#[source] io::Error),
    /// What it sent is no receipt.
    #[error("the elevated program's receipt can't be read")]
    Receipt(#[source] serde_json::Error),
}

/// Asks the elevated program to do `verb` for `subject`, whose steps have the hash `plan`; `more` are the verb's own
/// arguments.
///
/// # Errors
/// [`ElevateError`].
pub fn ask(
    verb: SetupVerb,
    subject: &Subject,
    plan: &str,
    more: &[OsString],
    files: &PersonFiles,
) -> Result<SetupReceipt, ElevateError> {
    let request = write_request(subject, plan, files)?;
    let answered = ask_with(&request, verb, (subject.person, plan), more);
    // Nobody reads it again; where it stays the next one is written over it.
    let _ = fs::remove_file(request);
    answered
}

/// Starts the program with this request, and waits for its receipt.
fn ask_with(
    request: &Path,
    verb: SetupVerb,
    (person, plan): (Sid, &str),
    more: &[OsString],
) -> Result<SetupReceipt, ElevateError> {
    let program = program()?;
    let name = PipeName::random().map_err(ElevateError::Pipe)?;
    let server = PipeServer::new(name.clone(), &descriptor(person)).map_err(ElevateError::Pipe)?;
    let mut arguments = vec![
        OsString::from(verb.word()),
        OsString::from(REQUEST_ARGUMENT),
        request.as_os_str().to_owned(),
        OsString::from(PLAN_ARGUMENT),
        OsString::from(plan),
        OsString::from(RECEIPT_ARGUMENT),
        OsString::from(name.as_str()),
    ];
    arguments.extend_from_slice(more);
    let parameters = parameters(&program, &arguments)?;
    let directory = program
        .parent()
        .map_or(OsStr::new("."), |path| path.as_os_str());
    let (process, id) =
        elevate::start(program.as_os_str(), &parameters, directory).map_err(ElevateError::Start)?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let _ = sender.send(receipt(server, id));
    });
    // The receipt, or the program's end and what it had sent by then.
    loop {
        match receiver.recv_timeout(Duration::from_millis(200)) {
            Ok(receipt) => return receipt,
            Err(RecvTimeoutError::Disconnected) => return Err(no_receipt()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if wait(process.as_handle(), Some(0)).map_err(ElevateError::Start)? == Waited::Signalled {
            return receiver
                .recv_timeout(LATE)
                .unwrap_or_else(|_| Err(no_receipt()));
        }
    }
}

fn program() -> Result<PathBuf, ElevateError> {
    let own = std::env::current_exe().map_err(|source| ElevateError::Program {
        path: PathBuf::from(SETUP_PROGRAM),
        source,
    })?;
    let path = own.with_file_name(SETUP_PROGRAM);
    match fs::symlink_metadata(&path) {
        Ok(found) if found.is_file() => Ok(path),
        Ok(_) => Err(ElevateError::Program {
            path,
            source: io::Error::other("it is no file"),
        }),
        Err(source) => Err(ElevateError::Program { path, source }),
    }
}

fn write_request(
    subject: &Subject,
    plan: &str,
    files: &PersonFiles,
) -> Result<PathBuf, ElevateError> {
    let path = PathBuf::from(files.directory().to_string()).join("setup-request.json");
    let request = SetupRequest {
        version: REQUEST_VERSION,
        plan: plan.to_owned(),
        subject: subject.clone(),
        caller: Some(std::process::id()),
    };
    let bytes = serde_json::to_vec(&request).map_err(ElevateError::Receipt)?;
    fs::write(&path, bytes).map_err(|source| ElevateError::Request {
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

/// The person, and whoever is administrator: set-up may run as somebody else.
fn descriptor(person: Sid) -> SecurityDescriptor {
    let allow = |sid| Ace::allow(AceFlags::NONE, AccessMask::FILE_ALL_ACCESS, sid);
    let list = [person, Sid::ADMINISTRATORS, Sid::SYSTEM].map(allow);
    SecurityDescriptor::new(person, person, Acl::new(list.to_vec())).protected()
}

/// The arguments as one text, without the program.
fn parameters(program: &Path, arguments: &[OsString]) -> Result<OsString, ElevateError> {
    let units = |text: &OsStr| text.encode_wide().collect::<Vec<u16>>();
    let arguments: Vec<Vec<u16>> = arguments.iter().map(|text| units(text)).collect();
    let build = |arguments: &[Vec<u16>]| {
        command_line::build(&units(program.as_os_str()), arguments)
            .map_err(ElevateError::CommandLine)
    };
    let (whole, head) = (build(&arguments)?, build(&[])?);
    let rest = whole.get(head.len()..).unwrap_or_default();
    Ok(OsString::from_wide(rest))
}

fn receipt(server: PipeServer, expected: u32) -> Result<SetupReceipt, ElevateError> {
    let Connection { stream, peer } = server.accept(PATIENCE).map_err(ElevateError::Pipe)?;
    if peer != expected {
        return Err(ElevateError::Stranger {
            expected,
            found: peer,
        });
    }
    let mut bytes = Vec::new();
    (&stream)
        .take(MAX_RECEIPT)
        .read_to_end(&mut bytes)
        .map_err(ElevateError::NoReceipt)?;
    if bytes.is_empty() {
        return Err(no_receipt());
    }
    serde_json::from_slice(&bytes).map_err(ElevateError::Receipt)
}

fn no_receipt() -> ElevateError {
    ElevateError::NoReceipt(io::Error::from(io::ErrorKind::UnexpectedEof))
}
