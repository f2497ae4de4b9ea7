//! Addresses that stand for names, in this session alone.
//!
//! A name's place follows from the name by a hash whose key nobody outside knows, so that the address of a name
//! never comes to mean another host, however long somebody remembers it, and tells nothing about other names. Whoever
//! comes second to an IPv4 place gets an IPv6 address alone. Nothing is ever taken out.
//! Invariant: an address stands for one name, from the first answer to the end of the session.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringfence_policy::host::HostName;

/// The networks that synthetic addresses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntheticNetwork {
    /// The first address of the IPv4 network; its last bits are ignored.
    pub v4: Ipv4Addr,
    /// How many bits of an IPv4 address name the network: 8 to 24.
    pub v4_prefix_bits: u8,
    /// The first half of every IPv6 address.
    pub v6_prefix: [u16; 4],
}

impl Default for SyntheticNetwork {
    /// 198.18.0.0/15, set aside for measurements (RFC 2544), and a unique local network chosen by lot (RFC 4193).
    fn default() -> Self {
        Self {
            v4: Ipv4Addr::new(198, 18, 0, 0),
            v4_prefix_bits: 15,
            v6_prefix: [0xfd4b, 0x91c6, 0x2e7a, 0x53d8],
        }
    }
}

/// The addresses of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntheticAddresses {
    /// The IPv4 address; `None` when another name has that place.
    pub v4: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub v6: Ipv6Addr,
}

/// Why a name gets no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntheticError {
    /// So many names have addresses that no more are remembered.
    #[error("too many names were asked for in this session")]
    Full,
    /// Another name has its places, the 64-bit one too.
    #[error("another name has the same addresses")]
    Collision,
}

/// Names and the addresses that stand for them.
#[derive(Clone, Debug)]
pub struct SyntheticNames<S = RandomState> {
    network: SyntheticNetwork,
    most: usize,
    key: S,
    places: HashMap<u64, HostName>,
    v4: HashMap<u32, u64>,
}

impl SyntheticNames {
    /// No names yet, at most `most` of them, with a key of its own.
    #[must_use]
    pub fn new(network: SyntheticNetwork, most: usize) -> Self {
        Self::with_key(network, most, RandomState::new())
    }
}

impl<S: BuildHasher> SyntheticNames<S> {
    /// No names yet, with places that follow from `key`.
    pub fn with_key(network: SyntheticNetwork, most: usize, key: S) -> Self {
        Self {
            network,
            most,
            key,
            places: HashMap::new(),
            v4: HashMap::new(),
        }
    }

    /// The addresses of `name`, the same at every call.
    ///
    /// # Errors
    /// [`SyntheticError`] when it has none and gets none.
    ///
    /// # Security
    /// The target chooses names, as many as it likes.
    pub fn assign(&mut self, name: &HostName) -> Result<SyntheticAddresses, SyntheticError> {
        let place = self.key.hash_one(name.as_str());
        let v4_place = self.v4_place(place);
        match self.places.get(&place) {
            Some(known) if known != name => return Err(SyntheticError::Collision),
            Some(_) => {}
            None if self.places.len() >= self.most => return Err(SyntheticError::Full),
            None => {
                self.places.insert(place, name.clone());
                self.v4.entry(v4_place).or_insert(place);
            }
        }
        let owns_v4 = self.v4.get(&v4_place) == Some(&place);
        Ok(SyntheticAddresses {
            v4: owns_v4.then(|| Ipv4Addr::from_bits(v4_place)),
            v6: self.v6_address(place),
        })
    }

    /// The name that `address` stands for.
    ///
    /// # Security
    /// The target chooses the address.
    #[must_use]
    pub fn name_of(&self, address: IpAddr) -> Option<&HostName> {
        let place = match address.to_canonical() {
            IpAddr::V4(v4) => *self.v4.get(&v4.to_bits())?,
            IpAddr::V6(v6) => {
                let place = u64::try_from(v6.to_bits() & u128::from(u64::MAX)).ok()?;
                (self.v6_address(place) == v6).then_some(place)?
            }
        };
        self.places.get(&place)
    }

