//! Commands through a runner in another process.

use std::io::Read as _;
use std::os::windows::io::{AsHandle as _, AsRawHandle as _};
use std::time::Instant;

use ringfence_backend::CommandId;
use ringfence_backend::windows::Files as _;
use ringfence_backend::windows::runner::{Ended, Event, Lacking, NotStarted, Tended};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{Object, ObjectKind};

use super::roles::{self, HANDLE, Role};
use super::{
    PATIENCE, PLUMBING, begin, next, opening, run, said, shell, start, this_program,
    through_a_runner,
};
use crate::files::NtFiles;
use crate::launch::Answer;
use crate::launch::engine::{Demand, Engine};
use crate::launch::session::Session;
use crate::sys::connections::TcpConnection;
use crate::sys::handle::{Inheritance, set_inheritance};
use crate::sys::job::{Job, JobLimits};
use crate::sys::process::{Arguments, Command, Standard, start_suspended};
use crate::sys::running::Process;

fn ended(event: &Event) -> Ended {
    match event {
        Event::Ended { how, .. } => *how,
        other => panic!("{other:?}"),
    }
}

/// Waits until no process of this number is left.
fn wait_for_the_end_of(process: u32) {
    let begun = Instant::now();
    while Process::open(process).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "process {process} lives");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn plumbing_only_one_runner_serves_many_commands() {
    let mut session = through_a_runner();
    assert!(session.ready().proven.iter().any(|line| line == PLUMBING));
    assert_eq!(session.ready().lacking, []);
    for (number, code) in [(1, 0), (2, 7), (3, 255), (4, 256)] {
        let line = format!("exit {code}");
        let (_, event) = run(&mut session, shell(number, &["/d", "/c", &line]));
        assert_eq!(ended(&event), Ended::Exited(code), "{code}");
    }
    session.close().unwrap();
    assert_eq!(next(&mut session), Event::Closed);
}

#[test]
fn enforced_by_wine_a_runner_in_a_job_nests_its_own_and_says_what_that_costs() {
    let around = Job::unread(JobLimits::default()).unwrap();
    let runner = roles::runner(Role::Runner, &[&around]);
    let mut session = Session::through(runner, opening(super::account()), None).unwrap();
    assert_eq!(session.ready().lacking, [Lacking::DesktopLimits]);
    let (text, event) = run(&mut session, start(1, Role::Parent));
    assert_eq!(ended(&event), Ended::Exited(0), "{text}");
    let child = said(&text)[0].strip_prefix("child ").unwrap();
    wait_for_the_end_of(child.parse().unwrap());
}

#[test]
fn enforced_by_wine_all_32_bits_of_a_status_arrive() {
    let mut session = through_a_runner();
    // 0xc000013a and 0xc0000005.
    for (number, code) in [(1, -1_073_741_510), (2, -1_073_741_819)] {
        let line = format!("exit {code}");
        let (_, event) = run(&mut session, shell(number, &["/d", "/c", &line]));
        assert_eq!(ended(&event), Ended::Exited(i32::cast_unsigned(code)));
    }
}

#[test]
fn plumbing_only_commands_that_run_at_once_end_each_with_its_own_status() {
    let mut session = through_a_runner();
    let mut readers = Vec::new();
    for number in 1..=6 {
        let line = format!("exit {}", number + 40);
        readers.push(begin(&mut session, shell(number, &["/d", "/c", &line])));
    }
    let mut ends = Vec::new();
    while ends.len() < 6 {
        match next(&mut session) {
            Event::Started { .. } => {}
            Event::Ended { command, how, .. } => ends.push((command.0, how)),
            other => panic!("{other:?}"),
        }
    }
    ends.sort_unstable_by_key(|(number, _)| *number);
    let expected = (1..=6).map(|number: u32| (u64::from(number), Ended::Exited(number + 40)));
    assert_eq!(ends, expected.collect::<Vec<_>>());
    session.close().unwrap();
    assert_eq!(next(&mut session), Event::Closed);
}

