//! Starting a program without copying the caller: clone with shared memory, then execve.
//!
//! A plain fork of a large process copies its page tables (20 ms for 500 MB, measured); a child that shares the
//! memory of its waiting parent costs the same whatever the parent's size.
//!
//! # The rule of this module
//! Everything that runs in the child, between `clone` and `execve`, is in [`Child::run`] and below. It shares the
//! parent's memory while the parent waits, so it may use only async-signal-safe calls: no allocation, no locks, no
//! `std` beyond plain data, no panics. Every buffer it needs was made before.
#![expect(
    unsafe_code,
    reason = "clone, execve and the calls between them have no safe form"
)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::RawFd;
use std::ptr;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::sys;

/// Stack of the child until it executes; it calls a handful of small functions.
const CHILD_STACK: usize = 64 << 10;
/// What runs a script without an interpreter line.
const SHELL: &CStr = c"/bin/sh";
/// The highest signal number, signal(7).
const LAST_SIGNAL: c_int = 64;
/// `_LINUX_CAPABILITY_VERSION_3`, capget(2).
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// What the child does before it executes the program.
#[derive(Debug)]
pub(crate) enum Preparation {
    /// Become the session's init: keep every capability of the new user namespace over execve.
    Init {
        /// Becomes standard input; standard output and error become `/dev/null`.
        channel: RawFd,
    },
    /// Become a command of the session.
    Command(Box<CommandPreparation>),
}

/// What a command's child does before it executes the program.
#[derive(Debug)]
pub(crate) struct CommandPreparation {
    /// Become standard input, output and error.
    pub(crate) streams: [RawFd; 3],
    /// Whether the first terminal among the streams becomes the controlling terminal.
    pub(crate) terminal: Option<RawFd>,
    /// Where it starts.
    pub(crate) directory: CString,
    /// Its file mode creation mask.
    pub(crate) umask: u32,
    /// Bit N-1 set: signal N stays ignored.
    pub(crate) ignored_signals: u64,
    /// `RLIMIT_NPROC`, where processes are limited that way.
    pub(crate) process_limit: Option<u64>,
    /// The caller's soft limit on open files, which init has raised for itself.
    pub(crate) open_files: libc::rlimit,
}

/// A program, its arguments and variables, laid out for execve.
#[derive(Debug)]
pub(crate) struct Program {
    /// Paths to try in order; the first that can be executed wins.
    pub(crate) candidates: Vec<CString>,
    /// Where the candidates come from.
    pub(crate) lookup: Lookup,
    /// Arguments, the program's name first.
    pub(crate) arguments: Vec<CString>,
    /// Variables, `NAME=value`.
    pub(crate) environment: Vec<CString>,
}

/// How a program was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// By its path: the one candidate.
    Path,
    /// By a name that is searched in directories. One that can't be entered holds no program, as for a shell.
    Search,
}

/// What failed in the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Stage {
    /// Nothing: the program runs.
    Running = 0,
    /// Capabilities could not be kept.
    Capabilities = 1,
    /// The streams could not be put in place.
    Streams = 2,
    /// A session of its own, or its terminal.
    Terminal = 3,
    /// The start directory could not be entered.
    Directory = 4,
    /// The process limit could not be set.
    Limit = 5,
    /// No candidate could be executed.
    Execute = 6,
    /// A candidate was found, but not what it needs to run: the interpreter of its first line, or its loader.
    Interpreter = 7,
}

/// Why a program did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartError {
    /// clone(2) failed.
    Clone(Errno),
    /// The child failed at this stage.
    Child(Stage, Errno),
}

/// What a child runs on between clone and execve. Kept from one start to the next: to give it back, and any memory, is
/// an interrupt to each processor that another thread of the process has run on.
#[derive(Debug)]
pub(crate) struct ChildStack(Vec<u128>);

impl ChildStack {
    pub(crate) fn new() -> Self {
        Self(vec![0; CHILD_STACK / size_of::<u128>()])
    }
}

