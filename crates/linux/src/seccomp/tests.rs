//! The compiled program against the table, by interpretation; and against the kernel, on threads of their own.

use ringfence_plan::step::{IpSockets, Observe};

use super::bpf::{AND, JUMP, JUMP_AT_LEAST, JUMP_EQUAL, LOAD, RETURN};
use super::compile::{ARCHITECTURE, SKIPPED, X32_BIT, compile as compile_table};
use super::rules::RULES;
use super::table::{self, FilterProfile, Rule, Values};
use super::{Program, compile};

mod kernel;

const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;

fn refused(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno.unsigned_abs()
}

/// Every profile there is.
fn profiles() -> impl Iterator<Item = FilterProfile> {
    [Observe::Off, Observe::Writes, Observe::All]
        .into_iter()
        .flat_map(|observe| {
            [IpSockets::InNamespace, IpSockets::Refused].map(|ip_sockets| FilterProfile {
                observe,
                ip_sockets,
            })
        })
}

const PLAIN: FilterProfile = FilterProfile {
    observe: Observe::Off,
    ip_sockets: IpSockets::InNamespace,
};

/// Runs a program as the kernel does; an instruction that it does not know is a failed test.
fn run(program: &Program, architecture: u32, number: u32, arguments: &[u64; 6]) -> u32 {
    let mut words = vec![number, architecture, 0, 0];
    for argument in arguments {
        words.push(u32::try_from(argument & 0xFFFF_FFFF).unwrap());
        words.push(u32::try_from(argument >> 32).unwrap());
    }
    let mut accumulator = 0;
    let mut at = 0;
    loop {
        let instruction = program.instructions()[at];
        at += 1;
        let operand = instruction.operand;
        let jump = |holds| {
            usize::from(if holds {
                instruction.jump_true
            } else {
                instruction.jump_false
            })
        };
        match instruction.code {
            LOAD => accumulator = words[operand as usize / 4],
            AND => accumulator &= operand,
            JUMP => at += operand as usize,
            JUMP_EQUAL => at += jump(accumulator == operand),
            JUMP_AT_LEAST => at += jump(accumulator >= operand),
            RETURN => return operand,
            code => panic!("unknown instruction {code:#x}"),
        }
    }
}

/// What the table says the program must answer.
fn expected(rules: &[Rule], profile: FilterProfile, number: u32, arguments: &[u64; 6]) -> u32 {
    match table::decide(rules, &profile, number, arguments) {
        _ if number == SKIPPED => ALLOW,
        _ if number >= X32_BIT => refused(libc::ENOSYS),
        Some((_, _, verdict)) => table::answer(verdict, profile.observe),
        None => ALLOW,
    }
}

/// A small generator (xorshift64*), so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.next() % from.len() as u64).unwrap()]
    }
}

