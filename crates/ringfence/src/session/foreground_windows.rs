//! One command in the foreground on Windows: its streams relayed where they are a console's, its end awaited.
//!
//! A sandboxed command has a desktop and a console of its own, so a console of ours is no handle that it can use: what
//! is a console here is a pseudo console or a pipe there. Invariant: the person's console is as before when it returns.

use std::fs::File;
use std::io::{self, IsTerminal, PipeReader, PipeWriter, Read, Write};
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use ringfence_audit::event::Event as AuditEvent;
use ringfence_audit::redact_arguments;
use ringfence_backend::wire::Event;
use ringfence_backend::{Afterwards, CommandId, CommandRequest, Outcome, Stream};
use ringfence_plan::plan::Level;
use ringfence_policy::ExitCode;
use ringfence_policy::escape::escape_os;
use ringfence_windows::sys::terminal::RawConsole;

use super::console::PersonsConsole;
use super::decided::Heard;
use super::opening::{OpenError, Opening};
use super::report::{LOST, ending_name, exit_status, hidden_secrets};
use super::{BreakError, CommandSpec, Report, RunError, Seen, Session, Sweep, tended};

/// Opens a session and runs `command` in it to its end.
pub(super) fn run_alone(opening: Opening<'_>, command: &CommandSpec) -> Result<Report, RunError> {
    if command.arguments.is_empty() {
        return Err(RunError::NoCommand);
    }
    match opening.open(|_| Ok::<_, RunError>(())) {
        Ok((mut session, ())) => run(&mut session, command, Afterwards::End),
        Err(OpenError::Start(error)) => Err(RunError::Start(error)),
        Err(OpenError::Before(error)) => Err(error),
    }
}

/// Runs `command` to its end in a session that stands.
pub(super) fn run(
    session: &mut Session,
    command: &CommandSpec,
    afterwards: Afterwards,
) -> Result<Report, RunError> {
    if command.arguments.is_empty() {
        return Err(RunError::NoCommand);
    }
    let mut own = session.plan.environment.clone();
    own.extend(session.network.variables());
    let variables = session.composed.compose(&session.variables, own);
    session.commands += 1;
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    let is_console = match session.plan.level {
        Level::Full | Level::Partial => [
            input.is_terminal(),
            output.is_terminal(),
            error.is_terminal(),
        ],
        // On our own console: what we have is what it gets.
        Level::None => [false; 3],
    };
    let mut console = PersonsConsole::take_over()?;
    let terminal = match is_console {
        // Both: the command gets a terminal; standard error goes there too, as in any terminal.
        [true, true, _] => console.give_terminal(),
        _ => None,
    };
    let directory = command.directory.as_ref();
    let request = CommandRequest {
        id: CommandId(session.commands),
        arguments: command.arguments.clone(),
        environment: variables.kept,
        directory: directory.unwrap_or(&session.plan.workspace).clone(),
        streams: [if terminal.is_some() {
            Stream::Terminal
        } else {
            Stream::Descriptor
        }; 3],
        terminal,
        umask: 0,
        ignored_signals: Vec::new(),
        time_limit: session.time_limit,
        afterwards,
    };
    let begun = Instant::now();
    session.journal.write(|| AuditEvent::ExecStart {
        command: request.id.0,
        argv: redact_arguments(&request.arguments.iter().map(escape_os).collect::<Vec<_>>()),
        directory: escape_os(request.directory.as_path()),
        withheld: variables
            .withheld
            .iter()
            .map(|(name, _)| escape_os(name))
            .collect(),
    });
    session.sweep = Sweep::Due;
    let result = match terminal {
        Some(_) => in_terminal(session, &request, &mut console),
        None => with_streams(session, &request, is_console, &mut console),
    };
    // Held until then: the sweep is not interrupted.
    let report = conclude(session, &request, result, begun, variables.withheld);
    drop(console);
    report
}

fn in_terminal(
    session: &mut Session,
    request: &CommandRequest,
    console: &mut PersonsConsole,
) -> Result<Outcome, BreakError> {
    let (typed, keys) = io::pipe().map_err(BreakError::Terminal)?;
    let (screen, shown) = io::pipe().map_err(BreakError::Terminal)?;
    let (input, output) = (io::stdin(), io::stdout());
    let raw = RawConsole::enter(input.as_handle(), output.as_handle())
        .map_err(|error| BreakError::Terminal(io::Error::other(error)))?;
    session
        .running
        .spawn(request, &[typed.as_handle(), shown.as_handle()])
        .map_err(BreakError::Lost)?;
    drop((typed, shown));
    relay_input(keys);
    let relay = relay_output(screen, io::stdout());
    let outcome = wait(session, request, console);
    // The terminal is closed with the command: what it showed last comes before the end of the relay.
    let _ = relay.join();
    drop(raw);
    outcome
}

/// What the command gets for one of our streams.
enum Given {
    Own(File),
    Input(PipeReader),
    Output(PipeWriter),
}

impl AsHandle for Given {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        match self {
            Self::Own(file) => file.as_handle(),
            Self::Input(pipe) => pipe.as_handle(),
            Self::Output(pipe) => pipe.as_handle(),
        }
    }
}

