//! The session's commands: started, watched and ended. The runner has one; in same-user mode the harness itself does.
//!
//! Invariant: nothing is started before [`Engine::open`] has measured and accepted, and all jobs end with the engine.

use std::collections::HashMap;
use std::fmt;
use std::os::windows::io::OwnedHandle;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringfence_backend::CommandId;
use ringfence_backend::command::TerminalSize;
use ringfence_backend::windows::Tender;
use ringfence_backend::windows::runner::{
    Ended, Event, InterruptKey, Lacking, Member, NotStarted, Opening, Ready, Refusal, Start, Tended,
};
use ringfence_nt::WriteClass;
use ringfence_plan::windows::launch::{Identity, StandardHandle};

use super::command::Running;
use super::console::ConsoleHost;
use super::harden::{called, harden};
use super::keeper::{Collecting, Keeper};
use super::target::TargetToken;
use crate::sys::CallError;
use crate::sys::job::{self, Job, JobLimits};
use crate::sys::job_limits::{LimitPort, LimitReached};
use crate::sys::process::Child;
use crate::sys::profile::{self, Profile};
use crate::sys::running::Process;
use crate::sys::token::AccessToken;

/// How many objects that were tended at a command's end are named one by one.
const MOST_NAMED: u64 = 1000;

/// Where events go. Called from any thread.
pub type Sink = Arc<dyn Fn(Event) + Send + Sync>;

/// What a command's input and output are, held.
#[derive(Debug)]
pub enum OwnedStreams {
    /// Standard input, output and error.
    Direct([OwnedHandle; 3]),
    /// A terminal of its own.
    Terminal {
        /// What it reads.
        input: OwnedHandle,
        /// What it writes.
        output: OwnedHandle,
        /// Its first size.
        size: TerminalSize,
    },
}

/// What a launch must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Everything.
    Enforced,
    /// Nothing: for tests of the machinery, on a system that enforces nothing. Not in any program that is shipped.
    #[cfg(test)]
    Plumbing,
}

/// A session's commands; clones share them.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Shared>);

pub(super) struct Shared {
    pub(super) opening: Opening,
    pub(super) demand: Demand,
    pub(super) target: TargetToken,
    pub(super) limits: JobLimits,
    /// The job around all commands; none where each command's own has the limits on windows, which can't be nested.
    pub(super) session: Option<Job>,
    /// Where that job says that a limit was run into.
    limits_reached: Option<LimitPort>,
    pub(super) console_host: ConsoleHost,
    keeper: Keeper,
    state: Mutex<State>,
    /// Told when a command has ended.
    ended: Condvar,
    sink: Sink,
}

