//! The proxy of one session: listeners in, decided connections out.
//!
//! A thin shell around the cores: it reads, asks the gate, opens and copies. It makes no listener itself and
//! needs no privilege. Invariant: when it ends, however it ends, every connection ends with it.

mod captured;
mod copy;
mod exchange;
mod explicit;
mod gate;
mod link;
mod listener;
mod live;
mod message;
mod name_server;
mod naming;
mod open;
mod published;
mod request;
mod scoped;
mod socket;
#[cfg(test)]
mod tests;
mod tunnel;
mod upstream;
mod wire;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use ringfence_policy::decision::Decision;
use ringfence_policy::host::{Host, HostName};
use ringfence_policy::policy::NetworkPolicy;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};

use crate::caller::Attribution;
use crate::event::Sink;
use crate::limits::Limits;
use crate::reach::{Dial, Resolve};
use crate::synthetic::{SyntheticNames, SyntheticNetwork};
use crate::terminate::Terminator;
use gate::Gate;
use live::Registry;

pub(crate) use live::lock;

pub use gate::{Answer, Nobody, Review, Silent};
pub use listener::{AddError, Listener};
pub use socket::{Answer as SocketAnswer, SocketWish};

/// What a proxy works with; each part can be somebody else's.
#[derive(Clone)]
pub struct Parts {
    /// Tells whose a connection is.
    pub attribution: Arc<dyn Attribution>,
    /// Turns allowed names into addresses.
    pub resolver: Arc<dyn Resolve>,
    /// Connects to checked addresses.
    pub dialer: Arc<dyn Dial>,
    /// Is asked about what no rule names, where the policy says so.
    pub reviewer: Arc<dyn Review>,
    /// Gets every decision.
    pub sink: Arc<dyn Sink>,
    /// Reads TLS where only some requests are allowed; without it they are refused there.
    pub terminator: Option<Arc<Terminator>>,
}

