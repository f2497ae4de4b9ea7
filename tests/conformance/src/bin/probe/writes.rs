//! Every call that changes something at a path; the table itself is `ringfence_conformance_tests::write_calls`.

use std::ffi::{CStr, CString};

use libc::AT_FDCWD;
use ringfence_conformance_tests::verdict::Stopped;

use crate::calls::{Outcome, descriptor};
use crate::sys;

/// The objects of one attack.
pub(crate) struct Target {
    /// An existing file.
    file: CString,
    /// An existing directory with a file `inner`.
    directory: CString,
    /// An existing empty directory.
    empty: CString,
    /// A name that does not exist.
    new: CString,
    /// A directory that the attacker may write, with `file` and `dir` in it.
    mine: CString,
}

impl Target {
    /// Reads the five objects from the attack's words.
    pub(crate) fn new(words: &[CString]) -> Result<Self, Stopped> {
        let [file, directory, empty, new, mine] = words else {
            return Err(Stopped::untried("a write attack takes five objects"));
        };
        Ok(Self {
            file: file.clone(),
            directory: directory.clone(),
            empty: empty.clone(),
            new: new.clone(),
            mine: mine.clone(),
        })
    }

    fn mine(&self, name: &str) -> Result<CString, Stopped> {
        join(&self.mine, name)
    }

    fn inner(&self) -> Result<CString, Stopped> {
        join(&self.directory, "inner")
    }
}

/// `directory/name`.
pub(crate) fn join(directory: &CStr, name: &str) -> Result<CString, Stopped> {
    let mut bytes = directory.to_bytes().to_vec();
    bytes.push(b'/');
    bytes.extend_from_slice(name.as_bytes());
    text(bytes)
}

/// A C string of `bytes`.
pub(crate) fn text(bytes: impl Into<Vec<u8>>) -> Result<CString, Stopped> {
    CString::new(bytes).map_err(|_| Stopped::untried("a path with a NUL byte"))
}

fn parent(path: &CStr) -> Result<CString, Stopped> {
    split(path).map(|(parent, _)| parent)
}

/// A path's directory and its last name.
pub(crate) fn split(path: &CStr) -> Result<(CString, CString), Stopped> {
    let bytes = path.to_bytes();
    let at = bytes
        .iter()
        .rposition(|byte| *byte == b'/')
        .ok_or_else(|| Stopped::untried("a path without a slash"))?;
    let (head, tail) = bytes.split_at(at);
    Ok((text(head)?, text(tail.get(1..).unwrap_or_default())?))
}

/// Opens `path`.
pub(crate) fn open(path: &CStr, flags: i32) -> Result<i32, Stopped> {
    sys!(SYS_openat, AT_FDCWD, path, flags | libc::O_CLOEXEC, 0o644).map(descriptor)
}

fn fd_path(fd: i32, place: &str) -> Result<CString, Stopped> {
    text(format!("{place}/{fd}"))
}

fn append(path: &CStr, flags: i32) -> Outcome {
    let fd = open(path, flags)?;
    write(fd)
}

fn write(fd: i32) -> Outcome {
    sys!(SYS_write, fd, b"changed\n", 8)?;
    Ok(String::new())
}

fn done(answer: Result<libc::c_long, Stopped>) -> Outcome {
    answer.map(|_| String::new())
}

const NAME: &CStr = c"user.ringfence";
const KEPT: &CStr = c"user.keep";

/// Runs the attack of that name; `None` when this table has no such row.
pub(crate) fn run(name: &str, target: &Target) -> Option<Outcome> {
    open_family(name, target)
        .or_else(|| content(name, target))
        .or_else(|| names(name, target))
        .or_else(|| attributes(name, target))
        .or_else(|| directories(name, target))
        .or_else(|| makes(name, target))
}

