//! What is known after a command, and the record of it while it runs.
//!
//! Invariant: a hostile command can't make it grow without bound: what is beyond the cap is counted, not kept.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;

use ringfence_audit::EventSink;
use ringfence_audit::event::{self, Event};
use ringfence_backend::{Afterwards, Ending, Enforcement, Outcome};
use ringfence_plan::step::Observe;
use ringfence_plan::{Plan, Step};
use ringfence_policy::decision::{Decision, Denial, Evidence, Process};
use ringfence_policy::environment::WithheldReason;
use ringfence_policy::{AbsolutePath, ExitCode, Operation, RuleId};

use crate::clock;
use crate::quarantine::Entry;

/// How many different denials of one command are kept.
const MAX_DENIALS: usize = 1000;

/// What is known after a command.
#[derive(Debug)]
#[must_use]
pub struct Report {
    /// How much of the boundary held.
    pub enforcement: Enforcement,
    /// How it ended.
    pub outcome: Outcome,
    /// What was denied, and how often, in the order of the first time.
    pub denials: Vec<(Denial, u32)>,
    /// After a failure, secrets that are there and that the command may have asked for in vain, where nothing tells
    /// whether it did: in a session of many commands, or with nothing observed. Those in a writable root come first.
    pub hidden: Vec<AbsolutePath>,
    /// What was moved to quarantine.
    pub quarantined: Vec<Entry>,
    /// Variables that were withheld.
    pub withheld: Vec<(OsString, WithheldReason)>,
    /// What a person should know, one line each.
    pub notes: Vec<String>,
    /// Why output of the command that passes through this process was lost: a full disk. Who only stopped reading lost
    /// nothing.
    pub lost_output: Option<io::Error>,
}

impl Report {
    /// The status `ringfence run` exits with: the command's own; where it succeeded and its output was lost, it is
    /// Ringfence's failure.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match (exit_status(self.outcome.ending), &self.lost_output) {
            (0, Some(_)) => ExitCode::Internal.code(),
            (status, _) => status,
        }
    }
}

/// 128 plus the number of SIGKILL: what a shell shows for a command that ran out of what it may use.
const KILLED: u8 = 137;

pub(crate) fn exit_status(ending: Ending) -> u8 {
    match ending {
        Ending::Exited(status) => status,
        Ending::Signalled(signal) => {
            u8::try_from(signal).map_or(u8::MAX, |signal| signal.saturating_add(128))
        }
        Ending::TimeLimit => ExitCode::TimeLimit.code(),
        Ending::MemoryLimit | Ending::ProcessLimit => KILLED,
        Ending::NotFound => ExitCode::NotFound.code(),
        Ending::NotExecutable(_) => ExitCode::NotExecutable.code(),
    }
}

/// The `ending` of a command whose session broke.
pub(crate) const LOST: &str = "lost";

pub(crate) fn ending_name(ending: Ending) -> &'static str {
    match ending {
        Ending::Exited(_) => "exited",
        Ending::Signalled(_) => "signalled",
        Ending::TimeLimit => "time-limit",
        Ending::MemoryLimit => "memory-limit",
        Ending::ProcessLimit => "process-limit",
        Ending::NotFound => "not-found",
        Ending::NotExecutable(_) => "not-executable",
    }
}

/// The event stream, where there is one, and whether it still works.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    sink: Option<EventSink>,
    fault: Option<String>,
}

impl Journal {
    pub(crate) fn new(sink: Option<EventSink>) -> Self {
        Self { sink, fault: None }
    }

    /// Whether anybody listens.
    pub(crate) fn is_kept(&self) -> bool {
        self.sink.is_some()
    }

    /// Writes the event that `make` gives; makes none where nobody listens. After a fault nothing more is written: a
    /// stream with a hole in it would look whole.
    pub(crate) fn write(&mut self, make: impl FnOnce() -> Event) {
        let Some(sink) = &mut self.sink else {
            return;
        };
        if let Err(error) = sink.write(&clock::now(), make()) {
            let cause = std::error::Error::source(&error).map(|source| format!(": {source}"));
            self.fault = Some(format!(
                "{error}{}; it ends there",
                cause.unwrap_or_default()
            ));
            self.sink = None;
        }
    }

    /// What went wrong since the last call.
    pub(crate) fn take_fault(&mut self) -> Option<String> {
        self.fault.take()
    }
}

/// The denials of one command.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    list: Vec<(Denial, u32)>,
    index: HashMap<(Operation, String, RuleId), usize>,
    total: u64,
    dropped: u64,
}

