//! The one way out: every attempt to leave a session is read strictly, decided once, and recorded.
//!
//! The protocol cores ([`http`], [`socks`], [`hello`], [`dns`]) take bytes and do no I/O; [`mod@decide`] asks the policy;
//! [`synthetic`] gives names addresses that only this session knows; [`proxy`] is the thin shell around them. Sockets are handed in already made, so that the
//! boundary (a network namespace, a packet filter, a profile) is somebody else's business.
//!
//! Invariant: nothing is dialled that was not decided, and nothing is decided that was not read strictly.

#![forbid(unsafe_code)]

pub mod caller;
pub mod decide;
pub mod dns;
pub mod event;
pub mod first;
pub mod hello;
pub mod http;
pub mod limits;
pub mod progress;
pub mod proxy;
pub mod reach;
pub mod refusal;
pub mod socks;
pub mod synthetic;
pub mod terminate;

pub use caller::{Attribution, Ends, OneSession, Transport, UnknownCaller};
pub use decide::{Attempt, Ingress, Subject, Verdict, decide};
pub use event::{Event, Sink};
pub use limits::Limits;
pub use progress::Progress;
pub use proxy::{Control, Listener, Parts, Proxy};
pub use reach::{Dial, Pending, Resolve, SystemDialer, SystemResolver};
pub use synthetic::{SyntheticNames, SyntheticNetwork};
pub use terminate::Terminator;
