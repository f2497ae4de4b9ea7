//! The attacks of Windows: one call each, by what std and the calls of `ringfence-windows` give.
//!
//! Invariant: the code that is reported is the code of that call.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use ringfence_conformance_tests::finished::eventually;
use ringfence_conformance_tests::verdict::Stopped;
use ringfence_windows::sys::CallError;
use ringfence_windows::sys::key::{Key, KeyAccess, Root};
use ringfence_windows::sys::snapshot::{processes, threads_of};
use ringfence_windows::sys::token::AccessToken;
use ringfence_windows::sys::trespass;

/// The outcome of one attack.
type Outcome = Result<String, Stopped>;

/// What is written.
const BYTES: &[u8] = b"changed by the probe";
/// `FILE_FLAG_BACKUP_SEMANTICS`, which directories need, and `FILE_FLAG_OPEN_REPARSE_POINT`.
const ITSELF: u32 = 0x0200_0000 | 0x0020_0000;
/// `FILE_WRITE_ATTRIBUTES`
const WRITE_ATTRIBUTES: u32 = 0x0100;
/// `ERROR_FILE_NOT_FOUND`
const NOT_FOUND: i32 = 2;
/// `ERROR_ENVVAR_NOT_FOUND`
const NO_VARIABLE: i32 = 203;
/// What keeps a file to itself does so for this long.
const HELD: Duration = Duration::from_mins(3);

/// Behaves as a program would, and prints no verdict: ends with a status, or copies its input.
pub(crate) fn behave(name: &str, words: &[OsString]) {
    if name == "exit" {
        let code: Option<u32> = text(words, 0).ok().and_then(|word| word.parse().ok());
        std::process::exit(code.map_or(-1, u32::cast_signed));
    }
    let mut bytes = Vec::new();
    let copied = std::io::stdin()
        .read_to_end(&mut bytes)
        .and_then(|_| std::io::stdout().write_all(&bytes))
        .and_then(|()| {
            bytes.reverse();
            std::io::stderr().write_all(&bytes)
        });
    std::process::exit(i32::from(copied.is_err()));
}

/// Tries the attack of this name.
pub(crate) fn attack(name: &str, words: &[OsString]) -> Outcome {
    on_path(name, words)
        .or_else(|| on_two_paths(name, words))
        .or_else(|| elsewhere(name, words))
        .unwrap_or_else(|| Err(Stopped::untried(format!("no attack is named {name}"))))
}

fn stopped(call: &'static str) -> impl Fn(std::io::Error) -> Stopped {
    move |error| Stopped {
        call: format!("{call}: {error}"),
        errno: error.raw_os_error().unwrap_or(0),
    }
}

fn refused(error: &CallError) -> Stopped {
    Stopped {
        call: error.to_string(),
        errno: error.error.0.cast_signed(),
    }
}

fn text(words: &[OsString], index: usize) -> Result<&str, Stopped> {
    words
        .get(index)
        .and_then(|word| word.to_str())
        .ok_or_else(|| Stopped::untried("a word is missing"))
}

fn number(words: &[OsString], index: usize) -> Result<u32, Stopped> {
    let word = text(words, index)?;
    let parsed = match word.strip_prefix("0x") {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
        None => word.parse(),
    };
    parsed.map_err(|_| Stopped::untried(format!("`{word}` is no number")))
}

fn on_path(name: &str, words: &[OsString]) -> Option<Outcome> {
    let path = PathBuf::from(words.first()?);
    let written = |mut file: File| file.write_all(BYTES);
    let done = match name {
        "read" => return Some(fs::read_to_string(&path).map_err(stopped("read"))),
        "list" => fs::read_dir(&path).map(drop),
        "create" => File::create_new(&path).and_then(written),
        "write" => OpenOptions::new().write(true).open(&path).and_then(written),
        "append" => OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(written),
        "truncate" => OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&path)
            .map(drop),
        "delete" => fs::remove_file(&path),
        "make-directory" => fs::create_dir(&path),
        "remove-directory" => fs::remove_dir(&path),
        "write-stream" => {
            let mut stream = path.into_os_string();
            stream.push(":stream");
            File::create(stream).and_then(written)
        }
        "set-times" => OpenOptions::new()
            .access_mode(WRITE_ATTRIBUTES)
            .open(&path)
            .and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH)),
        "set-attributes" => fs::metadata(&path).and_then(|found| {
            let mut permissions = found.permissions();
            permissions.set_readonly(true);
            fs::set_permissions(&path, permissions)
        }),
        "open" => {
            return Some(number(words, 1).and_then(|right| {
                OpenOptions::new()
                    .access_mode(right)
                    .custom_flags(ITSELF)
                    .open(&path)
                    .map(|_| String::new())
                    .map_err(stopped("CreateFileW"))
            }));
        }
        _ => return None,
    };
    Some(done.map(|()| String::new()).map_err(stopped("open")))
}

