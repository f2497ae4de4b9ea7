//! Runs a part of the benchmark in a process of its own: with another home, or among mounts of its own.
//!
//! It measures nothing. Invariant: a part that crashes is a row without a value and ends nothing else.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::arguments::{Arguments, Length};
use crate::scene::Scene;
use crate::table::{Goal, Row, Unit};

/// Runs `area` through the program and arguments of `wrapper`, if there are any, and gives its rows.
pub(crate) fn rows(area: &str, arguments: &Arguments, scene: &Scene, wrapper: &[&str]) -> Vec<Row> {
    run(area, arguments, scene, wrapper)
        .unwrap_or_else(|why| vec![Row::failed(area, Unit::Ratio, Goal::None, why)])
}

fn run(
    area: &str,
    arguments: &Arguments,
    scene: &Scene,
    wrapper: &[&str],
) -> Result<Vec<Row>, String> {
    let own = std::env::current_exe().map_err(|cause| format!("can't find myself: {cause}"))?;
    let mut command = match wrapper.split_first() {
        Some((program, rest)) => {
            let mut command = Command::new(program);
            command.args(rest).arg(own);
            command
        }
        None => Command::new(own),
    };
    command.arg(area).arg("--json");
    command.arg("--ringfence").arg(&arguments.ringfence);
    command.arg("--limit").arg(&arguments.limit);
    if arguments.length == Length::Short {
        command.arg("--short");
    }
    command
        .current_dir(scene.workspace())
        .env("HOME", scene.home());
    for variable in ["RINGFENCE_STATE", "XDG_STATE_HOME"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    let output = command
        .output()
        .map_err(|cause| format!("can't start {}: {cause}", shown(&command)))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let last = complaint.lines().rfind(|line| !line.trim().is_empty());
        format!("{}: {}", output.status, last.unwrap_or("it said nothing"))
    })
}

fn shown(command: &Command) -> String {
    Path::new(command.get_program()).display().to_string()
}
