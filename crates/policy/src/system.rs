//! Directories that belong to the kernel and the running system, which no policy makes writable.
//!
//! Knows them by their names alone; what a name leads to, and file systems of the kernel mounted elsewhere, are the
//! executor's to look up. Invariant: what lies below such a directory is judged as it is.

use std::path::Path;

/// Processes and settings of the kernel, devices, and the sockets of what runs.
pub const SYSTEM_DIRECTORIES: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/var/run"];

/// Where desktops mount a person's own disks, two names further down: `/run/media/ann/STICK`.
const REMOVABLE: &str = "/run/media";

/// What such a directory is, in an error.
pub const SYSTEM_WORDS: &str =
    "one of the kernel's or the running system's own (/proc, /sys, /dev, /run)";

/// What to do instead of making one writable.
pub const SYSTEM_HINT: &str = "what is there steers this machine and is never writable inside; programs get a small /dev, a /proc and a /dev/shm of their own; name a directory of files";

/// Whether `path` is one of the system's directories or lies in one.
#[must_use]
pub fn is_system(path: &Path) -> bool {
    let within = |directory: &&str| path.starts_with(directory);
    let is_disk = path
        .strip_prefix(REMOVABLE)
        .is_ok_and(|below| below.components().count() >= 2);
    SYSTEM_DIRECTORIES.iter().any(within) && !is_disk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_directories_are_known_and_a_persons_disk_is_not_one() {
        for system in [
            "/proc",
            "/proc/sys/kernel",
            "/sys",
            "/dev/shm/x",
            "/run/user/1000",
            "/var/run/x",
            "/run/media/ann",
        ] {
            assert!(is_system(Path::new(system)), "{system}");
        }
        for other in [
            "/",
            "/process",
            "/var",
            "/devel",
            "/srv/run",
            "/run/media/ann/STICK",
            "/run/media/ann/STICK/p",
        ] {
            assert!(!is_system(Path::new(other)), "{other}");
        }
    }
}
