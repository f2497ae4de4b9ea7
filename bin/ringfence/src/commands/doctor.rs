//! `ringfence doctor`: what this machine can enforce, how that was proven, and how to get more.
//!
//! Proven by doing: a real session is started in an empty directory and ended again. Invariant: a layer is said to
//! hold only when that session says so.

mod windows;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ringfence::platform;
use ringfence::{Leftovers, Session, SessionOptions, StateDirectory, Swept, sweep_leftovers};
use ringfence_backend::Enforcement;
use ringfence_plan::linux::facts::{Seccomp, UserNamespaces};
use ringfence_plan::step::{LimitMechanism, Observe};
use ringfence_plan::{HostFacts, Level, Step};
use ringfence_policy::ExitCode;
use ringfence_policy::units::ByteSize;
use serde::Serialize;

use crate::cli::{Doctor, Limit, PolicyOptions};
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::output;
use crate::render::escape::{escape_os, one_line};
use crate::render::style::{Colour, Tone};
use crate::render::table::{self, Cell};

/// Whether a layer is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// It holds.
    Holds,
    /// It is not there.
    Missing,
    /// It is not needed, and could be of use.
    Absent,
    /// It weakens nothing, and a person should know.
    Noted,
}

/// One row.
#[derive(Debug, Serialize)]
struct Finding {
    layer: String,
    state: State,
    /// How that is known.
    proof: String,
    /// What a person can do about it.
    cure: String,
}

/// All that was found.
#[derive(Debug, Serialize)]
struct Diagnosis {
    level: Level,
    findings: Vec<Finding>,
}

/// The session's directory could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the directory `{path}` can't be made")]
struct ScratchError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Prints the table; exit status 102 where nothing can be enforced.
pub(crate) fn run(options: &Doctor) -> Result<u8, Failure> {
    if cfg!(windows) {
        return tell(options, &windows::diagnose()?);
    }
    let scratch = Scratch::make()?;
    let policy = PolicyOptions {
        workspace: Some(scratch.0.clone()),
        limit: vec![Limit::Memory(ByteSize(1 << 30)), Limit::Processes(512)],
        ..PolicyOptions::default()
    };
    let context = context::load(&policy)?;
    let mut findings = vec![
        kernel(),
        state_directory(&context.state),
        killed_sessions(&sweep_leftovers(&context.state)),
    ];
    let level = session(&context, &mut findings);
    findings.push(git());
    findings.extend(hard_links());
    tell(options, &Diagnosis { level, findings })
}

fn tell(options: &Doctor, diagnosis: &Diagnosis) -> Result<u8, Failure> {
    if options.json {
        output::json(diagnosis)?;
    } else {
        output::data(&render(diagnosis, Colour::of(&stdout())))?;
    }
    Ok(if diagnosis.level == Level::None {
        ExitCode::NotEnforceable.code()
    } else {
        0
    })
}

/// Starts a session and asks it what it holds.
fn session(context: &Context, findings: &mut Vec<Finding>) -> Level {
    let started = Session::start(
        &context.loaded.policy,
        &context.state,
        SessionOptions::default(),
    );
    let session = match started {
        Ok(session) => session,
        Err(error) => {
            let failure = Failure::from(error);
            findings.extend(layers(context));
            findings.push(Finding {
                layer: "boundary".to_owned(),
                state: State::Missing,
                proof: one_line(&failure.summary()).into_owned(),
                cure: without_doctor(failure.hint()),
            });
            return Level::None;
        }
    };
    let enforcement = session.enforcement().clone();
    report_layers(&enforcement, findings);
    findings.extend(session.plan().steps.iter().filter_map(carried_out));
    match session.end() {
        Ok(_) => enforcement.level,
        Err(error) => {
            let failure = Failure::from(error);
            findings.push(Finding {
                layer: "end of a session".to_owned(),
                state: State::Missing,
                proof: one_line(&failure.summary()).into_owned(),
                cure: failure.hint().to_owned(),
            });
            Level::None
        }
    }
}

/// A hint without what points here.
fn without_doctor(hint: &str) -> String {
    let parts = hint
        .split("; ")
        .filter(|part| !part.contains("ringfence doctor"));
    parts.collect::<Vec<_>>().join("; ")
}