fn open_family(name: &str, target: &Target) -> Option<Outcome> {
    let file = &target.file;
    Some(match name {
        "open-write-only" => append(file, libc::O_WRONLY),
        "open-read-write" => append(file, libc::O_RDWR),
        "open-append" => append(file, libc::O_WRONLY | libc::O_APPEND),
        "open-truncate" => append(file, libc::O_WRONLY | libc::O_TRUNC),
        "open-truncate-read-only" => {
            open(file, libc::O_RDONLY | libc::O_TRUNC).map(|_| String::new())
        }
        "open-create-existing" => append(file, libc::O_WRONLY | libc::O_CREAT),
        "open-legacy" => legacy_open(file),
        "creat-existing" => legacy_creat(file),
        "openat-directory-descriptor" => (|| {
            let (directory, name) = split(file)?;
            let at = open(&directory, libc::O_RDONLY | libc::O_DIRECTORY)?;
            let fd = sys!(SYS_openat, at, &*name, libc::O_WRONLY, 0)?;
            write(descriptor(fd))
        })(),
        "reopen-proc-self-fd" => reopen(file, libc::O_RDONLY, "/proc/self/fd"),
        "reopen-path-descriptor" => reopen(file, libc::O_PATH, "/proc/self/fd"),
        "reopen-dev-fd" => reopen(file, libc::O_RDONLY, "/dev/fd"),
        "reopen-proc-thread-self" => reopen(file, libc::O_RDONLY, "/proc/thread-self/fd"),
        "open-proc-self-root" => (|| {
            let mut path = b"/proc/self/root".to_vec();
            path.extend_from_slice(file.to_bytes());
            append(&text(path)?, libc::O_WRONLY)
        })(),
        "open-proc-self-cwd" => (|| {
            let (directory, name) = split(file)?;
            sys!(SYS_chdir, &*directory)?;
            append(&cwd_path(&name)?, libc::O_WRONLY)
        })(),
        "open-symlink-to-it" => (|| {
            let link = target.mine("link-to-it")?;
            sys!(SYS_symlinkat, &**file, AT_FDCWD, &*link)?;
            append(&link, libc::O_WRONLY)
        })(),
        "shell-append" => shell_append(file),
        _ => return None,
    })
}

fn cwd_path(name: &CStr) -> Result<CString, Stopped> {
    let mut path = b"/proc/self/cwd/".to_vec();
    path.extend_from_slice(name.to_bytes());
    text(path)
}

fn reopen(file: &CStr, first: i32, place: &str) -> Outcome {
    let fd = open(file, first)?;
    append(&fd_path(fd, place)?, libc::O_WRONLY)
}

/// An ordinary program with an ordinary redirection; its own error says why it failed.
fn shell_append(file: &CStr) -> Outcome {
    use std::os::unix::ffi::OsStrExt;
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", "echo changed >> \"$1\"", "sh"])
        .arg(std::ffi::OsStr::from_bytes(file.to_bytes()))
        .output()
        .map_err(|error| Stopped {
            call: "execve /bin/sh".to_owned(),
            errno: error.raw_os_error().unwrap_or(0),
        })?;
    if output.status.success() {
        return Ok(String::new());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let errno = if said.contains("Read-only file system") {
        libc::EROFS
    } else if said.contains("Permission denied") {
        libc::EACCES
    } else if said.contains("Operation not permitted") {
        libc::EPERM
    } else {
        0
    };
    Err(Stopped {
        call: format!("sh: {said}"),
        errno,
    })
}

#[cfg(target_arch = "x86_64")]
fn legacy_open(file: &CStr) -> Outcome {
    let fd = sys!(SYS_open, file, libc::O_WRONLY, 0)?;
    write(descriptor(fd))
}
#[cfg(not(target_arch = "x86_64"))]
fn legacy_open(file: &CStr) -> Outcome {
    append(file, libc::O_WRONLY)
}
#[cfg(target_arch = "x86_64")]
fn legacy_creat(file: &CStr) -> Outcome {
    done(sys!(SYS_creat, file, 0o644))
}
#[cfg(not(target_arch = "x86_64"))]
fn legacy_creat(file: &CStr) -> Outcome {
    append(file, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC)
}

