//! Writes stages for the server, has them played, and compares.
//!
//! Invariant: every stage of a run is compared, or the run is an error.

use std::collections::BTreeMap;
use std::io::Write as _;

use ringfence_nt::AccessMask;
use ringfence_nt::fs::FileSystem;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cast::{GROUPS, Player};
use super::compare::{Played, Tally};
use super::stage::Stage;
use super::step::{Act, PROBED, Step, choose, is_judged_otherwise};
use crate::oracle::{CAN_NOT_RUN, OracleError, Oracles, Ran};
use crate::random::Random;

const PROGRAM: &str = "smbd/run.py";
/// A run is stopped after this many seconds, and a little more for each stage.
const SECONDS: usize = 120;

/// In every file: this client can't read an empty one.
const CONTENT: &str = "x";

#[derive(Serialize)]
struct Scenario {
    name: String,
    users: Vec<&'static str>,
    groups: BTreeMap<&'static str, Vec<&'static str>>,
    tree: Vec<Planted>,
    ops: Vec<Asked>,
}

#[derive(Serialize)]
struct Planted {
    path: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'static str>,
    sd: String,
}

#[derive(Serialize)]
struct Asked {
    by: &'static str,
    op: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sd: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'static str>,
}

#[derive(Deserialize)]
struct Report {
    error: Option<String>,
    #[serde(default)]
    results: Vec<Served>,
}

/// What the server said to one step.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Served {
    pub(super) status: String,
    value: Option<Value>,
}

impl Served {
    /// A text that came with the status.
    pub(super) fn text(&self) -> Option<&str> {
        self.value.as_ref()?.as_str()
    }

    /// What a probe found.
    pub(super) fn rights(&self) -> Option<AccessMask> {
        let digits = self.text()?.strip_prefix("0x")?;
        let rights = u32::from_str_radix(digits, 16).ok().map(AccessMask)?;
        Some(rights & PROBED)
    }
}

/// Plays stages on the server and in the model: every object probed by each player, then `attacks` steps by chance, then
/// probed again, and every descriptor looked at.
///
/// # Errors
/// [`OracleError`] if the server fails; a difference is counted, not an error.
pub fn replay(
    oracles: &Oracles,
    stages: &[Stage],
    attacks: usize,
    seed: u64,
) -> Result<Ran<Tally>, OracleError> {
    let scripts: Vec<(Vec<Played>, FileSystem)> = (0..)
        .zip(stages)
        .map(|(index, stage)| write_script(stage, attacks, &mut Random::new(seed, index)))
        .collect();
    let scenarios: Vec<Scenario> = stages
        .iter()
        .zip(&scripts)
        .map(|(stage, (script, _))| scenario(stage, script))
        .collect();
    let lines = match serve(oracles, &scenarios)? {
        Ran::Done(lines) => lines,
        Ran::Skipped(skip) => return Ok(Ran::Skipped(skip)),
    };
    let mut tally = Tally::default();
    for (number, ((stage, (script, end)), line)) in
        (0..).zip(stages.iter().zip(&scripts).zip(&lines))
    {
        let report: Report = serde_json::from_str(line).map_err(|source| OracleError::Answer {
            number,
            line: line.chars().take(200).collect(),
            source,
        })?;
        if let Some(error) = report.error {
            return Err(OracleError::Stage {
                stage: stage.name.clone(),
                error,
            });
        }
        tally.add(stage, script, end, &report.results);
    }
    if lines.len() != stages.len() {
        return Err(OracleError::Silent {
            asked: u64::try_from(stages.len()).unwrap_or(u64::MAX),
            given: u64::try_from(lines.len()).unwrap_or(u64::MAX),
        });
    }
    Ok(Ran::Done(tally))
}

