//! The audit of a Windows machine: its probes, those from inside in one real session each.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ringfence_plan::windows::audit::Answer;
pub use ringfence_plan::windows::audit::AuditReport;
use ringfence_policy::escape::escape;
use ringfence_windows::audit::{PROBES, inside};

/// Asks everything of this machine. `command` is this program, which starts a session when it is asked to run.
#[must_use]
pub fn run(command: &Path) -> AuditReport {
    ringfence_windows::audit::run(&mut |name| through(command, name))
}

/// One probe in a session of its own: `ringfence run -- ringfence audit --inside NAME`.
fn through(command: &Path, name: &str) -> Option<(Answer, String)> {
    let scratch = std::env::temp_dir();
    let output = Command::new(command)
        .args(["run", "--quiet", "--"])
        .arg(command)
        .args(["audit", "--inside", name])
        .current_dir(std::env::current_dir().unwrap_or(scratch))
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match serde_json::from_str::<(Answer, String)>(said.trim()) {
        Ok(answer) => Some(answer),
        Err(_) if output.status.success() => None,
        Err(_) => {
            let why = String::from_utf8_lossy(&output.stderr);
            let why = why.lines().next().unwrap_or_default();
            let detail = format!("no session: {}", escape(why.as_bytes()));
            Some((Answer::NotTried, detail))
        }
    }
}

/// The probe of this name, tried here and now: for a command inside a session.
///
/// # Errors
/// None: `None` where there is no such probe.
#[must_use]
pub fn attempt(name: &str) -> Option<(Answer, String)> {
    inside::attempt(name)
}

/// The report for a person.
#[must_use]
pub fn render(report: &AuditReport) -> String {
    let mut text = String::new();
    for probe in &report.probes {
        let asks = PROBES
            .iter()
            .find(|(name, _)| *name == probe.name)
            .map_or("", |(_, asks)| asks);
        // Writing to a String can't fail, here and below.
        let _ = writeln!(
            text,
            "{:<18} {:<12} {} ({asks})",
            probe.name,
            probe.answer.words(),
            escape(probe.detail.as_bytes())
        );
    }
    let words = if report.holds() {
        "the boundary holds as far as it was tried"
    } else {
        "not enforced: nothing is run on this machine that relies on it"
    };
    let _ = writeln!(text, "{words}");
    text
}
