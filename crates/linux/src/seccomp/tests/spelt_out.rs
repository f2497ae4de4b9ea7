//! Calls and the answer that each must get, spelt out by hand and not by the table under test.

use super::{ALLOW, refused};

/// Calls that fail, and their neighbours that do not, spelt out independently of the table.
#[expect(clippy::too_many_lines, reason = "one table")]
pub(super) fn spelt_out() -> Vec<(&'static str, libc::c_long, [u64; 6], u32)> {
    const GARBAGE: u64 = 0xDEAD_BEEF_0000_0000;
    let eperm = refused(libc::EPERM);
    let enosys = refused(libc::ENOSYS);
    let eacces = refused(libc::EACCES);
    let family = refused(libc::EAFNOSUPPORT);
    let protocol = refused(libc::EPROTONOSUPPORT);
    let kind = refused(libc::ESOCKTNOSUPPORT);
    let args = |given: &[u64]| {
        let mut all = [0; 6];
        all[..given.len()].copy_from_slice(given);
        all
    };
    let mut cases = Vec::new();
    let mut case = |name, number, given: &[u64], answer| {
        cases.push((name, number, args(given), answer));
        // The kernel looks at 32 bits of these arguments, so the rest must not matter.
        let garbage = args(given).map(|argument| argument | GARBAGE);
        cases.push((name, number, garbage, answer));
    };
    for (name, domain, kind_of, protocol_of, answer) in [
        ("tcp", 2, 1, 0, ALLOW),
        ("tcp6", 10, 1, 6, ALLOW),
        ("udp", 2, 2, 17, ALLOW),
        (
            "tcp, close-on-exec and non-blocking",
            2,
            0o2_004_001,
            6,
            ALLOW,
        ),
        ("raw", 2, 3, 0, protocol),
        ("raw with flags", 2, 0o2_000_003, 0, protocol),
        ("SOCK_PACKET under AF_INET", 2, 10, 0, protocol),
        ("ping", 2, 2, 1, protocol),
        ("sctp", 2, 1, 132, protocol),
        ("udplite", 10, 2, 136, protocol),
        ("dccp", 2, 6, 33, protocol),
        ("mptcp", 2, 1, 262, protocol),
        ("netlink route", 16, 3, 0, ALLOW),
        ("netlink audit", 16, 3, 9, protocol),
        ("netlink netfilter", 16, 3, 12, protocol),
        ("netlink uevent", 16, 2, 15, protocol),
        ("unix", 1, 1, 0, eacces),
        ("unix datagram", 1, 2, 0, eacces),
        ("unix with flags", 1, 0o2_000_005, 0, eacces),
        ("unspecified", 0, 1, 0, family),
        ("key", 15, 3, 2, family),
        ("packet", 17, 3, 0, family),
        ("rds", 21, 5, 0, family),
        ("can", 29, 3, 1, family),
        ("tipc", 30, 1, 0, family),
        ("bluetooth", 31, 3, 1, family),
        ("alg", 38, 5, 0, family),
        ("vsock", 40, 1, 0, family),
        ("xdp", 44, 3, 0, family),
        ("a family of the future", 99, 1, 0, family),
    ] {
        case(
            name,
            libc::SYS_socket,
            &[domain, kind_of, protocol_of],
            answer,
        );
    }
    case("pair", libc::SYS_socketpair, &[1, 1, 0], ALLOW);
    case(
        "pair of packets",
        libc::SYS_socketpair,
        &[1, 0o2_000_005, 0],
        ALLOW,
    );
    case("pair of datagrams", libc::SYS_socketpair, &[1, 2, 0], kind);
    case(
        "pair of raw, which is datagrams",
        libc::SYS_socketpair,
        &[1, 3, 0],
        kind,
    );
    case("pair of tipc", libc::SYS_socketpair, &[30, 1, 0], family);

    let fast_open = 0x2000_0000;
    let unsupported = refused(libc::EOPNOTSUPP);
    case("sendto", libc::SYS_sendto, &[3, 0, 0, 0x4000], ALLOW);
    case(
        "sendto fast open",
        libc::SYS_sendto,
        &[3, 0, 0, fast_open | 0x4000],
        unsupported,
    );
    case("sendmsg", libc::SYS_sendmsg, &[3, 0, 0], ALLOW);
    case(
        "sendmsg fast open",
        libc::SYS_sendmsg,
        &[3, 0, fast_open],
        unsupported,
    );
    case(
        "sendmmsg",
        libc::SYS_sendmmsg,
        &[3, fast_open, fast_open, 0],
        ALLOW,
    );
    case(
        "sendmmsg fast open",
        libc::SYS_sendmmsg,
        &[3, 0, 0, fast_open],
        unsupported,
    );
    let option = refused(libc::ENOPROTOOPT);
    case("TCP_NODELAY", libc::SYS_setsockopt, &[3, 6, 1], ALLOW);
    case(
        "TCP_FASTOPEN_CONNECT",
        libc::SYS_setsockopt,
        &[3, 6, 30],
        option,
    );
    case(
        "option 30 elsewhere",
        libc::SYS_setsockopt,
        &[3, 1, 30],
        ALLOW,
    );

    for number in [
        libc::SYS_clone3,
        libc::SYS_openat2,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
    ] {
        case("absent", number, &[], enosys);
    }
    for flag in [
        0x80,
        0x2_0000,
        0x200_0000,
        0x400_0000,
        0x800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ] {
        case("unshare", libc::SYS_unshare, &[flag], eperm);
        case("unshare, mixed", libc::SYS_unshare, &[flag | 0x200], eperm);
        let clone = if flag == 0x80 { ALLOW } else { eperm };
        case("clone", libc::SYS_clone, &[flag | 0x11], clone);
    }
    case("unshare files", libc::SYS_unshare, &[0x600], ALLOW);
    case("fork", libc::SYS_clone, &[0x0120_0011], ALLOW);
    case("thread", libc::SYS_clone, &[0x003D_0F00], ALLOW);
    case("vfork", libc::SYS_clone, &[0x4111], ALLOW);
    for (name, request, answer) in [
        ("TIOCSTI", 0x5412, eperm),
        ("TIOCLINUX", 0x541C, eperm),
        ("TIOCSETD", 0x5423, eperm),
        ("TCGETS", 0x5401, ALLOW),
        ("TIOCGWINSZ", 0x5413, ALLOW),
        ("FICLONE", 0x4004_9409, ALLOW),
    ] {
        case(name, libc::SYS_ioctl, &[0, request], answer);
    }
    for (persona, answer) in [
        (0, ALLOW),
        (0xFFFF_FFFF, ALLOW),
        (0x4_0000, ALLOW),
        (8, ALLOW),
        (0x2_0000, ALLOW),
        (0x2_0008, ALLOW),
        (0x40_0000, eperm),
        (0x10_0000, eperm),
        (0x4_0008, eperm),
        (4, eperm),
    ] {
        case("personality", libc::SYS_personality, &[persona], answer);
    }
    case("filter", libc::SYS_seccomp, &[1, 0], ALLOW);
    case("filter with log", libc::SYS_seccomp, &[1, 2], ALLOW);
    case("listener", libc::SYS_seccomp, &[1, 8], refused(libc::EBUSY));
    case(
        "listener, mixed",
        libc::SYS_seccomp,
        &[1, 0x28],
        refused(libc::EBUSY),
    );
    case("sizes of notifications", libc::SYS_seccomp, &[3, 0], ALLOW);

    for mode in [0o4755, 0o2755, 0o6000, 0o104_000] {
        case("fchmod", libc::SYS_fchmod, &[3, mode], eperm);
        case("fchmodat", libc::SYS_fchmodat, &[3, 0, mode], eperm);
        case("fchmodat2", 452, &[3, 0, mode, 0], eperm);
        case("mkdirat", libc::SYS_mkdirat, &[3, 0, mode], eperm);
        case(
            "mknodat",
            libc::SYS_mknodat,
            &[3, 0, 0o100_000 | mode],
            eperm,
        );
        case(
            "openat O_CREAT",
            libc::SYS_openat,
            &[3, 0, 0o101, mode],
            eperm,
        );
        case(
            "openat O_TMPFILE",
            libc::SYS_openat,
            &[3, 0, 0o20_200_002, mode],
            eperm,
        );
        case("openat", libc::SYS_openat, &[3, 0, 0o2, mode], ALLOW);
    }
    for mode in [0o755, 0o1777, 0o100_644] {
        case("fchmod", libc::SYS_fchmod, &[3, mode], ALLOW);
        case("fchmodat", libc::SYS_fchmodat, &[3, 0, mode], ALLOW);
        case("fchmodat2", 452, &[3, 0, mode, 0], ALLOW);
        case("mkdirat", libc::SYS_mkdirat, &[3, 0, mode], ALLOW);
        case(
            "openat O_CREAT",
            libc::SYS_openat,
            &[3, 0, 0o101, mode],
            ALLOW,
        );
    }
    case("fifo", libc::SYS_mknodat, &[3, 0, 0o010_644], ALLOW);
    case("file", libc::SYS_mknodat, &[3, 0, 0o644], ALLOW);
    case(
        "character device",
        libc::SYS_mknodat,
        &[3, 0, 0o020_644, 0x103],
        eperm,
    );
    case(
        "block device",
        libc::SYS_mknodat,
        &[3, 0, 0o060_644, 0x801],
        eperm,
    );

    for number in REFUSED {
        case("refused", *number, &[], eperm);
    }
    for number in UNNAMED {
        case("unnamed", *number, &[], ALLOW);
    }
    cases.extend(legacy(eperm));
    cases
}

