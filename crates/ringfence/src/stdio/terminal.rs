//! Our terminal, while a command uses a pseudo-terminal of its session instead.
//!
//! Where all three streams are one terminal and we are in its foreground, it is put into raw mode and every key goes
//! inside. Where it is shared with others (a pipeline, a job in the background), its modes are left alone, and it is
//! read only while nobody else has taken it over. Invariant: the modes that were found are set again, whatever
//! happens to the command.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ringfence_backend::command::TerminalSize;
use ringfence_linux::keeper::Keeper;
use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Signal, getpgrp};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcgetsid,
    tcgetwinsize, tcsetattr, tcsetwinsize,
};

use super::relay::{Relay, Transfer};

/// Ctrl-D: what a terminal's reader sees as the end.
const END_OF_INPUT: u8 = 4;

/// `_POSIX_VDISABLE`: no key does it.
const DISABLED: u8 = 0;

/// Our terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// Opened anew where possible: flags set on it are then ours alone.
    input: OwnedFd,
    output: OwnedFd,
    transfer: Transfer,
    ownership: Ownership,
    /// The modes to set again.
    saved: Option<Termios>,
    /// Who sets them when this process can't any more.
    keeper: Option<Keeper>,
    /// The session's side, and the two directions.
    inside: Option<Inside>,
}

#[derive(Debug)]
struct Inside {
    controller: OwnedFd,
    keys: Relay,
    screen: Relay,
}

/// Whether the terminal is the command's alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ownership {
    /// All three streams are terminals.
    Alone,
    /// A stream leads elsewhere: others may use the terminal too.
    Shared,
}

