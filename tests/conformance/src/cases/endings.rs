//! How a session ends: signals, limits, and nothing left behind.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::checks::{Checks, Context, Failure};
use crate::ground::Ground;
use crate::launch::{Launch, eventually, wait};
use crate::suite::{Case, Needs};
use crate::verdict::Verdict;

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "end.kill-harness",
        promise: "after kill -9 of the harness no process of a three-level tree with a daemon lives on",
        needs: Needs::Full,
        run: kill_harness,
    },
    Case {
        name: "end.kill-harness-sweep",
        promise: "what a session planted whose harness was killed is moved away at the next start, and not while it lives",
        needs: Needs::Full,
        run: kill_harness_sweep,
    },
    Case {
        name: "end.signals",
        promise: "TERM, HUP and INT reach the command, the status is 128+N, and nothing lives on",
        needs: Needs::Full,
        run: signals,
    },
    Case {
        name: "end.signal-handled",
        promise: "a command that handles a signal keeps its own exit status",
        needs: Needs::Full,
        run: signal_handled,
    },
    Case {
        name: "end.signals-unheeded",
        promise: "a command and a tree that heed neither TERM nor HUP are killed after two seconds, and one that ends in time is not",
        needs: Needs::Full,
        run: signals_unheeded,
    },
    Case {
        name: "end.ignored-signals",
        promise: "a signal that the caller ignores is ignored by the command, too",
        needs: Needs::Full,
        run: ignored_signals,
    },
    Case {
        name: "end.daemons",
        promise: "a daemon that a command leaves behind is gone when the run has ended",
        needs: Needs::Full,
        run: daemons,
    },
    Case {
        name: "end.time-limit",
        promise: "the time limit ends the command and what it started, with status 104",
        needs: Needs::Full,
        run: time_limit,
    },
    Case {
        name: "end.memory-limit",
        promise: "the memory limit ends a command above it, and one below it runs",
        needs: Needs::Full,
        run: memory_limit,
    },
    Case {
        name: "end.process-limit",
        promise: "the process limit bounds a fork bomb, and fewer processes run",
        needs: Needs::Full,
        run: process_limit,
    },
    Case {
        name: "end.parallel",
        promise: "eight runs at once in one workspace and state directory all work",
        needs: Needs::Full,
        run: parallel,
    },
];

const MARK: &str = "CONFORMANCE_MARK";

/// A value that no other process of the machine has in its variables.
fn mark() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// The processes of the host whose variables hold the mark.
fn survivors(mark: &str) -> BTreeSet<u32> {
    let wanted = format!("{MARK}={mark}");
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return BTreeSet::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
        })
        .filter(|pid: &u32| {
            let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            variables
                .split(|byte| *byte == 0)
                .any(|one| one == wanted.as_bytes())
        })
        .collect()
}

