//! Thin calls that rustix does not wrap: mount attributes, signal descriptors, child reaping, loopback.
//!
//! Each function is one system call with its error passed through; nothing is decided here.
#![expect(unsafe_code, reason = "system calls that no safe crate wraps")]

use std::ffi::CStr;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

/// `MOUNT_ATTR_RDONLY`, `mount_setattr(2)`.
pub(crate) const ATTR_READ_ONLY: u64 = 0x1;
/// `MOUNT_ATTR_NOSUID`, `mount_setattr(2)`.
pub(crate) const ATTR_NO_SUID: u64 = 0x2;
/// `MOUNT_ATTR_NODEV`, `mount_setattr(2)`.
pub(crate) const ATTR_NO_DEV: u64 = 0x4;
/// `MS_PRIVATE` as the propagation of `mount_setattr(2)`.
pub(crate) const PROPAGATION_PRIVATE: u64 = 1 << 18;

/// Whether a call reaches the mounts below the named one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The named mount alone.
    Top,
    /// The named mount and all below it.
    Recursive,
}

/// `struct mount_attr`, linux/mount.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MountAttributes {
    /// Attributes to set.
    pub(crate) set: u64,
    /// Attributes to clear.
    pub(crate) clear: u64,
    /// Propagation type, or 0 to leave it.
    pub(crate) propagation: u64,
    /// A user namespace for id-mapped mounts; unused here.
    pub(crate) user_namespace: u64,
}

/// Changes the attributes of the mount at `path` below `directory` (empty: of the mount `directory` refers to).
///
/// # Errors
/// The kernel's, `mount_setattr(2)`: `EPERM` when a locked attribute would be cleared.
pub(crate) fn mount_setattr(
    directory: impl AsFd,
    path: &CStr,
    reach: Reach,
    attributes: MountAttributes,
) -> Result<(), Errno> {
    let mut flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    if reach == Reach::Recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: mount_setattr reads a NUL-terminated path and `size` bytes of a `struct mount_attr`; both live for the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory.as_fd().as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    check(result)
}

/// Blocks every signal in the calling thread and returns the mask that was in force.
pub(crate) fn block_all_signals() -> libc::sigset_t {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the set that it is given.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `all` was initialised above; `before` is written by the call, which can't fail for SIG_SETMASK.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    // SAFETY: pthread_sigmask has filled `before`.
    unsafe { before.assume_init() }
}

/// Sets the calling thread's signal mask.
pub(crate) fn set_signal_mask(mask: &libc::sigset_t) {
    // SAFETY: `mask` is an initialised set, and a null pointer asks for no old mask.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
}

/// Raises this process's soft limit on open files to the hard one, and returns what it was, getrlimit(2).
///
/// # Errors
/// The kernel's.
pub(crate) fn raise_open_files() -> Result<libc::rlimit, Errno> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is valid for writes for the length of the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }.into())?;
    let raised = libc::rlimit {
        rlim_cur: limit.rlim_max,
        rlim_max: limit.rlim_max,
    };
    // SAFETY: the structure is valid for reads for the length of the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) }.into())?;
    Ok(limit)
}

/// The numbers of the signals that this process ignores.
#[must_use]
pub fn ignored_signals() -> Vec<i32> {
    (1..=64)
        .filter(|signal| disposition_is_ignore(*signal))
        .collect()
}

/// Gives every ignored signal its default action again, so that children start from a known state.
pub(crate) fn reset_ignored_signals() {
    for signal in ignored_signals() {
        // SAFETY: SIG_DFL is a valid action, and no handler of ours exists that another thread could rely on.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

fn disposition_is_ignore(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null new action only asks; `action` is written when the call succeeds.
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    if result != 0 {
        return false;
    }
    // SAFETY: sigaction succeeded and filled `action`.
    let action = unsafe { action.assume_init() };
    action.sa_sigaction == libc::SIG_IGN
}

/// A descriptor that becomes readable when a child changes state; SIGCHLD must be blocked in every thread.
///
/// # Errors
/// The kernel's, signalfd(2).
pub(crate) fn child_signal_descriptor() -> Result<OwnedFd, Errno> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set is initialised and SIGCHLD is a valid signal.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD) };
    // SAFETY: -1 asks for a new descriptor; the set is initialised.
    let descriptor =
        unsafe { libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if descriptor < 0 {
        return Err(last_error());
    }
    // SAFETY: the kernel has just given us this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// A child that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reaped {
    /// Its process id.
    pub(crate) pid: i32,
    /// Its wait status.
    pub(crate) status: i32,
    /// User plus system time of it and its own reaped children, in microseconds.
    pub(crate) cpu_microseconds: u64,
}

