//! The session's commands: started, watched and ended. The runner has one; in same-user mode the harness itself does.
//!
//! Invariant: nothing is started before [`Engine::open`] has measured and accepted, and all jobs end with the engine.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::windows::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::windows::io::{AsHandle as _, OwnedHandle};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringfence_backend::CommandId;
use ringfence_backend::command::TerminalSize;
use ringfence_backend::windows::runner::{
    Called, Event, Lacking, Member, NotStarted, Opening, Ready, Refusal, Start,
};
use ringfence_nt::WriteClass;
use ringfence_plan::windows::launch::{Identity, StandardHandle};

use super::command::Running;
use super::console::{CONSOLE_ROLE, ConsoleLine, Line};
use super::harden::{called, harden};
use super::program::{self, Places, Program, SearchError};
use super::target::TargetToken;
use crate::environment_block::{self, Variable};
use crate::sys::job::{self, Job, JobLimits};
use crate::sys::process::{Arguments, Child, Command, Standard, StartError, start_suspended};
use crate::sys::profile::{self, Profile};
use crate::sys::running::Process;
use crate::sys::token::AccessToken;

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

/// A session's commands.
#[derive(Debug)]
pub struct Engine(Arc<Shared>);

struct Shared {
    opening: Opening,
    demand: Demand,
    target: TargetToken,
    limits: JobLimits,
    /// The job around all commands; none where each command's own has the limits on windows, which can't be nested.
    session: Option<Job>,
    /// The program that hosts consoles.
    console_host: PathBuf,
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
        console_host: &Path,
        sink: Sink,
    ) -> Result<(Self, Ready), Refusal> {
        Self::open_as(opening, console_host, sink, Demand::Enforced)
    }

    pub(super) fn open_as(
        opening: Opening,
        console_host: &Path,
        sink: Sink,
        demand: Demand,
    ) -> Result<(Self, Ready), Refusal> {
        let spec = &opening.launch;
        let own = AccessToken::for_launching().map_err(called)?;
        let mut proven = Vec::new();
        // First of all: until then every target of this account may open this process.
        match (&spec.runner, spec.identity) {
            (Some(hardening), Identity::Account(_)) if demand == Demand::Enforced => {
                harden(&own, hardening)?;
                proven.push(
                    "runner: its process, threads and token are closed to targets".to_owned(),
                );
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
        let target = TargetToken::new(own, spec, opening.session)?;
        let write_class = prove(&target, spec.write_class, demand, &mut proven)?;
        let (limits, session, lacking) = jobs(&opening)?;
        proven.push("job: killed on close, no breakaway".to_owned());
        let shared = Shared {
            opening,
            demand,
            target,
            limits,
            session,
            console_host: console_host.to_owned(),
            state: Mutex::default(),
            ended: Condvar::new(),
            sink,
        };
        let ready = Ready {
            write_class,
            lacking,
            proven,
        };
        Ok((Self(Arc::new(shared)), ready))
    }

    /// Starts a command; [`Event::Started`] or [`Event::NotStarted`] follows, and after the former [`Event::Ended`].
    pub fn start(&self, start: Start, streams: OwnedStreams) {
        let command = start.command;
        if let Err(why) = self.try_start(start, streams) {
            (self.0.sink)(Event::NotStarted { command, why });
        }
    }

    fn try_start(&self, start: Start, streams: OwnedStreams) -> Result<(), NotStarted> {
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
        running.iter().find_map(|running| running.member(&process))
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

    /// Waits for a command's end and reports it.
    fn see_off(&self, running: &Running, child: &Child, time_limit: Option<Duration>) {
        let end = running.wait(child, time_limit);
        (self.sink)(Event::Ended {
            command: running.id,
            how: end.how,
            cpu_microseconds: end.cpu_microseconds,
        });
        self.state().running.remove(&running.id);
        self.ended.notify_all();
    }

    /// Makes a command's first process, which has not run yet.
    fn create(&self, start: Start, streams: OwnedStreams) -> Result<(Child, Running), NotStarted> {
        let launch = &self.opening.launch;
        let directory = start.directory.as_ref().unwrap_or(&launch.directory);
        let directory = OsString::from(directory.to_string());
        let variables = self.variables(&start);
        let (program, line) = find_program(&start, &variables, &directory)?;
        let environment: Vec<(OsString, OsString)> = variables
            .iter()
            .map(|(name, value)| (OsString::from_wide(name), OsString::from_wide(value)))
            .collect();
        let job = Job::new(self.limits).map_err(called)?;
        let jobs: Vec<&Job> = self.session.iter().chain([&job]).collect();
        let token = match self.demand {
            Demand::Enforced => Some(self.target.make().map_err(not_started)?),
            #[cfg(test)]
            Demand::Plumbing => None,
        };
        let desktop = Some(self.opening.desktop.as_str()).filter(|name| !name.is_empty());
        let mut command = Command {
            program: &program,
            arguments: line.arguments(),
            environment: &environment,
            directory: &directory,
            desktop: desktop.map(OsStr::new),
            standard: Standard::Handles([streams.first(), streams.second(), streams.third()]),
            token: token.as_ref().map(AccessToken::as_handle),
            jobs: &jobs,
        };
        let (child, console) = match &streams {
            OwnedStreams::Direct(_) => (start_suspended(&command).map_err(start_failed)?, None),
            OwnedStreams::Terminal {
                input,
                output,
                size,
            } => {
                let (mut console, orders) = ConsoleLine::new().map_err(pipe_failed)?;
                let role = [OsString::from(CONSOLE_ROLE)];
                command.program = self.console_host.as_os_str();
                command.arguments = Arguments::Plain(&role);
                let handles = [input.as_handle(), output.as_handle(), orders.as_handle()];
                command.standard = Standard::Handles(handles);
                let child = start_suspended(&command).map_err(start_failed)?;
                let told = console.start(program.clone(), line.clone(), *size);
                if told.is_err() {
                    let _ = job.terminate(1);
                    return Err(NotStarted::Malformed(
                        "its arguments are too long".to_owned(),
                    ));
                }
                (child, Some(console))
            }
        };
        if let Err(why) = self.verify(&child, &job) {
            let _ = job.terminate(1);
            let _ = child.terminate(1);
            return Err(why);
        }
        Ok((child, Running::new(start.command, job, console)))
    }

    /// Whether what was made is what was asked for, before its first instruction.
    fn verify(&self, child: &Child, job: &Job) -> Result<(), NotStarted> {
        if !job.contains(child.as_handle()).map_err(called)? {
            let what = "the command is not in its job";
            return Err(NotStarted::NotEnforced(what.to_owned()));
        }
        match self.demand {
            #[cfg(test)]
            Demand::Plumbing => Ok(()),
            Demand::Enforced => {
                let token = AccessToken::of_process(child.as_handle()).map_err(called)?;
                let mut there = token.restricting().map_err(called)?;
                there.sort_unstable();
                if there != self.target.restricting() {
                    let what = "the command's token is not restricted as asked";
                    return Err(NotStarted::NotEnforced(what.to_owned()));
                }
                Ok(())
            }
        }
    }

    /// The command's variables, the launch's own over them, and those without which nothing starts.
    fn variables(&self, start: &Start) -> Vec<Variable> {
        let units = |text: &OsStr| text.encode_wide().collect::<Vec<u16>>();
        let own = |names: &[&str]| {
            let set = names.iter().filter_map(|name| {
                let value = std::env::var_os(name)?;
                Some((units(OsStr::new(name)), units(&value)))
            });
            set.collect::<Vec<Variable>>()
        };
        let needed = own(&["SystemRoot", "SystemDrive", "windir", "ComSpec", "PATHEXT"]);
        let asked = start.variables.iter().filter(|(name, _)| {
            // `=C:` and its like: where `cmd.exe` remembers the directories of drives.
            !name.is_empty() && !name.as_encoded_bytes().contains(&b'=')
        });
        let asked = asked.map(|(name, value)| (units(name), units(value)));
        let launch = self.opening.launch.environment.iter();
        let launch =
            launch.map(|(name, value)| (units(OsStr::new(name)), units(OsStr::new(value))));
        let mut merged = environment_block::overlay(needed, asked.collect());
        merged = environment_block::overlay(merged, launch.collect());
        match self.opening.launch.identity {
            // Who they are is not what the person's variables say.
            Identity::Account(_) => {
                environment_block::overlay(merged, own(&["USERNAME", "USERDOMAIN"]))
            }
            Identity::Person => merged,
        }
    }
}

impl OwnedStreams {
    fn first(&self) -> std::os::windows::io::BorrowedHandle<'_> {
        match self {
            Self::Direct([input, _, _]) | Self::Terminal { input, .. } => input.as_handle(),
        }
    }

    fn second(&self) -> std::os::windows::io::BorrowedHandle<'_> {
        match self {
            Self::Direct([_, output, _]) | Self::Terminal { output, .. } => output.as_handle(),
        }
    }

    fn third(&self) -> std::os::windows::io::BorrowedHandle<'_> {
        match self {
            Self::Direct([_, _, error]) | Self::Terminal { output: error, .. } => error.as_handle(),
        }
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
fn jobs(opening: &Opening) -> Result<(JobLimits, Option<Job>, Vec<Lacking>), Refusal> {
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
        let around = Job::new(session).map_err(called)?;
        return Ok((JobLimits::default(), Some(around), lacking));
    }
    let each = JobLimits {
        desktop,
        ..JobLimits::default()
    };
    // Now, and not at the first command, it is seen whether such a job can be made.
    drop(Job::new(each).map_err(called)?);
    Ok((each, None, Vec::new()))
}

