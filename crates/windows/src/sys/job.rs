//! Jobs: what is in one ends with it.
//!
//! Source: learn.microsoft.com "Job Objects", `JOBOBJECT_EXTENDED_LIMIT_INFORMATION`.

use std::mem::size_of;
use std::os::windows::io::{AsHandle, AsRawHandle as _, BorrowedHandle, OwnedHandle};

use windows_sys::Win32::System::JobObjects::{
    CreateJobObjectW, IsProcessInJob, JOB_OBJECT_LIMIT_ACTIVE_PROCESS,
    JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION, JOB_OBJECT_LIMIT_JOB_MEMORY,
    JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOB_OBJECT_UILIMIT_DISPLAYSETTINGS,
    JOB_OBJECT_UILIMIT_EXITWINDOWS, JOB_OBJECT_UILIMIT_GLOBALATOMS, JOB_OBJECT_UILIMIT_HANDLES,
    JOB_OBJECT_UILIMIT_READCLIPBOARD, JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS,
    JOB_OBJECT_UILIMIT_WRITECLIPBOARD, JOBOBJECT_BASIC_ACCOUNTING_INFORMATION,
    JOBOBJECT_BASIC_UI_RESTRICTIONS, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectBasicAccountingInformation, JobObjectBasicUIRestrictions,
    JobObjectExtendedLimitInformation, QueryInformationJobObject, SetInformationJobObject,
    TerminateJobObject,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use super::error::{CallError, Win32Error, check};
use super::handle::adopt;

/// The unit that a job's memory is counted in, in bytes, on every processor that Windows 10 and 11 run on.
const PAGE: u64 = 4096;

/// `ERROR_NOT_SUPPORTED`: limits were set, and others are there.
pub const NOT_KEPT: Win32Error = Win32Error(50);

/// What a job holds its processes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobLimits {
    /// Committed memory of all its processes together, in bytes.
    pub memory: Option<u64>,
    /// Processes at a time.
    pub processes: Option<u32>,
    /// `JOB_OBJECT_UILIMIT_*`: what its processes may not do to windows, clipboard and settings. A job with one can't be
    /// nested in another, nor another in it.
    pub desktop: u32,
}

impl JobLimits {
    /// The bit of a limit by the end of its name, as in `EXITWINDOWS`.
    #[must_use]
    pub fn desktop_limit(name: &str) -> Option<u32> {
        const KNOWN: &[(&str, u32)] = &[
            ("HANDLES", JOB_OBJECT_UILIMIT_HANDLES),
            ("READCLIPBOARD", JOB_OBJECT_UILIMIT_READCLIPBOARD),
            ("WRITECLIPBOARD", JOB_OBJECT_UILIMIT_WRITECLIPBOARD),
            ("SYSTEMPARAMETERS", JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS),
            ("DISPLAYSETTINGS", JOB_OBJECT_UILIMIT_DISPLAYSETTINGS),
            ("GLOBALATOMS", JOB_OBJECT_UILIMIT_GLOBALATOMS),
            ("EXITWINDOWS", JOB_OBJECT_UILIMIT_EXITWINDOWS),
        ];
        let mut known = KNOWN.iter();
        known.find(|(word, _)| *word == name).map(|(_, bit)| *bit)
    }
}

/// A job whose processes end when it is dropped, and that none of them can leave.
#[derive(Debug)]
pub struct Job(OwnedHandle);

impl Job {
    /// Makes an unnamed job with these limits, and reads them back.
    ///
    /// # Errors
    /// The calls'; [`NOT_KEPT`] when the limits that are read back are others.
    pub fn new(limits: JobLimits) -> Result<Self, CallError> {
        let job = Self::make(limits)?;
        let same = is_kept(&job.limits()?, &information(limits)?);
        if !same || job.desktop_limits()? != limits.desktop {
            let what = "other limits than were set";
            return Err(CallError::new("QueryInformationJobObject", what, NOT_KEPT));
        }
        Ok(job)
    }

    /// Makes one whose limits are set and not read back, for commands that nothing confines. Wine ends what is in a job,
    /// and says that it has no limits.
    pub(crate) fn unread(limits: JobLimits) -> Result<Self, CallError> {
        Self::make(limits)
    }

