//! One command in the foreground: messages, signals, relayed streams, in one loop on one thread.
//!
//! Invariant: the terminal's modes and our caller's signals are as before when it returns, and every message that
//! the runner sent before the end was heard.

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use ringfence_audit::event::Event as AuditEvent;
use ringfence_audit::redact_arguments;
use ringfence_backend::session::SessionFault;
use ringfence_backend::wire::Event;
use ringfence_backend::{Afterwards, CommandId, CommandRequest, Outcome};
use ringfence_policy::AbsolutePath;
use ringfence_policy::ExitCode;
use ringfence_policy::decision::{Denial, Evidence, OwnPermissions};
use ringfence_policy::environment::WithheldReason;
use ringfence_policy::escape::escape_os;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Signal;
use signal_hook::consts::{SIGCONT, SIGSTOP, SIGTSTP, SIGWINCH};

use super::caller::Caller;
use super::decided::{Heard, proxy_ended};
use super::opening::{OpenError, Opening};
use super::report::{LOST, denial_event, ending_name, exit_status, hidden_secrets, may_read};
use super::signals::Signals;
use super::{BreakError, CommandSpec, Report, RunError, Seen, Session, Sweep};
use crate::stdio::Streams;
use crate::stdio::relay::Relay;
use crate::stdio::terminal::{Terminal, Typed};

/// How often a name is looked for that was touched and is not there yet.
const RETRY: Duration = Duration::from_millis(5);
/// How often it is looked whether a terminal that somebody else uses is free again.
const LENT: Duration = Duration::from_millis(200);

/// A command that is ready to be asked for.
struct Prepared {
    request: CommandRequest,
    streams: Streams,
    signals: Signals,
    withheld: Vec<(OsString, WithheldReason)>,
    begun: Instant,
    sending: Sending,
}

/// Whether the runner was asked for a command.
enum Sending {
    /// Not yet.
    Due,
    /// With this result.
    Done(Result<(), SessionFault>),
}

