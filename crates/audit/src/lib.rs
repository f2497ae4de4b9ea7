//! The events of a session: their schema, and the JSON Lines writer of `--events FILE`.
//!
//! It asks for no time and reads no clock: each event carries the time its maker gives. No file contents, no query
//! strings, no header values, no prompts are ever part of an event. Invariant: one event is one line, and `seq`
//! counts without a gap within one sink.

#![forbid(unsafe_code)]

pub mod event;
pub mod redact;
pub mod schema;
pub mod sink;

pub use event::{Event, Record, SessionId};
pub use redact::redact_arguments;
pub use sink::{EventSink, SinkError};
