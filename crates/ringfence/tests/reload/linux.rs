//! The harness, the command, and what is changed between them.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that talks to a person"
)]

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ringfence::load::LoadRequest;
use ringfence::{
    CommandSpec, NetworkControl, Session, SessionOptions, StartError, StateDirectory, load_policy,
};
use ringfence_policy::AbsolutePath;
use ringfence_policy::document::{NetworkDocument, NetworkMode, PolicyDocument, Require};
use ringfence_policy::layers::{LayerKind, Sourced};
use ringfence_policy::policy::NetworkPolicy;

/// What happens in turn; each is a file in the workspace once it has.
const SHUT: &str = "shut";
const WIDENED: &str = "widened";
const OPEN: &str = "open";
const NARROWED: &str = "narrowed";
/// Long enough for a machine under load.
const PATIENCE: Duration = Duration::from_mins(1);
/// A port that no policy of the beginning names, below those that any program may take.
const LOW_PORT: u16 = 22;

pub(super) fn main() -> ExitCode {
    ringfence::init::run_if_asked();
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.as_slice() {
        [word, directory, server] if word == "inside" => {
            inside(Path::new(directory), server.parse().unwrap());
            ExitCode::SUCCESS
        }
        [list] if list == "--list" => {
            println!("a_policy_that_is_loaded_later_opens_and_shuts: test");
            ExitCode::SUCCESS
        }
        _ => judge(steer()),
    }
}

/// Ends as the standard test harness does; a failure has panicked before.
fn judge(result: Result<(), StartError>) -> ExitCode {
    match result {
        Ok(()) => {
            println!("test a_policy_that_is_loaded_later_opens_and_shuts ... ok");
            println!("test result: ok. 1 passed; 0 failed; 0 ignored");
            ExitCode::SUCCESS
        }
        Err(error) if std::env::var("RINGFENCE_MUST_ENFORCE").as_deref() == Ok("full") => {
            println!("this machine has no full level: {error}");
            println!("test result: FAILED. 0 passed; 1 failed; 0 ignored");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("not tried, this machine has no full level: {error}");
            println!("test result: ok. 0 passed; 0 failed; 1 ignored");
            ExitCode::SUCCESS
        }
    }
}

fn reach(mark: &str, directory: &Path) {
    fs::write(directory.join(mark), "").unwrap();
}

fn wait_for(mark: &str, directory: &Path) {
    let begun = std::time::Instant::now();
    while !directory.join(mark).exists() {
        assert!(begun.elapsed() < PATIENCE, "nobody came as far as {mark}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether somebody answers at `server`, with what it is told.
fn is_echoed(server: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(server) else {
        return false;
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut echo = [0; 4];
    let told = stream.write_all(b"\0abc");
    told.and_then(|()| stream.read_exact(&mut echo)).is_ok() && echo == *b"\0abc"
}

/// The command: what it can reach before, between and after.
fn inside(directory: &Path, server: SocketAddr) {
    let far = SocketAddr::from(([93, 184, 216, 34], LOW_PORT));
    let refused = |address| {
        let error = TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address}");
    };
    refused(server);
    refused(far);
    reach(SHUT, directory);
    wait_for(WIDENED, directory);
    assert!(is_echoed(server), "the server that is named now");
    // Somebody takes it now; whether it may go on is decided by the rule, which names another host.
    TcpStream::connect(far).unwrap();
    reach(OPEN, directory);
    wait_for(NARROWED, directory);
    assert!(!is_echoed(server), "the server that is no longer named");
}

fn steer() -> Result<(), StartError> {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().canonicalize().unwrap();
    let make = |name: &str| {
        fs::create_dir(base.join(name)).unwrap();
        AbsolutePath::new(base.join(name)).unwrap()
    };
    let (workspace, home) = (make("work"), make("home"));
    let state = StateDirectory::at(&base.join("state")).unwrap();
    let request = LoadRequest {
        command_line: PolicyDocument {
            require: Some(Require::Full),
            network: NetworkDocument {
                mode: Some(NetworkMode::Allowlist),
                ..NetworkDocument::default()
            },
            ..PolicyDocument::default()
        },
        managed: base.join("no-managed"),
        ..LoadRequest::new(workspace.clone(), home)
    };
    let policy = load_policy(&request, &state).unwrap().policy;
    let mut session = Session::start(&policy, &state, SessionOptions::default())?;
    let control = session.network_control().unwrap();
    let server = echo_server();
    let place = workspace.as_path().to_owned();
    let steering = std::thread::spawn(move || change(&control, &policy.network, server, &place));
    // Where this program lies may be hidden in the session.
    let program = workspace.as_path().join("command");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let words = [
        program.into_os_string(),
        OsString::from("inside"),
        workspace.as_path().as_os_str().to_owned(),
        OsString::from(server.to_string()),
    ];
    let command = CommandSpec {
        arguments: words.to_vec(),
        directory: None,
    };
    let report = session.execute(&command).unwrap();
    steering.join().unwrap();
    assert_eq!(report.exit_status(), 0);
    session.end().unwrap();
    Ok(())
}

/// Loads a wider policy when the command has seen the first, and a narrower one when it has seen that.
fn change(control: &NetworkControl, first: &NetworkPolicy, server: SocketAddr, place: &Path) {
    let user = |value| Sourced {
        value,
        layer: LayerKind::User,
    };
    wait_for(SHUT, place);
    let mut wider = first.clone();
    wider.connect = vec![user(server)];
    let rule = format!("named.example.com:{LOW_PORT}");
    wider.allow = vec![Sourced {
        value: rule.parse().unwrap(),
        layer: LayerKind::User,
    }];
    control.reload(&wider).unwrap();
    // What stands is not made again.
    control.reload(&wider).unwrap();
    reach(WIDENED, place);
    wait_for(OPEN, place);
    control.reload(first).unwrap();
    reach(NARROWED, place);
}

/// A server on this machine's loopback that says what it is told.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut said = [0; 64];
                while let Ok(count @ 1..) = stream.read(&mut said) {
                    let _ = stream.write_all(said.get(..count).unwrap_or_default());
                }
            });
        }
    });
    address
}
