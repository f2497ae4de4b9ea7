//! What a caller is told when it is refused: HTTP in words, SOCKS and TLS with the nearest code they have.
//!
//! Invariant: every refusal of one rule carries that rule's name wherever the protocol has room for it.

use ringfence_policy::decision::Decision;
use ringfence_policy::rule::RuleId;
use serde_json::json;

use crate::decide::parts;

/// Why an allowed connection did not come about.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// Its name could not be resolved.
    #[error("the name {name} could not be resolved")]
    Resolve {
        /// The name.
        name: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Its name has no address.
    #[error("the name {name} has no address")]
    NoAddress {
        /// The name.
        name: String,
    },
    /// Nobody answered at any of its addresses.
    #[error("{destination} could not be reached")]
    Dial {
        /// Host and port.
        destination: String,
        /// What the system said about the last address.
        #[source]
        source: std::io::Error,
    },
    /// It took too long.
    #[error("{destination} did not answer in time")]
    TimedOut {
        /// Host and port.
        destination: String,
    },
    /// The corporate proxy of the policy did not connect.
    #[error("the proxy {proxy} answered {status} for {destination}")]
    Proxy {
        /// The proxy.
        proxy: String,
        /// Host and port.
        destination: String,
        /// Its status.
        status: u16,
    },
    /// The corporate proxy of the policy spoke no HTTP, or its address can't be read.
    #[error("the proxy {proxy} could not be used for {destination}")]
    ProxyAnswer {
        /// The proxy.
        proxy: String,
        /// Host and port.
        destination: String,
    },
}

/// The status that goes with the refusal.
fn status(rule: RuleId) -> &'static str {
    match rule {
        RuleId::Malformed => "400 Bad Request",
        RuleId::NetworkLimit => "503 Service Unavailable",
        _ => "403 Forbidden",
    }
}

/// The answer to a refused HTTP request; an answer to `HEAD` has no body.
pub(crate) fn http_refusal(method: &str, destination: &str, decision: &Decision) -> Vec<u8> {
    let (rule, origin, grant) = parts(decision);
    let name = rule.name();
    let body = json!({
        "error": "blocked",
        "by": "ringfence",
        "destination": destination,
        "rule": name,
        "reason": origin,
        "allow": grant.map(|grant| &grant.arguments),
        "caution": grant.map(|grant| &grant.caution).filter(|caution| !caution.is_empty()),
    });
    http_answer(method, status(rule), &format!("blocked-by-{name}"), &body)
}

/// The answer to an HTTP request that was allowed and led nowhere.
pub(crate) fn http_unreachable(method: &str, destination: &str, why: &Unreachable) -> Vec<u8> {
    let (status, code) = match why {
        Unreachable::TimedOut { .. } => ("504 Gateway Timeout", "timed-out"),
        Unreachable::Resolve { .. } | Unreachable::NoAddress { .. } => {
            ("502 Bad Gateway", "not-resolved")
        }
        Unreachable::Dial { .. } | Unreachable::Proxy { .. } | Unreachable::ProxyAnswer { .. } => {
            ("502 Bad Gateway", "unreachable")
        }
    };
    let body = json!({
        "error": code,
        "by": "ringfence",
        "destination": destination,
        "reason": why.to_string(),
    });
    http_answer(method, status, code, &body)
}

/// The answer to an HTTP request whose origin's own answer can't be passed on.
pub(crate) fn http_bad_answer(method: &str, destination: &str, reason: &str) -> Vec<u8> {
    let body = json!({
        "error": "bad-answer",
        "by": "ringfence",
        "destination": destination,
        "reason": reason,
    });
    http_answer(method, "502 Bad Gateway", "bad-answer", &body)
}

fn http_answer(method: &str, status: &str, code: &str, body: &serde_json::Value) -> Vec<u8> {
    let mut body = body.to_string();
    body.push('\n');
    let length = body.len();
    let shown = if method == "HEAD" { "" } else { &body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nx-proxy-error: {code}\r\nConnection: close\r\n\r\n{shown}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::decision::Grant;

    #[test]
    fn a_refusal_says_its_rule_and_the_option_that_lifts_it() {
        let decision = Decision::Deny {
            rule: RuleId::NotListed,
            origin: String::new(),
            grant: Some(Grant {
                arguments: vec!["--allow-host".to_owned(), "example.com:443".to_owned()],
                caution: String::new(),
            }),
        };
        let text = http_refusal("CONNECT", "example.com:443", &decision);
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"));
        assert!(head.contains("\r\nx-proxy-error: blocked-by-net.not-listed\r\n"));
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["rule"], "net.not-listed");
        assert_eq!(body["allow"], json!(["--allow-host", "example.com:443"]));
        let head_only = http_refusal("HEAD", "example.com:443", &decision);
        assert!(head_only.ends_with(b"\r\n\r\n"));
    }
}
