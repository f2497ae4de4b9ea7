//! Whether processes ran into the limits of their job.
//!
//! A limit on memory makes an allocation fail, one on processes makes a start fail; the program then does what it
//! likes. The job says so to a completion port. Source: learn.microsoft.com
//! `JOBOBJECT_ASSOCIATE_COMPLETION_PORT`, which promises no delivery: a message that is missing is no proof.
//! Invariant: what is reported did happen.

use std::os::windows::io::{AsHandle as _, AsRawHandle as _, OwnedHandle};

use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatus, OVERLAPPED,
};
use windows_sys::Win32::System::JobObjects::{
    JOBOBJECT_ASSOCIATE_COMPLETION_PORT, JobObjectAssociateCompletionPortInformation,
    SetInformationJobObject,
};
use windows_sys::Win32::System::SystemServices::{
    JOB_OBJECT_MSG_ACTIVE_PROCESS_LIMIT, JOB_OBJECT_MSG_JOB_MEMORY_LIMIT,
    JOB_OBJECT_MSG_PROCESS_MEMORY_LIMIT,
};

use super::error::{CallError, check};
use super::handle::adopt;
use super::job::Job;

/// A limit that was run into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitReached {
    /// On memory.
    Memory,
    /// On processes.
    Processes,
}

/// What a job says of its limits.
#[derive(Debug)]
pub struct LimitPort(OwnedHandle);

impl LimitPort {
    /// Lets `job` say so from now on; before its first process.
    ///
    /// # Errors
    /// The calls'.
    pub fn of(job: &Job) -> Result<Self, CallError> {
        // SAFETY: no file and no other port: a new one, for one thread at a time.
        let handle =
            unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, std::ptr::null_mut(), 0, 1) };
        // SAFETY: it was just made, or is null.
        let port = unsafe { adopt(handle) }
            .ok_or_else(|| CallError::last("CreateIoCompletionPort", ""))?;
        let wanted = JOBOBJECT_ASSOCIATE_COMPLETION_PORT {
            CompletionKey: std::ptr::null_mut(),
            CompletionPort: port.as_raw_handle(),
        };
        // SAFETY: the job is open; the structure is the class's own and is only read.
        let done = unsafe {
            SetInformationJobObject(
                job.as_handle().as_raw_handle(),
                JobObjectAssociateCompletionPortInformation,
                (&raw const wanted).cast(),
                u32::try_from(size_of::<JOBOBJECT_ASSOCIATE_COMPLETION_PORT>()).unwrap_or(0),
            )
        };
        check(done, "SetInformationJobObject", "completion port")?;
        Ok(Self(port))
    }

    /// The last limit that was run into since the last time.
    #[must_use]
    pub fn take(&self) -> Option<LimitReached> {
        let messages = std::iter::from_fn(|| self.message());
        messages.filter_map(limit_of).last()
    }

    /// The next message, without waiting.
    fn message(&self) -> Option<u32> {
        let (mut message, mut key) = (0, 0);
        let mut process: *mut OVERLAPPED = std::ptr::null_mut();
        // SAFETY: the port is open; all three are ours to write, and the last holds a number, not a pointer.
        let taken = unsafe {
            GetQueuedCompletionStatus(
                self.0.as_raw_handle(),
                &raw mut message,
                &raw mut key,
                &raw mut process,
                0,
            )
        };
        (taken != 0).then_some(message)
    }
}

const fn limit_of(message: u32) -> Option<LimitReached> {
    match message {
        JOB_OBJECT_MSG_ACTIVE_PROCESS_LIMIT => Some(LimitReached::Processes),
        JOB_OBJECT_MSG_JOB_MEMORY_LIMIT | JOB_OBJECT_MSG_PROCESS_MEMORY_LIMIT => {
            Some(LimitReached::Memory)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::job::JobLimits;
    use crate::sys::process::{Arguments, Command, Standard, start_suspended};

    // enforced-by-wine: messages arrive. It holds no limit, so none of them is of one.
    #[test]
    fn a_process_that_comes_and_goes_runs_into_no_limit() {
        let job = Job::unread(JobLimits::default()).unwrap();
        let port = LimitPort::of(&job).unwrap();
        assert_eq!(port.message(), None);
        let nothing = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("NUL")
            .unwrap();
        let arguments = ["/d", "/c", "exit"].map(std::ffi::OsString::from);
        let root = std::env::var_os("SystemRoot").unwrap();
        let child = start_suspended(&Command {
            program: r"C:\windows\system32\cmd.exe".as_ref(),
            arguments: Arguments::Plain(&arguments),
            environment: &[("SystemRoot".into(), root)],
            directory: r"C:\".as_ref(),
            desktop: None,
            standard: Standard::Handles([nothing.as_handle(); 3]),
            token: None,
            jobs: &[&job],
        })
        .unwrap();
        child.resume().unwrap();
        assert_eq!(child.wait(Some(60_000)).unwrap(), Some(0));
        assert!(port.message().is_some(), "that it came");
        assert_eq!(port.take(), None);
        assert_eq!(port.message(), None, "all were taken");
    }

    #[test]
    fn messages_of_limits_are_told_from_the_others() {
        let all: Vec<_> = (0..20).filter_map(limit_of).collect();
        assert_eq!(all.len(), 3);
        assert_eq!(limit_of(3), Some(LimitReached::Processes));
        assert_eq!(limit_of(10), Some(LimitReached::Memory));
    }
}
