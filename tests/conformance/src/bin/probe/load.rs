//! Programs that use up, stay behind, and look at their terminal.

use std::ffi::{CStr, CString};
use std::io::{Read, Write};

use ringfence_conformance_tests::verdict::Stopped;

use crate::calls::{Outcome, clone_process, leave, wait_child};
use crate::sys;
use crate::writes::open;

/// Runs the program of that name; `None` when this table has no such row.
pub(crate) fn run(name: &str, words: &[CString]) -> Option<Outcome> {
    let outcome = match (name, words) {
        ("allocate", [bytes]) => allocate(bytes),
        ("fork-many", [count]) => fork_many(count),
        ("tree", [depth]) => tree(depth),
        ("daemon", []) => daemon(),
        ("terminal", []) => Ok(terminal()),
        ("await-resize", []) => await_resize(),
        ("hash-input", []) => hash_input(),
        ("write-input", []) => write_input(),
        ("echo-size", []) => terminal_size(0),
        _ => return None,
    };
    Some(outcome)
}

fn number(word: &CStr) -> Result<usize, Stopped> {
    word.to_str()
        .ok()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| Stopped::untried("a number was expected"))
}

/// Takes memory in pieces of a mebibyte and touches each page.
fn allocate(bytes: &CStr) -> Outcome {
    let pieces = number(bytes)? >> 20;
    let mut held = Vec::new();
    for piece in 0..pieces {
        let byte = u8::try_from(piece % 251 + 1).unwrap_or(1);
        held.push(vec![byte; 1 << 20]);
    }
    // Held a moment: a limit that is watched needs to see it.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let sum: usize = held.iter().map(Vec::len).sum();
    Ok(sum.to_string())
}

/// Forks until it is refused or has `count` children that all live at once.
fn fork_many(count: &CStr) -> Outcome {
    let mut children = Vec::new();
    let mut refused = None;
    for _ in 0..number(count)? {
        match clone_process(0) {
            Ok(0) => {
                let _ = sys!(SYS_ppoll, 0, 0, 0, 0, 0);
                leave(0);
            }
            Ok(child) => children.push(child),
            Err(stopped) => {
                refused = Some(stopped);
                break;
            }
        }
    }
    let lived = children.len();
    for child in &children {
        let _ = sys!(SYS_kill, *child, libc::SIGKILL);
    }
    for child in children {
        let _ = wait_child(child);
    }
    match refused {
        None => Ok(lived.to_string()),
        Some(stopped) => Err(Stopped {
            call: format!("{} after {lived}", stopped.call),
            errno: stopped.errno,
        }),
    }
}

fn sleep_for_ever() -> ! {
    loop {
        let _ = sys!(SYS_ppoll, 0, 0, 0, 0, 0);
    }
}

/// A tree of that depth, whose leaf is a daemon; says so when it stands, then sleeps.
fn tree(depth: &CStr) -> Outcome {
    let depth = number(depth)?;
    let mut ends = [0_i32; 2];
    sys!(SYS_pipe2, &mut ends, 0)?;
    let [ready, tell] = ends;
    grow(depth, tell)?;
    let mut byte = [0_u8; 1];
    sys!(SYS_read, ready, &mut byte, 1)?;
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "standing");
    let _ = output.flush();
    drop(output);
    sleep_for_ever()
}

fn grow(depth: usize, tell: i32) -> Result<(), Stopped> {
    let child = clone_process(0)?;
    if child != 0 {
        return Ok(());
    }
    if depth == 0 {
        let _ = sys!(SYS_setsid);
        if let Ok(0) = clone_process(0) {
            ignore_endings();
            let _ = sys!(SYS_write, tell, b"x", 1);
            sleep_for_ever();
        }
        leave(0);
    }
    let _ = grow(depth - 1, tell);
    sleep_for_ever()
}

/// Ignores what can be ignored, as a daemon that wants to live does.
fn ignore_endings() {
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
        // SAFETY: SIG_IGN is a disposition, no function.
        let _ = unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Leaves a daemon behind and ends.
fn daemon() -> Outcome {
    let mut ends = [0_i32; 2];
    sys!(SYS_pipe2, &mut ends, 0)?;
    let [ready, tell] = ends;
    if clone_process(0)? == 0 {
        let _ = sys!(SYS_setsid);
        if let Ok(0) = clone_process(0) {
            ignore_endings();
            for fd in 0..3 {
                let _ = sys!(SYS_close, fd);
            }
            let _ = open(c"/dev/null", libc::O_RDWR);
            let _ = sys!(SYS_write, tell, b"x", 1);
            sleep_for_ever();
        }
        leave(0);
    }
    let mut byte = [0_u8; 1];
    sys!(SYS_read, ready, &mut byte, 1)?;
    Ok(String::new())
}

fn terminal_size(fd: i32) -> Outcome {
    let mut size = [0_u8; 8];
    sys!(SYS_ioctl, fd, libc::TIOCGWINSZ, &mut size)?;
    let rows = u16::from_ne_bytes([size[0], size[1]]);
    let columns = u16::from_ne_bytes([size[2], size[3]]);
    Ok(format!("{rows}x{columns}"))
}

/// Which of the three streams are terminals, the size, and whether `/dev/tty` opens.
fn terminal() -> String {
    use std::io::IsTerminal;
    let streams = [
        std::io::stdin().is_terminal(),
        std::io::stdout().is_terminal(),
        std::io::stderr().is_terminal(),
    ];
    let size = terminal_size(0)
        .or_else(|_| terminal_size(1))
        .or_else(|_| terminal_size(2));
    let controlling = open(c"/dev/tty", libc::O_RDWR).is_ok();
    format!("{streams:?} {} {controlling}", size.unwrap_or_default())
}

/// Prints its size, waits for another, prints that.
fn await_resize() -> Outcome {
    let before = terminal_size(0)?;
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "size {before}");
    let _ = output.flush();
    for _ in 0..600 {
        let now = terminal_size(0)?;
        if now != before {
            return Ok(now);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Err(Stopped::untried("the size never changed"))
}

fn input() -> Result<Vec<u8>, Stopped> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .read_to_end(&mut bytes)
        .map_err(|error| Stopped {
            call: "read".to_owned(),
            errno: error.raw_os_error().unwrap_or(0),
        })?;
    Ok(bytes)
}

/// The length and SHA-256 of standard input.
fn hash_input() -> Outcome {
    use sha2::Digest;
    let bytes = input()?;
    let hash = sha2::Sha256::digest(&bytes);
    let mut text = bytes.len().to_string() + " ";
    for byte in hash {
        use std::fmt::Write;
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// Opens standard input's file again, for writing.
fn write_input() -> Outcome {
    let fd = open(c"/proc/self/fd/0", libc::O_WRONLY)?;
    sys!(SYS_write, fd, b"changed\n", 8)?;
    Ok(String::new())
}
