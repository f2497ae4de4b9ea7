//! Frames and descriptors over the socketpair between the harness and the session's init.
//!
//! Neither side trusts the other's lengths: frames are capped, descriptors counted. Sending never blocks init:
//! what does not fit the socket stays in a buffer until it does.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, send, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use ringfence_backend::frame::FrameError;
use ringfence_backend::wire;

/// The most descriptors that travel with one frame: three streams, and init's view of the harness.
pub(crate) const MAX_DESCRIPTORS: usize = 4;
/// The most descriptors that may wait for their frame.
const MAX_WAITING: usize = 64;
/// What is read at once, at first and at most: most messages are small, and room for more has to be cleared each time.
const CHUNK: std::ops::RangeInclusive<usize> = 4 << 10..=64 << 10;

/// Why the channel failed.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// sendmsg(2) failed.
    #[error("could not send to the other side of the session")]
    Send(#[source] Errno),
    /// recvmsg(2) failed.
    #[error("could not receive from the other side of the session")]
    Receive(#[source] Errno),
    /// The other side closed the channel.
    #[error("the other side of the session is gone")]
    Closed,
    /// The other side sent something that is no frame.
    #[error("the other side of the session sent a malformed frame")]
    Frame(#[source] FrameError),
    /// The other side sent more descriptors than the protocol has use for.
    #[error("the other side of the session sent too many descriptors")]
    TooManyDescriptors,
}

/// One end of the session's socketpair.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
    incoming: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
    outgoing: Vec<u8>,
}

impl Channel {
    /// Takes an end of a stream socketpair.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            incoming: Vec::new(),
            descriptors: VecDeque::new(),
            outgoing: Vec::new(),
        }
    }

    /// Sends one message, waiting until the socket has taken it; its descriptors travel with its first byte.
    pub(crate) fn send<T: Serialize>(
        &mut self,
        message: &T,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let mut frame = Vec::new();
        wire::FORMAT
            .encode(message, &mut frame)
            .map_err(ChannelError::Frame)?;
        let mut rest = frame.as_slice();
        if !fds.is_empty() {
            let sent = self.send_with_descriptors(rest, fds)?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        while !rest.is_empty() {
            match send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(send_error(error)),
            }
        }
        Ok(())
    }

    /// Adds a message without a descriptor to what is to be sent with the next [`Channel::flush`].
    pub(crate) fn queue<T: Serialize>(&mut self, message: &T) -> Result<(), ChannelError> {
        wire::FORMAT
            .encode(message, &mut self.outgoing)
            .map_err(ChannelError::Frame)
    }

    /// Adds a message to what is to be sent, and sends what the socket takes without waiting.
    ///
    /// A message with a descriptor first waits for what came before it, then is sent whole.
    pub(crate) fn post<T: Serialize>(
        &mut self,
        message: &T,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        if fds.is_empty() {
            wire::FORMAT
                .encode(message, &mut self.outgoing)
                .map_err(ChannelError::Frame)?;
            return self.flush(SendFlags::DONTWAIT);
        }
        self.flush(SendFlags::empty())?;
        self.send(message, fds)
    }

    /// Sends what is waiting, with `SendFlags::DONTWAIT` only as much as the socket takes.
    pub(crate) fn flush(&mut self, flags: SendFlags) -> Result<(), ChannelError> {
        while !self.outgoing.is_empty() {
            match send(&self.socket, &self.outgoing, SendFlags::NOSIGNAL | flags) {
                Ok(sent) => drop(self.outgoing.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(send_error(error)),
            }
        }
        Ok(())
    }

    /// How many bytes wait for the socket.
    pub(crate) fn waiting(&self) -> usize {
        self.outgoing.len()
    }

    /// How many bytes have arrived and are no message yet, or were not asked for.
    pub(crate) fn arrived(&self) -> usize {
        self.incoming.len()
    }

    /// The next message that has arrived whole, without reading the socket.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ChannelError> {
        wire::FORMAT
            .take(&mut self.incoming)
            .map_err(ChannelError::Frame)
    }

    /// The next descriptor that has arrived.
    pub(crate) fn next_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    /// Reads once from the socket, which is readable or may be waited for.
    pub(crate) fn fill(&mut self) -> Result<(), ChannelError> {
        let start = self.incoming.len();
        let chunk = start.clamp(*CHUNK.start(), *CHUNK.end());
        self.incoming.resize(start + chunk, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let result = loop {
            let tail = self.incoming.get_mut(start..).unwrap_or_default();
            match recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(tail)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(Errno::INTR) => {}
                other => break other,
            }
        };
        let received = result.as_ref().map_or(0, |message| message.bytes);
        self.incoming.truncate(start + received);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                self.descriptors.extend(rights);
            }
        }
        result.map_err(ChannelError::Receive)?;
        if self.descriptors.len() > MAX_WAITING {
            return Err(ChannelError::TooManyDescriptors);
        }
        if received == 0 {
            return Err(ChannelError::Closed);
        }
        Ok(())
    }

    fn send_with_descriptors(
        &self,
        bytes: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<usize, ChannelError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(ChannelError::TooManyDescriptors);
        }
        loop {
            match sendmsg(
                &self.socket,
                &[IoSlice::new(bytes)],
                &mut control,
                SendFlags::NOSIGNAL,
            ) {
                Err(Errno::INTR) => {}
                other => return other.map_err(send_error),
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn send_error(error: Errno) -> ChannelError {
    match error {
        Errno::PIPE | Errno::CONNRESET => ChannelError::Closed,
        other => ChannelError::Send(other),
    }
}
