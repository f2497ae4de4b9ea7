//! Messages between the harness and the session's runner, and their frames.
//!
//! A frame is a 4-byte little-endian length, a 2-byte version and a postcard body. Both sides cap the length and
//! check the version of every frame. The runner shares no address space with a target, yet what it sends is read
//! as hostile: a target that took the runner over must not take the harness over.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use ringfence_plan::Plan;
use ringfence_plan::step::ServedSocket;
use ringfence_policy::AbsolutePath;
use ringfence_policy::decision::Denial;

use crate::command::{CommandId, CommandRequest, Outcome};
use crate::enforcement::Enforcement;

/// The version of this protocol.
pub const VERSION: u16 = 1;
/// The length of a frame's head.
pub const HEAD: usize = 6;
/// The largest body: a plan of 10,000 protected paths takes about 3 MiB.
pub const MAX_BODY: usize = 64 << 20;

/// From the harness to the runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Build the boundary. The first frame, once; the runner's view of the harness travels with it.
    Launch(Box<Plan>, Leased),
    /// Start a command; its descriptors travel with the frame's first byte.
    Spawn(CommandRequest),
    /// Send a signal to a command's process group.
    Signal {
        /// Which command.
        command: CommandId,
        /// Which signal.
        signal: i32,
    },
    /// End what is left of the session: TERM, two seconds, KILL.
    End,
}

/// Whether the session's lease travels with [`Request::Launch`] as its last descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leased {
    /// It does.
    Yes,
    /// There is none.
    No,
}

/// From the runner to the harness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The boundary stands.
    Ready(Enforcement),
    /// The boundary could not be built; nothing ran.
    LaunchFailed {
        /// Index of the step in the plan, where one failed.
        step: Option<usize>,
        /// What was tried, with its object.
        operation: String,
        /// The system's error number.
        errno: i32,
    },
    /// A socket of the session's network, to be served by the harness, travels with this frame; before [`Event::Ready`].
    Serving {
        /// Which.
        socket: ServedSocket,
    },
    /// The way to dial published ports travels with this frame; before [`Event::Ready`].
    Dialling,
    /// A command runs. The terminal's other side travels with this frame where it has one.
    Started {
        /// Which command.
        command: CommandId,
    },
    /// A call was refused, or will be by prediction.
    Denied {
        /// What.
        denial: Denial,
        /// How often the same since the last report.
        count: u32,
    },
    /// The target has made or changed something at a guarded path (the path as it is on the host).
    Touched {
        /// The path.
        path: AbsolutePath,
    },
    /// A mount that protects or hides fell off and was set again, or could not be (then the session ends).
    Remounted {
        /// The path.
        path: AbsolutePath,
        /// Whether the protection stands again.
        restored: bool,
    },
    /// A command has ended.
    Exited {
        /// Which command.
        command: CommandId,
        /// How.
        outcome: Outcome,
    },
    /// Every process of the session but the runner has ended.
    Ended,
}

/// Why a frame is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The body is longer than [`MAX_BODY`].
    #[error("a frame of {0} bytes is longer than the protocol allows")]
    TooLong(usize),
    /// The other side speaks another version.
    #[error("the other side speaks version {0} of the protocol, this one {VERSION}")]
    Version(u16),
    /// The body is no message of the expected kind.
    #[error("a frame holds no message")]
    Body,
}

/// Writes `message` as one frame at the end of `buffer`.
///
/// # Errors
/// [`FrameError::TooLong`] or [`FrameError::Body`] when it can't be represented.
pub fn encode<T: Serialize>(message: &T, buffer: &mut Vec<u8>) -> Result<(), FrameError> {
    let body = postcard::to_stdvec(message).map_err(|_| FrameError::Body)?;
    let length = u32::try_from(body.len()).map_err(|_| FrameError::TooLong(body.len()))?;
    if body.len() > MAX_BODY {
        return Err(FrameError::TooLong(body.len()));
    }
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&VERSION.to_le_bytes());
    buffer.extend_from_slice(&body);
    Ok(())
}

/// Reads the head of a frame: the length of the body that follows.
///
/// # Errors
/// [`FrameError::TooLong`] or [`FrameError::Version`].
pub fn decode_head(head: [u8; HEAD]) -> Result<usize, FrameError> {
    let [length @ .., low, high] = head;
    let version = u16::from_le_bytes([low, high]);
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    let length =
        usize::try_from(u32::from_le_bytes(length)).map_err(|_| FrameError::TooLong(usize::MAX))?;
    if length > MAX_BODY {
        return Err(FrameError::TooLong(length));
    }
    Ok(length)
}

/// Reads the body of a frame; every byte of it must belong to the message.
///
/// # Errors
/// [`FrameError::Body`].
pub fn decode_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok(_) | Err(_) => Err(FrameError::Body),
    }
}

/// Takes the first whole message off `buffer`, if one is there.
///
/// # Errors
/// [`FrameError`] for a frame that is no message; the stream can't be read further then.
pub fn take<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> Result<Option<T>, FrameError> {
    let Some(head) = buffer.first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let length = decode_head(*head)?;
    let Some(body) = buffer.get(HEAD..HEAD + length) else {
        return Ok(None);
    };
    let message = decode_body(body)?;
    buffer.drain(..HEAD + length);
    Ok(Some(message))
}
