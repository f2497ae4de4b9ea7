//! Through a corporate proxy: `CONNECT` by name, after the decision.
//!
//! The proxy's own address is the policy's and is not judged. It resolves the names, so that what lies behind them
//! can't be checked here. Invariant: bytes that come behind the proxy's answer belong to the tunnel and are kept.

use ringfence_policy::host::{Host, parse_port};

use super::Parts;
use super::wire::{Wire, write_all};
use crate::decide::Attempt;
use crate::http::ResponseHead;
use crate::progress::Progress;
use crate::reach::dial_first;
use crate::refusal::Unreachable;

/// A tunnel through `proxy` (`http://HOST:PORT`) to where `attempt` wants.
pub(super) async fn connect(
    parts: &Parts,
    proxy: &str,
    attempt: &Attempt,
) -> Result<Wire, Unreachable> {
    let destination = format!("{}:{}", attempt.host, attempt.port);
    let unusable = || Unreachable::ProxyAnswer {
        proxy: proxy.to_owned(),
        destination: destination.clone(),
    };
    let dial_error = |source| Unreachable::Dial {
        destination: proxy.to_owned(),
        source,
    };
    let (host, port) = parse_proxy(proxy).ok_or_else(unusable)?;
    let addresses = match &host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => {
            parts
                .resolver
                .resolve(name)
                .await
                .map_err(|source| Unreachable::Resolve {
                    name: name.as_str().to_owned(),
                    source,
                })?
        }
    };
    let (_, stream) = dial_first(&parts.dialer, &addresses, port)
        .await
        .map_err(dial_error)?;
    let mut wire = Wire::new(stream);
    let request = format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n\r\n");
    write_all(&wire.write, request.as_bytes())
        .await
        .map_err(dial_error)?;
    loop {
        let head = ResponseHead::parse(wire.inbox.unread(), "CONNECT");
        match head.map_err(|_| unusable())? {
            Progress::Done { value, used } => {
                let (status, interim) = (value.status, value.is_interim());
                wire.inbox.consume(used);
                match status {
                    _ if interim => {}
                    200..=299 => return Ok(wire),
                    status => {
                        return Err(Unreachable::Proxy {
                            proxy: proxy.to_owned(),
                            destination,
                            status,
                        });
                    }
                }
            }
            Progress::NeedMore => {
                if wire.fill().await.map_err(dial_error)? == 0 {
                    return Err(unusable());
                }
            }
        }
    }
}

/// The host and port of `http://HOST:PORT`, which the policy has checked already.
fn parse_proxy(url: &str) -> Option<(Host, u16)> {
    let rest = url.strip_prefix("http://")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, parse_port(port).ok()?),
        Some(_) | None => (rest, 80),
    };
    Some((Host::parse(host.as_bytes()).ok()?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxys_address_is_read() {
        for (url, expected) in [
            ("http://proxy.example.com:8080", ("proxy.example.com", 8080)),
            ("http://proxy.example.com/", ("proxy.example.com", 80)),
            ("http://[2001:db8::7]", ("[2001:db8::7]", 80)),
            ("http://[2001:db8::7]:3128", ("[2001:db8::7]", 3128)),
        ] {
            let (host, port) = parse_proxy(url).unwrap();
            assert_eq!((host.to_string().as_str(), port), expected);
        }
        assert!(parse_proxy("https://proxy.example.com").is_none());
    }
}