/// Values on which a condition of the table turns, and their neighbours.
fn interesting(rules: &[Rule]) -> Vec<u64> {
    let mut values = vec![0, 1, u64::from(u32::MAX), u64::MAX, 1 << 32];
    for condition in rules.iter().flat_map(|rule| rule.when) {
        let (Values::OneOf(listed) | Values::NoneOf(listed)) = condition.values;
        values.push(u64::from(condition.mask));
        values.extend((0..32).map(|bit| u64::from(condition.mask) & (1 << bit)));
        for value in listed {
            values.extend([value.wrapping_sub(1), *value, value.wrapping_add(1)].map(u64::from));
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}

fn agrees(
    rules: &[Rule],
    program: &Program,
    profile: FilterProfile,
    random: &mut Random,
    rounds: usize,
) {
    let values = interesting(rules);
    let highest = rules
        .iter()
        .flat_map(|rule| rule.calls)
        .map(|call| call.number)
        .max()
        .unwrap();
    for number in (0..=highest + 2).chain([X32_BIT - 1, X32_BIT, X32_BIT + 2, SKIPPED - 1, SKIPPED])
    {
        for _ in 0..rounds {
            let mut arguments = [0; 6];
            for argument in &mut arguments {
                // The upper half is garbage half of the time.
                let garbage = if random.next() & 1 == 0 {
                    0
                } else {
                    random.next() << 32
                };
                *argument = random.pick(&values) ^ garbage;
            }
            assert_eq!(
                run(program, ARCHITECTURE, number, &arguments),
                expected(rules, profile, number, &arguments),
                "call {number} {arguments:x?} in {profile:?}"
            );
        }
    }
}

#[test]
fn program_equals_table() {
    let mut random = Random(0x5EED);
    for profile in profiles() {
        agrees(&RULES, &compile(&profile), profile, &mut random, 60);
    }
}

#[test]
fn program_equals_table_for_random_tables() {
    let mut random = Random(7);
    for round in 0..30 {
        // Many rules for few calls, so that their bodies outgrow a conditional jump.
        let rules: Vec<Rule> = (0..20 + round * 8)
            .map(|_| {
                let when: Vec<_> = (0..random.next() % 4)
                    .map(|_| table::Condition {
                        argument: u8::try_from(random.next() % 6).unwrap(),
                        mask: random.pick(&[u32::MAX, 0xF, 0o6000, 1 << 31]),
                        values: if random.next() & 1 == 0 {
                            Values::OneOf(&[0, 2, 9])
                        } else {
                            Values::NoneOf(&[0, 3])
                        },
                    })
                    .collect();
                Rule {
                    when: when.leak(),
                    calls: vec![table::Call {
                        name: "call",
                        number: u32::try_from(random.next() % 30).unwrap(),
                    }]
                    .leak(),
                    ..random.pick(&RULES)
                }
            })
            .collect();
        for profile in profiles() {
            let program = compile_table(&rules, profile);
            agrees(&rules, &program, profile, &mut random, 20);
        }
    }
}

#[test]
fn foreign_architectures_die_and_x32_is_absent() {
    for profile in profiles() {
        let program = compile(&profile);
        // i386, arm, riscv64, and x86-64 without its 64-bit mark.
        for architecture in [0x4000_0003, 0x4000_0028, 0xC000_00F3, 0x8000_003E, 0] {
            for number in [0, 11, 102, 366, SKIPPED] {
                assert_eq!(run(&program, architecture, number, &[0; 6]), KILL);
            }
        }
        for number in [0, 1, 59, 512, 520, 0x3FFF_FFFF] {
            let call = run(&program, ARCHITECTURE, X32_BIT | number, &[0; 6]);
            assert_eq!(call, refused(libc::ENOSYS));
        }
        // A tracer has the call skipped and puts the result in itself.
        assert_eq!(run(&program, ARCHITECTURE, SKIPPED, &[0; 6]), ALLOW);
    }
}

/// Calls that fail, and their neighbours that do not, spelt out independently of the table.
#[expect(clippy::too_many_lines, reason = "one table")]
fn spelt_out() -> Vec<(&'static str, libc::c_long, [u64; 6], u32)> {
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
const REFUSED: &[libc::c_long] = &[
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

#[test]
fn every_family_is_refused_and_its_neighbours_are_not() {
    let program = compile(&PLAIN);
    for (name, number, arguments, answer) in spelt_out() {
        let number = u32::try_from(number).unwrap();
        let found = run(&program, ARCHITECTURE, number, &arguments);
        assert_eq!(found, answer, "{name} ({number}) {arguments:x?}");
    }
}

/// With an observer a refusal is handed to it; what is absent stays absent, and nothing refused becomes allowed.
#[test]
fn an_observer_sees_refusals_but_never_weakens_them() {
    let plain = compile(&PLAIN);
    for observe in [Observe::Writes, Observe::All] {
        let observed = compile(&FilterProfile { observe, ..PLAIN });
        for (name, number, arguments, _) in spelt_out() {
            let number = u32::try_from(number).unwrap();
            let before = run(&plain, ARCHITECTURE, number, &arguments);
            let after = run(&observed, ARCHITECTURE, number, &arguments);
            match before {
                ALLOW => assert!([ALLOW, NOTIFY].contains(&after), "{name}"),
                errno => assert!([errno, NOTIFY].contains(&after), "{name}"),
            }
        }
    }
}

#[test]
fn observed_calls_depend_on_the_mode() {
    let [off, writes, all] = [Observe::Off, Observe::Writes, Observe::All]
        .map(|observe| compile(&FilterProfile { observe, ..PLAIN }));
    let answers = |number: libc::c_long, arguments: [u64; 6]| {
        [&off, &writes, &all].map(|program| {
            run(
                program,
                ARCHITECTURE,
                u32::try_from(number).unwrap(),
                &arguments,
            )
        })
    };
    let openat = |flags| answers(libc::SYS_openat, [0, 0, flags, 0, 0, 0]);
    let write = [ALLOW, NOTIFY, NOTIFY];
    let read = [ALLOW, ALLOW, NOTIFY];
    assert_eq!(openat(0), read);
    // O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_TMPFILE's own bit.
    for flags in [0o1, 0o2, 0o100, 0o1000, 0o20_000_000] {
        assert_eq!(openat(flags), write, "{flags:o}");
    }
    assert_eq!(answers(libc::SYS_execve, [0; 6]), read);
    assert_eq!(answers(libc::SYS_execveat, [0; 6]), read);
    for number in [
        libc::SYS_mkdirat,
        libc::SYS_mknodat,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_unlinkat,
        libc::SYS_truncate,
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        libc::SYS_fchown,
        libc::SYS_fchownat,
        libc::SYS_setxattr,
        libc::SYS_lsetxattr,
        libc::SYS_fsetxattr,
        libc::SYS_removexattr,
        libc::SYS_lremovexattr,
        libc::SYS_fremovexattr,
        libc::SYS_connect,
        452,
        463,
        466,
        469,
    ] {
        assert_eq!(answers(number, [0; 6]), write, "{number}");
    }
    assert_eq!(answers(libc::SYS_utimensat, [0, 1, 0, 0, 0, 0]), write);
    assert_eq!(answers(libc::SYS_utimensat, [3, 0, 0, 0, 0, 0]), [ALLOW; 3]);
    assert_eq!(answers(libc::SYS_read, [0; 6]), [ALLOW; 3]);
}

#[test]
fn without_namespaces_ip_sockets_and_ipc_are_refused() {
    let program = compile(&FilterProfile {
        ip_sockets: IpSockets::Refused,
        ..PLAIN
    });
    let answer = |number: libc::c_long, arguments| {
        run(
            &program,
            ARCHITECTURE,
            u32::try_from(number).unwrap(),
            &arguments,
        )
    };
    for domain in [2, 10] {
        for kind in [1, 2, 3] {
            let call = answer(libc::SYS_socket, [domain, kind, 0, 0, 0, 0]);
            assert_eq!(call, refused(libc::EACCES));
        }
    }
    for number in [
        libc::SYS_shmget,
        libc::SYS_shmat,
        libc::SYS_shmctl,
        libc::SYS_semget,
        libc::SYS_semop,
        libc::SYS_semtimedop,
        libc::SYS_semctl,
        libc::SYS_msgget,
        libc::SYS_msgsnd,
        libc::SYS_msgrcv,
        libc::SYS_msgctl,
        libc::SYS_mq_open,
        libc::SYS_mq_unlink,
    ] {
        assert_eq!(answer(number, [0; 6]), refused(libc::EPERM), "{number}");
    }
    assert_eq!(answer(libc::SYS_socketpair, [1, 1, 0, 0, 0, 0]), ALLOW);
    assert_eq!(answer(libc::SYS_socket, [16, 3, 0, 0, 0, 0]), ALLOW);
}
