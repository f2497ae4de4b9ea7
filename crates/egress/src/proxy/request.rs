//! What is to be done with a request, from its head alone.
//!
//! Pure: the head and the place where it arrived in, a [`Plan`] out. Invariant: a request is forwarded only to the
//! authority that its connection is for, or, at the explicit proxy, that it names in full.

use ringfence_policy::rule::RuleId;

use super::exchange::Serving;
use crate::decide::Ingress;
use crate::http::{
    Authority, BodyLength, Changing, Persistence, RequestError, RequestHead, Target, Upgrade,
    Version,
};

/// What is to be done with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Decide, open, and copy.
    Tunnel(Authority),
    /// Decide, and send it on.
    Forward(Forward),
    /// Refuse it, whatever the policy says.
    Refuse {
        method: String,
        destination: String,
        rule: RuleId,
        reason: String,
    },
}

/// A request that may go on when it is decided so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forward {
    pub(super) authority: Authority,
    pub(super) ingress: Ingress,
    pub(super) method: String,
    pub(super) version: Version,
    pub(super) body: BodyLength,
    pub(super) persistence: Persistence,
    /// The path and query that are asked for.
    pub(super) path: String,
    /// A header by which some servers take the request for another one.
    pub(super) disguise: Option<&'static str>,
    /// The protocol to which it asks to change, which has to be allowed, too.
    pub(super) protocol: Option<String>,
    /// The head as it goes on.
    pub(super) head: Vec<u8>,
}

/// The plan for a request that can't be read.
pub(super) fn refuse_malformed(serving: &Serving, error: &RequestError) -> Plan {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    Plan::Refuse {
        method: String::new(),
        destination: serving.destination(),
        rule: match error {
            RequestError::HostDiffers => RuleId::HostMismatch,
            RequestError::Lines(_)
            | RequestError::RequestLine
            | RequestError::Http2
            | RequestError::Method
            | RequestError::Target
            | RequestError::Host(_)
            | RequestError::HostCount
            | RequestError::Framing
            | RequestError::ConnectionHeader
            | RequestError::Expectation => RuleId::Malformed,
        },
        reason: format!("{error}{}", source.unwrap_or_default()),
    }
}

/// The plan for a request that was read.
pub(super) fn plan_request(serving: &Serving, head: &RequestHead<'_>) -> Plan {
    let refuse = |rule, reason: &str| Plan::Refuse {
        method: head.method.to_owned(),
        destination: serving.destination(),
        rule,
        reason: reason.to_owned(),
    };
    let scheme = serving.scheme();
    let (authority, ingress) = match (serving, &head.target) {
        (Serving::Explicit, Target::Tunnel(authority)) => return Plan::Tunnel(authority.clone()),
        (Serving::Fixed { .. }, Target::Tunnel(_)) => {
            return refuse(RuleId::Upgrade, "CONNECT inside a connection");
        }
        (Serving::Explicit, Target::Absolute { authority, .. }) => {
            (authority, Ingress::AbsoluteForm)
        }
        (Serving::Explicit, Target::Origin { .. }) => {
            return refuse(
                RuleId::Malformed,
                "this is a proxy: the request line must name the host",
            );
        }
        (
            Serving::Fixed {
                authority, ingress, ..
            },
            Target::Absolute {
                authority: named, ..
            }
            | Target::Origin {
                authority: Some(named),
                ..
            },
        ) => {
            if named != authority {
                let reason = format!("the request names {named}");
                return refuse(RuleId::HostMismatch, &reason);
            }
            (authority, *ingress)
        }
        (
            Serving::Fixed {
                authority, ingress, ..
            },
            Target::Origin {
                authority: None, ..
            },
        ) => (authority, *ingress),
    };
    let protocol = match (head.upgrade, head.wanted_protocol()) {
        (Upgrade::None, _) => None,
        (Upgrade::Wanted, Some(protocol)) => Some(protocol),
        (Upgrade::Wanted, None) => {
            let reason = "the request asks for several protocols at once, or as no request may";
            return refuse(RuleId::Upgrade, reason);
        }
    };
    let mut forward = Vec::with_capacity(512);
    let changing = protocol.as_deref().map_or(Changing::Nothing, Changing::To);
    head.write_forward(authority, scheme, changing, &mut forward);
    let (Target::Absolute { path, .. } | Target::Origin { path, .. }) = &head.target else {
        return refuse(RuleId::Upgrade, "CONNECT inside a connection");
    };
    Plan::Forward(Forward {
        authority: authority.clone(),
        ingress,
        method: head.method.to_owned(),
        version: head.version,
        body: head.body,
        persistence: head.persistence,
        path: (*path).to_owned(),
        disguise: find_disguise(head),
        protocol,
        head: forward,
    })
}

