//! What a person is told before and after a command.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::Path;

use ringfence::quarantine::Entry;
use ringfence::{Report, Swept};
use ringfence_backend::Ending;
use ringfence_backend::windows::explain_code;
use ringfence_plan::step::Observe;
use ringfence_plan::{Level, Missing};
use ringfence_policy::environment::WithheldReason;
use serde::Serialize;

use crate::commands::quarantine::origin;
use crate::render::denials::{self, Counted};
use crate::render::escape::{escape_os, one_line};
use crate::render::style::{Colour, Tone};

/// Names that are listed on one line; the rest is counted.
const MAX_NAMES: usize = 12;
/// Secrets that are named on one line; the rest is counted.
const MAX_SECRETS: usize = 4;
/// Quarantined items that are listed; the rest is counted.
const MAX_ITEMS: usize = 12;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Errors and what was refused.
    Quiet,
    /// Notes too.
    Normal,
}

/// Who reads standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Somebody at a terminal.
    Person,
    /// A program or a file: what is as it should be costs no line.
    Program,
}

/// What a report depends on beside itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// What the person typed: `run` or `shell`.
    pub(crate) verb: &'a str,
    /// The program that was asked for.
    pub(crate) program: &'a OsStr,
    /// Why the program is not in the session's view, though it exists.
    pub(crate) unshown: Option<&'a str>,
    /// What was watched.
    pub(crate) observe: Observe,
    /// How much is said.
    pub(crate) verbosity: Verbosity,
    /// The limit on processes where nothing counts what it refuses.
    pub(crate) unseen_limit: Option<u32>,
    /// Whether colour is written.
    pub(crate) colour: Colour,
}

/// Says what the boundary lacks, before the command starts.
pub(crate) fn render_start(
    level: Level,
    missing: &[Missing],
    notes: &[String],
    audience: Audience,
    colour: Colour,
) -> String {
    let mut text = String::new();
    // Writing to a String can't fail, here and below.
    match level {
        Level::Full if audience == Audience::Person => {
            let _ = writeln!(
                text,
                "ringfence: {}",
                colour.paint(Tone::Good, "starting at the full level")
            );
        }
        Level::Full => {}
        Level::Partial => {
            let what: Vec<_> = missing
                .iter()
                .map(|missing| missing.what.as_str())
                .collect();
            let _ = writeln!(
                text,
                "ringfence: {} missing here: {} (`ringfence doctor` says why and what helps)",
                colour.paint(Tone::Warning, "partial boundary;"),
                one_line(&what.join(", ")),
            );
        }
        Level::None => text.push_str(&render_full_access(colour)),
    }
    for note in notes {
        let _ = writeln!(text, "ringfence: {}", one_line(note));
    }
    text
}

/// Says loudly that there is no boundary.
pub(crate) fn render_full_access(colour: Colour) -> String {
    format!(
        "ringfence: {} mode full-access: nothing is confined, the command can do whatever you can\n",
        colour.paint(Tone::Bad, "NO BOUNDARY.")
    )
}

/// Says what happened, after the command.
pub(crate) fn render_end(report: &Report, frame: Frame<'_>) -> String {
    let failed = report.exit_status() != 0;
    let mut text = ending(report.outcome.ending, frame);
    if let Some(error) = &report.lost_output {
        let _ = writeln!(
            text,
            "ringfence: {} what the command wrote could not be passed on ({error}): its output is not whole",
            frame.colour.paint(Tone::Bad, "OUTPUT LOST."),
        );
    }
    if frame.verbosity == Verbosity::Normal {
        for note in &report.notes {
            let _ = writeln!(text, "ringfence: {}", one_line(note));
        }
    }
    if failed {
        let counted: Vec<_> = report
            .denials
            .iter()
            .map(|(denial, count)| Counted {
                denial,
                count: u64::from(*count),
            })
            .collect();
        text.push_str(&denials::render(&counted, frame.verb, frame.colour));
    }
    text.push_str(&quarantined(&report.quarantined));
    text
}

/// What may have to do with a failure, for all that is known. It is the same after each failure, so that the caller says
/// it once in a while.
pub(crate) fn render_hints(report: &Report, frame: Frame<'_>) -> String {
    let mut text = String::new();
    if report.exit_status() != 0 && frame.verbosity == Verbosity::Normal {
        text.push_str(&withheld(&report.withheld, frame.verb));
        if let Some(limit) = frame.unseen_limit {
            let _ = writeln!(
                text,
                "ringfence: whether the limit of {limit} processes was hit can't be seen here (RLIMIT_NPROC); to try more: ringfence {} --limit processes={} ...",
                frame.verb,
                limit.saturating_mul(2)
            );
        }
        if ran(report.outcome.ending) {
            text.push_str(&unobserved(report, frame.observe));
        }
    }
    text
}

