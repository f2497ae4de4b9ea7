//! How one command starts: its file, its variables, its token, its job, and whether what was made is what was asked for.
//!
//! Invariant: what is answered has not run its first instruction, is in its job, and has a restricted token; what is
//! not so is ended before it runs.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::windows::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::windows::io::{AsHandle as _, BorrowedHandle};
use std::path::Path;

use ringfence_backend::windows::runner::{Called, InterruptKey, NotStarted, Refusal, Start};
use ringfence_plan::windows::launch::Identity;

use super::command::Running;
use super::console::{ConsoleLine, Line};
use super::engine::{Demand, OwnedStreams, Shared, make_job};
use super::harden::called;
use super::interrupt::Interrupt;
use super::program::{self, Places, Program, SearchError};
use crate::environment_block::{self, Variable};
use crate::sys::job::Job;
use crate::sys::process::{Arguments, Child, Command, Standard, StartError, start_suspended};
use crate::sys::token::AccessToken;

impl Shared {
    /// Makes a command's first process, which has not run yet.
    pub(super) fn create(
        &self,
        start: &Start,
        streams: &OwnedStreams,
    ) -> Result<(Child, Running), NotStarted> {
        let launch = &self.opening.launch;
        let directory = start.directory.as_ref().unwrap_or(&launch.directory);
        let directory = OsString::from(directory.to_string());
        let variables = self.variables(&start.variables);
        let (program, line) = find_program(start, &variables, &directory)?;
        let environment = text(&variables);
        let job = make_job(self.limits, self.demand).map_err(called)?;
        let jobs: Vec<&Job> = self.session.iter().chain([&job]).collect();
        let token = self.token()?;
        let mut command = Command {
            program: &program,
            arguments: line.arguments(),
            environment: &environment,
            directory: &directory,
            desktop: self.desktop(),
            standard: Standard::Handles([streams.first(), streams.second(), streams.third()]),
            token: token.as_ref().map(AccessToken::as_handle),
            jobs: &jobs,
        };
        let (child, console) = match streams {
            OwnedStreams::Direct(_) => (start_suspended(&command).map_err(start_failed)?, None),
            OwnedStreams::Terminal {
                input,
                output,
                size,
            } => {
                let (mut console, orders) =
                    ConsoleLine::new().map_err(|error| pipe_failed(&error))?;
                command.program = self.console_host.program.as_os_str();
                command.arguments = Arguments::Plain(&self.console_host.arguments);
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
        let running = Running::new(start.command, child.id(), job, console);
        Ok((child, running))
    }

    /// Starts the program that types `key` on the console of a command without a terminal, as confined as the command.
    pub(super) fn start_typist(
        &self,
        running: &Running,
        key: InterruptKey,
    ) -> Result<Child, NotStarted> {
        let order = Interrupt {
            key,
            process: running.first(),
        };
        let mut arguments = self.console_host.interrupting.clone();
        arguments.extend(order.arguments());
        let variables = self.variables(&[]);
        let environment = text(&variables);
        let directory = OsString::from(self.opening.launch.directory.to_string());
        let nothing = File::options().read(true).write(true).open("NUL");
        let nothing = nothing.map_err(|error| pipe_failed(&error))?;
        let jobs: Vec<&Job> = self.session.iter().chain([running.job()]).collect();
        let token = self.token()?;
        let child = start_suspended(&Command {
            program: self.console_host.program.as_os_str(),
            arguments: Arguments::Plain(&arguments),
            environment: &environment,
            directory: &directory,
            desktop: self.desktop(),
            standard: Standard::Handles([nothing.as_handle(); 3]),
            token: token.as_ref().map(AccessToken::as_handle),
            jobs: &jobs,
        })
        .map_err(start_failed)?;
        if let Err(why) = self.verify(&child, running.job()) {
            let _ = child.terminate(1);
            return Err(why);
        }
        child.resume().map_err(called)?;
        Ok(child)
    }

    /// A target's token; none in a test of the machinery.
    fn token(&self) -> Result<Option<AccessToken>, NotStarted> {
        match self.demand {
            Demand::Enforced => self.target.make().map(Some).map_err(not_started),
            #[cfg(test)]
            Demand::Plumbing => Ok(None),
        }
    }

    fn desktop(&self) -> Option<&OsStr> {
        let desktop = Some(self.opening.desktop.as_str()).filter(|name| !name.is_empty());
        desktop.map(OsStr::new)
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
            Demand::Enforced => self.target.settle(child.as_handle()).map_err(not_started),
        }
    }

    /// The command's variables, the launch's own over them, and those without which nothing starts.
    fn variables(&self, asked: &[(OsString, OsString)]) -> Vec<Variable> {
        let asked = asked.iter().filter(|(name, _)| {
            // `=C:` and its like: where `cmd.exe` remembers the directories of drives.
            !name.is_empty() && !name.as_encoded_bytes().contains(&b'=')
        });
        let asked = asked.map(|(name, value)| (units(name), units(value)));
        let launch = self.opening.launch.environment.iter();
        let launch =
            launch.map(|(name, value)| (units(OsStr::new(name)), units(OsStr::new(value))));
        let mut merged = environment_block::overlay(needed(), asked.collect());
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

/// The variables without which nothing starts, as this process has them.
pub(super) fn needed() -> Vec<Variable> {
    own(&["SystemRoot", "SystemDrive", "windir", "ComSpec", "PATHEXT"])
}

fn own(names: &[&str]) -> Vec<Variable> {
    let set = names.iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some((units(OsStr::new(name)), units(&value)))
    });
    set.collect()
}

pub(super) fn units(text: &OsStr) -> Vec<u16> {
    text.encode_wide().collect()
}

pub(super) fn text(variables: &[Variable]) -> Vec<(OsString, OsString)> {
    variables
        .iter()
        .map(|(name, value)| (OsString::from_wide(name), OsString::from_wide(value)))
        .collect()
}

impl OwnedStreams {
    fn first(&self) -> BorrowedHandle<'_> {
        match self {
            Self::Direct([input, _, _]) | Self::Terminal { input, .. } => input.as_handle(),
        }
    }

    fn second(&self) -> BorrowedHandle<'_> {
        match self {
            Self::Direct([_, output, _]) | Self::Terminal { output, .. } => output.as_handle(),
        }
    }

    fn third(&self) -> BorrowedHandle<'_> {
        match self {
            Self::Direct([_, _, error]) | Self::Terminal { output: error, .. } => error.as_handle(),
        }
    }
}

pub(super) fn find_program(
    start: &Start,
    variables: &[Variable],
    directory: &OsStr,
) -> Result<(OsString, Line), NotStarted> {
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

fn pipe_failed(error: &std::io::Error) -> NotStarted {
    NotStarted::Call(Called {
        call: "CreatePipe".to_owned(),
        object: "console".to_owned(),
        code: error.raw_os_error().map_or(0, i32::cast_unsigned),
    })
}

pub(super) fn start_failed(error: StartError) -> NotStarted {
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
