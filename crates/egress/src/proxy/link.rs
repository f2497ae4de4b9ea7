//! One connection that speaks TLS, with its session: what is read comes out of it, what is written goes into it.
//!
//! Both directions share it; it is locked for single calls, never while something is waited for. Knows no
//! certificate and decides nothing. Invariant: an end without the protocol's own goodbye is an error, so that a body
//! without a length can't be cut short unnoticed.

use std::fmt;
use std::io::{self, BufRead as _, Read, Write};
use std::sync::{Mutex, MutexGuard};

use rustls::Connection;
use tokio::net::TcpStream;

use super::live::lock;
use super::wire::READ_BYTES;

/// A connection and its session of TLS.
pub(crate) struct TlsLink {
    stream: TcpStream,
    session: Mutex<Connection>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetError {
    /// The other side, or what it showed, is refused.
    #[error("{0}")]
    Tls(#[source] rustls::Error),
    /// It broke off.
    #[error("the connection broke off during the greeting")]
    Broken(#[source] io::Error),
}

impl TlsLink {
    /// Greets; `read` was read from the connection before.
    ///
    /// # Security
    /// The other side chooses every byte.
    pub(crate) async fn greet(
        stream: TcpStream,
        session: impl Into<Connection>,
        mut read: &[u8],
    ) -> Result<Self, GreetError> {
        let link = Self {
            stream,
            session: Mutex::new(session.into()),
        };
        while !read.is_empty() {
            let took = link
                .lock()
                .read_tls(&mut read)
                .map_err(GreetError::Broken)?;
            link.process().await?;
            if took == 0 {
                return Err(GreetError::Broken(io::ErrorKind::InvalidData.into()));
            }
        }
        loop {
            link.flush().await.map_err(GreetError::Broken)?;
            if !link.lock().is_handshaking() {
                return Ok(link);
            }
            let took = link.fill().await.map_err(GreetError::Broken)?;
            link.process().await?;
            if took == 0 {
                return Err(GreetError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// The connection below.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        lock(&self.session)
    }

    /// Looks at what was received; a fault is told to the other side.
    async fn process(&self) -> Result<(), GreetError> {
        let processed = self.lock().process_new_packets();
        if let Err(error) = processed {
            // It may be gone already.
            let _ = self.flush().await;
            return Err(GreetError::Tls(error));
        }
        Ok(())
    }

    /// Reads what came, waiting for it; 0 at the end.
    async fn fill(&self) -> io::Result<usize> {
        loop {
            let taken = self.lock().read_tls(&mut Socket(&self.stream));
            match taken {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.readable().await?;
                }
                other => return other,
            }
        }
    }

    /// Writes all that the session has to say.
    async fn flush(&self) -> io::Result<()> {
        loop {
            match self.write_waiting() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.writable().await?;
                }
                other => return other,
            }
        }
    }

    fn write_waiting(&self) -> io::Result<()> {
        let mut session = self.lock();
        while session.wants_write() {
            session.write_tls(&mut Socket(&self.stream))?;
        }
        Ok(())
    }

    /// Appends what the other side said to `into`; 0 at the end.
    pub(crate) async fn read(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            match self.take_plaintext(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            self.fill().await?;
            self.process().await.map_err(io::Error::other)?;
            // An answer that the protocol itself asks for.
            self.flush().await?;
        }
    }

    fn take_plaintext(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        let mut session = self.lock();
        let mut reader = session.reader();
        let ready = reader.fill_buf()?;
        let count = ready.len().min(READ_BYTES);
        into.extend_from_slice(ready.get(..count).unwrap_or_default());
        reader.consume(count);
        Ok(count)
    }

    /// Writes some of `bytes`. Broken off, some may have been written: the connection is not used again then.
    pub(crate) async fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        let most = bytes.get(..READ_BYTES).unwrap_or(bytes);
        let count = self.lock().writer().write(most)?;
        self.flush().await?;
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(count)
    }

    /// Says goodbye as the protocol has it, as far as it can be said at once.
    pub(crate) fn say_end(&self) {
        self.lock().send_close_notify();
        // Whoever does not read it sees an end without it.
        let _ = self.write_waiting();
    }

    /// Whether the other side says nothing and is not seen to be gone.
    pub(crate) fn is_silent(&self) -> bool {
        loop {
            match self.take_plaintext(&mut Vec::new()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return false,
            }
            let mut session = self.lock();
            match session.read_tls(&mut Socket(&self.stream)) {
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
                Ok(0) => return false,
                Ok(_) => {
                    if session.process_new_packets().is_err() {
                        return false;
                    }
                }
            }
        }
    }
}

impl fmt::Debug for TlsLink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TlsLink")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// The connection as rustls wants it: without waiting.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
