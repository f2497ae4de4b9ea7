//! One run of one case: a few words of shell, with or without the boundary, and what came of it.
//!
//! Invariant: a crash, a missing program or a failure of Ringfence itself is never counted as a refusal.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Serialize;
use serde_json::Value;

use super::cases::Effect;
use super::outside::{Outside, end_daemon, is_locked};
use super::world::{SECRET, World};
use crate::render::escape::one_line;

/// On which side of the boundary a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Without any boundary: the control.
    Control,
    /// Inside.
    Inside,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub(crate) enum Outcome {
    /// It did what it set out to do, seen from outside where that can be seen.
    Worked,
    /// It was refused, and nothing of it is seen outside.
    Refused {
        /// What the attack was told.
        answer: String,
    },
    /// The command was let do it, and what it made was moved away before the command had ended.
    Quarantined,
    /// It was told that it worked, and nothing of it is seen outside.
    Contained,
    /// It crashed, could not start, or Ringfence failed: nothing is known.
    Unknown {
        /// What was seen.
        answer: String,
    },
}

/// A run: its outcome and the rules that Ringfence named.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// What came of it.
    pub(crate) outcome: Outcome,
    /// The rules of the denials that were recorded, without repetition.
    pub(crate) rules: Vec<String>,
}

/// How cases are run: the same variables for both sides.
#[derive(Clone, Debug)]
pub(crate) struct Bench {
    /// This program.
    pub(crate) program: PathBuf,
    /// The scratch directory.
    pub(crate) scratch: PathBuf,
    /// Variables beside HOME.
    pub(crate) variables: Vec<(&'static str, OsString)>,
}

/// What is filled into a script.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filling<'a> {
    /// The case's tool.
    pub(crate) tool: &'a Path,
    /// The targets outside, where the case has any.
    pub(crate) outside: Option<&'a Outside>,
    /// The Unix server's path.
    pub(crate) socket: &'a Path,
}

impl Bench {
    /// Runs a job: its status alone decides.
    pub(crate) fn work(&self, side: Side, world: &World, script: &str) -> io::Result<Trial> {
        let (output, records) = self.start(side, world, script)?;
        let outcome = match answer(&output) {
            Answer::Worked => Outcome::Worked,
            Answer::Refused => Outcome::Refused {
                answer: last_words(&output),
            },
            Answer::Broken => Outcome::Unknown {
                answer: last_words(&output),
            },
        };
        Ok(Trial {
            outcome,
            rules: records.rules,
        })
    }

    /// Runs an attack and looks at what it has done.
    pub(crate) fn attack(
        &self,
        side: Side,
        world: &World,
        script: &str,
        effect: Effect,
        outside: &mut Outside,
    ) -> io::Result<Trial> {
        let before = state(effect, world);
        let (output, records) = self.start(side, world, script)?;
        let seen = match effect {
            Effect::File(_) | Effect::SetUid(_) => state(effect, world) != before,
            Effect::Leak => contains(&output.stdout, SECRET) || contains(&output.stderr, SECRET),
            Effect::Tcp => outside.tcp_reached(),
            Effect::Unix => outside.unix_reached(),
            Effect::Victim => outside.victim_ended(answer(&output) == Answer::Worked),
            Effect::Daemon => daemon_lives(side, world),
            Effect::Answer => answer(&output) == Answer::Worked,
        };
        let outcome = match (seen, answer(&output)) {
            (true, _) => Outcome::Worked,
            (false, Answer::Refused) => Outcome::Refused {
                answer: match last_words(&output) {
                    words if words.is_empty() && records.withheld => {
                        "withheld from the environment".to_owned()
                    }
                    words => words,
                },
            },
            (false, Answer::Worked) if records.quarantined => Outcome::Quarantined,
            (false, Answer::Worked) => Outcome::Contained,
            (false, Answer::Broken) => Outcome::Unknown {
                answer: last_words(&output),
            },
        };
        Ok(Trial {
            outcome,
            rules: records.rules,
        })
    }

    fn start(&self, side: Side, world: &World, script: &str) -> io::Result<(Output, Records)> {
        let wrapped = wrap(script);
        let events = self.scratch.join("events.jsonl");
        let mut command = match side {
            Side::Control => Command::new("sh"),
            Side::Inside => {
                match fs::remove_file(&events) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
                let mut command = Command::new(&self.program);
                command.args([
                    "run",
                    "--quiet",
                    "--observe",
                    "all",
                    "--limit",
                    "time=60s",
                    "--events",
                ]);
                command.arg(&events).args(["--", "sh"]);
                command
            }
        };
        let output = command
            .args(["-c", &wrapped])
            .current_dir(&world.project)
            .env_clear()
            .env("HOME", &world.home)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()?;
        let records = match side {
            Side::Control => Records::default(),
            Side::Inside => read_records(&events),
        };
        Ok((output, records))
    }
}

