//! What the system ran out of under an error, and the cure: the same whatever was tried.
//!
//! Invariant: a cure is named only where a cause in the error's own chain says what ran out.

use std::error::Error;
use std::io;

use ringfence_backend::causes::chain;

/// The next command where a limit of the caller's or a full disk is among the causes of `error`.
#[must_use]
pub fn cure_of_shortage(error: &(dyn Error + 'static)) -> Option<&'static str> {
    chain(error)
        .filter_map(cause)
        .find_map(|cause| cure(&cause))
}

/// One error of a chain as the system's.
fn cause(error: &(dyn Error + 'static)) -> Option<io::Error> {
    #[cfg(unix)]
    if let Some(errno) = error.downcast_ref::<rustix::io::Errno>() {
        return Some((*errno).into());
    }
    let code = error.downcast_ref::<io::Error>()?;
    Some(match code.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => code.kind().into(),
    })
}

fn cure(cause: &io::Error) -> Option<&'static str> {
    if is_of_open_files(cause) {
        return Some("raise the limit on open files: ulimit -n 1024");
    }
    if is_of_user(cause) {
        return Some(
            "all processes of a user share these limits; raise the one that is used up: sysctl fs.inotify user",
        );
    }
    let (too_large, full, quota) = if cfg!(windows) {
        (
            "use a disk whose file system holds larger files: FAT32 ends at 4 GiB",
            "free space on that disk: Get-PSDrive",
            "free space within your quota: fsutil quota query C:",
        )
    } else {
        (
            "raise the limit on the size of files: ulimit -f unlimited",
            "free space on that disk: df -h",
            "free space within your quota: quota",
        )
    };
    match cause.kind() {
        io::ErrorKind::FileTooLarge => Some(too_large),
        io::ErrorKind::StorageFull => Some(full),
        io::ErrorKind::QuotaExceeded => Some(quota),
        _ => None,
    }
}

/// `EMFILE` of this process, `ENFILE` of the system, and `EBADF`, which dup2(2) gives for a number above the limit.
#[cfg(unix)]
fn is_of_open_files(cause: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = cause.raw_os_error().map(Errno::from_raw_os_error);
    errno.is_some_and(|errno| [Errno::MFILE, Errno::NFILE, Errno::BADF].contains(&errno))
}

/// `EUSERS`: a limit of the kernel on what one user has, such as watches or namespaces.
#[cfg(unix)]
fn is_of_user(cause: &io::Error) -> bool {
    cause.raw_os_error() == Some(rustix::io::Errno::USERS.raw_os_error())
}

#[cfg(not(unix))]
fn is_of_user(_cause: &io::Error) -> bool {
    false
}

#[cfg(not(unix))]
fn is_of_open_files(_cause: &io::Error) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer<E: Error + 'static>(#[source] E);

    #[test]
    fn the_cause_decides_and_not_what_lies_on_top() {
        let full = Outer(Outer(io::Error::from(io::ErrorKind::StorageFull)));
        assert!(cure_of_shortage(&full).is_some_and(|cure| cure.contains("free space")));
        let refused = Outer(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(cure_of_shortage(&refused), None);
    }

    #[cfg(unix)]
    #[test]
    fn both_forms_of_a_system_error_are_known() {
        let open_files = "raise the limit on open files: ulimit -n 1024";
        let of_user = cure_of_shortage(&Outer(rustix::io::Errno::USERS));
        assert!(of_user.is_some_and(|cure| cure.contains("fs.inotify")));
        let raw = Outer(rustix::io::Errno::MFILE);
        assert_eq!(cure_of_shortage(&raw), Some(open_files));
        let wrapped = Outer(io::Error::from(rustix::io::Errno::MFILE));
        assert_eq!(cure_of_shortage(&wrapped), Some(open_files));
    }
}