impl Terminal {
    /// The terminal among `own`; `None` when no stream is one.
    pub(crate) fn new(
        own: [BorrowedFd<'_>; 3],
        is_terminal: [bool; 3],
    ) -> Result<Option<Self>, Errno> {
        let [input, output, error] = own;
        let named = [
            (input, is_terminal[0]),
            (output, is_terminal[1]),
            (error, is_terminal[2]),
        ];
        let terminals: Vec<_> = named
            .iter()
            .filter(|(_, yes)| *yes)
            .map(|(fd, _)| *fd)
            .collect();
        let (Some(first), Some(last)) = (terminals.first(), terminals.last()) else {
            return Ok(None);
        };
        let screen = if is_terminal[1] { output } else { *last };
        let (input, output, transfer) = match (reopen(*first), reopen(screen)) {
            (Ok(input), Ok(output)) => (input, output, Transfer::Pipe),
            _ => (
                rustix::io::fcntl_dupfd_cloexec(first, 3)?,
                rustix::io::fcntl_dupfd_cloexec(screen, 3)?,
                Transfer::File,
            ),
        };
        let ownership = if terminals.len() == 3 {
            Ownership::Alone
        } else {
            Ownership::Shared
        };
        Ok(Some(Self {
            input,
            output,
            transfer,
            ownership,
            saved: None,
            keeper: None,
            inside: None,
        }))
    }

    /// Its size.
    pub(crate) fn size(&self) -> Option<TerminalSize> {
        let size = tcgetwinsize(&self.output).ok()?;
        Some(TerminalSize {
            rows: size.ws_row,
            columns: size.ws_col,
        })
    }

    /// Joins it with the session's side, and takes it over where it is the command's alone.
    pub(crate) fn attach(&mut self, controller: OwnedFd) -> Result<(), Errno> {
        let pair = || -> Result<(OwnedFd, OwnedFd), Errno> {
            let ours = rustix::io::fcntl_dupfd_cloexec(&self.input, 3)?;
            let theirs = rustix::io::fcntl_dupfd_cloexec(&controller, 3)?;
            Ok((ours, theirs))
        };
        let (keys_from, keys_to) = pair()?;
        let (_, screen_from) = pair()?;
        let screen_to = rustix::io::fcntl_dupfd_cloexec(&self.output, 3)?;
        rustix::fs::fcntl_setfl(&controller, OFlags::RDWR | OFlags::NONBLOCK)?;
        if self.ownership == Ownership::Shared {
            // Our terminal echoes what is typed; the one inside must not do it again.
            let mut modes = tcgetattr(&controller)?;
            modes.local_modes.remove(LocalModes::ECHO);
            tcsetattr(&controller, OptionalActions::Now, &modes)?;
        }
        self.inside = Some(Inside {
            controller,
            keys: Relay::new((keys_from, self.transfer), (keys_to, Transfer::Pipe)),
            screen: Relay::new((screen_from, Transfer::Pipe), (screen_to, self.transfer)),
        });
        self.take_over();
        Ok(())
    }

    /// Raw mode, where the terminal is the command's alone and we are in the foreground.
    pub(crate) fn take_over(&mut self) {
        if self.ownership != Ownership::Alone || self.saved.is_some() || !self.is_foreground() {
            return;
        }
        let Ok(found) = tcgetattr(&self.input) else {
            return;
        };
        let mut raw = found.clone();
        raw.make_raw();
        if self.keeper.is_none() {
            self.keeper = Keeper::start(self.input.as_fd());
        }
        // Told first: between the two the keeper finds a terminal that is not raw, and leaves it alone.
        if let Some(keeper) = &mut self.keeper {
            keeper.taken(&found);
        }
        if tcsetattr(&self.input, OptionalActions::Now, &raw).is_ok() {
            self.saved = Some(found);
        }
    }

    /// Sets the modes again that were found.
    pub(crate) fn give_back(&mut self) {
        if let Some(found) = self.saved.take() {
            // Flushing nothing: what was typed ahead is the next reader's. Nothing more can be done if it fails.
            let _ = tcsetattr(&self.input, OptionalActions::Now, &found);
            if let Some(keeper) = &mut self.keeper {
                keeper.given_back();
            }
        }
    }

    /// Gives the session's side our size; the kernel tells the processes there.
    pub(crate) fn resize(&self) {
        if let (Some(inside), Ok(size)) = (&self.inside, tcgetwinsize(&self.output)) {
            // A window that changes again in between brings another signal.
            let _ = tcsetwinsize(&inside.controller, size);
        }
    }

    /// What the two directions wait for.
    pub(crate) fn interests(&self) -> [Option<(BorrowedFd<'_>, PollFlags)>; 2] {
        let Some(inside) = &self.inside else {
            return [None, None];
        };
        let keys = inside.keys.interest().filter(|_| self.may_read());
        [keys, inside.screen.interest()]
    }

    /// Moves what is typed. A key that stops a command is taken out where nobody inside heeds it.
    pub(crate) fn step_keys(&mut self) -> Typed {
        let alone = self.saved.is_some();
        if let Some(inside) = &mut self.inside {
            let was_reading = inside
                .keys
                .interest()
                .is_some_and(|(_, flags)| flags == PollFlags::IN);
            inside.keys.step();
            if was_reading && inside.keys.interest().is_none() && !alone {
                // The end of a line-wise terminal; the pseudo-terminal learns it as a key.
                let _ = rustix::io::write(&inside.controller, &[END_OF_INPUT]);
            }
            if was_reading
                && alone
                && suspend_key(&inside.controller)
                    .is_some_and(|key| inside.keys.take_last_byte(key))
            {
                return Typed::Suspend;
            }
        }
        Typed::Passed
    }

    /// Moves what is shown.
    pub(crate) fn step_screen(&mut self) {
        if let Some(inside) = &mut self.inside {
            inside.screen.step();
        }
    }

    fn is_foreground(&self) -> bool {
        tcgetpgrp(&self.input).is_ok_and(|group| group == getpgrp())
    }

    /// Another process that shares the terminal and has switched its line mode off is reading it.
    fn may_read(&self) -> bool {
        if self.saved.is_some() {
            return true;
        }
        self.is_foreground()
            && tcgetattr(&self.input)
                .is_ok_and(|modes| modes.local_modes.contains(LocalModes::ICANON))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// What has become of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Typed {
    /// They go inside.
    Passed,
    /// The person wants the command stopped: it can't be by its own terminal.
    Suspend,
}

/// The key that stops what runs in the pseudo-terminal's foreground, where that is the command itself and it leaves the
/// signal to its default.
///
/// The kernel stops no group whose parents are all of another session (an orphaned one, setpgid(2)), and the command's
/// is: only the harness can. A shell inside has groups of its own, and what catches or ignores SIGTSTP knows better.
fn suspend_key(controller: &OwnedFd) -> Option<u8> {
    let modes = tcgetattr(controller).ok()?;
    if !modes.local_modes.contains(LocalModes::ISIG) {
        return None;
    }
    let leader = tcgetsid(controller).ok()?;
    if tcgetpgrp(controller).ok()? != leader {
        return None;
    }
    let leader = leader.as_raw_nonzero().get();
    let status = std::fs::read_to_string(format!("/proc/{leader}/status")).ok()?;
    // One that only blocks it for now, as a shell does while it starts a program, will heed it.
    let leaves_it = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        let set = u64::from_str_radix(line.trim(), 16).ok()?;
        Some(set & (1 << (Signal::TSTP.as_raw() - 1)) == 0)
    };
    (leaves_it("SigIgn:")? && leaves_it("SigCgt:")?)
        .then_some(modes.special_codes[SpecialCodeIndex::VSUSP])
        .filter(|key| *key != DISABLED)
}

/// Opens the terminal behind `fd` anew, so that its flags are not shared with our caller.
fn reopen(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let name = rustix::termios::ttyname(fd, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(name.as_c_str(), flags, Mode::empty())?;
    let identity = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).map(|stat| stat.st_rdev);
    if identity(fd)? == identity(opened.as_fd())? {
        Ok(opened)
    } else {
        Err(Errno::NODEV)
    }
}
