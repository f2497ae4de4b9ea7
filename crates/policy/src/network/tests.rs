//! Tests of the decision on connections.

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
fn what_is_said_of_the_hosts_loopback_is_what_a_run_says() {
    let mut policy = NetworkPolicy::offline();
    for (host, address) in [
        ("127.0.0.1", "127.0.0.1:5432"),
        ("localhost", "127.0.0.1:5432"),
        ("[::1]", "[::1]:5432"),
    ] {
        let host = Host::parse(host.as_bytes()).unwrap();
        let refused = policy.decide_loopback(&host, 5432);
        assert_eq!(verdict(&refused), (false, RuleId::SessionLoopback));
        assert_eq!(arguments(refused).unwrap(), ["--connect", address]);
    }
    policy.connect.push(Sourced {
        value: "127.0.0.1:5432".parse().unwrap(),
        layer: LayerKind::CommandLine,
    });
    let host = Host::parse(b"localhost").unwrap();
    let granted = policy.decide_loopback(&host, 5432);
    assert_eq!(verdict(&granted), (true, RuleId::ConnectedServer));
}

#[test]
fn a_name_server_is_never_what_has_to_be_allowed() {
    let policy = NetworkPolicy::offline();
    let local = Host::parse(b"127.0.0.53").unwrap();
    for refused in [
        policy.decide(&internet("10.255.255.53", 53)),
        policy.decide_loopback(&local, 53),
    ] {
        assert_eq!(
            arguments(refused).unwrap(),
            ["--network", "allowlist", "--allow-host", "HOST"]
        );
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

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn name(text: &str) -> HostName {
    HostName::parse(text.as_bytes()).unwrap()
}

#[test]
fn one_bad_address_among_good_ones_refuses() {
    let policy = NetworkPolicy {
        mode: user(NetworkMode::Allowlist),
        allow: vec![
            user("example.com".parse().unwrap()),
            user("10.1.2.3".parse().unwrap()),
        ],
        deny: vec![user("11.0.0.9".parse().unwrap())],
        connect: vec![user("127.0.0.1:443".parse().unwrap())],
        ..NetworkPolicy::offline()
    };
    let host = Host::Name(name("example.com"));
    let decide = |texts: &[&str]| verdict(&policy.decide_addresses(&host, 443, &addresses(texts)));
    let allowed = (true, RuleId::AllowedHost);
    assert_eq!(decide(&["11.22.33.44", "2606:2800::1"]), allowed);
    // Named: a private address by a rule, the host's loopback by `connect`.
    assert_eq!(
        decide(&["10.1.2.3", "::ffff:10.1.2.3", "127.0.0.1"]),
        allowed
    );
    for bad in [
        "10.1.2.4",
        "127.0.0.2",
        "::1",
        "0.0.0.0",
        "fd00::1",
        "64:ff9b::10.1.2.4",
    ] {
        let refused = (false, RuleId::PrivateAddress);
        assert_eq!(decide(&["11.22.33.44", bad]), refused, "{bad}");
    }
    for bad in ["169.254.169.254", "64:ff9b::a9fe:a9fe"] {
        assert_eq!(decide(&["11.22.33.44", bad]), (false, RuleId::Metadata));
    }
    for bad in ["11.0.0.9", "::ffff:11.0.0.9", "2002:b00:9::1"] {
        assert_eq!(decide(&[bad]), (false, RuleId::DeniedHost), "{bad}");
    }
}

#[test]
fn outside_the_session_loopback_is_the_hosts_and_needs_connect() {
    let policy = NetworkPolicy {
        mode: user(NetworkMode::Open),
        connect: vec![user("127.0.0.1:5432".parse().unwrap())],
        ..NetworkPolicy::offline()
    };
    let decide =
        |text: &str, port| policy.decide_outbound(&Host::parse(text.as_bytes()).unwrap(), port);
    assert_eq!(
        verdict(&decide("127.0.0.1", 5432)),
        (true, RuleId::ConnectedServer)
    );
    for (host, port) in [
        ("127.0.0.1", 5433),
        ("localhost", 5432),
        ("[::1]", 5432),
        ("0.0.0.0", 5432),
        ("[::ffff:127.0.0.1]", 22),
        ("[64:ff9b::127.0.0.1]", 22),
    ] {
        assert_eq!(
            verdict(&decide(host, port)),
            (false, RuleId::PrivateAddress),
            "{host}"
        );
    }
    assert_eq!(
        arguments(decide("localhost", 5433)).unwrap(),
        ["--connect", "127.0.0.1:5433"]
    );
}

#[test]
fn only_published_ports_are_reached_from_the_host() {
    let policy = NetworkPolicy {
        publish: vec![user(3000)],
        ..NetworkPolicy::offline()
    };
    assert_eq!(
        verdict(&policy.decide_published(3000)),
        (true, RuleId::PublishedPort)
    );
    let refused = policy.decide_published(3001);
    assert_eq!(verdict(&refused), (false, RuleId::NotListed));
    assert_eq!(arguments(refused).unwrap(), ["--publish", "3001"]);
}

#[test]
fn open_means_public_hosts_alone() {
    let policy = NetworkPolicy {
        mode: user(NetworkMode::Open),
        allow: vec![user("192.168.1.1:8080".parse().unwrap())],
        deny: vec![user("11.22.33.44".parse().unwrap())],
        ..NetworkPolicy::offline()
    };
    let decide = |text: &str, port| verdict(&policy.decide(&internet(text, port)));
    assert_eq!(decide("any.example", 9418), (true, RuleId::AllowedHost));
    assert_eq!(decide("11.22.33.45", 80), (true, RuleId::AllowedHost));
    assert_eq!(decide("192.168.1.1", 8080), (true, RuleId::AllowedHost));
    assert_eq!(decide("192.168.1.1", 80), (false, RuleId::PrivateAddress));
    assert_eq!(decide("[fd00::1]", 80), (false, RuleId::PrivateAddress));
    // A deny rule on an address means its other forms too.
    for form in ["11.22.33.44", "[::ffff:11.22.33.44]", "[2002:b16:212c::1]"] {
        assert_eq!(decide(form, 80), (false, RuleId::DeniedHost), "{form}");
    }
}

#[test]
fn a_name_is_answered_when_some_port_of_it_is_open() {
    let policy = NetworkPolicy {
        mode: user(NetworkMode::Allowlist),
        allow: vec![
            user("a.example.com:22".parse().unwrap()),
            user("*.example.com".parse().unwrap()),
        ],
        deny: vec![
            user("b.example.com:443".parse().unwrap()),
            user("c.example.com".parse().unwrap()),
        ],
        ..NetworkPolicy::offline()
    };
    let decide = |text: &str| verdict(&policy.decide_name(&name(text)));
    for open in ["a.example.com", "b.example.com", "d.example.com"] {
        assert_eq!(decide(open), (true, RuleId::AllowedHost), "{open}");
    }
    assert_eq!(decide("c.example.com"), (false, RuleId::DeniedHost));
    assert_eq!(decide("example.com"), (false, RuleId::NotListed));
    assert_eq!(
        decide("metadata.google.internal"),
        (false, RuleId::Metadata)
    );
    assert_eq!(
        verdict(&NetworkPolicy::offline().decide_name(&name("a.example.com"))),
        (false, RuleId::Offline)
    );
    assert_eq!(
        policy.ports().into_iter().collect::<Vec<_>>(),
        [22, 80, 443]
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

fn scoped() -> NetworkPolicy {
    let rules = [
        "api.example.com GET,HEAD /v1/**",
        "api.example.com POST /v1/search",
        "whole.example.com GET",
        "whole.example.com",
    ];
    NetworkPolicy {
        mode: user(NetworkMode::Allowlist),
        allow: rules.map(|text| user(text.parse().unwrap())).to_vec(),
        deny: vec![user("down.example.com".parse().unwrap())],
        ..NetworkPolicy::offline()
    }
}

fn host(text: &str) -> Host {
    Host::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_rule_with_a_scope_allows_its_requests_alone() {
    let policy = scoped();
    let api = host("api.example.com");
    assert_eq!(policy.reach(&api, 443), Reach::Requests);
    assert_eq!(policy.reach(&host("whole.example.com"), 443), Reach::Whole);
    assert_eq!(policy.reach(&host("other.example.com"), 443), Reach::Whole);
    for (method, target, expected) in [
        ("GET", "/v1/users?x=/admin", RuleId::AllowedHost),
        ("POST", "/v1/search", RuleId::AllowedHost),
        ("DELETE", "/v1/users", RuleId::RequestScope),
        ("POST", "/v1/users", RuleId::RequestScope),
        ("GET", "/admin", RuleId::RequestScope),
        ("GET", "/v1/../admin", RuleId::RequestScope),
        ("GET", "/v1/%2e%2e/admin", RuleId::RequestScope),
        ("get", "/v1/users", RuleId::RequestScope),
        ("OPTIONS", "*", RuleId::RequestScope),
    ] {
        let decision = policy.decide_request(&api, 443, method, target);
        assert_eq!(verdict(&decision).1, expected, "{method} {target}");
    }
    let refused = policy.decide_request(&api, 443, "DELETE", "/v1/users?all");
    assert_eq!(
        arguments(refused).unwrap(),
        ["--allow-host", "api.example.com:443 DELETE /v1/users"]
    );
    // What is ambiguous has no option that allows it.
    assert_eq!(
        arguments(policy.decide_request(&api, 443, "GET", "/v1//x")),
        None
    );
    let others = policy.decide_request(&host("other.example.com"), 443, "GET", "/v1/x");
    assert_eq!(verdict(&others).1, RuleId::NotListed);
}

#[test]
fn a_rule_without_a_scope_opens_the_host_whatever_others_say() {
    let policy = scoped();
    let decision = policy.decide_request(&host("whole.example.com"), 443, "DELETE", "/v1/../x");
    assert_eq!(verdict(&decision).1, RuleId::AllowedHost);
    let open = NetworkPolicy {
        mode: user(NetworkMode::Open),
        ..scoped()
    };
    assert_eq!(open.reach(&host("api.example.com"), 443), Reach::Whole);
    let denied = NetworkPolicy {
        deny: vec![user("api.example.com".parse().unwrap())],
        ..scoped()
    };
    let decision = denied.decide_request(&host("api.example.com"), 443, "GET", "/v1/x");
    assert_eq!(verdict(&decision).1, RuleId::DeniedHost);
}
