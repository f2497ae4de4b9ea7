//! HTTP/1 heads and bodies, read so strictly that two readers can't mean different things.
//!
//! Lines end with CR LF and nothing else, header lines are never folded, one length is given at most once, and what
//! goes on is written anew from what was read: a request that hides a second one does not survive. HTTP/2 is not
//! spoken here. Invariant: the bytes sent on have exactly one reading, the one that was decided on.

mod chunks;
mod head;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use chunks::{Chunks, ChunksError, Piece};
pub(crate) use head::is_token;
pub use head::{Header, MAX_HEAD, MAX_HEADERS, MAX_LINE, Persistence, Version};
pub use request::{
    Authority, BodyLength, Changing, RequestError, RequestHead, Scheme, Target, Upgrade,
};
pub use response::{ResponseBody, ResponseError, ResponseHead};
