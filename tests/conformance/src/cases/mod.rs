//! The case table, one module per part of the boundary.

mod kernel;
mod protected;
mod replace;
mod secrets;
mod sockets;
mod writes;

use crate::suite::Case;

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        writes::CASES,
        protected::CASES,
        replace::CASES,
        secrets::CASES,
        sockets::CASES,
        kernel::CASES,
    ]
    .concat()
}