fn content(name: &str, target: &Target) -> Option<Outcome> {
    let file = &target.file;
    Some(match name {
        "truncate" => done(sys!(SYS_truncate, &**file, 2)),
        "ftruncate" => writable(file).and_then(|fd| done(sys!(SYS_ftruncate, fd, 2))),
        "fallocate" => {
            writable(file).and_then(|fd| done(sys!(SYS_fallocate, fd, 0, 0_i64, 8192_i64)))
        }
        "fallocate-punch-hole" => writable(file).and_then(|fd| {
            let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            done(sys!(SYS_fallocate, fd, mode, 0_i64, 4096_i64))
        }),
        "copy-file-range" => (|| {
            let from = open(&target.mine("file")?, libc::O_RDONLY)?;
            let to = writable(file)?;
            done(sys!(SYS_copy_file_range, from, 0, to, 0, 4, 0))
        })(),
        "sendfile" => (|| {
            let from = open(&target.mine("file")?, libc::O_RDONLY)?;
            let to = writable(file)?;
            done(sys!(SYS_sendfile, to, from, 0, 4))
        })(),
        "splice" => (|| {
            let to = writable(file)?;
            let mut ends = [0_i32; 2];
            sys!(SYS_pipe2, &mut ends, 0)?;
            let [read, write] = ends;
            sys!(SYS_write, write, b"changed\n", 8)?;
            done(sys!(SYS_splice, read, 0, to, 0, 8, 0))
        })(),
        "mmap-shared" => mmap_shared(file),
        _ => return None,
    })
}

fn writable(file: &CStr) -> Result<i32, Stopped> {
    open(file, libc::O_RDWR)
}

/// Maps the file shared and lets the kernel write into the mapping; first on a read-only descriptor, with
/// `mprotect` afterwards, then on a writable one.
fn mmap_shared(file: &CStr) -> Outcome {
    let reading = open(file, libc::O_RDONLY)?;
    let both = libc::PROT_READ | libc::PROT_WRITE;
    let raised = sys!(
        SYS_mmap,
        0,
        4096,
        libc::PROT_READ,
        libc::MAP_SHARED,
        reading,
        0
    )
    .and_then(|address| sys!(SYS_mprotect, address, 4096, both).map(|_| address));
    let address = if let Ok(address) = raised {
        address
    } else {
        let fd = writable(file)?;
        sys!(SYS_mmap, 0, 4096, both, libc::MAP_SHARED, fd, 0)?
    };
    let mut ends = [0_i32; 2];
    sys!(SYS_pipe2, &mut ends, 0)?;
    let [read, write] = ends;
    sys!(SYS_write, write, b"mapped", 6)?;
    sys!(SYS_read, read, address, 6)?;
    done(sys!(SYS_msync, address, 4096, libc::MS_SYNC))
}

fn rename(from: &CStr, to: &CStr, flags: u32) -> Outcome {
    done(sys!(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags))
}

fn link(from: &CStr, to: &CStr) -> Outcome {
    done(sys!(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0))
}

fn names(name: &str, target: &Target) -> Option<Outcome> {
    let (file, new) = (&target.file, &target.new);
    Some(match name {
        "rename-away" => legacy_rename(file, new),
        "rename-out" => target.mine("moved-out").and_then(|to| rename(file, &to, 0)),
        "rename-over" => target
            .mine("file")
            .and_then(|from| legacy_rename(&from, file)),
        "renameat-over" => target.mine("file").and_then(|from| rename(&from, file, 0)),
        "rename-exchange" => target
            .mine("file")
            .and_then(|other| rename(file, &other, libc::RENAME_EXCHANGE)),
        "rename-noreplace-away" => rename(file, new, libc::RENAME_NOREPLACE),
        "rename-whiteout" => rename(file, new, libc::RENAME_WHITEOUT),
        "link-out" => target.mine("linked-out").and_then(|to| link(file, &to)),
        "link-within" => link(file, new),
        "link-descriptor" => (|| {
            let fd = open(file, libc::O_RDONLY)?;
            let to = target.mine("linked-by-descriptor")?;
            done(sys!(
                SYS_linkat,
                fd,
                c"",
                AT_FDCWD,
                &*to,
                libc::AT_EMPTY_PATH
            ))
        })(),
        "link-proc-self-fd" => (|| {
            let fd = open(file, libc::O_RDONLY)?;
            let (from, to) = (
                fd_path(fd, "/proc/self/fd")?,
                target.mine("linked-by-proc")?,
            );
            done(sys!(
                SYS_linkat,
                AT_FDCWD,
                &*from,
                AT_FDCWD,
                &*to,
                libc::AT_SYMLINK_FOLLOW
            ))
        })(),
        "unlink" => legacy_unlink(file),
        "unlinkat" => done(sys!(SYS_unlinkat, AT_FDCWD, &**file, 0)),
        _ => return None,
    })
}