/// Headers by which servers and frameworks take a request for another method or another path.
const DISGUISES: [&str; 5] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Headers that say where a request ends.
const FRAMING: [&str; 2] = ["content-length", "transfer-encoding"];

fn find_disguise(head: &RequestHead<'_>) -> Option<&'static str> {
    // Some servers take `_`, and some whatever is no letter and no digit, for `-`.
    let is = |name: &[u8], known: &str| {
        name.len() == known.len()
            && name
                .iter()
                .zip(known.bytes())
                .all(|(own, known)| match own.to_ascii_lowercase() {
                    own if own.is_ascii_alphanumeric() => own == known,
                    _ => known == b'-',
                })
    };
    let disguised = |known: &&str| head.headers().iter().any(|header| is(header.name, known));
    // A server behind another may take what only looks like the end of a request for it.
    let misspelt = |known: &&str| {
        let mut headers = head.headers().iter();
        headers.any(|header| {
            is(header.name, known) && !header.name.eq_ignore_ascii_case(known.as_bytes())
        })
    };
    DISGUISES
        .into_iter()
        .find(disguised)
        .or_else(|| FRAMING.into_iter().find(misspelt))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Scheme;
    use crate::progress::Progress;
    use ringfence_policy::host::Host;

    fn fixed() -> Serving {
        Serving::Fixed {
            authority: Authority {
                host: Host::parse(b"example.com").unwrap(),
                port: 80,
            },
            ingress: Ingress::CapturedHttp,
            scheme: Scheme::Http,
        }
    }

    fn plan(serving: &Serving, text: &str) -> Result<String, RuleId> {
        let head = match RequestHead::parse(text.as_bytes()) {
            Ok(Progress::Done { value, .. }) => value,
            other => panic!("{other:?}"),
        };
        match plan_request(serving, &head) {
            Plan::Tunnel(authority) => Ok(format!("tunnel {authority}")),
            Plan::Forward(forward) => Ok(format!("forward {}", forward.authority)),
            Plan::Refuse { rule, .. } => Err(rule),
        }
    }

    #[test]
    fn a_request_goes_where_its_connection_is_for() {
        let get =
            |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        for (target, host, expected) in [
            ("/", "example.com", Ok("forward example.com".to_owned())),
            ("/", "example.com:80", Ok("forward example.com".to_owned())),
            (
                "http://example.com/",
                "example.com",
                Ok("forward example.com".to_owned()),
            ),
            ("/", "evil.example", Err(RuleId::HostMismatch)),
            ("/", "example.com:8080", Err(RuleId::HostMismatch)),
            (
                "http://evil.example/",
                "evil.example",
                Err(RuleId::HostMismatch),
            ),
        ] {
            assert_eq!(
                plan(&fixed(), &get(target, host)),
                expected,
                "{target} {host}"
            );
        }
        assert_eq!(
            plan(&fixed(), "GET / HTTP/1.0\r\n\r\n"),
            Ok("forward example.com".to_owned())
        );
        assert_eq!(
            plan(
                &fixed(),
                "CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n"
            ),
            Err(RuleId::Upgrade)
        );
        assert_eq!(
            plan(
                &fixed(),
                "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: upgrade\r\nUpgrade: websocket, irc\r\n\r\n"
            ),
            Err(RuleId::Upgrade)
        );
    }

    #[test]
    fn the_explicit_proxy_takes_whole_urls_and_tunnels() {
        let explicit = Serving::Explicit;
        assert_eq!(
            plan(
                &explicit,
                "GET http://a.example:8080/ HTTP/1.1\r\nHost: a.example:8080\r\n\r\n"
            ),
            Ok("forward a.example:8080".to_owned())
        );
        assert_eq!(
            plan(
                &explicit,
                "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"
            ),
            Ok("tunnel a.example:443".to_owned())
        );
        assert_eq!(
            plan(&explicit, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
            Err(RuleId::Malformed)
        );
    }
}
