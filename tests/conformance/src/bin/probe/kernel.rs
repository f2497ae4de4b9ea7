//! Attacks on the kernel and on other processes.

use std::ffi::{CStr, CString};

use libc::AT_FDCWD;
use ringfence_conformance_tests::verdict::Stopped;

use crate::calls::{Outcome, clone_process, descriptor, leave, wait_child};
use crate::writes::{join, open, text, unique};
use crate::{sys, sys_number};

/// Runs the attack of that name; `None` when this table has no such row.
pub(crate) fn run(name: &str, words: &[CString]) -> Option<Outcome> {
    mounts(name, words)
        .or_else(|| namespaces(name, words))
        .or_else(|| facilities(name, words))
        .or_else(|| processes(name, words))
        .or_else(|| privileged_modes(name, words))
        .or_else(|| administration(name, words))
        .or_else(|| crate::load::run(name, words))
}

fn done(answer: Result<libc::c_long, Stopped>) -> Outcome {
    answer.map(|_| String::new())
}

fn number(word: &CStr) -> Result<i64, Stopped> {
    word.to_str()
        .ok()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| Stopped::untried("a number was expected"))
}

/// What an ordinary user does first: a user namespace of its own, to have the right to mount.
fn own_mounts() -> Result<(), Stopped> {
    sys!(SYS_unshare, libc::CLONE_NEWUSER | libc::CLONE_NEWNS).map(|_| ())
}

fn mounts(name: &str, words: &[CString]) -> Option<Outcome> {
    let recursive = u32::try_from(libc::AT_RECURSIVE).unwrap_or(0);
    Some(match (name, words) {
        // Bare calls: no namespace first. Root alone has a control for these.
        ("mount-tmpfs", [place]) => {
            done(sys!(SYS_mount, c"none", &**place, c"tmpfs", 0, 0)).inspect(|_| detach(place))
        }
        ("mount-bind", [from, place]) => {
            done(sys!(SYS_mount, &**from, &**place, 0, libc::MS_BIND, 0)).inspect(|_| detach(place))
        }
        ("mount-remount-writable", [place]) => {
            let flags = libc::MS_REMOUNT | libc::MS_BIND;
            done(sys!(SYS_mount, 0, &**place, 0, flags, 0))
        }
        ("mount-proc", [place]) => {
            done(sys!(SYS_mount, c"proc", &**place, c"proc", 0, 0)).inspect(|_| detach(place))
        }
        ("umount", [place]) => done(sys!(SYS_umount2, &**place, libc::MNT_DETACH)),
        ("pivot-root", [place]) => done(sys!(SYS_pivot_root, &**place, &**place)),
        ("open-tree", [place]) => done(sys!(SYS_open_tree, AT_FDCWD, &**place, 1_u32 | recursive)),
        ("move-mount", [from, place]) => (|| {
            let tree = sys!(SYS_open_tree, AT_FDCWD, &**from, 1_u32)?;
            sys!(SYS_move_mount, tree, c"", AT_FDCWD, &**place, 4)?;
            detach(place);
            Ok(String::new())
        })(),
        ("move-mount-bare", []) => done(sys!(SYS_move_mount, -1, c"", -1, c"", 5)),
        ("fsopen", []) => done(sys!(SYS_fsopen, c"tmpfs", 0)),
        ("fsconfig", []) => done(sys!(SYS_fsconfig, -1, 6, 0, 0, 0)),
        ("fsmount", []) => done(sys!(SYS_fsmount, -1, 0, 0)),
        ("fspick", [place]) => done(sys!(SYS_fspick, AT_FDCWD, &**place, 0)),
        ("mount-setattr", [place]) => done(sys!(
            SYS_mount_setattr,
            AT_FDCWD,
            &**place,
            0,
            &[0_u64, 1, 0, 0],
            32
        )),
        // The same after the namespace that gives an ordinary user the right.
        ("own-mount-tmpfs", [place]) => {
            own_mounts().and_then(|()| done(sys!(SYS_mount, c"none", &**place, c"tmpfs", 0, 0)))
        }
        ("own-mount-bind", [from, place]) => own_mounts().and_then(|()| {
            let flags = libc::MS_BIND | libc::MS_REC;
            done(sys!(SYS_mount, &**from, &**place, 0, flags, 0))
        }),
        ("own-open-tree", [place]) => own_mounts()
            .and_then(|()| done(sys!(SYS_open_tree, AT_FDCWD, &**place, 1_u32 | recursive))),
        ("own-fsopen", []) => own_mounts().and_then(|()| done(sys!(SYS_fsopen, c"tmpfs", 0))),
        _ => return None,
    })
}

