//! The decision on connections: a destination in, a verdict with its rule and the narrowest grant out.
//!
//! Resolves no name and opens no socket. What only a resolved address can tell (private ranges behind a public name)
//! the proxy asks again ([`NetworkPolicy::decide_addresses`]).
//! Invariant: metadata addresses are refused in every mode but `full-access`.

mod terms;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::address::{AddressClass, classify};
use crate::allow::AllowRule;
use crate::decision::{Decision, Grant};
use crate::document::{Mode, NetworkMode};
use crate::escape::{escape, escape_os};
use crate::grant::{SocketPower, socket_power};
use crate::host::{DEFAULT_PORTS, Host, HostError, HostName, HostRule, parse_port};
use crate::layers::{LayerKind, Sourced};
use crate::policy::{NetworkPolicy, Policy};
use crate::rule::RuleId;

/// Where a target wants to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A host and a port, by TCP or UDP.
    Internet {
        /// The name or address.
        host: Host,
        /// The port.
        port: u16,
    },
    /// A Unix socket by its path.
    UnixPath(&'a Path),
    /// A Unix socket by its name in the network namespace's own table, which is the session's.
    UnixAbstract(&'a [u8]),
}

/// What may be said on a connection that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Anything, unread.
    Whole,
    /// Requests of HTTP, each of which is judged.
    Requests,
}

/// Why a text is no destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// It names no port.
    #[error("a destination is HOST:PORT, and this names no port")]
    NoPort,
    /// Its host or port can't be read.
    #[error("this is no destination")]
    Host(#[source] HostError),
}

impl Destination<'static> {
    /// Reads `HOST:PORT`.
    ///
    /// # Errors
    /// [`DestinationError`].
    pub fn internet(text: &str) -> Result<Self, DestinationError> {
        let (host, port) = text.rsplit_once(':').ok_or(DestinationError::NoPort)?;
        Ok(Self::Internet {
            host: Host::parse(host.as_bytes()).map_err(DestinationError::Host)?,
            port: parse_port(port).map_err(DestinationError::Host)?,
        })
    }
}

impl Policy {
    /// Judges a connection to `destination`; there is no boundary to judge by in `full-access`.
    #[must_use]
    pub fn decide_connect(&self, destination: &Destination<'_>) -> Decision {
        match self.mode.value {
            Mode::FullAccess => allow(RuleId::FullAccess, String::new()),
            Mode::ReadOnly | Mode::WorkspaceWrite => match destination {
                Destination::Internet { host, port } if host.is_loopback() => {
                    self.network.decide_loopback(host, *port)
                }
                Destination::Internet { .. }
                | Destination::UnixPath(_)
                | Destination::UnixAbstract(_) => self.network.decide(destination),
            },
        }
    }
}

impl fmt::Display for Destination<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet { host, port } => write!(formatter, "{host}:{port}"),
            Self::UnixPath(path) => formatter.write_str(&escape_os(path)),
            Self::UnixAbstract(name) => write!(formatter, "@{}", escape(name)),
        }
    }
}

impl NetworkPolicy {
    /// The network section of no layers at all: offline, nothing granted.
    #[must_use]
    pub fn offline() -> Self {
        let default = LayerKind::Default;
        Self {
            mode: Sourced {
                value: NetworkMode::Offline,
                layer: default,
            },
            allow: Vec::new(),
            deny: Vec::new(),
            ask: Sourced {
                value: false,
                layer: default,
            },
            publish: Vec::new(),
            connect: Vec::new(),
            unix_sockets: Vec::new(),
            upstream_proxy: None,
        }
    }

    /// Judges a connection to `destination`.
    ///
    /// # Security
    /// The target chooses the destination.
    #[must_use]
    pub fn decide(&self, destination: &Destination<'_>) -> Decision {
        match destination {
            Destination::Internet { host, port } => self.decide_host(host, *port),
            Destination::UnixPath(path) => self.decide_socket(path),
            Destination::UnixAbstract(name) => {
                let origin = format!("@{}", escape(name));
                deny(RuleId::UnixSocket, origin, None)
            }
        }
    }

