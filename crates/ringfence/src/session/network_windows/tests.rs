//! What a session's programs are told of the network, on plans of a stored machine. Wine's sockets are the system's own.

use std::net::{SocketAddr, TcpListener, TcpStream};

use ringfence_plan::HostFacts;
use ringfence_plan::step::Observe;
use ringfence_plan::windows::{WindowsLedger, WindowsPath};
use ringfence_policy::AbsolutePath;
use ringfence_policy::layers::{Context, Layer, LayerKind, Trust, resolve};
use ringfence_policy::secrets::Platform;

use super::*;
use crate::platform::{PlanOptions, plan_for};

const FACTS: &str = include_str!("../../../../../tests/golden/cases/windows-same-user/facts.json");
const LEDGER: &str =
    include_str!("../../../../../tests/golden/cases/windows-same-user/ledger.json");

/// Nobody's processes.
#[derive(Debug)]
struct Nobody;

impl Members for Nobody {
    fn command_of(&self, _process: u32, _since: u64) -> Option<CommandId> {
        None
    }
}

/// The network of a session of the stored machine, whose private homes lie in `homes`.
fn network(text: &str, homes: &std::path::Path) -> Network {
    let path = |text| AbsolutePath::of_windows(text).unwrap();
    let context = Context {
        home: path(r"C:\Users\ann"),
        workspace: path(r"C:\Users\ann\src\app"),
        state: path(r"C:\Users\ann\AppData\Local\Ringfence"),
        platform: Platform::Windows,
    };
    let (kind, source) = (LayerKind::User, "policy.toml");
    let layer = Layer::from_file(kind, source, text.as_bytes(), Trust::Trusted).unwrap();
    let mut policy = resolve(&[layer], &context).unwrap();
    let facts: HostFacts = serde_json::from_str(FACTS).unwrap();
    let ledger: WindowsLedger = serde_json::from_str(LEDGER).unwrap();
    let options = PlanOptions {
        observe: Observe::Off,
    };
    let mut plan = plan_for(&policy, &facts, &ledger, options).unwrap();
    let windows = plan.windows.as_mut().unwrap();
    windows.roots[0].home = WindowsPath::parse(homes.join("home").to_str().unwrap()).unwrap();
    // Everyone: wine folds lists, and keeps an owner whom it does not know from what is theirs.
    windows.person = serde_json::from_str(r#""S-1-1-0""#).unwrap();
    policy.home = path(homes.to_str().unwrap());
    Network::new(&policy, &plan, &session()).unwrap()
}

fn session() -> SessionId {
    SessionId("0123456789abcdef".to_owned())
}

fn value(network: &Network, name: &str) -> Option<String> {
    let all = network.variables();
    let mut found = all.into_iter().filter(|(one, _)| one == name);
    let value = found.next().map(|(_, value)| value);
    assert!(found.next().is_none(), "{name} twice");
    value
}

fn proxy_address(network: &Network) -> SocketAddr {
    let value = value(network, "https_proxy").unwrap();
    value.strip_prefix("http://").unwrap().parse().unwrap()
}

const SAME_USER: &str = "[windows]\nsandbox = \"unelevated\"\n";

#[test]
fn in_same_user_mode_programs_are_told_of_a_closed_port_that_nobody_else_can_take() {
    let homes = tempfile::tempdir().unwrap();
    let network = network(SAME_USER, homes.path());
    let address = proxy_address(&network);
    for name in [
        "http_proxy",
        "all_proxy",
        "GIT_HTTP_PROXY",
        "GIT_HTTPS_PROXY",
    ] {
        assert_eq!(value(&network, name), Some(format!("http://{address}")));
    }
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(TcpListener::bind(address).is_err());
    assert!(TcpListener::bind(("0.0.0.0", address.port())).is_err());
    assert!(network.control().is_none());
    drop(network);
    // The control: the session held it.
    assert!(TcpListener::bind(address).is_ok());
}

#[test]
fn with_accounts_a_session_that_nothing_may_leave_is_told_of_no_port() {
    let homes = tempfile::tempdir().unwrap();
    assert_eq!(network("", homes.path()).variables(), []);
}

#[test]
fn git_reaches_servers_by_ssh_through_the_proxy_with_the_keys_that_the_person_knows() {
    const ALLOWED: &str = "[network]\nmode = \"allowlist\"\nallow = [\"git.example.com:22\"]\n";
    let homes = tempfile::tempdir().unwrap();
    let open = |more: &str| {
        let mut network = network(&format!("{ALLOWED}{more}"), homes.path());
        network.open(&session(), Some(Arc::new(Nobody))).unwrap();
        network
    };
    assert_eq!(value(&open(""), "CARGO_HTTP_CHECK_REVOKE"), None);
    let command = value(&open(""), GIT_SSH).unwrap();
    assert!(command.contains("ringfence-runner.exe"), "{command}");
    assert!(command.contains(" --connect %h %p'"), "{command}");
    assert!(!command.contains("known_hosts"), "{command}");
    std::fs::create_dir(homes.path().join(".ssh")).unwrap();
    let known = "git.example.com ssh-ed25519 AAAA\n";
    std::fs::write(homes.path().join(".ssh/known_hosts"), known).unwrap();
    let network = open("");
    let command = value(&network, GIT_SSH).unwrap();
    let copy = homes
        .path()
        .join(format!("ringfence-{}.known_hosts", session()));
    assert!(command.contains("-o 'GlobalKnownHostsFile="), "{command}");
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), known);
    drop(network);
    assert!(!copy.exists());
    for own in [
        "[environment.set]\nGIT_SSH_COMMAND = \"plink\"\n",
        "[environment]\npass = [\"git_ssh_command\"]\n",
    ] {
        assert_eq!(value(&open(own), GIT_SSH), None, "{own}");
    }
    // In same-user mode too: nothing holds what goes another way, and a proxy is the way that is recorded.
    let command = value(&open(SAME_USER), GIT_SSH);
    assert!(command.is_some_and(|command| command.contains("--connect")));
}

#[test]
fn where_requests_are_limited_programs_are_told_what_to_trust() {
    const LIMITED: &str = "[network]\nmode = \"allowlist\"\nallow = [{ host = \"api.example.com\", methods = [\"GET\"] }]\n";
    let homes = tempfile::tempdir().unwrap();
    let mut network = network(LIMITED, homes.path());
    network.open(&session(), Some(Arc::new(Nobody))).unwrap();
    let bundle = homes.path().join(format!("ringfence-{}.pem", session()));
    for name in [
        "AWS_CA_BUNDLE",
        "CARGO_HTTP_CAINFO",
        "CURL_CA_BUNDLE",
        "DENO_CERT",
        "GIT_SSL_CAINFO",
        "NODE_EXTRA_CA_CERTS",
        "PIP_CERT",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_FILE",
        "npm_config_cafile",
    ] {
        let named = value(&network, name).unwrap();
        assert_eq!(std::path::Path::new(&named), bundle, "{name}");
    }
    let revoked = value(&network, "CARGO_HTTP_CHECK_REVOKE");
    assert_eq!(revoked.as_deref(), Some("false"));
    let text = std::fs::read_to_string(&bundle).unwrap();
    assert!(text.contains("-----BEGIN CERTIFICATE-----"));
    let java = value(&network, JAVA_OPTIONS).unwrap();
    assert!(java.contains("-Djavax.net.ssl.trustStore="), "{java}");
    assert!(java.contains("-Dhttps.proxyHost=127.0.0.1"), "{java}");
    drop(network);
    assert!(!bundle.exists());
}
