//! Every attack by every way in: the same rule refuses it, nothing is asked or dialled for it, and what is allowed
//! beside it works.

use std::io::{ErrorKind, Read};

use ringfence_policy::rule::RuleId;

use super::world::{Ending, World, allowlist, origin, universal, user, world};
use crate::decide::Ingress;

/// Each way in with the port at which it is tried.
const WAYS: [(Ingress, u16); 10] = [
    (Ingress::CapturedTls, 443),
    (Ingress::CapturedHttp, 80),
    (Ingress::CapturedTcp, 9000),
    (Ingress::Connect, 443),
    (Ingress::Connect, 80),
    (Ingress::Connect, 9000),
    (Ingress::AbsoluteForm, 80),
    (Ingress::AbsoluteForm, 9000),
    (Ingress::Socks, 443),
    (Ingress::Socks, 9000),
];

const PUBLIC: [&str; 2] = ["11.22.33.44", "[2606:2800::44]"];

/// `good.example` at the usual ports and 9000; others that are allowed and lead where they must not.
fn hostile_world() -> World {
    let allow = [
        "good.example",
        "good.example:9000",
        "*.trap.example",
        "*.trap.example:9000",
        "11.22.33.55",
        "11.22.33.55:9000",
    ];
    let mut policy = allowlist(&allow, &["denied.example", "bad.trap.example"]);
    policy.connect = vec![user("127.0.0.1:9000".parse().unwrap())];
    let world = world(policy);
    let origin = origin(universal);
    let internet = &world.internet;
    internet.name("good.example", &["11.22.33.44"]);
    for name in ["unlisted.example", "denied.example", "bad.trap.example"] {
        internet.name(name, &["11.22.33.44"]);
    }
    for port in [80, 443, 9000] {
        for address in
            PUBLIC
                .iter()
                .chain(&["11.22.33.55", "127.0.0.1", "10.1.2.3", "169.254.169.254"])
        {
            internet.route(&format!("{address}:{port}"), origin);
        }
    }
    world
}

/// `ending` is what a client of `ingress` at `port` sees of a refusal by `rule`.
fn assert_refused(ending: &Ending, (ingress, port): (Ingress, u16), rule: RuleId, what: &str) {
    let status = if rule == RuleId::Malformed { 400 } else { 403 };
    let http = Ending::Http(status, format!("blocked-by-{}", rule.name()));
    let expected = match (ingress, port) {
        (Ingress::CapturedHttp | Ingress::Connect | Ingress::AbsoluteForm, _) => http,
        (Ingress::Socks, _) => Ending::Socks(2),
        (Ingress::CapturedTls, _) => Ending::Alert(49),
        (Ingress::CapturedTcp | Ingress::Dns | Ingress::UnixSocket | Ingress::Published, _) => {
            Ending::Nothing
        }
    };
    assert_eq!(*ending, expected, "{ingress:?} {port} {what}");
}

#[test]
fn what_is_allowed_is_reached_by_every_way() {
    let world = hostile_world();
    for (ingress, port) in WAYS {
        let ending = world.attempt(ingress, "good.example", port, "good.example");
        assert_eq!(ending, Ending::Reached, "{ingress:?} {port}");
    }
    assert_eq!(world.refusals(), []);
    // An address that a rule names, which has no server name to compare with.
    for (ingress, port) in WAYS {
        let said = if port == 443 { "" } else { "11.22.33.55" };
        let ending = world.attempt(ingress, "11.22.33.55", port, said);
        assert_eq!(ending, Ending::Reached, "{ingress:?} {port}");
    }
    // The host's own loopback, where `connect` names the server.
    for way in [Ingress::Connect, Ingress::Socks, Ingress::CapturedTcp] {
        let ending = world.attempt(way, "127.0.0.1", 9000, "");
        assert_eq!(ending, Ending::Reached, "{way:?}");
    }
    assert_eq!(world.refusals(), []);
}

