//! Calls that aim at a process outside: by their registers alone, so that nothing a target changes afterwards counts.
//!
//! Nothing is refused here: the process namespace and Landlock do that. Invariant: a process that the session has
//! started, and one that it started and that has ended, is never said to be outside.

use std::fs;

use ringfence_policy::decision::{Denial, Evidence, OwnPermissions};
use ringfence_policy::{Operation, RuleId};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process, test_kill_process_group};

use crate::process;
use crate::seccomp::Call;

/// Which processes that are not of the session have a number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bystanders {
    /// None: the session has a process namespace.
    Unseen,
    /// All of the machine's; Landlock keeps signals and tracing from them.
    Shielded,
    /// All of the machine's; Landlock keeps tracing from them, and knows no signals yet (before ABI 6).
    Exposed,
}

/// What a call names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    Process(Pid),
    Group(Pid),
}

impl Aim {
    /// The process or group that `argument` names, kill(2).
    fn of(argument: u64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the kernel takes the low half too"
        )]
        let number = (argument as u32).cast_signed();
        let pid = Pid::from_raw(number.checked_abs()?)?;
        Some(if number < 0 {
            Self::Group(pid)
        } else {
            Self::Process(pid)
        })
    }

    fn pid(self) -> Pid {
        match self {
            Self::Process(pid) | Self::Group(pid) => pid,
        }
    }

    fn number(self) -> u32 {
        self.pid().as_raw_nonzero().get().unsigned_abs()
    }

    fn object(self) -> String {
        match self {
            Self::Process(_) => format!("process {}", self.number()),
            Self::Group(_) => format!("process group {}", self.number()),
        }
    }

    /// What the kernel says of a signal to it that is not sent.
    fn test(self) -> Result<(), Errno> {
        match self {
            Self::Process(pid) => test_kill_process(pid),
            Self::Group(pid) => test_kill_process_group(pid),
        }
    }

    /// Whether the session's process namespace has never held it. A number that was in use means one of the session's
    /// own processes, which has ended.
    fn was_never_there(self) -> bool {
        self.test() == Err(Errno::SRCH) && last_number().is_some_and(|last| self.number() > last)
    }
}

/// The refusal of a call that names a process outside; `None` where it names one of the session's, or nobody.
pub(super) fn refused(call: &Call, arguments: &[u64; 6], bystanders: Bystanders) -> Option<Denial> {
    let [first, second, ..] = *arguments;
    let (operation, aim) = match call.name {
        "kill" | "pidfd_open" => (Operation::Signal, Aim::of(first)?),
        "ptrace" => (Operation::Trace, Aim::of(second)?),
        _ => return None,
    };
    // A descriptor is given of every process that is seen; what is done with it is refused then.
    let only_opens = call.name == "pidfd_open";
    let is_runner = aim.number() == std::process::id();
    let own_permissions = match bystanders {
        Bystanders::Unseen => {
            ((is_runner && !only_opens) || aim.was_never_there()).then_some(OwnPermissions::Allow)
        }
        Bystanders::Exposed if operation == Operation::Signal => None,
        Bystanders::Shielded | Bystanders::Exposed if only_opens => None,
        Bystanders::Shielded | Bystanders::Exposed => of_others(aim),
    }?;
    Some(Denial {
        operation,
        object: aim.object(),
        rule: RuleId::OutsideProcess,
        grant: None,
        refused_root: None,
        syscall: call.name.to_owned(),
        evidence: Evidence::Predicted,
        own_permissions,
        process: None,
    })
}

/// Whether somebody else's process has the number, and whether its owner would be let.
fn of_others(aim: Aim) -> Option<OwnPermissions> {
    let own_permissions = match aim.test() {
        Ok(()) => OwnPermissions::Allow,
        Err(Errno::PERM) => OwnPermissions::Refuse,
        Err(_) => return None,
    };
    (!process::is_child_of(aim.number(), std::process::id())?).then_some(own_permissions)
}

/// The last number that the reader's process namespace gave to a process: the fifth field of proc(5) `loadavg`.
fn last_number() -> Option<u32> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    load.split_ascii_whitespace().nth(4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn call(name: &'static str) -> Call {
        Call { name, number: 0 }
    }

    fn signal(number: i32, bystanders: Bystanders) -> Option<Denial> {
        let arguments = [u64::from(number.cast_unsigned()), 15, 0, 0, 0, 0];
        refused(&call("kill"), &arguments, bystanders)
    }

    /// Larger than any that a kernel gives.
    const NOBODY: i32 = i32::MAX - 7;

    #[test]
    fn a_number_that_the_namespace_never_gave_is_outside() {
        let denial = signal(NOBODY, Bystanders::Unseen).unwrap();
        assert_eq!(denial.operation, Operation::Signal);
        assert_eq!(denial.rule, RuleId::OutsideProcess);
        assert_eq!(denial.object, format!("process {NOBODY}"));
        assert_eq!(denial.grant, None);
        let group = signal(-NOBODY, Bystanders::Unseen).unwrap();
        assert_eq!(group.object, format!("process group {NOBODY}"));
        let traced = [16, u64::from(NOBODY.cast_unsigned()), 0, 0, 0, 0];
        let traced = refused(&call("ptrace"), &traced, Bystanders::Unseen).unwrap();
        assert_eq!(traced.operation, Operation::Trace);
        let opened = [u64::from(NOBODY.cast_unsigned()), 0, 0, 0, 0, 0];
        assert!(refused(&call("pidfd_open"), &opened, Bystanders::Unseen).is_some());
    }

    #[test]
    fn a_process_of_the_session_is_not_outside_and_neither_is_one_that_has_ended() {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let number = i32::try_from(child.id()).unwrap();
        for bystanders in [
            Bystanders::Unseen,
            Bystanders::Shielded,
            Bystanders::Exposed,
        ] {
            assert_eq!(signal(number, bystanders), None);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for bystanders in [
            Bystanders::Unseen,
            Bystanders::Shielded,
            Bystanders::Exposed,
        ] {
            assert_eq!(signal(number, bystanders), None);
        }
        for everybody in [0, -1, i32::MIN] {
            assert_eq!(signal(everybody, Bystanders::Unseen), None);
        }
    }

    #[test]
    fn the_runner_is_no_process_of_the_sessions_commands() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(signal(own, Bystanders::Unseen).is_some());
        assert!(signal(own, Bystanders::Shielded).is_some());
        let opened = [u64::from(own.cast_unsigned()), 0, 0, 0, 0, 0];
        assert_eq!(
            refused(&call("pidfd_open"), &opened, Bystanders::Unseen),
            None
        );
    }

    #[test]
    fn where_processes_outside_are_seen_what_landlock_keeps_from_them_is_told() {
        let above = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        assert!(signal(above, Bystanders::Shielded).is_some());
        assert_eq!(signal(above, Bystanders::Exposed), None);
        let traced = [0x4206, u64::from(above.cast_unsigned()), 0, 0, 0, 0];
        assert!(refused(&call("ptrace"), &traced, Bystanders::Exposed).is_some());
        assert_eq!(signal(NOBODY, Bystanders::Shielded), None);
    }
}
