//! Frames on a stream: a 4-byte little-endian length, a 2-byte version, and a postcard body.
//!
//! One codec for every pair of our programs; what the messages are is each protocol's own. What arrives is read as
//! hostile. Invariant: no length is believed above the cap, no frame without the right version, and every byte of a
//! body belongs to its message.

use std::io::{self, Read};

use serde::{Serialize, de::DeserializeOwned};

/// The length of a frame's head.
pub const HEAD: usize = 6;

/// A protocol's version and its cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// What stands in every frame.
    pub version: u16,
    /// The largest body, in bytes.
    pub max_body: usize,
}

/// Why a frame is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The body is longer than the protocol's cap.
    #[error("a frame of {0} bytes is longer than the protocol allows")]
    TooLong(usize),
    /// The other side speaks another version.
    #[error("the other side speaks version {found} of the protocol, this one {known}")]
    Version {
        /// Its version.
        found: u16,
        /// Ours.
        known: u16,
    },
    /// The body is no message of the expected kind.
    #[error("a frame holds no message")]
    Body,
}

/// Why no message came off a stream.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream could not be read.
    #[error("read the other side's message")]
    Stream(#[source] io::Error),
    /// It ended inside a frame.
    #[error("the other side ended in the middle of a message")]
    Truncated,
    /// The frame is no message.
    #[error("read a frame")]
    Frame(#[source] FrameError),
}

impl Format {
    /// Writes `message` as one frame at the end of `buffer`, or leaves the buffer as it was.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] or [`FrameError::Body`] when it can't be represented.
    pub fn encode<T: Serialize>(self, message: &T, buffer: &mut Vec<u8>) -> Result<(), FrameError> {
        let body = postcard::to_stdvec(message).map_err(|_| FrameError::Body)?;
        let length = u32::try_from(body.len()).map_err(|_| FrameError::TooLong(body.len()))?;
        if body.len() > self.max_body {
            return Err(FrameError::TooLong(body.len()));
        }
        buffer.extend_from_slice(&length.to_le_bytes());
        buffer.extend_from_slice(&self.version.to_le_bytes());
        buffer.extend_from_slice(&body);
        Ok(())
    }

    /// Takes the first whole message off `buffer`, if one is there.
    ///
    /// # Errors
    /// [`FrameError`] for a frame that is no message; the stream can't be read further then.
    pub fn take<T: DeserializeOwned>(self, buffer: &mut Vec<u8>) -> Result<Option<T>, FrameError> {
        let Some(head) = buffer.first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = self.decode_head(*head)?;
        let Some(body) = buffer.get(HEAD..HEAD + length) else {
            return Ok(None);
        };
        let message = decode_body(body)?;
        buffer.drain(..HEAD + length);
        Ok(Some(message))
    }

    /// Reads one message from `stream`, waiting for it; `None` where the stream ended between messages.
    ///
    /// # Errors
    /// [`ReadError`]; the stream can't be read further then.
    ///
    /// # Security
    /// Memory grows with what has arrived, not with what a head claims.
    pub fn read<T: DeserializeOwned>(self, stream: &mut impl Read) -> Result<Option<T>, ReadError> {
        let mut head = Vec::with_capacity(HEAD);
        read_up_to(stream, HEAD, &mut head)?;
        let Some(whole) = head.first_chunk::<HEAD>() else {
            return if head.is_empty() {
                Ok(None)
            } else {
                Err(ReadError::Truncated)
            };
        };
        let length = self.decode_head(*whole).map_err(ReadError::Frame)?;
        let mut body = Vec::new();
        read_up_to(stream, length, &mut body)?;
        if body.len() < length {
            return Err(ReadError::Truncated);
        }
        decode_body(&body).map(Some).map_err(ReadError::Frame)
    }

    /// The length of the body behind a head.
    fn decode_head(self, head: [u8; HEAD]) -> Result<usize, FrameError> {
        let [length @ .., low, high] = head;
        let found = u16::from_le_bytes([low, high]);
        if found != self.version {
            return Err(FrameError::Version {
                found,
                known: self.version,
            });
        }
        let length = usize::try_from(u32::from_le_bytes(length))
            .map_err(|_| FrameError::TooLong(usize::MAX))?;
        if length > self.max_body {
            return Err(FrameError::TooLong(length));
        }
        Ok(length)
    }
}

fn decode_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok(_) | Err(_) => Err(FrameError::Body),
    }
}

