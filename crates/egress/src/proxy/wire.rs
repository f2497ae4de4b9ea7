//! One connection with the bytes that were read from it and not yet used.
//!
//! Its halves are apart, so that both directions can run at once, and each can be broken off at any point: what was
//! read is in the inbox, what was written is out of it.
//! Invariant: a byte leaves the inbox only after it was written or understood.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncReadExt;
#[cfg(target_os = "linux")]
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::link::TlsLink;

/// How much is read at once.
pub(crate) const READ_BYTES: usize = 16 * 1024;

/// How much is kept of what a program says while somebody is asked about it.
const WAITING_BYTES: usize = 64 * 1024;

/// How much of what a refused caller still sends is read, so that the refusal is not lost to a reset.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER: Duration = Duration::from_secs(1);

/// A connection and what was read from it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) read: ReadEnd,
    pub(crate) write: WriteEnd,
    pub(crate) inbox: Inbox,
}

/// Where bytes come from: as they are, or out of TLS.
#[derive(Debug)]
pub(crate) enum ReadEnd {
    Plain(OwnedReadHalf),
    Tls(Arc<TlsLink>),
}

/// Where bytes go.
#[derive(Debug)]
pub(crate) enum WriteEnd {
    Plain(OwnedWriteHalf),
    Tls(Arc<TlsLink>),
}

/// Bytes that were read and not yet used.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
}

impl Wire {
    /// A connection from which nothing was read yet; small writes go out at once.
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Without it everything works, only later.
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        Self {
            read: ReadEnd::Plain(read),
            write: WriteEnd::Plain(write),
            inbox: Inbox::default(),
        }
    }

    /// The inside of a connection whose greetings are over.
    pub(crate) fn inside(link: TlsLink) -> Self {
        let link = Arc::new(link);
        Self {
            read: ReadEnd::Tls(Arc::clone(&link)),
            write: WriteEnd::Tls(link),
            inbox: Inbox::default(),
        }
    }

    /// The connection and what was read from it; `None` inside TLS.
    pub(crate) fn into_plain(self) -> Option<(TcpStream, Inbox)> {
        match (self.read, self.write) {
            (ReadEnd::Plain(read), WriteEnd::Plain(write)) => {
                Some((read.reunite(write).ok()?, self.inbox))
            }
            (ReadEnd::Plain(_) | ReadEnd::Tls(_), WriteEnd::Plain(_) | WriteEnd::Tls(_)) => None,
        }
    }

    /// Reads more; 0 at the end.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        self.inbox.fill(&mut self.read).await
    }

    /// Waits until the other side has nothing more to say, or breaks off; what it says meanwhile is in the inbox.
    ///
    /// A program that only ends its own direction is taken for one that has gone: whoever waits for an answer keeps
    /// it open. One that says more than is kept is no longer watched.
    pub(crate) async fn gone(&mut self) {
        while self.inbox.unread().len() < WAITING_BYTES {
            if matches!(self.fill().await, Ok(0) | Err(_)) {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Says `last` and goes, without losing it to what the other side still sends.
    pub(crate) async fn say_and_close(mut self, last: &[u8]) {
        let goodbye = async {
            write_all(&self.write, last).await?;
            shutdown_write(&self.write)?;
            let mut inbox = Inbox::default();
            let mut read = 0;
            while read < LINGER_BYTES {
                match inbox.fill(&mut self.read).await? {
                    0 => break,
                    count => read += count,
                }
                inbox.consume(inbox.unread().len());
            }
            Ok::<(), io::Error>(())
        };
        // Whoever does not listen to a refusal misses it.
        let _ = tokio::time::timeout(LINGER, goodbye).await;
    }

    /// Goes with a reset: what was asked for does not exist here.
    pub(crate) fn reset(self) {
        // An ordinary close is the next best.
        match self.write {
            WriteEnd::Plain(write) => {
                let _ = write.as_ref().set_zero_linger();
                // Dropped, it would say an orderly end first.
                write.forget();
            }
            WriteEnd::Tls(link) => {
                let _ = link.stream().set_zero_linger();
            }
        }
    }
}

impl Inbox {
    pub(crate) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.unread().is_empty()
    }

    /// Forgets the first `count` bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Reads more behind what is there; 0 at the end.
    pub(crate) async fn fill(&mut self, from: &mut ReadEnd) -> io::Result<usize> {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        if self.bytes.capacity() - self.bytes.len() < READ_BYTES {
            self.bytes.reserve_exact(READ_BYTES);
        }
        match from {
            // Unlike `try_read_buf` this knows that a short read has emptied the socket, and saves a call that fails.
            ReadEnd::Plain(from) => from.read_buf(&mut self.bytes).await,
            ReadEnd::Tls(link) => link.read(&mut self.bytes).await,
        }
    }
}

impl ReadEnd {
    /// The connection itself, where its bytes are what is read.
    pub(crate) fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(read) => Some(read.as_ref()),
            Self::Tls(_) => None,
        }
    }

    /// Waits until the connection is broken, be something to be read on it or not; other systems than Linux don't say.
    pub(crate) async fn broken(&self) -> io::Error {
        let stream = match self {
            Self::Plain(read) => read.as_ref(),
            Self::Tls(link) => link.stream(),
        };
        #[cfg(target_os = "linux")]
        if stream.ready(Interest::ERROR).await.is_ok() {
            return io::ErrorKind::ConnectionReset.into();
        }
        let _ = stream;
        std::future::pending().await
    }

    /// Whether the other side says nothing and is not seen to be gone.
    pub(crate) fn is_silent(&self) -> bool {
        match self {
            Self::Plain(read) => read
                .try_read(&mut [0])
                .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock),
            Self::Tls(link) => link.is_silent(),
        }
    }
}

impl WriteEnd {
    /// The connection itself, where what is written are its bytes.
    pub(crate) fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(write) => Some(write.as_ref()),
            Self::Tls(_) => None,
        }
    }
}

/// Writes some of `bytes`; broken off, nothing was written, but for TLS, whose connection is not used again then.
pub(crate) async fn write_some(to: &WriteEnd, bytes: &[u8]) -> io::Result<usize> {
    let to = match to {
        WriteEnd::Plain(to) => to,
        WriteEnd::Tls(link) => return link.write_some(bytes).await,
    };
    loop {
        match to.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
            Ok(0) if !bytes.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => return Ok(count),
        }
    }
}

/// Writes all of `bytes`.
pub(crate) async fn write_all(to: &WriteEnd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = write_some(to, bytes).await?;
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// Ends one direction; the other one stays open.
pub(crate) fn shutdown_write(to: &WriteEnd) -> io::Result<()> {
    let stream = match to {
        WriteEnd::Plain(to) => to.as_ref(),
        WriteEnd::Tls(link) => {
            link.say_end();
            link.stream()
        }
    };
    SockRef::from(stream).shutdown(Shutdown::Write)
}