fn detach(place: &CStr) {
    let _ = sys!(SYS_umount2, place, libc::MNT_DETACH);
}

fn namespace_flag(name: &CStr) -> Result<i32, Stopped> {
    Ok(match name.to_str().unwrap_or_default() {
        "user" => libc::CLONE_NEWUSER,
        "mount" => libc::CLONE_NEWNS,
        "pid" => libc::CLONE_NEWPID,
        "net" => libc::CLONE_NEWNET,
        "ipc" => libc::CLONE_NEWIPC,
        "uts" => libc::CLONE_NEWUTS,
        "cgroup" => libc::CLONE_NEWCGROUP,
        "time" => 0x80,
        _ => return Err(Stopped::untried("no namespace has that name")),
    })
}

fn namespaces(name: &str, words: &[CString]) -> Option<Outcome> {
    let user = libc::CLONE_NEWUSER;
    Some(match (name, words) {
        ("unshare", [kind]) => {
            namespace_flag(kind).and_then(|flag| done(sys!(SYS_unshare, flag | user)))
        }
        ("unshare-bare", [kind]) => {
            namespace_flag(kind).and_then(|flag| done(sys!(SYS_unshare, flag)))
        }
        ("clone", [kind]) => (|| {
            let flag = namespace_flag(kind)? | user;
            // CLONE_NEWTIME shares its bit with the exit signal's byte: only unshare and clone3 can ask for it.
            child_of(clone_process(u64::from(flag.cast_unsigned()))?)
        })(),
        ("clone3", [kind]) => (|| {
            let flag = namespace_flag(kind)? | user;
            child_of(clone3(u64::from(flag.cast_unsigned()))?)
        })(),
        ("clone3-plain", []) => clone3(0).and_then(child_of),
        ("fork", []) => clone_process(0).and_then(child_of),
        ("setns", [path]) => (|| {
            let fd = open(path, libc::O_RDONLY)?;
            done(sys!(SYS_setns, fd, 0))
        })(),
        ("setns-pidfd", [pid]) => (|| {
            let fd = sys!(SYS_pidfd_open, number(pid)?, 0)?;
            done(sys!(SYS_setns, fd, libc::CLONE_NEWUSER))
        })(),
        _ => return None,
    })
}

fn clone3(flags: u64) -> Result<libc::c_long, Stopped> {
    let mut arguments = [0_u64; 11];
    arguments[0] = flags;
    arguments[4] = u64::from(libc::SIGCHLD.unsigned_abs());
    sys!(SYS_clone3, &mut arguments, 88)
}

fn child_of(child: libc::c_long) -> Outcome {
    if child == 0 {
        leave(0);
    }
    wait_child(child).map(|_| String::new())
}

