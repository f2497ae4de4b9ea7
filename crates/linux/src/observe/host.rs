//! The kernel, the caller, and what speaks against namespaces: cheap hints, no proof.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ringfence_plan::linux::facts::{Caller, Seccomp, UserNamespaces};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::error::ObserveError;

/// The longest file of the kernel's or of a person's configuration that is read.
pub(super) const MAX_FILE: usize = 4 << 20;

/// Reads a whole file, up to [`MAX_FILE`] bytes; a longer one is `EFBIG`.
///
/// # Errors
/// [`ObserveError::ReadFile`].
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, ObserveError> {
    read_at(CWD, path.as_os_str(), OFlags::empty()).map_err(|source| ObserveError::ReadFile {
        path: path.to_owned(),
        source,
    })
}

/// Reads a whole regular file relative to `directory`; never blocks on a FIFO.
///
/// # Errors
/// The system's error; `EFBIG` beyond [`MAX_FILE`].
pub(super) fn read_at(
    directory: impl rustix::fd::AsFd,
    path: &OsStr,
    flags: OFlags,
) -> Result<Vec<u8>, Errno> {
    let file = rustix::fs::openat(
        directory,
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | flags,
        Mode::empty(),
    )?;
    let mut content = Vec::with_capacity(4096);
    loop {
        content.reserve(4096);
        let spare = rustix::buffer::spare_capacity(&mut content);
        if rustix::io::read(&file, spare)? == 0 {
            return Ok(content);
        }
        if content.len() > MAX_FILE {
            return Err(Errno::FBIG);
        }
    }
}

/// The kernel's release.
pub(super) fn kernel_release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// Who calls.
///
/// # Errors
/// [`ObserveError::Groups`].
pub(super) fn caller() -> Result<Caller, ObserveError> {
    let groups = rustix::process::getgroups().map_err(|source| ObserveError::Groups { source })?;
    Ok(Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        groups: groups
            .into_iter()
            .map(rustix::process::Gid::as_raw)
            .collect(),
    })
}

/// What speaks against user namespaces: two sysctls, and the rule of `AppArmor` where no profile lifts it.
pub(super) fn probe_user_namespaces() -> UserNamespaces {
    let refused = |cause: &str, cure: &str| UserNamespaces::Refused {
        cause: cause.to_owned(),
        cure: cure.to_owned(),
    };
    if setting("/proc/sys/user/max_user_namespaces").as_deref() == Some(b"0") {
        return refused(
            "the sysctl user.max_user_namespaces is 0",
            "as root: `sysctl -w user.max_user_namespaces=15000`, and the same line in /etc/sysctl.d",
        );
    }
    if rustix::process::geteuid().is_root() {
        return UserNamespaces::Available;
    }
    if setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some(b"0") {
        return refused(
            "the sysctl kernel.unprivileged_userns_clone is 0",
            "as root: `sysctl -w kernel.unprivileged_userns_clone=1`, and the same line in /etc/sysctl.d",
        );
    }
    let restricted = setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
    if restricted.as_deref() == Some(b"1") && is_unconfined() {
        return refused(
            "AppArmor refuses user namespaces to programs without a profile",
            "install the program and its AppArmor profile as docs/apparmor.md says: packaging/apparmor/ringfence",
        );
    }
    UserNamespaces::Available
}

/// Namespaces that were tried and refused for `cause`, with what helps as far as this machine tells.
pub(super) fn refused_namespaces(cause: String) -> UserNamespaces {
    match probe_user_namespaces() {
        // The cause was seen; why is known too.
        UserNamespaces::Refused { cause: why, cure } => UserNamespaces::Refused {
            cause: format!("{cause} ({why})"),
            cure,
        },
        UserNamespaces::Available => {
            let cure = if is_filtered() {
                "run outside the sandbox or container that this runs in, or let its seccomp profile allow clone and unshare with CLONE_NEWUSER"
            } else {
                "see what refuses clone with CLONE_NEWUSER: a security module (`dmesg`), or a container that keeps its own namespace"
            };
            UserNamespaces::Refused {
                cause,
                cure: cure.to_owned(),
            }
        }
    }
}

fn is_unconfined() -> bool {
    setting("/proc/self/attr/current").is_none_or(|label| label.starts_with(b"unconfined"))
}

/// What of seccomp works. A process that is filtered and may make no namespace is in somebody's sandbox or container:
/// whether that leaves room for a listener of ours is found out by making one.
pub(super) fn probe_seccomp(namespaces: &UserNamespaces) -> Seccomp {
    let Some(actions) = setting("/proc/sys/kernel/seccomp/actions_avail") else {
        return probe_seccomp_status();
    };
    let listener = actions
        .split(|byte| *byte == b' ')
        .any(|action| action == b"user_notif");
    match namespaces {
        UserNamespaces::Refused { .. } if is_filtered() && !can_listen() => Seccomp::FilterOnly,
        UserNamespaces::Available | UserNamespaces::Refused { .. } if listener => Seccomp::Listener,
        UserNamespaces::Available | UserNamespaces::Refused { .. } => Seccomp::FilterOnly,
    }
}

fn probe_seccomp_status() -> Seccomp {
    match read_file(Path::new("/proc/self/status")) {
        Ok(status) if contains_line(&status, b"Seccomp:") => Seccomp::FilterOnly,
        Ok(_) => Seccomp::Absent,
        // Nothing is known: the launch finds out.
        Err(_) => Seccomp::Listener,
    }
}

fn can_listen() -> bool {
    crate::seccomp::probe_listener().is_ok() && crate::observer::probe_memory().is_ok()
}

fn is_filtered() -> bool {
    read_file(Path::new("/proc/self/status"))
        .is_ok_and(|status| contains_line(&status, b"Seccomp:\t2"))
}

fn contains_line(text: &[u8], start: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n')
        .any(|line| line.starts_with(start))
}

fn setting(path: &str) -> Option<Vec<u8>> {
    let content = read_at(CWD, OsStr::from_bytes(path.as_bytes()), OFlags::empty()).ok()?;
    Some(content.trim_ascii().to_vec())
}
