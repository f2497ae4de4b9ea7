//! `ringfence run` and `ringfence shell`: a session of one command.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, stderr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::render::escape::{escape_os, shell_words};
use ringfence::own_file::{self, OwnFile};
use ringfence::state::SESSION_VARIABLE;
use ringfence::told;
use ringfence::{
    CommandSpec, Report, Session, SessionOptions, StateDirectory, Swept, clock, sweep_leftovers,
};
use ringfence_audit::EventSink;
use ringfence_plan::step::LimitMechanism;
use ringfence_plan::{Level, Plan, Step};
use ringfence_policy::{AbsolutePath, Decision, ExitCode, Operation, Policy, RuleId};

use crate::cli::{PolicyOptions, ReportOptions, Run, Shell};
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::output;
use crate::render::report::{
    Audience, Frame, JsonReport, Verbosity, render_end, render_hints, render_start, render_swept,
};
use crate::render::style::Colour;

/// The file of `--events` can't be written.
#[derive(Debug, thiserror::Error)]
#[error("the event file `{path}` can't be opened")]
struct EventsError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Runs a command and passes its status on.
pub(crate) fn run(options: &Run) -> Result<u8, Failure> {
    session_of_one(
        "run",
        &options.policy,
        &options.report,
        options.command.clone(),
    )
}

/// Runs the person's shell.
pub(crate) fn shell(options: &Shell) -> Result<u8, Failure> {
    let program = own_shell(&options.policy)?;
    session_of_one("shell", &options.policy, &options.report, vec![program])
}

#[cfg(not(windows))]
#[expect(clippy::unnecessary_wraps, reason = "as on Windows")]
fn own_shell(_options: &PolicyOptions) -> Result<OsString, Failure> {
    let shell = std::env::var_os("SHELL").filter(|shell| Path::new(shell).is_absolute());
    Ok(shell.unwrap_or_else(|| OsString::from("/bin/sh")))
}

/// The best shell that this machine has; never an alias of the Store, which can't start under a restricted token.
#[cfg(windows)]
fn own_shell(options: &PolicyOptions) -> Result<OsString, Failure> {
    let policy = context::load(options)?.loaded.policy;
    let shells = match ringfence::platform::observe(&policy)? {
        ringfence_plan::HostFacts::Windows(facts) => facts.shells,
        ringfence_plan::HostFacts::Linux(_) => Vec::new(),
    };
    let best = shells.into_iter().next();
    let best = best.ok_or_else(|| {
        Failure::new(ExitCode::NotFound, NoShell)
            .with_hint("name one: `ringfence run -- C:\\path\\to\\shell.exe`")
    })?;
    Ok(OsString::from(best.path.to_string()))
}

/// There is no shell outside the Store's aliases.
#[cfg(windows)]
#[derive(Debug, thiserror::Error)]
#[error("no shell was found: neither PowerShell nor cmd.exe, and none of git")]
struct NoShell;

fn session_of_one(
    verb: &str,
    policy: &PolicyOptions,
    report: &ReportOptions,
    command: Vec<OsString>,
) -> Result<u8, Failure> {
    let context = context::load(policy)?;
    // Said at once, whether the session starts or not; else it is in the report.
    let said = if report.json {
        Swept::default()
    } else {
        sweep_leftovers(&context.state).swept
    };
    output::message(&render_swept(&said));
    let events = match &report.events {
        Some(path) => Some(open_events(path, &context.loaded.policy)?),
        None => None,
    };
    let directory = start_directory(&context.loaded.policy.workspace)?;
    let options = SessionOptions {
        observe: report.observe,
        events,
        layers: context.loaded.layers.clone(),
    };
    let program = command.first().cloned().unwrap_or_default();
    let command = CommandSpec {
        arguments: command,
        directory,
    };
    let (policy, notes) = (&context.loaded.policy, &context.loaded.notes);
    let mut announced = Vec::new();
    let mut unseen_limit = None;
    let mut unshown = None;
    let ended = Session::run_alone(policy, &context.state, options, &command, &mut |plan| {
        unseen_limit = uncounted_limit(plan);
        unshown = why_unshown(policy, plan, &program);
        let before = std::mem::replace(&mut announced, notes_before(notes, plan));
        // Another plan is tried where the first can't be carried out: what both say is said once.
        let news = announced.iter().filter(|note| !before.contains(note));
        announce(verb, &news.cloned().collect::<Vec<_>>(), plan, report);
    });
    let mut ended = match ended {
        Ok(ended) => ended,
        Err(error) => {
            if let Some(swept) = error.swept() {
                output::message(&render_swept(swept));
            }
            return Err(Failure::from(error));
        }
    };
    // What can't be swept is met again when the session looks.
    ended.notes.retain(|note| !said.notes.contains(note));
    if report.json {
        // Where the report is one object, nothing was said before it.
        ended.notes.splice(..0, announced);
    }
    conclude(
        Frame {
            verb,
            program: &program,
            unshown: unshown.as_deref(),
            unseen_limit,
            ..frame(report)
        },
        report,
        &ended,
        &context,
    )?;
    clear_old(&context.state);
    Ok(ended.exit_status())
}

/// Takes away what no session has used for long. The command's report is out, and its status stays its own.
#[cfg(target_os = "linux")]
fn clear_old(state: &StateDirectory) {
    if let Err(error) = ringfence::expire::expire(state, SystemTime::now()) {
        let cause = std::error::Error::source(&error)
            .map_or_else(String::new, |source| format!(": {source}"));
        output::message(&format!(
            "ringfence: WARNING: {error}{cause}\n  hint: {}\n",
            error.hint()
        ));
    }
}