/// Each layer by itself, where no session stands to ask.
fn layers(context: &Context) -> Vec<Finding> {
    let Ok(HostFacts::Linux(facts)) = platform::observe(&context.loaded.policy) else {
        return Vec::new();
    };
    let finding = |layer: &str, state, proof: String, cure: &str| Finding {
        layer: layer.to_owned(),
        state,
        proof,
        cure: cure.to_owned(),
    };
    let namespaces = match &facts.user_namespaces {
        UserNamespaces::Available => finding(
            "namespaces",
            State::Holds,
            "made for a child".to_owned(),
            "",
        ),
        UserNamespaces::Refused { cause, cure } => {
            finding("namespaces", State::Missing, cause.clone(), cure)
        }
    };
    let landlock = match facts.landlock_abi {
        0 => finding(
            "landlock",
            State::Missing,
            "the kernel offers none to this process".to_owned(),
            "use Linux 5.13 or newer with `landlock` in the `lsm=` boot option, outside a sandbox that refuses it",
        ),
        abi => finding(
            "landlock",
            State::Holds,
            format!("the kernel offers ABI {abi}"),
            "",
        ),
    };
    let seccomp = match facts.seccomp {
        Seccomp::Listener => finding(
            "seccomp",
            State::Holds,
            "filters and a listener".to_owned(),
            "",
        ),
        Seccomp::FilterOnly => finding(
            "seccomp",
            State::Holds,
            "filters, no listener".to_owned(),
            "",
        ),
        Seccomp::Absent => finding(
            "seccomp",
            State::Missing,
            "the kernel has no filters".to_owned(),
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
    };
    vec![namespaces, landlock, seccomp]
}

fn report_layers(enforcement: &Enforcement, findings: &mut Vec<Finding>) {
    for line in &enforcement.proven {
        let (layer, proof) = line.split_once(": ").unwrap_or((line, "in force"));
        findings.push(Finding {
            layer: layer.to_owned(),
            state: State::Holds,
            proof: proof.to_owned(),
            cure: String::new(),
        });
    }
    for missing in &enforcement.missing {
        findings.push(Finding {
            layer: missing.what.clone(),
            state: State::Missing,
            // The session's own empty directory is no example for a person.
            proof: if missing.what == "new-entries" {
                "nothing can be made, removed or renamed directly in a workspace's own directory, nor in one that holds a protected name or a secret".to_owned()
            } else {
                missing.cause.clone()
            },
            cure: missing.cure.clone(),
        });
    }
}

/// What the session's own steps prove: it stands, so each of them was carried out.
fn carried_out(step: &Step) -> Option<Finding> {
    let (layer, proof) = match step {
        Step::MountProc => (
            "new /proc",
            "mounted for the session's own processes".to_owned(),
        ),
        Step::KeepProc => (
            "/proc",
            "the host's, read-only: the kernel refuses a new one here".to_owned(),
        ),
        Step::FilterSyscalls {
            observe: Observe::Writes | Observe::All,
            ..
        } => (
            "listener",
            "installed: refused calls are reported".to_owned(),
        ),
        Step::MountOverlay { directories, .. } => {
            let paths: Vec<String> = directories
                .iter()
                .map(|path| escape_os(path.as_path()))
                .collect();
            (
                "caches",
                format!(
                    "writable in a layer of the workspace's own: {}",
                    paths.join(", ")
                ),
            )
        }
        Step::LimitMemory { mechanism, .. } => ("memory limit", held_by(mechanism)),
        Step::LimitProcesses { mechanism, .. } => ("process limit", held_by(mechanism)),
        Step::FilterSyscalls {
            observe: Observe::Off,
            ..
        }
        | Step::MakePrivateDirectory { .. }
        | Step::EnterNamespaces { .. }
        | Step::RaiseLoopback
        | Step::CaptureAddresses { .. }
        | Step::Serve { .. }
        | Step::Publish { .. }
        | Step::ReachSocket { .. }
        | Step::SealMounts
        | Step::MountDevices
        | Step::MountTemporary { .. }
        | Step::Bind { .. }
        | Step::Pin { .. }
        | Step::Protect { .. }
        | Step::ProtectLink { .. }
        | Step::Unprotect { .. }
        | Step::Hide { .. }
        | Step::DropCapabilities
        | Step::SetNoNewPrivs
        | Step::RestrictPaths { .. } => return None,
    };
    Some(Finding {
        layer: layer.to_owned(),
        state: State::Holds,
        proof,
        cure: String::new(),
    })
}

fn held_by(mechanism: &LimitMechanism) -> String {
    match mechanism {
        LimitMechanism::CgroupV2 { parent } => {
            format!("cgroup v2 below {}", escape_os(parent.as_path()))
        }
        LimitMechanism::CgroupV1 { parent } => {
            format!("cgroup v1 below {}", escape_os(parent.as_path()))
        }
        LimitMechanism::Watched => {
            "watched by the session's init: no cgroup may be written here".to_owned()
        }
        LimitMechanism::ResourceLimit => {
            "RLIMIT_NPROC of the session's own user namespace".to_owned()
        }
    }
}

fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let known = !release.trim().is_empty();
    Finding {
        layer: "kernel".to_owned(),
        state: if known { State::Holds } else { State::Missing },
        proof: if known {
            format!("{} {}", std::env::consts::OS, release.trim())
        } else {
            "unknown".to_owned()
        },
        cure: String::new(),
    }
}

fn state_directory(state: &StateDirectory) -> Finding {
    Finding {
        layer: "state directory".to_owned(),
        state: State::Holds,
        proof: format!(
            "{}, {}",
            escape_os(state.path().as_path()),
            state.closed_to()
        ),
        cure: String::new(),
    }
}