/// Starts `program` in a child made with `namespaces` (`CLONE_NEW*`), and waits until it executes or fails.
///
/// # Errors
/// [`StartError`]; the child is gone then, and for [`StartError::Child`] must be reaped by the caller.
pub(crate) fn start(
    program: &Program,
    preparation: &Preparation,
    namespaces: c_int,
    stack: &mut ChildStack,
) -> Result<Pid, StartError> {
    let argument_pointers = pointers(&program.arguments);
    let environment_pointers = pointers(&program.environment);
    let candidate_pointers = pointers(&program.candidates);
    let mut script_pointers = script_pointers(&argument_pointers);
    let mut child = Child {
        preparation,
        script: script_pointers.as_mut_ptr(),
        candidates: candidate_pointers.as_ptr(),
        lookup: program.lookup,
        arguments: argument_pointers.as_ptr(),
        environment: environment_pointers.as_ptr(),
        failure: (Stage::Running, 0),
    };
    let top = stack.0.as_mut_ptr_range().end.cast::<c_void>();
    // Signals stay blocked while two processes share this memory, so that no handler runs in the child.
    let mask = sys::block_all_signals();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | namespaces;
    // SAFETY: `top` is the aligned end of a stack that outlives the child's use of it, because CLONE_VFORK makes
    // this thread wait until the child executes or exits; `child` and all it points to outlive the call too.
    let pid = unsafe { libc::clone(enter_child, top, flags, (&raw mut child).cast()) };
    let clone_error = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
    sys::set_signal_mask(&mask);
    let Some(pid) = Pid::from_raw(pid.max(0)) else {
        return Err(StartError::Clone(clone_error));
    };
    match child.failure {
        (Stage::Running, _) => Ok(pid),
        (stage, errno) => Err(StartError::Child(stage, Errno::from_raw_os_error(errno))),
    }
}

/// NULL-terminated array of pointers into `strings`.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain(std::iter::once(ptr::null()))
        .collect()
}

/// The arguments of a shell that runs a script without an interpreter line, execvp(3); the script's path goes into
/// the second place.
fn script_pointers(arguments: &[*const c_char]) -> Vec<*const c_char> {
    let rest = arguments.iter().skip(1).copied();
    [SHELL.as_ptr(), ptr::null()]
        .into_iter()
        .chain(rest)
        .collect()
}

/// What the child sees of its parent.
struct Child<'a> {
    script: *mut *const c_char,
    preparation: &'a Preparation,
    candidates: *const *const c_char,
    lookup: Lookup,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    failure: (Stage, c_int),
}

extern "C" fn enter_child(argument: *mut c_void) -> c_int {
    // SAFETY: `start` passes a pointer to its own `Child`, which outlives this child's use of the memory.
    let child = unsafe { &mut *argument.cast::<Child<'_>>() };
    child.failure = child.run();
    // SAFETY: _exit runs no handlers and does not return.
    unsafe { libc::_exit(127) }
}

impl Child<'_> {
    /// Prepares and executes; returns only on failure.
    fn run(&self) -> (Stage, c_int) {
        let result = match self.preparation {
            Preparation::Init { channel } => prepare_init(*channel),
            Preparation::Command(command) => prepare_command(command),
        };
        if let Err(stage) = result {
            return (stage, errno());
        }
        self.execute()
    }

    /// Tries each candidate; the most telling error wins: one that was found but can't be executed beats `ENOENT`.
    fn execute(&self) -> (Stage, c_int) {
        let mut telling = libc::ENOENT;
        let mut missing = Stage::Execute;
        let mut candidate = self.candidates;
        loop {
            // SAFETY: `candidate` walks an array that ends with a null pointer, checked below.
            let path = unsafe { *candidate };
            if path.is_null() {
                let stage = if telling == libc::ENOENT {
                    missing
                } else {
                    Stage::Execute
                };
                return (stage, telling);
            }
            // SAFETY: path, arguments and environment are NUL-terminated strings in NULL-terminated arrays.
            unsafe { libc::execve(path, self.arguments, self.environment) };
            let mut error = errno();
            if error == libc::ENOEXEC {
                error = self.execute_script(path);
            }
            if error == libc::EACCES && self.lookup == Lookup::Search && !is_there(path) {
                error = libc::ENOENT;
            }
            if error == libc::ENOENT && is_there(path) {
                missing = Stage::Interpreter;
            }
            if error != libc::ENOENT && error != libc::ENOTDIR {
                telling = error;
                if error != libc::EACCES {
                    return (Stage::Execute, telling);
                }
            }
            // SAFETY: the entry just read was not the null end, so the next one exists.
            candidate = unsafe { candidate.add(1) };
        }
    }
}

impl Child<'_> {
    /// Runs a file that the kernel has no loader for by the shell, as execvp(3) does.
    fn execute_script(&self, path: *const c_char) -> c_int {
        // SAFETY: `script` has at least three places: the shell, this one, and the null end.
        let place = unsafe { self.script.add(1) };
        // SAFETY: the place belongs to the parent's vector, which waits and outlives this child.
        unsafe { *place = path };
        // SAFETY: shell, script arguments and environment are NUL-terminated strings in NULL-terminated arrays.
        unsafe { libc::execve(SHELL.as_ptr(), self.script, self.environment) };
        libc::ENOEXEC
    }
}