#[test]
fn plumbing_only_what_can_not_be_started_is_said_and_the_session_goes_on() {
    let mut session = through_a_runner();
    let mut why = |start| match run(&mut session, start).1 {
        Event::NotStarted { why, .. } => why,
        other => panic!("{other:?}"),
    };
    let named = |number, program: &str| super::Start {
        program: program.into(),
        ..shell(number, &[])
    };
    assert_eq!(why(named(1, "no-such-program")), NotStarted::NotFound);
    assert_eq!(why(named(2, r"C:\no\such.exe")), NotStarted::NotFound);
    assert!(matches!(
        why(named(3, r"C:\windows\win.ini")),
        NotStarted::NotExecutable(_)
    ));
    assert!(matches!(why(named(3, "cmd")), NotStarted::Malformed(_)));
    let zero = shell(4, &["a\0b"]);
    assert!(matches!(why(zero), NotStarted::Malformed(_)));
    let mut twice = shell(5, &["/c", "exit"]);
    twice.variables.push(("a\0b".into(), "x".into()));
    assert!(matches!(why(twice), NotStarted::Malformed(_)));
    let (_, event) = run(&mut session, shell(6, &["/c", "exit 3"]));
    assert_eq!(ended(&event), Ended::Exited(3));
}

#[test]
fn enforced_by_wine_a_command_has_its_variables_and_no_others() {
    let mut session = through_a_runner();
    let mut command = start(1, Role::Variables);
    command.variables = vec![
        ("PATH".into(), r"C:\windows\system32".into()),
        ("Given".into(), "yes".into()),
        ("ringfence_session".into(), "forged".into()),
    ];
    let (text, event) = run(&mut session, command);
    assert_eq!(ended(&event), Ended::Exited(0));
    let mut names: Vec<_> = said(&text);
    assert!(names.contains(&"Given=yes"), "{text}");
    // The launch's own variable takes the place of the one that was asked for, in any spelling.
    assert!(names.contains(&"RINGFENCE_SESSION=1"), "{text}");
    names.retain(|line| !line.starts_with("Given=") && !line.starts_with("RINGFENCE_SESSION="));
    let allowed = [
        "SystemRoot",
        "SystemDrive",
        "windir",
        "ComSpec",
        "PATHEXT",
        "PATH",
        "USERNAME",
        "USERDOMAIN",
    ];
    for line in names {
        let name = line.split('=').next().unwrap();
        assert!(
            // wine adds some of its own.
            name.starts_with("WINE") || allowed.iter().any(|one| one.eq_ignore_ascii_case(name)),
            "{line}"
        );
    }
}

#[test]
fn enforced_by_wine_a_handle_that_is_not_in_the_list_is_not_inherited() {
    // In this process: the handle that must not get through is the engine's own process's.
    let mut session = Session::here_with(None, |sink| {
        Engine::open_as(
            opening(super::account()),
            roles::console_host(),
            sink,
            Demand::Plumbing,
        )
    })
    .unwrap();
    let (extra, _other) = std::io::pipe().unwrap();
    set_inheritance(extra.as_handle(), Inheritance::Allowed).unwrap();
    let value = extra.as_raw_handle().addr().to_string();
    let mut command = start(1, Role::HasHandle);
    command
        .variables
        .push((HANDLE.into(), value.clone().into()));
    let (text, _) = run(&mut session, command);
    assert_eq!(
        said(&text),
        [format!("{HANDLE} false"), "output true".to_owned()]
    );
    // The control: without a list the same handle gets through.
    let output = std::process::Command::new(this_program())
        .args(Role::HasHandle.arguments())
        .env(HANDLE, value)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        said(&text).first(),
        Some(&format!("{HANDLE} true").as_str()),
        "{text}"
    );
}

