//! One run of one case: a few words of shell, with or without the boundary, and what came of it.
//!
//! Invariant: a crash, a missing program or a failure of Ringfence itself is never counted as a refusal.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ringfence_policy::ExitCode;
use serde::Serialize;
use serde_json::Value;

use super::cases::{Attack, Effect};
use super::outside::{Outside, end_daemon, is_locked};
use super::shell::{Answer, Filled, Shell, answer};
use super::tools::Tool;
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
    /// Whose words scripts are.
    pub(crate) shell: Shell,
    /// This program.
    pub(crate) program: PathBuf,
    /// The scratch directory.
    pub(crate) scratch: PathBuf,
    /// Variables beside the world's.
    pub(crate) variables: Vec<(&'static str, OsString)>,
}

impl Bench {
    /// Runs a job: its status alone decides.
    pub(crate) fn work(
        &self,
        side: Side,
        world: &World,
        filled: &Filled,
        tool: Tool,
    ) -> io::Result<Trial> {
        let (output, records) = self.start(side, world, filled, tool)?;
        let outcome = match heard(&output) {
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
        filled: &Filled,
        attack: &Attack,
        outside: &mut Outside,
    ) -> io::Result<Trial> {
        let (effect, tool) = (attack.effect, attack.tool);
        let before = state(effect, world);
        let (output, records) = self.start(side, world, filled, tool)?;
        let seen = match effect {
            Effect::File(_) | Effect::SetUid(_) => state(effect, world) != before,
            Effect::Leak => contains(&output.stdout, SECRET) || contains(&output.stderr, SECRET),
            Effect::Tcp => outside.tcp_reached(),
            Effect::Unix => outside.unix_reached(),
            Effect::Victim => outside.victim_ended(heard(&output) == Answer::Worked),
            Effect::Daemon => daemon_lives(side, world),
            Effect::Answer => heard(&output) == Answer::Worked,
        };
        let outcome = match (seen, heard(&output)) {
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

    /// Whether anything runs inside at all: what Ringfence says where nothing does, and the status that goes with it.
    pub(crate) fn refusal(&self, world: &World) -> io::Result<Option<(u8, String)>> {
        let nothing = Filled {
            script: if self.shell == Shell::Cmd {
                "cmd /d /c exit 0"
            } else {
                "true"
            }
            .to_owned(),
            variables: Vec::new(),
        };
        let (output, _) = self.start(Side::Inside, world, &nothing, Tool::Shell)?;
        let status = output
            .status
            .code()
            .and_then(|code| u8::try_from(code).ok());
        let refused = status.filter(|status| REFUSALS.iter().any(|code| code.code() == *status));
        Ok(refused.map(|status| (status, String::from_utf8_lossy(&output.stderr).into_owned())))
    }

    fn start(
        &self,
        side: Side,
        world: &World,
        filled: &Filled,
        tool: Tool,
    ) -> io::Result<(Output, Records)> {
        let events = self.scratch.join("events.jsonl");
        let wrapped = self.shell.wrap(&filled.script, tool);
        let shell: &[&str] = match self.shell {
            Shell::Posix => &["sh", "-c", &wrapped],
            Shell::Cmd => {
                fs::write(world.project.join("build/case.cmd"), &wrapped)?;
                &["cmd", "/d", "/c", r"build\case.cmd"]
            }
        };
        let Some((program, arguments)) = shell.split_first() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut command = match side {
            Side::Control => Command::new(program),
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
                command.arg(&events).args(["--", program]);
                command
            }
        };
        command.args(arguments);
        let output = self.hear(self.with_variables(&mut command, world, filled))?;
        let records = match side {
            Side::Control => Records::default(),
            Side::Inside => read_records(&events),
        };
        Ok((output, records))
    }

    /// The same for both sides. On Unix nothing else; Windows starts little without its own, and who a person is there is
    /// no matter of variables.
    fn with_variables<'a>(
        &self,
        command: &'a mut Command,
        world: &World,
        filled: &Filled,
    ) -> &'a mut Command {
        match self.shell {
            Shell::Posix => command.env_clear().env("HOME", &world.home),
            Shell::Cmd => command,
        };
        let own = self.variables.iter().chain(&filled.variables);
        command
            .current_dir(&world.project)
            .envs(own.map(|(name, value)| (name, value)))
    }

    /// Runs it to its end. Its words go to files: what it leaves running may hold a pipe open.
    fn hear(&self, command: &mut Command) -> io::Result<Output> {
        let [output, error] = ["output.txt", "error.txt"].map(|name| self.scratch.join(name));
        let status = command
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(File::create(&error)?)
            .status()?;
        Ok(Output {
            status,
            stdout: fs::read(output)?,
            stderr: fs::read(error)?,
        })
    }
}

/// What Ringfence ends with where nothing runs.
const REFUSALS: [ExitCode; 5] = [
    ExitCode::Internal,
    ExitCode::PolicyInvalid,
    ExitCode::NotEnforceable,
    ExitCode::ManagedRefusal,
    ExitCode::SetupMissing,
];

fn heard(output: &Output) -> Answer {
    answer(&output.stdout, output.status.success())
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
        Effect::SetUid(name) => is_set_id(&world.home.join(name)).then(|| vec![1]),
        Effect::Leak
        | Effect::Tcp
        | Effect::Unix
        | Effect::Victim
        | Effect::Daemon
        | Effect::Answer => None,
    }
}

#[cfg(unix)]
fn is_set_id(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o6000 != 0)
}

/// Windows has no such bit.
#[cfg(not(unix))]
fn is_set_id(_path: &Path) -> bool {
    false
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
