//! The decision on connections: a destination in, a verdict with its rule and the narrowest grant out.
//!
//! Resolves no name and opens no socket. What only a resolved address can tell (private ranges behind a public name)
//! is the proxy's to ask again. Invariant: metadata addresses are refused in every mode but `full-access`.

use std::fmt;
use std::path::Path;

use crate::decision::{Decision, Grant};
use crate::document::{Mode, NetworkMode};
use crate::escape::{escape, escape_os};
use crate::grant::equals_root;
use crate::host::{Host, HostError, HostRule, parse_port};
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
            Mode::ReadOnly | Mode::WorkspaceWrite => self.network.decide(destination),
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

    fn decide_host(&self, host: &Host, port: u16) -> Decision {
        if host.is_metadata() {
            return deny(RuleId::Metadata, host.to_string(), None);
        }
        if host.is_loopback() {
            return allow(RuleId::SessionLoopback, String::new());
        }
        if let Some(rule) = self.deny.iter().find(|rule| rule.value.denies(host, port)) {
            let origin = rule.value.to_string();
            return deny(RuleId::DeniedHost, origin, None);
        }
        let rule = match self.mode.value {
            NetworkMode::Offline => RuleId::Offline,
            NetworkMode::Open => return allow(RuleId::AllowedHost, "network.mode".to_owned()),
            NetworkMode::Allowlist => {
                match self.allow.iter().find(|rule| rule.value.allows(host, port)) {
                    Some(rule) => return allow(RuleId::AllowedHost, rule.value.to_string()),
                    None => RuleId::NotListed,
                }
            }
        };
        deny(rule, String::new(), grant_host(self.mode.value, host, port))
    }

    fn decide_socket(&self, path: &Path) -> Decision {
        let granted = self
            .unix_sockets
            .iter()
            .find(|socket| socket.value.as_path() == path);
        if let Some(socket) = granted {
            return allow(RuleId::UnixSocket, socket.value.to_string());
        }
        let caution = if equals_root(path) {
            crate::grant::EQUALS_ROOT_CAUTION
        } else {
            ""
        };
        let grant = path.is_absolute().then(|| Grant {
            arguments: vec!["--unix-socket".to_owned(), escape_os(path)],
            caution: caution.to_owned(),
        });
        deny(RuleId::UnixSocket, String::new(), grant)
    }
}

/// What a person must know before typing a network option.
pub const OFFLINE_ONLY: &str =
    "this version knows the network `offline` alone, and refuses the option";

/// The option that allows just `host` at `port`; `None` for what a rule can't name.
fn grant_host(mode: NetworkMode, host: &Host, port: u16) -> Option<Grant> {
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
        caution: OFFLINE_ONLY.to_owned(),
    })
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
mod tests {
    use super::*;
    use crate::path::AbsolutePath;

    fn user<T>(value: T) -> Sourced<T> {
        Sourced {
            value,
            layer: LayerKind::User,
        }
    }

    fn internet(host: &str, port: u16) -> Destination<'static> {
        Destination::Internet {
            host: Host::parse(host.as_bytes()).unwrap(),
            port,
        }
    }

    fn verdict(decision: &Decision) -> (bool, RuleId) {
        match decision {
            Decision::Allow { rule, .. } => (true, *rule),
            Decision::Deny { rule, .. } => (false, *rule),
        }
    }

    fn arguments(decision: Decision) -> Option<Vec<String>> {
        match decision {
            Decision::Allow { .. } => panic!("allowed"),
            Decision::Deny { grant, .. } => grant.map(|grant| grant.arguments),
        }
    }

    #[test]
    fn offline_leaves_the_loopback_alone() {
        let policy = NetworkPolicy::offline();
        for host in ["127.0.0.1", "[::1]", "localhost"] {
            assert_eq!(
                verdict(&policy.decide(&internet(host, 80))),
                (true, RuleId::SessionLoopback),
                "{host}"
            );
        }
        let refused = policy.decide(&internet("example.com", 443));
        assert_eq!(verdict(&refused), (false, RuleId::Offline));
        assert_eq!(
            arguments(refused).unwrap(),
            ["--network", "allowlist", "--allow-host", "example.com:443"]
        );
        assert_eq!(
            arguments(policy.decide(&internet("[2001:db8::7]", 8080))).unwrap(),
            [
                "--network",
                "allowlist",
                "--allow-host",
                "[2001:db8::7]:8080"
            ]
        );
    }

    #[test]
    fn metadata_is_refused_in_every_mode_without_a_grant() {
        for mode in [
            NetworkMode::Offline,
            NetworkMode::Allowlist,
            NetworkMode::Open,
        ] {
            let policy = NetworkPolicy {
                mode: user(mode),
                allow: vec![user("**.google.internal".parse().unwrap())],
                ..NetworkPolicy::offline()
            };
            for host in [
                "169.254.169.254",
                "[::ffff:a9fe:a9fe]",
                "metadata.google.internal",
            ] {
                let decision = policy.decide(&internet(host, 80));
                assert_eq!(
                    verdict(&decision),
                    (false, RuleId::Metadata),
                    "{mode} {host}"
                );
                assert_eq!(arguments(decision), None);
            }
        }
    }

    #[test]
    fn deny_beats_allow_and_unlisted_is_refused() {
        let policy = NetworkPolicy {
            mode: user(NetworkMode::Allowlist),
            allow: vec![user("*.example.com".parse().unwrap())],
            deny: vec![user("bad.example.com".parse().unwrap())],
            ..NetworkPolicy::offline()
        };
        assert_eq!(
            verdict(&policy.decide(&internet("a.example.com", 443))),
            (true, RuleId::AllowedHost)
        );
        assert_eq!(
            verdict(&policy.decide(&internet("bad.example.com", 443))),
            (false, RuleId::DeniedHost)
        );
        let unlisted = policy.decide(&internet("a.example.com", 22));
        assert_eq!(verdict(&unlisted), (false, RuleId::NotListed));
        assert_eq!(
            arguments(unlisted).unwrap(),
            ["--allow-host", "a.example.com:22"]
        );
    }

    #[test]
    fn a_unix_socket_needs_its_own_grant() {
        let socket = AbsolutePath::new("/run/a.sock").unwrap();
        let policy = NetworkPolicy {
            unix_sockets: vec![user(socket)],
            ..NetworkPolicy::offline()
        };
        assert_eq!(
            verdict(&policy.decide(&Destination::UnixPath(Path::new("/run/a.sock")))),
            (true, RuleId::UnixSocket)
        );
        let docker = policy.decide(&Destination::UnixPath(Path::new("/var/run/docker.sock")));
        assert_eq!(verdict(&docker), (false, RuleId::UnixSocket));
        let Decision::Deny {
            grant: Some(grant), ..
        } = docker
        else {
            panic!("no grant")
        };
        assert_eq!(grant.arguments, ["--unix-socket", "/var/run/docker.sock"]);
        assert!(grant.caution.contains("root"));
        let hidden = Destination::UnixAbstract(b"x\x1b");
        assert_eq!(
            verdict(&policy.decide(&hidden)),
            (false, RuleId::UnixSocket)
        );
        assert_eq!(hidden.to_string(), "@x\\u{1b}");
    }
}
