//! Unix sockets of the host: what connecting to one gives, and tricks to reach another one than is granted.
//!
//! A server of the suite says its name and passes a descriptor along; what a program hears is what it reached.

use std::ffi::{CString, OsStr};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringfence_conformance_tests::verdict::Stopped;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::calls::{Outcome, descriptor};
use crate::sockets::unix_name;
use crate::sys;

const PATIENCE: Duration = Duration::from_secs(20);
/// How often a race is tried.
const ROUNDS: usize = 3000;

/// Runs the attack of that name; `None` when this table has no such row.
pub(crate) fn run(name: &str, words: &[CString]) -> Option<Outcome> {
    let paths: Vec<PathBuf> = words
        .iter()
        .map(|word| PathBuf::from(OsStr::from_bytes(word.to_bytes())))
        .collect();
    Some(match (name, paths.as_slice()) {
        ("unix-ask", [path]) => ask(path),
        ("unix-descriptors", [path]) => descriptors(path),
        ("unix-swap", [path, other]) => swap(path, other),
        ("unix-race-path", [path, other]) => race(Some(path), other),
        ("unix-race-family", [other]) => race(None, other),
        ("unix-again", [path, other]) => again(path, other),
        ("unix-many", [path]) => many(path),
        _ => return None,
    })
}

fn stopped(call: &str) -> impl Fn(std::io::Error) -> Stopped {
    move |error| Stopped {
        call: call.to_owned(),
        errno: error.raw_os_error().unwrap_or(match error.kind() {
            std::io::ErrorKind::WouldBlock => libc::ETIMEDOUT,
            _ => 0,
        }),
    }
}

/// What the server says, and how many descriptors come with it.
fn hear(stream: &UnixStream) -> Result<(String, usize), Stopped> {
    stream
        .set_read_timeout(Some(PATIENCE))
        .map_err(stopped("setsockopt"))?;
    let mut said = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut said)];
    let received = recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(|errno| stopped("recvmsg")(errno.into()))?;
    let passed = control
        .drain()
        .map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.count(),
            _ => 0,
        })
        .sum();
    if received.bytes == 0 {
        return Err(Stopped {
            call: "read".to_owned(),
            errno: libc::EPIPE,
        });
    }
    let text = said.get(..received.bytes).unwrap_or_default();
    Ok((String::from_utf8_lossy(text).into_owned(), passed))
}

fn ask(path: &Path) -> Outcome {
    let stream = UnixStream::connect(path).map_err(stopped("connect"))?;
    Ok(hear(&stream)?.0)
}

/// Whether a descriptor comes in.
fn descriptors(path: &Path) -> Outcome {
    let stream = UnixStream::connect(path).map_err(stopped("connect"))?;
    match hear(&stream)? {
        (_, 0) => Err(Stopped {
            call: "recvmsg without a descriptor".to_owned(),
            errno: libc::EACCES,
        }),
        (_, count) => Ok(count.to_string()),
    }
}

/// Puts a link to another socket into the granted one's place.
fn swap(path: &Path, other: &Path) -> Outcome {
    let moved = path.with_extension("moved");
    std::fs::rename(path, moved).map_err(stopped("rename"))?;
    std::os::unix::fs::symlink(other, path).map_err(stopped("symlink"))?;
    ask(path)
}

/// Connects once to what is granted, then to another with the same socket.
fn again(path: &Path, other: &Path) -> Outcome {
    let stream = UnixStream::connect(path).map_err(stopped("connect"))?;
    hear(&stream)?;
    let (name, length) = unix_name(&with_nul(other))?;
    sys!(SYS_connect, stream.as_raw_fd(), &name, length)?;
    Ok(hear(&stream)?.0)
}

/// More connections than anybody holds at once, one after the other.
fn many(path: &Path) -> Outcome {
    for _ in 0..600 {
        ask(path)?;
    }
    ask(path)
}

fn with_nul(path: &Path) -> Vec<u8> {
    let mut bytes = path.as_os_str().as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// Exchanges the address, and what the descriptor's number means, while connect(2) is looked at. Succeeds when the
/// other server's name is heard once.
fn race(granted: Option<&Path>, other: &Path) -> Outcome {
    let (wrong, length) = unix_name(&with_nul(other))?;
    let right = match granted {
        Some(path) => unix_name(&with_nul(path))?.0,
        None => loopback(),
    };
    let address = Box::leak(Box::new(std::cell::UnsafeCell::new(right)));
    let place = address.get() as usize;
    let done: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let flipper = std::thread::spawn(move || {
        while !done.load(Ordering::Relaxed) {
            for bytes in [right, wrong] {
                // SAFETY: the address of a leaked array of the same size; only the kernel reads it meanwhile.
                unsafe { std::ptr::write_volatile(place as *mut [u8; 110], bytes) };
            }
        }
    });
    let mut last = Stopped::untried("no round");
    let mut heard = None;
    for _ in 0..ROUNDS {
        let fd = descriptor(sys!(SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0)?);
        match sys!(SYS_connect, fd, place, length.max(16)) {
            Ok(_) => {}
            Err(stopped) => {
                last = stopped;
                let _ = sys!(SYS_close, fd);
                continue;
            }
        }
        let stream = UnixStream::from(owned(fd));
        match hear(&stream) {
            Ok((name, _)) if name == "other" => heard = Some(name),
            Ok(_) => {}
            Err(stopped) => last = stopped,
        }
        if heard.is_some() {
            break;
        }
    }
    done.store(true, Ordering::Relaxed);
    let _ = flipper.join();
    heard.ok_or(Stopped {
        call: format!("the other server was never heard ({})", last.call),
        errno: libc::EACCES,
    })
}

fn owned(fd: i32) -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the number of a socket that was just made and that nobody else holds.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }
}

/// `127.0.0.1:9`, in as many bytes as a Unix address has.
fn loopback() -> [u8; 110] {
    let mut name = [0; 110];
    let family = u16::try_from(libc::AF_INET).unwrap_or(0).to_ne_bytes();
    name[..2].copy_from_slice(&family);
    name[2..8].copy_from_slice(&[0, 9, 127, 0, 0, 1]);
    name
}
