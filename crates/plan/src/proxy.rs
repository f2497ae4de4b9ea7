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

/// Variables of a session that nothing holds and from which nothing should leave: they name `closed`, a port on which
/// nobody listens, so that what asks is refused at once.
#[must_use]
pub fn discouraging_variables(closed: SocketAddr) -> Vec<(String, String)> {
    let git = ["GIT_HTTPS_PROXY", "GIT_HTTP_PROXY"];
    let git = git.map(|name| (name.to_owned(), format!("http://{closed}")));
    git.into_iter().chain(windows_variables(closed)).collect()
}

/// What git starts in place of `ssh`, where `connector --connect HOST PORT` is a way through the session's proxy:
/// nothing is captured on Windows, and `ssh` asks for no proxy. `known_hosts` is a file of keys of servers.
///
/// Git gives it to a shell, and `ssh` gives the command to another or, as the one of Windows does, starts it itself
/// (git-config(1) `core.sshCommand`, `ssh_config(5)`). `None` where a path has a character that one of
/// them would act upon.
#[must_use]
pub fn ssh_command(connector: &str, known_hosts: Option<&str>) -> Option<String> {
    let connector = shell_path(connector)?;
    let mut command = format!("ssh -o 'ProxyCommand={connector} --connect %h %p'");
    if let Some(path) = known_hosts {
        let path = shell_path(path)?;
        command = format!("{command} -o 'GlobalKnownHostsFile={path}'");
    }
    Some(command)
}

/// A path of Windows as shells of Unix, `ssh` and Windows all read it; in quotes only where it needs them, since early
/// versions of the `ssh` of Windows take none.
fn shell_path(path: &str) -> Option<String> {
    const ACTED_UPON: &[char] = &['"', '\'', '$', '`', '%', '!'];
    if path.contains(ACTED_UPON) || path.contains(char::is_control) {
        return None;
    }
    let path = path.replace('\\', "/");
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || ":/._-".contains(letter);
    Some(if path.chars().all(is_plain) {
        path
    } else {
        format!("\"{path}\"")
    })
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
    fn what_discourages_names_the_closed_port_in_every_way_and_exempts_loopback_alone() {
        let variables = discouraging_variables("127.0.0.1:20000".parse().unwrap());
        let value = |name: &str| {
            let mut found = variables.iter().filter(|(one, _)| one == name);
            let (_, value) = found.next().unwrap();
            assert!(found.next().is_none(), "{name} twice");
            value.as_str()
        };
        for name in [
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "GIT_HTTP_PROXY",
            "GIT_HTTPS_PROXY",
        ] {
            assert_eq!(value(name), "http://127.0.0.1:20000");
        }
        assert_eq!(value("no_proxy"), EXEMPT);
    }

    #[test]
    fn git_reaches_servers_by_ssh_through_the_connector() {
        let plain = ssh_command(r"C:\Tools\ringfence-runner.exe", None);
        assert_eq!(
            plain.as_deref(),
            Some("ssh -o 'ProxyCommand=C:/Tools/ringfence-runner.exe --connect %h %p'")
        );
        let quoted = ssh_command(
            r"C:\Program Files\Ringfence\ringfence-runner.exe",
            Some(r"C:\ProgramData\Ringfence\Homes\a b.known_hosts"),
        );
        assert_eq!(
            quoted.as_deref(),
            Some(
                "ssh -o 'ProxyCommand=\"C:/Program Files/Ringfence/ringfence-runner.exe\" --connect %h %p' -o 'GlobalKnownHostsFile=\"C:/ProgramData/Ringfence/Homes/a b.known_hosts\"'"
            )
        );
    }

    #[test]
    fn a_path_that_a_shell_would_act_upon_is_put_into_no_command() {
        for part in ["'", "\"", "$(x)", "`x`", "%h", "!!", "\n"] {
            let path = format!(r"C:\Tools\{part}\x.exe");
            assert_eq!(ssh_command(&path, None), None, "{path}");
            assert_eq!(ssh_command(r"C:\x.exe", Some(&path)), None, "{path}");
        }
        assert!(ssh_command(r"C:\Tools (x86)\a&b;c\x.exe", None).is_some());
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