/// Ends what a failed check or a control has left behind: again until nothing is found, since it may still be growing.
fn sweep(mark: &str) {
    eventually(10, || {
        let left = survivors(mark);
        for pid in &left {
            if let Some(pid) = i32::try_from(*pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        left.is_empty()
    });
}

/// None of the mark's processes is left after three seconds.
fn none_left(checks: &mut Checks, name: &str, mark: &str) {
    let gone = eventually(3, || survivors(mark).is_empty());
    checks.that(name, gone, || format!("{:?}", survivors(mark)));
    sweep(mark);
}

fn signal(child: &Child, signal: i32) {
    if let (Some(pid), Some(signal)) = (
        i32::try_from(child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw),
        rustix::process::Signal::from_named_raw(signal),
    ) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Starts `words` inside with a mark, and waits for its first line.
fn standing<S: AsRef<std::ffi::OsStr>>(
    launch: &Launch<'_>,
    words: &[S],
    mark: &str,
) -> Result<Child, Failure> {
    let mut child = launch
        .inside_command(words)?
        .env(MARK, mark)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(|| "starting ringfence".to_owned())?;
    let mut line = String::new();
    if let Some(output) = child.stdout.as_mut() {
        BufReader::new(output)
            .read_line(&mut line)
            .context(|| "reading the command's first line".to_owned())?;
    }
    if line.trim() != "standing" {
        let _ = child.kill();
        let finished = child.wait_with_output().context(|| "waiting".to_owned())?;
        return Err(Failure::Meaningless(format!(
            "the command did not start: {line:?} {}",
            String::from_utf8_lossy(&finished.stderr)
        )));
    }
    Ok(child)
}

fn kill_harness(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    // The control: without the boundary the same tree outlives its parent.
    let own = mark();
    let mut tree = launch
        .plain_command(&launch.probe(&["tree", "3"]))?
        .env(MARK, &own)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context(|| "starting the tree".to_owned())?;
    let grown = eventually(10, || survivors(&own).len() >= 5);
    checks.that("control: the tree grows", grown, || {
        format!("{:?}", survivors(&own))
    });
    let _ = tree.kill();
    let _ = tree.wait();
    let left = survivors(&own);
    checks.that(
        "control: without the boundary it lives on",
        !left.is_empty(),
        String::new,
    );
    sweep(&own);
    let own = mark();
    let mut child = standing(&launch, &launch.probe(&["tree", "3"]), &own)?;
    let before = survivors(&own);
    checks.that("the tree stands inside", before.len() >= 5, || {
        format!("{before:?}")
    });
    let _ = child.kill();
    let _ = child.wait();
    none_left(checks, "none is left", &own);
    let again = launch.shell("exit 5")?;
    checks.same("the next run works", &again.code(), &5);
    Ok(())
}

fn kill_harness_sweep(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let script = "echo standing; while [ ! -e go ]; do sleep 0.02; done
        echo planted > .envrc; mkdir -p sub/.git/hooks; echo planted > sub/.git/hooks/pre-commit
        touch done; sleep 60";
    let own = mark();
    let mut child = standing(&launch, &["/bin/sh", "-c", script], &own)?;
    // A stopped harness takes nothing away: what follows is as it is in the moment before a kill.
    signal(&child, libc::SIGSTOP);
    let at = |name: &str| fixture.workspace.join(name);
    std::fs::write(at("go"), "").context(|| "telling the command to go on".to_owned())?;
    checks.that(
        "the command goes on",
        eventually(10, || at("done").exists()),
        String::new,
    );
    let planted = || [".envrc", "sub/.git/hooks/pre-commit"].map(|name| at(name).exists());
    checks.same("control: it plants", &planted(), &[true, true]);
    let other = launch.shell("exit 5")?;
    checks.same("another session runs meanwhile", &other.code(), &5);
    checks.same("a live session's are left alone", &planted(), &[true, true]);
    let _ = child.kill();
    let _ = child.wait();
    // At once: its init may still be ending what is left.
    let next = launch.shell("exit 6")?;
    checks.same("the next run works", &next.code(), &6);
    checks.same("they are gone", &planted(), &[false, false]);
    let said = next.said();
    checks.that("it is said", said.contains("was killed"), || said.clone());
    let listed = launch.ringfence(&["quarantine", "list"])?;
    checks.that("they are kept", listed.text().contains(".envrc"), || {
        listed.text()
    });
    checks.that(
        "the command's own work stays",
        at("done").exists(),
        String::new,
    );
    let quiet = launch.shell("exit 5")?;
    checks.that(
        "it is said once",
        !quiet.said().contains("was killed"),
        || quiet.said(),
    );
    none_left(checks, "none is left", &own);
    Ok(())
}

fn signals(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    for number in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
        let own = mark();
        let mut child = standing(&launch, &launch.probe(&["tree", "3"]), &own)?;
        signal(&child, number);
        let status = wait(&mut child, "ringfence")?;
        checks.same(
            &format!("status after signal {number}"),
            &status.code(),
            &Some(128 + number),
        );
        none_left(checks, &format!("none is left after signal {number}"), &own);
    }
    Ok(())
}

fn signal_handled(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    for (name, number) in [
        ("TERM", libc::SIGTERM),
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
    ] {
        let script = format!("trap 'exit 42' {name}; echo standing; while :; do sleep 0.05; done");
        let mut child = standing(&launch, &["/bin/bash", "-c", &script], &mark())?;
        signal(&child, number);
        let status = wait(&mut child, "ringfence")?;
        checks.same(&format!("a handler for {name}"), &status.code(), &Some(42));
    }
    Ok(())
}

fn signals_unheeded(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    for (name, number) in [("TERM", libc::SIGTERM), ("HUP", libc::SIGHUP)] {
        // The child takes over what its parent ignores, in a session of its own.
        let script = format!(
            "trap '' TERM HUP; setsid sleep 300 & echo standing; while :; do sleep 0.05; done # {name}"
        );
        let own = mark();
        let mut child = standing(&launch, &["/bin/bash", "-c", &script], &own)?;
        signal(&child, number);
        std::thread::sleep(std::time::Duration::from_millis(500));
        let left = survivors(&own).len();
        checks.that("control: it does not heed it", left >= 3, || {
            left.to_string()
        });
        let gone = eventually(5, || survivors(&own).is_empty());
        checks.that(&format!("nothing lives on after {name}"), gone, || {
            format!("{:?}", survivors(&own))
        });
        if !gone {
            let _ = child.kill();
            sweep(&own);
        }
        let status = wait(&mut child, "ringfence")?;
        checks.same(
            &format!("the status says that it was killed after {name}"),
            &status.code(),
            &Some(128 + libc::SIGKILL),
        );
        let script =
            format!("trap 'sleep 1; exit 42' {name}; echo standing; while :; do sleep 0.05; done");
        let mut child = standing(&launch, &["/bin/bash", "-c", &script], &mark())?;
        signal(&child, number);
        let status = wait(&mut child, "ringfence")?;
        checks.same(
            &format!("one that takes a second for {name} has it"),
            &status.code(),
            &Some(42),
        );
    }
    Ok(())
}

fn ignored_signals(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let script = "grep SigIgn /proc/self/status";
    let run = launch.inside_command(&["/bin/sh", "-c", script])?;
    let mut all: Vec<std::ffi::OsString> = ["/bin/bash", "-c", "trap '' HUP; exec \"$@\"", "sh"]
        .map(Into::into)
        .to_vec();
    all.push(run.get_program().to_owned());
    all.extend(run.get_args().map(ToOwned::to_owned));
    let ignored = |text: &str| {
        text.split_whitespace()
            .last()
            .and_then(|mask| u64::from_str_radix(mask, 16).ok())
            // Signals 32 and above are the C library's own.
            .map_or(u64::MAX, |mask| mask & 0x7fff_ffff)
    };
    let plain = launch.inside(&["/bin/sh", "-c", script])?;
    checks.same(
        "nothing is ignored that the caller does not ignore",
        &ignored(&plain.text()),
        &0,
    );
    let hangup = launch.plain(&all)?;
    checks.same("SIGHUP stays ignored", &ignored(&hangup.text()), &1);
    Ok(())
}

fn daemons(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let own = mark();
    let run = Launch::new(ground, &fixture)
        .variable(MARK, &own)
        .attack_inside(&["daemon"])?;
    checks.sibling("leaving a daemon behind", &run);
    let left = survivors(&own);
    checks.that("it is gone when the run has ended", left.is_empty(), || {
        format!("{left:?}")
    });
    sweep(&own);
    let own = mark();
    let plain = Launch::new(ground, &fixture)
        .variable(MARK, &own)
        .attack_plain(&["daemon"])?;
    checks.control("leaving a daemon behind", &plain);
    let left = survivors(&own);
    checks.that(
        "control: without the boundary it lives on",
        left.len() == 1,
        || format!("{left:?}"),
    );
    sweep(&own);
    let quick = launch.shell("sleep 300 & exit 6")?;
    checks.same("a background job does not hold the run", &quick.code(), &6);
    Ok(())
}

fn time_limit(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture).options(&["--limit", "time=2s"]);
    let own = mark();
    let mut child = standing(&launch, &launch.probe(&["tree", "2"]), &own)?;
    let status = wait(&mut child, "ringfence");
    if status.is_err() {
        sweep(&own);
    }
    checks.same("status", &status?.code(), &Some(104));
    none_left(checks, "none is left", &own);
    let quick = launch.shell("exit 8")?;
    checks.same("a command within its time", &quick.code(), &8);
    Ok(())
}

fn memory_limit(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let plain = Launch::new(ground, &fixture);
    let bytes = (400_u64 << 20).to_string();
    checks.control("400 MiB", &plain.attack_plain(&["allocate", &bytes])?);
    checks.sibling(
        "400 MiB without a limit",
        &plain.attack_inside(&["allocate", &bytes])?,
    );
    let limited = Launch::new(ground, &fixture).options(&["--limit", "memory=128MiB"]);
    let little = (32_u64 << 20).to_string();
    checks.sibling(
        "32 MiB below the limit",
        &limited.attack_inside(&["allocate", &little])?,
    );
    let run = limited.inside(&limited.probe(&["allocate", &bytes]))?;
    checks.that(
        "400 MiB above the limit",
        !run.verdict().succeeded(),
        || run.text(),
    );
    checks.that(
        "it was ended",
        run.code() == 128 + libc::SIGKILL || (100..=105).contains(&run.code()),
        || format!("{} {}", run.code(), run.said()),
    );
    checks.that("and told", run.said().contains("memory"), || run.said());
    let (standing, parents) = groups_made(&limited, &["--limit", "memory=128MiB"])?;
    checks.that(
        "control: the group is there while it runs",
        standing,
        || format!("{parents:?}"),
    );
    let left = || parents.iter().flat_map(|parent| abandoned(parent)).count();
    // Of other cases, one may be on its way.
    checks.that(
        "no control group is left",
        eventually(3, || left() == 0),
        || format!("{} below {parents:?}", left()),
    );
    Ok(())
}

/// Whether a run makes a control group where its plan says so, and the directories that such groups are made in.
fn groups_made(launch: &Launch<'_>, options: &[&str]) -> Result<(bool, Vec<PathBuf>), Failure> {
    let words = ["plan", "--json"].iter().chain(options);
    let plan: serde_json::Value =
        serde_json::from_str(&launch.ringfence(&words.collect::<Vec<_>>())?.text())
            .map_err(|error| Failure::Meaningless(format!("the plan can't be read: {error}")))?;
    let steps = plan.get("steps").and_then(serde_json::Value::as_array);
    let parents: Vec<_> = steps
        .into_iter()
        .flatten()
        .filter_map(|step| step.pointer("/limit-memory/mechanism")?.as_object())
        .flat_map(serde_json::Map::values)
        .filter_map(|mechanism| mechanism.get("parent")?.as_str())
        .map(PathBuf::from)
        .collect();
    let mut child = standing(
        launch,
        &["/bin/sh", "-c", "echo standing; sleep 60"],
        &mark(),
    )?;
    let made = parents.iter().all(|parent| !groups(parent).is_empty());
    signal(&child, libc::SIGTERM);
    wait(&mut child, "ringfence")?;
    Ok((made, parents))
}

/// The process ids in the names of our control groups.
fn groups(parent: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix("ringfence-")?
                .parse()
                .ok()
        })
        .collect()
}

