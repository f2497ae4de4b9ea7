//! The audit of a Windows machine: its probes, those from inside in one real session each.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

pub use ringfence_plan::windows::audit::{Answer, AuditReport, Verdict};
use ringfence_plan::windows::audit::{Stakes, kind_of};
use ringfence_plan::windows::{SAME_USER, is_same_user};
use ringfence_policy::escape::escape;
use ringfence_policy::{ExitCode, Policy};
pub use ringfence_windows::audit::inside::starter::{Decoy, Hold, take};
use ringfence_windows::audit::inside::{self, HOLD};
use ringfence_windows::audit::stage::Stage;
use ringfence_windows::audit::{Finding, Sessions};
use ringfence_windows::backend::audited;
use ringfence_windows::backend::person::PersonError;

/// Why there is no audit.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// What the person keeps can't be read or written.
    #[error("what you keep of this machine can't be used")]
    Person(#[source] PersonError),
}

/// Asks everything of this machine, and keeps what was measured. `command` is this program, which starts a session under
/// `policy` when it is asked to run.
///
/// # Errors
/// [`AuditError`].
pub fn run(command: PathBuf, policy: &Policy) -> Result<AuditReport, AuditError> {
    let mut sessions = Own {
        command,
        directory: None,
        held: None,
    };
    let lacks = is_same_user(policy).then_some(SAME_USER);
    audited::audit(&mut sessions, lacks).map_err(AuditError::Person)
}

/// Measures the one rule of Windows that every plan hangs on, where this machine's record does not say it, by a session
/// in `workspace`, which has been set up; what came of it, in words.
///
/// # Errors
/// [`AuditError`].
pub fn measure_links(command: PathBuf, workspace: PathBuf) -> Result<Option<String>, AuditError> {
    let mut sessions = Own {
        command,
        directory: Some(workspace),
        held: None,
    };
    let found = audited::measure_links(&mut sessions).map_err(AuditError::Person)?;
    Ok(found.map(|probe| {
        let asks = kind_of(&probe.name).map_or("", |kind| kind.asks);
        format!(
            "{asks}: {}, {}",
            probe.answer.words(),
            escape(probe.detail.as_bytes())
        )
    }))
}

/// Sessions of this very program: `ringfence run -- ringfence audit --inside NAME`.
struct Own {
    command: PathBuf,
    /// Where sessions are opened; this process's own directory where none is said.
    directory: Option<PathBuf>,
    held: Option<Child>,
}

impl Own {
    fn inside(&self, name: &str) -> Command {
        let mut command = Command::new(&self.command);
        command.args(["run", "--quiet", "--"]);
        command.arg(&self.command);
        command.args(["audit", "--inside", name]);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }
}

impl Sessions for Own {
    fn probe(&mut self, name: &str, stage: &Stage) -> Result<Finding, String> {
        let stage = serde_json::to_string(stage).map_err(|error| error.to_string())?;
        let output = self
            .inside(name)
            .args(["--stage", &stage])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout);
        if let Ok(finding) = serde_json::from_str::<Finding>(said.trim()) {
            return Ok(finding);
        }
        let why = String::from_utf8_lossy(&output.stderr);
        let why = escape(why.lines().next().unwrap_or_default().as_bytes()).into_owned();
        Err(match (output.status.success(), why.is_empty()) {
            (true, _) => "it ended without an answer".to_owned(),
            (false, true) => format!("no session, or it ended early: {}", output.status),
            (false, false) => format!("no session: {why}"),
        })
    }

    fn hold(&mut self) -> Result<u32, String> {
        let mut child = self
            .inside(HOLD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut line = String::new();
        let read = match child.stdout.take() {
            Some(out) => BufReader::new(out).read_line(&mut line),
            None => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
        };
        self.held = Some(child);
        read.map_err(|error| error.to_string())?;
        let number = line.trim().parse();
        number.map_err(|_| "its process did not say its number".to_owned())
    }

    fn let_go(&mut self) {
        if let Some(mut child) = self.held.take() {
            // Its standard input ends with this, and so does what waits for that.
            drop(child.stdin.take());
            let _ended = child.wait();
        }
    }
}

/// Tries a probe here and now, for a command inside a session, and says one line on `out`.
///
/// # Errors
/// Where nobody reads `out`.
pub fn inside(name: &str, stage: Option<&str>, out: &mut dyn io::Write) -> io::Result<()> {
    inside::run(name, stage, out)
}

/// The exit status of a report.
#[must_use]
pub fn exit_of(report: &AuditReport) -> u8 {
    match report.verdict() {
        Verdict::Held => 0,
        Verdict::Unknown => ExitCode::SetupMissing.code(),
        Verdict::Partial | Verdict::NotEnforced => ExitCode::NotEnforceable.code(),
    }
}

const fn hangs_on(stakes: Stakes) -> &'static str {
    match stakes {
        Stakes::Boundary => "",
        Stakes::Copies => "; open, the network is partial",
        Stakes::Links => "; open, what can only be read can be emptied by another name",
        Stakes::Service => "; told, and never called closed",
        Stakes::Works => "; it ought to work",
        Stakes::Shared => "; told, and in same-user mode open it is no boundary",
    }
}

/// The report for a person.
#[must_use]
pub fn render(report: &AuditReport) -> String {
    let mut text = String::new();
    if let Some(lacks) = &report.lacks {
        let lacks = escape(lacks.as_bytes());
        let _ = writeln!(text, "missing here: {lacks}: its sessions run as you");
    }
    for probe in &report.probes {
        let kind = kind_of(&probe.name);
        let asks = kind.map_or("", |kind| kind.asks);
        let stakes = kind.map_or("", |kind| hangs_on(kind.stakes));
        // Writing to a String can't fail, here and below.
        let _ = writeln!(
            text,
            "{:<22} {:<12} {} ({asks}{stakes})",
            escape(probe.name.as_bytes()),
            probe.answer.words(),
            escape(probe.detail.as_bytes())
        );
        if !probe.control.is_empty() {
            let _ = writeln!(
                text,
                "{:<35} control: {}",
                "",
                escape(probe.control.as_bytes())
            );
        }
    }
    let words = match report.verdict() {
        Verdict::Held => "the boundary holds: all of it was tried",
        Verdict::Unknown => {
            "nothing that was tried is open, and some of it could not be tried: see `unknown`"
        }
        Verdict::Partial => {
            "partial: see `OPEN`. Where copies of a token get past the network filters, `ringfence setup install --complement-filters` asks for filters that they do not"
        }
        Verdict::NotEnforced => "not enforced: nothing is run on this machine that relies on it",
    };
    let _ = writeln!(text, "{words}");
    text
}