/// Why a proxy could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The system gave no runtime: descriptors, mostly.
    #[error("the proxy's event loop could not be made")]
    Runtime(#[source] io::Error),
    /// A listener could not be added to the event loop.
    #[error("the listener {0} could not be registered")]
    Register(String, #[source] io::Error),
    /// A listener no longer takes connections.
    #[error("the listener {0} failed")]
    Accept(String, #[source] io::Error),
    /// A part of the proxy panicked: what it was about to decide is unknown.
    #[error("a part of the proxy panicked")]
    Panicked(#[source] JoinError),
}

/// What all connections of a proxy share.
struct Shared {
    gate: Gate,
    registry: Arc<Registry>,
    names: Mutex<SyntheticNames>,
    slots: Arc<Semaphore>,
    limits: Limits,
    parts: Parts,
}

impl Shared {
    /// What is meant by `host`: the name that a synthetic address stands for, else the host itself.
    fn meant_host(&self, host: Host) -> Host {
        let Host::Address(address) = host else {
            return host;
        };
        match lock(&self.names).name_of(address) {
            Some(name) => Host::Name(name.clone()),
            None => Host::Address(address.to_canonical()),
        }
    }
}

impl Shared {
    /// Whether a rule opens `host` on just this port: on the port of DNS, a server that is meant to be reached itself.
    fn is_named_on(&self, host: &Host, port: u16) -> bool {
        let policy = self.gate.policy();
        policy
            .allow
            .iter()
            .any(|rule| rule.value.allows(host, port))
            && matches!(policy.decide_outbound(host, port), Decision::Allow { .. })
    }
}

/// A proxy that does not serve yet.
pub struct Proxy {
    shared: Arc<Shared>,
    orders: mpsc::UnboundedReceiver<Order>,
}

/// Steers a proxy from any thread; when the last one is gone, the proxy ends.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
    orders: mpsc::UnboundedSender<Order>,
}

enum Order {
    Add(Listener),
    Reach(SocketWish),
    Shutdown,
}

impl Proxy {
    /// A proxy that decides by `policy`, and what steers it.
    #[must_use]
    pub fn new(
        policy: NetworkPolicy,
        network: SyntheticNetwork,
        limits: Limits,
        parts: Parts,
    ) -> (Self, Control) {
        let (sender, orders) = mpsc::unbounded_channel();
        let registry = Registry::new(Arc::clone(&parts.sink), limits.clone());
        let shared = Arc::new(Shared {
            gate: Gate::new(policy, limits.clone(), parts.clone()),
            registry: Arc::new(registry),
            names: Mutex::new(SyntheticNames::new(network, limits.names)),
            slots: Arc::new(Semaphore::new(limits.connections)),
            limits,
            parts,
        });
        let control = Control {
            shared: Arc::clone(&shared),
            orders: sender,
        };
        (Self { shared, orders }, control)
    }

    /// Serves on this thread until it is told to end.
    ///
    /// # Errors
    /// [`ServeError`]; the proxy has ended then, and nothing gets out.
    pub fn run(self) -> Result<(), ServeError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServeError::Runtime)?;
        let ended = runtime.block_on(self.serve());
        // The system's resolver can't be interrupted: a name whose servers are silent, which a target may choose,
        // must not hold up whoever waits for the end.
        runtime.shutdown_background();
        ended
    }

    /// Serves within a runtime until it is told to end; dropping the future ends everything too.
    ///
    /// # Errors
    /// [`ServeError`]; the proxy has ended then, and nothing gets out.
    pub async fn serve(mut self) -> Result<(), ServeError> {
        let mut listeners = JoinSet::new();
        // Dropped before the listeners are, also when this future is.
        let _ending = Ending(Arc::clone(&self.shared.registry));
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(Order::Add(listener)) => {
                        listener.start(&self.shared, &mut listeners)?;
                    }
                    Some(Order::Reach(wish)) => {
                        let serving = wish.serve(Arc::clone(&self.shared));
                        listeners.spawn(async move {
                            serving.await;
                            Ok(())
                        });
                    }
                    Some(Order::Shutdown) | None => return Ok(()),
                },
                Some(ended) = listeners.join_next() => ended.map_err(ServeError::Panicked)??,
            }
        }
    }
}

/// Says that connections which end from now on end with the proxy.
struct Ending(Arc<Registry>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Control {
    /// Serves on one more listener.
    ///
    /// # Errors
    /// [`AddError`] when it can't be made ready, or the proxy has ended.
    pub fn add(&self, listener: Listener) -> Result<(), AddError> {
        listener.make_ready()?;
        let order = Order::Add(listener);
        self.orders.send(order).map_err(|_| AddError::Ended)
    }

    /// Connects a program to a Unix socket of the host, where the policy opens it.
    ///
    /// # Errors
    /// The wish itself, unanswered, where the proxy has ended.
    pub fn reach(&self, wish: SocketWish) -> Result<(), Box<SocketWish>> {
        match self.orders.send(Order::Reach(wish)) {
            Err(mpsc::error::SendError(Order::Reach(wish))) => Err(Box::new(wish)),
            // What comes back is what was sent.
            Ok(()) | Err(mpsc::error::SendError(Order::Add(_) | Order::Shutdown)) => Ok(()),
        }
    }

    /// Decides by `policy` from now on, and closes the connections that it does not allow.
    pub fn reload(&self, policy: NetworkPolicy) {
        let policy = Arc::new(policy);
        let before = self.shared.gate.replace_policy(Arc::clone(&policy));
        self.shared.registry.narrow(&policy, &before);
    }

    /// The name that a synthetic address of this session stands for.
    #[must_use]
    pub fn name_of(&self, address: IpAddr) -> Option<HostName> {
        lock(&self.shared.names).name_of(address).cloned()
    }

    /// How many connections are open on the far side.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.shared.registry.count()
    }

    /// Ends the proxy and every connection.
    pub fn shutdown(&self) {
        // A proxy that has ended needs no order.
        let _ = self.orders.send(Order::Shutdown);
    }
}
