//! Bytes on disk, and in memory while a session waits for its command.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::contender::{self, Contender, Observer};
use crate::scene::Scene;
use crate::table::{Goal, Row, Unit};
use crate::trial::TrialError;

const KIBIBYTE: f64 = 1024.0;

/// All of it.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Row>, TrialError> {
    let path = &arguments.ringfence;
    let found = std::fs::metadata(path).map_err(|cause| TrialError::Read {
        path: path.clone(),
        cause,
    })?;
    let size = mebibytes(found.len());
    let goal = Goal::AtMost(12.0);
    let detail = "static, stripped".to_owned();
    let mut rows = vec![Row::new(
        "size of `ringfence`",
        Unit::Mebibytes,
        goal,
        Some(size),
        detail,
    )];
    let scene = Scene::make(0)?;
    let contender = contender::ringfence(arguments, &scene, Observer::Writes, &["cat"]);
    rows.extend(measure_idle(
        arguments,
        &contender,
        [
            "idle session: all of our processes",
            "idle session: its init (the runner)",
        ],
    )?);
    Ok(rows)
}

fn mebibytes(bytes: u64) -> f64 {
    // Sizes here are far below 2^53.
    #[expect(
        clippy::cast_precision_loss,
        reason = "sizes here are far below 2^53 bytes"
    )]
    let bytes = bytes as f64;
    bytes / (KIBIBYTE * KIBIBYTE)
}

/// A session whose command, `cat`, waits for its input: resident memory of every process that runs our program.
pub(crate) fn measure_idle(
    arguments: &Arguments,
    contender: &Contender,
    names: [&str; 2],
) -> Result<Vec<Row>, TrialError> {
    let mut command = contender.command()?;
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut harness = command.spawn().map_err(|cause| TrialError::Start {
        name: contender.name.clone(),
        cause,
    })?;
    let resident = wait_for_command(&mut harness, &arguments.ringfence);
    // Its input ends, so the command does, so the session does.
    drop(harness.stdin.take());
    let status = harness.wait().map_err(|cause| TrialError::Start {
        name: contender.name.clone(),
        cause,
    })?;
    let [all, runner] = names;
    let rows = [(all, Goal::AtMost(10.0)), (runner, Goal::AtMost(3.0))];
    let unit = Unit::Mebibytes;
    let Some(resident) = resident.filter(|_| status.success()) else {
        let why = format!("the session ended with {status}");
        return Ok(rows
            .map(|(what, goal)| Row::failed(what, unit, goal, why.clone()))
            .into());
    };
    let whole = mebibytes(resident.iter().map(|(_, bytes)| bytes).sum());
    let init = resident.iter().filter(|(pid, _)| *pid != harness.id());
    let init = mebibytes(
        init.map(|(_, bytes)| bytes)
            .max()
            .copied()
            .unwrap_or_default(),
    );
    let detail = format!("{} processes", resident.len());
    let [(all, all_goal), (runner, runner_goal)] = rows;
    Ok(vec![
        Row::new(all, unit, all_goal, Some(whole), detail),
        Row::new(runner, unit, runner_goal, Some(init), String::new()),
    ])
}

/// Waits until the session's command runs, then reads what our own processes keep in memory: pid and bytes.
fn wait_for_command(harness: &mut Child, program: &Path) -> Option<Vec<(u32, u64)>> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let own = std::fs::canonicalize(program).ok()?;
    while Instant::now() < deadline {
        if !matches!(harness.try_wait(), Ok(None)) {
            return None;
        }
        let family = descendants(harness.id());
        let is_ours = |pid: &u32| {
            std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|link| link == own)
        };
        if family
            .iter()
            .any(|pid| name_of(*pid).as_deref() == Some("cat"))
        {
            // What was just started settles.
            std::thread::sleep(Duration::from_millis(100));
            let ours = family.into_iter().filter(is_ours);
            return Some(ours.filter_map(|pid| Some((pid, resident(pid)?))).collect());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

fn name_of(pid: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// `VmRSS` of proc(5), in bytes.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// `root` and every process that descends from it.
fn descendants(root: u32) -> Vec<u32> {
    let mut parents: BTreeMap<u32, u32> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may hold anything; the parent is the second field after it.
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        if let Some(parent) = parent {
            parents.insert(pid, parent);
        }
    }
    let descends = |pid: &u32| {
        let mut current = *pid;
        while let Some(parent) = parents.get(&current) {
            if current == root {
                return true;
            }
            current = *parent;
        }
        false
    };
    parents.keys().copied().filter(descends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_a_descendant_and_has_memory() {
        let mut child = std::process::Command::new("cat")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let family = descendants(std::process::id());
        assert!(family.contains(&child.id()) && family.contains(&std::process::id()));
        assert!(resident(std::process::id()).unwrap() > 0);
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