fn find_program(
    start: &Start,
    variables: &[Variable],
    directory: &OsStr,
) -> Result<(OsString, Line), NotStarted> {
    let units = |text: &OsStr| text.encode_wide().collect::<Vec<u16>>();
    let directory = units(directory);
    let places = Places {
        path: environment_block::find(variables, "PATH").unwrap_or_default(),
        extensions: environment_block::find(variables, "PATHEXT"),
        directory: &directory,
    };
    let is_file = |path: &[u16]| Path::new(&OsString::from_wide(path)).is_file();
    let found = program::find(&units(&start.program), places, is_file);
    match found {
        Ok(Program::Native(path)) => Ok((
            OsString::from_wide(&path),
            Line::Plain(start.arguments.clone()),
        )),
        Ok(Program::Batch(path)) => {
            let root = environment_block::find(variables, "SystemRoot").unwrap_or_default();
            let interpreter = Path::new(&OsString::from_wide(root)).join(r"System32\cmd.exe");
            let script = OsString::from_wide(&path);
            Ok((
                interpreter.into_os_string(),
                Line::Batch(script, start.arguments.clone()),
            ))
        }
        Err(SearchError::NotFound) => Err(NotStarted::NotFound),
        Err(error @ SearchError::Kind(_)) => Err(NotStarted::NotExecutable(error.to_string())),
    }
}