/// Keeps every capability over execve (ambient set) and puts the channel on standard input.
fn prepare_init(channel: RawFd) -> Result<(), Stage> {
    keep_capabilities().map_err(|()| Stage::Capabilities)?;
    // SAFETY: a constant path; open is async-signal-safe.
    let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    for (from, to) in [(channel, 0), (null, 1), (null, 2)] {
        // SAFETY: dup2 takes plain integers; the streams of this child's own table are replaced.
        if unsafe { libc::dup2(from, to) } < 0 {
            return Err(Stage::Streams);
        }
    }
    Ok(())
}

/// Moves all permitted capabilities into the inheritable and ambient sets, capabilities(7).
///
/// Without a new user namespace the caller has none, and there is nothing to keep.
fn keep_capabilities() -> Result<(), ()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let mut sets = [Sets {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    }; 2];
    // SAFETY: version 3 of the header asks for two sets, and there is room for two.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) } != 0 {
        return Err(());
    }
    for set in &mut sets {
        set.inheritable = set.permitted;
    }
    // SAFETY: as above; the kernel only reads.
    if unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) } != 0 {
        return Err(());
    }
    let [low, high] = sets;
    let permitted = u64::from(low.permitted) | u64::from(high.permitted) << 32;
    for capability in 0..64_u32 {
        if permitted & (1 << capability) != 0 {
            // SAFETY: prctl takes plain integers here.
            let raised = unsafe {
                libc::prctl(
                    libc::PR_CAP_AMBIENT,
                    libc::PR_CAP_AMBIENT_RAISE,
                    libc::c_ulong::from(capability),
                    0,
                    0,
                )
            };
            if raised != 0 {
                return Err(());
            }
        }
    }
    Ok(())
}

/// Session, terminal, streams, limits, directory and mask of a command.
fn prepare_command(command: &CommandPreparation) -> Result<(), Stage> {
    // SAFETY: no arguments; a freshly cloned child leads no process group, so this can't fail.
    unsafe { libc::setsid() };
    if let Some(terminal) = command.terminal {
        // SAFETY: TIOCSCTTY takes an integer argument.
        if unsafe { libc::ioctl(terminal, libc::TIOCSCTTY as _, 0) } != 0 {
            return Err(Stage::Terminal);
        }
    }
    for (from, to) in command.streams.iter().zip(0..) {
        // SAFETY: dup2 takes plain integers. The sources are above 2, so none is overwritten before its turn.
        if unsafe { libc::dup2(*from, to) } < 0 {
            return Err(Stage::Streams);
        }
    }
    // SAFETY: plain integers. The table is this child's own: CLONE_FILES was not asked for.
    if unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) } != 0 {
        return Err(Stage::Streams);
    }
    let open_files = &raw const command.open_files;
    // SAFETY: setrlimit reads the structure, which outlives the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, open_files) } != 0 {
        return Err(Stage::Limit);
    }
    if let Some(limit) = command.process_limit {
        let limit = libc::rlimit {
            rlim_cur: limit as libc::rlim_t,
            rlim_max: limit as libc::rlim_t,
        };
        // SAFETY: setrlimit reads the structure, which lives for the call.
        if unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit) } != 0 {
            return Err(Stage::Limit);
        }
    }
    // SAFETY: a NUL-terminated path made by the parent.
    if unsafe { libc::chdir(command.directory.as_ptr()) } != 0 {
        return Err(Stage::Directory);
    }
    // SAFETY: a plain integer; umask can't fail.
    unsafe { libc::umask(command.umask as libc::mode_t) };
    ignore_signals(command.ignored_signals);
    unblock_signals();
    Ok(())
}

/// Ignores the signals in `ignored`; all others have their default action, because init gave it to them.
fn ignore_signals(ignored: u64) {
    for signal in 1..=LAST_SIGNAL {
        if ignored & (1_u64 << (signal - 1)) != 0 {
            // SAFETY: SIG_IGN is a valid action; the kernel refuses it for SIGKILL and SIGSTOP, which is harmless.
            // The table is this child's own: CLONE_SIGHAND was not asked for.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }
}

/// Empties the signal mask.
fn unblock_signals() {
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set is initialised; no old mask is asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) };
}

/// Whether the file can be seen at all; a directory on the way that can't be entered hides it.
fn is_there(path: *const c_char) -> bool {
    // SAFETY: a NUL-terminated path made by the parent; access is async-signal-safe.
    unsafe { libc::access(path, libc::F_OK) == 0 }
}

