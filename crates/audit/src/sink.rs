//! The writer of `--events FILE`: JSON Lines, one event per line, written at once.
//!
//! Invariant: a line is written whole with one call, or the sink reports an error; it never skips a number.

use std::io::Write;

use crate::event::{Event, Record, SessionId};

/// Why an event was not written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// It could not be put into words.
    #[error("an event could not be encoded")]
    Encode(#[source] serde_json::Error),
    /// The file did not take it.
    #[error("the event stream could not be written")]
    Write(#[source] std::io::Error),
}

/// Takes the events of one session and writes each as one line.
pub struct EventSink {
    session: SessionId,
    next: u64,
    output: Box<dyn Write + Send>,
    line: Vec<u8>,
}

impl std::fmt::Debug for EventSink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("EventSink")
            .field("session", &self.session)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl EventSink {
    /// Writes the events of `session` to `output`, which should not be buffered: an event is there at once or never.
    #[must_use]
    pub fn new(session: SessionId, output: Box<dyn Write + Send>) -> Self {
        Self {
            session,
            next: 1,
            output,
            line: Vec::new(),
        }
    }

    /// The session whose events these are.
    #[must_use]
    pub fn session(&self) -> &SessionId {
        &self.session
    }

    /// Writes one event that happened at `time` (RFC 3339, UTC).
    ///
    /// # Errors
    /// [`SinkError`]; the number is used up only when the line was written.
    pub fn write(&mut self, time: &str, event: Event) -> Result<(), SinkError> {
        let record = Record {
            seq: self.next,
            time: time.to_owned(),
            session: self.session.clone(),
            event,
        };
        self.line.clear();
        serde_json::to_writer(&mut self.line, &record).map_err(SinkError::Encode)?;
        self.line.push(b'\n');
        self.output
            .write_all(&self.line)
            .map_err(SinkError::Write)?;
        self.next += 1;
        Ok(())
    }
}
