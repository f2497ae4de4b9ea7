//! The case table, one module per part of the boundary.

mod absent;
mod builds;
mod caches;
mod callers;
mod clients;
mod denials;
mod egress;
mod endings;
mod environment;
mod evasion;
mod growth;
mod kernel;
mod levels;
mod loopback;
mod places;
mod protected;
mod proxy_end;
mod replace;
mod requests;
mod secrets;
mod sockets;
mod ssh_server;
mod streams;
mod terminal;
mod told;
mod unix_sockets;
mod writes;

use crate::suite::Case;

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        writes::CASES,
        protected::CASES,
        absent::CASES,
        replace::CASES,
        secrets::CASES,
        told::CASES,
        sockets::CASES,
        unix_sockets::CASES,
        egress::CASES,
        proxy_end::CASES,
        callers::CASES,
        clients::CASES,
        requests::CASES,
        loopback::CASES,
        kernel::CASES,
        streams::CASES,
        terminal::CASES,
        endings::CASES,
        environment::CASES,
        evasion::CASES,
        places::CASES,
        builds::CASES,
        caches::CASES,
        growth::CASES,
        levels::CASES,
        denials::CASES,
    ]
    .concat()
}
