//! A seccomp program of the real one's size: an architecture check, a search for the call number, and argument
//! checks. What it refuses is what the full level refuses first; the exact list belongs to the real one.

/// seccomp(2): the call number, the architecture, and low halves of arguments in `seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const SECOND_ARGUMENT: u32 = 24;
const THIRD_ARGUMENT: u32 = 32;

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const JUMP_SET: u16 = 0x45;
const RETURN: u16 = 0x06;

const REFUSED: [libc::c_long; 60] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_clone3,
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
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_vhangup,
    libc::SYS_mbind,
    libc::SYS_set_mempolicy,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_kcmp,
    libc::SYS_memfd_secret,
    libc::SYS_openat2,
    libc::SYS_personality,
    libc::SYS_ptrace,
];

/// Calls whose mode argument may not hold a setuid or setgid bit.
/// With the place of that argument in `seccomp_data`.
const MODE_CALLS: [(libc::c_long, u32); 3] = [
    (libc::SYS_fchmod, SECOND_ARGUMENT),
    (libc::SYS_fchmodat, THIRD_ARGUMENT),
    (libc::SYS_mkdirat, THIRD_ARGUMENT),
];

fn instruction(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

fn number(call: libc::c_long) -> u32 {
    // Call numbers are small; one that were not would never match, and never be met.
    u32::try_from(call).unwrap_or(u32::MAX)
}

/// The program: a search tree over the call numbers.
///
/// The kernel runs a new program once for every call number, to learn which ones it always allows
/// (`seccomp_cache_prepare`): a list of comparisons makes that 450 times as long as the list.
pub(crate) fn program() -> Vec<libc::sock_filter> {
    #[cfg(target_arch = "x86_64")]
    let native = 0xC000_003E;
    #[cfg(target_arch = "aarch64")]
    let native = 0xC000_00B7;
    let mut program = vec![
        instruction(LOAD, ARCHITECTURE, 0, 0),
        instruction(JUMP_EQUAL, native, 1, 0),
        instruction(RETURN, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
        instruction(LOAD, NUMBER, 0, 0),
    ];
    let refused = REFUSED.map(|call| (number(call), Check::Refuse));
    let modes = MODE_CALLS.map(|(call, argument)| (number(call), Check::Mode(argument)));
    let mut calls: Vec<(u32, Check)> = refused.into_iter().chain(modes).collect();
    calls.sort_unstable_by_key(|(call, _)| *call);
    program.extend(tree(&calls));
    program
}

/// What is looked at in a call.
#[derive(Clone, Copy)]
enum Check {
    Refuse,
    Mode(u32),
}

/// How many comparisons in a row end the search.
const LEAF: usize = 4;

fn tree(calls: &[(u32, Check)]) -> Vec<libc::sock_filter> {
    let (low, high) = calls.split_at(calls.len() / 2);
    let Some((first, _)) = high.first().filter(|_| calls.len() > LEAF) else {
        let mut leaf: Vec<libc::sock_filter> = calls.iter().flat_map(one).collect();
        leaf.push(instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
        return leaf;
    };
    let (low, high) = (tree(low), tree(high));
    // A jump reaches 255 instructions; half of these calls are fewer.
    let over = u8::try_from(low.len()).unwrap_or(u8::MAX);
    let mut whole = vec![instruction(JUMP_GREATER_EQUAL, *first, over, 0)];
    whole.extend(low);
    whole.extend(high);
    whole
}

fn one((call, check): &(u32, Check)) -> Vec<libc::sock_filter> {
    let refuse = libc::SECCOMP_RET_ERRNO | 1;
    match check {
        Check::Refuse => vec![
            instruction(JUMP_EQUAL, *call, 0, 1),
            instruction(RETURN, refuse, 0, 0),
        ],
        Check::Mode(argument) => vec![
            instruction(JUMP_EQUAL, *call, 0, 4),
            instruction(LOAD, *argument, 0, 0),
            instruction(JUMP_SET, 0o6000, 0, 1),
            instruction(RETURN, refuse, 0, 0),
            instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        ],
    }
}
