//! On a system that enforces nothing the programs must say so, run nothing, and leave nothing half-made.
//!
//! Wine says yes to making users, restricting tokens and setting lists, and does none of it. Invariant: each case names
//! the status that it must end with and the words that it must say; another ending is a failure.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::{Part, PlumbingError, directory, lacking, prefix, runner, under_wine};
use crate::process;
use crate::project::Project;

/// What a command prints that must never run.
const RAN: &str = "it-has-run";

/// One case.
struct Case {
    program: &'static str,
    arguments: &'static [&'static str],
    /// The statuses that count as a refusal.
    statuses: &'static [i32],
    /// One of these must be said.
    words: &'static [&'static str],
}

const UNENFORCED: &[&str] = &["not enforced"];

const CASES: &[Case] = &[
    Case {
        program: "ringfence.exe",
        arguments: &["run", "--", "cmd", "/c", "echo", RAN],
        statuses: &[105],
        words: &["set-up is missing"],
    },
    Case {
        program: "ringfence.exe",
        arguments: &[
            "run",
            "--config",
            "../same-user.toml",
            "--",
            "cmd",
            "/c",
            "echo",
            RAN,
        ],
        statuses: &[102],
        words: &["has not been measured", "not enforced"],
    },
    Case {
        program: "ringfence.exe",
        arguments: &["demo"],
        statuses: &[102, 105],
        words: &["set-up is missing", "not enforced"],
    },
    Case {
        program: "ringfence.exe",
        arguments: &["setup", "verify"],
        statuses: &[102],
        words: UNENFORCED,
    },
    Case {
        program: "ringfence.exe",
        arguments: &["setup", "install", "--yes"],
        statuses: &[102],
        words: &["not enforced"],
    },
    Case {
        program: "ringfence.exe",
        arguments: &["audit"],
        statuses: &[102],
        words: &["not enforced"],
    },
    Case {
        program: "ringfence-setup.exe",
        arguments: &["verify"],
        statuses: &[102],
        words: UNENFORCED,
    },
    // Without a request that somebody consented to it does nothing at all.
    Case {
        program: "ringfence-setup.exe",
        arguments: &["install"],
        statuses: &[103],
        words: &["refused; nothing was done"],
    },
    // It looks, says what it can't tell, and makes nothing on its way.
    Case {
        program: "ringfence-setup.exe",
        arguments: &["uninstall"],
        statuses: &[100],
        words: &["the machine's ledger can't be used"],
    },
    Case {
        program: "ringfence-setup.exe",
        arguments: &["uninstall", "--damaged-ledger"],
        statuses: &[100],
        words: &[
            "the machine's ledger can't be used",
            "the ledger's file can't be used",
        ],
    },
    Case {
        program: "ringfence-runner.exe",
        arguments: &[],
        statuses: &[2],
        words: &["ringfence"],
    },
];

/// Runs the cases.
pub(crate) fn run(project: &Project) -> Result<Part, PlumbingError> {
    if let Some(reason) = lacking(project) {
        return Ok(Part::Skipped(reason));
    }
    let work = prefix(project).join("work");
    std::fs::create_dir_all(&work).map_err(PlumbingError::Built)?;
    // Beside the workspace: a policy file in it is refused.
    std::fs::write(
        prefix(project).join("same-user.toml"),
        "[windows]\nsandbox = \"unelevated\"\n",
    )
    .map_err(PlumbingError::Built)?;
    let (mut text, mut failures) = (String::new(), String::new());
    for case in CASES {
        if !directory(project).join(case.program).is_file() {
            let _ = writeln!(failures, "{} was not built", case.program);
            continue;
        }
        let mut command = under_wine(project, case.program, case.arguments);
        command.current_dir(&work).stdin(Stdio::null());
        let output = command.output().map_err(PlumbingError::Built)?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let name = format!("{} {}", case.program, case.arguments.join(" "));
        let status = output.status.code().unwrap_or(-1);
        let refused = case.statuses.contains(&status)
            && case.words.iter().any(|words| said.contains(words))
            && !said.lines().any(|line| line.trim() == RAN);
        if refused {
            let _ = writeln!(text, "{status:>4}  {name}");
        } else {
            let _ = writeln!(
                failures,
                "{name}\n  ended with {status}, not with one of {:?} and one of {:?}:\n{said}",
                case.statuses, case.words
            );
        }
    }
    stop(project);
    // Whatever left them: one that an earlier call has left must not be taken for nothing.
    let left = traces(project);
    if !left.is_empty() {
        let left: Vec<String> = left.into_iter().collect();
        let _ = writeln!(failures, "left behind:\n  {}", left.join("\n  "));
    }
    text.push_str("nothing of set-up's is left: no file, no registry key or value, no profile\n");
    Ok(if failures.is_empty() {
        Part::Held(text)
    } else {
        Part::Failed(failures)
    })
}

/// Ends what runs in the prefix: then its registry is on the disk.
fn stop(project: &Project) {
    let mut command = std::process::Command::new(runner(project));
    command.arg("--stop");
    command.env("RINGFENCE_WINE_PREFIX", prefix(project));
    // What can't be stopped shows in what is left.
    let _ = process::capture(command);
}

/// What a person keeps for themselves, whatever set-up does: the secret of their SIDs, made by the first plan, and the
/// place of sessions' records.
const KEPT: &[&str] = &["person.json", "sessions"];

/// What set-up would leave: our directory of the machine, keys and values that name us, profiles of ours, and what the
/// person's part writes.
fn traces(project: &Project) -> BTreeSet<String> {
    let prefix = prefix(project).join("prefix");
    let mut found = BTreeSet::new();
    let data = prefix.join("drive_c/ProgramData/Ringfence");
    collect(&data, &mut found);
    if let Ok(users) = std::fs::read_dir(prefix.join("drive_c/users")) {
        for user in users.flatten() {
            let name = user.file_name().to_string_lossy().into_owned();
            if name.starts_with("Ringfence") {
                found.insert(user.path().display().to_string());
            }
            let own = user.path().join("AppData/Local/Ringfence");
            let own = std::fs::read_dir(own).into_iter().flatten().flatten();
            let own = own.filter(|entry| !KEPT.iter().any(|kept| entry.file_name() == *kept));
            found.extend(own.map(|entry| entry.path().display().to_string()));
            // What a demo makes lies in a profile.
            let inside = std::fs::read_dir(user.path()).into_iter().flatten();
            let demos = inside.flatten().filter(|entry| {
                let name = entry.file_name();
                name.to_string_lossy().starts_with(".ringfence-demo-")
            });
            found.extend(demos.map(|entry| entry.path().display().to_string()));
        }
    }
    for hive in ["system.reg", "user.reg", "userdef.reg"] {
        let text = std::fs::read(prefix.join(hive)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        found.extend(
            text.lines()
                .filter(|line| line.to_lowercase().contains("ringfence"))
                .map(|line| format!("{hive}: {line}")),
        );
    }
    found
}

fn collect(path: &Path, found: &mut BTreeSet<String>) {
    if !path.exists() {
        return;
    }
    found.insert(path.display().to_string());
    let children: Vec<PathBuf> = std::fs::read_dir(path)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    for child in children {
        collect(&child, found);
    }
}
