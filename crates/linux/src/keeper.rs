//! The keeper of a terminal: sets the modes again that were found when the harness dies without doing it (kill -9).
//!
//! It is this program started anew, outside the boundary, with the terminal and a pipe from the harness. When the pipe
//! ends, the last word on it says whether the terminal was left raw. Invariant: modes that somebody else has set since, a
//! shell for one, are left alone.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios,
    tcgetattr, tcsetattr,
};

use crate::sys;

/// What the keeper is called as (`argv[0]`).
const NAME: &str = "ringfence-terminal";
/// Six numbers of four bytes.
const WORD: usize = 24;

/// Whether this program begins with [`become_if_asked`]: else it must not be started as a keeper.
static IS_READY: AtomicBool = AtomicBool::new(false);

/// Becomes a keeper when the program was started as one, and never returns then.
pub(crate) fn become_if_asked() {
    if std::env::args_os()
        .next()
        .is_some_and(|name| name == OsStr::new(NAME))
    {
        // A process that does not belong to the terminal's foreground may set its modes only with SIGTTOU blocked,
        // tcsetattr(3).
        sys::block_all_signals();
        keep(std::io::stdin().as_fd(), std::io::stdout().as_fd());
        std::process::exit(0);
    }
    IS_READY.store(true, Ordering::Relaxed);
}

/// The harness's side of a keeper.
#[derive(Debug)]
pub struct Keeper {
    /// Hears words on its standard input.
    child: Child,
}

