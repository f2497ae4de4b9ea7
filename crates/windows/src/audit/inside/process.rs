//! Processes that a target must not reach: its runner, those of other sessions, the person's; and one that it leaves.
//!
//! Source: learn.microsoft.com "Process Security and Access Rights". Invariant: a right counts as refused only with
//! `ERROR_ACCESS_DENIED`, and where the same call succeeds on a process that the probe has made.

use std::os::windows::process::CommandExt as _;
use std::process::{Command, Stdio};

use ringfence_plan::windows::audit::Answer;
use windows_sys::Win32::Security::{TOKEN_DUPLICATE, TOKEN_IMPERSONATE};
use windows_sys::Win32::System::Threading::{
    CREATE_BREAKAWAY_FROM_JOB, CREATE_NEW_PROCESS_GROUP, DETACHED_PROCESS,
};

use super::WAIT;
use super::own::Own;
use crate::audit::Finding;
use crate::audit::stage::Stage;
use crate::backend::RUNNER;
use crate::sys::Win32Error;
use crate::sys::snapshot;
use crate::sys::trespass::{self, CHANGING, OF_THREADS, READ_TOKEN, READING};

/// `ERROR_ACCESS_DENIED`
pub(super) const DENIED: Win32Error = Win32Error(5);
const CONTROL: &str = "the probe opens what it has made with the same rights";

type Right = (&'static str, u32);

/// Each right by itself.
fn rights<'a>(
    asked: impl IntoIterator<Item = &'a Right>,
    attempt: impl Fn(u32) -> Result<(), Win32Error>,
    control: impl Fn(u32) -> Result<(), Win32Error>,
) -> Finding {
    let (mut given, mut unknown, mut denied) = (Vec::new(), Vec::new(), 0);
    for (name, right) in asked {
        match (attempt(*right), control(*right)) {
            (Ok(()), _) => given.push(*name),
            (Err(DENIED), Ok(())) => denied += 1,
            (Err(DENIED), Err(error)) => {
                unknown.push(format!("{name}: the control failed: {error}"));
            }
            (Err(error), _) => unknown.push(format!("{name}: {error}, which is no refusal")),
        }
    }
    if !given.is_empty() {
        return Finding::new(
            Answer::Open,
            format!("given: {}", given.join(", ")),
            CONTROL,
        );
    }
    if !unknown.is_empty() || denied == 0 {
        return Finding::unknown(unknown.join("; "));
    }
    Finding::new(
        Answer::Held,
        format!("{denied} rights are denied, each by itself"),
        CONTROL,
    )
}

/// The nearest process above this one that has one of these programs.
pub(super) fn above(programs: &[&str]) -> Result<u32, String> {
    let all = snapshot::processes().map_err(|error| format!("{error}: {}", error.error))?;
    let of = |id: u32| all.iter().find(|process| process.id == id);
    let mut at = of(std::process::id()).ok_or("this process is not listed")?;
    // A number is given to another process once its own has ended: there may be a ring.
    for _ in 0..all.len() {
        let Some(parent) = of(at.parent).filter(|parent| parent.id != at.id) else {
            break;
        };
        let is_one = |program: &&str| parent.program.eq_ignore_ascii_case(program);
        if programs.iter().any(is_one) {
            return Ok(parent.id);
        }
        at = parent;
    }
    Err(format!(
        "this process was not started by {}",
        programs.join(" or ")
    ))
}

/// Each right to the process of that number, beside the same one to a process of the probe's own.
fn of_process<'a>(id: u32, asked: impl IntoIterator<Item = &'a Right>) -> Finding {
    match Own::make() {
        Ok(own) => rights(
            asked,
            |right| trespass::process(id, right),
            |right| trespass::process(own.process(), right),
        ),
        Err(cause) => Finding::unknown(cause),
    }
}

pub(super) fn runner() -> Finding {
    above(&[RUNNER]).map_or_else(Finding::unknown, every_right)
}

/// Each right by which a process is changed or read.
pub(super) fn every_right(id: u32) -> Finding {
    of_process(id, CHANGING.iter().chain(READING))
}

pub(super) fn runner_token() -> Finding {
    above(&[RUNNER]).map_or_else(Finding::unknown, of_token)
}

