//! One request and its answer on two open connections.
//!
//! The body of the request and the answer move at the same time: an origin may answer before it has read everything.
//! Bodies in chunks are written anew, so that nothing can hide between them. Decides nothing.
//! Invariant: after an exchange both connections stand at the beginning of the next message, or are not used again.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::copy::{Bulk, CopyError, Lane, copy};
use super::live::{Direction, Live};
use super::request::Forward;
use super::wire::{Inbox, READ_BYTES, ReadEnd, Wire, WriteEnd, write_all};
use crate::http::{
    BodyLength, Changing, Chunks, Persistence, Piece, ResponseBody, ResponseError, ResponseHead,
    Version,
};
use crate::progress::Progress;

/// How long an answer is awaited for a client that has ended its side.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// Why an exchange broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// The origin is gone before it said anything.
    #[error("the origin closed the connection without an answer")]
    NoAnswer(#[source] Option<io::Error>),
    /// The origin's answer can't be passed on, and none of it was.
    #[error("the origin's answer can't be read")]
    BadAnswer(#[source] ResponseError),
    /// The client is gone.
    #[error("the client broke off")]
    Client(#[source] io::Error),
    /// A body broke off, or can't be read.
    #[error("a body broke off")]
    Body(#[source] CopyError),
}

/// What the connections may carry after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Another exchange, where both stay open.
    Messages {
        client: Persistence,
        origin: Persistence,
    },
    /// The protocol that was asked for.
    Changed,
}

/// Sends the request and its body, and brings the answer back.
pub(super) async fn exchange(
    client: &mut Wire,
    server: &mut Wire,
    live: &Live,
    forward: &Forward,
) -> Result<Outcome, ExchangeError> {
    live.count(Direction::Out, forward.head.len())
        .map_err(|_| ExchangeError::Body(CopyError::Exhausted))?;
    write_all(&server.write, &forward.head)
        .await
        .map_err(|error| ExchangeError::NoAnswer(Some(error)))?;
    let out = Lane {
        live,
        direction: Direction::Out,
    };
    let is_sent = AtomicBool::new(false);
    let Wire { read, write, inbox } = client;
    let request = async {
        let sent = send_body(read, inbox, &server.write, out, forward.body).await;
        match sent {
            Ok(()) => is_sent.store(true, Ordering::Relaxed),
            // It takes no more, and may be about to say why.
            Err(CopyError::Write(_)) => {}
            Err(error) => return ExchangeError::Body(error),
        }
        ExchangeError::Client(await_end(read, inbox, forward.persistence).await)
    };
    let answer = receive_answer(&mut server.read, &mut server.inbox, write, live, forward);
    tokio::select! {
        biased;
        ended = request => Err(ended),
        answered = answer => {
            let outcome = answered?;
            // A client whose request was not taken whole has nothing more to say here.
            Ok(if is_sent.load(Ordering::Relaxed) {
                outcome
            } else {
                Outcome::Messages {
                    client: Persistence::Close,
                    origin: Persistence::Close,
                }
            })
        }
    }
}

/// Waits until the client is gone, while its answer is awaited: an origin that is silent would hide it for long.
///
/// A client that ends its side may have gone, or have said its last (`printf … | nc`): that it could ask again makes the
/// first likelier, and the answer is awaited for [`LAST_ANSWER`] alone. One that announced its last request is gone only
/// when it resets. What it says meanwhile is its next request and waits.
async fn await_end(read: &mut ReadEnd, inbox: &mut Inbox, persistence: Persistence) -> io::Error {
    match inbox.fill(read).await {
        Err(error) => error,
        Ok(0) if persistence == Persistence::KeepAlive => {
            let broken = tokio::time::timeout(LAST_ANSWER, read.broken()).await;
            broken.unwrap_or_else(|_| io::ErrorKind::UnexpectedEof.into())
        }
        Ok(_) => read.broken().await,
    }
}

async fn send_body(
    client: &mut ReadEnd,
    inbox: &mut Inbox,
    server: &WriteEnd,
    lane: Lane<'_>,
    body: BodyLength,
) -> Result<(), CopyError> {
    match body {
        BodyLength::Bytes(0) => Ok(()),
        BodyLength::Bytes(bytes) => {
            copy(client, inbox, server, lane, Some(bytes), Bulk::Allowed).await
        }
        BodyLength::Chunked => copy_chunks(client, inbox, server, lane).await,
    }
}

/// Passes on what the origin answers, with everything that comes before the last word (1xx).
async fn receive_answer(
    server: &mut ReadEnd,
    inbox: &mut Inbox,
    client: &WriteEnd,
    live: &Live,
    forward: &Forward,
) -> Result<Outcome, ExchangeError> {
    let lane = Lane {
        live,
        direction: Direction::In,
    };
    loop {
        let mut out = Vec::new();
        let answer = read_head(server, inbox, forward, &mut out).await?;
        let (body, outcome) = match answer {
            Answer::Last(body, outcome) => (body, outcome),
            Answer::Interim => {
                lane.count(out.len()).map_err(ExchangeError::Body)?;
                write_all(client, &out)
                    .await
                    .map_err(ExchangeError::Client)?;
                continue;
            }
        };
        let mut left = body;
        if let ResponseBody::Bytes(bytes) = body {
            // A short answer goes out in one piece.
            let most = usize::try_from(bytes).unwrap_or(usize::MAX);
            let unread = inbox.unread();
            let ready = unread.get(..most).unwrap_or(unread);
            let count = ready.len();
            out.extend_from_slice(ready);
            inbox.consume(count);
            left = ResponseBody::Bytes(bytes - u64::try_from(count).unwrap_or(bytes));
        }
        lane.count(out.len()).map_err(ExchangeError::Body)?;
        write_all(client, &out)
            .await
            .map_err(ExchangeError::Client)?;
        match left {
            ResponseBody::Bytes(0) => Ok(()),
            ResponseBody::Bytes(bytes) => {
                copy(server, inbox, client, lane, Some(bytes), Bulk::Allowed).await
            }
            ResponseBody::Chunked => copy_chunks(server, inbox, client, lane).await,
            ResponseBody::UntilClose => {
                copy(server, inbox, client, lane, None, Bulk::Allowed).await
            }
        }
        .map_err(ExchangeError::Body)?;
        return Ok(outcome);
    }
}

enum Answer {
    Interim,
    Last(ResponseBody, Outcome),
}

/// Reads one head of an answer, and writes it anew into `out`.
async fn read_head(
    server: &mut ReadEnd,
    inbox: &mut Inbox,
    forward: &Forward,
    out: &mut Vec<u8>,
) -> Result<Answer, ExchangeError> {
    loop {
        let changing = forward.protocol.as_deref();
        let changing = changing.map_or(Changing::Nothing, Changing::To);
        let head = ResponseHead::parse_changing(inbox.unread(), &forward.method, changing);
        match head.map_err(ExchangeError::BadAnswer)? {
            Progress::Done { value, used } => {
                if let (true, Changing::To(protocol)) = (value.is_change(), changing) {
                    value.write_change(protocol, out);
                    inbox.consume(used);
                    return Ok(Answer::Last(ResponseBody::Bytes(0), Outcome::Changed));
                }
                let client = match value.body {
                    ResponseBody::UntilClose => Persistence::Close,
                    ResponseBody::Bytes(_) | ResponseBody::Chunked => forward.persistence,
                };
                let answer = if value.is_interim() {
                    Answer::Interim
                } else {
                    let origin = value.persistence;
                    Answer::Last(value.body, Outcome::Messages { client, origin })
                };
                // A client of HTTP/1.0 knows no answer before the answer.
                if !(value.is_interim() && forward.version == Version::Http10) {
                    value.write_forward(forward.version, client, out);
                }
                inbox.consume(used);
                return Ok(answer);
            }
            Progress::NeedMore => match inbox.fill(server).await {
                Ok(1..) => {}
                Ok(0) => return Err(ExchangeError::NoAnswer(None)),
                Err(error) => return Err(ExchangeError::NoAnswer(Some(error))),
            },
        }
    }
}

/// Copies a body in chunks, each read as one chunk.
async fn copy_chunks(
    from: &mut ReadEnd,
    inbox: &mut Inbox,
    to: &WriteEnd,
    lane: Lane<'_>,
) -> Result<(), CopyError> {
    let mut chunks = Chunks::default();
    let mut out = Vec::with_capacity(READ_BYTES + 64);
    loop {
        let mut ended = false;
        let mut used = 0;
        let unread = inbox.unread();
        while let Some(rest) = unread.get(used..).filter(|_| !ended) {
            match chunks.next(rest).map_err(CopyError::Chunks)? {
                Piece::NeedMore => {
                    used = unread.len();
                    break;
                }
                Piece::Data { skip, length } => {
                    let data = rest.get(skip..skip + length).unwrap_or_default();
                    Chunks::write_chunk(data, &mut out);
                    used += skip + length;
                }
                Piece::End { skip } => {
                    Chunks::write_end(&mut out);
                    used += skip;
                    ended = true;
                }
            }
        }
        inbox.consume(used);
        lane.count(out.len())?;
        write_all(to, &out).await.map_err(CopyError::Write)?;
        out.clear();
        if ended {
            return Ok(());
        }
        if inbox.fill(from).await.map_err(CopyError::Read)? == 0 {
            return Err(CopyError::Truncated);
        }
    }
}
