//! What kind of network an address belongs to, also when an IPv6 address hides another one.
//!
//! Knows the registries' special ranges; resolves and connects to nothing. A form that carries an IPv4 address
//! (mapped, compatible, SIIT, NAT64, 6to4, Teredo, ISATAP) is as bad as the worst address it may carry.
//! Invariant: only [`AddressClass::Public`] may be reached without a rule that names the address, and what this
//! module does not know is not public.
//!
//! Sources: the IANA special-purpose address registries for IPv4 and IPv6 (RFC 6890 and what updates it).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses at which clouds hand out credentials: a hard block that no rule lifts.
///
/// Sources: the instance metadata pages of AWS (EC2, ECS, EKS), Google Cloud, Azure, Alibaba Cloud and Oracle Cloud.
pub const METADATA_ADDRESSES: [IpAddr; 9] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)), // ECS task credentials
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)), // EKS pod identity
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba Cloud
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)), // Azure WireServer
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),   // Oracle Cloud, classic
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), // Google Cloud
];

/// What an address is for; the later, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressClass {
    /// Anybody's, on the internet.
    Public,
    /// For examples in documents.
    Documentation,
    /// For measurements, and for synthetic answers (198.18.0.0/15).
    Benchmarking,
    /// Set aside, or not assigned to anything this module knows.
    Reserved,
    /// Many hosts at once.
    Multicast,
    /// Every host of the network.
    Broadcast,
    /// Between a carrier and its customers (100.64.0.0/10).
    CarrierGrade,
    /// Of an own network: RFC 1918, unique local, the local NAT64 prefix.
    Private,
    /// Of the own link.
    LinkLocal,
    /// No address at all; many systems connect to themselves instead.
    Unspecified,
    /// The machine itself.
    Loopback,
    /// A cloud's credentials.
    Metadata,
}

impl AddressClass {
    /// Its name in messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Documentation => "documentation",
            Self::Benchmarking => "benchmarking",
            Self::Reserved => "reserved",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::CarrierGrade => "carrier-grade",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Metadata => "metadata",
        }
    }
}

/// The class of `address`; for a form that carries IPv4 addresses, the worst of them.
///
/// # Security
/// The target chooses the address, or the one who answers its name.
#[must_use]
pub fn classify(address: IpAddr) -> AddressClass {
    if METADATA_ADDRESSES.contains(&address) {
        return AddressClass::Metadata;
    }
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => {
            let carried = carried_addresses(v6);
            let inner = carried.iter().map(|v4| classify(IpAddr::V4(*v4))).max();
            let outer = classify_v6_prefix(v6, carried.is_empty());
            inner.map_or(outer, |inner| inner.max(outer))
        }
    }
}

/// Whether `address` is one of [`METADATA_ADDRESSES`], in any form.
#[must_use]
pub fn is_metadata_address(address: IpAddr) -> bool {
    classify(address) == AddressClass::Metadata
}