#[cfg(target_arch = "x86_64")]
fn legacy_rename(from: &CStr, to: &CStr) -> Outcome {
    done(sys!(SYS_rename, from, to))
}
#[cfg(not(target_arch = "x86_64"))]
fn legacy_rename(from: &CStr, to: &CStr) -> Outcome {
    rename(from, to, 0)
}
#[cfg(target_arch = "x86_64")]
fn legacy_unlink(file: &CStr) -> Outcome {
    done(sys!(SYS_unlink, file))
}
#[cfg(not(target_arch = "x86_64"))]
fn legacy_unlink(file: &CStr) -> Outcome {
    done(sys!(SYS_unlinkat, AT_FDCWD, file, 0))
}

fn attributes(name: &str, target: &Target) -> Option<Outcome> {
    let file = &*target.file;
    Some(match name {
        "fchmod" => reading(file).and_then(|fd| done(sys!(SYS_fchmod, fd, 0o600))),
        "fchmodat" | "chmod" if name == "fchmodat" || cfg!(not(target_arch = "x86_64")) => {
            done(sys!(SYS_fchmodat, AT_FDCWD, file, 0o600))
        }
        "fchmodat2" => done(sys!(SYS_fchmodat2, AT_FDCWD, file, 0o600, 0)),
        "chmod-proc-self-fd" => (|| {
            let fd = open(file, libc::O_PATH)?;
            done(sys!(
                SYS_fchmodat,
                AT_FDCWD,
                &*fd_path(fd, "/proc/self/fd")?,
                0o600
            ))
        })(),
        "fchown" => reading(file).and_then(|fd| done(sys!(SYS_fchown, fd, uid(), gid()))),
        "fchownat" => done(sys!(SYS_fchownat, AT_FDCWD, file, uid(), gid(), 0)),
        "lchown" | "chown" if cfg!(not(target_arch = "x86_64")) => {
            done(sys!(SYS_fchownat, AT_FDCWD, file, uid(), gid(), 0))
        }
        "utimensat" => done(sys!(SYS_utimensat, AT_FDCWD, file, &[7_u64, 0, 7, 0], 0)),
        "utimensat-now" => done(sys!(SYS_utimensat, AT_FDCWD, file, 0, 0)),
        "utimensat-descriptor" => {
            reading(file).and_then(|fd| done(sys!(SYS_utimensat, fd, 0, &[7_u64, 0, 7, 0], 0)))
        }
        "setxattr" => done(sys!(SYS_setxattr, file, NAME, b"v", 1, 0)),
        "lsetxattr" => done(sys!(SYS_lsetxattr, file, NAME, b"v", 1, 0)),
        "fsetxattr" => reading(file).and_then(|fd| done(sys!(SYS_fsetxattr, fd, NAME, b"v", 1, 0))),
        "setxattrat" => setxattrat(file),
        "removexattr" => done(sys!(SYS_removexattr, file, KEPT)),
        "fremovexattr" => reading(file).and_then(|fd| done(sys!(SYS_fremovexattr, fd, KEPT))),
        "ioctl-set-flags" => reading(file).and_then(|fd| {
            let mut flags = [0_i32; 2];
            sys!(SYS_ioctl, fd, libc::FS_IOC_GETFLAGS, &mut flags)?;
            let [now, _] = flags;
            // FS_NODUMP_FL: the one flag that the owner may set everywhere.
            done(sys!(
                SYS_ioctl,
                fd,
                libc::FS_IOC_SETFLAGS,
                &[now | 0x40, 0_i32]
            ))
        }),
        other => return legacy_attributes(other, file),
    })
}

