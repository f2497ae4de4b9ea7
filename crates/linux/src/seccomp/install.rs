#![expect(unsafe_code, reason = "seccomp(2) has no safe wrapper")]
//! Putting a filter on the calling thread, and asking the kernel whether it would take one.
//!
//! Nothing is compiled here. Invariant: the filter is on this thread alone (no `TSYNC`); what the thread starts
//! later inherits it, and nothing can take it off (seccomp(2)).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::bpf::{Assembler, Instruction};
use super::compile::Program;

/// Why a filter is not on this thread.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The kernel refused the filter.
    #[error("seccomp(SECCOMP_SET_MODE_FILTER) with {instructions} instructions failed")]
    Install {
        /// How long the filter is.
        instructions: usize,
        /// The system's error; `EACCES` without `no_new_privs`, `EINVAL` for a kernel without filters.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the filter with a listener.
    #[error("seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER) with {instructions} instructions failed")]
    InstallWithListener {
        /// How long the filter is.
        instructions: usize,
        /// The system's error; `EBUSY` where an outer sandbox already listens.
        #[source]
        source: io::Error,
    },
    /// A probe's thread could not be started.
    #[error("a thread for probing seccomp could not be started")]
    Thread {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A probe's thread could not promise to gain no privileges.
    #[error("prctl(PR_SET_NO_NEW_PRIVS) failed while probing seccomp")]
    NoNewPrivs {
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl SeccompError {
    /// The system's error number, for messages that cross a process.
    #[must_use]
    pub fn errno(&self) -> i32 {
        let (Self::Install { source, .. }
        | Self::InstallWithListener { source, .. }
        | Self::Thread { source }
        | Self::NoNewPrivs { source }) = self;
        source.raw_os_error().unwrap_or(libc::EINVAL)
    }
}

/// `struct sock_fprog`
#[repr(C)]
struct FilterProgram {
    length: u16,
    instructions: *const Instruction,
}

fn set_filter(instructions: &[Instruction], flags: libc::c_ulong) -> io::Result<RawFd> {
    let program = FilterProgram {
        length: u16::try_from(instructions.len())
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?,
        instructions: instructions.as_ptr(),
    };
    // SAFETY: seccomp(SECCOMP_SET_MODE_FILTER, flags, args) reads a `struct sock_fprog` at `args` and as many
    // instructions as it names; both live until the call returns, and the kernel keeps its own copy.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))
}

/// Puts `program` on the calling thread, which must have `no_new_privs` set.
///
/// # Errors
/// [`SeccompError::Install`].
pub fn install(program: &Program) -> Result<(), SeccompError> {
    set_filter(program.instructions(), 0)
        .map(drop)
        .map_err(|source| SeccompError::Install {
            instructions: program.instructions().len(),
            source,
        })
}

/// Puts `program` on the calling thread and returns the descriptor (close-on-exec) on which its notified calls
/// wait to be answered; without one, they fail with `ENOSYS`.
///
/// # Errors
/// [`SeccompError::InstallWithListener`].
pub fn install_with_listener(program: &Program) -> Result<OwnedFd, SeccompError> {
    let listen = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // Once read, a call is no longer interrupted by signals: a runtime that signals its own threads all the time
    // would otherwise repeat it without end. Kernels before 5.19 know no such flag.
    let patient = listen | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let descriptor = match set_filter(program.instructions(), patient) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            set_filter(program.instructions(), listen)
        }
        result => result,
    }
    .map_err(|source| SeccompError::InstallWithListener {
        instructions: program.instructions().len(),
        source,
    })?;
    // SAFETY: with NEW_LISTENER seccomp(2) returns a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Proves on a thread of its own that the kernel takes a filter from this process.
///
/// # Errors
/// [`SeccompError`] saying why not.
pub fn probe_seccomp() -> Result<(), SeccompError> {
    on_probe_thread(|program| install(&program))
}

/// Proves on a thread of its own that the kernel gives this process a listener: inside another sandbox with a
/// listener it does not (`EBUSY`).
///
/// # Errors
/// [`SeccompError`] saying why not.
pub fn probe_listener() -> Result<(), SeccompError> {
    on_probe_thread(|program| install_with_listener(&program).map(drop))
}

fn on_probe_thread(
    probe: impl FnOnce(Program) -> Result<(), SeccompError> + Send,
) -> Result<(), SeccompError> {
    let mut assembler = Assembler::default();
    assembler.ret(libc::SECCOMP_RET_ALLOW);
    let program = Program::from_instructions(assembler.finish());
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("seccomp-probe".to_owned())
            .spawn_scoped(scope, move || {
                rustix::thread::set_no_new_privs(true).map_err(|error| {
                    SeccompError::NoNewPrivs {
                        source: error.into(),
                    }
                })?;
                probe(program)
            })
            .map_err(|source| SeccompError::Thread { source })?;
        thread.join().unwrap_or_else(|_| {
            Err(SeccompError::Thread {
                source: io::Error::from_raw_os_error(libc::ECHILD),
            })
        })
    })
}