#[test]
fn enforced_by_wine_what_a_command_has_started_ends_with_it() {
    let mut session = through_a_runner();
    let (text, event) = run(&mut session, start(1, Role::Parent));
    assert_eq!(ended(&event), Ended::Exited(0), "{text}");
    let child = said(&text)[0].strip_prefix("child ").unwrap();
    wait_for_the_end_of(child.parse().unwrap());
}

#[test]
fn enforced_by_wine_a_kill_takes_the_whole_command_and_no_other() {
    let mut session = through_a_runner();
    let _one = begin(&mut session, start(1, Role::Sleep));
    let Event::Started { process: one, .. } = next(&mut session) else {
        panic!("not started");
    };
    let _two = begin(&mut session, start(2, Role::Sleep));
    let Event::Started { process: two, .. } = next(&mut session) else {
        panic!("not started");
    };
    session.kill(CommandId(1)).unwrap();
    let event = next(&mut session);
    assert_eq!(ended(&event), Ended::Killed);
    assert!(matches!(
        event,
        Event::Ended {
            command: CommandId(1),
            ..
        }
    ));
    wait_for_the_end_of(one);
    assert!(Process::open(two).is_ok(), "the other command lives");
    // Twice, and one that never was: nothing happens.
    session.kill(CommandId(1)).unwrap();
    session.kill(CommandId(9)).unwrap();
    session.close().unwrap();
    assert_eq!(ended(&next(&mut session)), Ended::Killed);
    assert_eq!(next(&mut session), Event::Closed);
    wait_for_the_end_of(two);
}

#[test]
fn enforced_by_wine_a_time_limit_ends_a_command() {
    let mut session = through_a_runner();
    let mut command = start(1, Role::Sleep);
    command.time_limit = Some(300);
    let (_, event) = run(&mut session, command);
    assert_eq!(ended(&event), Ended::TimeLimit);
}

#[test]
fn enforced_by_wine_nothing_lives_when_the_harness_was_killed() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let environment: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| !name.to_string_lossy().starts_with('='))
        .collect();
    let program = this_program();
    let harness = start_suspended(&Command {
        program: program.as_os_str(),
        arguments: Arguments::Plain(&Role::Harness.arguments()),
        environment: &environment,
        directory: r"C:\".as_ref(),
        desktop: None,
        standard: Standard::Handles([writer.as_handle(); 3]),
        token: None,
        jobs: &[],
    })
    .unwrap();
    harness.resume().unwrap();
    drop(writer);
    let mut text = String::new();
    let mut byte = [0];
    while !text.contains("@target") || !text.ends_with('\n') {
        assert_eq!(reader.read(&mut byte).unwrap(), 1, "{text}");
        text.push(char::from(byte[0]));
    }
    let number = |name: &str| -> u32 {
        let lines = said(&text);
        let mut lines = lines.iter();
        lines
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    };
    let (runner, target) = (number("runner "), number("target "));
    assert!(Process::open(runner).is_ok() && Process::open(target).is_ok());
    harness.terminate(9).unwrap();
    wait_for_the_end_of(runner);
    wait_for_the_end_of(target);
}

#[test]
fn enforced_by_wine_nothing_lives_when_the_session_was_dropped() {
    let mut session = through_a_runner();
    let _reader = begin(&mut session, start(1, Role::Sleep));
    let Event::Started { process, .. } = next(&mut session) else {
        panic!("not started");
    };
    drop(session);
    wait_for_the_end_of(process);
}

