//! One direction of a stream that passes through this process.
//!
//! It either waits for bytes or holds some; it never does both, so it can't grow. Invariant: bytes come out as they
//! went in, all of them, unless the reader has gone; what could not be written is known afterwards.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

/// How a descriptor is read and written without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// Our own end of a pipe or a terminal opened anew: it does not wait.
    Pipe,
    /// A socket that is shared with our caller: each call says that it does not wait.
    Socket,
    /// A file or device that is shared with our caller: used only when it is ready, in small pieces.
    File,
}

/// How many bytes are held.
const CAPACITY: usize = 64 << 10;
/// How many bytes are written at once where writing may wait: what a terminal takes when it says that it is ready.
const SMALL: usize = 512;

/// Bytes on their way.
#[derive(Debug)]
pub(crate) struct Relay {
    from: Option<(OwnedFd, Transfer)>,
    to: Option<(OwnedFd, Transfer)>,
    buffer: Vec<u8>,
    /// What of the buffer is still to be written.
    held: std::ops::Range<usize>,
    /// Why something was lost.
    fault: Option<Errno>,
}

impl Relay {
    pub(crate) fn new(from: (OwnedFd, Transfer), to: (OwnedFd, Transfer)) -> Self {
        Self {
            from: Some(from),
            to: Some(to),
            buffer: Vec::new(),
            held: 0..0,
            fault: None,
        }
    }

    /// Why what it had could not be written, where that was not because nobody reads it any more. The writer has only
    /// seen that nobody reads.
    pub(crate) fn fault(&self) -> Option<Errno> {
        self.fault
    }

    /// What it waits for; `None` when nothing more can come.
    pub(crate) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let (to, _) = self.to.as_ref()?;
        if !self.held.is_empty() {
            return Some((to.as_fd(), PollFlags::OUT));
        }
        let (from, _) = self.from.as_ref()?;
        Some((from.as_fd(), PollFlags::IN))
    }

    /// Reads or writes once, when what it waits for is there.
    pub(crate) fn step(&mut self) {
        if self.held.is_empty() {
            self.read();
        } else {
            self.write();
        }
    }

    /// Takes the last byte out of what it holds, if it is `byte`.
    pub(crate) fn take_last_byte(&mut self, byte: u8) -> bool {
        let held = self.buffer.get(self.held.clone()).unwrap_or_default();
        let ends_so = held.last() == Some(&byte);
        if ends_so {
            self.held.end -= 1;
        }
        ends_so
    }

    fn read(&mut self) {
        let Some((from, transfer)) = &self.from else {
            return;
        };
        self.buffer.resize(CAPACITY, 0);
        let result = match transfer {
            Transfer::Pipe | Transfer::File => rustix::io::read(from, &mut self.buffer[..]),
            Transfer::Socket => rustix::net::recv(from, &mut self.buffer[..], RecvFlags::DONTWAIT)
                .map(|(count, _)| count),
        };
        match result {
            Ok(count) if count > 0 => self.held = 0..count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            // The end: a terminal whose other side is closed says EIO.
            Ok(_) | Err(_) => self.close(),
        }
    }

    fn write(&mut self) {
        let Some((to, transfer)) = &self.to else {
            return;
        };
        let bytes = self.buffer.get(self.held.clone()).unwrap_or_default();
        let result = match transfer {
            Transfer::Pipe => rustix::io::write(to, bytes),
            Transfer::File => {
                rustix::io::write(to, bytes.get(..SMALL.min(bytes.len())).unwrap_or_default())
            }
            Transfer::Socket => {
                rustix::net::send(to, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
            }
        };
        match result {
            Ok(count) => self.held.start = self.held.end.min(self.held.start + count),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // The reader has gone: closing our reading end tells the writer.
            Err(Errno::PIPE | Errno::CONNRESET) => self.close(),
            Err(errno) => {
                self.fault = Some(errno);
                self.close();
            }
        }
    }

    /// Closes both sides; a reader of ours sees the end.
    fn close(&mut self) {
        self.from = None;
        self.to = None;
        self.held = 0..0;
    }
}
