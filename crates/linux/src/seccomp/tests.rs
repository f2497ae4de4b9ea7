//! The compiled program against the table, by interpretation; and against the kernel, on threads of their own.

use ringfence_plan::step::{IpSockets, Observe};

use super::bpf::{AND, JUMP, JUMP_AT_LEAST, JUMP_EQUAL, LOAD, RETURN};
use super::compile::{ARCHITECTURE, SKIPPED, X32_BIT};
use super::rules::RULES;
use super::table::{self, FilterProfile, Rule, Values};
use super::{Program, compile, decide};

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
fn expected(rules: &[Rule], profile: &FilterProfile, number: u32, arguments: &[u64; 6]) -> u32 {
    match table::decide(rules, profile, number, arguments) {
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

fn agrees(rules: &[Rule], program: &Program, profile: &FilterProfile, random: &mut Random) {
    let values = interesting(rules);
    let highest = rules
        .iter()
        .flat_map(|rule| rule.calls)
        .map(|call| call.number)
        .max()
        .unwrap();
    for number in (0..=highest + 2).chain([X32_BIT - 1, X32_BIT, X32_BIT + 2, SKIPPED - 1, SKIPPED])
    {
        for _ in 0..300 {
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
        agrees(&RULES, &compile(&profile), &profile, &mut random);
    }
}

#[test]
fn program_equals_table_for_random_tables() {
    let mut random = Random(7);
    for round in 0..60 {
        // Many rules for few calls, so that their bodies outgrow a conditional jump.
        let rules: Vec<Rule> = (0..20 + round * 4)
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
            let program = super::compile::compile(&rules, &profile);
            agrees(&rules, &program, &profile, &mut random);
        }
    }
}