/// Refused for what they are.
pub(super) const REFUSED: &[libc::c_long] = &[
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    467,
    libc::SYS_mount_setattr,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_fanotify_init,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
];

/// Named by no rule: what every program needs, and ptrace(2).
const UNNAMED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_mmap,
    libc::SYS_futex,
    libc::SYS_exit_group,
    libc::SYS_ptrace,
    libc::SYS_kill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_bind,
    libc::SYS_accept4,
    libc::SYS_getsockopt,
    libc::SYS_prctl,
    libc::SYS_clock_gettime,
    libc::SYS_memfd_create,
    libc::SYS_landlock_restrict_self,
    libc::SYS_shmget,
    libc::SYS_mq_open,
];

#[cfg(target_arch = "x86_64")]
fn legacy(eperm: u32) -> Vec<(&'static str, libc::c_long, [u64; 6], u32)> {
    vec![
        ("iopl", libc::SYS_iopl, [3, 0, 0, 0, 0, 0], eperm),
        ("ioperm", libc::SYS_ioperm, [0, 1, 1, 0, 0, 0], eperm),
        ("chmod", libc::SYS_chmod, [0, 0o4755, 0, 0, 0, 0], eperm),
        ("chmod", libc::SYS_chmod, [0, 0o755, 0, 0, 0, 0], ALLOW),
        ("creat", libc::SYS_creat, [0, 0o2755, 0, 0, 0, 0], eperm),
        ("creat", libc::SYS_creat, [0, 0o644, 0, 0, 0, 0], ALLOW),
        ("mkdir", libc::SYS_mkdir, [0, 0o2755, 0, 0, 0, 0], eperm),
        ("mkdir", libc::SYS_mkdir, [0, 0o1777, 0, 0, 0, 0], ALLOW),
        ("mknod", libc::SYS_mknod, [0, 0o104_755, 0, 0, 0, 0], eperm),
        (
            "mknod",
            libc::SYS_mknod,
            [0, 0o020_644, 0x103, 0, 0, 0],
            eperm,
        ),
        ("mknod", libc::SYS_mknod, [0, 0o010_644, 0, 0, 0, 0], ALLOW),
        ("open", libc::SYS_open, [0, 0o101, 0o4755, 0, 0, 0], eperm),
        ("open", libc::SYS_open, [0, 0o101, 0o755, 0, 0, 0], ALLOW),
        ("open", libc::SYS_open, [0, 0, 0o4755, 0, 0, 0], ALLOW),
        ("fork", libc::SYS_fork, [0; 6], ALLOW),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn legacy(_: u32) -> Vec<(&'static str, libc::c_long, [u64; 6], u32)> {
    Vec::new()
}