#[cfg(target_arch = "x86_64")]
fn legacy_attributes(name: &str, file: &CStr) -> Option<Outcome> {
    Some(match name {
        "chmod" => done(sys!(SYS_chmod, file, 0o600)),
        "chown" => done(sys!(SYS_chown, file, uid(), gid())),
        "lchown" => done(sys!(SYS_lchown, file, uid(), gid())),
        "utime" => done(sys!(SYS_utime, file, &[7_u64, 7])),
        "utimes" => done(sys!(SYS_utimes, file, &[7_u64, 0, 7, 0])),
        "futimesat" => done(sys!(SYS_futimesat, AT_FDCWD, file, &[7_u64, 0, 7, 0])),
        _ => return None,
    })
}
#[cfg(not(target_arch = "x86_64"))]
fn legacy_attributes(name: &str, file: &CStr) -> Option<Outcome> {
    match name {
        "utime" | "utimes" | "futimesat" => Some(done(sys!(
            SYS_utimensat,
            AT_FDCWD,
            file,
            &[7_u64, 0, 7, 0],
            0
        ))),
        _ => None,
    }
}

/// `setxattrat` (number 463 on every architecture, Linux 6.13): the value travels in a structure.
fn setxattrat(file: &CStr) -> Outcome {
    let value = [u64::from(b'v')];
    let value_address = value.as_ptr().expose_provenance() as u64;
    let arguments = [value_address, 1_u64];
    done(crate::sys_number!(
        "setxattrat",
        463,
        AT_FDCWD,
        file,
        0,
        NAME,
        &arguments,
        16
    ))
}

fn reading(file: &CStr) -> Result<i32, Stopped> {
    open(file, libc::O_RDONLY)
}

fn uid() -> u32 {
    rustix::process::getuid().as_raw()
}

fn gid() -> u32 {
    rustix::process::getgid().as_raw()
}

fn directories(name: &str, target: &Target) -> Option<Outcome> {
    let directory = &*target.directory;
    Some(match name {
        "rename-directory-away" => legacy_rename(directory, &target.new),
        "rename-directory-out" => target
            .mine("moved-directory")
            .and_then(|to| rename(directory, &to, 0)),
        "create-in-directory" => join(directory, "created")
            .and_then(|path| append(&path, libc::O_WRONLY | libc::O_CREAT)),
        "unlink-in-directory" => target.inner().and_then(|inner| legacy_unlink(&inner)),
        "rename-in-directory" => (|| {
            let (from, to) = (target.inner()?, join(directory, "inner2")?);
            legacy_rename(&from, &to)
        })(),
        "chmod-directory" => done(sys!(SYS_fchmodat, AT_FDCWD, directory, 0o700)),
        "chown-directory" => done(sys!(SYS_fchownat, AT_FDCWD, directory, uid(), gid(), 0)),
        "utimensat-directory" => done(sys!(SYS_utimensat, AT_FDCWD, directory, 0, 0)),
        "setxattr-directory" => done(sys!(SYS_setxattr, directory, NAME, b"v", 1, 0)),
        "rmdir" => legacy_rmdir(&target.empty),
        "unlinkat-directory" => done(sys!(
            SYS_unlinkat,
            AT_FDCWD,
            &*target.empty,
            libc::AT_REMOVEDIR
        )),
        "rename-over-empty-directory" => target
            .mine("dir")
            .and_then(|from| rename(&from, &target.empty, 0)),
        _ => return None,
    })
}

#[cfg(target_arch = "x86_64")]
fn legacy_rmdir(directory: &CStr) -> Outcome {
    done(sys!(SYS_rmdir, directory))
}
#[cfg(not(target_arch = "x86_64"))]
fn legacy_rmdir(directory: &CStr) -> Outcome {
    done(sys!(SYS_unlinkat, AT_FDCWD, directory, libc::AT_REMOVEDIR))
}