fn with_streams(
    session: &mut Session,
    request: &CommandRequest,
    is_console: [bool; 3],
    console: &mut PersonsConsole,
) -> Result<Outcome, BreakError> {
    let [input, output, error] = is_console;
    let mut relays = Vec::new();
    let given = [
        if input {
            let (typed, keys) = io::pipe().map_err(BreakError::Terminal)?;
            relay_input(keys);
            Given::Input(typed)
        } else {
            own(&io::stdin())?
        },
        if output {
            relayed(io::stdout(), &mut relays)?
        } else {
            own(&io::stdout())?
        },
        if error {
            relayed(io::stderr(), &mut relays)?
        } else {
            own(&io::stderr())?
        },
    ];
    let [first, second, third] = &given;
    let handles = [first.as_handle(), second.as_handle(), third.as_handle()];
    session
        .running
        .spawn(request, &handles)
        .map_err(BreakError::Lost)?;
    drop(given);
    let outcome = wait(session, request, console);
    for relay in relays {
        let _ = relay.join();
    }
    outcome
}

/// A stream of ours as it is; the null device where there is none.
fn own(stream: &(impl AsHandle + AsRawHandle)) -> Result<Given, BreakError> {
    let copied = if stream.as_raw_handle().is_null() {
        File::options().read(true).write(true).open("NUL")
    } else {
        stream.as_handle().try_clone_to_owned().map(File::from)
    };
    copied.map(Given::Own).map_err(BreakError::Terminal)
}

fn relayed(
    to: impl Write + Send + 'static,
    relays: &mut Vec<JoinHandle<()>>,
) -> Result<Given, BreakError> {
    let (from, given) = io::pipe().map_err(BreakError::Terminal)?;
    relays.push(relay_output(from, to));
    Ok(Given::Output(given))
}

/// Passes on what is typed; ends with this process, or when nobody reads any more.
fn relay_input(mut to: PipeWriter) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut input = io::stdin().lock();
        while let Ok(length @ 1..) = input.read(&mut buffer) {
            let part = buffer.get(..length).unwrap_or_default();
            if to.write_all(part).is_err() {
                return;
            }
        }
    });
}

fn relay_output(mut from: PipeReader, mut to: impl Write + Send + 'static) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let part = buffer.get(..length).unwrap_or_default();
            if to.write_all(part).and_then(|()| to.flush()).is_err() {
                return;
            }
        }
    })
}

/// Hears the runner until the command has ended, and the session where it ends with it.
fn wait(
    session: &mut Session,
    request: &CommandRequest,
    console: &mut PersonsConsole,
) -> Result<Outcome, BreakError> {
    let mut outcome = None;
    loop {
        let received = session.next_word(request.id, console)?;
        session.record_quarantined();
        match received.event {
            Event::Exited {
                command,
                outcome: how,
            } if command == request.id => {
                outcome = Some(how);
                if request.afterwards == Afterwards::Stay {
                    break;
                }
            }
            Event::Ended => break,
            Event::Touched { path } => session.guardian.touched(&path),
            Event::Tended(tending) => session.heard.notes.extend(tended::notes(&tending)),
            Event::Ready(_)
            | Event::LaunchFailed { .. }
            | Event::Serving { .. }
            | Event::Naming
            | Event::Unwatched { .. }
            | Event::Dialling
            | Event::Reaching
            | Event::Started { .. }
            | Event::Denied { .. }
            | Event::Remounted { .. }
            | Event::Exited { .. } => {}
        }
    }
    outcome.ok_or(BreakError::NoOutcome)
}

fn conclude(
    session: &mut Session,
    request: &CommandRequest,
    result: Result<Outcome, BreakError>,
    begun: Instant,
    withheld: Vec<(
        std::ffi::OsString,
        ringfence_policy::environment::WithheldReason,
    )>,
) -> Result<Report, RunError> {
    let Heard { denials, mut notes } = session.take_heard(request.id.0);
    let (ending, status) = match &result {
        Ok(outcome) => (ending_name(outcome.ending), exit_status(outcome.ending)),
        Err(_) => (LOST, ExitCode::Internal.code()),
    };
    let ended = AuditEvent::ExecEnd {
        command: request.id.0,
        ending: ending.to_owned(),
        status,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        denials: denials.total(),
    };
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(cause) => {
            session.journal.write(|| ended);
            let mut swept = session.break_off();
            notes.append(&mut swept.notes);
            swept.notes = notes;
            return Err(RunError::Broken { cause, swept });
        }
    };
    session.sweep_up(Seen::All);
    session.journal.write(|| ended);
    match request.afterwards {
        Afterwards::End => session.record_end(),
        // What it has left running may make more.
        Afterwards::Stay => session.sweep = Sweep::Due,
    }
    let swept = session.guardian.take_swept();
    notes.extend(swept.notes);
    let (denials, more) = denials.finish();
    notes.extend(more);
    notes.extend(session.journal.take_fault());
    Ok(Report {
        enforcement: session.enforcement.clone(),
        outcome,
        denials,
        hidden: if status == 0 {
            Vec::new()
        } else {
            hidden_secrets(&session.plan, request.afterwards)
        },
        quarantined: swept.quarantined,
        withheld,
        notes,
        lost_output: None,
    })
}
