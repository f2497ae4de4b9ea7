//! SOCKS5 (RFC 1928): the greeting and the request, without authentication.
//!
//! Only `CONNECT` is spoken; a name may be given as a name or as the text of an address. Invariant: the host that
//! is answered for is the host of the strict grammar, whatever form it came in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringfence_policy::host::{Host, HostError};

use crate::progress::{Cursor, Progress};

/// The first byte of everything that a client of this version sends.
pub const VERSION: u8 = 5;

/// The first byte of what a client of the version before sends.
pub const OLD_VERSION: u8 = 4;

/// The answer to such a client: rejected.
pub const OLD_VERSION_REFUSED: [u8; 8] = [0, 91, 0, 0, 0, 0, 0, 0];

/// Authentication: none.
const NO_AUTHENTICATION: u8 = 0;

/// The answer to a greeting that offers what is spoken here.
pub const GREETING_ACCEPTED: [u8; 2] = [VERSION, NO_AUTHENTICATION];

/// The answer to a greeting that does not.
pub const GREETING_REFUSED: [u8; 2] = [VERSION, 0xff];

/// A client's greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Whether it can do without authentication.
    pub authentication: Authentication,
}

/// What a client can do to prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Nothing needs to be proved.
    NoneOffered,
    /// It insists on something else.
    Required,
}

/// What a client wants to be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The host.
    pub host: Host,
    /// The port, not 0.
    pub port: u16,
}

/// The outcome that a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Connected.
    Succeeded,
    /// Something here failed.
    GeneralFailure,
    /// The policy refuses it.
    NotAllowed,
    /// No address answered.
    HostUnreachable,
    /// The origin refused.
    ConnectionRefused,
    /// Nobody answered in time.
    TimedOut,
    /// Another command than `CONNECT`.
    CommandNotSupported,
    /// Another kind of address than a name, IPv4 or IPv6.
    AddressNotSupported,
}

/// Why bytes are no greeting and no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SocksError {
    /// Another version.
    #[error("this is not SOCKS version 5")]
    Version,
    /// `BIND`, `UDP ASSOCIATE` or something unknown.
    #[error("only CONNECT is served")]
    Command,
    /// A reserved byte that is not zero.
    #[error("a reserved byte is not zero")]
    Reserved,
    /// A kind of address that is not known.
    #[error("the kind of address is not known")]
    AddressType,
    /// A host that can't be read.
    #[error("the host can't be read")]
    Host(#[source] HostError),
    /// Port 0.
    #[error("the port is 0")]
    Port,
}

impl SocksError {
    /// What the client is told.
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self {
            Self::Command => Reply::CommandNotSupported,
            Self::AddressType => Reply::AddressNotSupported,
            Self::Host(_) | Self::Port => Reply::NotAllowed,
            Self::Version | Self::Reserved => Reply::GeneralFailure,
        }
    }
}

impl Greeting {
    /// Reads a greeting.
    ///
    /// # Errors
    /// [`SocksError::Version`].
    ///
    /// # Security
    /// The target chooses every byte.
    pub fn parse(bytes: &[u8]) -> Result<Progress<Self>, SocksError> {
        let mut cursor = Cursor::new(bytes);
        match cursor.u8() {
            None => return Ok(Progress::NeedMore),
            Some(VERSION) => {}
            Some(_) => return Err(SocksError::Version),
        }
        let Some(methods) = cursor.vector8() else {
            return Ok(Progress::NeedMore);
        };
        let authentication = if methods.contains(&NO_AUTHENTICATION) {
            Authentication::NoneOffered
        } else {
            Authentication::Required
        };
        Ok(Progress::Done {
            value: Self { authentication },
            used: cursor.used(),
        })
    }
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// [`SocksError`], at the first bad byte.
    ///
    /// # Security
    /// The target chooses every byte.
    pub fn parse(bytes: &[u8]) -> Result<Progress<Self>, SocksError> {
        let mut cursor = Cursor::new(bytes);
        let checks = [
            (VERSION, SocksError::Version),
            (1, SocksError::Command),
            (0, SocksError::Reserved),
        ];
        for (expected, error) in checks {
            match cursor.u8() {
                None => return Ok(Progress::NeedMore),
                Some(byte) if byte == expected => {}
                Some(_) => return Err(error),
            }
        }
        let host = match cursor.u8() {
            None => return Ok(Progress::NeedMore),
            Some(1) => cursor
                .array::<4>()
                .map(|octets| Ok(Host::Address(IpAddr::V4(Ipv4Addr::from(octets))))),
            Some(3) => cursor.vector8().map(parse_name),
            Some(4) => cursor
                .array::<16>()
                .map(|octets| Ok(Host::Address(IpAddr::V6(Ipv6Addr::from(octets))))),
            Some(_) => return Err(SocksError::AddressType),
        };
        let (Some(host), Some(port)) = (host, cursor.u16()) else {
            return Ok(Progress::NeedMore);
        };
        let host = host.map_err(SocksError::Host)?;
        if port == 0 {
            return Err(SocksError::Port);
        }
        Ok(Progress::Done {
            value: Self { host, port },
            used: cursor.used(),
        })
    }
}

