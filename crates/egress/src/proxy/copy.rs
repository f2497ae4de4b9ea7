//! Moving bytes from one connection to another.
//!
//! Small messages go through the inbox, which needs no further descriptors; once a direction has filled it several
//! times in a row the kernel moves the bytes itself (Linux). Looks at nothing. Invariant: no byte is dropped, and the
//! end of one direction leaves the other open.

use std::io;

use super::live::{Direction, Live};
use super::wire::{Inbox, READ_BYTES, ReadEnd, Wire, WriteEnd, shutdown_write, write_some};
use crate::event::CloseCause;
use crate::http::ChunksError;

/// Full reads in a row after which a direction counts as bulk.
const FULL_READS: usize = 3;

/// Why a direction ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    /// The sender broke off.
    #[error("reading from the sender failed")]
    Read(#[source] io::Error),
    /// The receiver broke off.
    #[error("writing to the receiver failed")]
    Write(#[source] io::Error),
    /// The sender ended before it had sent what it announced.
    #[error("the sender ended too early")]
    Truncated,
    /// A body in chunks that can't be read.
    #[error("a body in chunks can't be read")]
    Chunks(#[source] ChunksError),
    /// No more bytes may leave under this rule.
    #[error("no more bytes may leave under this rule")]
    Exhausted,
}

/// Whether the kernel may move the bytes itself, which can't be broken off without losing some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bulk {
    Allowed,
    Never,
}

/// Who counts, and which way.
#[derive(Clone, Copy)]
pub(crate) struct Lane<'a> {
    pub(crate) live: &'a Live,
    pub(crate) direction: Direction,
}

impl Lane<'_> {
    pub(crate) fn count(self, bytes: usize) -> Result<(), CopyError> {
        self.live
            .count(self.direction, bytes)
            .map_err(|_| CopyError::Exhausted)
    }
}

/// Copies to the end, or `bound` bytes; at the end `to` is told that nothing more comes.
pub(crate) async fn copy(
    from: &mut ReadEnd,
    inbox: &mut Inbox,
    to: &WriteEnd,
    lane: Lane<'_>,
    bound: Option<u64>,
    bulk: Bulk,
) -> Result<(), CopyError> {
    let mut left = bound.unwrap_or(u64::MAX);
    let mut full_reads = 0;
    // Bytes at the beginning of the inbox that are counted: before the first of them goes, not after.
    let mut counted = 0;
    loop {
        while left > 0 && !inbox.is_empty() {
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let unread = inbox.unread();
            let ready = unread.get(..most).unwrap_or(unread);
            lane.count(ready.len().saturating_sub(counted))?;
            counted = ready.len();
            let written = write_some(to, ready).await.map_err(CopyError::Write)?;
            inbox.consume(written);
            left -= u64::try_from(written).unwrap_or(left);
            counted = counted.saturating_sub(written);
        }
        if left == 0 {
            return Ok(());
        }
        if bulk == Bulk::Allowed && full_reads == FULL_READS {
            // Without a pipe (no descriptors left, or another system), and inside TLS, it goes on by copying.
            if let (Some(source), Some(sink)) = (from.plain(), to.plain())
                && let Some(pipe) = Pipe::open()
            {
                left = pipe.splice(source, sink, lane, left).await?;
                return finish(to, bound, left);
            }
        }
        match inbox.fill(from).await.map_err(CopyError::Read)? {
            0 => return finish(to, bound, left),
            count if count >= READ_BYTES => full_reads += 1,
            _ => full_reads = 0,
        }
    }
}

/// What the end of the sender means.
fn finish(to: &WriteEnd, bound: Option<u64>, left: u64) -> Result<(), CopyError> {
    match (bound, left) {
        (Some(_), 0) => Ok(()),
        (Some(_), _) => Err(CopyError::Truncated),
        (None, _) => {
            // A receiver that is gone already needs no end.
            let _ = shutdown_write(to);
            Ok(())
        }
    }
}

/// Copies both ways until both have ended.
pub(crate) async fn relay(client: &mut Wire, server: &mut Wire, live: &Live) {
    let lane = |direction| Lane { live, direction };
    let out = copy(
        &mut client.read,
        &mut client.inbox,
        &server.write,
        lane(Direction::Out),
        None,
        Bulk::Allowed,
    );
    let back = copy(
        &mut server.read,
        &mut server.inbox,
        &client.write,
        lane(Direction::In),
        None,
        Bulk::Allowed,
    );
    let both = async { tokio::try_join!(out, back) };
    match live.watch(both).await {
        Ok(Ok(((), ()))) => live.set_cause(CloseCause::Finished),
        Ok(Err(CopyError::Exhausted)) => live.set_cause(CloseCause::Limit),
        Ok(Err(_)) => live.set_cause(CloseCause::Broken),
        Err(_) => {}
    }
}

#[cfg(target_os = "linux")]
use linux::Pipe;

/// Other systems have no call for it.
#[cfg(not(target_os = "linux"))]
enum Pipe {}

#[cfg(not(target_os = "linux"))]
impl Pipe {
    fn open() -> Option<Self> {
        None
    }

    fn splice(
        self,
        _from: &tokio::net::TcpStream,
        _to: &tokio::net::TcpStream,
        _lane: Lane<'_>,
        _left: u64,
    ) -> std::future::Ready<Result<u64, CopyError>> {
        match self {}
    }
}

#[cfg(target_os = "linux")]
mod linux {
    //! `splice(2)` from socket to pipe to socket: the bytes never enter this process.

    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with};
    use tokio::io::Interest;
    use tokio::net::TcpStream;

    use super::{CopyError, Lane};

    /// What an ordinary user may ask for (`/proc/sys/fs/pipe-max-size` is 1 MiB) several hundred times.
    const PIPE_BYTES: usize = 256 * 1024;

    const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

    /// A pipe for one direction of one connection.
    pub(super) struct Pipe {
        drain: OwnedFd,
        source: OwnedFd,
    }

    impl Pipe {
        pub(super) fn open() -> Option<Self> {
            let (drain, source) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
            // A user with many pipes gets smaller ones, which do as well.
            let _ = fcntl_setpipe_size(&source, PIPE_BYTES);
            Some(Self { drain, source })
        }

        /// Moves up to `left` bytes, or to the end; what is left of them.
        pub(super) async fn splice(
            self,
            from: &TcpStream,
            to: &TcpStream,
            lane: Lane<'_>,
            mut left: u64,
        ) -> Result<u64, CopyError> {
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIPE_BYTES);
                let mut held = from
                    .async_io(Interest::READABLE, || {
                        rustix::pipe::splice(from, None, &self.source, None, most, FLAGS)
                            .map_err(io::Error::from)
                    })
                    .await
                    .map_err(CopyError::Read)?;
                if held == 0 {
                    return Ok(left);
                }
                left -= u64::try_from(held).unwrap_or(left);
                lane.count(held)?;
                while held > 0 {
                    held -= to
                        .async_io(Interest::WRITABLE, || {
                            rustix::pipe::splice(&self.drain, None, to, None, held, FLAGS)
                                .map_err(io::Error::from)
                        })
                        .await
                        .map_err(CopyError::Write)?;
                }
            }
            Ok(0)
        }
    }
}