/// A token that could not be made for a command.
fn not_started(refusal: Refusal) -> NotStarted {
    match refusal {
        Refusal::Call(called) => NotStarted::Call(called),
        Refusal::NotEnforced(what) => NotStarted::NotEnforced(what),
        other @ (Refusal::OutOfOrder
        | Refusal::Unknown(_)
        | Refusal::TemporaryProfile
        | Refusal::WriteClass { .. }) => NotStarted::NotEnforced(other.to_string()),
    }
}

fn pipe_failed(error: std::io::Error) -> NotStarted {
    NotStarted::Call(Called {
        call: "CreatePipe".to_owned(),
        object: "console".to_owned(),
        code: error.raw_os_error().map_or(0, i32::cast_unsigned),
    })
}

fn start_failed(error: StartError) -> NotStarted {
    /// Codes that say something of the file: not found, path not found, bad format, not a program.
    const OF_THE_FILE: [u32; 3] = [11, 193, 216];
    match error {
        StartError::Call(error) if [2, 3].contains(&error.error.0) => NotStarted::NotFound,
        StartError::Call(error) if OF_THE_FILE.contains(&error.error.0) => {
            NotStarted::NotExecutable(error.error.to_string())
        }
        StartError::Call(error) => NotStarted::Call(called(error)),
        error
        @ (StartError::CommandLine(_) | StartError::Environment(_) | StartError::Path(..)) => {
            let mut text = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                text = format!("{text}: {source}");
            }
            NotStarted::Malformed(text)
        }
    }
}
