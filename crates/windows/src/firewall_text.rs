//! What a rule of Windows Firewall holds as text: ports, addresses, users; in the form of the plan, whatever form the
//! firewall gives it back in.
//!
//! Source: learn.microsoft.com `INetFwRule::put_RemoteAddresses`, `put_RemotePorts`,
//! `INetFwRule3::put_LocalUserAuthorizedList`. Invariant: what the plan says, said and read back, is what it says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringfence_nt::Sid;
use ringfence_plan::windows::step::PortRange;

/// `20000-20031,49152-65535`
#[must_use]
pub fn render_ports(ports: &[PortRange]) -> String {
    let each = ports.iter().map(|range| {
        if range.first == range.last {
            range.first.to_string()
        } else {
            format!("{}-{}", range.first, range.last)
        }
    });
    each.collect::<Vec<_>>().join(",")
}

/// The ranges of such a text; `*` and nothing are all of them. None for a text that is neither.
#[must_use]
pub fn read_ports(text: &str) -> Option<Vec<PortRange>> {
    let text = text.trim();
    if text.is_empty() || text == "*" {
        return Some(Vec::new());
    }
    text.split(',')
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(PortRange {
                first: first.trim().parse().ok()?,
                last: last.trim().parse().ok()?,
            })
        })
        .collect()
}

/// The addresses of a text in the plan's form: ranges in order, a single address by itself. None for a word such as
/// `LocalSubnet`, which the plan never uses.
#[must_use]
pub fn read_addresses(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    if text.is_empty() || text == "*" {
        return Some(Vec::new());
    }
    let mut ranges = text
        .split(',')
        .map(|part| read_range(part.trim()))
        .collect::<Option<Vec<_>>>()?;
    ranges.sort_unstable();
    Some(ranges.into_iter().map(render_range).collect())
}

fn render_range((first, last): (IpAddr, IpAddr)) -> String {
    if first == last {
        return first.to_string();
    }
    format!("{first}-{last}")
}

/// `a`, `a-b`, `a/24`, `a/255.255.255.0`
fn read_range(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        return Some((first, last));
    }
    let Some((address, mask)) = text.split_once('/') else {
        let one = text.parse().ok()?;
        return Some((one, one));
    };
    match address.parse().ok()? {
        IpAddr::V4(address) => {
            let mask = match mask.parse::<Ipv4Addr>() {
                Ok(mask) => u32::from(mask),
                Err(_) => mask_of(mask.parse().ok()?, 32).try_into().ok()?,
            };
            let first = u32::from(address) & mask;
            Some((
                IpAddr::V4(first.into()),
                IpAddr::V4(Ipv4Addr::from(first | !mask)),
            ))
        }
        IpAddr::V6(address) => {
            let mask = mask_of(mask.parse().ok()?, 128);
            let first = u128::from(address) & mask;
            Some((
                IpAddr::V6(first.into()),
                IpAddr::V6(Ipv6Addr::from(first | !mask)),
            ))
        }
    }
}

/// A mask of so many leading ones in an address of that width.
fn mask_of(ones: u32, width: u32) -> u128 {
    let ones = ones.min(width);
    let all = u128::MAX >> (128 - width);
    all & !(all.checked_shr(ones).unwrap_or(0))
}

/// The descriptor that binds a rule to one user.
#[must_use]
pub fn render_user(user: Sid) -> String {
    format!("O:LSD:(A;;CC;;;{user})")
}

/// The user of such a descriptor; none for one that we do not make.
#[must_use]
pub fn read_user(text: &str) -> Option<Sid> {
    let sid = text.strip_prefix("O:LSD:(A;;CC;;;")?.strip_suffix(')')?;
    sid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_go_there_and_back() {
        let ports = [
            PortRange { first: 1, last: 1 },
            PortRange {
                first: 20_000,
                last: 20_031,
            },
        ];
        assert_eq!(render_ports(&ports), "1,20000-20031");
        assert_eq!(read_ports("1,20000-20031"), Some(ports.to_vec()));
        assert_eq!(read_ports("*"), Some(Vec::new()));
        assert_eq!(read_ports("RPC"), None);
    }

    #[test]
    fn what_the_firewall_makes_of_addresses_is_what_was_said() {
        let read = |text: &str| read_addresses(text).unwrap().join(",");
        // A mask for a length, one address as a network of one, another order.
        assert_eq!(
            read("::1/128,127.0.0.0/255.0.0.0"),
            "127.0.0.0-127.255.255.255,::1"
        );
        assert_eq!(read("127.0.0.0/8"), "127.0.0.0-127.255.255.255");
        assert_eq!(read("10.0.0.1/255.255.255.255"), "10.0.0.1");
        assert_eq!(read("fe80::/64"), "fe80::-fe80::ffff:ffff:ffff:ffff");
        assert_eq!(read("::2-ffff::"), "::2-ffff::");
        assert_eq!(read("*"), "");
        assert_eq!(read_addresses("LocalSubnet"), None);
        assert_eq!(read_addresses("1.2.3.4/33x"), None);
        assert_eq!(read("0.0.0.0/0"), "0.0.0.0-255.255.255.255");
        assert_eq!(read("::/0"), format!("::-{}", Ipv6Addr::from(u128::MAX)));
    }

    #[test]
    fn a_user_is_read_from_our_own_descriptor_alone() {
        let user = Sid::new(5, &[21, 1, 2, 3, 1001]).unwrap();
        assert_eq!(read_user(&render_user(user)), Some(user));
        for other in [
            "",
            "O:LSD:(A;;CC;;;)",
            "O:LSD:(A;;CC;;;S-1-1-0)(A;;CC;;;S-1-5-18)",
        ] {
            assert_eq!(read_user(other), None, "{other}");
        }
    }
}