/// Says what was moved away after a session that broke; its notes are warnings and always said.
pub(crate) fn render_swept(swept: &Swept) -> String {
    let mut text = String::new();
    for note in &swept.notes {
        let _ = writeln!(text, "ringfence: {}", one_line(note));
    }
    text.push_str(&quarantined(&swept.quarantined));
    text
}

fn ran(ending: Ending) -> bool {
    match ending {
        Ending::Exited(_) | Ending::Signalled(_) => true,
        Ending::TimeLimit
        | Ending::MemoryLimit
        | Ending::ProcessLimit
        | Ending::NotFound
        | Ending::NotExecutable(_) => false,
    }
}

fn ending(ending: Ending, frame: Frame<'_>) -> String {
    let program = one_line(&frame.program.to_string_lossy()).into_owned();
    match ending {
        Ending::Exited(_) | Ending::Signalled(_) => String::new(),
        Ending::TimeLimit => "ringfence: the time limit ended the command\n".to_owned(),
        Ending::MemoryLimit => "ringfence: the memory limit ended the command\n".to_owned(),
        Ending::ProcessLimit => "ringfence: the limit on processes ended the command\n".to_owned(),
        Ending::NotFound | Ending::NotExecutable(_) if frame.unshown.is_some() => {
            let why = frame.unshown.unwrap_or_default();
            format!("ringfence: error: {program} is not there inside: {why}\n")
        }
        // A path that leads to a file names a script whose interpreter is absent, execve(2).
        Ending::NotFound if program.contains('/') && Path::new(frame.program).exists() => format!(
            "ringfence: error: {program}: the interpreter in its first line (`#!`) is not found\n"
        ),
        Ending::NotFound => format!("ringfence: error: {program}: command not found\n"),
        Ending::NotExecutable(code) if cfg!(windows) => {
            format!(
                "ringfence: error: {program} can't be executed\n{}",
                windows_cause(code)
            )
        }
        Ending::NotExecutable(errno) => {
            let cause = std::io::Error::from_raw_os_error(errno);
            if cause.kind() == std::io::ErrorKind::NotFound {
                return format!(
                    "ringfence: error: {program} can't be executed\n  caused by: the interpreter of its first line, or its loader, does not exist here\n"
                );
            }
            format!("ringfence: error: {program} can't be executed\n  caused by: {cause}\n")
        }
    }
}

/// Why Windows started no program, and what to do where its code is a known one.
fn windows_cause(code: i32) -> String {
    match explain_code(code.cast_unsigned()) {
        Some(meaning) => format!(
            "  caused by: {} ({}): {}\n  hint: {}\n",
            meaning.name, meaning.code, meaning.cause, meaning.cure
        ),
        None => format!("  caused by: {}\n", std::io::Error::from_raw_os_error(code)),
    }
}

/// What was moved out of the workspace, and how to get it back.
fn quarantined(entries: &[Entry]) -> String {
    let mut text = String::new();
    for entry in entries.iter().take(MAX_ITEMS) {
        let _ = writeln!(
            text,
            "ringfence: moved {} out of the workspace ({})\n  to restore: ringfence quarantine restore {}",
            denials::shortened(&origin(entry)),
            one_line(&entry.reason.words()),
            entry.id,
        );
    }
    if let Some(rest) = entries
        .len()
        .checked_sub(MAX_ITEMS)
        .filter(|rest| *rest > 0)
    {
        let _ = writeln!(
            text,
            "ringfence: {rest} more items moved: ringfence quarantine list"
        );
    }
    text
}

/// The names of what was withheld, on one line; never a value.
fn withheld(variables: &[(OsString, WithheldReason)], verb: &str) -> String {
    // Our own never pass, so nobody is told how.
    let names: Vec<_> = variables
        .iter()
        .map(|(name, _)| one_line(&name.to_string_lossy()).into_owned())
        .filter(|name| !name.starts_with("RINGFENCE_"))
        .collect();
    if names.is_empty() {
        return String::new();
    }
    format!(
        "ringfence: withheld from the environment: {} (to pass one: ringfence {verb} --env NAME ...)\n",
        some(names.into_iter(), MAX_NAMES)
    )
}

/// The first `most` of `names`, and how many more there are.
fn some(names: impl ExactSizeIterator<Item = String>, most: usize) -> String {
    let rest = names.len().saturating_sub(most);
    let mut shown: Vec<_> = names.take(most).collect();
    if rest > 0 {
        shown.push(format!("{rest} more"));
    }
    shown.join(", ")
}

