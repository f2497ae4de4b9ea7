//! A command on a terminal of its own.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::windows::io::AsHandle as _;

use ringfence_backend::CommandId;
use ringfence_backend::command::TerminalSize;
use ringfence_backend::windows::runner::{Ended, Event};

use super::roles::Role;
use super::{next, shell, this_program, through_a_runner};
use crate::launch::LentStreams;
use crate::launch::console::{ConsoleLine, Line};
use crate::sys::process::{Arguments, Command, Standard, start_suspended};

/// wine shows what is written to the console by name; it does not make the console the standard output.
#[test]
fn plumbing_only_a_command_on_a_console_is_seen_and_its_status_comes_back() {
    let (mut line, orders) = ConsoleLine::new().unwrap();
    let (screen, output) = std::io::pipe().unwrap();
    let (input, _keyboard) = std::io::pipe().unwrap();
    let environment: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| !name.to_string_lossy().starts_with('='))
        .collect();
    let program = this_program();
    let host = start_suspended(&Command {
        program: program.as_os_str(),
        arguments: Arguments::Plain(&Role::Console.arguments()),
        environment: &environment,
        directory: r"C:\windows".as_ref(),
        desktop: None,
        standard: Standard::Handles([input.as_handle(), output.as_handle(), orders.as_handle()]),
        token: None,
        jobs: &[],
    })
    .unwrap();
    let words = ["/d", "/c", "echo typed>CON& exit 6"].map(OsString::from);
    let size = TerminalSize {
        rows: 24,
        columns: 80,
    };
    let shell = OsString::from(r"C:\windows\system32\cmd.exe");
    line.start(shell, Line::Plain(words.into()), size).unwrap();
    host.resume().unwrap();
    line.resize(TerminalSize {
        rows: 40,
        columns: 120,
    });
    drop((input, output, orders));
    let reader = std::thread::spawn(move || read(screen));
    let code = host.wait(Some(60_000)).unwrap();
    assert_eq!(code, Some(6), "the command's own status");
    let shown = reader.join().unwrap();
    assert!(shown.contains("typed"), "{shown:?}");
}

fn read(mut screen: std::io::PipeReader) -> String {
    let mut shown = Vec::new();
    let mut part = [0; 512];
    while let Ok(count @ 1..) = screen.read(&mut part) {
        shown.extend_from_slice(&part[..count]);
    }
    String::from_utf8_lossy(&shown).into_owned()
}

#[test]
fn plumbing_only_a_session_gives_a_command_a_terminal_and_sets_its_size() {
    let mut session = through_a_runner();
    let (screen, output) = std::io::pipe().unwrap();
    let (input, _keyboard) = std::io::pipe().unwrap();
    let size = TerminalSize {
        rows: 24,
        columns: 80,
    };
    let streams = LentStreams::Terminal {
        input: input.as_handle(),
        output: output.as_handle(),
        size,
    };
    let command = shell(1, &["/d", "/c", "echo shown>CON& exit 9"]);
    session.start(command, streams).unwrap();
    drop((input, output));
    let reader = std::thread::spawn(move || read(screen));
    assert!(matches!(next(&mut session), Event::Started { .. }));
    session.resize(CommandId(1), size).unwrap();
    let event = next(&mut session);
    let Event::Ended { how, .. } = event else {
        panic!("{event:?}");
    };
    assert_eq!(how, Ended::Exited(9));
    let shown = reader.join().unwrap();
    assert!(shown.contains("shown"), "{shown:?}");
}