#[test]
fn a_host_that_is_not_allowed_is_refused_by_the_same_rule_by_every_way() {
    let world = hostile_world();
    for (host, rule) in [
        ("unlisted.example", RuleId::NotListed),
        ("notgood.example", RuleId::NotListed),
        ("sub.good.example", RuleId::NotListed),
        ("good.example.evil.example", RuleId::NotListed),
        ("trap.example", RuleId::NotListed),
        ("denied.example", RuleId::DeniedHost),
        ("bad.trap.example", RuleId::DeniedHost),
        ("metadata.google.internal", RuleId::Metadata),
        ("169.254.169.254", RuleId::Metadata),
        ("[::ffff:169.254.169.254]", RuleId::Metadata),
        ("[64:ff9b::a9fe:a9fe]", RuleId::Metadata),
        ("[2002:a9fe:a9fe::1]", RuleId::Metadata),
        ("[fd00:ec2::254]", RuleId::Metadata),
        ("11.22.33.44", RuleId::NotListed),
        ("10.1.2.3", RuleId::NotListed),
        ("[2606:2800::44]", RuleId::NotListed),
        ("198.18.0.1", RuleId::NotListed),
        ("127.0.0.9", RuleId::PrivateAddress),
        ("[::1]", RuleId::PrivateAddress),
        ("[::ffff:127.0.0.9]", RuleId::PrivateAddress),
    ] {
        for way in WAYS {
            world.forget_events();
            let ending = world.attempt(way.0, host, way.1, host);
            assert_refused(&ending, way, rule, host);
            assert_eq!(world.refusals(), [rule], "{way:?} {host}");
        }
    }
    assert_eq!(world.internet.resolved(), Vec::<String>::new());
    assert_eq!(world.internet.dialled(), []);
}

#[test]
fn a_name_that_leads_where_it_must_not_is_refused_by_every_way() {
    let world = hostile_world();
    let good = "11.22.33.44";
    for (index, (bad, rule)) in [
        ("10.1.2.3", RuleId::PrivateAddress),
        ("127.0.0.1", RuleId::PrivateAddress),
        ("0.0.0.0", RuleId::PrivateAddress),
        ("192.168.1.1", RuleId::PrivateAddress),
        ("100.64.0.1", RuleId::PrivateAddress),
        ("198.18.0.1", RuleId::PrivateAddress),
        ("224.0.0.1", RuleId::PrivateAddress),
        ("::1", RuleId::PrivateAddress),
        ("fe80::1", RuleId::PrivateAddress),
        ("::ffff:10.1.2.3", RuleId::PrivateAddress),
        ("::10.1.2.3", RuleId::PrivateAddress),
        ("::ffff:0:10.1.2.3", RuleId::PrivateAddress),
        ("64:ff9b::10.1.2.3", RuleId::PrivateAddress),
        ("64:ff9b:1::10.1.2.3", RuleId::PrivateAddress),
        ("2002:a01:203::1", RuleId::PrivateAddress),
        ("2606:2800::5efe:10.1.2.3", RuleId::PrivateAddress),
        ("169.254.169.254", RuleId::Metadata),
        ("::ffff:169.254.169.254", RuleId::Metadata),
        ("fd00:ec2::254", RuleId::Metadata),
    ]
    .into_iter()
    .enumerate()
    {
        for addresses in [
            vec![bad],
            vec![good, bad],
            vec![bad, good],
            vec![good, good, bad],
        ] {
            let host = format!("n{index}x{}.trap.example", addresses.len());
            world.internet.name(&host, &addresses);
            // 9000 of the host's loopback is named by `connect`: another rule's business.
            for way in WAYS.into_iter().filter(|(_, port)| *port != 9000) {
                world.forget_events();
                let ending = world.attempt(way.0, &host, way.1, &host);
                assert_refused(&ending, way, rule, bad);
                assert_eq!(world.refusals(), [rule], "{way:?} {addresses:?}");
            }
        }
    }
    assert_eq!(world.internet.dialled(), []);
}

#[test]
fn a_port_that_no_rule_names_is_refused_by_every_way() {
    let world = hostile_world();
    for ingress in [
        Ingress::CapturedTcp,
        Ingress::Connect,
        Ingress::AbsoluteForm,
        Ingress::Socks,
    ] {
        world.forget_events();
        let ending = world.attempt(ingress, "good.example", 8080, "good.example");
        assert_refused(&ending, (ingress, 8080), RuleId::NotListed, "8080");
        assert_eq!(world.refusals(), [RuleId::NotListed]);
    }
    assert_eq!(world.internet.dialled(), []);
}

