use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;

use ringfence_policy::AbsolutePath;
use ringfence_policy::document::{GitAccess, Mode};
use ringfence_policy::filesystem::{PathAccess, PathRule, Scope, Strength};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tempfile::TempDir;

use super::*;

struct Ground {
    directory: TempDir,
    rules: FilesystemRules,
}

/// A writable root `work` with a protected file, and a place outside it.
fn ground() -> Ground {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().canonicalize().unwrap();
    for name in ["work", "outside"] {
        fs::create_dir(base.join(name)).unwrap();
    }
    let rule = |name: &str, access, strength, rule| PathRule {
        path: AbsolutePath::new(base.join(name)).unwrap(),
        access,
        strength,
        rule,
        origin: name.to_owned(),
        except: Vec::new(),
    };
    let scope = Scope {
        mode: Mode::WorkspaceWrite,
        git: GitAccess::ReadOnly,
        workspace: AbsolutePath::new(base.join("work")).unwrap(),
        home: AbsolutePath::new(base.join("home")).unwrap(),
    };
    let paths = vec![
        rule(
            "work",
            PathAccess::ReadWrite,
            Strength::Place,
            RuleId::WritableRoot,
        ),
        rule(
            "work/AGENTS.md",
            PathAccess::ReadOnly,
            Strength::Deny,
            RuleId::ProtectedName,
        ),
    ];
    Ground {
        rules: FilesystemRules::new(scope, paths, Vec::new()),
        directory,
    }
}

impl Ground {
    fn file(&self, name: &str, text: &str) -> File {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        File::options().read(true).write(true).open(path).unwrap()
    }

    fn class(&self, fd: impl AsFd) -> Result<Class, &'static str> {
        let stat = rustix::fs::fstat(&fd).unwrap();
        match classify(StreamName::Output, fd.as_fd(), &stat, &self.rules) {
            Ok(class) => Ok(class),
            Err(StreamError::Refused { what, .. }) => Err(what),
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn null() -> File {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap()
}

/// A pseudo-terminal: its outer and its inner side.
fn terminal() -> (OwnedFd, File) {
    let outer = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&outer).unwrap();
    unlockpt(&outer).unwrap();
    let name = ptsname(&outer, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let inner = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).unwrap();
    (outer, File::from(inner))
}

#[test]
fn only_what_the_command_may_write_itself_is_handed_over() {
    let ground = ground();
    let inside = ground.file("work/out.txt", "");
    let relayed = Ok(Class::Relayed(Transfer::File));
    assert_eq!(ground.class(&inside), Ok(Class::Passed));
    assert_eq!(ground.class(ground.file("outside/out.txt", "")), relayed);
    assert_eq!(ground.class(ground.file("work/AGENTS.md", "")), relayed);
    // Moved away, deleted, or replaced: the name it has now decides.
    let base = ground.directory.path();
    fs::rename(base.join("work/out.txt"), base.join("outside/moved")).unwrap();
    assert_eq!(ground.class(&inside), relayed);
    fs::rename(base.join("outside/moved"), base.join("work/out.txt")).unwrap();
    assert_eq!(ground.class(&inside), Ok(Class::Passed));
    fs::remove_file(base.join("work/out.txt")).unwrap();
    assert_eq!(ground.class(&inside), relayed);
    let _another = ground.file("work/out.txt", "");
    assert_eq!(ground.class(&inside), relayed);
    // A link in the root that was followed to a file outside it.
    symlink(base.join("outside/out.txt"), base.join("work/link")).unwrap();
    let through = File::options()
        .write(true)
        .open(base.join("work/link"))
        .unwrap();
    assert_eq!(ground.class(through), relayed);
}

#[test]
fn each_kind_of_stream_has_its_treatment() {
    let ground = ground();
    let (socket, _other) = UnixStream::pair().unwrap();
    assert_eq!(ground.class(socket), Ok(Class::Relayed(Transfer::Socket)));
    let (reader, writer) = io::pipe().unwrap();
    assert_eq!(ground.class(reader), Ok(Class::Passed));
    assert_eq!(ground.class(writer), Ok(Class::Passed));
    assert_eq!(ground.class(null()), Ok(Class::Null));
    assert_eq!(
        ground.class(File::open("/dev/zero").unwrap()),
        Ok(Class::Relayed(Transfer::File))
    );
    let (outer, inner) = terminal();
    assert_eq!(ground.class(inner), Ok(Class::Terminal));
    drop(outer);
    let directory = File::open(ground.directory.path().join("work")).unwrap();
    assert_eq!(ground.class(directory), Err("a directory"));
    let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
    assert_eq!(ground.class(epoll), Err("a special descriptor"));
}

#[test]
fn a_stream_that_is_refused_is_named_and_nothing_is_prepared() {
    let ground = ground();
    let (null, directory) = (null(), File::open(ground.directory.path()).unwrap());
    let own = [null.as_fd(), null.as_fd(), directory.as_fd()];
    let error = Streams::prepare(own, &ground.rules).unwrap_err();
    assert_eq!(error.to_string(), "standard error is a directory");
    assert!(error.hint().contains("2>/dev/null"));
}

#[test]
fn a_protected_file_as_standard_input_is_read_and_can_not_be_written() {
    let ground = ground();
    let text = "do not touch\n".repeat(20_000);
    let file = ground.file("work/AGENTS.md", &text);
    let null = null();
    let own = [file.as_fd(), null.as_fd(), null.as_fd()];
    let mut streams = Streams::prepare(own, &ground.rules).unwrap();
    assert_eq!(
        streams.kinds,
        [Stream::Descriptor, Stream::Null, Stream::Null]
    );
    let given = streams.descriptors(own);
    assert_eq!(given.len(), 1);
    let stat = rustix::fs::fstat(given[0]).unwrap();
    assert_eq!(FileType::from_raw_mode(stat.st_mode), FileType::Fifo);
    assert!(rustix::io::write(given[0], b"x").is_err());
    let mut end = File::from(given[0].try_clone_to_owned().unwrap());
    streams.close_given();
    let mut relay = streams.input.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut read = String::new();
        end.read_to_string(&mut read).unwrap();
        read
    });
    drain(&mut relay);
    assert_eq!(reader.join().unwrap(), text);
}