fn makes(name: &str, target: &Target) -> Option<Outcome> {
    let new = &*target.new;
    let create = libc::O_WRONLY | libc::O_CREAT;
    Some(match name {
        "create" => append(new, create),
        "create-exclusive" => append(new, create | libc::O_EXCL),
        "create-read-only" => open(new, libc::O_RDONLY | libc::O_CREAT).map(|_| String::new()),
        "creat-new" => legacy_creat(new),
        "tmpfile" => parent(new).and_then(|at| append(&at, libc::O_TMPFILE | libc::O_RDWR)),
        "tmpfile-linkat" => parent(new).and_then(|at| tmpfile_linkat(&at, new)),
        "tmpfile-elsewhere-linkat" => tmpfile_linkat(&target.mine, new),
        "link-in" => target.mine("file").and_then(|from| link(&from, new)),
        "rename-in" => target
            .mine("file")
            .and_then(|from| legacy_rename(&from, new)),
        "rename-noreplace-in" => target
            .mine("file")
            .and_then(|from| rename(&from, new, libc::RENAME_NOREPLACE)),
        "rename-directory-in" => target.mine("dir").and_then(|from| rename(&from, new, 0)),
        "symlink" => legacy_symlink(new),
        "symlinkat" => done(sys!(SYS_symlinkat, c"/etc/hostname", AT_FDCWD, new)),
        "mkdir" => legacy_mkdir(new),
        "mkdirat" => done(sys!(SYS_mkdirat, AT_FDCWD, new, 0o755)),
        "mknod-fifo" => mknod(new, libc::S_IFIFO),
        "mknod-socket" => mknod(new, libc::S_IFSOCK),
        "mknod-regular" => mknod(new, libc::S_IFREG),
        "mknodat-fifo" => done(sys!(SYS_mknodat, AT_FDCWD, new, libc::S_IFIFO | 0o644, 0)),
        "create-through-proc-self-cwd" => (|| {
            let (directory, name) = split(new)?;
            sys!(SYS_chdir, &*directory)?;
            append(&cwd_path(&name)?, create)
        })(),
        "create-through-directory-descriptor" => (|| {
            let (directory, name) = split(new)?;
            let at = open(&directory, libc::O_RDONLY | libc::O_DIRECTORY)?;
            done(sys!(SYS_openat, at, &*name, create, 0o644))
        })(),
        _ => return None,
    })
}

fn tmpfile_linkat(at: &CStr, new: &CStr) -> Outcome {
    let fd = open(at, libc::O_TMPFILE | libc::O_RDWR)?;
    let from = fd_path(fd, "/proc/self/fd")?;
    done(sys!(
        SYS_linkat,
        AT_FDCWD,
        &*from,
        AT_FDCWD,
        new,
        libc::AT_SYMLINK_FOLLOW
    ))
}

#[cfg(target_arch = "x86_64")]
fn legacy_symlink(new: &CStr) -> Outcome {
    done(sys!(SYS_symlink, c"/etc/hostname", new))
}
#[cfg(not(target_arch = "x86_64"))]
fn legacy_symlink(new: &CStr) -> Outcome {
    done(sys!(SYS_symlinkat, c"/etc/hostname", AT_FDCWD, new))
}
#[cfg(target_arch = "x86_64")]
fn legacy_mkdir(new: &CStr) -> Outcome {
    done(sys!(SYS_mkdir, new, 0o755))
}
#[cfg(not(target_arch = "x86_64"))]
fn legacy_mkdir(new: &CStr) -> Outcome {
    done(sys!(SYS_mkdirat, AT_FDCWD, new, 0o755))
}
#[cfg(target_arch = "x86_64")]
fn mknod(new: &CStr, kind: u32) -> Outcome {
    done(sys!(SYS_mknod, new, kind | 0o644, 0))
}
#[cfg(not(target_arch = "x86_64"))]
fn mknod(new: &CStr, kind: u32) -> Outcome {
    done(sys!(SYS_mknodat, AT_FDCWD, new, kind | 0o644, 0))
}

/// A number that no other attack has: process numbers inside begin anew with each session.
pub(crate) fn unique() -> String {
    let mut random = [0_u64; 1];
    let _ = sys!(SYS_getrandom, &mut random, 8, 0);
    let [random] = random;
    format!("{random:x}")
}
