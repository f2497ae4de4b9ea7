//! What is said of a probe after its session has ended: controls that must come last, and what was left behind.
//!
//! Invariant: nothing that is unknown becomes held here but by its own control.

use std::net::ToSocketAddrs as _;
use std::thread::sleep;
use std::time::Duration;

use ringfence_plan::windows::audit::Answer;

use super::Finding;
use super::inside::network::NAME;
use crate::sys::CallError;
use crate::sys::signon::anonymously;
use crate::sys::snapshot::{self, ListedProcess};

pub(super) fn settle(name: &str, finding: Finding) -> Finding {
    match name {
        "dns" => dns(finding),
        "egress.anonymous" => anonymous(finding, || anonymously(|| ())),
        "leftovers.processes" => left_processes(finding, snapshot::processes),
        _ => finding,
    }
}

/// Asked outside after inside: a name that was asked for before may be answered from memory.
fn dns(finding: Finding) -> Finding {
    let answered = (NAME, 443).to_socket_addrs();
    match (finding.answer, answered) {
        (_, Ok(_)) => Finding {
            control: "outside, the name is answered".to_owned(),
            ..finding
        },
        (Answer::Held, Err(error)) => Finding::unknown(format!(
            "no answer inside, and none outside either: {error}"
        )),
        (Answer::Open | Answer::NotEnforced | Answer::Unknown, Err(error)) => Finding {
            control: format!("outside, the name is not answered: {error}"),
            ..finding
        },
    }
}

/// That a command may not act anonymously tells something of commands where others may.
fn anonymous(finding: Finding, outside: impl FnOnce() -> Result<(), CallError>) -> Finding {
    // One that did act so has its control already.
    if finding.answer != Answer::Held || !finding.control.is_empty() {
        return finding;
    }
    match outside() {
        Ok(()) => Finding {
            control: "outside one may act anonymously".to_owned(),
            ..finding
        },
        Err(error) => Finding::unknown(format!(
            "nobody may act anonymously, outside neither: {error}: {}",
            error.error
        )),
    }
}

/// What the probe left behind must be gone soon after its session.
fn left_processes(
    finding: Finding,
    mut list: impl FnMut() -> Result<Vec<ListedProcess>, CallError>,
) -> Finding {
    const ROUNDS: u32 = 50;
    if finding.left.is_empty() {
        // It could leave nothing behind: then nothing was tried.
        return finding;
    }
    let control = finding.control.as_str();
    let mut alive = Vec::new();
    for _ in 0..ROUNDS {
        let all = match list() {
            Ok(all) => all,
            Err(error) => return Finding::unknown(format!("{error}: {}", error.error)),
        };
        let ours = |process: &ListedProcess| {
            // The number of a process that has ended may be somebody else's by now.
            finding.left.contains(&process.id)
                && process.program.to_lowercase().starts_with("ringfence")
        };
        alive = all.into_iter().filter(ours).map(|one| one.id).collect();
        if alive.is_empty() {
            let detail = format!("{} processes ended with their session", finding.left.len());
            return Finding::new(Answer::Held, detail, control);
        }
        sleep(Duration::from_millis(100));
    }
    let detail = format!("processes {alive:?} have outlived their session");
    Finding::new(Answer::Open, detail, control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Win32Error;

    #[test]
    fn a_refusal_to_act_anonymously_counts_where_others_may() {
        let held = || Finding::new(Answer::Held, "5", "");
        let denied = || {
            Err(CallError::new(
                "ImpersonateAnonymousToken",
                "",
                Win32Error(5),
            ))
        };
        let judged = anonymous(held(), || Ok(()));
        assert!(judged.answer == Answer::Held && !judged.control.is_empty());
        assert_eq!(anonymous(held(), denied).answer, Answer::Unknown);
        let tried = Finding::new(Answer::Held, "10013", "a control");
        assert_eq!(anonymous(tried, denied).answer, Answer::Held);
        assert_eq!(
            anonymous(Finding::unknown("x"), || Ok(())).answer,
            Answer::Unknown
        );
    }

    fn listed(id: u32, program: &str) -> ListedProcess {
        ListedProcess {
            id,
            parent: 4,
            program: program.to_owned(),
        }
    }

    fn left(left: Vec<u32>) -> Finding {
        Finding {
            left,
            ..Finding::new(Answer::Unknown, "left", "they ran")
        }
    }

    #[test]
    fn what_outlives_its_session_is_open_and_a_number_of_somebody_elses_is_not() {
        let mut rounds = 0;
        let gone = left_processes(left(vec![8, 12]), || {
            rounds += 1;
            Ok(if rounds < 3 {
                vec![listed(8, "ringfence.exe")]
            } else {
                vec![listed(8, "notepad.exe"), listed(16, "ringfence.exe")]
            })
        });
        assert_eq!((gone.answer, rounds), (Answer::Held, 3));
        assert_eq!(gone.control, "they ran");
        let stays = left_processes(left(vec![8]), || {
            Ok(vec![listed(8, "Ringfence-Runner.exe")])
        });
        assert_eq!(stays.answer, Answer::Open);
        let untried = left_processes(left(Vec::new()), || Ok(Vec::new()));
        assert_eq!(untried.answer, Answer::Unknown);
    }
}