/// What may have been refused unseen. At the full level the placeholders tell of refused reads, and so there is nothing
/// unless somebody has switched that off.
fn unobserved(report: &Report, observe: Observe) -> String {
    let secrets = if report.hidden.is_empty() {
        String::new()
    } else {
        let paths = report.hidden.iter().map(|path| escape_os(path.as_path()));
        format!(" (hidden: {})", some(paths, MAX_SECRETS))
    };
    match (report.enforcement.level, observe) {
        (Level::None, _) | (_, Observe::All) | (Level::Full, Observe::Writes) => String::new(),
        (Level::Full | Level::Partial, Observe::Off) => {
            format!(
                "ringfence: refused reads and writes are not shown{secrets}; `--observe all` does\n"
            )
        }
        (Level::Partial, Observe::Writes) => {
            "ringfence: at the partial level refused reads are shown with `--observe all` alone\n"
                .to_owned()
        }
    }
}

/// The report as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct JsonReport<'a> {
    level: Level,
    missing: &'a [Missing],
    ending: Ending,
    status: u8,
    cpu_microseconds: u64,
    denials: Vec<serde_json::Value>,
    hidden: Vec<String>,
    quarantined: &'a [Entry],
    withheld: Vec<(String, WithheldReason)>,
    notes: &'a [String],
    lost_output: Option<String>,
}

