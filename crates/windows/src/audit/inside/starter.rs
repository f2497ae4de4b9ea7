//! Attacks on whatever of Ringfence started this process: the runner, in same-user mode the harness, and without a
//! boundary a program of the person's that must give way.
//!
//! Invariant: a right counts as refused only with `ERROR_ACCESS_DENIED`; where nothing of Ringfence started this
//! process, or no pipe is seen, nothing was refused.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::windows::fs::OpenOptionsExt as _;

use ringfence_backend::causes::in_one_sentence;
use ringfence_nt::{AccessMask, Ace, AceFlags, Acl, SecurityDescriptor};
use ringfence_plan::windows::audit::Answer;
use windows_sys::Win32::Storage::FileSystem::SECURITY_IDENTIFICATION;

use super::process::{DENIED, above, every_right, of_threads, of_token};
use crate::audit::Finding;
use crate::backend::RUNNER;

use crate::observe::machine::person;
use crate::sys::Win32Error;
use crate::sys::pipe::{PipeName, PipeServer};

/// The harness's program, which runs commands itself in same-user mode.
const HARNESS: &str = "ringfence.exe";
/// Where named pipes are.
const PIPES: &str = r"\\.\pipe\";
/// `ERROR_PIPE_BUSY`: its one end is taken.
const BUSY: Win32Error = Win32Error(231);

/// What is taken hold of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Its process, each right by itself.
    Process,
    /// Its token.
    Token,
    /// Its threads.
    Threads,
    /// A pipe between programs of Ringfence.
    Pipe,
}

impl Hold {
    /// Each.
    pub const ALL: [Self; 4] = [Self::Process, Self::Token, Self::Threads, Self::Pipe];

    /// Its word on a command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Process => "starter-process",
            Self::Token => "starter-token",
            Self::Threads => "starter-threads",
            Self::Pipe => "pipes",
        }
    }
}

/// Tries it; open where any of it is given.
#[must_use]
pub fn take(hold: Hold) -> Finding {
    let starter = |attempt: fn(u32) -> Finding| {
        above(&[RUNNER, HARNESS]).map_or_else(Finding::unknown, attempt)
    };
    match hold {
        Hold::Process => starter(every_right),
        Hold::Token => starter(of_token),
        Hold::Threads => starter(of_threads),
        Hold::Pipe => pipes(),
    }
}

/// Tries to connect to every pipe that has a name of ours.
fn pipes() -> Finding {
    let names = match fs::read_dir(PIPES) {
        Ok(names) => names,
        Err(error) => return Finding::unknown(format!("pipes can't be listed: {error}")),
    };
    let ours = names
        .flatten()
        .map(|entry| entry.file_name())
        .filter_map(|name| PipeName::parse(&format!("{PIPES}{}", name.to_string_lossy())));
    judge(ours.map(|name| {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            // Whoever serves it must not act as this process.
            .security_qos_flags(SECURITY_IDENTIFICATION)
            .open(OsStr::new(name.as_str()));
        opened.map(drop).map_err(|error| {
            let code = error.raw_os_error().unwrap_or_default();
            Win32Error(code.cast_unsigned())
        })
    }))
}

/// What came of the attempts, one for each pipe.
fn judge(attempts: impl Iterator<Item = Result<(), Win32Error>>) -> Finding {
    const CONTROL: &str = "a pipe of the person's own is given without a boundary";
    let (mut refused, mut given, mut other) = (0_u32, 0_u32, Vec::new());
    for attempt in attempts {
        match attempt {
            Ok(()) => given += 1,
            Err(DENIED | BUSY) => refused += 1,
            Err(error) => other.push(error.to_string()),
        }
    }
    if given > 0 {
        let detail = format!("{given} pipes of Ringfence's were given");
        return Finding::new(Answer::Open, detail, CONTROL);
    }
    if !other.is_empty() || refused == 0 {
        return Finding::unknown(format!(
            "no pipe of Ringfence's was refused; {}",
            other.join("; ")
        ));
    }
    let detail = format!("{refused} pipes of Ringfence's are denied, or taken");
    Finding::new(Answer::Held, detail, CONTROL)
}

/// A pipe of the person's own under a name of ours, which gives way to nobody else: the control, and one more target.
#[derive(Debug)]
pub struct Decoy {
    name: PipeName,
    _pipe: PipeServer,
}

impl Decoy {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &PipeName {
        &self.name
    }

    /// Opens it; it is gone when this is dropped.
    ///
    /// # Errors
    /// Why it can't be made, in words.
    pub fn open() -> Result<Self, String> {
        let person = person().map_err(|error| in_one_sentence(&error))?;
        let allow = Ace::allow(AceFlags::NONE, AccessMask::FILE_ALL_ACCESS, person);
        let descriptor = SecurityDescriptor::new(person, person, Acl::new(vec![allow])).protected();
        let name = PipeName::random().map_err(|error| in_one_sentence(&error))?;
        let pipe =
            PipeServer::new(name.clone(), &descriptor).map_err(|error| in_one_sentence(&error))?;
        Ok(Self { name, _pipe: pipe })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::trespass::{self, CHANGING, READ_TOKEN};

    #[test]
    fn a_pipe_that_is_not_there_was_not_refused() {
        let answer = |attempts: &[Result<(), Win32Error>]| judge(attempts.iter().copied()).answer;
        assert_eq!(answer(&[Err(DENIED), Err(BUSY)]), Answer::Held);
        assert_eq!(answer(&[Err(DENIED), Ok(())]), Answer::Open);
        assert_eq!(answer(&[]), Answer::Unknown);
        // ERROR_FILE_NOT_FOUND: it has gone since it was listed.
        assert_eq!(answer(&[Err(DENIED), Err(Win32Error(2))]), Answer::Unknown);
    }

    #[test]
    fn what_nothing_of_ringfence_started_has_nothing_to_attack() {
        for hold in [Hold::Process, Hold::Token, Hold::Threads] {
            assert_eq!(take(hold).answer, Answer::Unknown, "{hold:?}");
        }
    }

    /// The control: where nothing restricts, a process that gives way is found above.
    #[test]
    fn plumbing_only_what_started_this_process_is_found_and_gives_way_without_a_boundary() {
        const STARTER: &str = "RINGFENCE_TEST_STARTER";
        let own = std::env::current_exe().unwrap();
        let program = own.file_name().unwrap().to_str().unwrap();
        if let Ok(starter) = std::env::var(STARTER) {
            let id = above(&["nothing-of-this-name.exe", program]).unwrap();
            assert_eq!(id.to_string(), starter);
            // Wine does not tell what a probe's own control is made from: the rights are asked for one by one.
            for (name, right) in CHANGING {
                assert_eq!(trespass::process(id, *right), Ok(()), "{name}");
            }
            assert_eq!(trespass::token(id, READ_TOKEN), Ok(()));
            return;
        }
        let name = std::thread::current().name().unwrap().to_owned();
        let child = std::process::Command::new(&own)
            .args(["--exact", &name, "--test-threads=1"])
            .env(STARTER, std::process::id().to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }

    #[test]
    fn a_decoy_gives_way_to_its_own_person() {
        let decoy = Decoy::open().unwrap();
        let name = decoy.name().as_str();
        let opened = OpenOptions::new().read(true).write(true).open(name);
        assert!(opened.is_ok(), "{opened:?}");
    }
}