/// Moves bytes until nothing more can come.
fn drain(relay: &mut Relay) {
    while let Some((fd, flags)) = relay.interest() {
        let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
        let limit = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        assert_ne!(poll(&mut fds, Some(&limit)).unwrap(), 0, "stuck");
        relay.step();
    }
}

#[test]
fn output_and_error_to_one_file_keep_their_order_and_every_byte() {
    let ground = ground();
    let file = ground.file("outside/log", "");
    let null = null();
    let own = [null.as_fd(), file.as_fd(), file.as_fd()];
    let mut streams = Streams::prepare(own, &ground.rules).unwrap();
    assert_eq!(streams.outputs.len(), 1, "two pipes would lose the order");
    let mut ends: Vec<_> = streams
        .descriptors(own)
        .iter()
        .map(|fd| File::from(fd.try_clone_to_owned().unwrap()))
        .collect();
    assert_eq!(ends.len(), 2);
    streams.close_given();
    let mut relay = streams.outputs.pop().unwrap();
    let lines: Vec<_> = (0..50_000).map(|line| format!("line {line}\n")).collect();
    let expected = lines.concat();
    let writer = std::thread::spawn(move || {
        for (index, line) in lines.iter().enumerate() {
            ends[index % 2].write_all(line.as_bytes()).unwrap();
        }
    });
    drain(&mut relay);
    writer.join().unwrap();
    let written = fs::read_to_string(ground.directory.path().join("outside/log")).unwrap();
    assert!(
        written == expected,
        "{} of {} bytes",
        written.len(),
        expected.len()
    );
}

#[test]
fn a_socket_is_relayed_in_both_directions_and_hears_the_end() {
    let ground = ground();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let null = null();
    let own = [ours.as_fd(), ours.as_fd(), null.as_fd()];
    let mut streams = Streams::prepare(own, &ground.rules).unwrap();
    let ends: Vec<_> = streams
        .descriptors(own)
        .iter()
        .map(|fd| fd.try_clone_to_owned().unwrap())
        .collect();
    for end in &ends {
        let stat = rustix::fs::fstat(end).unwrap();
        let kind = FileType::from_raw_mode(stat.st_mode);
        assert_eq!(kind, FileType::Fifo, "a socket would carry descriptors in");
    }
    streams.close_given();
    let sent: Vec<u8> = (0..3_000_000_u32)
        .map(|byte| byte.to_le_bytes()[0])
        .collect();
    let (to_send, mut ends) = (sent.clone(), ends.into_iter().map(File::from));
    let (mut input, mut output) = (ends.next().unwrap(), ends.next().unwrap());
    let peer = std::thread::spawn(move || {
        let mut writing = theirs.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            writing.write_all(&to_send).unwrap();
            writing.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        theirs.read_to_end(&mut back).unwrap();
        writer.join().unwrap();
        back
    });
    let echo = std::thread::spawn(move || io::copy(&mut input, &mut output).unwrap());
    let mut inward = streams.input.take().unwrap();
    let mut outward = streams.outputs.pop().unwrap();
    let inner = std::thread::spawn(move || drain(&mut inward));
    drain(&mut outward);
    inner.join().unwrap();
    assert_eq!(echo.join().unwrap(), 3_000_000);
    drop((outward, streams, ours));
    assert!(peer.join().unwrap() == sent, "bytes were changed or lost");
}