    /// Whether `address` lies in the networks that synthetic addresses come from, given out or not.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                (v4.to_bits() ^ self.network.v4.to_bits()) & !self.v4_host_mask() == 0
            }
            IpAddr::V6(v6) => v6.to_bits() >> 64 == self.v6_address(0).to_bits() >> 64,
        }
    }

    fn v4_host_mask(&self) -> u32 {
        let bits = u32::from(self.network.v4_prefix_bits.clamp(8, 24));
        u32::MAX >> bits
    }

    /// The IPv4 address of a place; never one that ends with 0 or 255, which some programs take for a network's own.
    fn v4_place(&self, place: u64) -> u32 {
        let mask = self.v4_host_mask();
        let thirds = u64::from(mask >> 8) + 1;
        let slot = place % (thirds * 254);
        let host = (slot / 254) << 8 | (slot % 254 + 1);
        let network = self.network.v4.to_bits() & !mask;
        network | (u32::try_from(host).unwrap_or(1) & mask)
    }

    fn v6_address(&self, place: u64) -> Ipv6Addr {
        let [a, b, c, d] = self.network.v6_prefix;
        let prefix = Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_bits();
        Ipv6Addr::from_bits(prefix | u128::from(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::{BuildHasherDefault, Hasher};

    /// A hash by the first letter, to make names meet.
    #[derive(Default)]
    struct FirstLetter(u64);

    impl Hasher for FirstLetter {
        fn finish(&self) -> u64 {
            self.0
        }

        fn write(&mut self, bytes: &[u8]) {
            match bytes {
                // Names with a digit share only the IPv4 place.
                [letter, digit @ b'0'..=b'9', ..] => {
                    let turns = u64::from(*digit) * 512 * 254;
                    self.0 = u64::from(*letter) + turns;
                }
                [letter, _, ..] => self.0 = u64::from(*letter),
                _ => {}
            }
        }
    }

    fn name(text: &str) -> HostName {
        HostName::parse(text.as_bytes()).unwrap()
    }

    fn meeting(most: usize) -> SyntheticNames<BuildHasherDefault<FirstLetter>> {
        SyntheticNames::with_key(
            SyntheticNetwork::default(),
            most,
            BuildHasherDefault::default(),
        )
    }

    #[test]
    fn a_name_keeps_its_addresses_and_they_lead_back_to_it() {
        let mut names = SyntheticNames::new(SyntheticNetwork::default(), 100);
        let first = names.assign(&name("example.com")).unwrap();
        names.assign(&name("www.example.com")).unwrap();
        assert_eq!(names.assign(&name("example.com")), Ok(first));
        let v4 = first.v4.unwrap();
        assert!(matches!(v4.octets(), [198, 18 | 19, _, 1..=254]));
        for address in [
            IpAddr::V4(v4),
            IpAddr::V6(first.v6),
            v4.to_ipv6_mapped().into(),
        ] {
            assert_eq!(names.name_of(address), Some(&name("example.com")));
            assert!(names.covers(address));
        }
        assert_eq!(names.name_of("11.22.33.44".parse().unwrap()), None);
        assert!(!names.covers("198.20.0.1".parse().unwrap()));
        assert!(!names.covers("fd00::1".parse().unwrap()));
    }

    #[test]
    fn who_comes_second_to_an_ipv4_place_gets_ipv6_alone() {
        let mut names = meeting(100);
        let first = names.assign(&name("a1.example")).unwrap();
        let second = names.assign(&name("a2.example")).unwrap();
        assert_eq!(second.v4, None);
        assert_ne!(first.v6, second.v6);
        let v4 = IpAddr::V4(first.v4.unwrap());
        assert_eq!(names.name_of(v4), Some(&name("a1.example")));
        assert_eq!(names.assign(&name("a2.example")), Ok(second));
        assert_eq!(
            names.name_of(IpAddr::V6(second.v6)),
            Some(&name("a2.example"))
        );
        // Who meets another in all 64 bits gets nothing.
        names.assign(&name("bx.example")).unwrap();
        assert_eq!(
            names.assign(&name("by.example")),
            Err(SyntheticError::Collision)
        );
    }

    #[test]
    fn a_full_table_keeps_what_it_has() {
        let mut names = meeting(2);
        let first = names.assign(&name("ax.example")).unwrap();
        names.assign(&name("bx.example")).unwrap();
        assert_eq!(names.assign(&name("cx.example")), Err(SyntheticError::Full));
        assert_eq!(names.assign(&name("ax.example")), Ok(first));
    }

    #[test]
    fn two_sessions_give_a_name_different_addresses() {
        let addresses = || {
            let mut names = SyntheticNames::new(SyntheticNetwork::default(), 100);
            names.assign(&name("example.com")).unwrap().v6
        };
        assert_ne!(addresses(), addresses());
    }

    proptest! {
        #[test]
        fn an_address_leads_to_its_name_or_to_none(texts in proptest::collection::vec("[a-z]{1,8}", 1..60), bits in 8_u8..=24) {
            let network = SyntheticNetwork { v4_prefix_bits: bits, ..SyntheticNetwork::default() };
            let mut names = SyntheticNames::new(network, 40);
            for text in &texts {
                let name = name(text);
                let Ok(addresses) = names.assign(&name) else { continue };
                prop_assert_eq!(names.name_of(IpAddr::V6(addresses.v6)), Some(&name));
                if let Some(v4) = addresses.v4 {
                    prop_assert_eq!(names.name_of(IpAddr::V4(v4)), Some(&name));
                    prop_assert!(names.covers(IpAddr::V4(v4)));
                }
            }
            prop_assert!(names.places.len() <= 40);
        }
    }
}
