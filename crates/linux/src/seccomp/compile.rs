//! From the table of rules to a BPF program: architecture, then a binary search over numbers, then each call's rules.
//!
//! It decides nothing: the table does. Invariant: the program answers what [`table::decide`] and [`table::answer`]
//! say, for every architecture, number and argument.
//!
//! Numbers without conditions depend on nothing but the number, so that the kernel (5.11 and later) finds them
//! constant when the filter is installed and lets them pass without running it.

use std::collections::BTreeSet;

use super::bpf::{Assembler, Instruction, JUMP_AT_LEAST, JUMP_EQUAL, Label, MAX_INSTRUCTIONS};
use super::table::{self, Condition, FilterProfile, Rule, Values};

/// `offsetof(struct seccomp_data, nr)`
pub(crate) const OFFSET_NUMBER: u32 = 0;
/// `offsetof(struct seccomp_data, arch)`
pub(crate) const OFFSET_ARCHITECTURE: u32 = 4;
/// `offsetof(struct seccomp_data, args)`; 8 bytes each, low half first on both architectures.
pub(crate) const OFFSET_ARGUMENTS: u32 = 16;

/// `AUDIT_ARCH_X86_64`
#[cfg(target_arch = "x86_64")]
pub const ARCHITECTURE: u32 = 0xC000_003E;
/// `AUDIT_ARCH_AARCH64`
#[cfg(target_arch = "aarch64")]
pub const ARCHITECTURE: u32 = 0xC000_00B7;

/// The bit that marks a call of the x32 ABI (`__X32_SYSCALL_BIT`); no 64-bit call is numbered as high.
pub(crate) const X32_BIT: u32 = 0x4000_0000;
/// The number a tracer sets to have a call skipped; the kernel runs nothing for it.
pub(crate) const SKIPPED: u32 = u32::MAX;

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
}

impl Program {
    pub(crate) fn from_instructions(instructions: Vec<Instruction>) -> Self {
        Self { instructions }
    }

    /// The instructions, first to last.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }
}

/// Compiles `rules` as they are in force in `profile`.
pub(crate) fn compile(rules: &[Rule], profile: FilterProfile) -> Program {
    let mut assembler = Assembler::default();
    let allow = assembler.ret(libc::SECCOMP_RET_ALLOW);
    let segments = segments(rules, profile);
    let search = search(&mut assembler, rules, profile, &segments).unwrap_or(allow);
    let absent = assembler.ret(libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs());
    let native = assembler.branch(JUMP_AT_LEAST, X32_BIT, absent, search);
    let allow = assembler.ret(libc::SECCOMP_RET_ALLOW);
    let number = assembler.branch(JUMP_EQUAL, SKIPPED, allow, native);
    let number = assembler.load(OFFSET_NUMBER, number);
    let kill = assembler.ret(libc::SECCOMP_RET_KILL_PROCESS);
    let architecture = assembler.branch(JUMP_EQUAL, ARCHITECTURE, number, kill);
    assembler.load(OFFSET_ARCHITECTURE, architecture);
    let instructions = assembler.finish();
    debug_assert!(instructions.len() <= MAX_INSTRUCTIONS);
    Program { instructions }
}

/// Numbers from `first` up to the next segment that are answered alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    first: u32,
    body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// The same answer whatever the arguments.
    Constant(u32),
    /// The rules of one call.
    Rules(u32),
}

fn segments(rules: &[Rule], profile: FilterProfile) -> Vec<Segment> {
    let numbers: BTreeSet<u32> = rules
        .iter()
        .filter(|rule| rule.in_force(&profile))
        .flat_map(|rule| rule.calls)
        .map(|call| call.number)
        .collect();
    let mut segments = vec![Segment {
        first: 0,
        body: Body::Constant(libc::SECCOMP_RET_ALLOW),
    }];
    let mut add = |first, body| match segments.last_mut() {
        Some(last) if last.first == first => last.body = body,
        Some(last) if last.body == body => {}
        Some(_) | None => segments.push(Segment { first, body }),
    };
    for &number in &numbers {
        add(number, body(rules, profile, number));
        add(number + 1, Body::Constant(libc::SECCOMP_RET_ALLOW));
    }
    // Overwriting a segment may leave it equal to the one before.
    segments.dedup_by(|next, previous| next.body == previous.body);
    segments
}

/// The rules of one number, up to and including the first without conditions.
fn chain(rules: &[Rule], profile: FilterProfile, number: u32) -> impl Iterator<Item = &Rule> {
    let mut ended = false;
    rules
        .iter()
        .filter(move |rule| rule.in_force(&profile) && rule.call(number).is_some())
        .take_while(move |rule| !std::mem::replace(&mut ended, rule.when.is_empty()))
}

fn body(rules: &[Rule], profile: FilterProfile, number: u32) -> Body {
    let mut answers: Vec<u32> = chain(rules, profile, number)
        .map(|rule| table::answer(rule.verdict, &profile))
        .collect();
    if chain(rules, profile, number).all(|rule| !rule.when.is_empty()) {
        answers.push(libc::SECCOMP_RET_ALLOW);
    }
    answers.dedup();
    match answers.as_slice() {
        [answer] => Body::Constant(*answer),
        _ => Body::Rules(number),
    }
}

fn search(
    assembler: &mut Assembler,
    rules: &[Rule],
    profile: FilterProfile,
    segments: &[Segment],
) -> Option<Label> {
    let (lower, upper) = segments.split_at_checked(segments.len() / 2)?;
    let first = upper.first()?;
    if lower.is_empty() {
        return Some(match first.body {
            Body::Constant(answer) => assembler.ret(answer),
            Body::Rules(number) => call(assembler, rules, profile, number),
        });
    }
    let above = search(assembler, rules, profile, upper)?;
    let below = search(assembler, rules, profile, lower)?;
    Some(assembler.branch(JUMP_AT_LEAST, first.first, above, below))
}

fn call(assembler: &mut Assembler, rules: &[Rule], profile: FilterProfile, number: u32) -> Label {
    let rules: Vec<&Rule> = chain(rules, profile, number).collect();
    let mut next = assembler.ret(libc::SECCOMP_RET_ALLOW);
    for rule in rules.into_iter().rev() {
        let mut success = assembler.ret(table::answer(rule.verdict, &profile));
        for condition in rule.when.iter().rev() {
            success = test(assembler, condition, success, next);
        }
        next = success;
    }
    next
}

fn test(assembler: &mut Assembler, condition: &Condition, success: Label, failure: Label) -> Label {
    let (values, found, missed) = match condition.values {
        Values::OneOf(values) => (values, success, failure),
        Values::NoneOf(values) => (values, failure, success),
    };
    let mut compare = missed;
    for &value in values.iter().rev() {
        compare = assembler.branch(JUMP_EQUAL, value, found, compare);
    }
    if condition.mask != u32::MAX {
        compare = assembler.and(condition.mask, compare);
    }
    assembler.load(
        OFFSET_ARGUMENTS + 8 * u32::from(condition.argument),
        compare,
    )
}