pub(super) fn of_token(id: u32) -> Finding {
    const ASKED: &[Right] = &[
        ("TOKEN_QUERY", READ_TOKEN),
        ("TOKEN_DUPLICATE", TOKEN_DUPLICATE),
        ("TOKEN_IMPERSONATE", TOKEN_IMPERSONATE),
    ];
    match Own::make() {
        Ok(own) => rights(
            ASKED,
            |right| trespass::token(id, right),
            |right| trespass::token(own.process(), right),
        ),
        Err(cause) => Finding::unknown(cause),
    }
}

pub(super) fn runner_threads() -> Finding {
    above(&[RUNNER]).map_or_else(Finding::unknown, of_threads)
}

pub(super) fn of_threads(id: u32) -> Finding {
    let found = Own::make().and_then(|own| {
        let thread = own.thread()?;
        let threads = snapshot::threads_of(id);
        let threads = threads.map_err(|error| format!("{error}: {}", error.error))?;
        Ok((threads, thread, own))
    });
    let (threads, own, _running) = match found {
        Ok(found) => found,
        Err(cause) => return Finding::unknown(cause),
    };
    let mut last = Finding::unknown("it has no threads");
    for thread in threads {
        last = rights(
            OF_THREADS,
            |right| trespass::thread(thread, right),
            |right| trespass::thread(own, right),
        );
        if last.answer != Answer::Held {
            return last;
        }
    }
    last
}

/// Reading a sibling's memory is not promised to be refused; it is told.
pub(super) fn sibling(stage: &Stage) -> Finding {
    let id = match &stage.sibling {
        Ok(id) => *id,
        Err(cause) => return Finding::unknown(format!("there is no other session: {cause}")),
    };
    let mut finding = of_process(id, CHANGING);
    let reads = of_process(id, READING);
    if reads.answer == Answer::Open {
        finding.detail = format!(
            "{}; reading is not refused ({})",
            finding.detail, reads.detail
        );
    }
    finding
}

pub(super) fn person(stage: &Stage) -> Finding {
    match &stage.person {
        Ok(id) => every_right(*id),
        Err(cause) => Finding::unknown(format!("the control failed outside: {cause}")),
    }
}

/// Starts a process that would go on for a minute, out of the job if it may, and leaves it.
pub(super) fn leave() -> Finding {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return Finding::unknown(error.to_string()),
    };
    let start = |flags| {
        Command::new(&program)
            .args(["audit", "--inside", WAIT])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .creation_flags(flags)
            .spawn()
    };
    let detached = DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP;
    let (started, how) = match start(detached | CREATE_BREAKAWAY_FROM_JOB) {
        Ok(child) => (Ok(child), "out of its job"),
        Err(_) => (start(detached), "in its job: it may not leave it"),
    };
    match started {
        Ok(mut child) => {
            let runs = matches!(child.try_wait(), Ok(None));
            let mut finding = Finding::unknown(format!("a process was started {how}"));
            if runs {
                "it ran when the probe ended".clone_into(&mut finding.control);
                finding.left = vec![child.id(), std::process::id()];
            }
            finding
        }
        Err(error) => Finding::unknown(format!("no process could be left behind: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: &[Right] = &[("ONE", 1), ("TWO", 2)];

    #[test]
    fn a_right_is_refused_by_its_code_and_beside_a_control() {
        let answer = |attempt: fn(u32) -> Result<(), Win32Error>,
                      control: fn(u32) -> Result<(), Win32Error>| {
            rights(ASKED, attempt, control).answer
        };
        let yes: fn(u32) -> Result<(), Win32Error> = |_| Ok(());
        let no: fn(u32) -> Result<(), Win32Error> = |_| Err(DENIED);
        assert_eq!(answer(no, yes), Answer::Held);
        assert_eq!(answer(yes, yes), Answer::Open);
        assert_eq!(answer(no, no), Answer::Unknown, "the control failed");
        // No such process: nothing was refused.
        assert_eq!(answer(|_| Err(Win32Error(87)), yes), Answer::Unknown);
        assert_eq!(
            answer(|right| if right == 2 { Ok(()) } else { Err(DENIED) }, yes),
            Answer::Open
        );
        assert_eq!(rights(&[], no, yes).answer, Answer::Unknown);
    }

    #[test]
    fn a_process_that_no_runner_started_has_none_to_attack() {
        assert_eq!(runner().answer, Answer::Unknown);
        assert_eq!(runner_token().answer, Answer::Unknown);
        assert_eq!(runner_threads().answer, Answer::Unknown);
    }
}
