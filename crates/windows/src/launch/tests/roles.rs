//! What this test program does when another test starts it.
//!
//! Each role is an ignored test, named on the command line. What a role says begins with `@`.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::windows::io::AsHandle as _;
use std::time::Duration;

use ringfence_backend::windows::runner::Event;

use super::super::engine::{Demand, Engine};
use super::super::serve::serve_with;
use super::super::session::Runner;
use super::{begin, next, start, this_program, through_a_runner};
use crate::launch::{ConsoleHost, Interrupt, host_console, interrupt};
use crate::sys::console_event::{ConsoleEvents, hear_ctrl_c};
use crate::sys::handle;
use crate::sys::job::Job;
use crate::sys::pipe::{PipeName, PipeServer};
use crate::sys::process::{Arguments, Command, Standard, start_suspended};

/// Where a runner finds its pipe.
const PIPE: &str = "RINGFENCE_TEST_PIPE";
/// A handle that a target should not have.
pub(super) const HANDLE: &str = "RINGFENCE_TEST_HANDLE";

/// A role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Serves a session, as the runner does.
    Runner,
    /// Serves a session, and demands that all is enforced.
    StrictRunner,
    /// Opens a session with a command in it, says whose processes are whose, and waits to be ended.
    Harness,
    /// Hosts a console.
    Console,
    /// Types on a console.
    Typist,
    /// Says when it listens and what it was told, and ends with 42.
    Listener,
    /// Waits, for longer than a test takes.
    Sleep,
    /// Starts one that waits, says its number, and ends.
    Parent,
    /// Says what variables it has.
    Variables,
    /// Says whether it has a handle.
    HasHandle,
    /// Asks a server by TLS, through the proxy that its variables name, and says what was answered.
    TlsClient,
}

impl Role {
    /// The arguments that give this program the role.
    pub(super) fn arguments(self) -> Vec<OsString> {
        let name = match self {
            Self::Runner => "as_runner",
            Self::StrictRunner => "as_strict_runner",
            Self::Harness => "as_harness",
            Self::Console => "as_console",
            Self::Typist => "as_typist",
            Self::Listener => "as_listener",
            Self::Sleep => "as_sleeper",
            Self::Parent => "as_parent",
            Self::Variables => "as_sayer_of_variables",
            Self::HasHandle => "as_holder",
            Self::TlsClient => "as_tls_client",
        };
        let test = format!("launch::tests::roles::{name}");
        [
            &test,
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ]
        .map(OsString::from)
        .into()
    }
}

fn say(text: impl std::fmt::Display) {
    // On a line of its own: the test program has begun one.
    let _ = writeln!(std::io::stdout(), "\n@{text}");
}

/// Starts this program as a runner, in these jobs, connected.
pub(super) fn runner(role: Role, jobs: &[&Job]) -> Runner {
    let everyone = ringfence_nt::SecurityDescriptor::from_sddl("O:WDG:WDD:(A;;GA;;;WD)").unwrap();
    let name = PipeName::random().unwrap();
    let server = PipeServer::new(name.clone(), &everyone).unwrap();
    let mut environment: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| !name.to_string_lossy().starts_with('='))
        .collect();
    environment.push((PIPE.into(), name.as_str().into()));
    let nothing = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("NUL")
        .unwrap();
    let child = start_suspended(&Command {
        program: this_program().as_os_str(),
        arguments: Arguments::Plain(&role.arguments()),
        environment: &environment,
        directory: r"C:\".as_ref(),
        desktop: None,
        standard: Standard::Handles([nothing.as_handle(); 3]),
        token: None,
        jobs,
    });
    Runner::of(child.unwrap(), server).unwrap()
}

/// This program as the host of consoles.
pub(super) fn console_host() -> ConsoleHost {
    ConsoleHost {
        program: this_program(),
        arguments: Role::Console.arguments(),
        interrupting: Role::Typist.arguments(),
    }
}

fn serve(demand: Demand) {
    let Some(name) = std::env::var(PIPE).ok() else {
        return;
    };
    let name = PipeName::parse(&name).unwrap();
    let served = serve_with(&name, |opening, sink| {
        Engine::open_as(opening, console_host(), sink, demand)
    });
    say(format_args!("served: {}", served.is_ok()));
}

#[test]
#[ignore = "a role"]
fn as_runner() {
    serve(Demand::Plumbing);
}

#[test]
#[ignore = "a role"]
fn as_strict_runner() {
    serve(Demand::Enforced);
}

#[test]
#[ignore = "a role"]
fn as_harness() {
    let mut session = through_a_runner();
    let _reader = begin(&mut session, start(1, Role::Sleep));
    let Event::Started { process, .. } = next(&mut session) else {
        return;
    };
    say(format_args!("runner {}", session.runner().unwrap()));
    say(format_args!("target {process}"));
    std::thread::sleep(Duration::from_mins(2));
}

#[test]
#[ignore = "a role"]
fn as_console() {
    let code = host_console();
    // The test program would end with a status of its own.
    std::process::exit(code.map_or(99, u32::cast_signed));
}

#[test]
#[ignore = "a role"]
fn as_typist() {
    let arguments: Vec<_> = std::env::args_os().collect();
    let [.., key, process] = arguments.as_slice() else {
        return;
    };
    if let Some(order) = Interrupt::parse(key, process) {
        std::process::exit(i32::from(interrupt(order).is_err()));
    }
}

#[test]
#[ignore = "a role"]
fn as_listener() {
    hear_ctrl_c().unwrap();
    let mut events = ConsoleEvents::take_over().unwrap();
    say("listens");
    // On a console, the standard output may be none.
    if let Ok(mut screen) = std::fs::OpenOptions::new().write(true).open("CONOUT$") {
        let _ = writeln!(screen, "@listens");
    }
    handle::wait(events.readiness(), Some(60_000)).unwrap();
    say(format_args!("{:?}", events.take()));
    std::process::exit(42);
}

#[test]
#[ignore = "a role"]
fn as_sleeper() {
    say("asleep");
    std::thread::sleep(Duration::from_mins(2));
}

#[test]
#[ignore = "a role"]
#[expect(
    clippy::zombie_processes,
    reason = "that nobody waits for it is what is tested"
)]
fn as_parent() {
    let child = std::process::Command::new(this_program())
        .args(Role::Sleep.arguments())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    say(format_args!("child {}", child.id()));
}

#[test]
#[ignore = "a role"]
fn as_sayer_of_variables() {
    for (name, value) in std::env::vars() {
        say(format_args!("{name}={value}"));
    }
}

#[test]
#[ignore = "a role"]
fn as_holder() {
    for name in [HANDLE, "RINGFENCE_TEST_OTHER"] {
        let Ok(value) = std::env::var(name) else {
            continue;
        };
        let has = handle::adopt_sent(value.parse().unwrap()).is_ok();
        say(format_args!("{name} {has}"));
    }
    let own = std::io::stdout();
    let value = std::os::windows::io::AsRawHandle::as_raw_handle(&own.as_handle()).addr();
    let has = handle::adopt_sent(u64::try_from(value).unwrap()).map(std::mem::forget);
    say(format_args!("output {}", has.is_ok()));
}

#[test]
#[ignore = "a role"]
fn as_tls_client() {
    super::tls::ask_twice(say);
}