    fn make(limits: JobLimits) -> Result<Self, CallError> {
        // SAFETY: no attributes (nothing inherits it) and no name.
        let handle = unsafe { CreateJobObjectW(std::ptr::null(), std::ptr::null()) };
        // SAFETY: it was just made, and is null on failure.
        let handle =
            unsafe { adopt(handle) }.ok_or_else(|| CallError::last("CreateJobObjectW", ""))?;
        let job = Self(handle);
        job.set(&information(limits)?)?;
        if limits.desktop != 0 {
            job.set_desktop_limits(limits.desktop)?;
        }
        Ok(job)
    }

    fn set_desktop_limits(&self, limits: u32) -> Result<(), CallError> {
        let wanted = JOBOBJECT_BASIC_UI_RESTRICTIONS {
            UIRestrictionsClass: limits,
        };
        // SAFETY: as in `set`.
        let done = unsafe {
            SetInformationJobObject(
                self.0.as_raw_handle(),
                JobObjectBasicUIRestrictions,
                (&raw const wanted).cast(),
                length_of::<JOBOBJECT_BASIC_UI_RESTRICTIONS>(),
            )
        };
        check(done, "SetInformationJobObject", "desktop limits")
    }

    fn desktop_limits(&self) -> Result<u32, CallError> {
        let mut kept = JOBOBJECT_BASIC_UI_RESTRICTIONS::default();
        // SAFETY: as in `limits`.
        let done = unsafe {
            QueryInformationJobObject(
                self.0.as_raw_handle(),
                JobObjectBasicUIRestrictions,
                (&raw mut kept).cast(),
                length_of::<JOBOBJECT_BASIC_UI_RESTRICTIONS>(),
                std::ptr::null_mut(),
            )
        };
        check(done, "QueryInformationJobObject", "desktop limits")?;
        Ok(kept.UIRestrictionsClass)
    }

    fn set(&self, wanted: &JOBOBJECT_EXTENDED_LIMIT_INFORMATION) -> Result<(), CallError> {
        // SAFETY: the job is open; the structure is the class's own and is only read.
        let done = unsafe {
            SetInformationJobObject(
                self.0.as_raw_handle(),
                JobObjectExtendedLimitInformation,
                std::ptr::from_ref(wanted).cast(),
                length_of::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>(),
            )
        };
        check(done, "SetInformationJobObject", "limits")
    }

    fn limits(&self) -> Result<JOBOBJECT_EXTENDED_LIMIT_INFORMATION, CallError> {
        let mut kept = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        // SAFETY: the job is open; the structure is the class's own and is written within its length.
        let done = unsafe {
            QueryInformationJobObject(
                self.0.as_raw_handle(),
                JobObjectExtendedLimitInformation,
                (&raw mut kept).cast(),
                length_of::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>(),
                std::ptr::null_mut(),
            )
        };
        check(done, "QueryInformationJobObject", "limits")?;
        Ok(kept)
    }

    /// How many processes are in it now.
    ///
    /// # Errors
    /// `QueryInformationJobObject`'s.
    pub fn active_processes(&self) -> Result<u32, CallError> {
        Ok(self.accounting()?.ActiveProcesses)
    }

    /// User plus system time of all processes that are or were in it, in microseconds.
    ///
    /// # Errors
    /// `QueryInformationJobObject`'s.
    pub fn cpu_microseconds(&self) -> Result<u64, CallError> {
        let counted = self.accounting()?;
        // In units of 100 nanoseconds.
        let time = counted
            .TotalUserTime
            .saturating_add(counted.TotalKernelTime)
            / 10;
        Ok(u64::try_from(time).unwrap_or(0))
    }

    fn accounting(&self) -> Result<JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, CallError> {
        let mut counted = JOBOBJECT_BASIC_ACCOUNTING_INFORMATION::default();
        // SAFETY: as in `limits`.
        let done = unsafe {
            QueryInformationJobObject(
                self.0.as_raw_handle(),
                JobObjectBasicAccountingInformation,
                (&raw mut counted).cast(),
                length_of::<JOBOBJECT_BASIC_ACCOUNTING_INFORMATION>(),
                std::ptr::null_mut(),
            )
        };
        check(done, "QueryInformationJobObject", "processes")?;
        Ok(counted)
    }

