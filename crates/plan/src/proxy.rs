//! What programs are told about a session's proxy, and whether there is one.
//!
//! Variables are compatibility, never a boundary: what holds a session's network lies below them. Invariant: nothing
//! but loopback is exempted from the proxy.

use std::net::SocketAddr;

use ringfence_policy::document::NetworkMode;
use ringfence_policy::policy::NetworkPolicy;

/// What goes to the session's own loopback.
const EXEMPT: &str = "localhost,127.0.0.1,::1";

/// The names that programs look for, in lower case.
const PROXY: [&str; 3] = ["all_proxy", "http_proxy", "https_proxy"];
/// The name of the exemptions, in lower case.
const NO_PROXY: &str = "no_proxy";

/// Whether anything may leave a session with this policy.
#[must_use]
pub fn has_egress(network: &NetworkPolicy) -> bool {
    network.mode.value != NetworkMode::Offline || !network.connect.is_empty()
}

/// Variables where names are told apart by case: some programs know the one spelling, some the other.
#[must_use]
pub fn variables(proxy: SocketAddr) -> Vec<(String, String)> {
    lower_case(proxy)
        .flat_map(|(name, value)| [(name.to_ascii_uppercase(), value.clone()), (name, value)])
        .collect()
}

/// Variables on Windows: each name once, since two that differ in case alone are an error to programs of .NET, and in
/// lower case, the only spelling that programs of MSYS2 and Cygwin know. Nothing is captured there, so that programs
/// that ask for other names (Node, the JVM, Yarn) get those too.
#[must_use]
pub fn windows_variables(proxy: SocketAddr) -> Vec<(String, String)> {
    let url = format!("http://{proxy}");
    let (host, port) = (proxy.ip(), proxy.port());
    let java = format!(
        "-Dhttp.proxyHost={host} -Dhttp.proxyPort={port} -Dhttps.proxyHost={host} -Dhttps.proxyPort={port} -Dhttp.nonProxyHosts=localhost|127.*|[::1]"
    );
    let own = [
        ("JAVA_TOOL_OPTIONS", java),
        ("NODE_USE_ENV_PROXY", "1".to_owned()),
        ("YARN_HTTPS_PROXY", url.clone()),
        ("YARN_HTTP_PROXY", url),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value));
    own.into_iter().chain(lower_case(proxy)).collect()
}

fn lower_case(proxy: SocketAddr) -> impl Iterator<Item = (String, String)> {
    let proxy = PROXY.map(|name| (name.to_owned(), format!("http://{proxy}")));
    let exempt = (NO_PROXY.to_owned(), EXEMPT.to_owned());
    proxy.into_iter().chain([exempt])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_names_the_proxy_and_loopback_alone_is_exempt() {
        let proxy = "127.0.0.1:61080".parse().unwrap();
        let variables = variables(proxy);
        assert_eq!(variables.len(), 8);
        for (name, value) in variables {
            let exempts = name.eq_ignore_ascii_case("no_proxy");
            let expected = if exempts {
                EXEMPT
            } else {
                "http://127.0.0.1:61080"
            };
            assert_eq!(value, expected, "{name}");
        }
    }

    #[test]
    fn on_windows_no_name_is_there_in_two_spellings() {
        let mut names: Vec<String> = windows_variables("127.0.0.1:20000".parse().unwrap())
            .into_iter()
            .map(|(name, value)| {
                let told = value.contains("127.0.0.1") || name == "NODE_USE_ENV_PROXY";
                assert!(told, "{name}={value}");
                name.to_ascii_lowercase()
            })
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(names.contains(&"https_proxy".to_owned()));
    }
}