fn on_two_paths(name: &str, words: &[OsString]) -> Option<Outcome> {
    let (from, to) = (words.first()?, words.get(1)?);
    let done = match name {
        "rename" => fs::rename(from, to),
        "link" => fs::hard_link(from, to),
        _ => return None,
    };
    Some(
        done.map(|()| String::new())
            .map_err(stopped("MoveFileExW or CreateHardLinkW")),
    )
}

fn elsewhere(name: &str, words: &[OsString]) -> Option<Outcome> {
    Some(match name {
        "connect" => connect(words),
        "send" => send(words),
        "variable" => variable(words),
        "open-process" => {
            let right = number(words, 1);
            process(words).and_then(|id| trespassed("OpenProcess", trespass::process(id, right?)))
        }
        "open-token" => process(words).and_then(|id| {
            trespassed(
                "OpenProcessToken",
                trespass::token(id, trespass::READ_TOKEN),
            )
        }),
        "open-thread" => open_thread(words),
        "write-key" => write_key(words),
        "hold" => hold(words),
        "leave" => leave(words),
        _ => return None,
    })
}

fn address(words: &[OsString]) -> Result<SocketAddr, Stopped> {
    let word = text(words, 0)?;
    word.parse()
        .map_err(|_| Stopped::untried(format!("`{word}` is no address")))
}

fn connect(words: &[OsString]) -> Outcome {
    TcpStream::connect_timeout(&address(words)?, Duration::from_secs(10))
        .map(|_| String::new())
        .map_err(stopped("connect"))
}

fn send(words: &[OsString]) -> Outcome {
    let address = address(words)?;
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(stopped("bind"))?;
    socket
        .send_to(BYTES, address)
        .map(|_| String::new())
        .map_err(stopped("sendto"))
}

fn variable(words: &[OsString]) -> Outcome {
    let name = text(words, 0)?;
    std::env::var(name).map_err(|_| Stopped {
        call: format!("the variable {name}"),
        errno: NO_VARIABLE,
    })
}

/// A process by its number, or the nearest above this one whose program has that name.
fn process(words: &[OsString]) -> Result<u32, Stopped> {
    if let Ok(id) = number(words, 0) {
        return Ok(id);
    }
    let program = text(words, 0)?;
    let all = processes().map_err(|error| refused(&error))?;
    let mut at = std::process::id();
    for _ in 0..all.len() {
        let Some(parent) = all
            .iter()
            .find(|one| one.id == at)
            .and_then(|one| all.iter().find(|above| above.id == one.parent))
        else {
            break;
        };
        if parent.program.eq_ignore_ascii_case(program) {
            return Ok(parent.id);
        }
        at = parent.id;
    }
    Err(Stopped::untried(format!(
        "no {program} stands above this process"
    )))
}

fn trespassed(
    call: &'static str,
    outcome: Result<(), ringfence_windows::sys::Win32Error>,
) -> Outcome {
    outcome.map(|()| String::new()).map_err(|error| Stopped {
        call: call.to_owned(),
        errno: error.0.cast_signed(),
    })
}

fn open_thread(words: &[OsString]) -> Outcome {
    let right = number(words, 1)?;
    let threads = threads_of(process(words)?).map_err(|error| refused(&error))?;
    let thread = threads
        .first()
        .ok_or_else(|| Stopped::untried("a process without a thread"))?;
    trespassed("OpenThread", trespass::thread(*thread, right))
}

/// Opens `Environment` of a person's registry hive for writing; `own` is that of who runs this.
fn write_key(words: &[OsString]) -> Outcome {
    let whose = match text(words, 0)? {
        "own" => AccessToken::of_this_process()
            .and_then(|token| token.user())
            .map_err(|error| refused(&error))?
            .to_string(),
        sid => sid.to_owned(),
    };
    match Key::open(
        Root::Users,
        &format!("{whose}\\Environment"),
        KeyAccess::Write,
    ) {
        Ok(Some(_)) => Ok(String::new()),
        Ok(None) => Err(Stopped {
            call: format!("RegOpenKeyExW {whose}"),
            errno: NOT_FOUND,
        }),
        Err(error) => Err(refused(&error)),
    }
}

/// Keeps a file to itself for a while, as a daemon would.
fn hold(words: &[OsString]) -> Outcome {
    let held = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .share_mode(0)
        .open(text(words, 0)?)
        .map_err(stopped("open"))?;
    std::thread::sleep(HELD);
    drop(held);
    Ok(String::new())
}

/// Leaves a process that holds a file, and ends; with its number.
fn leave(words: &[OsString]) -> Outcome {
    let file = PathBuf::from(text(words, 0)?);
    let mut child = std::env::current_exe()
        .and_then(|program| {
            Command::new(program)
                .arg("hold")
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        })
        .map_err(stopped("CreateProcessW"))?;
    if !eventually(20, || file.exists()) {
        let status = child.try_wait();
        return Err(Stopped::untried(format!("it holds nothing: {status:?}")));
    }
    Ok(child.id().to_string())
}
