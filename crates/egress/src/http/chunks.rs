//! A body in chunks, taken apart and written anew.
//!
//! Extensions and trailers are read and left out: no client here needs them, and they have carried second requests.
//! Invariant: what comes out is in chunks whose sizes are exactly those of the data in them.

use std::io::Write as _;

use crate::progress::Progress;

/// The most bytes of a size line or of all trailers together.
const MAX_LINE: usize = 4096;

/// The most digits of a size: 60 bits.
const MAX_DIGITS: usize = 15;

/// Reads a body in chunks, whatever pieces it arrives in.
#[derive(Clone, Debug, Default)]
pub struct Chunks {
    state: State,
    /// Digits of a size, or bytes of extension, trailer lines or line ends, since the last piece of data.
    line: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// In the size of a chunk; the size so far.
    #[default]
    Start,
    Size(u64),
    /// In an extension of a chunk of that size.
    Extension(u64),
    /// After the carriage return of a size line.
    SizeEnd(u64),
    /// In data, of which so much is left.
    Data(u64),
    /// After data: the carriage return, then the line feed.
    DataReturn,
    DataFeed,
    /// After the last chunk, at the start of a line, or within one.
    TrailerStart,
    Trailer,
    TrailerFeed,
    /// After the carriage return of the empty line.
    LastFeed,
    Done,
}

/// What the next bytes of a body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Everything was read and more must come.
    NeedMore,
    /// Data of a chunk: so many bytes, after `skip` bytes that are none.
    Data {
        /// Bytes that are no data.
        skip: usize,
        /// Bytes of data.
        length: usize,
    },
    /// The body is over after so many bytes.
    End {
        /// Bytes that are no data.
        skip: usize,
    },
}

/// Why bytes are no body in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunksError {
    /// A size that is no hexadecimal number, or too large.
    #[error("the size of a chunk is no hexadecimal number, or too large")]
    Size,
    /// A line that ends otherwise than with CR LF, or holds a control character.
    #[error("a line between the chunks does not end as it must")]
    LineEnd,
    /// An extension or trailers of more than 4096 bytes.
    #[error("an extension or the trailers are too long")]
    TooLong,
}

impl Chunks {
    /// Reads on; data that was announced counts as read.
    ///
    /// # Errors
    /// [`ChunksError`] at the first byte that can't stand there.
    ///
    /// # Security
    /// The sender chooses every byte.
    pub fn next(&mut self, input: &[u8]) -> Result<Piece, ChunksError> {
        for (index, byte) in input.iter().enumerate() {
            if let State::Data(left) = self.state {
                let available = u64::try_from(input.len() - index).unwrap_or(u64::MAX);
                let taken = left.min(available);
                self.state = match left - taken {
                    0 => State::DataReturn,
                    left => State::Data(left),
                };
                let length = usize::try_from(taken).unwrap_or(input.len() - index);
                return Ok(Piece::Data {
                    skip: index,
                    length,
                });
            }
            self.step(*byte)?;
            if self.state == State::Done {
                return Ok(Piece::End { skip: index + 1 });
            }
        }
        Ok(Piece::NeedMore)
    }

    fn step(&mut self, byte: u8) -> Result<(), ChunksError> {
        self.line += 1;
        if self.line > MAX_LINE {
            return Err(ChunksError::TooLong);
        }
        self.state = match (self.state, byte) {
            (State::Start, byte) => State::Size(digit(byte)?),
            (State::Size(size) | State::Extension(size), b'\r') => State::SizeEnd(size),
            (State::Size(size), b';' | b' ' | b'\t') => State::Extension(size),
            (State::Size(_), _) if self.line > MAX_DIGITS => return Err(ChunksError::Size),
            (State::Size(size), byte) => State::Size((size << 4) | digit(byte)?),
            (State::Extension(size), byte) if is_text(byte) => State::Extension(size),
            (State::SizeEnd(0) | State::TrailerFeed, b'\n') => State::TrailerStart,
            (State::SizeEnd(size), b'\n') => {
                self.line = 0;
                State::Data(size)
            }
            (State::DataReturn, b'\r') => State::DataFeed,
            (State::DataFeed, b'\n') => {
                self.line = 0;
                State::Start
            }
            (State::TrailerStart, b'\r') => State::LastFeed,
            (State::Trailer, b'\r') => State::TrailerFeed,
            (State::TrailerStart | State::Trailer, byte) if is_text(byte) => State::Trailer,
            (State::LastFeed, b'\n') => State::Done,
            (
                State::Extension(_)
                | State::SizeEnd(_)
                | State::Data(_)
                | State::DataReturn
                | State::DataFeed
                | State::TrailerStart
                | State::Trailer
                | State::TrailerFeed
                | State::LastFeed
                | State::Done,
                _,
            ) => return Err(ChunksError::LineEnd),
        };
        Ok(())
    }

    /// Writes `data` as one chunk.
    pub fn write_chunk(data: &[u8], out: &mut Vec<u8>) {
        if data.is_empty() {
            // An empty chunk would end the body.
            return;
        }
        // Writing to a Vec can't fail.
        let _ = write!(out, "{:x}\r\n", data.len());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }

    /// Writes the end of a body.
    pub fn write_end(out: &mut Vec<u8>) {
        out.extend_from_slice(b"0\r\n\r\n");
    }

    /// Reads a whole body at once: how long it is, and its data.
    ///
    /// # Errors
    /// [`ChunksError`] at the first byte that can't stand there.
    pub fn parse(bytes: &[u8]) -> Result<Progress<Vec<u8>>, ChunksError> {
        let mut chunks = Self::default();
        let mut data = Vec::new();
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            match chunks.next(rest)? {
                Piece::NeedMore => return Ok(Progress::NeedMore),
                Piece::Data { skip, length } => {
                    let piece = rest.get(skip..skip + length).unwrap_or_default();
                    data.extend_from_slice(piece);
                    used += skip + length;
                }
                Piece::End { skip } => {
                    let used = used + skip;
                    return Ok(Progress::Done { value: data, used });
                }
            }
        }
    }
}

fn digit(byte: u8) -> Result<u64, ChunksError> {
    let digit = char::from(byte).to_digit(16).ok_or(ChunksError::Size)?;
    Ok(u64::from(digit))
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