/// Kernel facilities that have carried exploits and that no build needs.
fn facilities(name: &str, words: &[CString]) -> Option<Outcome> {
    Some(match (name, words) {
        ("io-uring-setup", []) => {
            let mut parameters = [0_u64; 15];
            done(sys!(SYS_io_uring_setup, 4, &mut parameters))
        }
        ("io-uring-enter", []) => done(sys!(SYS_io_uring_enter, -1, 0, 0, 0, 0, 0)),
        ("io-uring-register", []) => done(sys!(SYS_io_uring_register, -1, 0, 0, 0)),
        ("bpf", []) => {
            // BPF_MAP_CREATE of an array: key 4, value 4, one entry.
            let attributes = [2_u64 | 4 << 32, 4 | 1 << 32, 0, 0, 0, 0, 0, 0, 0];
            done(sys!(SYS_bpf, 0, &attributes, 72))
        }
        ("perf-event-open", []) => {
            // A software event (CPU clock) of this process, user space only.
            let mut attributes = [0_u64; 14];
            attributes[0] = 1 | 112 << 32;
            attributes[5] = 1 << 5 | 1 << 6;
            done(sys!(SYS_perf_event_open, &attributes, 0, -1, -1, 0))
        }
        ("userfaultfd", []) => done(sys!(SYS_userfaultfd, 1)),
        ("userfaultfd-device", []) => {
            open(c"/dev/userfaultfd", libc::O_RDWR).map(|_| String::new())
        }
        ("add-key", []) => done(sys!(SYS_add_key, c"user", c"ringfence-probe", b"x", 1, -2)),
        ("request-key", []) => done(sys!(SYS_request_key, c"user", c"ringfence-none", 0, -2)),
        ("keyctl", []) => done(sys!(SYS_keyctl, 0, -3, 1)),
        ("personality-read-implies-exec", []) => done(sys!(SYS_personality, 0x0040_0000)),
        ("personality-query", []) => done(sys!(SYS_personality, u32::MAX)),
        ("x32", []) => done(sys_number!("x32 getpid", 0x4000_0000 + libc::SYS_getpid)),
        ("int80", []) => int80(),
        ("openat2", [path]) => done(sys!(SYS_openat2, AT_FDCWD, &**path, &[0_u64, 0, 0], 24)),
        ("tiocsti", []) => terminal_ioctl(0x5412),
        ("tiocsti-high-bits", []) => terminal_ioctl(0x5412 | 1 << 40),
        ("tioclinux", []) => terminal_ioctl(0x541c),
        ("terminal-size", []) => terminal_ioctl(0x5413),
        ("socket-in-directory", [path]) => mknod(path, libc::S_IFSOCK | 0o600, 0),
        ("shared-memory", []) => (|| {
            let id = sys!(SYS_shmget, 0, 4096, 0o600)?;
            done(sys!(SYS_shmctl, id, 0, 0))
        })(),
        _ => return None,
    })
}

/// A 32-bit system call (`getpid`, number 20 there) from a 64-bit process: another table of numbers.
#[cfg(target_arch = "x86_64")]
fn int80() -> Outcome {
    let answer: i32;
    // SAFETY: `getpid` takes no arguments and touches no memory; the clobbered registers are declared.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("eax") 20 => answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    if answer < 0 {
        return Err(Stopped {
            call: "int 0x80 getpid".to_owned(),
            errno: -answer,
        });
    }
    Ok(String::new())
}
#[cfg(not(target_arch = "x86_64"))]
fn int80() -> Outcome {
    Err(Stopped {
        call: "int 0x80".to_owned(),
        errno: libc::ENOSYS,
    })
}

