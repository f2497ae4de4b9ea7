//! What a macOS profile says of a session's network, in the sandbox's own profile language.
//!
//! Nothing here has been executed on macOS, and there is no executor yet. Invariant: a profile names one end at most
//! outside its session, the port of the session's own proxy on loopback.

use std::net::SocketAddr;

/// The network's part of a session's profile: everything refused, but the port of its proxy where it has one.
///
/// Of two rules that match, the later one counts. The host of an address may only be `localhost` or `*` there, which is
/// why `proxy` is told by its port alone: both loopback addresses match, and nobody but the proxy listens on that port
/// of either (`ringfence_egress::Listener::for_session`). The system's resolver is asked through a socket of the host,
/// which is refused with the rest: names go to the proxy.
#[must_use]
pub fn network_rules(proxy: Option<SocketAddr>) -> String {
    let mut rules = "(deny network*)\n".to_owned();
    if let Some(proxy) = proxy.filter(|proxy| proxy.ip().is_loopback()) {
        let port = proxy.port();
        rules.push_str("(allow network-outbound (remote tcp \"localhost:");
        rules.push_str(&port.to_string());
        rules.push_str("\"))\n");
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_names_the_port_of_its_session_and_nothing_else() {
        assert_eq!(network_rules(None), "(deny network*)\n");
        for address in ["127.0.0.1:61080", "[::1]:61080"] {
            assert_eq!(
                network_rules(Some(address.parse().unwrap())),
                "(deny network*)\n(allow network-outbound (remote tcp \"localhost:61080\"))\n"
            );
        }
        // One that is not on loopback would be any host's.
        let elsewhere = "192.0.2.1:61080".parse().unwrap();
        assert_eq!(network_rules(Some(elsewhere)), "(deny network*)\n");
    }
}