#[derive(Debug, Default)]
struct State {
    highest: u64,
    closing: bool,
    running: HashMap<CommandId, Arc<Running>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Engine {
    /// Protects this process where the launch says so, measures, and makes ready. Events go to `sink`.
    ///
    /// # Errors
    /// [`Refusal`]; nothing was started then.
    pub fn open(
        opening: Opening,
        console_host: ConsoleHost,
        sink: Sink,
    ) -> Result<(Self, Ready), Refusal> {
        Self::open_as(opening, console_host, sink, Demand::Enforced)
    }

    pub(super) fn open_as(
        opening: Opening,
        console_host: ConsoleHost,
        sink: Sink,
        demand: Demand,
    ) -> Result<(Self, Ready), Refusal> {
        let spec = &opening.launch;
        let own = AccessToken::for_launching().map_err(called)?;
        let mut proven = Vec::new();
        // First of all: until then every target of this account may open this process.
        match (&spec.runner, spec.identity) {
            (Some(hardening), Identity::Account(_)) if demand == Demand::Enforced => {
                harden(&own, hardening, opening.session)?;
                proven.push(
                    "runner: its process, threads and token are closed to targets".to_owned(),
                );
                proven.push("runner: loads libraries of the system alone, read back".to_owned());
                if profile::of_this_process().map_err(called)? == Profile::Temporary {
                    return Err(Refusal::TemporaryProfile);
                }
            }
            (Some(_), Identity::Account(_)) | (None, Identity::Person) => {}
            (None, Identity::Account(_)) | (Some(_), Identity::Person) => {
                let what = "a runner's protection for another identity than it runs as";
                return Err(Refusal::Unknown(what.to_owned()));
            }
        }
        let standard = [
            StandardHandle::Input,
            StandardHandle::Output,
            StandardHandle::Error,
        ];
        if spec.handles != standard {
            return Err(Refusal::Unknown("other handles".to_owned()));
        }
        let tender = Tender {
            person: opening.person,
            owner: own.user().map_err(called)?,
        };
        let collecting = match spec.identity {
            Identity::Account(_) => Collecting::Yes,
            Identity::Person => Collecting::No,
        };
        let target = TargetToken::new(own, spec, opening.session)?;
        let write_class = prove(&target, spec.write_class, demand, &mut proven)?;
        let (limits, session, mut lacking) = jobs(&opening, demand)?;
        match spec.identity {
            Identity::Account(_) => {}
            Identity::Person => lacking.extend([Lacking::NetworkBoundary, Lacking::Secrets]),
        }
        proven.push("job: killed on close, no breakaway".to_owned());
        let keeper = Keeper::new(tender, (&opening.roots, &opening.stay), collecting);
        let limits_reached = session.as_ref().map(LimitPort::of).transpose();
        let shared = Shared {
            limits_reached: limits_reached.map_err(called)?,
            opening,
            demand,
            target,
            limits,
            session,
            console_host,
            keeper,
            state: Mutex::default(),
            ended: Condvar::new(),
            sink,
        };
        if shared.keeper.is_blind() {
            lacking.push(Lacking::Watch);
        }
        let ready = Ready {
            write_class,
            lacking,
            proven,
        };
        Ok((Self(Arc::new(shared)), ready))
    }

    /// Starts a command; [`Event::Started`] or [`Event::NotStarted`] follows, and after the former [`Event::Ended`].
    ///
    /// The command gets copies of the streams; the caller lets go of its own for the other ends to see the end.
    pub fn start(&self, start: &Start, streams: &OwnedStreams) {
        let command = start.command;
        if let Err(why) = self.try_start(start, streams) {
            (self.0.sink)(Event::NotStarted { command, why });
        }
    }

    fn try_start(&self, start: &Start, streams: &OwnedStreams) -> Result<(), NotStarted> {
        let shared = &self.0;
        let id = start.command;
        {
            let mut state = shared.state();
            if state.closing || id.0 <= state.highest {
                return Err(NotStarted::Malformed(format!("its number is {}", id.0)));
            }
            state.highest = id.0;
        }
        let time_limit = start.time_limit.map(Duration::from_millis);
        let (child, running) = shared.create(start, streams)?;
        let running = Arc::new(running);
        let mut state = shared.state();
        if state.closing {
            running.kill();
            return Err(NotStarted::Malformed("the session ends".to_owned()));
        }
        state.running.insert(id, Arc::clone(&running));
        drop(state);
        (shared.sink)(Event::Started {
            command: id,
            process: child.id(),
        });
        if child.resume().is_err() {
            running.kill();
        }
        let shared = Arc::clone(shared);
        std::thread::spawn(move || shared.see_off(&running, &child, time_limit));
        Ok(())
    }

    /// A command's terminal has another size.
    pub fn resize(&self, command: CommandId, size: TerminalSize) {
        if let Some(running) = self.0.running(command) {
            running.resize(size);
        }
    }

    /// Has `key` typed on a command's console. A command that can't be told so is ended: a person wants it to stop.
    pub fn interrupt(&self, command: CommandId, key: InterruptKey) {
        let Some(running) = self.0.running(command) else {
            return;
        };
        if running.interrupt_on_terminal(key, &self.0.console_host) {
            return;
        }
        match self.0.start_typist(&running, key) {
            Ok(typist) => {
                std::thread::spawn(move || {
                    if !matches!(typist.wait(None), Ok(Some(0))) {
                        running.kill();
                    }
                });
            }
            Err(_) => running.kill(),
        }
    }

    /// Ends a command with all it has started.
    pub fn kill(&self, command: CommandId) {
        if let Some(running) = self.0.running(command) {
            running.kill();
        }
    }

    /// Whose `process` is: exactly one command's, or nobody's.
    #[must_use]
    pub fn whose(&self, process: u32) -> Option<Member> {
        // Held open for the length of the question: the number can't become another's meanwhile.
        let process = Process::open(process).ok()?;
        let running: Vec<_> = self.0.state().running.values().cloned().collect();
        let mut members = running.iter().filter_map(|one| one.member(&process));
        match (members.next(), members.next()) {
            (Some(member), None) => Some(member),
            (Some(_) | None, Some(_) | None) => None,
        }
    }

    /// Ends every command and waits until all have ended.
    pub fn close(&self) {
        let mut state = self.0.state();
        state.closing = true;
        for running in state.running.values() {
            running.kill();
        }
        while !state.running.is_empty() {
            let waited = self.0.ended.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self, command: CommandId) -> Option<Arc<Running>> {
        self.state().running.get(&command).cloned()
    }

    /// How a command ended, a failure after a limit told from others. Several that run at once share their limits, and
    /// the first of them to fail is told so.
    fn by_a_limit(&self, how: Ended) -> Ended {
        let reached = self.limits_reached.as_ref().and_then(LimitPort::take);
        match (how, reached) {
            (Ended::Exited(1..), Some(LimitReached::Memory)) => Ended::MemoryLimit,
            (Ended::Exited(1..), Some(LimitReached::Processes)) => Ended::ProcessLimit,
            (_, Some(_) | None) => how,
        }
    }

    /// Waits for a command's end and reports it.
    fn see_off(&self, running: &Running, child: &Child, time_limit: Option<Duration>) {
        let end = running.wait(child, time_limit);
        let command = running.id;
        let mut count: u64 = 0;
        let tell = |path, what| {
            (self.sink)(Event::Tended {
                command,
                path,
                what,
            });
        };
        self.keeper.tend(&mut |path, what| {
            count += 1;
            if count <= MOST_NAMED {
                tell(path, what);
            }
        });
        if let Some(more @ 1..) = count.checked_sub(MOST_NAMED) {
            tell(String::new(), Tended::More(more));
        }
        (self.sink)(Event::Ended {
            command,
            how: self.by_a_limit(end.how),
            cpu_microseconds: end.cpu_microseconds,
        });
        self.state().running.remove(&running.id);
        self.ended.notify_all();
    }
}

/// Makes a token as a proof, and measures it.
fn prove(
    target: &TargetToken,
    rule: ringfence_plan::windows::launch::WriteClassRule,
    demand: Demand,
    proven: &mut Vec<String>,
) -> Result<WriteClass, Refusal> {
    match demand {
        Demand::Enforced => {
            let token = target.make()?;
            let class = target.measure(&token, rule)?;
            proven.push("token: write-restricted, read back".to_owned());
            proven.push(format!(
                "write class: {class:?}, measured by an access check"
            ));
            Ok(class)
        }
        #[cfg(test)]
        Demand::Plumbing => {
            proven.push(super::tests::PLUMBING.to_owned());
            Ok(WriteClass::H2)
        }
    }
}

/// The limits of each command's job, the job around them, and what can't be had.
///
/// Jobs nest only where none has limits on windows (learn.microsoft.com "Nested Jobs").
fn jobs(
    opening: &Opening,
    demand: Demand,
) -> Result<(JobLimits, Option<Job>, Vec<Lacking>), Refusal> {
    let spec = &opening.launch.job;
    let mut desktop = 0;
    for name in &spec.ui_limits {
        let bit = JobLimits::desktop_limit(name);
        desktop |= bit.ok_or_else(|| Refusal::Unknown(format!("the desktop limit {name}")))?;
    }
    let session = JobLimits {
        memory: spec.memory_bytes,
        processes: spec.processes,
        desktop: 0,
    };
    let nested = spec.memory_bytes.is_some() || spec.processes.is_some();
    if nested || job::is_this_process_in_one().map_err(called)? {
        let lacking = if desktop == 0 {
            Vec::new()
        } else {
            vec![Lacking::DesktopLimits]
        };
        let around = make_job(session, demand).map_err(job_failed)?;
        return Ok((JobLimits::default(), Some(around), lacking));
    }
    let each = JobLimits {
        desktop,
        ..JobLimits::default()
    };
    // Now, and not at the first command, it is seen whether such a job can be made.
    drop(make_job(each, demand).map_err(job_failed)?);
    Ok((each, None, Vec::new()))
}

pub(super) fn make_job(limits: JobLimits, demand: Demand) -> Result<Job, CallError> {
    match demand {
        Demand::Enforced => Job::new(limits),
        #[cfg(test)]
        Demand::Plumbing => Job::unread(limits),
    }
}

/// Limits that are not there when they are read back are no failure of a call.
fn job_failed(error: CallError) -> Refusal {
    if error.error == job::NOT_KEPT {
        return Refusal::NotEnforced("the job's limits are not what was set".to_owned());
    }
    called(error).into()
}
