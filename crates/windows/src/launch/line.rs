//! The way to the other end of a pipe: one whole message at a time, from any thread.
//!
//! Invariant: no message is written between the bytes of another.

use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use ringfence_backend::frame::FrameError;
use ringfence_backend::windows::runner::FORMAT;
use serde::Serialize;

use crate::sys::pipe::PipeStream;

/// The writing half of a connection.
#[derive(Debug)]
pub(super) struct Line(Mutex<Arc<PipeStream>>);

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    /// It is larger than a frame.
    #[error("make a frame")]
    Frame(#[source] FrameError),
    /// The pipe could not be written.
    #[error("write to the pipe")]
    Write(#[source] io::Error),
}

impl Line {
    pub(super) fn new(stream: &Arc<PipeStream>) -> Self {
        Self(Mutex::new(Arc::clone(stream)))
    }

    /// Sends one message, waiting until the pipe has taken it.
    pub(super) fn send(&self, message: &impl Serialize) -> Result<(), LineError> {
        let mut frame = Vec::new();
        FORMAT
            .encode(message, &mut frame)
            .map_err(LineError::Frame)?;
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (&**stream).write_all(&frame).map_err(LineError::Write)
    }
}
