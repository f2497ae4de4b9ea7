//! What an attack aims at outside the boundary: two servers, a pipe, a process, a lock that a daemon would hold.
//!
//! Whether an attack reached it is seen here, from the outside, whatever the attack itself says.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The targets of one run of one attack.
#[derive(Debug)]
pub(crate) struct Outside {
    tcp: TcpListener,
    #[cfg(unix)]
    unix: std::os::unix::net::UnixListener,
    /// Where it can't be made the control finds none, and nothing is said of it.
    #[cfg(windows)]
    _decoy: Option<ringfence::audit::Decoy>,
    victim: Child,
}

impl Outside {
    /// Opens the servers (`socket` is the Unix one's path) and starts the victim.
    pub(crate) fn open(socket: &Path) -> io::Result<Self> {
        let tcp = listen()?;
        tcp.set_nonblocking(true)?;
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut victim = Command::new(if cfg!(windows) { "ping" } else { "sleep" });
        victim.args(VICTIM);
        #[cfg(unix)]
        let unix = std::os::unix::net::UnixListener::bind(socket)?;
        #[cfg(unix)]
        unix.set_nonblocking(true)?;
        let victim = victim
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            tcp,
            #[cfg(unix)]
            unix,
            #[cfg(windows)]
            _decoy: ringfence::audit::Decoy::open().ok(),
            victim,
        })
    }

    /// The TCP server's port on the loopback.
    pub(crate) fn port(&self) -> io::Result<u16> {
        Ok(self.tcp.local_addr()?.port())
    }

    /// The victim's process id.
    pub(crate) fn victim(&self) -> u32 {
        self.victim.id()
    }

    /// Whether somebody has connected to the TCP server.
    pub(crate) fn tcp_reached(&self) -> bool {
        self.tcp.accept().is_ok()
    }

    /// Whether somebody has connected to the Unix server.
    #[cfg(unix)]
    pub(crate) fn unix_reached(&self) -> bool {
        self.unix.accept().is_ok()
    }

    /// There is none.
    #[cfg(not(unix))]
    #[expect(clippy::unused_self, reason = "as on Unix")]
    pub(crate) fn unix_reached(&self) -> bool {
        false
    }

    /// Whether the victim was ended. `told` is what the attack was told: a signal that was taken needs a moment.
    pub(crate) fn victim_ended(&mut self, told: bool) -> bool {
        let rounds = if told { 200 } else { 1 };
        for _ in 0..rounds {
            if !matches!(self.victim.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

/// What makes it wait for ten minutes.
const VICTIM: &[&str] = if cfg!(windows) {
    &["-n", "600", "127.0.0.1"]
} else {
    &["600"]
};

/// A server on the loopback. On Windows the loopback is shared with the host, and what programs connect to in themselves
/// lies in the dynamic range, which is open: so not there.
fn listen() -> io::Result<TcpListener> {
    let ports = if cfg!(windows) {
        18_080..=18_180
    } else {
        0..=0
    };
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in ports {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Drop for Outside {
    fn drop(&mut self) {
        // It may have been ended already; waiting leaves no zombie.
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

/// `ERROR_SHARING_VIOLATION`
const SHARING_VIOLATION: i32 = 32;

/// Whether a process still holds the lock on `path` (flock(2)): a daemon has outlived its command.
pub(crate) fn is_locked(path: &Path) -> bool {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => try_lock(&file),
        // On Windows it shares the file with nobody.
        Err(error) => error.raw_os_error() == Some(SHARING_VIOLATION) && cfg!(windows),
    }
}

fn try_lock(file: &File) -> bool {
    matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock))
}

/// Ends the daemon of a control, which wrote its process id to `pid_file`.
pub(crate) fn end_daemon(pid_file: &Path) {
    let Some(pid) = std::fs::read_to_string(pid_file)
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok())
    else {
        return;
    };
    // A daemon that can't be ended ends by itself after two minutes.
    let pid = pid.to_string();
    let mut command = if cfg!(windows) {
        let mut command = Command::new("taskkill");
        command.args(["/F", "/PID", &pid]).stdout(Stdio::null());
        command
    } else {
        let mut command = Command::new("sh");
        command.args(["-c", "kill \"$1\"", "sh", &pid]);
        command
    };
    let _ = command.stderr(Stdio::null()).status();
}
