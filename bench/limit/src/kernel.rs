//! The kernel calls that no safe wrapper has. It decides nothing. Invariant: one unsafe operation per block.

#![expect(
    unsafe_code,
    reason = "clone with namespaces, mount_setattr, seccomp and SIOCSIFFLAGS have no safe wrapper"
)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Which side of the clone we are on.
pub(crate) enum Side {
    /// The parent, and the child's pid.
    Parent(i32),
    /// The child: pid 1 of its namespaces.
    Child,
}

fn outcome(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// clone(2) with all namespaces of the full level, as fork does it.
pub(crate) fn clone_into_namespaces() -> io::Result<Side> {
    let flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
        | libc::SIGCHLD;
    // SAFETY: a clone without CLONE_VM and with a null stack is a fork; this process has one thread, so that the
    // child may use its memory as if nothing had happened.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    Ok(match outcome(result)? {
        0 => Side::Child,
        pid => Side::Parent(i32::try_from(pid).map_err(io::Error::other)?),
    })
}

/// `mount_setattr(2)` on `path` (on `directory` itself where it is empty).
pub(crate) fn set_mount_attributes(
    directory: BorrowedFd<'_>,
    path: &CStr,
    flags: i32,
    set: u64,
    clear: u64,
    propagation: u64,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation,
        userns_fd: 0,
    };
    // SAFETY: `path` ends with a NUL and `attributes` has the size that is passed; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    outcome(result).map(drop)
}

/// Sets `IFF_UP` on the loopback interface through `socket`.
pub(crate) fn raise_loopback(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut name: [libc::c_char; libc::IFNAMSIZ] = [0; libc::IFNAMSIZ];
    for (place, letter) in name.iter_mut().zip(b"lo") {
        *place = libc::c_char::from_ne_bytes([*letter]);
    }
    let request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: i16::try_from(libc::IFF_UP).map_err(io::Error::other)?,
        },
    };
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which outlives the call.
    let result = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )
    };
    outcome(result.into()).map(drop)
}

/// `seccomp(2)` with `SECCOMP_SET_MODE_FILTER`; `no_new_privs` must be set.
pub(crate) fn load_filter(program: &mut [libc::sock_filter]) -> io::Result<()> {
    let description = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: `description` names as many instructions as `program` holds; the kernel copies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const description,
        )
    };
    outcome(result).map(drop)
}
