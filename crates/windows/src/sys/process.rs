//! Starting processes: exactly these handles, this job, this token, this desktop.
//!
//! Source: learn.microsoft.com `CreateProcessAsUserW`, `UpdateProcThreadAttribute`, "Inheriting handles".

use std::ffi::{OsStr, OsString};
use std::mem::{size_of, size_of_val};
use std::os::windows::ffi::OsStrExt as _;
use std::os::windows::io::{AsHandle, AsRawHandle as _, BorrowedHandle, OwnedHandle};

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Threading::{
    CREATE_NO_WINDOW, CREATE_SUSPENDED, CREATE_UNICODE_ENVIRONMENT, CreateProcessAsUserW,
    CreateProcessW, DeleteProcThreadAttributeList, EXTENDED_STARTUPINFO_PRESENT,
    GetExitCodeProcess, InitializeProcThreadAttributeList, LPPROC_THREAD_ATTRIBUTE_LIST,
    PROC_THREAD_ATTRIBUTE_HANDLE_LIST, PROC_THREAD_ATTRIBUTE_JOB_LIST,
    PROC_THREAD_ATTRIBUTE_MITIGATION_POLICY, PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE,
    PROCESS_INFORMATION, ResumeThread, STARTF_USESTDHANDLES, STARTUPINFOEXW, STARTUPINFOW,
    TerminateProcess, UpdateProcThreadAttribute,
};

use super::console::PseudoConsole;
use super::error::{CallError, Win32Error, check};
use super::handle::{Inheritance, Waited, adopt, set_inheritance, wait};
use super::job::Job;
use super::mitigation;
use super::station;
use super::wide::{InnerZero, WideText};
use crate::command_line::{self, CommandLineError};
use crate::environment_block::{self, BlockError};

/// What a new process is.
#[derive(Debug)]
pub struct Command<'a> {
    /// Its executable, by absolute path; never searched for.
    pub program: &'a OsStr,
    /// How it reads its arguments.
    pub arguments: Arguments<'a>,
    /// All its variables.
    pub environment: &'a [(OsString, OsString)],
    /// Where it starts.
    pub directory: &'a OsStr,
    /// `station\desktop`; the caller's where not given.
    pub desktop: Option<&'a OsStr>,
    /// Its standard input, output and error: the only handles it gets.
    pub standard: Standard<'a>,
    /// Who it is; the caller where not given.
    pub token: Option<BorrowedHandle<'a>>,
    /// The jobs it is in from its first instruction on, the outer ones first.
    pub jobs: &'a [&'a Job],
}

/// A command line, in words.
#[derive(Clone, Copy, Debug)]
pub enum Arguments<'a> {
    /// Arguments, without the program's name, for a program that takes them apart as the C runtime does.
    Plain(&'a [OsString]),
    /// The program is `cmd.exe`, and runs this batch file with these arguments.
    Batch(&'a OsStr, &'a [OsString]),
}

/// What a new process's standard handles are.
#[derive(Clone, Copy, Debug)]
pub enum Standard<'a> {
    /// These: input, output and error.
    Handles([BorrowedHandle<'a>; 3]),
    /// These, on the caller's own console.
    Shared([BorrowedHandle<'a>; 3]),
    /// A console's, which it opens by itself; it inherits nothing.
    Console(&'a PseudoConsole),
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
    let mut line = command_line(command.program, command.arguments)?;
    let block = environment(command.environment)?;

    let inherited = inherited(command.standard)?;
    let jobs: Vec<HANDLE> = command
        .jobs
        .iter()
        .map(|job| job.as_handle().as_raw_handle())
        .collect();
    let off = mitigation::kept_from_children();
    let mut attributes = Attributes::new(3)?;
    if !jobs.is_empty() {
        attributes.set(PROC_THREAD_ATTRIBUTE_JOB_LIST, &jobs)?;
    }
    if let Some(off) = &off {
        attributes.set(
            PROC_THREAD_ATTRIBUTE_MITIGATION_POLICY,
            std::slice::from_ref(off),
        )?;
    }
    let mut startup = STARTUPINFOEXW {
        StartupInfo: STARTUPINFOW {
            cb: u32::try_from(size_of::<STARTUPINFOEXW>()).unwrap_or(0),
            lpDesktop: desktop
                .as_mut()
                .map_or(std::ptr::null_mut(), WideText::as_mut_ptr),
            dwFlags: STARTF_USESTDHANDLES,
            ..STARTUPINFOW::default()
        },
        lpAttributeList: attributes.list(),
    };
    let mut flags = CREATE_SUSPENDED | CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT;
    match command.standard {
        Standard::Handles([input, output, error]) | Standard::Shared([input, output, error]) => {
            attributes.set(PROC_THREAD_ATTRIBUTE_HANDLE_LIST, &inherited)?;
            startup.StartupInfo.hStdInput = input.as_raw_handle();
            startup.StartupInfo.hStdOutput = output.as_raw_handle();
            startup.StartupInfo.hStdError = error.as_raw_handle();
            match command.standard {
                Standard::Handles(_) => flags |= CREATE_NO_WINDOW,
                Standard::Shared(_) | Standard::Console(_) => {}
            }
        }
        Standard::Console(console) => {
            attributes.set_console(console)?;
            // Said to be none: else the process might get the caller's own in place of the console's.
            startup.StartupInfo.hStdInput = INVALID_HANDLE_VALUE;
            startup.StartupInfo.hStdOutput = INVALID_HANDLE_VALUE;
            startup.StartupInfo.hStdError = INVALID_HANDLE_VALUE;
        }
    }
    let inherits = i32::from(!inherited.is_empty());
    let _in_its_own_station = station::stay();
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
                inherits,
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
                inherits,
                flags,
                block.as_ptr().cast(),
                directory.as_ptr(),
                (&raw const startup).cast(),
                &raw mut made,
            )
        }),
    };
    check(done, call, command.program.display())?;
    // SAFETY: the call succeeded, so both handles are open and nobody else's.
    unsafe { Child::adopt(&made) }
        .ok_or_else(|| CallError::new(call, command.program.display(), Win32Error(6)).into())
}

