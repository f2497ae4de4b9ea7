//! The decision on a destination, for `explain` and for whoever refuses a connection.
//!
//! Nothing is resolved and nobody is asked. Invariant: a metadata service is refused whatever any rule says.

use std::fmt;
use std::str::FromStr;

use crate::decision::{Decision, Grant};
use crate::document::{Mode, NetworkMode};
use crate::host::{Host, HostError, parse_port};
use crate::policy::Policy;
use crate::rule::RuleId;

/// Where a connection goes: `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
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

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let (host, port) = text.rsplit_once(':').ok_or(DestinationError::NoPort)?;
        Ok(Self {
            host: Host::parse(host.as_bytes()).map_err(DestinationError::Host)?,
            port: parse_port(port).map_err(DestinationError::Host)?,
        })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

impl Policy {
    /// Judges a connection to `destination`, with the narrowest grant.
    ///
    /// # Security
    /// The target chooses the destination. A name is judged as a name: what it resolves to is judged again by
    /// whoever resolves it.
    #[must_use]
    pub fn decide_connect(&self, destination: &Destination) -> Decision {
        let Destination { host, port } = destination;
        if self.mode.value == Mode::FullAccess {
            return allow(RuleId::FullAccess, String::new());
        }
        if host.is_metadata() {
            return deny(RuleId::Metadata, String::new(), None);
        }
        let network = &self.network;
        if host.is_loopback() {
            return allow(
                RuleId::SessionLoopback,
                "the session's own loopback, not the host's".to_owned(),
            );
        }
        if let Some(rule) = network
            .deny
            .iter()
            .find(|rule| rule.value.denies(host, *port))
        {
            return deny(RuleId::DeniedHost, rule.value.to_string(), None);
        }
        let allowed = network
            .allow
            .iter()
            .find(|rule| rule.value.allows(host, *port));
        match (network.mode.value, allowed) {
            (NetworkMode::Offline, _) => {
                let words = ["--network", "allowlist", "--allow-host"];
                deny(
                    RuleId::Offline,
                    String::new(),
                    Some(grant(&words, destination)),
                )
            }
            (NetworkMode::Allowlist, Some(rule)) => {
                allow(RuleId::AllowedHost, rule.value.to_string())
            }
            (NetworkMode::Allowlist, None) => deny(
                RuleId::NotListed,
                String::new(),
                Some(grant(&["--allow-host"], destination)),
            ),
            (NetworkMode::Open, _) => {
                allow(RuleId::AllowedHost, "network.mode = \"open\"".to_owned())
            }
        }
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

fn grant(words: &[&str], destination: &Destination) -> Grant {
    let mut arguments: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    arguments.push(destination.to_string());
    Grant {
        arguments,
        caution: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::PolicyDocument;
    use crate::layers::{Layer, LayerKind, Trust, resolve, tests::context};

    fn policy(mode: NetworkMode, allow: &[&str], deny: &[&str]) -> Policy {
        let mut document = PolicyDocument::default();
        document.network.mode = Some(mode);
        document.network.allow = allow.iter().map(|rule| rule.parse().unwrap()).collect();
        document.network.deny = deny.iter().map(|rule| rule.parse().unwrap()).collect();
        let layer = Layer {
            kind: LayerKind::User,
            source: "test".to_owned(),
            document,
            trust: Trust::Untrusted,
            text: None,
        };
        resolve(&[layer], &context()).unwrap()
    }

    fn rule(policy: &Policy, destination: &str) -> RuleId {
        match policy.decide_connect(&destination.parse().unwrap()) {
            Decision::Allow { rule, .. } | Decision::Deny { rule, .. } => rule,
        }
    }

    #[test]
    fn offline_refuses_everything_but_the_sessions_own_loopback() {
        let policy = policy(NetworkMode::Offline, &[], &[]);
        assert_eq!(rule(&policy, "example.com:443"), RuleId::Offline);
        assert_eq!(rule(&policy, "127.0.0.1:80"), RuleId::SessionLoopback);
        assert_eq!(rule(&policy, "[::1]:80"), RuleId::SessionLoopback);
    }

    #[test]
    fn the_grant_is_the_narrowest() {
        let decision = policy(NetworkMode::Offline, &[], &[])
            .decide_connect(&"example.com:8443".parse().unwrap());
        let Decision::Deny {
            grant: Some(grant), ..
        } = decision
        else {
            panic!("{decision:?}")
        };
        assert_eq!(
            grant.arguments,
            ["--network", "allowlist", "--allow-host", "example.com:8443"]
        );
    }

    #[test]
    fn deny_beats_allow_and_metadata_beats_both() {
        let listed = policy(
            NetworkMode::Allowlist,
            &["*.example.com"],
            &["bad.example.com"],
        );
        assert_eq!(rule(&listed, "a.example.com:443"), RuleId::AllowedHost);
        assert_eq!(rule(&listed, "a.example.com:22"), RuleId::NotListed);
        assert_eq!(rule(&listed, "bad.example.com:443"), RuleId::DeniedHost);
        let open = policy(NetworkMode::Open, &[], &[]);
        assert_eq!(rule(&open, "169.254.169.254:80"), RuleId::Metadata);
    }

    #[test]
    fn a_destination_needs_a_port() {
        assert_eq!(
            "example.com".parse::<Destination>(),
            Err(DestinationError::NoPort)
        );
        assert!("example.com:x".parse::<Destination>().is_err());
        assert!("ex ample.com:80".parse::<Destination>().is_err());
    }
}