/// A name, or the text of an address: clients pass on what a person typed.
fn parse_name(bytes: &[u8]) -> Result<Host, HostError> {
    let v6 = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.contains(':'))
        .and_then(|text| text.parse::<Ipv6Addr>().ok());
    match v6 {
        Some(address) => Ok(Host::Address(IpAddr::V6(address))),
        None => Host::parse(bytes),
    }
}

impl Reply {
    /// As it stands on the wire; the bound address is left at zero, since nothing of ours is for the client to reach.
    #[must_use]
    pub fn bytes(self) -> [u8; 10] {
        let code = match self {
            Self::Succeeded => 0,
            Self::GeneralFailure => 1,
            Self::NotAllowed => 2,
            Self::HostUnreachable => 4,
            Self::ConnectionRefused => 5,
            Self::TimedOut => 6,
            Self::CommandNotSupported => 7,
            Self::AddressNotSupported => 8,
        };
        [VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::assert_prefix_stable;
    use proptest::prelude::*;

    fn request(kind: u8, address: &[u8], port: u16) -> Vec<u8> {
        let mut bytes = vec![VERSION, 1, 0, kind];
        bytes.extend_from_slice(address);
        bytes.extend_from_slice(&port.to_be_bytes());
        bytes
    }

    fn named(name: &[u8], port: u16) -> Vec<u8> {
        let mut address = vec![u8::try_from(name.len()).unwrap()];
        address.extend_from_slice(name);
        request(3, &address, port)
    }

    fn read(bytes: &[u8]) -> Result<(String, u16), SocksError> {
        match Request::parse(bytes)? {
            Progress::Done { value, used } => {
                assert_eq!(used, bytes.len());
                Ok((value.host.to_string(), value.port))
            }
            Progress::NeedMore => panic!("not whole"),
        }
    }

    #[test]
    fn every_form_of_address_is_read() {
        for (bytes, expected) in [
            (named(b"Example.com", 443), "example.com"),
            (named(b"11.22.33.44", 443), "11.22.33.44"),
            (named(b"2606:2800::1", 443), "[2606:2800::1]"),
            (named(b"[2606:2800::1]", 443), "[2606:2800::1]"),
            (request(1, &[11, 22, 33, 44], 443), "11.22.33.44"),
            (
                request(
                    4,
                    &"2606:2800::1".parse::<Ipv6Addr>().unwrap().octets(),
                    443,
                ),
                "[2606:2800::1]",
            ),
        ] {
            assert_eq!(read(&bytes), Ok((expected.to_owned(), 443)));
            assert_prefix_stable(&bytes, Request::parse);
        }
    }

    #[test]
    fn names_outside_the_grammar_are_refused() {
        for name in [
            &b""[..],
            b"exa mple.com",
            b"example.com\0.evil.example",
            b"example.com\r\n",
            b"user@example.com",
            b"127.1",
            b"2130706433",
            b"0x7f.0.0.1",
            b"fe80::1%eth0",
            b"example.com:80",
        ] {
            let error = read(&named(name, 443)).unwrap_err();
            assert!(matches!(error, SocksError::Host(_)), "{name:?}: {error}");
            assert_eq!(error.reply(), Reply::NotAllowed);
        }
    }

    #[test]
    fn what_is_not_a_connect_of_version_5_is_refused() {
        assert_eq!(Request::parse(&[4, 1]), Err(SocksError::Version));
        assert_eq!(Request::parse(&[5, 2]), Err(SocksError::Command));
        assert_eq!(Request::parse(&[5, 3]), Err(SocksError::Command));
        assert_eq!(Request::parse(&[5, 1, 1]), Err(SocksError::Reserved));
        assert_eq!(Request::parse(&[5, 1, 0, 2]), Err(SocksError::AddressType));
        assert_eq!(read(&named(b"example.com", 0)), Err(SocksError::Port));
        assert_eq!(Greeting::parse(&[4, 1, 0]), Err(SocksError::Version));
    }

    #[test]
    fn a_greeting_says_whether_nothing_needs_to_be_proved() {
        for (bytes, expected) in [
            (&[5, 1, 0][..], Authentication::NoneOffered),
            (&[5, 2, 2, 0], Authentication::NoneOffered),
            (&[5, 1, 2], Authentication::Required),
            (&[5, 0], Authentication::Required),
        ] {
            let Ok(Progress::Done { value, .. }) = Greeting::parse(bytes) else {
                panic!("{bytes:?}")
            };
            assert_eq!(value.authentication, expected);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_the_same_however_they_arrive(
            tail in proptest::collection::vec(any::<u8>(), 0..80),
            prefix in prop::sample::select(vec![&b""[..], &[5], &[5, 1, 0], &[5, 1, 0, 1], &[5, 1, 0, 3, 11], &[5, 1, 0, 4]]),
        ) {
            let bytes = [prefix, &tail].concat();
            assert_prefix_stable(&bytes, Request::parse);
            assert_prefix_stable(&bytes, Greeting::parse);
        }
    }
}
