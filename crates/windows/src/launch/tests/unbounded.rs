//! Commands that nothing confines: their status, their end, and what they have started.

use std::ffi::OsString;
use std::fs::File;
use std::os::windows::io::AsHandle as _;
use std::time::Duration;

use ringfence_backend::CommandId;
use ringfence_backend::windows::runner::{Ended, Event, NotStarted, Start};

use crate::launch::Unbounded;

fn start(session: &Unbounded, number: u64, line: &[&str], time_limit: Option<u64>) {
    let (program, arguments) = line.split_first().unwrap();
    let order = Start {
        command: CommandId(number),
        program: OsString::from(program),
        arguments: arguments.iter().map(OsString::from).collect(),
        variables: std::env::vars_os().collect(),
        directory: None,
        time_limit,
    };
    let nothing = File::options().read(true).write(true).open("NUL").unwrap();
    let directory = std::env::temp_dir();
    session.start(&order, directory.as_os_str(), [nothing.as_handle(); 3]);
}

fn next(session: &Unbounded) -> Event {
    let event = session.receive(Some(Duration::from_mins(1))).unwrap();
    event.expect("an event")
}

fn end(session: &Unbounded) -> Ended {
    let started = next(session);
    assert!(matches!(started, Event::Started { .. }), "{started:?}");
    match next(session) {
        Event::Ended { how, .. } => how,
        other => panic!("{other:?}"),
    }
}

#[test]
fn enforced_by_wine_an_unbounded_command_ends_as_it_ends() {
    let session = Unbounded::new().unwrap();
    start(&session, 1, &["cmd", "/c", "exit", "7"], None);
    assert_eq!(end(&session), Ended::Exited(7));
    start(&session, 2, &["ringfence-no-such-program"], None);
    assert_eq!(
        next(&session),
        Event::NotStarted {
            command: CommandId(2),
            why: NotStarted::NotFound
        }
    );
    let long = ["cmd", "/c", "ping -n 60 127.0.0.1"];
    start(&session, 3, &long, Some(200));
    assert_eq!(end(&session), Ended::TimeLimit);
}

#[test]
fn enforced_by_wine_what_an_unbounded_command_has_started_ends_with_the_session() {
    let session = Unbounded::new().unwrap();
    start(&session, 1, &["cmd", "/c", "ping -n 60 127.0.0.1"], None);
    assert!(matches!(next(&session), Event::Started { .. }));
    session.close();
    assert!(matches!(
        next(&session),
        Event::Ended {
            how: Ended::Killed,
            ..
        }
    ));
    assert_eq!(next(&session), Event::Closed);
}