/// Opens a session and runs `command` in it to its end, with the streams `own`.
///
/// The request follows the launch at once, but where events are recorded (the boundary's record comes before the
/// command's, and the command's before the command) and where a proxy serves the session: it may still fail to start.
pub(super) fn run_alone(
    opening: Opening<'_>,
    command: &CommandSpec,
    own: [BorrowedFd<'_>; 3],
) -> Result<Report, RunError> {
    if command.arguments.is_empty() {
        return Err(RunError::NoCommand);
    }
    let opened = opening.open(|session| {
        let mut prepared = prepare(session, command, Afterwards::End, own)?;
        if !session.journal.is_kept() && !session.network.is_served() {
            send(session, &mut prepared, own);
        }
        Ok(prepared)
    });
    match opened {
        Ok((mut session, prepared)) => conduct(&mut session, prepared, own),
        Err(OpenError::Start(error)) => Err(RunError::Start(error)),
        Err(OpenError::Before(error)) => Err(error),
    }
}

/// Runs `command` to its end in a session that stands, with the streams `own`.
pub(super) fn run(
    session: &mut Session,
    command: &CommandSpec,
    afterwards: Afterwards,
    own: [BorrowedFd<'_>; 3],
) -> Result<Report, RunError> {
    if command.arguments.is_empty() {
        return Err(RunError::NoCommand);
    }
    let prepared = prepare(session, command, afterwards, own)?;
    conduct(session, prepared, own)
}

fn prepare(
    session: &mut Session,
    command: &CommandSpec,
    afterwards: Afterwards,
    own: [BorrowedFd<'_>; 3],
) -> Result<Prepared, RunError> {
    let caller = Caller::observe();
    let streams = Streams::prepare(own, &session.plan.rules).map_err(RunError::Streams)?;
    let mut own_variables = session.plan.environment.clone();
    own_variables.extend(session.network.variables());
    let variables = session.composed.compose(&session.variables, own_variables);
    let signals = Signals::take_over(session.signals.take(), &caller).map_err(RunError::Signals)?;
    session.commands += 1;
    let directory = command.directory.as_ref();
    let request = CommandRequest {
        id: CommandId(session.commands),
        arguments: command.arguments.clone(),
        environment: variables.kept,
        directory: directory.unwrap_or(&session.plan.workspace).clone(),
        streams: streams.kinds,
        terminal: streams.terminal.as_ref().and_then(Terminal::size),
        umask: caller.umask,
        ignored_signals: caller.ignored_signals(),
        time_limit: session.time_limit,
        afterwards,
    };
    Ok(Prepared {
        request,
        streams,
        signals,
        withheld: variables.withheld,
        begun: Instant::now(),
        sending: Sending::Due,
    })
}

/// Records the command and asks for it.
fn send(session: &mut Session, prepared: &mut Prepared, own: [BorrowedFd<'_>; 3]) {
    let (request, withheld) = (&prepared.request, &prepared.withheld);
    session.journal.write(|| AuditEvent::ExecStart {
        command: request.id.0,
        argv: escaped_arguments(request),
        directory: escape_os(request.directory.as_path()),
        withheld: withheld.iter().map(|(name, _)| escape_os(name)).collect(),
    });
    prepared.begun = Instant::now();
    session.sweep = Sweep::Due;
    let descriptors = prepared.streams.descriptors(own);
    prepared.sending = Sending::Done(session.running.spawn(request, &descriptors));
    prepared.streams.close_given();
}

/// Hears and relays until the command has ended, and sweeps.
fn conduct(
    session: &mut Session,
    mut prepared: Prepared,
    own: [BorrowedFd<'_>; 3],
) -> Result<Report, RunError> {
    if matches!(prepared.sending, Sending::Due) {
        send(session, &mut prepared, own);
    }
    let Prepared {
        request: CommandRequest { id, afterwards, .. },
        streams,
        signals,
        withheld,
        begun,
        sending,
    } = prepared;
    let ended_before = session.network.egress().and_then(|egress| egress.ending());
    let notes = ended_before.map(proxy_ended).into_iter().collect();
    let mut foreground = Foreground {
        session,
        id,
        afterwards,
        streams,
        signals,
        heard: Heard {
            notes,
            ..Heard::default()
        },
        outcome: None,
        phase: Phase::Running,
    };
    let result = match sending {
        Sending::Done(Err(fault)) => Err(BreakError::Lost(fault)),
        Sending::Due | Sending::Done(Ok(())) => foreground.run(),
    };
    foreground.hear_egress();
    let Foreground {
        session,
        mut streams,
        // Until the sweep is done: a signal that ended this process before would leave what was planted.
        signals,
        heard,
        outcome,
        ..
    } = foreground;
    let Heard { denials, mut notes } = heard;
    if let Some(terminal) = &mut streams.terminal {
        terminal.give_back();
    }
    let result = result.and(outcome.ok_or(BreakError::NoOutcome));
    let (ending, status) = match &result {
        Ok(outcome) => (ending_name(outcome.ending), exit_status(outcome.ending)),
        Err(_) => (LOST, ExitCode::Internal.code()),
    };
    let ended = AuditEvent::ExecEnd {
        command: id.0,
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
    let lost_output = streams.lost_output();
    session.sweep_up(match afterwards {
        Afterwards::End => Seen::All,
        Afterwards::Stay => Seen::SoFar,
    });
    session.journal.write(|| ended);
    match afterwards {
        Afterwards::End => session.record_end(),
        Afterwards::Stay => {
            // What it has left running may make more.
            session.sweep = Sweep::Due;
            signals.release();
            session.signals = Some(signals);
        }
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
        hidden: if exit_status(outcome.ending) == 0 {
            Vec::new()
        } else {
            hidden_secrets(&session.plan, afterwards)
        },
        quarantined: swept.quarantined,
        withheld,
        notes,
        lost_output,
    })
}

fn escaped_arguments(request: &CommandRequest) -> Vec<String> {
    let arguments: Vec<_> = request.arguments.iter().map(escape_os).collect();
    redact_arguments(&arguments)
}

/// How far the command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It runs.
    Running,
    /// It has ended, and the session is ending.
    Ending,
    /// Nothing can write to our relays any more, or nobody waits for what could.
    Draining,
}

struct Foreground<'a> {
    session: &'a mut Session,
    id: CommandId,
    afterwards: Afterwards,
    streams: Streams,
    signals: Signals,
    heard: Heard,
    outcome: Option<Outcome>,
    phase: Phase,
}

/// Whom a ready descriptor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Session,
    Signals,
    Input,
    Output(usize),
    Keys,
    Screen,
    Egress,
}

impl Foreground<'_> {
    fn run(&mut self) -> Result<(), BreakError> {
        loop {
            self.hear()?;
            self.forward_signals()?;
            self.session.guardian.retry();
            self.session.record_quarantined();
            self.hear_egress();
            let ready = self.wait()?;
            for part in &ready {
                self.step(*part)?;
            }
            let moved = ready
                .iter()
                .any(|part| matches!(part, Part::Screen | Part::Output(_)));
            if self.phase == Phase::Draining && !moved {
                return Ok(());
            }
        }
    }

    /// Takes every message that is there.
    fn hear(&mut self) -> Result<(), BreakError> {
        while self.phase != Phase::Draining {
            let received = self.session.running.receive(Some(Duration::ZERO));
            let Some(received) = received.map_err(BreakError::Lost)? else {
                return Ok(());
            };
            self.take(received.event, received.descriptor)?;
        }
        Ok(())
    }

    /// Takes what the proxy has decided.
    fn hear_egress(&mut self) {
        let Some(egress) = self.session.network.egress() else {
            return;
        };
        self.heard
            .hear(egress, &mut self.session.journal, self.id.0);
    }

    fn take(&mut self, event: Event, descriptor: Option<OwnedFd>) -> Result<(), BreakError> {
        match event {
            Event::Started { command } if command == self.id => self.attach(descriptor)?,
            Event::Denied { denial, count } => self.deny(*denial, count),
            Event::Touched { path } => {
                self.session.guardian.touched(&path);
                self.session.guardian.retry();
                self.session.record_quarantined();
            }
            Event::Remounted { path, restored } => {
                self.session.guardian.appeared(&path);
                let path = escape_os(path.as_path());
                let note = if restored {
                    format!("{path} was replaced from outside; its protection was set again")
                } else {
                    format!(
                        "{path} was replaced from outside and could not be protected again: the session was ended"
                    )
                };
                if !self.heard.notes.contains(&note) {
                    self.heard.notes.push(note);
                }
            }
            Event::Exited { command, outcome } if command == self.id => {
                self.outcome = Some(outcome);
                self.phase = match self.afterwards {
                    Afterwards::End => Phase::Ending,
                    Afterwards::Stay => Phase::Draining,
                };
            }
            Event::Ended => self.phase = Phase::Draining,
            // Of a command before this one; a runner that speaks out of turn changes nothing here.
            Event::Started { .. }
            | Event::Exited { .. }
            | Event::Ready(_)
            | Event::Serving { .. }
            | Event::Naming
            | Event::Unwatched { .. }
            | Event::Dialling
            | Event::Reaching
            | Event::Tended(_)
            | Event::LaunchFailed { .. } => {}
        }
        Ok(())
    }

    fn attach(&mut self, descriptor: Option<OwnedFd>) -> Result<(), BreakError> {
        match (&mut self.streams.terminal, descriptor) {
            (Some(terminal), Some(controller)) => terminal
                .attach(controller)
                .map_err(|errno| BreakError::Terminal(errno.into())),
            (Some(_), None) => Err(BreakError::Terminal(Errno::NOTTY.into())),
            (None, _) => Ok(()),
        }
    }

    /// The runner's words are read as hostile: escaped again before they go anywhere.
    fn deny(&mut self, mut denial: Denial, count: u32) {
        denial.object = printable(&denial.object);
        denial.syscall = printable(&denial.syscall);
        if let Some(process) = &mut denial.process {
            process.program = printable(&process.program);
        }
        self.session.network.explain(&mut denial);
        if denial.evidence == Evidence::Reached
            && AbsolutePath::new(&denial.object).is_ok_and(|path| !may_read(&path))
        {
            denial.own_permissions = OwnPermissions::Refuse;
        }
        self.session.roots.settle(&mut denial);
        let id = self.id.0;
        self.session
            .journal
            .write(|| denial_event(id, &denial, count));
        self.heard.denials.add(denial, count);
    }

    fn forward_signals(&mut self) -> Result<(), BreakError> {
        for signal in self.signals.pending() {
            match signal {
                SIGWINCH => {
                    if let Some(terminal) = &self.streams.terminal {
                        terminal.resize();
                    }
                }
                SIGTSTP => self.stop()?,
                SIGCONT => self.resume(),
                signal => self
                    .session
                    .running
                    .signal(self.id, signal)
                    .map_err(BreakError::Lost)?,
            }
        }
        Ok(())
    }

    /// Stops the command and then ourselves: a process group of its own in its own namespace heeds no SIGTSTP.
    fn stop(&mut self) -> Result<(), BreakError> {
        self.session
            .running
            .signal(self.id, SIGSTOP)
            .map_err(BreakError::Lost)?;
        if let Some(terminal) = &mut self.streams.terminal {
            terminal.give_back();
        }
        let stopped = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
        stopped.map_err(|errno| BreakError::Wait(errno.into()))?;
        self.session
            .running
            .signal(self.id, SIGCONT)
            .map_err(BreakError::Lost)
    }

    fn resume(&mut self) {
        if let Some(terminal) = &mut self.streams.terminal {
            terminal.take_over();
            terminal.resize();
        }
    }

    /// Waits until something is ready. While draining it waits only for who reads slowly.
    fn wait(&self) -> Result<Vec<Part>, BreakError> {
        let waits = self.interests();
        let mut fds: Vec<_> = waits
            .iter()
            .map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        let timeout = self.timeout(&waits).map(|timeout| Timespec {
            tv_sec: 0,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(BreakError::Wait(errno.into())),
        }
        let ready = fds
            .iter()
            .zip(&waits)
            .filter(|(fd, _)| !fd.revents().is_empty());
        Ok(ready.map(|(_, (part, _, _))| *part).collect())
    }

    fn interests(&self) -> Vec<(Part, BorrowedFd<'_>, PollFlags)> {
        let mut waits = vec![(Part::Signals, self.signals.readiness(), PollFlags::IN)];
        let [keys, screen] = match &self.streams.terminal {
            Some(terminal) => terminal.interests(),
            None => [None, None],
        };
        let mut add = |part, interest: Option<(_, _)>| {
            waits.extend(interest.map(|(fd, flags)| (part, fd, flags)));
        };
        if self.phase != Phase::Draining {
            let news = self.session.network.readiness();
            add(Part::Egress, news.map(|fd| (fd, PollFlags::IN)));
            add(
                Part::Session,
                Some((self.session.running.readiness(), PollFlags::IN)),
            );
            add(
                Part::Input,
                self.streams.input.as_ref().and_then(Relay::interest),
            );
            add(Part::Keys, keys);
        }
        add(Part::Screen, screen);
        for (index, relay) in self.streams.outputs.iter().enumerate() {
            add(Part::Output(index), relay.interest());
        }
        waits
    }

    fn timeout(&self, waits: &[(Part, BorrowedFd<'_>, PollFlags)]) -> Option<Duration> {
        if self.phase == Phase::Draining {
            let slow_reader = waits.iter().any(|(_, _, flags)| *flags == PollFlags::OUT);
            return if slow_reader {
                None
            } else {
                Some(Duration::ZERO)
            };
        }
        if self.session.guardian.is_waiting() {
            return Some(RETRY);
        }
        let lent =
            self.streams.terminal.is_some() && !waits.iter().any(|(part, ..)| *part == Part::Keys);
        lent.then_some(LENT)
    }

    fn step(&mut self, part: Part) -> Result<(), BreakError> {
        match part {
            // Looked at in every round.
            Part::Session | Part::Signals | Part::Egress => {}
            Part::Input => {
                if let Some(relay) = &mut self.streams.input {
                    relay.step();
                }
            }
            Part::Output(index) => {
                if let Some(relay) = self.streams.outputs.get_mut(index) {
                    relay.step();
                }
            }
            Part::Keys => {
                let typed = self.streams.terminal.as_mut().map(Terminal::step_keys);
                if typed == Some(Typed::Suspend) && self.outcome.is_none() {
                    self.stop()?;
                }
            }
            Part::Screen => {
                if let Some(terminal) = &mut self.streams.terminal {
                    terminal.step_screen();
                }
            }
        }
        Ok(())
    }
}

/// Characters that could do something to a terminal are replaced; letters of every script stay.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                character
            }
        })
        .collect()
}
