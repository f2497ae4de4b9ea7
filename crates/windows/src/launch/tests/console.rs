//! A command on a terminal of its own.

use std::ffi::OsString;
use std::io::{PipeReader, PipeWriter, Read as _};
use std::os::windows::io::AsHandle as _;
use std::sync::Mutex;

use ringfence_backend::CommandId;
use ringfence_backend::command::TerminalSize;
use ringfence_backend::windows::runner::{Ended, Event, InterruptKey};

use super::roles::{Role, console_host};
use super::{next, shell, this_program, through_a_runner};
use crate::launch::LentStreams;
use crate::launch::console::{ConsoleLine, Line, follow, sides};
use crate::sys::console::PseudoConsole;
use crate::sys::process::{Arguments, Child, Command, Standard, start_suspended};

/// A console's host that runs and waits for its orders, and its screen.
fn host() -> (ConsoleLine, Child, Keyboard, PipeReader) {
    let (line, orders) = ConsoleLine::new().unwrap();
    let (screen, output) = std::io::pipe().unwrap();
    let (input, keyboard) = std::io::pipe().unwrap();
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
    host.resume().unwrap();
    (line, host, Keyboard(keyboard), screen)
}

/// What is typed at a console: nothing, as long as this is there.
struct Keyboard(#[expect(dead_code, reason = "held open")] PipeWriter);

const SIZE: TerminalSize = TerminalSize {
    rows: 24,
    columns: 80,
};

/// wine shows what is written to the console by name; it does not make the console the standard output.
#[test]
fn plumbing_only_a_command_on_a_console_is_seen_and_its_status_comes_back() {
    let (mut line, host, _keyboard, screen) = host();
    let words = ["/d", "/c", "echo typed>CON& exit 6"].map(OsString::from);
    let shell = OsString::from(r"C:\windows\system32\cmd.exe");
    line.start(shell, Line::Plain(words.into()), SIZE).unwrap();
    line.resize(TerminalSize {
        rows: 40,
        columns: 120,
    });
    let reader = std::thread::spawn(move || read(screen));
    let code = host.wait(Some(60_000)).unwrap();
    assert_eq!(code, Some(6), "the command's own status");
    let shown = reader.join().unwrap();
    assert!(shown.contains("typed"), "{shown:?}");
}

fn read(mut screen: PipeReader) -> String {
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
    let streams = LentStreams::Terminal {
        input: input.as_handle(),
        output: output.as_handle(),
        size: SIZE,
    };
    let command = shell(1, &["/d", "/c", "echo shown>CON& exit 9"]);
    session.start(command, streams).unwrap();
    drop((input, output));
    let reader = std::thread::spawn(move || read(screen));
    assert!(matches!(next(&mut session), Event::Started { .. }));
    session.resize(CommandId(1), SIZE).unwrap();
    let event = next(&mut session);
    let Event::Ended { how, .. } = event else {
        panic!("{event:?}");
    };
    assert_eq!(how, Ended::Exited(9));
    let shown = reader.join().unwrap();
    assert!(shown.contains("shown"), "{shown:?}");
}

/// wine's console is asked and refuses.
#[test]
fn plumbing_only_each_order_of_another_size_resizes_the_console() {
    let (_typed, input) = {
        let (input, typed) = std::io::pipe().unwrap();
        (typed, input)
    };
    let (_screen, output) = std::io::pipe().unwrap();
    let console = PseudoConsole::new(sides(SIZE), input.as_handle(), output.as_handle()).unwrap();
    let console = Mutex::new(Some(console));
    let (mut line, orders) = ConsoleLine::new().unwrap();
    for rows in [40, 50] {
        line.resize(TerminalSize { rows, columns: 120 });
    }
    drop(line);
    assert_eq!(follow(orders, &console, 0), 2);
    // Control: where no console is left, none is resized.
    let (mut line, orders) = ConsoleLine::new().unwrap();
    line.resize(SIZE);
    drop(line);
    assert_eq!(follow(orders, &Mutex::new(None), 0), 0);
}

#[test]
fn plumbing_only_ctrl_c_reaches_the_command_on_a_terminal() {
    let (mut line, host, _keyboard, mut screen) = host();
    let program = this_program().into_os_string();
    let role = Line::Plain(Role::Listener.arguments());
    line.start(program.clone(), role, SIZE).unwrap();
    let (mut shown, mut part) = (Vec::new(), [0; 512]);
    while !String::from_utf8_lossy(&shown).contains("@listens") {
        let count = screen.read(&mut part).unwrap();
        assert!(count > 0, "{:?}", String::from_utf8_lossy(&shown));
        shown.extend_from_slice(&part[..count]);
    }
    let reader = std::thread::spawn(move || read(screen));
    line.interrupt(InterruptKey::CtrlC, &console_host());
    assert_eq!(host.wait(Some(60_000)).unwrap(), Some(42));
    reader.join().unwrap();
}