/// The handles of a process's list, which may be inherited from now on. Distinct: the list refuses a handle that
/// stands in it twice.
fn inherited(standard: Standard<'_>) -> Result<Vec<HANDLE>, CallError> {
    let streams = match standard {
        Standard::Handles(streams) | Standard::Shared(streams) => streams,
        Standard::Console(_) => return Ok(Vec::new()),
    };
    let mut handles = Vec::with_capacity(streams.len());
    for stream in streams {
        set_inheritance(stream, Inheritance::Allowed)?;
        handles.push(stream.as_raw_handle());
    }
    handles.sort_unstable();
    handles.dedup();
    Ok(handles)
}

impl Child {
    /// Takes over what a call has started.
    ///
    /// # Safety
    /// The handles are open and nobody else's.
    pub(crate) unsafe fn adopt(made: &PROCESS_INFORMATION) -> Option<Self> {
        // SAFETY: the caller's promise.
        let process = unsafe { adopt(made.hProcess) };
        // SAFETY: as above.
        let thread = unsafe { adopt(made.hThread) };
        Some(Self {
            process: process?,
            thread: thread?,
            id: made.dwProcessId,
        })
    }

    /// Its first thread.
    #[must_use]
    pub fn thread(&self) -> BorrowedHandle<'_> {
        self.thread.as_handle()
    }

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

/// The command line of a call, with its final zero.
pub(crate) fn command_line(
    program: &OsStr,
    arguments: Arguments<'_>,
) -> Result<Vec<u16>, CommandLineError> {
    let units = |text: &OsStr| text.encode_wide().collect::<Vec<u16>>();
    let words = |all: &[OsString]| all.iter().map(|text| units(text)).collect::<Vec<_>>();
    let mut line = match arguments {
        Arguments::Plain(all) => command_line::build(&units(program), &words(all))?,
        Arguments::Batch(script, all) => {
            command_line::batch(&units(program), &units(script), &words(all))?
        }
    };
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

    /// A console's handle is itself the value.
    fn set_console(&mut self, console: &PseudoConsole) -> Result<(), CallError> {
        let attribute = usize::try_from(PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE).unwrap_or(0);
        // SAFETY: the list was initialised; the console is open while it is lent.
        let done = unsafe {
            UpdateProcThreadAttribute(
                self.list(),
                0,
                attribute,
                console.as_value(),
                size_of::<isize>(),
                std::ptr::null_mut(),
                std::ptr::null(),
            )
        };
        check(done, "UpdateProcThreadAttribute", "console")
    }

    /// `values` must outlive the list: it keeps the pointer.
    fn set<T>(&mut self, attribute: u32, values: &[T]) -> Result<(), CallError> {
        let attribute = usize::try_from(attribute).unwrap_or(0);
        // SAFETY: the list was initialised; the values live until the process is started, and their size is said.
        let done = unsafe {
            UpdateProcThreadAttribute(
                self.list(),
                0,
                attribute,
                values.as_ptr().cast(),
                size_of_val(values),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_takes_what_children_are_told_to_leave_off() {
        let off = [2_u64 << 44];
        let mut attributes = Attributes::new(3).unwrap();
        let attribute = PROC_THREAD_ATTRIBUTE_MITIGATION_POLICY;
        attributes.set(attribute, &off).unwrap();
        let wrong = attributes.set(attribute, &[0_u8]).unwrap_err();
        assert_eq!(wrong.call, "UpdateProcThreadAttribute", "control");
    }
}