impl<'a> JsonReport<'a> {
    /// The report as it is.
    pub(crate) fn new(report: &'a Report) -> Self {
        let denials = report.denials.iter().map(|(denial, count)| {
            let mut value = serde_json::json!(denial);
            if let Some(object) = value.as_object_mut() {
                object.insert("count".to_owned(), (*count).into());
            }
            value
        });
        Self {
            level: report.enforcement.level,
            missing: &report.enforcement.missing,
            ending: report.outcome.ending,
            status: report.exit_status(),
            cpu_microseconds: report.outcome.cpu_microseconds,
            denials: denials.collect(),
            hidden: report
                .hidden
                .iter()
                .map(|path| escape_os(path.as_path()))
                .collect(),
            quarantined: &report.quarantined,
            withheld: report
                .withheld
                .iter()
                .map(|(name, reason)| (one_line(&name.to_string_lossy()).into_owned(), *reason))
                .collect(),
            notes: &report.notes,
            lost_output: report.lost_output.as_ref().map(ToString::to_string),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_backend::{Enforcement, Outcome};
    use ringfence_policy::AbsolutePath;
    use ringfence_policy::RuleId;
    use ringfence_policy::decision::{Denial, Evidence, Grant, Operation, OwnPermissions};

    fn report(ending: Ending) -> Report {
        Report {
            enforcement: Enforcement {
                level: Level::Full,
                missing: Vec::new(),
                proven: Vec::new(),
            },
            outcome: Outcome {
                ending,
                cpu_microseconds: 0,
            },
            denials: Vec::new(),
            hidden: Vec::new(),
            quarantined: Vec::new(),
            withheld: Vec::new(),
            notes: Vec::new(),
            lost_output: None,
        }
    }

    fn denial() -> Denial {
        Denial {
            operation: Operation::Write,
            object: "/etc/hosts".to_owned(),
            rule: RuleId::OutsideWritableRoots,
            grant: Some(Grant {
                arguments: vec!["--writable-root".to_owned(), "/etc".to_owned()],
                caution: String::new(),
            }),
            refused_root: None,
            syscall: "openat".to_owned(),
            evidence: Evidence::Predicted,
            own_permissions: OwnPermissions::Allow,
            process: None,
        }
    }

    fn rendered(report: &Report, verbosity: Verbosity) -> String {
        let frame = Frame {
            verb: "run",
            program: OsStr::new("tool"),
            unshown: None,
            observe: Observe::Writes,
            verbosity,
            unseen_limit: None,
            colour: Colour::Plain,
        };
        render_end(report, frame)
    }

    #[test]
    fn a_code_of_windows_is_told_with_its_cause_and_its_cure() {
        for code in [5, 267, 740] {
            let told = windows_cause(code);
            let meaning = explain_code(code.cast_unsigned()).unwrap();
            assert!(told.contains(meaning.cause), "{told}");
            assert!(told.contains(&format!("hint: {}", meaning.cure)), "{told}");
        }
        assert!(!windows_cause(193).contains("hint"));
    }

    #[test]
    fn a_command_that_succeeds_leaves_the_screen_alone() {
        let mut success = report(Ending::Exited(0));
        success.denials.push((denial(), 3));
        success
            .withheld
            .push(("TOKEN".into(), WithheldReason::SecretName));
        assert_eq!(rendered(&success, Verbosity::Normal), "");
    }

    #[test]
    fn a_command_that_fails_says_what_was_refused_and_withheld() {
        let mut failure = report(Ending::Exited(1));
        failure.denials.push((denial(), 3));
        failure
            .withheld
            .push(("TOKEN".into(), WithheldReason::SecretName));
        assert_eq!(
            rendered(&failure, Verbosity::Normal),
            "ringfence: denied write /etc/hosts (rule fs.outside-writable-roots), 3 times\n  \
             to allow: ringfence run --writable-root /etc ...\n"
        );
        assert_eq!(
            hinted(&failure, Observe::Writes),
            "ringfence: withheld from the environment: TOKEN (to pass one: ringfence run --env NAME ...)\n"
        );
    }

    fn hinted(report: &Report, observe: Observe) -> String {
        let frame = Frame {
            verb: "run",
            program: OsStr::new("tool"),
            unshown: None,
            observe,
            verbosity: Verbosity::Normal,
            unseen_limit: None,
            colour: Colour::Plain,
        };
        render_hints(report, frame)
    }

    #[test]
    fn a_failure_for_which_nothing_was_refused_is_let_be() {
        let failure = report(Ending::Exited(1));
        assert_eq!(rendered(&failure, Verbosity::Normal), "");
        assert_eq!(hinted(&failure, Observe::Writes), "");
        assert_eq!(hinted(&failure, Observe::All), "");
        assert_eq!(
            rendered(&report(Ending::NotFound), Verbosity::Normal),
            "ringfence: error: tool: command not found\n"
        );
    }

    #[test]
    fn where_refusals_can_not_be_seen_a_hint_says_how_to_see_them() {
        let mut failure = report(Ending::Exited(1));
        for name in 0..6 {
            let path = AbsolutePath::new(format!("/home/ann/{name}\u{1b}")).unwrap();
            failure.hidden.push(path);
        }
        let text = hinted(&failure, Observe::Off);
        assert!(
            text.contains("(hidden: /home/ann/0")
                && text.contains(", 2 more)")
                && text.contains("--observe all"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text}");
        failure.enforcement.level = Level::Partial;
        assert!(hinted(&failure, Observe::Writes).contains("--observe all"));
        failure.outcome.ending = Ending::Exited(0);
        assert_eq!(hinted(&failure, Observe::Off), "");
    }

    #[test]
    fn no_boundary_is_said_loudly() {
        assert!(
            render_start(Level::None, &[], &[], Audience::Program, Colour::Plain)
                .starts_with("ringfence: NO BOUNDARY.")
        );
        let mut failure = report(Ending::Exited(1));
        failure.enforcement.level = Level::None;
        assert_eq!(rendered(&failure, Verbosity::Normal), "");
    }

    #[test]
    fn a_person_is_told_the_level_and_a_program_what_is_lost() {
        let start = |level, audience| render_start(level, &[], &[], audience, Colour::Plain);
        assert_eq!(
            start(Level::Full, Audience::Person),
            "ringfence: starting at the full level\n"
        );
        assert_eq!(start(Level::Full, Audience::Program), "");
        assert!(start(Level::Partial, Audience::Program).contains("partial boundary"));
    }

    #[test]
    fn a_limit_that_nothing_counts_is_said_to_be_a_guess() {
        let frame = Frame {
            verb: "run",
            program: OsStr::new("tool"),
            unshown: None,
            observe: Observe::Writes,
            verbosity: Verbosity::Normal,
            unseen_limit: Some(8),
            colour: Colour::Plain,
        };
        let text = render_hints(&report(Ending::Exited(2)), frame);
        assert!(
            text.contains("can't be seen here") && text.contains("processes=16"),
            "{text}"
        );
        assert!(render_hints(&report(Ending::Exited(0)), frame).is_empty());
    }

    #[test]
    fn a_program_that_is_hidden_inside_is_told_as_such() {
        let frame = Frame {
            verb: "run",
            program: OsStr::new("/tmp/tool"),
            unshown: Some("the session has a /tmp of its own"),
            observe: Observe::Writes,
            verbosity: Verbosity::Normal,
            unseen_limit: None,
            colour: Colour::Plain,
        };
        assert_eq!(
            render_end(&report(Ending::NotFound), frame),
            "ringfence: error: /tmp/tool is not there inside: the session has a /tmp of its own\n"
        );
    }

    #[test]
    fn a_script_without_its_interpreter_is_no_missing_command() {
        let frame = Frame {
            verb: "run",
            program: OsStr::new("./Cargo.toml"),
            unshown: None,
            observe: Observe::Writes,
            verbosity: Verbosity::Normal,
            unseen_limit: None,
            colour: Colour::Plain,
        };
        let text = render_end(&report(Ending::NotFound), frame);
        assert!(text.contains("interpreter"), "{text}");
    }
}
