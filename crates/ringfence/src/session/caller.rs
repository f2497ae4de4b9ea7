//! What a command inherits from this process beside its variables: ignored signals and the file mode mask.
//!
//! Read from `/proc/self/status` (`proc_pid_status(5)`): asking the kernel for the mask by setting it would give the
//! other threads another mask for a moment. Invariant: what can't be read is the safer value.

use std::fs::File;
use std::io::Read;

/// SIGPIPE; Rust's runtime ignores it in every program, so its state says nothing of the caller.
const SIGPIPE: i32 = 13;
/// The mask where it can't be read: nothing for others.
const STRICT_UMASK: u32 = 0o077;

/// Dispositions and mask of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The file mode creation mask.
    pub(crate) umask: u32,
    ignored: u64,
    caught: u64,
}

impl Caller {
    /// Those of this process now.
    pub(crate) fn observe() -> Self {
        // In one piece: the file has no size, and room that grows would ask for it eight times.
        let mut status = String::with_capacity(4 << 10);
        let file = File::open("/proc/self/status");
        if file
            .and_then(|mut file| file.read_to_string(&mut status))
            .is_err()
        {
            status.clear();
        }
        Self::parse(&status)
    }

    fn parse(status: &str) -> Self {
        let field = |name: &str, radix| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .and_then(|value| u64::from_str_radix(value.trim(), radix).ok())
        };
        Self {
            umask: field("Umask", 8)
                .and_then(|mask| u32::try_from(mask).ok())
                .unwrap_or(STRICT_UMASK),
            ignored: field("SigIgn", 16).unwrap_or(0),
            caught: field("SigCgt", 16).unwrap_or(0),
        }
    }

    /// Whether the signal is ignored.
    pub(crate) fn ignores(&self, signal: i32) -> bool {
        signal != SIGPIPE && has(self.ignored, signal)
    }

    /// Whether a handler of somebody's is installed.
    pub(crate) fn catches(&self, signal: i32) -> bool {
        has(self.caught, signal)
    }

    /// All ignored signals.
    pub(crate) fn ignored_signals(&self) -> Vec<i32> {
        (1..=64).filter(|signal| self.ignores(*signal)).collect()
    }
}

fn has(mask: u64, signal: i32) -> bool {
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_proc_status_are_read() {
        let caller = Caller::parse(
            "Name:\tx\nUmask:\t0027\nSigIgn:\t0000000000001001\nSigCgt:\t0000000180000002\n",
        );
        assert_eq!(caller.umask, 0o027);
        assert_eq!(caller.ignored_signals(), [1]);
        assert!(caller.catches(2) && !caller.catches(1));
    }

    #[test]
    fn what_is_missing_is_strict() {
        let caller = Caller::parse("");
        assert_eq!(caller.umask, 0o077);
        assert!(caller.ignored_signals().is_empty());
    }
}
