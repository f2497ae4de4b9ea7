//! What a probe makes that it can open with every right: the control of what is refused to it elsewhere.
//!
//! A target's own process and token are no control: their lists leave it what programs need, and neither `WRITE_DAC` nor
//! `TOKEN_DUPLICATE`. But whoever makes an object says who may open it, and a target may set its default list. Invariant:
//! the process that is made here never runs an instruction, and ends with this value.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::windows::io::{AsHandle as _, BorrowedHandle};

use ringfence_nt::{AccessMask, Ace, AceFlags, Acl, Sid};

use super::WAIT;
use crate::sys::CallError;
use crate::sys::process::{self, Arguments, Child, Standard, start_suspended};
use crate::sys::snapshot;
use crate::sys::token::AccessToken;

/// A process that has not run, and that this one may open with every right, its token and its thread too.
pub(super) struct Own(Child);

fn called(error: &CallError) -> String {
    format!("{error}: {}", error.error)
}

/// A list that lets a token with these SIDs do everything, in both passes.
fn open_to(user: Sid, restricting: &[Sid]) -> Acl {
    let all = |sid: Sid| Ace::allow(AceFlags::NONE, AccessMask::GENERIC_ALL, sid);
    std::iter::once(user)
        .chain(restricting.iter().copied())
        .map(all)
        .collect()
}

impl Own {
    /// Makes it.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn make() -> Result<Self, String> {
        let token = AccessToken::for_defaults().map_err(|error| called(&error))?;
        let restricting = token.restricting().map_err(|error| called(&error))?;
        Self::open_by(&token, &restricting)
    }

    fn open_by(token: &AccessToken, restricting: &[Sid]) -> Result<Self, String> {
        let user = token.user().map_err(|error| called(&error))?;
        token
            .set_default_dacl(&open_to(user, restricting))
            .map_err(|error| called(&error))?;
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let nothing = File::options().read(true).write(true).open("NUL");
        let nothing = nothing.map_err(|error| error.to_string())?;
        let arguments = ["audit", "--inside", WAIT].map(OsString::from);
        let streams = [nothing.as_handle(); 3];
        start(program.as_os_str(), &arguments, streams, None).map(Self)
    }

    /// Its number.
    pub(super) fn process(&self) -> u32 {
        self.0.id()
    }

    /// The number of its one thread.
    ///
    /// # Errors
    /// Why it is not known.
    pub(super) fn thread(&self) -> Result<u32, String> {
        let threads = snapshot::threads_of(self.0.id()).map_err(|error| called(&error))?;
        threads
            .first()
            .copied()
            .ok_or_else(|| "the probe's own process has no thread".to_owned())
    }

    /// Its token, which is this process's in everything but who may open it, to make copies of.
    ///
    /// # Errors
    /// `OpenProcessToken`'s.
    pub(super) fn token(&self) -> Result<AccessToken, CallError> {
        AccessToken::of_process_for_copies(self.0.as_handle())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // What can't be ended goes with the job.
        let _ = self.0.terminate(1);
    }
}

/// Starts a program with this process's variables and directory, suspended.
pub(super) fn start(
    program: &OsStr,
    arguments: &[OsString],
    streams: [BorrowedHandle<'_>; 3],
    token: Option<BorrowedHandle<'_>>,
) -> Result<Child, String> {
    let environment: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| !name.as_encoded_bytes().contains(&b'='))
        .collect();
    let directory = std::env::current_dir().map_err(|error| error.to_string())?;
    start_suspended(&process::Command {
        program,
        arguments: Arguments::Plain(arguments),
        environment: &environment,
        directory: directory.as_os_str(),
        desktop: None,
        standard: Standard::Handles(streams),
        token,
        jobs: &[],
    })
    .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::trespass::{self, CHANGING, OF_THREADS, READING};

    // enforced-by-wine as far as that checks rights to processes at all.
    #[test]
    fn every_right_to_it_is_given_and_it_ends_with_its_value() {
        // This process is not restricted, and wine does not know what that would be.
        let own = Own::open_by(&AccessToken::for_defaults().unwrap(), &[]).unwrap();
        for (name, right) in CHANGING.iter().chain(READING) {
            assert_eq!(trespass::process(own.process(), *right), Ok(()), "{name}");
        }
        let thread = own.thread().unwrap();
        for (name, right) in OF_THREADS {
            assert_eq!(trespass::thread(thread, *right), Ok(()), "{name}");
        }
        let copy = own.token().unwrap();
        assert_eq!(
            copy.user().unwrap(),
            AccessToken::for_defaults().unwrap().user().unwrap()
        );
        let watched = crate::sys::running::Process::glance(own.process()).unwrap();
        drop(own);
        assert!(
            crate::sys::handle::wait(watched.as_handle(), Some(60_000))
                .is_ok_and(|waited| waited == crate::sys::handle::Waited::Signalled)
        );
    }
}
