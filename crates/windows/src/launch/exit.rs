//! What the 32 bits of a process's exit status mean.
//!
//! A program that dies of an exception leaves its NTSTATUS (learn.microsoft.com "`GetExitCodeProcess`"; values from
//! [MS-ERREF] 2.3). Invariant: success is only what the program itself called success.

use ringfence_backend::Ending;

/// `STATUS_CONTROL_C_EXIT`: ended by Ctrl-C, or by the end of its console.
pub const CONTROL_C: u32 = 0xc000_013a;
/// `STATUS_DLL_INIT_FAILED`: as a first sign of life, the desktop could not be used.
pub const DLL_INIT_FAILED: u32 = 0xc000_0142;

/// Statuses that are the death by a signal elsewhere, by the number that the signal has there.
const SIGNALS: &[(u32, i32)] = &[
    (CONTROL_C, 2),
    // Illegal and privileged instructions.
    (0xc000_001d, 4),
    (0xc000_0096, 4),
    // Breakpoint, single step.
    (0x8000_0003, 5),
    (0x8000_0004, 5),
    // `abort`, fail-fast, heap corruption.
    (0xc000_0409, 6),
    (0xc000_0602, 6),
    (0xc000_0374, 6),
    // Misalignment.
    (0x8000_0002, 7),
    // Division by zero, overflow.
    (0xc000_0094, 8),
    (0xc000_0095, 8),
    // Access violation, page error, stack overflow.
    (0xc000_0005, 11),
    (0xc000_0006, 11),
    (0xc000_00fd, 11),
];

/// How a command with this status ended, in the words of every system.
///
/// A status above 255 that is no signal keeps its low byte, and 1 where that would read as success.
#[must_use]
pub fn ending(status: u32) -> Ending {
    if let Some((_, signal)) = SIGNALS.iter().find(|(code, _)| *code == status) {
        return Ending::Signalled(*signal);
    }
    let [low, ..] = status.to_le_bytes();
    Ending::Exited(if low == 0 && status != 0 { 1 } else { low })
}

/// What a status says about this program's own doing, where it does.
#[must_use]
pub fn hint(status: u32) -> Option<&'static str> {
    match status {
        DLL_INIT_FAILED => Some(
            "the command could not use its desktop; run `ringfence doctor`, and try a program without windows",
        ),
        0xc000_0022 => {
            Some("the command was refused something that it needs before its first instruction")
        }
        0xc000_0135 => Some("a library that the command needs is missing or may not be read"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zero_is_success() {
        assert_eq!(ending(0), Ending::Exited(0));
        assert_eq!(ending(7), Ending::Exited(7));
        assert_eq!(ending(255), Ending::Exited(255));
        for status in [256, 0x100, 0xffff_ff00, 0xc000_0100, 0x8000_0000] {
            assert_eq!(ending(status), Ending::Exited(1), "{status:#x}");
        }
        assert_eq!(ending(0xffff_ffff), Ending::Exited(255));
    }

    #[test]
    fn exceptions_are_the_signals_that_they_are_elsewhere() {
        assert_eq!(ending(CONTROL_C), Ending::Signalled(2));
        assert_eq!(ending(0xc000_0005), Ending::Signalled(11));
        assert_eq!(ending(0xc000_0409), Ending::Signalled(6));
        assert_eq!(ending(DLL_INIT_FAILED), Ending::Exited(0x42));
        assert!(hint(DLL_INIT_FAILED).is_some() && hint(0).is_none());
    }
}
