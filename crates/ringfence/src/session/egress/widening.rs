//! What a policy that is loaded later opens: listeners that the boundary was not built with.
//!
//! The session's runner makes them inside its network, as it made the first ones. Invariant: a listener opens nothing by
//! itself; what it takes is decided by the policy of the moment, and one that is no longer named only refuses.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use ringfence_egress::Subject;
use ringfence_egress::proxy::{Control, Listener};
use ringfence_egress::reach::Dial;
use ringfence_plan::step::{ServedSocket, Service};
use ringfence_policy::document::NetworkMode;
use ringfence_policy::policy::NetworkPolicy;

use super::EgressError;
use super::inside::Inside;

/// The port of names, whose listeners stand from the beginning.
const NAMES: u16 = 53;

/// The listeners of one session, and how to make more.
pub(super) struct Widening {
    inside: Arc<Inside>,
    subject: Subject,
    /// The address that stands for every one, where any address is captured.
    wildcard: Option<IpAddr>,
    made: Mutex<BTreeSet<Place>>,
}

/// What stands where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// For any address at this port.
    Captured(u16),
    /// For one server of the host's loopback.
    Connected(SocketAddr),
    /// On the host's loopback, for a port of the session.
    Published(u16),
}

impl Widening {
    /// One that knows what the plan has made.
    pub(super) fn new(inside: Arc<Inside>, subject: Subject, sockets: &[ServedSocket]) -> Self {
        let captured = |socket: &&ServedSocket| socket.service == Service::Captured;
        let wildcard = sockets.iter().find(captured);
        let places = sockets.iter().filter_map(|socket| match socket.service {
            Service::Captured => Some(Place::Captured(socket.address.port())),
            Service::Connected => Some(Place::Connected(socket.address)),
            Service::Proxy | Service::DnsDatagrams | Service::DnsStream => None,
        });
        Self {
            inside,
            subject,
            wildcard: wildcard.map(|socket| socket.address.ip()),
            made: Mutex::new(places.collect()),
        }
    }

    /// Lets the host's loopback reach `port` of the session.
    pub(super) fn publish(&self, port: u16) -> Result<Listener, EgressError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener =
            TcpListener::bind(address).map_err(|source| EgressError::Publish { port, source })?;
        self.made().insert(Place::Published(port));
        Ok(Listener::Published {
            listener,
            port,
            inside: Arc::clone(&self.inside) as Arc<dyn Dial>,
            subject: self.subject.clone(),
        })
    }

    /// Makes what `policy` names and does not stand yet, and has `control` serve it.
    ///
    /// # Errors
    /// The first of [`EgressError`]; the rest is made all the same.
    pub(super) fn widen(
        &self,
        policy: &NetworkPolicy,
        control: &Control,
    ) -> Result<(), EgressError> {
        let mut first = Ok(());
        for place in self.missing(policy) {
            let made = self
                .make(place)
                .and_then(|listener| control.add(listener).map_err(EgressError::Listen));
            match made {
                Ok(()) => drop(self.made().insert(place)),
                Err(error) => first = first.and(Err(error)),
            }
        }
        first
    }

    fn missing(&self, policy: &NetworkPolicy) -> Vec<Place> {
        let captures = self.wildcard.is_some() && policy.mode.value != NetworkMode::Offline;
        let ports = policy.ports().into_iter();
        let ports = ports.filter(|port| captures && *port != NAMES);
        let made = self.made();
        let mut places: BTreeSet<Place> = ports.map(Place::Captured).collect();
        places.extend(
            policy
                .publish
                .iter()
                .map(|port| Place::Published(port.value)),
        );
        let standing: BTreeSet<Place> = places.union(&made).copied().collect();
        // A listener for every address takes what is for this one, too.
        let alone = policy.connect.iter().map(|server| server.value);
        let alone = alone.filter(|server| !standing.contains(&Place::Captured(server.port())));
        places.extend(alone.map(Place::Connected));
        places.difference(&made).copied().collect()
    }

    fn make(&self, place: Place) -> Result<Listener, EgressError> {
        let listen = |address: SocketAddr| {
            let made = self.inside.listen(address);
            made.map_err(|source| EgressError::Inside { address, source })
        };
        match (place, self.wildcard) {
            (Place::Published(port), _) => self.publish(port),
            (Place::Connected(server), _) => Ok(Listener::Connected {
                listener: listen(server)?.into(),
                server,
            }),
            (Place::Captured(port), wildcard) => {
                let any = wildcard.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
                Ok(Listener::Captured {
                    listener: listen(SocketAddr::new(any, port))?.into(),
                    port: None,
                })
            }
        }
    }

    fn made(&self) -> std::sync::MutexGuard<'_, BTreeSet<Place>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
