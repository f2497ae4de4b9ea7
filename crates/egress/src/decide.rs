//! The one decision on every attempt to leave.
//!
//! The policy's own decisions are the base ([`NetworkPolicy::decide_outbound`]); this adds who asks, by which way, and
//! whether somebody is to be asked. Reads and dials nothing. Invariant: the way in does not change the verdict.

use ringfence_policy::address::{AddressClass, classify};
use ringfence_policy::decision::{Decision, Grant};
use ringfence_policy::document::NetworkMode;
use ringfence_policy::host::{Host, HostName};
use ringfence_policy::policy::NetworkPolicy;
use ringfence_policy::rule::RuleId;
use serde::Serialize;

/// Whose attempt it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// The session it belongs to.
    pub session: String,
    /// The command, where it is known.
    pub command: Option<u64>,
}

/// The way by which an attempt arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ingress {
    /// A captured connection that speaks TLS.
    CapturedTls,
    /// A captured connection that speaks HTTP.
    CapturedHttp,
    /// A captured connection that speaks something else.
    CapturedTcp,
    /// `CONNECT` to the proxy.
    Connect,
    /// A request in absolute form to the proxy.
    AbsoluteForm,
    /// SOCKS5 to the proxy.
    Socks,
    /// A question to the name server.
    Dns,
    /// A connect to a Unix socket of the host.
    UnixSocket,
    /// The other way round: from the host's loopback to a port that `publish` names.
    Published,
}

/// One attempt to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Whose.
    pub subject: Subject,
    /// By which way.
    pub ingress: Ingress,
    /// Where to.
    pub host: Host,
    /// At which port.
    pub port: u16,
    /// The method of an HTTP request.
    pub method: Option<String>,
    /// The path and query of a request; `None` for what is no request, such as `CONNECT`.
    pub path: Option<String>,
}

/// What is to be done with an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is decided.
    Final(Decision),
    /// Somebody is to be asked, and without an answer this holds, a refusal.
    Ask(Decision),
}

/// Judges an attempt before its name is resolved.
///
/// # Security
/// The target chooses host, port, method and path.
#[must_use]
pub fn decide(policy: &NetworkPolicy, attempt: &Attempt) -> Verdict {
    let decision = match (&attempt.method, &attempt.path) {
        (Some(method), Some(path)) => {
            policy.decide_request(&attempt.host, attempt.port, method, path)
        }
        (_, _) => policy.decide_outbound(&attempt.host, attempt.port),
    };
    match attempt.host {
        // An answer could not lift what only a rule that names the address lifts.
        Host::Address(address) if classify(address) != AddressClass::Public => {
            Verdict::Final(decision)
        }
        Host::Address(_) | Host::Name(_) => ask_or_settle(policy, decision),
    }
}

/// Judges the question for the addresses of `name`.
///
/// # Security
/// The target chooses the name.
#[must_use]
pub fn decide_name(policy: &NetworkPolicy, name: &HostName) -> Verdict {
    ask_or_settle(policy, policy.decide_name(name))
}

fn ask_or_settle(policy: &NetworkPolicy, decision: Decision) -> Verdict {
    let asks = policy.ask.value && policy.mode.value == NetworkMode::Allowlist;
    match &decision {
        Decision::Deny {
            rule: RuleId::NotListed,
            ..
        } if asks => Verdict::Ask(decision),
        Decision::Allow { .. } | Decision::Deny { .. } => Verdict::Final(decision),
    }
}

/// The refusal by a rule of the proxy itself, which no option lifts.
#[must_use]
pub fn refuse(rule: RuleId, reason: String) -> Decision {
    Decision::Deny {
        rule,
        origin: reason,
        grant: None,
    }
}

/// The rule, what it was about, and the option that lifts it.
#[must_use]
pub fn parts(decision: &Decision) -> (RuleId, &str, Option<&Grant>) {
    match decision {
        Decision::Allow { rule, origin } => (*rule, origin, None),
        Decision::Deny {
            rule,
            origin,
            grant,
        } => (*rule, origin, grant.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::layers::{LayerKind, Sourced};

    fn user<T>(value: T) -> Sourced<T> {
        Sourced {
            value,
            layer: LayerKind::User,
        }
    }

    fn attempt(ingress: Ingress, host: &str, port: u16) -> Attempt {
        Attempt {
            subject: Subject {
                session: "s".to_owned(),
                command: None,
            },
            ingress,
            host: Host::parse(host.as_bytes()).unwrap(),
            port,
            method: None,
            path: None,
        }
    }

    #[test]
    fn the_way_in_does_not_change_the_verdict() {
        let policy = NetworkPolicy {
            mode: user(NetworkMode::Allowlist),
            allow: vec![user("example.com".parse().unwrap())],
            ..NetworkPolicy::offline()
        };
        for (host, rule) in [
            ("example.com", RuleId::AllowedHost),
            ("example.org", RuleId::NotListed),
            ("127.0.0.1", RuleId::PrivateAddress),
            ("169.254.169.254", RuleId::Metadata),
        ] {
            for ingress in [
                Ingress::CapturedTls,
                Ingress::CapturedHttp,
                Ingress::CapturedTcp,
                Ingress::Connect,
                Ingress::AbsoluteForm,
                Ingress::Socks,
            ] {
                let Verdict::Final(decision) = decide(&policy, &attempt(ingress, host, 443)) else {
                    panic!("asks")
                };
                assert_eq!(parts(&decision).0, rule, "{host} {ingress:?}");
            }
        }
    }

    #[test]
    fn only_what_no_rule_names_is_asked() {
        let policy = NetworkPolicy {
            mode: user(NetworkMode::Allowlist),
            deny: vec![user("bad.example".parse().unwrap())],
            ask: user(true),
            ..NetworkPolicy::offline()
        };
        let asked = |host: &str| {
            matches!(
                decide(&policy, &attempt(Ingress::Connect, host, 443)),
                Verdict::Ask(_)
            )
        };
        assert!(asked("example.com") && asked("11.22.33.44"));
        for host in [
            "bad.example",
            "127.0.0.1",
            "10.1.2.3",
            "metadata.google.internal",
        ] {
            assert!(!asked(host), "{host}");
        }
    }
}