/// What happens in a stage, with the model's word on each step, and the model's tree afterwards.
fn write_script(stage: &Stage, attacks: usize, random: &mut Random) -> (Vec<Played>, FileSystem) {
    let mut fs = stage.model();
    let mut script = Vec::new();
    let play = |fs: &mut FileSystem, step: Step| {
        let outcome = step.play(fs, &stage.cast);
        Played { step, outcome }
    };
    for step in everywhere(&fs, &Player::JUDGED, &Act::Probe) {
        script.push(play(&mut fs, step));
    }
    for number in 0..attacks {
        let step = choose(random, stage, &fs, number);
        if !is_judged_otherwise(&step, &fs, &stage.cast) {
            script.push(play(&mut fs, step));
        }
    }
    for step in everywhere(&fs, &Player::JUDGED, &Act::Probe) {
        script.push(play(&mut fs, step));
    }
    for step in everywhere(&fs, &[Player::Root], &Act::Look) {
        script.push(play(&mut fs, step));
    }
    (script, fs)
}

fn everywhere(fs: &FileSystem, players: &[Player], act: &Act) -> Vec<Step> {
    let objects = Stage::objects(fs);
    let each = objects.iter().flat_map(|(path, _)| {
        players.iter().map(|player| Step {
            by: *player,
            path: path.clone(),
            act: act.clone(),
        })
    });
    each.collect()
}

fn scenario(stage: &Stage, script: &[Played]) -> Scenario {
    let tree = Stage::objects(&stage.fs)
        .into_iter()
        .filter_map(|(path, id)| {
            let node = stage.fs.node(id)?;
            Some(Planted {
                path,
                kind: if node.is_directory() { "dir" } else { "file" },
                data: (!node.is_directory()).then_some(CONTENT),
                sd: stage.cast.render(&node.descriptor),
            })
        })
        .collect();
    let members = |players: &[Player]| players.iter().map(|player| player.name()).collect();
    Scenario {
        name: stage.name.clone(),
        users: Player::JUDGED.map(Player::name).to_vec(),
        groups: GROUPS
            .iter()
            .map(|(name, players)| (*name, members(players)))
            .collect(),
        tree,
        ops: script
            .iter()
            .map(|played| asked(stage, &played.step))
            .collect(),
    }
}

fn asked(stage: &Stage, step: &Step) -> Asked {
    let (op, to, sd) = match &step.act {
        Act::Probe => ("probe", None, None),
        Act::Read => ("read", None, None),
        Act::Write => ("write", None, None),
        Act::Append => ("append", None, None),
        Act::Delete => ("delete", None, None),
        Act::RemoveDirectory => ("rmdir", None, None),
        Act::Create => ("create", None, None),
        Act::MakeDirectory => ("mkdir", None, None),
        Act::Rename(to) => ("rename", Some(to.clone()), None),
        Act::SetDacl(dacl) => ("set_sd", None, Some(stage.cast.render_dacl(dacl))),
        Act::Look => ("get_sd", None, None),
    };
    Asked {
        by: step.by.name(),
        op,
        path: step.path.clone(),
        to,
        sd,
        data: matches!(step.act, Act::Create).then_some(CONTENT),
    }
}

/// Has the server play all scenarios; one line of answer for each.
fn serve(oracles: &Oracles, scenarios: &[Scenario]) -> Result<Ran<Vec<String>>, OracleError> {
    let program = oracles.path(PROGRAM);
    let talk = |source| OracleError::Talk {
        program: program.clone(),
        source,
    };
    let timeout = (SECONDS + 4 * scenarios.len()).to_string();
    let mut child = oracles.start(PROGRAM, &["--timeout", &timeout, "-"])?;
    let text = serde_json::to_vec(scenarios)
        .map_err(std::io::Error::other)
        .map_err(talk)?;
    if let Some(mut input) = child.stdin.take() {
        // Where it does not read, its end says why.
        let _ = input.write_all(&text);
    }
    let output = child.wait_with_output().map_err(talk)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(CAN_NOT_RUN) => oracles.can_not_run(PROGRAM, &format!("{said}{complaint}")),
        Some(0 | 1) => Ok(Ran::Done(said.lines().map(str::to_owned).collect())),
        Some(_) | None => Err(OracleError::Ended {
            program,
            status: output.status,
            detail: format!("{said}{complaint}"),
        }),
    }
}