/// Fills a script's placeholders, each quoted for the shell.
pub(crate) fn fill(script: &str, world: &World, filling: Filling<'_>) -> io::Result<String> {
    let port = filling
        .outside
        .map(Outside::port)
        .transpose()?
        .unwrap_or_default();
    let victim = filling.outside.map(Outside::victim).unwrap_or_default();
    Ok(script
        .replace("{home}", &quoted(&world.home))
        .replace("{probe}", &quoted(&world.project.join("build/probe")))
        .replace("{tool}", &quoted(filling.tool))
        .replace("{socket}", &quoted(filling.socket))
        .replace("{port}", &port.to_string())
        .replace("{victim}", &victim.to_string()))
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"))
}

const WORKED: &str = "ringfence-demo: worked";
const REFUSED: &str = "ringfence-demo: refused";

/// Puts the script into a shell of its own and says afterwards how it ended, so that an answer is always words:
/// without them the shell itself did not get that far. 70 is the probe's "I could not try"; 126, 127 and 129 to 192
/// are a shell's words for a program that is not there or crashed.
fn wrap(script: &str) -> String {
    format!(
        "( {script} ); s=$?\n\
         if [ $s -eq 0 ]; then echo '{WORKED}'\n\
         elif [ $s -ne 70 ] && [ $s -ne 126 ] && [ $s -ne 127 ] && {{ [ $s -le 128 ] || [ $s -gt 192 ]; }}\n\
         then echo '{REFUSED}'\n\
         fi; exit $s"
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Worked,
    Refused,
    Broken,
}

fn answer(output: &Output) -> Answer {
    let last = String::from_utf8_lossy(&output.stdout);
    match last.lines().last() {
        Some(line) if line == WORKED && output.status.success() => Answer::Worked,
        Some(line) if line == REFUSED && !output.status.success() => Answer::Refused,
        Some(_) | None => Answer::Broken,
    }
}

/// The last line that the case itself wrote; where it wrote none, Ringfence's.
fn last_words(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let lines = || {
        text.lines().filter(|line| {
            !line.is_empty() && !line.starts_with("ringfence-demo:") && !line.starts_with("  ")
        })
    };
    let words = lines()
        .rfind(|line| !line.starts_with("ringfence:"))
        .or_else(|| lines().next_back())
        .unwrap_or_default();
    let words = words.strip_prefix("refused: ").unwrap_or(words);
    one_line(words).chars().take(160).collect()
}

fn contains(bytes: &[u8], words: &str) -> bool {
    bytes
        .windows(words.len())
        .any(|window| window == words.as_bytes())
}

fn state(effect: Effect, world: &World) -> Option<Vec<u8>> {
    match effect {
        Effect::File(name) => fs::read(world.home.join(name)).ok(),
        Effect::SetUid(name) => {
            let mode = fs::metadata(world.home.join(name))
                .ok()?
                .permissions()
                .mode();
            (mode & 0o6000 != 0).then(|| vec![1])
        }
        Effect::Leak
        | Effect::Tcp
        | Effect::Unix
        | Effect::Victim
        | Effect::Daemon
        | Effect::Answer => None,
    }
}

fn daemon_lives(side: Side, world: &World) -> bool {
    let lives = is_locked(&world.project.join("build/daemon.lock"));
    if side == Side::Control {
        end_daemon(&world.project.join("build/daemon.pid"));
    }
    lives
}

/// What the event file says.
#[derive(Clone, Debug, Default)]
struct Records {
    rules: Vec<String>,
    quarantined: bool,
    /// Whether a variable was withheld.
    withheld: bool,
}

fn read_records(path: &Path) -> Records {
    let mut records = Records::default();
    for line in fs::read_to_string(path).unwrap_or_default().lines() {
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let kind = value.get("event").and_then(Value::as_str);
        if kind == Some("guard.quarantined") {
            records.quarantined = true;
        }
        let withheld = value.get("withheld").and_then(Value::as_array);
        records.withheld |= withheld.is_some_and(|names| !names.is_empty());
        if let Some(rule) = value.get("rule").and_then(Value::as_str)
            && kind.is_some_and(|kind| kind == "fs.denied" || kind == "net.decision")
            && !records.rules.iter().any(|known| known == rule)
        {
            records.rules.push(rule.to_owned());
        }
    }
    records
}