/// What reaping found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reap {
    /// One child has ended.
    Child(Reaped),
    /// There are children, and none has ended.
    Running,
    /// There is no child at all.
    NoChildren,
}

/// Reaps one ended child without waiting, wait4(2).
pub(crate) fn reap() -> Reap {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are valid for writes for the length of the call.
    let pid = unsafe {
        libc::wait4(
            -1,
            &raw mut status,
            libc::WNOHANG | libc::__WALL,
            usage.as_mut_ptr(),
        )
    };
    if pid == 0 {
        return Reap::Running;
    }
    if pid < 0 {
        return Reap::NoChildren;
    }
    // SAFETY: the structure was zeroed and is plain data, so it is initialised whatever the kernel wrote.
    let usage = unsafe { usage.assume_init() };
    let micros = |time: libc::timeval| {
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000
            + u64::try_from(time.tv_usec).unwrap_or(0)
    };
    Reap::Child(Reaped {
        pid,
        status,
        cpu_microseconds: micros(usage.ru_utime) + micros(usage.ru_stime),
    })
}

/// Sends `signal` to every process that the caller may signal but itself: inside a process namespace, all of it.
///
/// # Errors
/// The kernel's, kill(2); `ESRCH` when there is none.
pub(crate) fn signal_everyone(signal: i32) -> Result<(), Errno> {
    // SAFETY: kill takes plain integers.
    let result = unsafe { libc::kill(-1, signal) };
    check(result.into())
}

/// Sends `signal` to the process group `group`.
///
/// # Errors
/// The kernel's, kill(2).
pub(crate) fn signal_group(group: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: kill takes plain integers.
    let result = unsafe { libc::kill(-group, signal) };
    check(result.into())
}

/// Brings the loopback interface of the calling thread's network namespace up (netdevice(7)).
///
/// # Errors
/// The kernel's.
pub(crate) fn raise_loopback(socket: impl AsFd) -> Result<(), Errno> {
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 },
    };
    for (slot, byte) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *slot = libc::c_char::from_ne_bytes([*byte]);
    }
    request.ifr_ifru = libc::__c_anonymous_ifr_ifru {
        ifru_flags: i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(0),
    };
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which lives for the call.
    let result = unsafe {
        libc::ioctl(
            socket.as_fd().as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )
    };
    check(result.into())
}

/// Sets real, effective and saved ids of the calling *thread* (not of the process), and drops its supplementary groups.
///
/// # Errors
/// The kernel's, setgroups(2), setresgid(2), setresuid(2). `EPERM` from setgroups is the kernel's answer in a user
/// namespace that denies it; the groups then stay as the mapping left them.
pub(crate) fn set_thread_identity(uid: u32, gid: u32) -> Result<(), Errno> {
    // SAFETY: a zero count reads nothing from the null list.
    let groups = unsafe { libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) };
    if let Err(error) = check(groups)
        && error != Errno::PERM
    {
        return Err(error);
    }
    // SAFETY: plain integers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: plain integers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

/// Whether the target of a wait status ended by a signal, and which; else its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitStatus {
    /// Exited with this status.
    Exited(u8),
    /// Ended by this signal.
    Signalled(i32),
}

/// Decodes a wait status, wait(2).
pub(crate) fn decode_wait_status(status: i32) -> WaitStatus {
    if libc::WIFSIGNALED(status) {
        WaitStatus::Signalled(libc::WTERMSIG(status))
    } else {
        WaitStatus::Exited(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
    }
}

/// Turns a system call's result into a `Result`.
fn check(result: libc::c_long) -> Result<(), Errno> {
    if result < 0 {
        Err(last_error())
    } else {
        Ok(())
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// `SO_PASSRIGHTS` of `<asm-generic/socket.h>`, Linux 6.16.
const SO_PASSRIGHTS: libc::c_int = 83;

/// Makes a Unix socket take no descriptors: whoever sends one to it hears an error. Before Linux 6.16 nothing changes.
pub(crate) fn refuse_descriptors(socket: &impl AsRawFd) -> Result<(), Errno> {
    let no: libc::c_int = 0;
    let length = libc::socklen_t::try_from(size_of_val(&no)).map_err(|_| Errno::INVAL)?;
    // SAFETY: `no` is a valid int for the length of the call, and its size is what is said.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const no).cast(),
            length,
        )
    };
    match check(result.into()) {
        Ok(()) | Err(Errno::NOPROTOOPT) => Ok(()),
        Err(errno) => Err(errno),
    }
}
