//! The table of calls that change something at a path, readable as the specification.
//!
//! Each row is one attack of the probe; the suite runs it in every place that must hold (outside the roots, below a
//! protected name, in read-only mode), without the boundary as its control, and in a writable place as its sibling.

/// What a call acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// An existing file.
    File,
    /// An existing directory with a file `inner` in it.
    Directory,
    /// An existing empty directory.
    EmptyDirectory,
    /// A name that does not exist in an existing directory.
    NewName,
}

/// Whether the same call works inside the boundary, in a writable place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sibling {
    /// It must.
    Works,
    /// The boundary may refuse this form everywhere, for the reason given.
    MayBeRefused(&'static str),
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct WriteCall {
    /// The attack's name in the probe.
    pub name: &'static str,
    /// What it acts on.
    pub object: Object,
    /// Error numbers that mean "refused" here beside EPERM, EACCES and EROFS.
    pub also: &'static [i32],
    /// What the sibling must do.
    pub sibling: Sibling,
}

const NONE: &[i32] = &[];
/// Two mounts, or two Landlock hierarchies; a mount point.
const MOUNTS: &[i32] = &[libc::EXDEV, libc::EBUSY];

const fn row(name: &'static str, object: Object, also: &'static [i32]) -> WriteCall {
    WriteCall {
        name,
        object,
        also,
        sibling: Sibling::Works,
    }
}

const fn odd(
    name: &'static str,
    object: Object,
    also: &'static [i32],
    reason: &'static str,
) -> WriteCall {
    WriteCall {
        name,
        object,
        also,
        sibling: Sibling::MayBeRefused(reason),
    }
}

use Object::{Directory, EmptyDirectory, File, NewName};

/// Every call.
pub const WRITE_CALLS: &[WriteCall] = &[
    // Opening an existing file for writing, in every form of the open family and through every alias of it.
    row("open-write-only", File, NONE),
    row("open-read-write", File, NONE),
    row("open-append", File, NONE),
    row("open-truncate", File, NONE),
    row("open-truncate-read-only", File, NONE),
    row("open-create-existing", File, NONE),
    row("open-legacy", File, NONE),
    row("creat-existing", File, NONE),
    row("openat-directory-descriptor", File, NONE),
    row("reopen-proc-self-fd", File, NONE),
    row("reopen-path-descriptor", File, NONE),
    row("reopen-dev-fd", File, NONE),
    row("reopen-proc-thread-self", File, NONE),
    row("open-proc-self-root", File, NONE),
    row("open-proc-self-cwd", File, NONE),
    row("open-symlink-to-it", File, NONE),
    row("shell-append", File, NONE),
    // Content.
    row("truncate", File, NONE),
    row("ftruncate", File, NONE),
    row("fallocate", File, NONE),
    row("fallocate-punch-hole", File, NONE),
    row("copy-file-range", File, NONE),
    row("sendfile", File, NONE),
    row("splice", File, NONE),
    row("mmap-shared", File, NONE),
    // Names: away, over, exchanged, linked.
    row("rename-away", File, MOUNTS),
    row("rename-out", File, MOUNTS),
    row("rename-over", File, MOUNTS),
    row("renameat-over", File, MOUNTS),
    row("rename-exchange", File, MOUNTS),
    row("rename-noreplace-away", File, MOUNTS),
    odd(
        "rename-whiteout",
        File,
        MOUNTS,
        "a whiteout is a device node, which Landlock refuses to make",
    ),
    row("link-out", File, MOUNTS),
    row("link-within", File, MOUNTS),
    row("link-descriptor", File, MOUNTS),
    row("link-proc-self-fd", File, MOUNTS),
    row("unlink", File, MOUNTS),
    row("unlinkat", File, MOUNTS),
    // Attributes.
    row("chmod", File, NONE),
    row("fchmod", File, NONE),
    row("fchmodat", File, NONE),
    row("fchmodat2", File, NONE),
    row("chmod-proc-self-fd", File, NONE),
    row("chown", File, NONE),
    row("fchown", File, NONE),
    row("fchownat", File, NONE),
    row("lchown", File, NONE),
    row("utimensat", File, NONE),
    row("utimensat-now", File, NONE),
    row("utimensat-descriptor", File, NONE),
    row("utime", File, NONE),
    row("utimes", File, NONE),
    row("futimesat", File, NONE),
    row("setxattr", File, NONE),
    row("lsetxattr", File, NONE),
    row("fsetxattr", File, NONE),
    row("setxattrat", File, NONE),
    row("removexattr", File, NONE),
    row("fremovexattr", File, NONE),
    row("ioctl-set-flags", File, NONE),
    // Directories.
    row("rename-directory-away", Directory, MOUNTS),
    row("rename-directory-out", Directory, MOUNTS),
    row("create-in-directory", Directory, NONE),
    row("unlink-in-directory", Directory, MOUNTS),
    row("rename-in-directory", Directory, MOUNTS),
    row("chmod-directory", Directory, NONE),
    row("chown-directory", Directory, NONE),
    row("utimensat-directory", Directory, NONE),
    row("setxattr-directory", Directory, NONE),
    row("rmdir", EmptyDirectory, MOUNTS),
    row("unlinkat-directory", EmptyDirectory, MOUNTS),
    row("rename-over-empty-directory", EmptyDirectory, MOUNTS),
    // Making something new.
    row("create", NewName, NONE),
    row("create-exclusive", NewName, NONE),
    row("create-read-only", NewName, NONE),
    row("creat-new", NewName, NONE),
    row("tmpfile", NewName, NONE),
    row("tmpfile-linkat", NewName, NONE),
    row("tmpfile-elsewhere-linkat", NewName, MOUNTS),
    row("link-in", NewName, MOUNTS),
    row("rename-in", NewName, MOUNTS),
    row("rename-noreplace-in", NewName, MOUNTS),
    row("rename-directory-in", NewName, MOUNTS),
    row("symlink", NewName, NONE),
    row("symlinkat", NewName, NONE),
    row("mkdir", NewName, NONE),
    row("mkdirat", NewName, NONE),
    row("mknod-fifo", NewName, NONE),
    row("mknod-socket", NewName, NONE),
    row("mknod-regular", NewName, NONE),
    row("mknodat-fifo", NewName, NONE),
    row("create-through-proc-self-cwd", NewName, NONE),
    row("create-through-directory-descriptor", NewName, NONE),
];

/// The row of that name.
#[must_use]
pub fn write_call(name: &str) -> Option<&'static WriteCall> {
    WRITE_CALLS.iter().find(|call| call.name == name)
}