/// Nothing is kept between sessions here.
#[cfg(not(target_os = "linux"))]
const fn clear_old(_state: &StateDirectory) {}

/// The command starts where the person stands, where that is in the workspace; else in the workspace.
fn start_directory(workspace: &AbsolutePath) -> Result<Option<AbsolutePath>, Failure> {
    let current = context::absolute(context::current_directory()?)?;
    Ok(current.starts_with(workspace).then_some(current))
}

/// What a person should know before anything runs.
fn notes_before(loaded: &[String], plan: &Plan) -> Vec<String> {
    let is_nested = std::env::var_os(SESSION_VARIABLE).is_some() && plan.level == Level::Partial;
    let nested = is_nested.then(|| {
        "nested: this runs inside another session of Ringfence; the outer boundary still holds"
            .to_owned()
    });
    loaded
        .iter()
        .chain(&plan.notes)
        .cloned()
        .chain(nested)
        .collect()
}

/// Says what the boundary will lack, before anything runs; in a report that is one object, that is in it.
fn announce(verb: &str, notes: &[String], plan: &Plan, report: &ReportOptions) {
    let confined = plan.level != Level::None;
    if report.json {
        return;
    }
    // Where there is no boundary, that is said once and loudly. A loss is said to everybody, what is only worth knowing
    // not to who wants quiet.
    let is_said = |note: &&String| {
        if confined {
            !report.quiet
        } else {
            !plan.notes.contains(note)
        }
    };
    let notes: Vec<_> = notes.iter().filter(is_said).cloned().collect();
    let audience = if stderr().is_terminal() && !report.quiet && verb != "shell" {
        Audience::Person
    } else {
        Audience::Program
    };
    output::message(&render_start(
        plan.level,
        &plan.missing,
        &notes,
        audience,
        Colour::of(&stderr()),
    ));
    if verb == "shell" && confined && !report.quiet {
        let workspace = escape_os(plan.workspace.as_path());
        output::message(&format!(
            "ringfence: a shell inside the {} boundary of {workspace}; `exit` leaves it\n",
            plan.level.word()
        ));
    }
}

fn frame(options: &ReportOptions) -> Frame<'static> {
    Frame {
        verb: "run",
        program: OsStr::new(""),
        unshown: None,
        observe: options.observe,
        verbosity: if options.quiet {
            Verbosity::Quiet
        } else {
            Verbosity::Normal
        },
        unseen_limit: None,
        colour: Colour::of(&stderr()),
    }
}

/// Why a program that was named by its path, and exists, is not in the session's view.
fn why_unshown(policy: &Policy, plan: &Plan, program: &OsStr) -> Option<String> {
    let path = Path::new(program);
    let is_named = path.components().count() > 1 || path.has_root();
    if plan.level == Level::None || !is_named || !path.exists() {
        return None;
    }
    let path = AbsolutePath::new(std::path::absolute(path).ok()?).ok()?;
    let explained = ringfence::explain(policy, plan, Operation::Read, path.as_path());
    match explained.decision {
        Decision::Allow {
            rule: RuleId::PrivateDirectory,
            origin,
        } => Some(format!(
            "the session has a place of its own there ({origin}); put it into the workspace"
        )),
        Decision::Allow { .. } => None,
        Decision::Deny { rule, grant, .. } => {
            let grant = grant.map_or_else(
                || "put it into the workspace".to_owned(),
                |grant| format!("to allow: {}", shell_words(&grant.arguments)),
            );
            Some(format!("it is hidden (rule {}); {grant}", rule.name()))
        }
    }
}

/// The plan's limit on processes, where the kernel refuses more of them and tells nobody.
fn uncounted_limit(plan: &Plan) -> Option<u32> {
    plan.steps.iter().find_map(|step| match step {
        Step::LimitProcesses {
            count,
            mechanism: LimitMechanism::ResourceLimit,
        } => Some(*count),
        _ => None,
    })
}

fn conclude(
    frame: Frame<'_>,
    options: &ReportOptions,
    report: &Report,
    context: &Context,
) -> Result<(), Failure> {
    let (state, workspace) = (&context.state, &context.loaded.policy.workspace);
    if options.json {
        let mut line =
            serde_json::to_string(&JsonReport::new(report)).map_err(Failure::internal)?;
        line.push('\n');
        output::message(&line);
    } else {
        output::message(&render_end(report, frame));
        hint(&render_hints(report, frame), state, workspace);
    }
    Ok(())
}

/// Says what may help after a failure, once a day for each workspace: it is the same after each `grep` that finds
/// nothing. The record and `--json` have it each time.
fn hint(text: &str, state: &StateDirectory, workspace: &AbsolutePath) {
    if text.is_empty() {
        return;
    }
    let key = format!("{}\n{text}", escape_os(workspace.as_path()));
    if told::is_news(state, &key, SystemTime::now()) {
        output::message(text);
    }
}

/// Opens the event file for appending, where no command can write it or choose where it lies; close-on-exec as all
/// files of std, so the command never inherits it.
fn open_events(path: &Path, policy: &Policy) -> Result<EventSink, Failure> {
    own_file::check(policy, OwnFile::Events, path)?;
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|source| {
            Failure::new(
                ExitCode::Usage,
                EventsError {
                    path: path.to_owned(),
                    source,
                },
            )
            .with_hint("name a file that you may write, outside the workspace")
        })?;
    Ok(EventSink::new(clock::new_session_id(), Box::new(file)))
}
