//! Starting processes: exactly these handles, this job, this token, this desktop.
//!
//! Source: learn.microsoft.com `CreateProcessAsUserW`, `UpdateProcThreadAttribute`, "Inheriting handles".

use std::ffi::{OsStr, OsString};
use std::mem::{size_of, size_of_val};
use std::os::windows::ffi::OsStrExt as _;
use std::os::windows::io::{AsHandle, AsRawHandle as _, BorrowedHandle, OwnedHandle};

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Threading::{
    CREATE_NO_WINDOW, CREATE_SUSPENDED, CREATE_UNICODE_ENVIRONMENT, CreateProcessAsUserW,
    CreateProcessW, DeleteProcThreadAttributeList, EXTENDED_STARTUPINFO_PRESENT,
    GetExitCodeProcess, InitializeProcThreadAttributeList, LPPROC_THREAD_ATTRIBUTE_LIST,
    PROC_THREAD_ATTRIBUTE_HANDLE_LIST, PROC_THREAD_ATTRIBUTE_JOB_LIST, PROCESS_INFORMATION,
    ResumeThread, STARTF_USESTDHANDLES, STARTUPINFOEXW, STARTUPINFOW, TerminateProcess,
    UpdateProcThreadAttribute,
};

use super::error::{CallError, Win32Error, check};
use super::handle::{Inheritance, Waited, adopt, set_inheritance, wait};
use super::job::Job;
use super::wide::{InnerZero, WideText};
use crate::command_line::{self, CommandLineError};
use crate::environment_block::{self, BlockError};

/// What a new process is.
#[derive(Debug)]
pub struct Command<'a> {
    /// Its executable, by absolute path; never searched for.
    pub program: &'a OsStr,
    /// Its arguments, without its name.
    pub arguments: &'a [OsString],
    /// All its variables.
    pub environment: &'a [(OsString, OsString)],
    /// Where it starts.
    pub directory: &'a OsStr,
    /// `station\desktop`; the caller's where not given.
    pub desktop: Option<&'a OsStr>,
    /// Standard input, output and error: the only handles it gets.
    pub streams: [BorrowedHandle<'a>; 3],
    /// Who it is; the caller where not given.
    pub token: Option<BorrowedHandle<'a>>,
    /// The job it is in from its first instruction on.
    pub job: Option<&'a Job>,
}

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The arguments make no command line.
    #[error("make the command line")]
    CommandLine(#[from] CommandLineError),
    /// The variables make no block.
    #[error("make the environment")]
    Environment(#[from] BlockError),
    /// A path holds a zero.
    #[error("read the path of the {0}")]
    Path(&'static str, #[source] InnerZero),
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A process that was started. Dropped, it runs on; its job ends it.
#[derive(Debug)]
pub struct Child {
    process: OwnedHandle,
    thread: OwnedHandle,
    id: u32,
}

/// Starts a process that has not run its first instruction yet.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub fn start_suspended(command: &Command<'_>) -> Result<Child, StartError> {
    let program =
        WideText::new(command.program).map_err(|error| StartError::Path("program", error))?;
    let directory =
        WideText::new(command.directory).map_err(|error| StartError::Path("directory", error))?;
    let mut desktop = command
        .desktop
        .map(WideText::new)
        .transpose()
        .map_err(|error| StartError::Path("desktop", error))?;
    let mut line = command_line(command)?;
    let block = environment(command.environment)?;

    // Distinct: the list refuses a handle that stands in it twice.
    let mut handles: Vec<HANDLE> = command
        .streams
        .iter()
        .map(std::os::windows::io::AsRawHandle::as_raw_handle)
        .collect();
    handles.sort_unstable();
    handles.dedup();
    for stream in command.streams {
        set_inheritance(stream, Inheritance::Allowed)?;
    }
    let jobs: Vec<HANDLE> = command
        .job
        .iter()
        .map(|job| job.as_handle().as_raw_handle())
        .collect();
    let mut attributes = Attributes::new(1 + u32::from(!jobs.is_empty()))?;
    attributes.set(PROC_THREAD_ATTRIBUTE_HANDLE_LIST, &handles)?;
    if !jobs.is_empty() {
        attributes.set(PROC_THREAD_ATTRIBUTE_JOB_LIST, &jobs)?;
    }
    let [input, output, error] = command.streams;
    let startup = STARTUPINFOEXW {
        StartupInfo: STARTUPINFOW {
            cb: u32::try_from(size_of::<STARTUPINFOEXW>()).unwrap_or(0),
            lpDesktop: desktop
                .as_mut()
                .map_or(std::ptr::null_mut(), WideText::as_mut_ptr),
            dwFlags: STARTF_USESTDHANDLES,
            hStdInput: input.as_raw_handle(),
            hStdOutput: output.as_raw_handle(),
            hStdError: error.as_raw_handle(),
            ..STARTUPINFOW::default()
        },
        lpAttributeList: attributes.list(),
    };
    let flags = CREATE_SUSPENDED
        | CREATE_UNICODE_ENVIRONMENT
        | EXTENDED_STARTUPINFO_PRESENT
        | CREATE_NO_WINDOW;
    let mut made = PROCESS_INFORMATION::default();
    let (call, done) = match command.token {
        // SAFETY: every pointer is to a value that lives for the call; the line is ours to be written; the start-up
        // information is the extended one, as the flag says, and its attributes outlive the call.
        Some(token) => ("CreateProcessAsUserW", unsafe {
            CreateProcessAsUserW(
                token.as_raw_handle(),
                program.as_ptr(),
                line.as_mut_ptr(),
                std::ptr::null(),
                std::ptr::null(),
                1,
                flags,
                block.as_ptr().cast(),
                directory.as_ptr(),
                (&raw const startup).cast(),
                &raw mut made,
            )
        }),
        // SAFETY: as above.
        None => ("CreateProcessW", unsafe {
            CreateProcessW(
                program.as_ptr(),
                line.as_mut_ptr(),
                std::ptr::null(),
                std::ptr::null(),
                1,
                flags,
                block.as_ptr().cast(),
                directory.as_ptr(),
                (&raw const startup).cast(),
                &raw mut made,
            )
        }),
    };
    check(done, call, command.program.display())?;
    // SAFETY: the call succeeded, so the handle is open and ours.
    let process = unsafe { adopt(made.hProcess) };
    // SAFETY: as above.
    let thread = unsafe { adopt(made.hThread) };
    match (process, thread) {
        (Some(process), Some(thread)) => Ok(Child {
            process,
            thread,
            id: made.dwProcessId,
        }),
        _ => Err(CallError::new(call, command.program.display(), Win32Error(6)).into()),
    }
}

impl Child {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Lets it run.
    ///
    /// # Errors
    /// `ResumeThread`'s.
    pub fn resume(&self) -> Result<(), CallError> {
        // SAFETY: the thread's handle is open.
        if unsafe { ResumeThread(self.thread.as_raw_handle()) } == u32::MAX {
            return Err(CallError::last("ResumeThread", ""));
        }
        Ok(())
    }

    /// Waits for its end, for at most `milliseconds`; then its exit code, all 32 bits of it.
    ///
    /// # Errors
    /// The calls'.
    pub fn wait(&self, milliseconds: Option<u32>) -> Result<Option<u32>, CallError> {
        match wait(self.process.as_handle(), milliseconds)? {
            Waited::TimedOut => Ok(None),
            Waited::Signalled => {
                let mut code = 0;
                // SAFETY: the process's handle is open; the code is ours to write.
                let done =
                    unsafe { GetExitCodeProcess(self.process.as_raw_handle(), &raw mut code) };
                check(done, "GetExitCodeProcess", "")?;
                Ok(Some(code))
            }
        }
    }

    /// Ends it, with this exit code; what it has started runs on.
    ///
    /// # Errors
    /// `TerminateProcess`'s.
    pub fn terminate(&self, code: u32) -> Result<(), CallError> {
        // SAFETY: the process's handle is open.
        let done = unsafe { TerminateProcess(self.process.as_raw_handle(), code) };
        check(done, "TerminateProcess", "")
    }
}

impl AsHandle for Child {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.process.as_handle()
    }
}

fn command_line(command: &Command<'_>) -> Result<Vec<u16>, CommandLineError> {
    let units = |text: &OsStr| text.encode_wide().collect::<Vec<u16>>();
    let arguments: Vec<_> = command.arguments.iter().map(|text| units(text)).collect();
    let mut line = command_line::build(&units(command.program), &arguments)?;
    line.push(0);
    Ok(line)
}

fn environment(variables: &[(OsString, OsString)]) -> Result<Vec<u16>, BlockError> {
    let units = |text: &OsStr| text.encode_wide().collect::<Vec<u16>>();
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (units(name), units(value)))
        .collect();
    environment_block::build(&variables)
}