/// Makes a terminal of its own the controlling one, then the ioctl with `request`.
fn terminal_ioctl(request: i64) -> Outcome {
    let main = open(c"/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY)?;
    sys!(SYS_ioctl, main, libc::TIOCSPTLCK, &[0_i32, 0])?;
    let mut number = [0_i32; 2];
    sys!(SYS_ioctl, main, libc::TIOCGPTN, &mut number)?;
    let [number, _] = number;
    let _ = sys!(SYS_setsid);
    let side = open(&text(format!("/dev/pts/{number}"))?, libc::O_RDWR)?;
    let _ = sys!(SYS_ioctl, side, libc::TIOCSCTTY, 0);
    done(sys!(SYS_ioctl, side, request, &mut [0_u64; 8]))
}

/// Attacks on a process outside, whose number is given; and the same on one's own child.
fn processes(name: &str, words: &[CString]) -> Option<Outcome> {
    Some(match (name, words) {
        ("kill", [pid]) => number(pid).and_then(|pid| done(sys!(SYS_kill, pid, 0))),
        ("kill-group", [pid]) => number(pid).and_then(|pid| done(sys!(SYS_kill, -pid, 0))),
        ("terminate", [pid]) => {
            number(pid).and_then(|pid| done(sys!(SYS_kill, pid, libc::SIGTERM)))
        }
        ("terminate-group", [pid]) => {
            number(pid).and_then(|pid| done(sys!(SYS_kill, -pid, libc::SIGTERM)))
        }
        ("tkill", [pid]) => number(pid).and_then(|pid| done(sys!(SYS_tkill, pid, 0))),
        ("tgkill", [pid]) => number(pid).and_then(|pid| done(sys!(SYS_tgkill, pid, pid, 0))),
        ("sigqueue", [pid]) => number(pid).and_then(|pid| {
            let mut content = [0_i32; 32];
            content[2] = libc::SI_QUEUE;
            done(sys!(SYS_rt_sigqueueinfo, pid, 0, &mut content))
        }),
        ("pidfd-open", [pid]) => number(pid).and_then(|pid| done(sys!(SYS_pidfd_open, pid, 0))),
        ("pidfd-signal", [pid]) => number(pid).and_then(|pid| {
            let fd = sys!(SYS_pidfd_open, pid, 0)?;
            done(sys!(SYS_pidfd_send_signal, fd, 0, 0, 0))
        }),
        ("pidfd-getfd", [pid]) => number(pid).and_then(|pid| {
            let fd = sys!(SYS_pidfd_open, pid, 0)?;
            done(sys!(SYS_pidfd_getfd, fd, 0, 0))
        }),
        ("pidfd-getfd-self", []) => {
            let fd = sys!(SYS_pidfd_open, std::process::id(), 0);
            fd.and_then(|fd| done(sys!(SYS_pidfd_getfd, fd, 0, 0)))
        }
        ("ptrace-attach", [pid]) => number(pid).and_then(ptrace_attach),
        ("ptrace-seize", [pid]) => number(pid).and_then(|pid| {
            sys!(SYS_ptrace, libc::PTRACE_SEIZE, pid, 0, 0)?;
            Ok(String::new())
        }),
        ("ptrace-child", []) => ptrace_child(),
        ("process-vm-readv", [pid]) => {
            number(pid).and_then(|pid| process_memory(libc::SYS_process_vm_readv, pid))
        }
        ("process-vm-writev", [pid]) => {
            number(pid).and_then(|pid| process_memory(libc::SYS_process_vm_writev, pid))
        }
        ("proc-mem", [pid]) => proc_open(pid, "mem", libc::O_RDWR),
        ("proc-environ", [pid]) => proc_open(pid, "environ", libc::O_RDONLY),
        ("proc-maps", [pid]) => proc_open(pid, "maps", libc::O_RDONLY),
        ("proc-fd", [pid]) => proc_open(pid, "fd", libc::O_RDONLY),
        ("proc-cwd", [pid]) => proc_open(pid, "cwd", libc::O_RDONLY),
        ("proc-root", [pid]) => proc_open(pid, "root", libc::O_RDONLY),
        ("prlimit", [pid]) => number(pid).and_then(|pid| {
            done(sys!(
                SYS_prlimit64,
                pid,
                libc::RLIMIT_NOFILE,
                0,
                &mut [0_u64; 2]
            ))
        }),
        ("setpriority", [pid]) => {
            number(pid).and_then(|pid| done(sys!(SYS_setpriority, libc::PRIO_PROCESS, pid, 19)))
        }
        ("sched-setaffinity", [pid]) => number(pid).and_then(|pid| {
            let mut mask = [0_u64; 16];
            sys!(SYS_sched_getaffinity, pid, 128, &mut mask)?;
            done(sys!(SYS_sched_setaffinity, pid, 128, &mask))
        }),
        ("kcmp", [pid]) => {
            number(pid).and_then(|pid| done(sys!(SYS_kcmp, std::process::id(), pid, 0, 0, 0)))
        }
        ("pid-one-environ", []) => proc_open(c"1", "environ", libc::O_RDONLY),
        _ => return None,
    })
}

fn proc_open(pid: &CStr, what: &str, flags: i32) -> Outcome {
    let path = text(format!("/proc/{}/{what}", pid.to_string_lossy()))?;
    open(&path, flags).map(|_| String::new())
}

fn ptrace_attach(pid: i64) -> Outcome {
    sys!(SYS_ptrace, libc::PTRACE_ATTACH, pid, 0, 0)?;
    wait_stop(pid)?;
    sys!(SYS_ptrace, libc::PTRACE_DETACH, pid, 0, 0)?;
    Ok(String::new())
}

fn wait_stop(pid: i64) -> Result<(), Stopped> {
    let mut status = [0_i32; 1];
    sys!(SYS_wait4, pid, &mut status, libc::__WALL, 0).map(|_| ())
}

/// A debugger and its own child.
fn ptrace_child() -> Outcome {
    let child = clone_process(0)?;
    if child == 0 {
        let _ = sys!(SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0);
        let own = sys!(SYS_getpid).unwrap_or(0);
        let _ = sys!(SYS_kill, own, libc::SIGSTOP);
        leave(7);
    }
    wait_stop(child)?;
    sys!(SYS_ptrace, libc::PTRACE_CONT, child, 0, 0)?;
    let status = wait_child(child)?;
    Ok(status.to_string())
}

fn process_memory(call: libc::c_long, pid: i64) -> Outcome {
    let mut buffer = [0_u8; 1];
    let address = buffer.as_mut_ptr().expose_provenance() as u64;
    let own = [address, 1];
    // An address that is not mapped: a caller with the right gets EFAULT, one without EPERM or ESRCH.
    let theirs = [8_u64, 1];
    let name = if call == libc::SYS_process_vm_readv {
        "process_vm_readv"
    } else {
        "process_vm_writev"
    };
    // The macro wants a literal for the name.
    let answer = match name {
        "process_vm_readv" => {
            sys_number!("process_vm_readv", call, pid, &own, 1, &theirs, 1, 0)
        }
        _ => sys_number!("process_vm_writev", call, pid, &own, 1, &theirs, 1, 0),
    };
    match answer {
        Err(stopped) if stopped.errno == libc::EFAULT => Ok("EFAULT: past the check".to_owned()),
        answer => done(answer),
    }
}

fn mknod(path: &CStr, mode: u32, device: u64) -> Outcome {
    done(sys!(SYS_mknodat, AT_FDCWD, path, mode, device))
}

/// A setuid or setgid bit in every call that can carry one, and device nodes.
fn privileged_modes(name: &str, words: &[CString]) -> Option<Outcome> {
    let (directory, mode) = match words {
        [directory, mode] => (
            directory,
            u32::from_str_radix(mode.to_str().unwrap_or_default(), 8).unwrap_or(0),
        ),
        [directory] => (directory, 0o4755),
        _ => return None,
    };
    let create = libc::O_WRONLY | libc::O_CREAT;
    let existing = || -> Result<(i32, CString), Stopped> {
        let path = join(directory, &format!("made-{}", unique()))?;
        let fd = sys!(SYS_openat, AT_FDCWD, &*path, create | libc::O_EXCL, 0o644)?;
        Ok((descriptor(fd), path))
    };
    let fresh = || join(directory, &format!("fresh-{}", unique()));
    let character = libc::S_IFCHR | 0o666;
    let block = libc::S_IFBLK | 0o660;
    let outcome = match name {
        "mode-chmod" => existing().and_then(|(_, path)| chmod(&path, mode).map(|()| path)),
        "mode-fchmod" => existing().and_then(|(fd, path)| sys!(SYS_fchmod, fd, mode).map(|_| path)),
        "mode-fchmodat" => existing()
            .and_then(|(_, path)| sys!(SYS_fchmodat, AT_FDCWD, &*path, mode).map(|_| path)),
        "mode-fchmodat2" => existing()
            .and_then(|(_, path)| sys!(SYS_fchmodat2, AT_FDCWD, &*path, mode, 0).map(|_| path)),
        "mode-open" => fresh().and_then(|path| open_mode(&path, create, mode).map(|()| path)),
        "mode-openat" => {
            fresh().and_then(|path| sys!(SYS_openat, AT_FDCWD, &*path, create, mode).map(|_| path))
        }
        "mode-openat-tmpfile" => fresh().and_then(|path| {
            let flags = libc::O_TMPFILE | libc::O_RDWR;
            let fd = descriptor(sys!(SYS_openat, AT_FDCWD, &**directory, flags, mode)?);
            let from = text(format!("/proc/self/fd/{fd}"))?;
            sys!(
                SYS_linkat,
                AT_FDCWD,
                &*from,
                AT_FDCWD,
                &*path,
                libc::AT_SYMLINK_FOLLOW
            )?;
            Ok(path)
        }),
        "mode-openat2" => fresh().and_then(|path| {
            let how = [u64::from(create.cast_unsigned()), u64::from(mode), 0];
            sys!(SYS_openat2, AT_FDCWD, &*path, &how, 24).map(|_| path)
        }),
        "mode-creat" => fresh().and_then(|path| creat_mode(&path, mode).map(|()| path)),
        "mode-mkdir" => fresh().and_then(|path| mkdir_mode(&path, mode).map(|()| path)),
        "mode-mkdirat" => {
            fresh().and_then(|path| sys!(SYS_mkdirat, AT_FDCWD, &*path, mode).map(|_| path))
        }
        "mode-mknod" => {
            fresh().and_then(|path| mknod_mode(&path, libc::S_IFREG | mode).map(|()| path))
        }
        "mode-mknodat" => fresh().and_then(|path| {
            sys!(SYS_mknodat, AT_FDCWD, &*path, libc::S_IFREG | mode, 0).map(|_| path)
        }),
        "device-character" => fresh().and_then(|path| mknod(&path, character, 0x103).map(|_| path)),
        "device-block" => fresh().and_then(|path| mknod(&path, block, 0x800).map(|_| path)),
        "device-whiteout" => return Some(fresh().and_then(|path| mknod(&path, character, 0))),
        _ => return None,
    };
    Some(outcome.and_then(|path| effective_mode(&path)))
}

/// What came of it: a kernel that drops the bits has refused as well.
fn effective_mode(path: &CStr) -> Outcome {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
    let mode = std::fs::symlink_metadata(path)
        .map_err(|error| Stopped {
            call: "lstat".to_owned(),
            errno: error.raw_os_error().unwrap_or(0),
        })?
        .mode();
    Ok(format!("{mode:o}"))
}

fn chmod(path: &CStr, mode: u32) -> Result<(), Stopped> {
    #[cfg(target_arch = "x86_64")]
    let answer = sys!(SYS_chmod, path, mode);
    #[cfg(not(target_arch = "x86_64"))]
    let answer = sys!(SYS_fchmodat, AT_FDCWD, path, mode);
    answer.map(|_| ())
}
fn open_mode(path: &CStr, flags: i32, mode: u32) -> Result<(), Stopped> {
    #[cfg(target_arch = "x86_64")]
    let answer = sys!(SYS_open, path, flags, mode);
    #[cfg(not(target_arch = "x86_64"))]
    let answer = sys!(SYS_openat, AT_FDCWD, path, flags, mode);
    answer.map(|_| ())
}
fn creat_mode(path: &CStr, mode: u32) -> Result<(), Stopped> {
    #[cfg(target_arch = "x86_64")]
    let answer = sys!(SYS_creat, path, mode);
    #[cfg(not(target_arch = "x86_64"))]
    let answer = sys!(
        SYS_openat,
        AT_FDCWD,
        path,
        libc::O_CREAT | libc::O_WRONLY,
        mode
    );
    answer.map(|_| ())
}
fn mkdir_mode(path: &CStr, mode: u32) -> Result<(), Stopped> {
    #[cfg(target_arch = "x86_64")]
    let answer = sys!(SYS_mkdir, path, mode);
    #[cfg(not(target_arch = "x86_64"))]
    let answer = sys!(SYS_mkdirat, AT_FDCWD, path, mode);
    answer.map(|_| ())
}
fn mknod_mode(path: &CStr, mode: u32) -> Result<(), Stopped> {
    #[cfg(target_arch = "x86_64")]
    let answer = sys!(SYS_mknod, path, mode, 0);
    #[cfg(not(target_arch = "x86_64"))]
    let answer = sys!(SYS_mknodat, AT_FDCWD, path, mode, 0);
    answer.map(|_| ())
}

/// What only an administrator may do. Arguments are wrong on purpose where the call would change the machine: root
/// outside gets past the permission check and hears of the argument; the filter answers before that.
fn administration(name: &str, words: &[CString]) -> Option<Outcome> {
    Some(match (name, words) {
        ("chroot", [place]) => done(sys!(SYS_chroot, &**place)),
        ("init-module", []) => done(sys!(SYS_init_module, b"x", 1, c"")),
        ("finit-module", []) => done(sys!(SYS_finit_module, -1, c"", 0)),
        ("delete-module", []) => done(sys!(SYS_delete_module, c"ringfence_none", libc::O_NONBLOCK)),
        ("kexec-load", []) => done(sys!(SYS_kexec_load, 0, 99, 0, 0)),
        ("kexec-file-load", []) => done(sys!(SYS_kexec_file_load, -1, -1, 0, c"", 0)),
        ("swapon", []) => done(sys!(SYS_swapon, c"/nonexistent/swap", 0)),
        ("swapoff", []) => done(sys!(SYS_swapoff, c"/nonexistent/swap")),
        ("quotactl", []) => done(sys!(SYS_quotactl, 0x80_0002_u32 << 8, c"/dev/null", 0, 0)),
        ("quotactl-fd", []) => done(sys!(SYS_quotactl_fd, -1, 0x80_0007_u32 << 8, 0, 0)),
        ("reboot", []) => done(sys!(SYS_reboot, 0, 0, 0, 0)),
        ("acct", []) => done(sys!(SYS_acct, c"/nonexistent/accounting")),
        ("syslog", []) => done(sys!(SYS_syslog, 5, 0, 0)),
        ("sethostname", []) => {
            let mut names = [0_u8; 65 * 6];
            sys!(SYS_uname, &mut names).and_then(|_| {
                let node = names.get(65..130).unwrap_or_default();
                let length = node.iter().position(|byte| *byte == 0).unwrap_or(0);
                done(sys!(SYS_sethostname, node, length))
            })
        }
        ("setdomainname", []) => done(sys!(SYS_setdomainname, c"(none)", 6)),
        ("settimeofday", []) => {
            let mut now = [0_u64; 2];
            sys!(SYS_gettimeofday, &mut now, 0).and_then(|_| done(sys!(SYS_settimeofday, &now, 0)))
        }
        ("clock-settime", []) => {
            let mut now = [0_u64; 2];
            sys!(SYS_clock_gettime, 0, &mut now)
                .and_then(|_| done(sys!(SYS_clock_settime, 0, &now)))
        }
        ("adjtimex", []) => {
            // ADJ_TICK with the tick as it is.
            let mut state = [0_u64; 26];
            sys!(SYS_adjtimex, &mut state).and_then(|_| {
                state[0] = 0x4000;
                done(sys!(SYS_adjtimex, &mut state))
            })
        }
        ("clock-adjtime", []) => {
            let mut state = [0_u64; 26];
            sys!(SYS_clock_adjtime, 0, &mut state).and_then(|_| {
                state[0] = 0x4000;
                done(sys!(SYS_clock_adjtime, 0, &mut state))
            })
        }
        ("iopl", []) => iopl(),
        ("open-write", [path]) => open(path, libc::O_WRONLY).map(|_| String::new()),
        ("rewrite", [path]) => rewrite(path),
        ("setuid", [uid]) => number(uid).and_then(|uid| done(sys!(SYS_setuid, uid))),
        ("setgroups", []) => done(sys!(SYS_setgroups, 0, 0)),
        ("capset", []) => {
            // Version 3; asks for CAP_CHOWN in the effective and permitted sets.
            let header = [0x2008_0522_i32, 0];
            done(sys!(SYS_capset, &header, &[1_i32, 1, 0, 0, 0, 0]))
        }
        ("fanotify-init", []) => done(sys!(SYS_fanotify_init, 0, 0)),
        ("landlock-version", []) => {
            sys!(SYS_landlock_create_ruleset, 0, 0, 1_u32).map(|version| version.to_string())
        }
        ("seccomp-listener", []) => seccomp_listener(),
        _ => return None,
    })
}

#[cfg(target_arch = "x86_64")]
fn iopl() -> Outcome {
    done(sys!(SYS_iopl, 3))
}
#[cfg(not(target_arch = "x86_64"))]
fn iopl() -> Outcome {
    Err(Stopped {
        call: "iopl".to_owned(),
        errno: libc::ENOSYS,
    })
}

/// Asks for a listener without a filter: EFAULT says that the call itself is open, so does success.
fn seccomp_listener() -> Outcome {
    const NEW_LISTENER: u32 = 8;
    match sys!(SYS_seccomp, 1, NEW_LISTENER, 0) {
        Err(stopped) if stopped.errno == libc::EFAULT => Ok("EFAULT: past the check".to_owned()),
        answer => done(answer),
    }
}

/// Writes a setting's own value back.
fn rewrite(path: &CStr) -> Outcome {
    let fd = open(path, libc::O_RDONLY)?;
    let mut buffer = [0_u8; 4096];
    let length = sys!(SYS_read, fd, &mut buffer, 4096)?;
    let fd = open(path, libc::O_WRONLY)?;
    done(sys!(SYS_write, fd, &buffer, length))
}
