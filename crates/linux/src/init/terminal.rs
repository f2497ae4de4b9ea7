//! The session's pseudo-terminals: opened inside, so that their names mean something to the target.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use ringfence_backend::command::TerminalSize;
use ringfence_plan::step::Identity;

/// A pseudo-terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// The harness's side.
    pub(crate) controller: OwnedFd,
    /// The command's side.
    pub(crate) peer: OwnedFd,
}

/// Opens a pseudo-terminal of `size` that belongs to the target.
///
/// # Errors
/// The kernel's, for open, unlockpt, TIOCGPTPEER, TIOCSWINSZ or fchown.
pub(crate) fn open_terminal(
    size: Option<TerminalSize>,
    identity: Option<Identity>,
) -> Result<Terminal, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let controller = open("/dev/ptmx", flags, Mode::empty())?;
    unlockpt(&controller)?;
    let peer = ioctl_tiocgptpeer(
        &controller,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    if let Some(size) = size {
        let size = Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&controller, size)?;
    }
    if let Some(identity) = identity
        && identity.target != (identity.uid, identity.gid)
    {
        let (uid, gid) = identity.target;
        rustix::fs::fchown(&peer, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(Terminal { controller, peer })
}