/// Whether two addresses mean the same machine: equal, or one carries the other.
#[must_use]
pub fn is_same(one: IpAddr, other: IpAddr) -> bool {
    let carries = |outer: IpAddr, inner: IpAddr| match (outer, inner) {
        (IpAddr::V6(outer), IpAddr::V4(inner)) => carried_addresses(outer).contains(&inner),
        (IpAddr::V6(_), IpAddr::V6(_)) | (IpAddr::V4(_), _) => false,
    };
    one == other || carries(one, other) || carries(other, one)
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    match address.octets() {
        [0, ..] => AddressClass::Unspecified,
        [127, ..] => AddressClass::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressClass::Private,
        [100, 64..=127, ..] => AddressClass::CarrierGrade,
        [169, 254, ..] => AddressClass::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => AddressClass::Documentation,
        [198, 18..=19, ..] => AddressClass::Benchmarking,
        [224..=239, ..] => AddressClass::Multicast,
        [255, 255, 255, 255] => AddressClass::Broadcast,
        // Protocol assignments, the withdrawn 6to4 relays, and what was never given out.
        [192, 0, 0, _] | [192, 88, 99, _] | [240..=255, ..] => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

/// The class that the prefix alone gives; `bare` when the address carries no IPv4 address.
fn classify_v6_prefix(address: Ipv6Addr, bare: bool) -> AddressClass {
    if address.is_loopback() {
        return AddressClass::Loopback;
    }
    if address.is_unspecified() {
        return AddressClass::Unspecified;
    }
    match address.segments() {
        [0xff00..=0xffff, ..] => AddressClass::Multicast,
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        // Unique local, the withdrawn site-local, and RFC 8215's local NAT64 prefix.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => AddressClass::Private,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => AddressClass::Documentation,
        [0x2001, 2, 0, ..] => AddressClass::Benchmarking,
        // What carries IPv4 is judged by what it carries: mapped, compatible, SIIT, NAT64, 6to4, Teredo.
        [0 | 0x2002, ..] | [0x64, 0xff9b, ..] | [0x2001, 0, ..] if !bare => AddressClass::Public,
        // Protocol assignments: 2001::/23.
        [0x2001, 0..=0x1ff, ..] => AddressClass::Reserved,
        [0x2000..=0x3fff, ..] => AddressClass::Public,
        _ => AddressClass::Reserved,
    }
}

/// Every IPv4 address that `address` may carry to some translator, relay or tunnel.
fn carried_addresses(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    if address.is_loopback() || address.is_unspecified() {
        return Vec::new();
    }
    let bits = address.to_bits();
    let mut carried = Vec::new();
    match address.segments() {
        // Compatible and mapped (RFC 4291), SIIT (RFC 2765), NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0 | 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, 0, 0, 0, 0, ..] => carried.push(low_v4(bits)),
        // The local NAT64 prefix (RFC 8215): any of RFC 6052's lengths below /48 may be in use. Bits 64 to 71 are
        // no part of the address, so that it can stand in two pieces.
        [0x64, 0xff9b, 1, ..] => {
            let after_gap = bits & ((1 << 56) - 1);
            carried.push(low_v4((bits >> 64 << 16) | (after_gap >> 40)));
            carried.push(low_v4((bits >> 64 << 24) | (after_gap >> 32)));
            carried.push(low_v4(after_gap >> 24));
            carried.push(low_v4(bits));
        }
        // 6to4 (RFC 3056).
        [0x2002, ..] => carried.push(low_v4(bits >> 80)),
        // Teredo (RFC 4380): the server, and the client with every bit turned over.
        [0x2001, 0, ..] => {
            carried.push(low_v4(bits >> 64));
            carried.push(low_v4(!bits));
        }
        _ => {}
    }
    // ISATAP (RFC 5214): an interface identifier that stands behind any prefix.
    if let [_, _, _, _, 0 | 0x100 | 0x200 | 0x300, 0x5efe, _, _] = address.segments() {
        carried.push(low_v4(bits));
    }
    carried
}

/// The IPv4 address in the lowest 32 bits.
fn low_v4(bits: u128) -> Ipv4Addr {
    let [.., a, b, c, d] = bits.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn class(text: &str) -> AddressClass {
        classify(text.parse().unwrap())
    }

    #[test]
    fn special_ranges_have_their_class_up_to_their_edges() {
        use AddressClass as C;
        for (text, expected) in [
            ("0.0.0.0", C::Unspecified),
            ("0.255.255.255", C::Unspecified),
            ("1.0.0.0", C::Public),
            ("9.255.255.255", C::Public),
            ("10.0.0.0", C::Private),
            ("10.255.255.255", C::Private),
            ("11.0.0.0", C::Public),
            ("100.63.255.255", C::Public),
            ("100.64.0.0", C::CarrierGrade),
            ("100.127.255.255", C::CarrierGrade),
            ("100.100.100.200", C::Metadata),
            ("100.128.0.0", C::Public),
            ("127.255.255.255", C::Loopback),
            ("168.63.129.16", C::Metadata),
            ("169.253.255.255", C::Public),
            ("169.254.0.1", C::LinkLocal),
            ("169.254.169.254", C::Metadata),
            ("172.15.255.255", C::Public),
            ("172.16.0.0", C::Private),
            ("172.31.255.255", C::Private),
            ("172.32.0.0", C::Public),
            ("192.0.0.1", C::Reserved),
            ("192.0.2.1", C::Documentation),
            ("192.88.99.1", C::Reserved),
            ("192.168.255.255", C::Private),
            ("192.169.0.0", C::Public),
            ("198.17.255.255", C::Public),
            ("198.18.0.0", C::Benchmarking),
            ("198.19.255.255", C::Benchmarking),
            ("198.20.0.0", C::Public),
            ("198.51.100.7", C::Documentation),
            ("203.0.113.7", C::Documentation),
            ("223.255.255.255", C::Public),
            ("224.0.0.1", C::Multicast),
            ("239.255.255.255", C::Multicast),
            ("240.0.0.1", C::Reserved),
            ("255.255.255.255", C::Broadcast),
            ("::", C::Unspecified),
            ("::1", C::Loopback),
            ("100::1", C::Reserved),
            ("2001:2::1", C::Benchmarking),
            ("2001:10::1", C::Reserved),
            ("2001:20::1", C::Reserved),
            ("2001:200::1", C::Public),
            ("2001:db8::7", C::Documentation),
            ("3fff:fff::1", C::Documentation),
            ("3fff:1000::1", C::Public),
            ("2606:2800:220:1::1", C::Public),
            ("4000::1", C::Reserved),
            ("5f00::1", C::Reserved),
            ("fc00::1", C::Private),
            ("fdff::1", C::Private),
            ("fd00:ec2::254", C::Metadata),
            ("fd20:ce::254", C::Metadata),
            ("fe00::1", C::Reserved),
            ("fe80::1", C::LinkLocal),
            ("febf::1", C::LinkLocal),
            ("fec0::1", C::Private),
            ("ff02::1", C::Multicast),
        ] {
            assert_eq!(class(text), expected, "{text}");
        }
    }

    #[test]
    fn every_disguise_of_an_address_has_the_class_of_what_it_hides() {
        for (v4, expected) in [
            ("169.254.169.254", AddressClass::Metadata),
            ("127.0.0.1", AddressClass::Loopback),
            ("10.1.2.3", AddressClass::Private),
            ("100.64.1.1", AddressClass::CarrierGrade),
        ] {
            let v4: Ipv4Addr = v4.parse().unwrap();
            for form in disguises(v4) {
                let found = classify(IpAddr::V6(form));
                assert!(found >= expected, "{form} hides {v4}: {found:?}");
            }
        }
    }

    #[test]
    fn a_public_address_stays_public_in_the_forms_that_route_it() {
        for text in [
            "::ffff:11.22.33.44",
            "64:ff9b::11.22.33.44",
            "2002:b16:212c::1",
        ] {
            assert_eq!(class(text), AddressClass::Public, "{text}");
        }
        // Nobody but the own network answers on the local prefix.
        assert_eq!(class("64:ff9b:1::b16:212c"), AddressClass::Unspecified);
        assert_eq!(class("64:ff9b:2::1"), AddressClass::Reserved);
    }

    #[test]
    fn a_carried_address_is_the_same_machine() {
        let v4: IpAddr = "11.22.33.44".parse().unwrap();
        let mapped: IpAddr = "::ffff:11.22.33.44".parse().unwrap();
        assert!(is_same(v4, mapped) && is_same(mapped, v4) && is_same(v4, v4));
        assert!(!is_same(mapped, "11.22.33.45".parse().unwrap()));
    }

    /// `v4` in every form that some system translates back.
    fn disguises(v4: Ipv4Addr) -> Vec<Ipv6Addr> {
        let low = u128::from(v4.to_bits());
        let high = |segments: [u16; 8]| Ipv6Addr::from(segments).to_bits();
        let nat64_local = high([0x64, 0xff9b, 1, 0, 0, 0, 0, 0]);
        let split = |above: u32| {
            let below = 32 - above;
            nat64_local | (low >> below << 64) | ((low & ((1 << below) - 1)) << (56 - below))
        };
        [
            low | high([0, 0, 0, 0, 0, 0xffff, 0, 0]),
            low,
            low | high([0, 0, 0, 0, 0xffff, 0, 0, 0]),
            low | high([0x64, 0xff9b, 0, 0, 0, 0, 0, 0]),
            low | nat64_local,
            split(16),
            split(8),
            split(0),
            low << 80 | high([0x2002, 0, 0, 0, 0, 0, 0, 1]),
            low << 64 | high([0x2001, 0, 0, 0, 0, 0, 0, 0]) | u128::from(!0x0b16_212c_u32),
            high([0x2001, 0, 0x0b16, 0x212c, 0, 0, 0, 0]) | u128::from(!v4.to_bits()),
            low | high([0x2606, 0x2800, 0, 0, 0, 0x5efe, 0, 0]),
            low | high([0x2606, 0x2800, 0, 0, 0x200, 0x5efe, 0, 0]),
            low | high([0xfe80, 0, 0, 0, 0, 0x5efe, 0, 0]),
        ]
        .map(Ipv6Addr::from_bits)
        .to_vec()
    }

    proptest! {
        #[test]
        fn no_disguise_is_better_than_what_it_hides(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            // `::` and `::1` are addresses of their own.
            prop_assume!(bits > 1);
            let plain = classify(IpAddr::V4(v4));
            for form in disguises(v4) {
                prop_assert!(classify(IpAddr::V6(form)) >= plain, "{form} hides {v4}");
                prop_assert!(is_same(IpAddr::V6(form), IpAddr::V4(v4)));
            }
        }

        #[test]
        fn nothing_outside_the_global_range_is_public(bits: u128) {
            let v6 = Ipv6Addr::from_bits(bits);
            if classify(IpAddr::V6(v6)) == AddressClass::Public {
                let first = v6.segments()[0];
                prop_assert!(matches!(first, 0 | 0x64 | 0x2000..=0x3fff));
            }
        }
    }
}