/// A list of attributes for a new process.
struct Attributes {
    /// Aligned for pointers, as the list needs.
    memory: Vec<usize>,
}

impl Attributes {
    fn new(count: u32) -> Result<Self, CallError> {
        let mut bytes = 0;
        // SAFETY: without a list the call only says how many bytes one takes.
        unsafe {
            InitializeProcThreadAttributeList(std::ptr::null_mut(), count, 0, &raw mut bytes)
        };
        let mut attributes = Self {
            memory: vec![0; bytes.div_ceil(size_of::<usize>())],
        };
        // SAFETY: the memory has as many bytes as the call asked for, and is aligned.
        let done = unsafe {
            InitializeProcThreadAttributeList(attributes.list(), count, 0, &raw mut bytes)
        };
        check(done, "InitializeProcThreadAttributeList", "")?;
        Ok(attributes)
    }

    fn list(&mut self) -> LPPROC_THREAD_ATTRIBUTE_LIST {
        self.memory.as_mut_ptr().cast()
    }

    /// `handles` must outlive the list: it keeps the pointer.
    fn set(&mut self, attribute: u32, handles: &[HANDLE]) -> Result<(), CallError> {
        let attribute = usize::try_from(attribute).unwrap_or(0);
        // SAFETY: the list was initialised; the handles live until the process is started, and their size is said.
        let done = unsafe {
            UpdateProcThreadAttribute(
                self.list(),
                0,
                attribute,
                handles.as_ptr().cast(),
                size_of_val(handles),
                std::ptr::null_mut(),
                std::ptr::null(),
            )
        };
        check(done, "UpdateProcThreadAttribute", "")
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: the list was initialised: `new` gives out no other.
        unsafe { DeleteProcThreadAttributeList(self.list()) };
    }
}
