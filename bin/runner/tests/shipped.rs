//! The shipped program itself, as far as a system that enforces nothing can run it.

#![cfg(windows)]
#![expect(clippy::unwrap_used, reason = "what a test can't set up fails it")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ringfence_backend::windows::runner::{Event, FORMAT, Refusal, Request};
use ringfence_nt::SecurityDescriptor;
use ringfence_windows::sys::pipe::{PipeName, PipeServer};

const RUNNER: &str = env!("CARGO_BIN_EXE_ringfence-runner");

fn run(program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn plumbing_only_it_asks_for_no_elevation_and_has_no_way_around_its_checks() {
    let bytes = std::fs::read(RUNNER).unwrap();
    let holds = |text: &str| {
        let mut parts = bytes.windows(text.len());
        parts.any(|part| part == text.as_bytes())
    };
    assert!(holds("requestedExecutionLevel level=\"asInvoker\""));
    assert!(holds("longPathAware"));
    // The field `Subsystem` of its header: 2 is a program without a console, so that no console's host is beside it.
    let header = usize::from(u16::from_le_bytes([bytes[0x3c], bytes[0x3d]]));
    assert_eq!(bytes[header + 0x5c], 2);
    // What a session says that was opened without proof, in tests of the machinery alone.
    assert!(!holds("unenforced: a test of the machinery alone"));
    // The control: the words of a session that was proven are there.
    assert!(holds("token: write-restricted, read back"));
}

#[test]
fn plumbing_only_whatever_else_it_is_given_it_starts_nothing() {
    for arguments in [
        [].as_slice(),
        &["cmd.exe"],
        &[r"\\.\pipe\other"],
        &[r"\\server\pipe\ringfence-00000000000000000000000000000000"],
        &["--console", "cmd.exe"],
        &["--help"],
        &["--connect"],
        &["--connect", "git.example.com"],
        &["--connect", "git.example.com", "22", "cmd.exe"],
    ] {
        let output = run(Path::new(RUNNER), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("ringfence run"));
    }
    // A name of ours with nobody behind it.
    let nobody = PipeName::random().unwrap();
    let output = run(Path::new(RUNNER), &[nobody.as_str()]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn plumbing_only_a_console_without_orders_ends_at_once() {
    let output = run(Path::new(RUNNER), &["--console"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn plumbing_only_it_is_a_way_through_the_proxy_and_says_why_there_is_none() {
    const BANNER: &str = "SSH-2.0-server\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for (answer, is_echoed) in [
            (format!("HTTP/1.1 200 OK\r\n\r\n{BANNER}"), true),
            (
                "HTTP/1.1 403 Forbidden\r\n\r\n{\"rule\":\"net.not-listed\"}".to_owned(),
                false,
            ),
        ] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            asked.push(String::from_utf8(head).unwrap());
            stream.write_all(answer.as_bytes()).unwrap();
            let mut said = Vec::new();
            if is_echoed {
                stream.read_to_end(&mut said).unwrap();
                stream.write_all(&said).unwrap();
            }
        }
        asked
    });
    let connect = |input: &str, proxy: &str| {
        let mut connector = Command::new(RUNNER)
            .args(["--connect", "git.example.com", "22"])
            .env("https_proxy", proxy)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut to = connector.stdin.take().unwrap();
        // One that is refused has ended by then.
        let _ = to.write_all(input.as_bytes());
        drop(to);
        connector.wait_with_output().unwrap()
    };
    let proxy = format!("http://{proxy}");
    let through = connect("SSH-2.0-client\r\n", &proxy);
    assert_eq!(through.status.code(), Some(0));
    assert_eq!(
        String::from_utf8_lossy(&through.stdout),
        format!("{BANNER}SSH-2.0-client\r\n")
    );
    let refused = connect("", &proxy);
    assert_eq!(refused.status.code(), Some(255));
    assert!(refused.stdout.is_empty());
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        why.contains("git.example.com:22 is refused: rule net.not-listed"),
        "{why}"
    );
    let without = connect("", "http://192.0.2.1:1");
    assert_eq!(without.status.code(), Some(255));
    assert!(String::from_utf8_lossy(&without.stderr).contains("no way out"));
    for head in served.join().unwrap() {
        assert!(
            head.starts_with("CONNECT git.example.com:22 HTTP/1.1\r\n"),
            "{head}"
        );
    }
}

#[test]
fn plumbing_only_under_the_name_of_ssh_it_fails_as_ssh_does() {
    let directory = std::env::temp_dir().join(format!("ringfence-stubs-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    for name in ["ssh.exe", "SCP.EXE", "sftp.exe"] {
        let stub = directory.join(name);
        std::fs::copy(RUNNER, &stub).unwrap();
        let output = run(&stub, &["host.example.com", "true"]);
        assert_eq!(output.status.code(), Some(255), "{name}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("switched off"));
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn plumbing_only_a_first_word_that_is_no_opening_is_refused_and_it_ends() {
    let everyone = SecurityDescriptor::from_sddl("O:WDG:WDD:(A;;GA;;;WD)").unwrap();
    let name = PipeName::random().unwrap();
    let server = PipeServer::new(name.clone(), &everyone).unwrap();
    let mut runner = Command::new(RUNNER)
        .arg(name.as_str())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let connection = server.accept(60_000).unwrap();
    assert_eq!(connection.peer, runner.id());
    let mut stream = &connection.stream;
    let mut frame = Vec::new();
    FORMAT.encode(&Request::Close, &mut frame).unwrap();
    stream.write_all(&frame).unwrap();
    let answer = FORMAT.read::<Event>(&mut stream).unwrap();
    assert_eq!(answer, Some(Event::Refused(Refusal::OutOfOrder)));
    assert_eq!(runner.wait().unwrap().code(), Some(102));
}

#[test]
fn plumbing_only_hostile_bytes_end_it() {
    let everyone = SecurityDescriptor::from_sddl("O:WDG:WDD:(A;;GA;;;WD)").unwrap();
    for bytes in [
        [0xff; 64].as_slice(),
        &[1, 0, 0, 0, 9, 9, 0],
        &[0, 0, 0, 0, 1, 0],
        &[200, 0, 0, 0, 1, 0, 1],
    ] {
        let name = PipeName::random().unwrap();
        let server = PipeServer::new(name.clone(), &everyone).unwrap();
        let mut runner = Command::new(RUNNER)
            .arg(name.as_str())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let connection = server.accept(60_000).unwrap();
        (&connection.stream).write_all(bytes).unwrap();
        drop(connection);
        assert_eq!(runner.wait().unwrap().code(), Some(1), "{bytes:?}");
    }
}

/// A word that would be answered, in a frame of another version: it is not read at all.
#[test]
fn plumbing_only_a_frame_of_another_version_is_not_answered() {
    let everyone = SecurityDescriptor::from_sddl("O:WDG:WDD:(A;;GA;;;WD)").unwrap();
    let name = PipeName::random().unwrap();
    let server = PipeServer::new(name.clone(), &everyone).unwrap();
    let mut runner = Command::new(RUNNER)
        .arg(name.as_str())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let connection = server.accept(60_000).unwrap();
    let mut stream = &connection.stream;
    let mut frame = Vec::new();
    FORMAT.encode(&Request::Close, &mut frame).unwrap();
    // The version stands behind four bytes of length.
    frame[4] = frame[4].wrapping_add(1);
    stream.write_all(&frame).unwrap();
    assert_eq!(FORMAT.read::<Event>(&mut stream).unwrap(), None);
    assert_eq!(runner.wait().unwrap().code(), Some(1));
}