#[test]
fn plumbing_only_a_process_is_known_as_its_commands_and_a_stranger_is_not() {
    let mut session = through_a_runner();
    let _reader = begin(&mut session, start(1, Role::Sleep));
    let Event::Started { process, .. } = next(&mut session) else {
        panic!("not started");
    };
    let callers = session.callers();
    let ask = |process, created| {
        let connection = TcpConnection {
            local: "127.0.0.1:50000".parse().unwrap(),
            remote: "127.0.0.1:7000".parse().unwrap(),
            process,
            created,
        };
        // From another thread than the session's.
        let callers = callers.clone();
        std::thread::spawn(move || callers.whose(&connection))
            .join()
            .unwrap()
    };
    assert_eq!(ask(process, u64::MAX), Answer::Command(CommandId(1)));
    // A connection that is older than the process, and processes of no command.
    assert_eq!(ask(process, 1), Answer::Nobody);
    assert_eq!(ask(std::process::id(), u64::MAX), Answer::Nobody);
    for nobody in [0, 3, u32::MAX] {
        assert_eq!(ask(nobody, u64::MAX), Answer::Nobody);
    }
    // Nor when the session is over.
    drop(session);
    assert_eq!(ask(process, u64::MAX), Answer::Nobody);
}

#[test]
fn enforced_by_wine_path_and_pathext_choose_the_program_and_a_batch_file_runs() {
    let directory = std::env::temp_dir().join(format!("ringfence-program-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(
        directory.join("tool.cmd"),
        "@echo off\r\n@echo @batch %1 %2\r\n@exit /b 5\r\n",
    )
    .unwrap();
    let mut session = through_a_runner();
    let mut command = shell(1, &["one", "two-words"]);
    command.program = "tool".into();
    let path = format!(r"relative;{};C:\windows\system32", directory.display());
    command.variables = vec![("Path".into(), path.into())];
    let (text, event) = run(&mut session, command.clone());
    assert_eq!(said(&text), [r#"batch "one" "two-words""#], "{text}");
    assert_eq!(ended(&event), Ended::Exited(5));
    // What cmd.exe would act upon never reaches it.
    command.command = CommandId(2);
    command.arguments = vec!["&calc".into()];
    let (_, event) = run(&mut session, command);
    assert!(matches!(
        event,
        Event::NotStarted {
            why: NotStarted::Malformed(_),
            ..
        }
    ));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn plumbing_only_a_runner_that_says_nonsense_is_not_listened_to() {
    // This program in a role that is no runner: it ends without a word.
    let runner = roles::runner(Role::StrictRunner, &[]);
    let refused = Session::through(runner, opening(super::account()), None);
    assert!(refused.is_err());
}

#[test]
fn not_enforced_what_could_not_be_opened_to_the_person_is_said_before_the_end() {
    let directory = std::env::temp_dir().join(format!("ringfence-root-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("before"), "x").unwrap();
    let path = WindowsPath::parse(directory.to_str().unwrap()).unwrap();
    let mut files = NtFiles::new();
    let root = files.open(&path).unwrap().unwrap();
    let mut opening = opening(super::account());
    opening.roots = vec![Object {
        path: path.clone(),
        kind: ObjectKind::Directory,
        id: files.observe(&root).unwrap().id,
    }];
    let runner = roles::runner(Role::Runner, &[]);
    let mut session = Session::through(runner, opening, None).unwrap();
    assert_eq!(session.ready().lacking, []);
    // wine reports a change later than the call that made it returns: perhaps only at a later command's end.
    for number in 1..=100 {
        let line = format!("echo x>{}\\made{number}", directory.display());
        let _reader = begin(&mut session, shell(number, &["/d", "/c", &line]));
        let mut tended = Vec::new();
        loop {
            match next(&mut session) {
                Event::Started { .. } => {}
                Event::Tended { path, what, .. } => tended.push((path, what)),
                other => {
                    assert_eq!(ended(&other), Ended::Exited(0));
                    break;
                }
            }
        }
        // It keeps no entry of the person's: what was made can't be opened to them. What was there is not looked at.
        for (path, what) in &tended {
            assert!(path.contains("\\made"), "{path}");
            assert!(matches!(what, Tended::Left(_) | Tended::Opened), "{what:?}");
        }
        if !tended.is_empty() {
            drop(session);
            std::fs::remove_dir_all(&directory).unwrap();
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("nothing was looked at");
}