fn read_up_to(stream: &mut impl Read, length: usize, into: &mut Vec<u8>) -> Result<(), ReadError> {
    let limit = u64::try_from(length).unwrap_or(u64::MAX);
    let mut limited = stream.take(limit);
    limited.read_to_end(into).map_err(ReadError::Stream)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    const FORMAT: Format = Format {
        version: 7,
        max_body: 4096,
    };

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    enum Message {
        Number(u64),
        Text(Vec<String>),
        Nothing,
    }

    fn messages() -> impl Strategy<Value = Message> {
        prop_oneof![
            any::<u64>().prop_map(Message::Number),
            proptest::collection::vec(".{0,20}", 0..8).prop_map(Message::Text),
            Just(Message::Nothing),
        ]
    }

    fn frame(message: &Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        FORMAT.encode(message, &mut bytes).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back_however_it_is_cut(
            sent in proptest::collection::vec(messages(), 0..6),
            piece in 1_usize..40,
        ) {
            let stream: Vec<u8> = sent.iter().flat_map(frame).collect();
            let (mut buffer, mut received) = (Vec::new(), Vec::new());
            for part in stream.chunks(piece) {
                buffer.extend_from_slice(part);
                while let Some(message) = FORMAT.take::<Message>(&mut buffer).unwrap() {
                    received.push(message);
                }
            }
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(&received, &sent);
            let mut whole = stream.as_slice();
            for message in sent {
                prop_assert_eq!(FORMAT.read(&mut whole).unwrap(), Some(message));
            }
            prop_assert!(FORMAT.read::<Message>(&mut whole).unwrap().is_none());
        }

        #[test]
        fn arbitrary_bytes_give_a_message_an_error_or_a_wait_and_nothing_else(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut buffer = bytes.clone();
            let taken = FORMAT.take::<Message>(&mut buffer);
            // What is no whole message stays where it was.
            if !matches!(taken, Ok(Some(_))) {
                prop_assert_eq!(&buffer, &bytes);
            }
            let read = FORMAT.read::<Message>(&mut bytes.as_slice());
            match (taken, read) {
                (Ok(Some(one)), Ok(Some(other))) => prop_assert_eq!(one, other),
                (Ok(None), Ok(None)) => prop_assert!(bytes.is_empty()),
                (Ok(None), Err(ReadError::Truncated)) => {}
                (Err(one), Err(ReadError::Frame(other))) => prop_assert_eq!(one, other),
                (one, other) => prop_assert!(false, "{:?} and {:?}", one, other),
            }
        }

        #[test]
        fn a_frame_that_was_cut_is_never_a_message(message in messages(), cut in 1_usize..100) {
            let whole = frame(&message);
            let kept = whole.len().saturating_sub(cut).max(1);
            let mut part = whole[..kept].to_vec();
            prop_assert_eq!(FORMAT.take::<Message>(&mut part), Ok(None));
            let read = FORMAT.read::<Message>(&mut part.as_slice());
            prop_assert!(matches!(read, Err(ReadError::Truncated)));
        }
    }

    #[test]
    fn hostile_frames_are_refused_by_their_own_reason() {
        let head = |length: u32, version: u16| {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend(version.to_le_bytes());
            bytes
        };
        let take = |mut bytes: Vec<u8>| FORMAT.take::<Message>(&mut bytes);
        assert_eq!(take(head(4097, 7)), Err(FrameError::TooLong(4097)));
        assert_eq!(
            take(head(u32::MAX, 7)),
            Err(FrameError::TooLong(4_294_967_295))
        );
        let other = FrameError::Version { found: 8, known: 7 };
        assert_eq!(take(head(1, 8)), Err(other));
        // A message of no known kind, an empty body, and a byte behind the message.
        let with = |body: &[u8]| {
            let length = u32::try_from(body.len()).unwrap();
            [head(length, 7), body.to_vec()].concat()
        };
        assert_eq!(take(with(&[9])), Err(FrameError::Body));
        assert_eq!(take(with(&[])), Err(FrameError::Body));
        assert_eq!(take(with(&[2])), Ok(Some(Message::Nothing)));
        assert_eq!(take(with(&[2, 0])), Err(FrameError::Body));
        // A list that claims more elements than there are bytes.
        assert_eq!(take(with(&[1, 0xff, 0xff, 0x7f])), Err(FrameError::Body));
    }

    #[test]
    fn a_message_above_the_cap_is_not_sent_and_leaves_the_buffer_as_it_was() {
        let mut buffer = vec![1, 2, 3];
        let long = Message::Text(vec!["x".repeat(5000)]);
        assert!(matches!(
            FORMAT.encode(&long, &mut buffer),
            Err(FrameError::TooLong(_))
        ));
        assert_eq!(buffer, [1, 2, 3]);
    }

    #[test]
    fn a_head_that_claims_much_makes_no_room_for_it() {
        struct Claims(bool);
        impl Read for Claims {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                assert!(buffer.len() <= 64 << 10, "room for {}", buffer.len());
                if std::mem::replace(&mut self.0, true) {
                    return Ok(0);
                }
                let head = [0, 0, 0, 4, 7, 0];
                buffer[..6].copy_from_slice(&head);
                Ok(6)
            }
        }
        let large = Format {
            version: 7,
            max_body: 64 << 20,
        };
        let read = large.read::<Message>(&mut Claims(false));
        assert!(matches!(read, Err(ReadError::Truncated)));
    }
}