    /// Judges a connection to loopback where nobody in the session listens: the host's servers are out of reach but
    /// those of `connect`.
    #[must_use]
    pub fn decide_loopback(&self, host: &Host, port: u16) -> Decision {
        let address = match host {
            Host::Address(address) if address.is_loopback() => address.to_canonical(),
            // The address that means this machine, too.
            Host::Address(IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            Host::Address(IpAddr::V4(_)) | Host::Name(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        self.connected(address, port).unwrap_or_else(|| {
            let grant = match (self.mode.value, port) {
                (NetworkMode::Offline, NAMES) => grant_names(),
                (NetworkMode::Offline | NetworkMode::Allowlist | NetworkMode::Open, _) => {
                    grant_connect(address, port)
                }
            };
            deny(RuleId::SessionLoopback, String::new(), Some(grant))
        })
    }

    /// Judges a connection that leaves the session to `host`, before any name is resolved: loopback is then the
    /// host's own, and only `connect` opens it.
    ///
    /// # Security
    /// The target chooses both.
    #[must_use]
    pub fn decide_outbound(&self, host: &Host, port: u16) -> Decision {
        if !host.is_loopback() {
            return self.decide_host(host, port);
        }
        if let Some(denied) = self.denied(host, port) {
            return denied;
        }
        match host {
            Host::Address(address) => self
                .connected(*address, port)
                .unwrap_or_else(|| refuse_class(*address, port)),
            Host::Name(_) => {
                let grant = Some(grant_connect(IpAddr::from([127, 0, 0, 1]), port));
                deny(
                    RuleId::PrivateAddress,
                    AddressClass::Loopback.word().to_owned(),
                    grant,
                )
            }
        }
    }

    /// Judges a connection that leaves the session once `host` is resolved to `addresses`: one bad address among
    /// good ones refuses it.
    ///
    /// # Security
    /// Whoever owns the name chooses the addresses.
    #[must_use]
    pub fn decide_addresses(&self, host: &Host, port: u16, addresses: &[IpAddr]) -> Decision {
        let decision = self.decide_outbound(host, port);
        match &decision {
            Decision::Allow { .. } => self.refuse_addresses(port, addresses).unwrap_or(decision),
            Decision::Deny { .. } => decision,
        }
    }

    /// The refusal of the first of `addresses` that may not be dialled; `None` when each of them may, for a host that
    /// is allowed.
    #[must_use]
    pub fn refuse_addresses(&self, port: u16, addresses: &[IpAddr]) -> Option<Decision> {
        addresses
            .iter()
            .find_map(|address| self.refuse_address(*address, port))
    }

    /// What may be said to `host` at `port`, once a connection there is allowed.
    #[must_use]
    pub fn reach(&self, host: &Host, port: u16) -> Reach {
        let mut scoped = self.rules_for(host, port).peekable();
        let limited = !host.is_loopback()
            && self.mode.value != NetworkMode::Open
            && scoped.peek().is_some()
            && scoped.all(|rule| rule.scope().is_some());
        if limited {
            Reach::Requests
        } else {
            Reach::Whole
        }
    }

    /// Judges a request of HTTP with `method` to `target`, in origin form, on a connection to `host` at `port`.
    ///
    /// # Security
    /// The target chooses all of it.
    #[must_use]
    pub fn decide_request(&self, host: &Host, port: u16, method: &str, target: &str) -> Decision {
        let decision = self.decide_outbound(host, port);
        if matches!(decision, Decision::Deny { .. }) || self.reach(host, port) == Reach::Whole {
            return decision;
        }
        let (mut ambiguous, mut found) = (None, None);
        for rule in self.rules_for(host, port) {
            let Some(scope) = rule.scope() else {
                return decision;
            };
            match scope.allows(method, target) {
                Ok(true) => {
                    let limits = |known: &&AllowRule| terms::limits(known);
                    found = found.into_iter().chain([rule]).min_by_key(limits);
                }
                Ok(false) => {}
                Err(error) => ambiguous = Some(error),
            }
        }
        if let Some(rule) = found {
            return allow(RuleId::AllowedHost, rule.to_string());
        }
        // A query is no part of the judgement, and may hold a secret.
        let path = target.split('?').next().unwrap_or_default();
        let shown = escape(path.as_bytes());
        let (reason, grant) = match ambiguous {
            Some(error) => (format!("{method} {shown}: {error}"), None),
            None => (
                format!("{method} {shown}"),
                grant_request(host, port, method, target),
            ),
        };
        deny(RuleId::RequestScope, reason, grant)
    }

    /// The allow rules with methods or paths.
    pub fn scoped_rules(&self) -> impl Iterator<Item = &AllowRule> {
        self.allow
            .iter()
            .map(|rule| &rule.value)
            .filter(|rule| rule.scope().is_some())
    }

    fn rules_for(&self, host: &Host, port: u16) -> impl Iterator<Item = &AllowRule> {
        self.allow
            .iter()
            .map(|rule| &rule.value)
            .filter(move |rule| rule.allows(host, port))
    }

    /// Judges the question for the addresses of `name`: it is answered when some port of it may be reached.
    ///
    /// # Security
    /// The target chooses the name, and would tell it to whoever is asked about it.
    #[must_use]
    pub fn decide_name(&self, name: &HostName) -> Decision {
        let host = Host::Name(name.clone());
        let usual = self.decide_host(&host, 443);
        match usual {
            Decision::Allow { .. } => usual,
            Decision::Deny { .. } => self.decide_other_ports(&host).unwrap_or(usual),
        }
    }

    /// Judges a connection from the host's loopback to `port` inside the session.
    #[must_use]
    pub fn decide_published(&self, port: u16) -> Decision {
        if self.publish.iter().any(|own| own.value == port) {
            return allow(RuleId::PublishedPort, port.to_string());
        }
        let grant = Grant {
            arguments: vec!["--publish".to_owned(), port.to_string()],
            caution: String::new(),
        };
        deny(RuleId::NotListed, String::new(), Some(grant))
    }

    /// The ports that some rule opens, which a boundary captures.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        let named = self.allow.iter().filter_map(|rule| rule.value.port());
        DEFAULT_PORTS.into_iter().chain(named).collect()
    }

    /// An allowed port of `host` beside the usual ones.
    fn decide_other_ports(&self, host: &Host) -> Option<Decision> {
        self.ports()
            .into_iter()
            .map(|port| self.decide_host(host, port))
            .find(|decision| matches!(decision, Decision::Allow { .. }))
    }

    fn decide_host(&self, host: &Host, port: u16) -> Decision {
        if host.is_metadata() {
            return deny(RuleId::Metadata, host.to_string(), None);
        }
        if host.is_loopback() {
            return allow(RuleId::SessionLoopback, String::new());
        }
        if let Some(denied) = self.denied(host, port) {
            return denied;
        }
        let mode = self.mode.value;
        if mode == NetworkMode::Offline {
            return deny(RuleId::Offline, String::new(), grant_host(mode, host, port));
        }
        if let Some(allowed) = self.allowed(host, port) {
            return allowed;
        }
        match (mode, host) {
            (NetworkMode::Open, Host::Address(address))
                if classify(*address) != AddressClass::Public =>
            {
                refuse_class(*address, port)
            }
            (NetworkMode::Open, _) => allow(RuleId::AllowedHost, "network.mode".to_owned()),
            (NetworkMode::Allowlist | NetworkMode::Offline, _) => deny(
                RuleId::NotListed,
                String::new(),
                grant_host(mode, host, port),
            ),
        }
    }

    fn denied(&self, host: &Host, port: u16) -> Option<Decision> {
        let rule = self
            .deny
            .iter()
            .find(|rule| rule.value.denies(host, port))?;
        Some(deny(RuleId::DeniedHost, rule.value.to_string(), None))
    }

    fn allowed(&self, host: &Host, port: u16) -> Option<Decision> {
        // One without a scope says more of the destination than one with.
        let rule = self
            .rules_for(host, port)
            .min_by_key(|rule| terms::limits(rule))?;
        Some(allow(RuleId::AllowedHost, rule.to_string()))
    }

    fn connected(&self, address: IpAddr, port: u16) -> Option<Decision> {
        let wanted = SocketAddr::new(address.to_canonical(), port);
        let server = self.connect.iter().find(|server| server.value == wanted)?;
        Some(allow(RuleId::ConnectedServer, server.value.to_string()))
    }

    /// The refusal of one resolved address; `None` when it may be reached.
    fn refuse_address(&self, address: IpAddr, port: u16) -> Option<Decision> {
        let host = Host::Address(address.to_canonical());
        if host.is_metadata() {
            return Some(deny(RuleId::Metadata, host.to_string(), None));
        }
        if let Some(denied) = self.denied(&host, port) {
            return Some(denied);
        }
        let named = match classify(address) {
            AddressClass::Public => return None,
            AddressClass::Loopback | AddressClass::Unspecified => self.connected(address, port),
            AddressClass::Documentation
            | AddressClass::Benchmarking
            | AddressClass::Reserved
            | AddressClass::Multicast
            | AddressClass::Broadcast
            | AddressClass::CarrierGrade
            | AddressClass::Private
            | AddressClass::LinkLocal
            | AddressClass::Metadata => self.allowed(&host, port),
        };
        match named {
            Some(_) => None,
            None => Some(refuse_class(address, port)),
        }
    }

    fn decide_socket(&self, path: &Path) -> Decision {
        let granted = self
            .unix_sockets
            .iter()
            .find(|socket| socket.value.as_path() == path);
        if let Some(socket) = granted {
            return allow(RuleId::UnixSocket, socket.value.to_string());
        }
        let caution = socket_power(path).map_or("", SocketPower::caution);
        let grant = path.is_absolute().then(|| Grant {
            arguments: vec!["--unix-socket".to_owned(), escape_os(path)],
            caution: caution.to_owned(),
        });
        deny(RuleId::UnixSocket, String::new(), grant)
    }
}

/// The port of name servers.
const NAMES: u16 = 53;
const NAMES_CAUTION: &str = "this asks a name server, and which name is not seen: put the host that the command wants to reach for HOST; its name is then answered inside";

/// A name server is asked for the sake of another host: allowing it would reach nobody.
fn grant_names() -> Grant {
    let words = ["--network", "allowlist", "--allow-host", "HOST"];
    Grant {
        arguments: words.map(str::to_owned).to_vec(),
        caution: NAMES_CAUTION.to_owned(),
    }
}

/// The option that allows just `host` at `port`; `None` for what a rule can't name.
fn grant_host(mode: NetworkMode, host: &Host, port: u16) -> Option<Grant> {
    if let (NetworkMode::Offline, Host::Address(_), NAMES) = (mode, host, port) {
        return Some(grant_names());
    }
    let rule: HostRule = format!("{host}:{port}").parse().ok()?;
    let mut arguments = Vec::new();
    if mode == NetworkMode::Offline {
        arguments.push("--network".to_owned());
        arguments.push(NetworkMode::Allowlist.to_string());
    }
    arguments.push("--allow-host".to_owned());
    arguments.push(rule.to_string());
    Some(Grant {
        arguments,
        caution: String::new(),
    })
}

/// The option that allows just this request; `None` for what a rule can't name.
fn grant_request(host: &Host, port: u16, method: &str, target: &str) -> Option<Grant> {
    let path = target.split('?').next().unwrap_or_default();
    // A star would allow more than this path.
    let path = Some(path).filter(|path| !path.contains('*'))?;
    let rule: AllowRule = format!("{host}:{port} {method} {path}").parse().ok()?;
    Some(Grant {
        arguments: vec!["--allow-host".to_owned(), rule.to_string()],
        caution: String::new(),
    })
}

/// The refusal of an address for what it is, with the option that names it.
fn refuse_class(address: IpAddr, port: u16) -> Decision {
    let address = address.to_canonical();
    let class = classify(address);
    let grant = match class {
        AddressClass::Loopback if address.is_loopback() => Some(grant_connect(address, port)),
        // A hard block, a disguise, or what stands for the machine itself: no rule should name it.
        AddressClass::Metadata | AddressClass::Loopback | AddressClass::Unspecified => None,
        AddressClass::Public
        | AddressClass::Documentation
        | AddressClass::Benchmarking
        | AddressClass::Reserved
        | AddressClass::Multicast
        | AddressClass::Broadcast
        | AddressClass::CarrierGrade
        | AddressClass::Private
        | AddressClass::LinkLocal => {
            grant_host(NetworkMode::Allowlist, &Host::Address(address), port)
        }
    };
    deny(RuleId::PrivateAddress, class.word().to_owned(), grant)
}

/// The option that opens one server on the host's loopback.
fn grant_connect(address: IpAddr, port: u16) -> Grant {
    Grant {
        arguments: vec![
            "--connect".to_owned(),
            SocketAddr::new(address, port).to_string(),
        ],
        caution: String::new(),
    }
}

fn allow(rule: RuleId, origin: String) -> Decision {
    Decision::Allow { rule, origin }
}

fn deny(rule: RuleId, origin: String, grant: Option<Grant>) -> Decision {
    Decision::Deny {
        rule,
        origin,
        grant,
    }
}

#[cfg(test)]
mod tests;
