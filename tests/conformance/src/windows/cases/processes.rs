//! The processes around a command, and the person's registry.

use super::{Next, next};
use crate::checks::{Checks, Failure};
use crate::suite::{Case, Needs};
use crate::verdict::Verdict;
use crate::windows::ground::Ground;
use crate::windows::launch::Launch;

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "windows.processes",
        promise: "no right to the runner, to the harness or to a process of the person is given, and neither are their tokens and threads",
        needs: Needs::Full,
        run: processes,
    },
    Case {
        name: "windows.registry",
        promise: "a command writes neither its account's registry hive nor the person's",
        needs: Needs::Full,
        run: registry,
    },
];

/// Rights to a process: terminate, make a thread, memory, read memory, handles, start from it, change, suspend, list, owner.
const OF_PROCESSES: &[&str] = &[
    "0x1", "0x2", "0x8", "0x10", "0x20", "0x40", "0x80", "0x200", "0x400", "0x800", "0x40000",
    "0x80000",
];
/// Rights to a thread: terminate, suspend, its context, its token, act as it, list, owner.
const OF_THREADS: &[&str] = &[
    "0x1", "0x2", "0x8", "0x10", "0x80", "0x100", "0x200", "0x40000", "0x80000",
];

fn attacks(target: &str) -> Vec<Vec<String>> {
    let words =
        |call: &str, right: &str| vec![call.to_owned(), target.to_owned(), right.to_owned()];
    let processes = OF_PROCESSES
        .iter()
        .map(|right| words("open-process", right));
    let threads = OF_THREADS.iter().map(|right| words("open-thread", right));
    processes
        .chain(threads)
        .chain([words("open-token", "0x8")])
        .collect()
}

fn processes(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    // The suite itself is a process of the person.
    let own = std::process::id().to_string();
    let list = attacks(&own);
    for (attack, verdict) in list.iter().zip(launch.batch_plain(&list)?) {
        checks.control(&attack.join(" "), &verdict);
    }
    if next(ground, checks) == Next::Nothing {
        return Ok(());
    }
    for target in [own.as_str(), "ringfence-runner.exe", "ringfence.exe"] {
        let list = attacks(target);
        for (attack, verdict) in list.iter().zip(launch.batch_inside(&list)?) {
            checks.refused(&attack.join(" "), &verdict, &[]);
        }
    }
    Ok(())
}

fn registry(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let list = [
        vec!["write-key".to_owned(), "own".to_owned()],
        vec!["write-key".to_owned(), ground.person.clone()],
    ];
    for (attack, verdict) in list.iter().zip(launch.batch_plain(&list)?) {
        checks.control(&attack.join(" "), &verdict);
    }
    if next(ground, checks) == Next::Nothing {
        return Ok(());
    }
    let verdicts: Vec<Verdict> = launch.batch_inside(&list)?;
    for (attack, verdict) in list.iter().zip(&verdicts) {
        checks.refused(&attack.join(" "), verdict, &[]);
    }
    Ok(())
}