#[test]
fn a_reader_that_has_gone_closes_the_writers_end() {
    let ground = ground();
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let null = null();
    let own = [null.as_fd(), ours.as_fd(), null.as_fd()];
    let mut streams = Streams::prepare(own, &ground.rules).unwrap();
    let end = streams.descriptors(own)[0].try_clone_to_owned().unwrap();
    streams.close_given();
    rustix::io::write(&end, b"into the void").unwrap();
    drain(&mut streams.outputs[0]);
    let mut fds = [PollFd::new(&end, PollFlags::OUT)];
    poll(&mut fds, None).unwrap();
    assert!(fds[0].revents().contains(PollFlags::ERR));
}

#[test]
fn a_terminal_is_never_handed_over_and_its_modes_and_flags_stay() {
    let ground = ground();
    let (outer, inner) = terminal();
    let size = Winsize {
        ws_row: 41,
        ws_col: 137,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&outer, size).unwrap();
    let before = tcgetattr(&inner).unwrap();
    let own = [inner.as_fd(), inner.as_fd(), inner.as_fd()];
    let mut streams = Streams::prepare(own, &ground.rules).unwrap();
    assert_eq!(streams.kinds, [Stream::Terminal; 3]);
    assert!(streams.descriptors(own).is_empty());
    let terminal = streams.terminal.as_mut().unwrap();
    let known = terminal.size().unwrap();
    assert_eq!((known.rows, known.columns), (41, 137));
    // A command's own pseudo-terminal is joined; this test is in the foreground of neither.
    let (controller, _command) = self::terminal();
    terminal.attach(controller).unwrap();
    terminal.give_back();
    let flags = rustix::fs::fcntl_getfl(&inner).unwrap();
    assert!(
        !flags.contains(rustix::fs::OFlags::NONBLOCK),
        "the caller's flags changed"
    );
    drop(streams);
    let after = tcgetattr(&inner).unwrap();
    assert_eq!(before.local_modes, after.local_modes);
    assert_eq!(before.input_modes, after.input_modes);
    assert!(
        after
            .local_modes
            .contains(LocalModes::ICANON | LocalModes::ECHO)
    );
}

/// Runs in a child whose controlling terminal is its standard input.
#[test]
#[ignore = "a child process of a_terminal_in_the_foreground_is_raw_until_the_command_is_gone"]
fn child_on_a_terminal() {
    rustix::process::setsid().unwrap();
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    rustix::process::ioctl_tiocsctty(input.as_fd()).unwrap();
    let own = [input.as_fd(), output.as_fd(), error.as_fd()];
    let is_raw = || {
        let modes = tcgetattr(own[0]).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    };
    let ground = ground();
    assert!(!is_raw());
    let mut streams = Streams::prepare(own, &ground.rules).unwrap();
    assert!(!is_raw(), "before the command has its own terminal");
    let (controller, command) = terminal();
    let terminal = streams.terminal.as_mut().unwrap();
    terminal.attach(controller).unwrap();
    assert!(is_raw());
    let inside = tcgetattr(&command).unwrap().local_modes;
    assert!(inside.contains(LocalModes::ICANON | LocalModes::ECHO));
    terminal.give_back();
    assert!(!is_raw(), "while stopped");
    terminal.take_over();
    assert!(is_raw());
    // However the command's end is met: dropping is enough.
    drop(streams);
    assert!(!is_raw());
    // What is printed may be lost when the terminal hangs up; a file is not.
    fs::write(std::env::var_os(DONE).unwrap(), "").unwrap();
}

/// Names the file that the child makes when it has passed.
const DONE: &str = "TEST_DONE";

#[test]
fn a_terminal_in_the_foreground_is_raw_until_the_command_is_gone() {
    let scratch = tempfile::tempdir().unwrap();
    let done = scratch.path().join("done");
    let (_outer, inner) = terminal();
    let stream = || inner.try_clone().unwrap();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "stdio::tests::child_on_a_terminal"])
        .args(["--nocapture", "--test-threads=1"])
        .env(DONE, &done)
        .stdin(stream())
        .stdout(stream())
        .stderr(stream())
        .spawn();
    let status = child.unwrap().wait().unwrap();
    assert!(status.success());
    assert!(done.exists(), "the child did not get to its end");
}