impl Keeper {
    /// Starts one for `terminal`; `None` where that fails: the terminal is then set again by the harness alone.
    #[must_use]
    pub fn start(terminal: BorrowedFd<'_>) -> Option<Self> {
        if !IS_READY.load(Ordering::Relaxed) {
            return None;
        }
        let terminal = rustix::io::fcntl_dupfd_cloexec(terminal, 3).ok()?;
        let child = Command::new("/proc/self/exe")
            .arg0(NAME)
            .env_clear()
            .current_dir("/")
            // Whoever kills the harness's group does not mean it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(terminal)
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self { child })
    }

    /// Says that the terminal is raw from now on, and was as `found`.
    pub fn taken(&mut self, found: &Termios) {
        self.say(&Modes::of(found).encode());
    }

    /// Says that the terminal is as it was.
    pub fn given_back(&mut self) {
        self.say(&[0; WORD]);
    }

    fn say(&mut self, word: &[u8; WORD]) {
        // One that is gone keeps nothing.
        let words = self.child.stdin.as_mut();
        let _ = words.map(|words| words.write_all(word));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The harness has given the terminal back. A keeper that somebody stopped must not be waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What raw mode changes, termios(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Modes {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    least: u8,
    time: u8,
}

impl Modes {
    fn of(settings: &Termios) -> Self {
        Self {
            input: settings.input_modes.bits(),
            output: settings.output_modes.bits(),
            control: settings.control_modes.bits(),
            local: settings.local_modes.bits(),
            least: settings.special_codes[SpecialCodeIndex::VMIN],
            time: settings.special_codes[SpecialCodeIndex::VTIME],
        }
    }

    /// Six numbers; all of them 0 mean that there is nothing to keep, which no terminal's modes are.
    fn encode(self) -> [u8; WORD] {
        let numbers = [
            self.input,
            self.output,
            self.control,
            self.local,
            self.least.into(),
            self.time.into(),
        ];
        let mut word = [0; WORD];
        for (place, number) in word.chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        word
    }

    fn decode(word: &[u8; WORD]) -> Option<Self> {
        let mut numbers = word.chunks_exact(4).map(|part| {
            let part = part.try_into().unwrap_or_default();
            u32::from_le_bytes(part)
        });
        let mut next = || numbers.next();
        let modes = Self {
            input: next()?,
            output: next()?,
            control: next()?,
            local: next()?,
            least: next()?.try_into().ok()?,
            time: next()?.try_into().ok()?,
        };
        (word != &[0; WORD]).then_some(modes)
    }

    fn set_in(self, settings: &mut Termios) {
        settings.input_modes = InputModes::from_bits_retain(self.input);
        settings.output_modes = OutputModes::from_bits_retain(self.output);
        settings.control_modes = ControlModes::from_bits_retain(self.control);
        settings.local_modes = LocalModes::from_bits_retain(self.local);
        settings.special_codes[SpecialCodeIndex::VMIN] = self.least;
        settings.special_codes[SpecialCodeIndex::VTIME] = self.time;
    }
}

/// Waits for the end of `words`, and gives the terminal back if the last one says that it was taken.
fn keep(words: BorrowedFd<'_>, terminal: BorrowedFd<'_>) {
    let Ok(mut words) = words.try_clone_to_owned().map(File::from) else {
        return;
    };
    let mut last = None;
    let mut word = [0; WORD];
    while words.read_exact(&mut word).is_ok() {
        last = Modes::decode(&word);
    }
    if let Some(found) = last {
        give_back(terminal, found);
    }
}

/// Sets the modes that were found, where the terminal is as raw as the harness had made it.
fn give_back(terminal: BorrowedFd<'_>, found: Modes) {
    let Ok(mut settings) = tcgetattr(terminal) else {
        return;
    };
    let now = Modes::of(&settings);
    found.set_in(&mut settings);
    let mut raw = settings.clone();
    raw.make_raw();
    if Modes::of(&raw) == now {
        // Nobody is left to be told.
        let _ = tcsetattr(terminal, OptionalActions::Now, &settings);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    fn terminal() -> (OwnedFd, OwnedFd) {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let terminal = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
        (controller, terminal)
    }

    /// Has a keeper hear `words` to their end; the modes of the terminal afterwards.
    fn kept(terminal: &OwnedFd, words: &[[u8; WORD]]) -> Modes {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let mut write = File::from(write);
        for word in words {
            write.write_all(word).unwrap();
        }
        drop(write);
        keep(read.as_fd(), terminal.as_fd());
        Modes::of(&tcgetattr(terminal).unwrap())
    }

    fn make_raw(terminal: &OwnedFd) -> (Modes, Modes) {
        let mut settings = tcgetattr(terminal).unwrap();
        let found = Modes::of(&settings);
        settings.make_raw();
        tcsetattr(terminal, OptionalActions::Now, &settings).unwrap();
        (found, Modes::of(&settings))
    }

    #[test]
    fn a_terminal_that_was_left_raw_is_given_back() {
        let (_controller, terminal) = terminal();
        let (found, raw) = make_raw(&terminal);
        assert_ne!(found, raw);
        assert_eq!(kept(&terminal, &[found.encode()]), found);
    }

    #[test]
    fn one_that_somebody_has_stopped_is_not_waited_for() {
        let child = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let process = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
        drop(Keeper { child });
        assert!(rustix::process::test_kill_process(process).is_err());
    }

    #[test]
    fn one_that_was_given_back_or_never_taken_is_left_alone() {
        let (_controller, terminal) = terminal();
        let (found, raw) = make_raw(&terminal);
        assert_eq!(kept(&terminal, &[]), raw);
        assert_eq!(kept(&terminal, &[found.encode(), [0; WORD]]), raw);
        // Half a word is none.
        let (read, write) = rustix::pipe::pipe().unwrap();
        File::from(write).write_all(&[1; 7]).unwrap();
        keep(read.as_fd(), terminal.as_fd());
        assert_eq!(Modes::of(&tcgetattr(&terminal).unwrap()), raw);
    }

    #[test]
    fn modes_that_somebody_else_has_set_stay() {
        let (_controller, terminal) = terminal();
        let (found, _) = make_raw(&terminal);
        let mut settings = tcgetattr(&terminal).unwrap();
        settings.local_modes |= LocalModes::ISIG;
        tcsetattr(&terminal, OptionalActions::Now, &settings).unwrap();
        let shell = Modes::of(&settings);
        assert_eq!(kept(&terminal, &[found.encode()]), shell);
    }
}