impl Denials {
    pub(crate) fn add(&mut self, denial: Denial, count: u32) {
        if denial.evidence == Evidence::Reached && self.explains(&denial.object) {
            return;
        }
        self.total = self.total.saturating_add(u64::from(count));
        let key = (denial.operation, denial.object.clone(), denial.rule);
        if let Some((_, seen)) = self
            .index
            .get(&key)
            .and_then(|index| self.list.get_mut(*index))
        {
            *seen = seen.saturating_add(count);
        } else if self.list.len() < MAX_DENIALS {
            self.index.insert(key, self.list.len());
            self.list.push((denial, count));
        } else {
            self.dropped = self.dropped.saturating_add(u64::from(count));
        }
    }

    /// Whether a call on `place`, or on what lies below, was seen to be refused: then it is known why it was reached.
    fn explains(&self, place: &str) -> bool {
        let is_at = |object: &str| {
            object
                .strip_prefix(place)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.list.iter().any(|(denial, _)| is_at(&denial.object))
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The list, and a note where it is not complete.
    pub(crate) fn finish(self) -> (Vec<(Denial, u32)>, Option<String>) {
        let note = (self.dropped > 0).then(|| {
            format!(
                "{} more denials are not listed; --events FILE records every one",
                self.dropped
            )
        });
        (self.list, note)
    }
}

/// The secrets that `plan` hides from a command, and that its caller could read; none where it is known which of them
/// the command came to.
pub(crate) fn hidden_secrets(plan: &Plan, afterwards: Afterwards) -> Vec<AbsolutePath> {
    let observe = plan.steps.iter().find_map(|step| match step {
        Step::FilterSyscalls { observe, .. } => Some(*observe),
        _ => None,
    });
    match (observe, afterwards) {
        // Observed, or told by the placeholders when the session ends.
        (Some(Observe::All), _) | (Some(Observe::Writes), Afterwards::End) => return Vec::new(),
        (Some(Observe::Writes), Afterwards::Stay) | (Some(Observe::Off) | None, _) => {}
    }
    let hidden = plan.steps.iter().filter_map(|step| {
        let Step::Hide { path, .. } = step else {
            return None;
        };
        Some(path)
    });
    let is_secret = |path: &&AbsolutePath| {
        matches!(
            plan.rules.decide(Operation::Read, path.as_path()),
            Decision::Deny {
                rule: RuleId::Secret | RuleId::DenyRead,
                ..
            }
        )
    };
    let secrets = hidden.filter(is_secret).filter(|path| may_read(path));
    let mut secrets: Vec<_> = secrets.cloned().collect();
    // The likeliest first: what lies in the work, then the person's own, then the system's.
    let in_a_root =
        |path: &AbsolutePath| plan.guard.roots.iter().any(|root| path.starts_with(root));
    secrets.sort_by_key(|path| (!in_a_root(path), path.as_path().starts_with("/etc")));
    secrets
}

/// Whether this process may: what it may not, the boundary takes from nobody.
#[cfg(unix)]
pub(super) fn may_read(path: &AbsolutePath) -> bool {
    rustix::fs::access(path.as_path(), rustix::fs::Access::READ_OK).is_ok()
}

#[cfg(not(unix))]
pub(super) fn may_read(_path: &AbsolutePath) -> bool {
    true
}

/// A denial as an event.
pub(crate) fn denial_event(command: u64, denial: &Denial, count: u32) -> Event {
    let (command, rule) = (Some(command), denial.rule.name());
    let operation = match denial.operation {
        Operation::Connect => {
            return Event::NetDecision {
                command,
                destination: denial.object.clone(),
                ingress: None,
                method: None,
                verdict: "deny".to_owned(),
                rule,
                process: denial.process.as_deref().map(of_record),
                count,
            };
        }
        Operation::Read => "read",
        Operation::Write => "write",
        Operation::Syscall => "syscall",
        Operation::Signal => "signal",
        Operation::Trace => "trace",
    };
    Event::FsDenied {
        command,
        operation: operation.to_owned(),
        object: denial.object.clone(),
        rule,
        grant: denial.grant.as_ref().map(|grant| grant.arguments.clone()),
        refused_root: denial
            .refused_root
            .as_deref()
            .map(|refused| event::RefusedRoot {
                directory: refused.directory.clone(),
                reason: refused.reason.clone(),
                instead: refused.instead.clone(),
            }),
        syscall: denial.syscall.clone(),
        evidence: match denial.evidence {
            Evidence::Refused => "refused",
            Evidence::Predicted => "predicted",
            Evidence::Reached => "reached",
        }
        .to_owned(),
        count,
    }
}

/// A process as events tell it.
pub(super) fn of_record(process: &Process) -> event::Process {
    event::Process {
        id: process.id,
        program: process.program.clone(),
    }
}
