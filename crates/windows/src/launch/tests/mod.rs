//! The machinery between real processes, on any system that runs Windows programs.
//!
//! Every test says which it is: `plumbing_only` (it shows that the program gets through; tokens are not restricted),
//! `enforced_by_wine` (wine does what Windows does here) or `not_enforced` (the negative rung: a system that only
//! says yes must be refused). The other processes are this same program in the roles of [`roles`].

mod console;
mod interrupt;
mod negative;
mod plumbing;
mod roles;
mod tls;
mod unbounded;

use std::ffi::OsString;
use std::io::{PipeReader, Read as _};
use std::os::windows::io::{AsHandle as _, OwnedHandle};
use std::path::PathBuf;
use std::time::Duration;

use ringfence_backend::CommandId;
use ringfence_backend::windows::runner::{Event, Opening, Start};
use ringfence_nt::token::FilterFlags;
use ringfence_nt::{AccessMask, Ace, AceFlags, Acl, SecurityDescriptor, Sid};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::launch::{
    Identity, JobSpec, LaunchSpec, Network, PipeSpec, RestrictingSid, RunnerHardening,
    StandardHandle, TOKEN_OF_TARGET, TokenSpec, WriteClassRule,
};
use ringfence_plan::windows::sids::Placeholder;
use ringfence_plan::windows::step::AccountRole;

use super::session::{LentStreams, Session};
use roles::Role;

/// Stands in what a session of such a test says of itself, and in no program that is shipped.
pub(super) const PLUMBING: &str = "unenforced: a test of the machinery alone";

/// How long anything may take before a test fails. Nothing is asserted about time.
const PATIENCE: Duration = Duration::from_mins(1);

fn person() -> Sid {
    Sid::new(5, &[21, 1, 2, 3, 1001]).unwrap()
}

/// A launch in the shape that the planner gives it.
fn launch(identity: Identity) -> LaunchSpec {
    let allow = |mask, sid| Ace::allow(AceFlags::NONE, mask, sid);
    let session = Placeholder::Session.sid();
    let because = |sid| RestrictingSid {
        sid,
        why: "a test".to_owned(),
    };
    let descriptor = |mask| {
        let aces = vec![
            allow(mask, Sid::SYSTEM),
            allow(mask, person()),
            allow(mask, session),
        ];
        SecurityDescriptor::new(person(), person(), Acl::new(aces)).protected()
    };
    let all = AccessMask(0x001f_ffff);
    let hardening = RunnerHardening {
        default_dacl: Acl::new(vec![allow(AccessMask::GENERIC_ALL, Sid::SYSTEM)]),
        process: descriptor(all),
        thread: descriptor(all),
        token: descriptor(AccessMask(0x000f_01ff)),
    };
    let everyone = Acl::new(vec![allow(AccessMask::FILE_ALL_ACCESS, Sid::EVERYONE)]);
    LaunchSpec {
        identity,
        network: Network::Advisory,
        proxy: None,
        write_class: WriteClassRule::Boundary,
        token: TokenSpec {
            flags: FilterFlags::DISABLE_MAX_PRIVILEGE
                .with(FilterFlags::LUA_TOKEN)
                .with(FilterFlags::WRITE_RESTRICTED),
            deny_only: vec![Sid::ADMINISTRATORS],
            restricting: vec![because(session), because(Sid::WRITE_RESTRICTED)],
            default_dacl: Acl::new(vec![allow(AccessMask::GENERIC_ALL, session)]),
            descriptor: descriptor(TOKEN_OF_TARGET),
        },
        runner: matches!(identity, Identity::Account(_)).then_some(hardening),
        station: descriptor(AccessMask(0x000f_037f)),
        desktop: descriptor(AccessMask(0x000f_01ff)),
        pipe: Some(PipeSpec {
            descriptor: SecurityDescriptor::new(person(), person(), everyone),
            frame_limit_bytes: 1 << 20,
        }),
        job: JobSpec {
            memory_bytes: None,
            processes: None,
            ui_limits: vec!["EXITWINDOWS".to_owned()],
        },
        handles: [
            StandardHandle::Input,
            StandardHandle::Output,
            StandardHandle::Error,
        ],
        environment: vec![("RINGFENCE_SESSION".to_owned(), "1".to_owned())],
        directory: WindowsPath::parse(r"C:\windows").unwrap(),
        shells: Vec::new(),
    }
}

fn opening(identity: Identity) -> Opening {
    Opening {
        launch: launch(identity),
        session: Sid::new(0, &[0x5249_4e47, 4, 9, 9, 9, 9]).unwrap(),
        person: person(),
        desktop: String::new(),
        roots: Vec::new(),
        stay: Vec::new(),
    }
}

fn account() -> Identity {
    Identity::Account(AccountRole::Offline)
}

/// A session in another process, which is this program as the runner.
fn through_a_runner() -> Session {
    let runner = roles::runner(Role::Runner, &[]);
    Session::through(runner, opening(account()), None).unwrap()
}

/// Ends of a command's streams: what it reads from is empty, and what it writes can be read.
struct Plugs {
    input: OwnedHandle,
    output: OwnedHandle,
    reader: PipeReader,
}

fn plugs() -> Plugs {
    let (reader, writer) = std::io::pipe().unwrap();
    let (input, closed) = std::io::pipe().unwrap();
    drop(closed);
    Plugs {
        input: input.into(),
        output: writer.into(),
        reader,
    }
}

/// A command of this number that runs this program in `role`.
fn start(number: u64, role: Role) -> Start {
    Start {
        command: CommandId(number),
        program: this_program().into_os_string(),
        arguments: role.arguments(),
        variables: std::env::vars_os()
            .filter(|(name, _)| !name.to_string_lossy().starts_with('='))
            .collect(),
        directory: None,
        time_limit: None,
    }
}

fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn shell(number: u64, line: &[&str]) -> Start {
    Start {
        program: OsString::from("cmd"),
        arguments: line.iter().map(OsString::from).collect(),
        variables: vec![("PATH".into(), r"C:\windows\system32".into())],
        ..start(number, Role::Sleep)
    }
}

/// Starts a command and lets go of its ends of the streams.
fn begin(session: &mut Session, start: Start) -> PipeReader {
    let plugs = plugs();
    let streams = LentStreams::Direct([
        plugs.input.as_handle(),
        plugs.output.as_handle(),
        plugs.output.as_handle(),
    ]);
    session.start(start, streams).unwrap();
    plugs.reader
}

fn next(session: &mut Session) -> Event {
    session.receive(Some(PATIENCE)).unwrap().expect("an event")
}

/// Runs a command to its end: what it wrote, and its last event.
fn run(session: &mut Session, start: Start) -> (String, Event) {
    let mut reader = begin(session, start);
    let mut events = vec![next(session)];
    if matches!(events[0], Event::Started { .. }) {
        events.push(next(session));
    }
    let mut text = Vec::new();
    reader.read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    (text, events.pop().unwrap())
}

/// What a role has said, without what the test program says around it.
fn said(text: &str) -> Vec<&str> {
    let lines = text.lines();
    lines
        .filter_map(|line| line.trim().strip_prefix('@'))
        .collect()
}