/// Sweeps what killed sessions left.
fn killed_sessions(leftovers: &Leftovers) -> Finding {
    let Swept { quarantined, notes } = &leftovers.swept;
    let mut proof = match leftovers.dead {
        0 if leftovers.unswept > 0 => format!("{} could not be swept", leftovers.unswept),
        0 => "none has left anything unswept".to_owned(),
        dead => format!(
            "{dead} swept now, {} objects moved to quarantine",
            quarantined.len()
        ),
    };
    if leftovers.live > 0 {
        let _ = write!(proof, "; {} sessions live", leftovers.live);
    }
    let mut cure = notes.clone();
    if !quarantined.is_empty() {
        cure.push("ringfence quarantine list".to_owned());
    }
    Finding {
        layer: "killed sessions".to_owned(),
        state: if leftovers.unswept > 0 {
            State::Missing
        } else {
            State::Holds
        },
        proof,
        cure: cure.join("; "),
    }
}

/// git is not needed: what of its configuration matters is read by Ringfence itself.
fn git() -> Finding {
    let output = Command::new("git")
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => Finding {
            layer: "git".to_owned(),
            state: State::Holds,
            proof: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            cure: String::new(),
        },
        Ok(_) | Err(_) => Finding {
            layer: "git".to_owned(),
            state: State::Absent,
            proof: "git --version does not work; repositories are protected all the same"
                .to_owned(),
            cure: String::new(),
        },
    }
}

/// Files in the workspace that are also something outside it: what is written there is written in both places, and a
/// secret that has such a name can be read by it.
fn hard_links() -> Vec<Finding> {
    let finding = |state, proof: String, cure: &str| Finding {
        layer: "hard links".to_owned(),
        state,
        proof,
        cure: cure.to_owned(),
    };
    let observed = context::load(&PolicyOptions::default()).and_then(|context| {
        let observed = platform::observe(&context.loaded.policy);
        observed.map_err(Failure::from)
    });
    let facts = match observed {
        Ok(HostFacts::Linux(facts)) => facts,
        Ok(HostFacts::Windows(_)) => return Vec::new(),
        Err(failure) => {
            let cause = one_line(&failure.summary()).into_owned();
            let proof = format!("not counted: this directory is no workspace ({cause})");
            return vec![finding(State::Absent, proof, "")];
        }
    };
    let findings = facts.roots.iter().map(|root| {
        let named = escape_os(root.named.as_path());
        match root.outside_links.as_slice() {
            [] => finding(
                State::Holds,
                format!("no file in {named} is also something outside it"),
                "",
            ),
            [first, ..] => finding(
                State::Noted,
                format!(
                    "{} in {named} are also something outside it, {} for one",
                    root.outside_links.len(),
                    escape_os(first.as_path())
                ),
                "hard_links = \"read-only\" lets no command write them",
            ),
        }
    });
    findings.collect()
}

fn render(diagnosis: &Diagnosis, colour: Colour) -> String {
    let rows: Vec<_> = diagnosis
        .findings
        .iter()
        .map(|finding| {
            let state = match finding.state {
                State::Holds => Cell::toned(Tone::Good, "holds"),
                State::Missing => Cell::toned(Tone::Bad, "MISSING"),
                State::Absent => Cell::toned(Tone::Warning, "absent"),
                State::Noted => Cell::toned(Tone::Warning, "noted"),
            };
            [
                finding.layer.as_str().into(),
                state,
                finding.proof.as_str().into(),
            ]
        })
        .collect();
    let mut text = table::render(["LAYER", "STATE", "HOW IT IS KNOWN"], &rows, colour);
    let mut cures: Vec<(&str, Vec<&str>)> = Vec::new();
    for finding in diagnosis
        .findings
        .iter()
        .filter(|finding| !finding.cure.is_empty())
    {
        match cures.iter_mut().find(|(cure, _)| *cure == finding.cure) {
            Some((_, layers)) => layers.push(&finding.layer),
            None => cures.push((&finding.cure, vec![&finding.layer])),
        }
    }
    for (cure, layers) in cures {
        // Writing to a String can't fail, here and below.
        let _ = write!(
            text,
            "\n{}: {}",
            one_line(&layers.join(", ")),
            one_line(cure)
        );
    }
    let (tone, words) = match diagnosis.level {
        Level::Full => (
            Tone::Good,
            "Level: full. Every layer of the boundary holds on this machine.",
        ),
        Level::Partial => (
            Tone::Warning,
            "Level: partial. A part of the boundary holds; see MISSING above.",
        ),
        Level::None => (
            Tone::Bad,
            "Level: none. Nothing can be enforced here, and so nothing runs.",
        ),
    };
    let _ = writeln!(text, "\n{}", colour.paint(tone, words));
    text
}

/// An empty directory for the session, removed when it goes out of scope.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("ringfence-doctor-{}", std::process::id()));
        match make_private(&path) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(Failure::internal(ScratchError { path, source })),
        }
    }
}

#[cfg(unix)]
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_private(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Empty: nothing ran in it. If it can't be removed there is nobody to tell.
        let _ = fs::remove_dir(&self.0);
    }
}
