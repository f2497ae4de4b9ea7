//! Runs the case table and prints it: one line per case, one line per failed check, a closing summary.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::checks::{Checks, Failure};
use crate::{Ground, cases};

/// What a machine must have for a case to mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// User namespaces and Landlock: the full level.
    Full,
    /// The full level, and `ip` to make the test internet with.
    Internet,
    /// Landlock, and an outer filter that hides user namespaces.
    Landlock,
    /// Nothing.
    Nothing,
}

/// One row of the case table.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name, stable: documents link to it.
    pub name: &'static str,
    /// What must hold, in one sentence.
    pub promise: &'static str,
    /// What it needs.
    pub needs: Needs,
    /// The case itself.
    pub run: fn(&Ground, &mut Checks) -> Result<(), Failure>,
}

/// Whether a case that can't be run here is left out or fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Enforcement {
    Must,
    May,
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<&'static str>,
    skipped: usize,
    checks: usize,
    notes: usize,
    /// What was not on this machine.
    absent: Vec<String>,
}

/// Runs the cases that `arguments` select (parts of names; `--list` prints the table), and gives the exit status.
#[must_use]
pub fn run(arguments: &[String]) -> u8 {
    let wanted: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let chosen: Vec<Case> = cases::all()
        .into_iter()
        .filter(|case| wanted.is_empty() || wanted.iter().any(|part| case.name.contains(*part)))
        .collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for case in chosen {
            say(&format!("{}: {}", case.name, case.promise));
        }
        return 0;
    }
    // The outer boundary would answer for the inner one, and every control would be refused.
    let nested = std::env::var_os("RINGFENCE_SESSION").is_some();
    if nested && enforcement() == Enforcement::May {
        say(
            "conformance: nested: this runs inside a session of Ringfence, whose boundary holds; nothing is judged",
        );
        say(&format!(
            "conformance: 0 passed, 0 failed, {} skipped",
            chosen.len()
        ));
        return 0;
    }
    let ground = match Ground::find() {
        Ok(ground) => ground,
        Err(failure) => {
            say(&format!(
                "conformance: the suite can't start: {}",
                chain(&failure)
            ));
            return 1;
        }
    };
    say(&format!(
        "conformance of {}: {}",
        ground.ringfence.display(),
        ground.machine()
    ));
    let tally = Mutex::new(Tally::default());
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(case) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    one(&ground, case, &tally);
                }
            });
        }
    });
    let unenforced = ground.unenforced().map(|refusal| refusal.status);
    summary(&tally.into_inner().unwrap_or_default(), unenforced)
}

fn enforcement() -> Enforcement {
    match std::env::var("RINGFENCE_MUST_ENFORCE").as_deref() {
        Ok("full") => Enforcement::Must,
        _ => Enforcement::May,
    }
}

fn one(ground: &Ground, case: &Case, tally: &Mutex<Tally>) {
    let mut checks = Checks::default();
    let mut broken = None;
    if let Some(reason) = ground.lacking(case.needs) {
        if enforcement() == Enforcement::Must {
            broken = Some(format!("RINGFENCE_MUST_ENFORCE=full, and {reason}"));
        } else {
            checks.skip(reason);
        }
    } else {
        let run = AssertUnwindSafe(|| (case.run)(ground, &mut checks));
        broken = match catch_unwind(run) {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(chain(&failure)),
            Err(_) => Some("the case itself panicked".to_owned()),
        };
    }
    if broken.is_none()
        && checks.skipped().is_none()
        && checks.passed() == 0
        && checks.failures().is_empty()
    {
        broken = Some("it checked nothing".to_owned());
    }
    report(case, &checks, broken.as_deref(), tally);
}

fn report(case: &Case, checks: &Checks, broken: Option<&str>, tally: &Mutex<Tally>) {
    let Ok(mut tally) = tally.lock() else {
        return;
    };
    tally.checks += checks.passed();
    tally.notes += checks.notes().len();
    tally.absent.extend(checks.absences().iter().cloned());
    let failed = broken.is_some() || !checks.failures().is_empty();
    if let (false, Some(reason)) = (failed, checks.skipped()) {
        tally.skipped += 1;
        let controls = match checks.passed() {
            0 => String::new(),
            controls => format!(" ({controls} controls hold)"),
        };
        say(&format!(
            "test {} ... SKIPPED: {reason}{controls}",
            case.name
        ));
        for note in checks.notes() {
            say(&format!("    note: {note}"));
        }
        return;
    }
    let verdict = if failed { "FAILED" } else { "ok" };
    say(&format!(
        "test {} ... {verdict} ({} checks)",
        case.name,
        checks.passed()
    ));
    if failed {
        tally.failed.push(case.name);
        say(&format!("    must hold: {}", case.promise));
    } else {
        tally.passed += 1;
    }
    if let Some(broken) = broken {
        say(&format!("    broken: {broken}"));
    }
    for failure in checks.failures() {
        say(&format!("    {failure}"));
    }
    for note in checks.notes() {
        say(&format!("    note: {note}"));
    }
}

/// Prints what came of it, and gives the exit status. `unenforced` is the status with which Ringfence refuses to run on
/// this machine, where the controls ran alone.
fn summary(tally: &Tally, unenforced: Option<u8>) -> u8 {
    if !tally.failed.is_empty() {
        say(&format!("failed: {}", tally.failed.join(" ")));
    }
    if !tally.absent.is_empty() {
        say(&format!(
            "ATTENTION: not on this machine, and not tried: {}",
            tally.absent.join(" ")
        ));
    }
    if tally.skipped > 0 {
        say(&format!(
            "ATTENTION: {} cases were not run on this machine; RINGFENCE_MUST_ENFORCE=full makes that a failure",
            tally.skipped
        ));
    }
    say(&format!(
        "conformance: {} passed, {} failed, {} skipped; {} checks held, {} notes",
        tally.passed,
        tally.failed.len(),
        tally.skipped,
        tally.checks,
        tally.notes
    ));
    match unenforced {
        _ if !tally.failed.is_empty() => 1,
        Some(status) if enforcement() == Enforcement::Must => {
            say(&format!(
                "conformance: NOT ENFORCED: the controls ran alone, and RINGFENCE_MUST_ENFORCE=full (status {status})"
            ));
            status
        }
        Some(_) | None => 0,
    }
}

fn chain(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{line}");
    let _ = output.flush();
}
