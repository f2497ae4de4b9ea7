//! The table: which system calls are refused, watched or made absent, by family, for this machine's architecture.
//!
//! What is not named here is allowed. Invariant: a refusal rests on the number and on arguments passed by value
//! alone; nothing behind a pointer is ever judged here, because the target can change it meanwhile. Calls that hide
//! their flags behind a pointer (`clone3`, `openat2`, `io_uring_enter`) are therefore absent altogether.

use super::table::{Access, Call, Condition, Family, Rule, Scope, Values, Verdict};

#[cfg(target_arch = "x86_64")]
mod legacy;
#[cfg(target_arch = "aarch64")]
mod legacy {
    //! The calls that only older architectures have: none here.
    use super::Rule;
    pub(super) const RULES: &[Rule] = &[];
    pub(super) const PATH_RULES: &[Rule] = &[];
}

/// Numbers of calls, with those that the C library's crate does not name yet. From 424 on all architectures
/// number alike.
#[expect(non_upper_case_globals, reason = "named like those of the crate libc")]
mod numbers {
    pub(super) use libc::*;
    #[cfg(target_arch = "aarch64")]
    pub(super) const SYS_renameat: c_long = 38;
    #[cfg(target_arch = "aarch64")]
    pub(super) const SYS_kexec_file_load: c_long = 294;
    #[cfg(target_arch = "aarch64")]
    pub(super) const SYS_fchmodat2: c_long = 452;
    pub(super) const SYS_setxattrat: c_long = 463;
    pub(super) const SYS_removexattrat: c_long = 466;
    pub(super) const SYS_open_tree_attr: c_long = 467;
    pub(super) const SYS_file_setattr: c_long = 469;
}

const fn call(symbol: &'static str, number: libc::c_long) -> Call {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "system calls are small and positive"
    )]
    Call {
        name: symbol.split_at("SYS_".len()).1,
        number: number as u32,
    }
}

macro_rules! calls {
    ($($symbol:ident)+) => {
        &[$(crate::seccomp::rules::call(stringify!($symbol), crate::seccomp::rules::numbers::$symbol)),+]
    };
}
use calls;

/// An error number as the filter returns it.
const fn errno(number: i32) -> u16 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "error numbers are small and positive"
    )]
    {
        number as u16
    }
}

const PERMISSION: Verdict = Verdict::Refuse(errno(libc::EPERM));
const ABSENT: Verdict = Verdict::Absent(errno(libc::ENOSYS));
const WRITE: Verdict = Verdict::Observe(Access::Write);
const READ: Verdict = Verdict::Observe(Access::Read);

/// The argument is one of `values`.
const fn is(argument: u8, values: &'static [u32]) -> Condition {
    masked(argument, u32::MAX, values)
}

/// The argument's bits in `mask` are one of `values`.
const fn masked(argument: u8, mask: u32, values: &'static [u32]) -> Condition {
    Condition {
        argument,
        mask,
        values: Values::OneOf(values),
    }
}

/// The argument has any bit of `mask`.
const fn any(argument: u8, mask: u32) -> Condition {
    Condition {
        argument,
        mask,
        values: Values::NoneOf(&[0]),
    }
}

const fn rule(
    family: Family,
    calls: &'static [Call],
    when: &'static [Condition],
    verdict: Verdict,
) -> Rule {
    Rule {
        family,
        scope: Scope::Always,
        calls,
        when,
        verdict,
    }
}

/// The same rule, in force only in sessions without namespaces.
const fn without_namespaces(rule: Rule) -> Rule {
    Rule {
        scope: Scope::WithoutNamespaces,
        ..rule
    }
}

const fn unsigned(value: i32) -> u32 {
    value.unsigned_abs()
}

// Sockets: `socket(domain, type, protocol)`.
const IP: &[u32] = &[unsigned(libc::AF_INET), unsigned(libc::AF_INET6)];
const UNIX: &[u32] = &[unsigned(libc::AF_UNIX)];
const NETLINK: &[u32] = &[unsigned(libc::AF_NETLINK)];
const IP_OR_NETLINK: &[u32] = &[
    unsigned(libc::AF_INET),
    unsigned(libc::AF_INET6),
    unsigned(libc::AF_NETLINK),
];
/// `SOCK_TYPE_MASK`: the rest of the argument is `SOCK_CLOEXEC` and `SOCK_NONBLOCK`.
const TYPE: u32 = 0xF;
const STREAM_OR_DATAGRAM: &[u32] = &[unsigned(libc::SOCK_STREAM), unsigned(libc::SOCK_DGRAM)];
const STREAM: &[u32] = &[unsigned(libc::SOCK_STREAM)];
const CONNECTED: &[u32] = &[unsigned(libc::SOCK_STREAM), unsigned(libc::SOCK_SEQPACKET)];
const TCP_OR_UDP: &[u32] = &[0, unsigned(libc::IPPROTO_TCP), unsigned(libc::IPPROTO_UDP)];
/// `IPPROTO_MPTCP`
const MPTCP: &[u32] = &[262];

