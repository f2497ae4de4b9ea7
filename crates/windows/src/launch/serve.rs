//! The runner's side of the pipe: requests in, events out, until the harness is gone.
//!
//! Invariant: when the pipe ends, however it ends, nothing of the session is left: the jobs end with this process.

use std::path::Path;
use std::sync::Arc;

use ringfence_backend::frame::ReadError;
use ringfence_backend::windows::runner::{
    Called, Event, FORMAT, HandleValue, NotStarted, Opening, Ready, Refusal, Request, Streams,
};

use super::console::ConsoleHost;
use super::engine::{Engine, OwnedStreams, Sink};
use super::harden::called;
use super::line::Line;
use crate::sys::console_event::hear_ctrl_c;
use crate::sys::pipe::{PipeName, PipeStream, connect};
use crate::sys::{CallError, handle};

/// Why the runner ended before the session did.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The harness's pipe could not be opened.
    #[error("connect to the harness")]
    Connect(#[source] CallError),
    /// What came was no request.
    #[error("read a request")]
    Read(#[source] ReadError),
    /// The session was refused; the harness has been told.
    #[error("the session was refused")]
    Refused(#[source] Refusal),
}

/// Serves the session whose harness waits at `pipe`; `console_host` is this program.
///
/// # Errors
/// [`ServeError`]; nothing of the session runs then.
pub fn serve(pipe: &PipeName, console_host: &Path) -> Result<(), ServeError> {
    serve_with(pipe, |opening, sink| {
        Engine::open(opening, ConsoleHost::of_runner(console_host), sink)
    })
}

pub(super) fn serve_with(
    pipe: &PipeName,
    open: impl FnOnce(Opening, Sink) -> Result<(Engine, Ready), Refusal>,
) -> Result<(), ServeError> {
    // Started as a group of its own, it would pass on to its commands that Ctrl-C is nothing to them. Where that can't
    // be undone, Ctrl-Break is left.
    let _ = hear_ctrl_c();
    let connection = connect(pipe).map_err(ServeError::Connect)?;
    let stream = Arc::new(connection.stream);
    let sink = sink(&stream);
    let mut incoming = &*stream;
    let first = FORMAT.read(&mut incoming).map_err(ServeError::Read)?;
    let opened = match first {
        Some(Request::Open(opening)) => open(*opening, Arc::clone(&sink)),
        // The harness went before it said anything.
        None => return Ok(()),
        Some(
            Request::Start(..)
            | Request::Resize { .. }
            | Request::Interrupt { .. }
            | Request::Kill { .. }
            | Request::Whose { .. }
            | Request::Close,
        ) => Err(Refusal::OutOfOrder),
    };
    let engine = match opened {
        Ok((engine, ready)) => {
            sink(Event::Ready(ready));
            engine
        }
        Err(refusal) => {
            sink(Event::Refused(refusal.clone()));
            return Err(ServeError::Refused(refusal));
        }
    };
    while let Some(request) = FORMAT.read(&mut incoming).map_err(ServeError::Read)? {
        match request {
            Request::Open(_) => {
                let refusal = Refusal::OutOfOrder;
                sink(Event::Refused(refusal.clone()));
                return Err(ServeError::Refused(refusal));
            }
            Request::Start(start, streams) => match adopt(streams) {
                Ok(streams) => engine.start(&start, &streams),
                Err(error) => sink(Event::NotStarted {
                    command: start.command,
                    why: NotStarted::Call(error),
                }),
            },
            Request::Resize { command, size } => engine.resize(command, size),
            Request::Interrupt { command, key } => engine.interrupt(command, key),
            Request::Kill { command } => engine.kill(command),
            Request::Whose { question, process } => {
                let member = engine.whose(process);
                sink(Event::Belongs { question, member });
            }
            Request::Close => {
                engine.close();
                sink(Event::Closed);
                return Ok(());
            }
        }
    }
    engine.close();
    Ok(())
}

/// Writes each event. A harness that is gone reads nothing: the pipe's other direction says so.
fn sink(stream: &Arc<PipeStream>) -> Sink {
    let line = Line::new(stream);
    Arc::new(move |event| {
        let _ = line.send(&event);
    })
}

/// Takes over the handles that the harness has put into this process.
fn adopt(streams: Streams) -> Result<OwnedStreams, Called> {
    let take = |value: HandleValue| handle::adopt_sent(value.0).map_err(called);
    match streams {
        Streams::Direct([input, output, error]) => {
            // All three are taken, so that none is left open where one is wrong.
            let taken = [take(input), take(output), take(error)];
            let [input, output, error] = taken;
            Ok(OwnedStreams::Direct([input?, output?, error?]))
        }
        Streams::Terminal {
            input,
            output,
            size,
        } => {
            let (input, output) = (take(input), take(output));
            Ok(OwnedStreams::Terminal {
                input: input?,
                output: output?,
                size,
            })
        }
    }
}