    /// Whether `process` is in it.
    ///
    /// # Errors
    /// `IsProcessInJob`'s.
    pub fn contains(&self, process: BorrowedHandle<'_>) -> Result<bool, CallError> {
        let mut inside = 0;
        // SAFETY: both handles are open; the result is ours to write.
        let done = unsafe {
            IsProcessInJob(
                process.as_raw_handle(),
                self.0.as_raw_handle(),
                &raw mut inside,
            )
        };
        check(done, "IsProcessInJob", "")?;
        Ok(inside != 0)
    }

    /// Ends every process in it, with this exit code.
    ///
    /// # Errors
    /// `TerminateJobObject`'s.
    pub fn terminate(&self, code: u32) -> Result<(), CallError> {
        // SAFETY: the job is open.
        check(
            unsafe { TerminateJobObject(self.0.as_raw_handle(), code) },
            "TerminateJobObject",
            "",
        )
    }
}

/// Whether this process is in a job already.
///
/// # Errors
/// `IsProcessInJob`'s.
pub fn is_this_process_in_one() -> Result<bool, CallError> {
    let mut inside = 0;
    // SAFETY: GetCurrentProcess has no precondition; its pseudo handle is always valid.
    let process = unsafe { GetCurrentProcess() };
    // SAFETY: the process's handle is valid; without a job the call asks about any.
    let done = unsafe { IsProcessInJob(process, std::ptr::null_mut(), &raw mut inside) };
    check(done, "IsProcessInJob", "this process")?;
    Ok(inside != 0)
}

impl AsHandle for Job {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}

fn information(limits: JobLimits) -> Result<JOBOBJECT_EXTENDED_LIMIT_INFORMATION, CallError> {
    let mut information = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    let basic = &mut information.BasicLimitInformation;
    // No breakaway flag: no process can leave. A crash ends at once instead of in a dialogue nobody sees.
    basic.LimitFlags =
        JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION;
    if let Some(processes) = limits.processes {
        basic.LimitFlags |= JOB_OBJECT_LIMIT_ACTIVE_PROCESS;
        basic.ActiveProcessLimit = processes;
    }
    if let Some(memory) = limits.memory {
        information.BasicLimitInformation.LimitFlags |= JOB_OBJECT_LIMIT_JOB_MEMORY;
        // The system counts whole pages, and says so when it is asked.
        information.JobMemoryLimit = usize::try_from(memory - memory % PAGE)
            .map_err(|_| CallError::new("SetInformationJobObject", "memory", Win32Error(87)))?;
    }
    Ok(information)
}

/// Whether the limits that were set are there. A number whose flag is not set limits nothing.
fn is_kept(
    kept: &JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    wanted: &JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
) -> bool {
    let (is, asked) = (&kept.BasicLimitInformation, &wanted.BasicLimitInformation);
    let without = |flag| asked.LimitFlags & flag == 0;
    is.LimitFlags == asked.LimitFlags
        && (without(JOB_OBJECT_LIMIT_JOB_MEMORY) || kept.JobMemoryLimit == wanted.JobMemoryLimit)
        && (without(JOB_OBJECT_LIMIT_ACTIVE_PROCESS)
            || is.ActiveProcessLimit == asked.ActiveProcessLimit)
}

/// The size of a structure as calls take it; all of these are small.
fn length_of<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_asked_for_in_whole_pages_and_what_is_kept_is_compared_where_it_limits() {
        let limits = |memory| JobLimits {
            memory: Some(memory),
            processes: Some(9),
            desktop: 0,
        };
        let wanted = information(limits(1_000_000)).unwrap();
        assert_eq!(wanted.JobMemoryLimit, 999_424);
        assert_eq!(information(limits(8192)).unwrap().JobMemoryLimit, 8192);
        assert!(is_kept(&wanted, &wanted));
        for other in [limits(2_000_000), limits(999_424 - 4096)] {
            assert!(!is_kept(&information(other).unwrap(), &wanted));
        }
        let mut fewer = wanted;
        fewer.BasicLimitInformation.ActiveProcessLimit = 10;
        assert!(!is_kept(&fewer, &wanted));
        let mut loose = wanted;
        loose.BasicLimitInformation.LimitFlags &= !JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        assert!(!is_kept(&loose, &wanted));
        let unlimited = information(JobLimits::default()).unwrap();
        let mut odd = unlimited;
        odd.JobMemoryLimit = 4096;
        assert!(is_kept(&odd, &unlimited), "a number without its flag");
    }
}