const SOCKETS: &[Rule] = &[
    // Runtimes ask for multipath TCP with every listener and fall back, so this one is never reported.
    rule(
        Family::Socket,
        calls![SYS_socket],
        &[is(0, IP), is(2, MPTCP)],
        Verdict::Absent(errno(libc::EPROTONOSUPPORT)),
    ),
    without_namespaces(rule(
        Family::IpSocket,
        calls![SYS_socket],
        &[is(0, IP)],
        Verdict::Refuse(errno(libc::EACCES)),
    )),
    rule(
        Family::Socket,
        calls![SYS_socket],
        &[
            is(0, IP),
            masked(1, TYPE, STREAM_OR_DATAGRAM),
            is(2, TCP_OR_UDP),
        ],
        Verdict::Allow,
    ),
    rule(
        Family::Socket,
        calls![SYS_socket],
        &[is(0, NETLINK), is(2, &[unsigned(libc::NETLINK_ROUTE)])],
        Verdict::Allow,
    ),
    // What comes of it is no socket that could connect: one end of a pair, whose other end the harness holds. So no
    // connect(2) that the kernel is let do can reach a path, whatever its memory holds by then.
    Rule {
        scope: Scope::WithUnixSockets,
        ..rule(
            Family::UnixSocket,
            calls![SYS_socket],
            &[is(0, UNIX), masked(1, TYPE, STREAM), is(2, &[0])],
            Verdict::Supervise,
        )
    },
    rule(
        Family::UnixSocket,
        calls![SYS_socket],
        &[is(0, UNIX)],
        Verdict::Refuse(errno(libc::EACCES)),
    ),
    rule(
        Family::Socket,
        calls![SYS_socket],
        &[is(0, IP_OR_NETLINK)],
        Verdict::Refuse(errno(libc::EPROTONOSUPPORT)),
    ),
    rule(
        Family::Socket,
        calls![SYS_socket],
        &[],
        Verdict::Refuse(errno(libc::EAFNOSUPPORT)),
    ),
    // A pair of datagram sockets is no closed pair: either end may send to, or connect to, any path.
    rule(
        Family::UnixSocket,
        calls![SYS_socketpair],
        &[is(0, UNIX), masked(1, TYPE, CONNECTED)],
        Verdict::Allow,
    ),
    rule(
        Family::UnixSocket,
        calls![SYS_socketpair],
        &[is(0, UNIX)],
        Verdict::Refuse(errno(libc::ESOCKTNOSUPPORT)),
    ),
    rule(
        Family::Socket,
        calls![SYS_socketpair],
        &[],
        Verdict::Refuse(errno(libc::EAFNOSUPPORT)),
    ),
    // TCP Fast Open connects without connect(2). A kernel with it switched off answers the same, and programs
    // fall back. The server's side (TCP_FASTOPEN) opens no way out and is left alone.
    rule(
        Family::Socket,
        calls![SYS_sendto SYS_sendmmsg],
        &[any(3, unsigned(libc::MSG_FASTOPEN))],
        Verdict::Absent(errno(libc::EOPNOTSUPP)),
    ),
    rule(
        Family::Socket,
        calls![SYS_sendmsg],
        &[any(2, unsigned(libc::MSG_FASTOPEN))],
        Verdict::Absent(errno(libc::EOPNOTSUPP)),
    ),
    rule(
        Family::Socket,
        calls![SYS_setsockopt],
        &[
            is(1, &[unsigned(libc::IPPROTO_TCP)]),
            is(2, &[unsigned(libc::TCP_FASTOPEN_CONNECT)]),
        ],
        Verdict::Absent(errno(libc::ENOPROTOOPT)),
    ),
    // The harness's side of a pair may be the last to hold a descriptor that a target has sent into it: closing a socket
    // that lingers would hold up init, or the proxy, for as long as the target likes.
    Rule {
        scope: Scope::WithUnixSockets,
        ..rule(
            Family::Socket,
            calls![SYS_setsockopt],
            &[
                is(1, &[unsigned(libc::SOL_SOCKET)]),
                is(2, &[unsigned(libc::SO_LINGER)]),
            ],
            Verdict::Absent(errno(libc::ENOPROTOOPT)),
        )
    },
    // No network or IPC namespace: the host's own objects would be in reach.
    without_namespaces(rule(
        Family::Kernel,
        calls![
            SYS_shmget SYS_shmat SYS_shmctl SYS_semget SYS_semop SYS_semtimedop SYS_semctl
            SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_mq_open SYS_mq_unlink
        ],
        &[],
        PERMISSION,
    )),
];

