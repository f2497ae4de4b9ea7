//! The compiled program against the table, by interpretation; and against the kernel, on threads of their own.

use ringfence_plan::step::{IpSockets, Observe};

use super::bpf::{AND, JUMP, JUMP_AT_LEAST, JUMP_EQUAL, LOAD, RETURN};
use super::compile::{ARCHITECTURE, SKIPPED, X32_BIT, compile as compile_table};
use super::rules::RULES;
use super::table::{self, FilterProfile, Rule, UnixSockets, Values};
use super::{Program, compile};

mod kernel;
mod spelt_out;

use spelt_out::{REFUSED, spelt_out};

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
            [IpSockets::InNamespace, IpSockets::Refused].map(|ip_sockets| (observe, ip_sockets))
        })
        .flat_map(|(observe, ip_sockets)| {
            [UnixSockets::Refused, UnixSockets::Supervised].map(|unix_sockets| FilterProfile {
                observe,
                ip_sockets,
                unix_sockets,
            })
        })
}

const PLAIN: FilterProfile = FilterProfile {
    observe: Observe::Off,
    ip_sockets: IpSockets::InNamespace,
    unix_sockets: UnixSockets::Refused,
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
        Some((_, _, verdict)) => table::answer(verdict, &profile),
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
fn calls_on_processes_are_observed_where_a_person_may_mean_one_outside() {
    let program = compile(&FilterProfile {
        observe: Observe::Writes,
        ..PLAIN
    });
    let answer = |number: libc::c_long, [a, b]: [i32; 2]| {
        let wide = |value: i32| u64::from(value.cast_unsigned());
        let arguments = [wide(a), wide(b), 0, 0, 0, 0];
        run(
            &program,
            ARCHITECTURE,
            u32::try_from(number).unwrap(),
            &arguments,
        )
    };
    for signal in [libc::SIGTERM, libc::SIGKILL, libc::SIGHUP, libc::SIGSTOP] {
        assert_eq!(answer(libc::SYS_kill, [4321, signal]), NOTIFY);
        assert_eq!(answer(libc::SYS_kill, [-4321, signal]), NOTIFY);
        // One's own group and everybody are never outside.
        assert_eq!(answer(libc::SYS_kill, [0, signal]), ALLOW);
        assert_eq!(answer(libc::SYS_kill, [-1, signal]), ALLOW);
    }
    // What loops ask, and what runtimes and databases wake each other with.
    for signal in [0, libc::SIGURG, libc::SIGUSR1, libc::SIGCHLD] {
        assert_eq!(answer(libc::SYS_kill, [4321, signal]), ALLOW);
    }
    for request in [16, 0x4206] {
        assert_eq!(answer(libc::SYS_ptrace, [request, 4321]), NOTIFY);
    }
    // PTRACE_TRACEME, PTRACE_PEEKDATA, PTRACE_CONT
    for request in [0, 2, 7] {
        assert_eq!(answer(libc::SYS_ptrace, [request, 4321]), ALLOW);
    }
    assert_eq!(answer(libc::SYS_pidfd_open, [4321, 0]), NOTIFY);
    assert_eq!(answer(libc::SYS_tgkill, [4321, 4321]), ALLOW);
}

#[test]
fn where_a_unix_socket_may_be_reached_stream_sockets_and_connects_are_supervised_and_nothing_else_is_opened()
 {
    let supervised = FilterProfile {
        unix_sockets: UnixSockets::Supervised,
        ..PLAIN
    };
    assert!(supervised.has_listener() && !PLAIN.has_listener());
    let program = compile(&supervised);
    let answer = |number: libc::c_long, arguments: [u64; 6]| {
        let number = u32::try_from(number).unwrap();
        run(&program, ARCHITECTURE, number, &arguments)
    };
    let notified = libc::SECCOMP_RET_USER_NOTIF;
    for flags in [0, 0o4000, 0o2_000_000, 0o2_004_000] {
        let call = answer(libc::SYS_socket, [1, 1 | flags, 0, 0, 0, 0]);
        assert_eq!(call, notified);
        for kind in [2, 3, 5] {
            let call = answer(libc::SYS_socket, [1, kind | flags, 0, 0, 0, 0]);
            assert_eq!(call, refused(libc::EACCES), "{kind}");
        }
    }
    let other_protocol = answer(libc::SYS_socket, [1, 1, 1, 0, 0, 0]);
    assert_eq!(other_protocol, refused(libc::EACCES));
    assert_eq!(answer(libc::SYS_connect, [3, 0, 16, 0, 0, 0]), notified);
    let pair = answer(libc::SYS_socketpair, [1, 2, 0, 0, 0, 0]);
    assert_eq!(pair, refused(libc::ESOCKTNOSUPPORT));
    let linger = [3, 1, 13, 0, 8, 0];
    assert_eq!(
        answer(libc::SYS_setsockopt, linger),
        refused(libc::ENOPROTOOPT)
    );
    let keep_alive = [3, 1, 9, 0, 4, 0];
    assert_eq!(
        answer(libc::SYS_setsockopt, keep_alive),
        libc::SECCOMP_RET_ALLOW
    );
    let without = compile(&PLAIN);
    let number = u32::try_from(libc::SYS_setsockopt).unwrap();
    assert_eq!(
        run(&without, ARCHITECTURE, number, &linger),
        libc::SECCOMP_RET_ALLOW
    );
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
