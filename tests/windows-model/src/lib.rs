//! The Windows boundary, attacked on the NT model without Windows.
//!
//! A [`World`] is a simulated host on which a plan has been carried out. [`search`](search::search) lets a target do
//! everything that the model knows, in every order, up to stated bounds, and looks for a state that breaks a
//! [`Promise`]. [`access`] compares the model's access check with another implementation's, and [`smbd`] its file system
//! with a real server's. Nothing here is shipped.
//!
//! It proves nothing about Windows itself: only that the plan holds if Windows follows the rules that `ringfence-nt`
//! cites. Invariant: a search that stopped at a bound says so, and a comparison that could not run is never counted as
//! agreement.

#![forbid(unsafe_code)]
#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    clippy::panic,
    reason = "a world that can't be built is a broken test, and says which part"
)]

pub mod access;
pub mod carry;
pub mod figures;
mod guarded;
pub mod host;
pub mod look;
pub mod mutate;
pub mod network;
pub mod observe;
pub mod operation;
pub mod oracle;
pub mod promise;
pub mod random;
pub mod scene;
pub mod search;
pub mod smbd;
pub mod state;
pub mod world;
pub mod worlds;

pub use promise::Promise;
pub use world::World;