/// Those of which the session is gone.
fn abandoned(parent: &Path) -> Vec<u32> {
    let mut groups = groups(parent);
    groups.retain(|init| !Path::new(&format!("/proc/{init}")).exists());
    groups
}

fn process_limit(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let plain = Launch::new(ground, &fixture);
    checks.control("100 processes", &plain.attack_plain(&["fork-many", "100"])?);
    checks.sibling(
        "100 processes without a limit",
        &plain.attack_inside(&["fork-many", "100"])?,
    );
    let limited = Launch::new(ground, &fixture).options(&["--limit", "processes=40"]);
    checks.sibling(
        "10 processes below the limit",
        &limited.attack_inside(&["fork-many", "10"])?,
    );
    let run = limited.inside(&limited.probe(&["fork-many", "100"]))?;
    let verdict = run.verdict();
    // Refused by the kernel, or ended by init: either way a hundred never live at once.
    checks.that(
        "100 processes above the limit",
        !verdict.succeeded(),
        || format!("{verdict:?}"),
    );
    let bounded = match &verdict {
        Verdict::Failed { errno, .. } => *errno == libc::EAGAIN,
        Verdict::Silent { .. } => {
            run.code() == 128 + libc::SIGKILL || (100..=105).contains(&run.code())
        }
        Verdict::Succeeded { .. } | Verdict::Denied { .. } | Verdict::Crashed { .. } => false,
    };
    checks.that("by the limit", bounded, || {
        format!("{verdict:?}, status {}, {}", run.code(), run.said())
    });
    Ok(())
}

fn parallel(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let mut children = Vec::new();
    for number in 0..8 {
        let script =
            format!("echo {number} > out-{number}; echo {number} >> /tmp/all; exit {number}");
        let child = launch
            .inside_command(&["/bin/sh", "-c", &script])?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context(|| "starting ringfence".to_owned())?;
        children.push(child);
    }
    for (number, mut child) in children.into_iter().enumerate() {
        let status = wait(&mut child, "ringfence")?;
        checks.same(
            &format!("run {number}"),
            &status.code(),
            &i32::try_from(number).ok(),
        );
        let made = std::fs::read_to_string(fixture.workspace.join(format!("out-{number}")));
        checks.same(
            &format!("what run {number} wrote"),
            &made.unwrap_or_default(),
            &format!("{number}\n"),
        );
    }
    let all = launch.shell("wc -l < /tmp/all")?;
    checks.same("all share one /tmp", &all.text().trim(), &"8");
    Ok(())
}