/// `CLONE_NEW*` but `CLONE_NEWTIME`.
const NAMESPACES: u32 = unsigned(
    libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP,
);
/// `CLONE_NEWTIME`: a flag of unshare(2) alone; in clone(2) the bit belongs to the exit signal.
const NEW_TIME: u32 = 0x80;

/// What personality(2) may be asked: nothing (the query), Linux, no randomisation, 32-bit names, Linux 2.6 names.
const PERSONALITIES: &[u32] = &[0, u32::MAX, 0x4_0000, 0x8, 0x2_0000, 0x2_0008];

/// `TIOCSTI`, `TIOCLINUX`, `TIOCSETD`: typing into the terminal, pasting into it, changing its line discipline.
const TERMINAL_INJECTION: &[u32] = &[0x5412, 0x541C, 0x5423];

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`
const NEW_LISTENER: u32 = 1 << 3;

const KERNEL: &[Rule] = &[
    rule(
        Family::Kernel,
        calls![SYS_clone3 SYS_openat2 SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register],
        &[],
        ABSENT,
    ),
    // A second listener could answer "continue" to what this filter hands to its own, once that one is gone.
    rule(
        Family::Kernel,
        calls![SYS_seccomp],
        &[
            is(0, &[libc::SECCOMP_SET_MODE_FILTER]),
            any(1, NEW_LISTENER),
        ],
        Verdict::Absent(errno(libc::EBUSY)),
    ),
    rule(
        Family::Kernel,
        calls![SYS_unshare],
        &[any(0, NAMESPACES | NEW_TIME)],
        PERMISSION,
    ),
    rule(
        Family::Kernel,
        calls![SYS_clone],
        &[any(0, NAMESPACES)],
        PERMISSION,
    ),
    rule(
        Family::Kernel,
        calls![SYS_ioctl],
        &[is(1, TERMINAL_INJECTION)],
        PERMISSION,
    ),
    rule(
        Family::Kernel,
        calls![SYS_personality],
        &[Condition {
            argument: 0,
            mask: u32::MAX,
            values: Values::NoneOf(PERSONALITIES),
        }],
        PERMISSION,
    ),
    // Other namespaces, mounts, roots.
    rule(
        Family::Kernel,
        calls![
            SYS_setns SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_fsopen SYS_fsconfig
            SYS_fsmount SYS_fspick SYS_move_mount SYS_open_tree SYS_open_tree_attr
            SYS_mount_setattr
        ],
        &[],
        PERMISSION,
    ),
    // Other processes' memory and descriptors; ptrace(2) of one's own children stays.
    rule(
        Family::Kernel,
        calls![SYS_process_vm_readv SYS_process_vm_writev SYS_pidfd_getfd],
        &[],
        PERMISSION,
    ),
    // Large kernel interfaces that no build needs.
    rule(
        Family::Kernel,
        calls![
            SYS_bpf SYS_perf_event_open SYS_userfaultfd SYS_keyctl SYS_add_key SYS_request_key
            SYS_fanotify_init SYS_name_to_handle_at SYS_open_by_handle_at SYS_lookup_dcookie
            SYS_nfsservctl
        ],
        &[],
        PERMISSION,
    ),
    // The machine itself. adjtimex and clock_adjtime also read, but whether they do is behind a pointer.
    rule(
        Family::Kernel,
        calls![
            SYS_kexec_load SYS_kexec_file_load SYS_init_module SYS_finit_module
            SYS_delete_module SYS_quotactl SYS_quotactl_fd SYS_swapon SYS_swapoff SYS_reboot
            SYS_settimeofday SYS_clock_settime SYS_adjtimex SYS_clock_adjtime SYS_acct
            SYS_syslog SYS_vhangup
        ],
        &[],
        PERMISSION,
    ),
];

/// `S_ISUID | S_ISGID`
const PRIVILEGE: u32 = 0o6000;
/// `S_IFMT`, and the two kinds of device in it.
const KIND: u32 = 0o170_000;
const DEVICES: &[u32] = &[0o020_000, 0o060_000];
/// `O_CREAT`, and the bit of `O_TMPFILE` that is its own.
const CREATES: u32 = unsigned(libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY));
/// `O_WRONLY`, `O_RDWR`, and the fourth access mode, which asks for both permissions.
const WRITES: u32 = 0o3;

const PRIVILEGED_MODES: &[Rule] = &[
    rule(
        Family::PrivilegedMode,
        calls![SYS_fchmod],
        &[any(1, PRIVILEGE)],
        PERMISSION,
    ),
    rule(
        Family::PrivilegedMode,
        calls![SYS_fchmodat SYS_fchmodat2 SYS_mkdirat SYS_mknodat],
        &[any(2, PRIVILEGE)],
        PERMISSION,
    ),
    rule(
        Family::PrivilegedMode,
        calls![SYS_mknodat],
        &[masked(2, KIND, DEVICES)],
        PERMISSION,
    ),
    // Without a flag that creates, the mode is whatever the register held.
    rule(
        Family::PrivilegedMode,
        calls![SYS_openat],
        &[any(2, CREATES), any(3, PRIVILEGE)],
        PERMISSION,
    ),
];

/// Flags with which opening a path changes something.
const OPENS_FOR_WRITING: u32 = WRITES | CREATES | unsigned(libc::O_TRUNC);

/// Calls on open descriptors are here only where a descriptor open for reading suffices; where one open for
/// writing is needed (`ftruncate`, `fallocate`), the open has been seen.
const PATHS: &[Rule] = &[
    rule(
        Family::Path,
        calls![SYS_openat],
        &[any(2, OPENS_FOR_WRITING)],
        WRITE,
    ),
    rule(Family::Path, calls![SYS_openat], &[], READ),
    rule(
        Family::Path,
        calls![
            SYS_mkdirat SYS_mknodat SYS_renameat SYS_renameat2 SYS_linkat SYS_symlinkat
            SYS_unlinkat SYS_truncate SYS_fchmod SYS_fchmodat SYS_fchmodat2 SYS_fchown
            SYS_fchownat SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_setxattrat
            SYS_removexattr SYS_lremovexattr SYS_fremovexattr SYS_removexattrat
            SYS_file_setattr
        ],
        &[],
        WRITE,
    ),
    // Without a path it sets the times of an open file: every copied or extracted file, and seldom refused.
    rule(
        Family::Path,
        calls![SYS_utimensat],
        &[any(1, u32::MAX)],
        WRITE,
    ),
    rule(
        Family::Path,
        calls![SYS_execve SYS_execveat],
        &[],
        Verdict::Observe(Access::Execute),
    ),
    rule(
        Family::Connection,
        calls![SYS_connect],
        &[],
        Verdict::Observe(Access::Connect),
    ),
];

/// Signals that people send to end, stop or wake a process. Others, and the question whether it is there (0), go from
/// process to process by the thousand in some programs.
const SENT_BY_HAND: &[u32] = &[
    unsigned(libc::SIGHUP),
    unsigned(libc::SIGINT),
    unsigned(libc::SIGQUIT),
    unsigned(libc::SIGABRT),
    unsigned(libc::SIGKILL),
    unsigned(libc::SIGTERM),
    unsigned(libc::SIGCONT),
    unsigned(libc::SIGSTOP),
    unsigned(libc::SIGTSTP),
];
/// One's own group, and everybody that one may signal.
const NOBODY_ELSE: &[u32] = &[0, u32::MAX];
/// `PTRACE_ATTACH`, `PTRACE_SEIZE`
const BEGINS_TRACING: &[u32] = &[16, 0x4206];

/// Calls that name a process: told where it is none of the session's. `tgkill` is left alone, since runtimes stop their
/// own threads with it.
const PROCESSES: &[Rule] = &[
    rule(
        Family::Process,
        calls![SYS_kill],
        &[
            is(1, SENT_BY_HAND),
            Condition {
                argument: 0,
                mask: u32::MAX,
                values: Values::NoneOf(NOBODY_ELSE),
            },
        ],
        Verdict::Observe(Access::Reach),
    ),
    rule(
        Family::Process,
        calls![SYS_ptrace],
        &[is(0, BEGINS_TRACING)],
        Verdict::Observe(Access::Reach),
    ),
    rule(
        Family::Process,
        calls![SYS_pidfd_open],
        &[],
        Verdict::Observe(Access::Reach),
    ),
];

/// All rules, in the order in which they are read.
pub(crate) static RULES: std::sync::LazyLock<Vec<Rule>> = std::sync::LazyLock::new(|| {
    [
        SOCKETS,
        KERNEL,
        PRIVILEGED_MODES,
        legacy::RULES,
        PATHS,
        legacy::PATH_RULES,
        PROCESSES,
    ]
    .concat()
});
