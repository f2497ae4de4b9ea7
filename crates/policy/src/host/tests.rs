//! Tests of the host grammar and its patterns.

use super::*;
use proptest::prelude::*;

fn rule(text: &str) -> HostRule {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn host(text: &str) -> Host {
    Host::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn names_are_lower_case_without_a_trailing_dot() {
    assert_eq!(host("ExAmple.COM.").to_string(), "example.com");
    assert_eq!(
        host("xn--bcher-kva.example").to_string(),
        "xn--bcher-kva.example"
    );
    assert_eq!(host("_dmarc.a-b.example").to_string(), "_dmarc.a-b.example");
}

#[test]
fn addresses_in_disguise_are_refused() {
    for text in [
        "2130706433",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "0x7f000001",
        "127.0.0.1.",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "example.0x10",
        "example.7",
        "0X7F.0.0.1",
        "0x",
    ] {
        assert!(
            matches!(
                Host::parse(text.as_bytes()),
                Err(HostError::AddressInDisguise)
            ),
            "{text}: {:?}",
            Host::parse(text.as_bytes())
        );
    }
    assert_eq!(host("127.0.0.1"), Host::Address(Ipv4Addr::LOCALHOST.into()));
    assert_eq!(host("[::1]"), Host::Address(Ipv6Addr::LOCALHOST.into()));
}

#[test]
fn anything_outside_the_grammar_is_refused() {
    let long_label = "a".repeat(64);
    let long_name = format!("{}.example", "a.".repeat(125));
    for bytes in [
        &b""[..],
        b".",
        b"..",
        b"a..b",
        b".a",
        b"a\0.example",
        b"a%00.example",
        b"a b",
        b"a\r\nb",
        b"a@b.example",
        b"b\xc3\xbccher.example",
        b"a/b",
        b"[::1",
        b"[fe80::1%eth0]",
        b"[1.2.3.4]",
        b"::1",
        long_label.as_bytes(),
        long_name.as_bytes(),
    ] {
        assert!(Host::parse(bytes).is_err(), "{}", escape(bytes));
    }
    assert!(Host::parse("a".repeat(63).as_bytes()).is_ok());
}

#[test]
fn a_star_stands_for_whole_labels() {
    assert!(rule("example.com").allows(&host("example.com"), 443));
    assert!(!rule("example.com").allows(&host("a.example.com"), 443));
    assert!(rule("*.example.com").allows(&host("a.b.example.com"), 443));
    assert!(!rule("*.example.com").allows(&host("example.com"), 443));
    assert!(rule("**.example.com").allows(&host("example.com"), 443));
    assert!(rule("**.example.com").allows(&host("a.example.com"), 443));
    for pattern in ["*.example.com", "**.example.com"] {
        assert!(
            !rule(pattern).allows(&host("badexample.com"), 443),
            "{pattern}"
        );
        assert!(
            !rule(pattern).allows(&host("example.com.evil.example"), 443),
            "{pattern}"
        );
    }
    for bad in [
        "a*.example.com",
        "a.*.example.com",
        "*example.com",
        "***.example.com",
        "*.*.example.com",
        "*.127.0.0.1",
    ] {
        assert!(bad.parse::<HostRule>().is_err(), "{bad}");
    }
}

#[test]
fn a_rule_with_a_port_means_that_port_alone() {
    let name = host("example.com");
    assert!(rule("example.com").allows(&name, 80));
    assert!(rule("example.com").allows(&name, 443));
    assert!(!rule("example.com").allows(&name, 8080));
    assert!(rule("example.com:8080").allows(&name, 8080));
    assert!(!rule("example.com:8080").allows(&name, 443));
    assert!(rule("example.com").denies(&name, 8080));
    assert!(!rule("example.com:22").denies(&name, 8080));
    for bad in [
        "example.com:",
        "example.com:0",
        "example.com:65536",
        "example.com:+80",
        "example.com:080",
        "example.com:80:80",
    ] {
        assert!(bad.parse::<HostRule>().is_err(), "{bad}");
    }
}

#[test]
fn a_star_on_a_public_suffix_is_refused() {
    for bad in [
        "*.com",
        "**.org",
        "*.co.uk",
        "*.com.au",
        "*.github.io",
        "*.s3.amazonaws.com",
        "*.xn--p1ai",
    ] {
        assert!(
            matches!(rule(bad).check_allow(), Err(HostError::PublicSuffix(_))),
            "{bad}"
        );
    }
    for good in [
        "*.example.com",
        "*.example.co.uk",
        "*.me.github.io",
        "*.uk.com.example",
        "github.io",
        "192.0.2.7",
    ] {
        assert_eq!(rule(good).check_allow(), Ok(()), "{good}");
    }
}

#[test]
fn everything_and_urls_have_their_own_errors() {
    assert_eq!("*".parse::<HostRule>(), Err(HostError::Everything));
    assert_eq!("*:443".parse::<HostRule>(), Err(HostError::Everything));
    assert_eq!(
        "https://example.com".parse::<HostRule>(),
        Err(HostError::Url)
    );
    assert_eq!("example.com/a".parse::<HostRule>(), Err(HostError::Url));
    assert_eq!("2001:db8::7".parse::<HostRule>(), Err(HostError::Ipv6));
}

#[test]
fn metadata_is_known_in_every_disguise() {
    for text in [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[::169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "[fd00:ec2::254]",
        "metadata.google.internal.",
        "Instance-Data",
    ] {
        assert!(host(text).is_metadata(), "{text}");
        assert_eq!(rule(text).check_allow(), Err(HostError::Metadata), "{text}");
    }
    for text in [
        "169.254.169.253",
        "[::1]",
        "[2001:db8::a9fe:a9fe]",
        "example.com",
    ] {
        assert!(!host(text).is_metadata(), "{text}");
    }
    assert!(
        host("[::1]").is_loopback()
            && host("127.9.9.9").is_loopback()
            && host("[::ffff:127.0.0.1]").is_loopback()
    );
    assert!(!host("localhost.example.com").is_loopback());
}

#[test]
fn a_rule_covers_what_it_means() {
    for (outer, inner, expected) in [
        ("*.example.com", "a.example.com", true),
        ("*.example.com", "*.a.example.com", true),
        ("*.example.com", "**.example.com", false),
        ("**.example.com", "*.example.com", true),
        ("example.com", "example.com:443", true),
        ("example.com", "example.com:22", false),
        ("example.com:443", "example.com", false),
        ("example.com", "*.example.com", false),
    ] {
        assert_eq!(
            rule(outer).covers(&rule(inner)),
            expected,
            "{outer} {inner}"
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_what_parses_reads_back(bytes: Vec<u8>) {
        if let Ok(parsed) = Host::parse(&bytes) {
            prop_assert_eq!(Host::parse(parsed.to_string().as_bytes()), Ok(parsed));
        }
    }

    #[test]
    fn rules_read_back(star in "(\\*\\.|\\*\\*\\.)?", name in "[a-zA-Z0-9_-]{1,20}(\\.[a-zA-Z][a-z0-9-]{0,9}){1,3}", port in proptest::option::of(1_u16..)) {
        let text = format!("{star}{name}{}", port.map(|port| format!(":{port}")).unwrap_or_default());
        if let Ok(parsed) = text.parse::<HostRule>() {
            prop_assert_eq!(parsed.to_string().parse::<HostRule>(), Ok(parsed.clone()));
            let json = serde_json::to_string(&parsed).unwrap();
            prop_assert_eq!(serde_json::from_str::<HostRule>(&json).unwrap(), parsed);
        }
    }
}