fn errno() -> c_int {
    // SAFETY: takes nothing and returns the address of this thread's errno.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: that address is valid as long as the thread is, and nobody else writes it: the parent waits.
    unsafe { *location }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    use rustix::thread::CapabilitySet;

    use super::*;

    /// Nobody, who can't enter what is closed; a test run by root would enter everything.
    const NOBODY: u32 = 65_534;

    /// How a program that is found at one of `candidates` starts for somebody without privileges.
    fn start_as_nobody(candidates: Vec<PathBuf>, lookup: Lookup) -> Result<i32, StartError> {
        let thread = std::thread::spawn(move || {
            // Root inside a session of Ringfence can't enter everything, and can't become anybody else either.
            let own = rustix::thread::capabilities(None).unwrap();
            if own.effective.contains(CapabilitySet::DAC_OVERRIDE) {
                sys::set_thread_identity(NOBODY, NOBODY).unwrap();
            }
            let null = File::options()
                .read(true)
                .write(true)
                .open("/dev/null")
                .unwrap();
            let path = |path: &PathBuf| CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
            let program = Program {
                candidates: candidates.iter().map(path).collect(),
                lookup,
                arguments: vec![CString::from(c"program")],
                environment: Vec::new(),
            };
            let preparation = CommandPreparation {
                streams: [null.as_raw_fd(); 3],
                terminal: None,
                directory: CString::from(c"/"),
                umask: 0o022,
                ignored_signals: 0,
                process_limit: None,
                open_files: sys::raise_open_files().unwrap(),
            };
            let pid = {
                let preparation = Preparation::Command(Box::new(preparation));
                start(&program, &preparation, 0, &mut ChildStack::new())?
            };
            let (_, status) =
                rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())
                    .unwrap()
                    .unwrap();
            Ok(status.exit_status().unwrap())
        });
        thread.join().unwrap()
    }

    fn place(directory: &Path, name: &str, directory_mode: u32, file_mode: u32) -> PathBuf {
        let directory = directory.join(name);
        fs::create_dir(&directory).unwrap();
        let program = directory.join("program");
        fs::write(&program, "#!/bin/sh\nexit 7\n").unwrap();
        fs::set_permissions(&program, Permissions::from_mode(file_mode)).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(directory_mode)).unwrap();
        program
    }

    #[test]
    fn a_directory_that_can_not_be_entered_holds_no_program() {
        let scratch = tempfile::tempdir().unwrap();
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        let closed = place(scratch.path(), "closed", 0o000, 0o755);
        let plain = place(scratch.path(), "plain", 0o755, 0o644);
        let good = place(scratch.path(), "good", 0o755, 0o755);
        let absent = scratch.path().join("absent/program");
        let refused = |errno| Err(StartError::Child(Stage::Execute, errno));
        let cases = [
            (
                vec![&closed, &absent],
                Lookup::Search,
                refused(Errno::NOENT),
            ),
            (vec![&closed], Lookup::Search, refused(Errno::NOENT)),
            (vec![&closed, &good], Lookup::Search, Ok(7)),
            // A file that is there and can't be executed is found, wherever the search goes on.
            (
                vec![&plain, &closed, &absent],
                Lookup::Search,
                refused(Errno::ACCESS),
            ),
            (vec![&plain, &good], Lookup::Search, Ok(7)),
            // Somebody who names a path is told that it is closed.
            (vec![&closed], Lookup::Path, refused(Errno::ACCESS)),
        ];
        for (candidates, lookup, expected) in cases {
            let words = format!("{candidates:?} {lookup:?}");
            let candidates = candidates.into_iter().cloned().collect();
            assert_eq!(start_as_nobody(candidates, lookup), expected, "{words}");
        }
        fs::set_permissions(scratch.path().join("closed"), Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_script_whose_interpreter_is_missing_is_found_all_the_same() {
        let scratch = tempfile::tempdir().unwrap();
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        let broken = place(scratch.path(), "broken", 0o755, 0o755);
        fs::write(&broken, "#!/no/such/interpreter\n").unwrap();
        let good = place(scratch.path(), "good", 0o755, 0o755);
        let absent = scratch.path().join("absent/program");
        let refused = |stage| Err(StartError::Child(stage, Errno::NOENT));
        for (candidates, lookup, expected) in [
            (vec![&broken], Lookup::Path, refused(Stage::Interpreter)),
            (
                vec![&broken, &absent],
                Lookup::Search,
                refused(Stage::Interpreter),
            ),
            (vec![&broken, &good], Lookup::Search, Ok(7)),
            (vec![&absent], Lookup::Path, refused(Stage::Execute)),
            (Vec::new(), Lookup::Search, refused(Stage::Execute)),
        ] {
            let words = format!("{candidates:?} {lookup:?}");
            let candidates = candidates.into_iter().cloned().collect();
            assert_eq!(start_as_nobody(candidates, lookup), expected, "{words}");
        }
    }
}
