//! A small assembler for classic BPF, as seccomp takes it (kernel document `userspace-api/seccomp_filter`).
//!
//! It does not know what a system call is. A program is written from its end to its beginning: whatever a jump
//! leads to is already placed, so every offset is known at once. Invariant: jumps only lead forward, and one that
//! is further than the 255 instructions of a conditional jump goes over an unconditional one.

/// One instruction; the layout is the kernel's `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    /// The operand.
    pub operand: u32,
}

/// `A = *(u32 *)(seccomp_data + operand)`: `BPF_LD | BPF_W | BPF_ABS`
pub(crate) const LOAD: u16 = 0x20;
/// `A &= operand`: `BPF_ALU | BPF_AND | BPF_K`
pub(crate) const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`
pub(crate) const JUMP: u16 = 0x05;
/// `A == operand`: `BPF_JMP | BPF_JEQ | BPF_K`
pub(crate) const JUMP_EQUAL: u16 = 0x15;
/// `A >= operand`, without sign: `BPF_JMP | BPF_JGE | BPF_K`
pub(crate) const JUMP_AT_LEAST: u16 = 0x35;
/// `BPF_RET | BPF_K`
pub(crate) const RETURN: u16 = 0x06;

/// The most instructions that the kernel takes: `BPF_MAXINSNS`.
pub(crate) const MAX_INSTRUCTIONS: usize = 4096;

/// A place in the program: how many instructions follow it, itself included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(usize);

/// A program under construction, last instruction first.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    reversed: Vec<Instruction>,
    returns: Vec<(u32, Label)>,
}

impl Assembler {
    /// Places `RET value`, or finds one that a conditional jump still reaches.
    pub(crate) fn ret(&mut self, value: u32) -> Label {
        let near = self.reversed.len().saturating_sub(200);
        if let Some((_, label)) = self
            .returns
            .iter()
            .rev()
            .find(|(known, label)| *known == value && label.0 > near)
        {
            return *label;
        }
        let label = self.push(RETURN, 0, 0, value);
        self.returns.push((value, label));
        label
    }

    /// Places a load of the 32 bits at `offset` before `next`.
    pub(crate) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.fall_through(next);
        self.push(LOAD, 0, 0, offset)
    }

    /// Places a mask of the accumulator before `next`.
    pub(crate) fn and(&mut self, mask: u32, next: Label) -> Label {
        self.fall_through(next);
        self.push(AND, 0, 0, mask)
    }

    /// Places a comparison: `code` with `operand`, to `yes` where it holds, else to `no`.
    pub(crate) fn branch(&mut self, code: u16, operand: u32, yes: Label, no: Label) -> Label {
        // A bridge for one side moves the other side one instruction away, so both are settled first.
        let mut yes = yes;
        let mut no = no;
        if self.distance(yes) + 1 > usize::from(u8::MAX) {
            yes = self.jump(yes);
        }
        if self.distance(no) > usize::from(u8::MAX) {
            no = self.jump(no);
        }
        let jump_true = u8::try_from(self.distance(yes)).unwrap_or(u8::MAX);
        let jump_false = u8::try_from(self.distance(no)).unwrap_or(u8::MAX);
        self.push(code, jump_true, jump_false, operand)
    }

    /// The program, first instruction first.
    pub(crate) fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }

    /// How many instructions lie between the next one placed and `label`.
    fn distance(&self, label: Label) -> usize {
        self.reversed.len() - label.0
    }

    fn fall_through(&mut self, next: Label) {
        if self.distance(next) > 0 {
            self.jump(next);
        }
    }

    fn jump(&mut self, to: Label) -> Label {
        let distance = u32::try_from(self.distance(to)).unwrap_or(u32::MAX);
        self.push(JUMP, 0, 0, distance)
    }

    fn push(&mut self, code: u16, jump_true: u8, jump_false: u8, operand: u32) -> Label {
        self.reversed.push(Instruction {
            code,
            jump_true,
            jump_false,
            operand,
        });
        Label(self.reversed.len())
    }
}
