//! The other way round: a server inside the session, reached from the host's loopback.
//!
//! The connection is made inside the session by whoever can; nothing is read of it. Invariant: only ports that
//! `publish` names are reached, and only for as long as it names them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ringfence_policy::decision::Decision;

use super::live::{Opening, Route};
use super::wire::Wire;
use super::{Shared, copy};
use crate::caller::Caller;
use crate::decide::{Ingress, Subject};
use crate::reach::{Dial, dial_first};

/// A published port.
#[derive(Clone)]
pub(super) struct Published {
    pub(super) port: u16,
    pub(super) inside: Arc<dyn Dial>,
    pub(super) subject: Subject,
}

impl Published {
    /// Serves a connection of the host to the port inside.
    pub(super) async fn serve(&self, shared: &Shared, caller: &Caller, mut client: Wire) {
        let decision = shared.gate.policy().decide_published(self.port);
        let destination = format!("session:{}", self.port);
        let gate = &shared.gate;
        gate.record(caller, Ingress::Published, destination, None, &decision)
            .await;
        if matches!(decision, Decision::Deny { .. }) {
            return client.reset();
        }
        let loopback = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        let dialled = dial_first(&self.inside, &loopback, self.port);
        let Ok(Ok((_, stream))) = tokio::time::timeout(shared.limits.dial, dialled).await else {
            return client.reset();
        };
        let opening = Opening {
            subject: self.subject.clone(),
            port: self.port,
            ingress: Ingress::Published,
            route: Route::In,
        };
        let policy = shared.gate.policy();
        let live = shared.registry.register(opening, &policy);
        if live.refused_now(&shared.gate.policy()).is_some() {
            return client.reset();
        }
        // For the session the host's program is the one far away: what it hears has left the session.
        let mut server = Wire::new(stream);
        copy::relay(&mut server, &mut client, &live).await;
    }
}
