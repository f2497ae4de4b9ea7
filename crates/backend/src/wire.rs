//! Messages between the harness and the session's runner.
//!
//! The runner shares no address space with a target, yet what it sends is read as hostile: a target that took the
//! runner over must not take the harness over.

use serde::{Deserialize, Serialize};

use ringfence_plan::Plan;
use ringfence_plan::step::ServedSocket;
use ringfence_policy::AbsolutePath;
use ringfence_policy::decision::Denial;

use crate::command::{CommandId, CommandRequest, Outcome};
use crate::enforcement::Enforcement;
use crate::frame::Format;

/// The protocol's frames. A plan of 10,000 protected paths takes about 3 MiB.
pub const FORMAT: Format = Format {
    version: 1,
    max_body: 64 << 20,
};

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

/// What was done about objects that a command had closed to the person; names are the target's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tending {
    /// How many are open to the person again.
    pub opened: u64,
    /// Some of those.
    pub examples: Vec<String>,
    /// Roots that had been made links and are plain directories again.
    pub unlinked: Vec<String>,
    /// How many are closed to the person still.
    pub left: u64,
    /// Some of those, each with the cause.
    pub unopened: Vec<(String, String)>,
}

impl Tending {
    /// How many of a kind are named.
    pub const MOST_NAMED: usize = 5;
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
    /// The way to ask which process holds the other end of a served connection travels with this frame; before
    /// [`Event::Ready`], where anything is served.
    ///
    /// A question is a number (four bytes), 6 for TCP or 17 for UDP (one), and two ends, the caller's and the one it
    /// talks to: an address (sixteen bytes, IPv4 mapped) and a port (two). The answer is the number, a process of the
    /// session (four, 0 for none) and the path of its program; numbers are little-endian.
    Naming,
    /// The way to further sockets of the session's network travels with this frame; before [`Event::Ready`], where anything is
    /// served or published.
    Dialling,
    /// The harness's side of the way to Unix sockets of the host travels with this frame; before [`Event::Ready`].
    ///
    /// A wish on it is a number (four bytes, little-endian), which [`ringfence_plan::Step::ReachSocket`] (two, counted
    /// from 0), and a socket; the answer is the number and an error number, or 0 when the socket is joined with that
    /// one (four and four).
    Reaching,
    /// A directory in which an absent guarded name may appear can't be watched: whoever wants to know must look; before
    /// [`Event::Ready`].
    Unwatched {
        /// The directory.
        directory: AbsolutePath,
    },
    /// A command runs. The terminal's other side travels with this frame where it has one.
    Started {
        /// Which command.
        command: CommandId,
    },
    /// A call was refused, or will be by prediction.
    Denied {
        /// What.
        denial: Box<Denial>,
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
    /// What a command had closed to the person was looked at; before [`Event::Exited`], where there was any.
    Tended(Tending),
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