#[test]
fn one_host_can_not_be_used_to_ask_for_another() {
    let world = hostile_world();
    let mismatch = Ending::Http(403, "blocked-by-net.host-mismatch".to_owned());
    for said in ["evil.example", "a.trap.example", ""] {
        for (ingress, port) in [
            (Ingress::CapturedTls, 443),
            (Ingress::Connect, 443),
            (Ingress::Socks, 443),
        ] {
            world.forget_events();
            let ending = world.attempt(ingress, "good.example", port, said);
            assert_eq!(ending, Ending::Alert(49), "{ingress:?} {said}");
            assert_eq!(world.refusals(), [RuleId::HostMismatch]);
        }
    }
    for (ingress, port) in [
        (Ingress::CapturedHttp, 80),
        (Ingress::Connect, 80),
        (Ingress::AbsoluteForm, 80),
        (Ingress::Socks, 80),
    ] {
        for said in [
            "evil.example",
            "a.trap.example",
            "good.example.evil.example",
        ] {
            world.forget_events();
            let ending = world.attempt(ingress, "good.example", port, said);
            assert_eq!(ending, mismatch, "{ingress:?} {said}");
            assert_eq!(world.refusals(), [RuleId::HostMismatch]);
        }
    }
    // Nothing of the refused words arrived anywhere: the only dials are those of the tunnels that were open already.
    let dialled = world.internet.dialled();
    assert!(
        dialled
            .iter()
            .all(|address| address.ip().to_string() == "11.22.33.44")
    );
}

#[test]
fn hosts_that_one_reader_takes_for_an_address_are_unreadable_by_every_way() {
    let world = hostile_world();
    for host in [
        "2130706433",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "good.example%00.evil.example",
        "good.example@evil.example",
    ] {
        for (ingress, port) in [
            (Ingress::Connect, 443),
            (Ingress::AbsoluteForm, 80),
            (Ingress::Socks, 443),
        ] {
            world.forget_events();
            let ending = world.attempt(ingress, host, port, host);
            assert_refused(&ending, (ingress, port), RuleId::Malformed, host);
            assert_eq!(world.refusals(), [RuleId::Malformed]);
        }
    }
    assert_eq!(world.internet.resolved(), Vec::<String>::new());
    assert_eq!(world.internet.dialled(), []);
}

#[test]
fn open_is_the_same_proxy_with_every_public_host() {
    let mut policy = allowlist(&[], &["denied.example", "11.22.33.55"]);
    policy.mode = user(ringfence_policy::document::NetworkMode::Open);
    let world = world(policy);
    let origin = origin(universal);
    world.internet.name("any.example", &["11.22.33.44"]);
    world.internet.name("inner.example", &["10.1.2.3"]);
    world.internet.name("other.example", &["11.22.33.55"]);
    for port in [80, 443, 9000] {
        world.internet.route(&format!("11.22.33.44:{port}"), origin);
    }
    for way in WAYS {
        let ending = world.attempt(way.0, "any.example", way.1, "any.example");
        assert_eq!(ending, Ending::Reached, "{way:?}");
        for (host, rule) in [
            ("denied.example", RuleId::DeniedHost),
            ("11.22.33.55", RuleId::DeniedHost),
            ("[::ffff:11.22.33.55]", RuleId::DeniedHost),
            ("other.example", RuleId::DeniedHost),
            ("inner.example", RuleId::PrivateAddress),
            ("10.1.2.3", RuleId::PrivateAddress),
            ("127.0.0.1", RuleId::PrivateAddress),
            ("169.254.169.254", RuleId::Metadata),
        ] {
            world.forget_events();
            let ending = world.attempt(way.0, host, way.1, host);
            assert_refused(&ending, way, rule, host);
            assert_eq!(world.refusals(), [rule], "{way:?} {host}");
        }
    }
    assert!(
        world
            .internet
            .dialled()
            .iter()
            .all(|address| address.ip().to_string() == "11.22.33.44")
    );
}

#[test]
fn a_captured_program_without_a_protocol_for_refusals_sees_a_reset() {
    let world = hostile_world();
    let mut client = world.captured("unlisted.example", 9000);
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}
