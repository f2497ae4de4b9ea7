//! What a client's first bytes on an open connection are, and whether they are what was decided on.
//!
//! A connection that was allowed to one host must not be used to ask that host's neighbours for another: the server
//! name of TLS and the `Host` of HTTP have to be the allowed host. On 443 and 80 nothing but TLS and HTTP is spoken
//! (and SSH, whose first line must be nothing else); on other ports the protocol is recognised by its beginning, and
//! whatever some server may take for a request is one. Invariant: bytes are held back only while they can still become
//! TLS, SSH or HTTP.
//!
//! Sources: RFC 9112 §2.2 and §3 (empty lines before a request, white space in it), RFC 4253 §4.2 (SSH's first line).

use ringfence_policy::allow::ServerName;
use ringfence_policy::decision::Decision;
use ringfence_policy::host::Host;
use ringfence_policy::policy::NetworkPolicy;
use ringfence_policy::rule::RuleId;

use crate::hello::{ClientHello, EncryptedHello, HANDSHAKE_RECORD, HelloError};
use crate::http::{MAX_LINE, is_token};
use crate::progress::Progress;

/// The longest first line of SSH, with its end.
const MAX_SSH_LINE: usize = 255;

/// What a version of HTTP begins with.
const VERSION: &[u8] = b"HTTP/";

/// What a client begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstFlight {
    /// A TLS greeting for the host.
    Tls,
    /// A request of HTTP/1.
    Http,
    /// Something that names no host.
    Opaque,
}

/// Whom a client's greeting must be for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The host that was decided on.
    pub host: &'a Host,
    /// Its port.
    pub port: u16,
    /// Whether the server name of TLS must be the host.
    pub server_name: ServerName,
}

/// Why a client may not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FirstFlightError {
    /// The greeting can't be read.
    #[error("the TLS greeting can't be read")]
    Hello(#[source] HelloError),
    /// The greeting hides its server name.
    #[error("the TLS greeting is encrypted (ECH), so that its server name can't be known")]
    Encrypted,
    /// The greeting names no server.
    #[error("the TLS greeting has no server name")]
    NoServerName,
    /// The greeting names another server.
    #[error("the TLS greeting names {0}")]
    OtherServer(String),
    /// Something else than TLS at port 443.
    #[error("what is sent to port 443 is not TLS")]
    NotTls,
}

impl FirstFlightError {
    /// The refusal of it, with the option that lifts it where there is one.
    #[must_use]
    pub fn refusal(&self, policy: &NetworkPolicy, expected: &Expected<'_>) -> Decision {
        let grant = match self {
            Self::Encrypted | Self::NoServerName => {
                policy.grant_server_name(expected.host, expected.port)
            }
            // The other server has a name of its own, which a rule can allow.
            Self::Hello(_) | Self::OtherServer(_) | Self::NotTls => None,
        };
        Decision::Deny {
            rule: self.rule(),
            origin: self.to_string(),
            grant,
        }
    }

    /// The rule that refuses it.
    #[must_use]
    pub fn rule(&self) -> RuleId {
        match self {
            Self::Hello(_) | Self::NotTls => RuleId::Malformed,
            Self::Encrypted | Self::NoServerName | Self::OtherServer(_) => RuleId::HostMismatch,
        }
    }
}

impl FirstFlight {
    /// Judges the beginning of what a client sends where it is expected to go.
    ///
    /// # Errors
    /// [`FirstFlightError`].
    ///
    /// # Security
    /// The target chooses every byte, and how they arrive.
    pub fn parse(
        bytes: &[u8],
        expected: &Expected<'_>,
    ) -> Result<Progress<Self>, FirstFlightError> {
        let port = expected.port;
        let settled = |value| Ok(Progress::Done { value, used: 0 });
        let Some(first) = bytes.first() else {
            return Ok(Progress::NeedMore);
        };
        match is_ssh(bytes) {
            Beginning::Whole => return settled(Self::Opaque),
            Beginning::Part => return Ok(Progress::NeedMore),
            Beginning::No => {}
        }
        match port {
            443 if *first != HANDSHAKE_RECORD => Err(FirstFlightError::NotTls),
            443 => parse_hello(bytes, expected),
            80 => settled(Self::Http),
            _ => match is_beginning(bytes, &[HANDSHAKE_RECORD, 3]) {
                Beginning::Whole => parse_hello(bytes, expected),
                Beginning::Part => Ok(Progress::NeedMore),
                Beginning::No => match is_request_line(bytes) {
                    Beginning::Whole => settled(Self::Http),
                    Beginning::Part => Ok(Progress::NeedMore),
                    Beginning::No => settled(Self::Opaque),
                },
            },
        }
    }

    /// What a client has begun with that says no more than `bytes`; `None` for a beginning of TLS or HTTP, of which
    /// nothing can come any more.
    #[must_use]
    pub fn at_end(bytes: &[u8], port: u16) -> Option<Self> {
        let is_cut = match bytes.first() {
            None => false,
            Some(first) => [80, 443].contains(&port) || *first == HANDSHAKE_RECORD,
        };
        // Without a whole line it is no request to anybody.
        (!is_cut).then_some(Self::Opaque)
    }
}

/// Whether bytes begin with something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// They do.
    Whole,
    /// They may, when more of them come.
    Part,
    /// They don't.
    No,
}

fn is_beginning(bytes: &[u8], wanted: &[u8]) -> Beginning {
    if bytes.starts_with(wanted) {
        Beginning::Whole
    } else if wanted.starts_with(bytes) {
        Beginning::Part
    } else {
        Beginning::No
    }
}

/// Whether `bytes` begin with the whole first line of SSH: of a version that is spoken, and no request of HTTP whose
/// method begins alike.
fn is_ssh(bytes: &[u8]) -> Beginning {
    const VERSIONS: [&[u8]; 2] = [b"SSH-2.0-", b"SSH-1.99-"];
    let visible = bytes.get(..MAX_SSH_LINE).unwrap_or(bytes);
    let line = visible.split_inclusive(|byte| *byte == b'\n').next();
    let line = line.unwrap_or_default();
    let versions = VERSIONS.map(|version| is_beginning(line, version));
    if versions.contains(&Beginning::Whole) {
        match is_request_line(line) {
            Beginning::Whole => Beginning::No,
            Beginning::Part if visible.len() == MAX_SSH_LINE => Beginning::No,
            Beginning::Part => Beginning::Part,
            Beginning::No => Beginning::Whole,
        }
    } else if versions.contains(&Beginning::Part) {
        Beginning::Part
    } else {
        Beginning::No
    }
}

/// Whether `bytes` begin with what some server may take for the first line of a request: words of which one behind the
/// first is a version of HTTP. Servers skip empty lines before it, take any white space for the space, and any token
/// for a method.
fn is_request_line(bytes: &[u8]) -> Beginning {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let visible = bytes.get(..=MAX_LINE).unwrap_or(bytes);
    let start = visible.iter().position(|byte| !is_space(byte));
    let text = visible.get(start.unwrap_or(visible.len())..);
    let text = text.unwrap_or_default();
    let end = text.iter().position(|byte| *byte == b'\n');
    let line = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
    let mut words = line.split(is_space).filter(|word| !word.is_empty());
    if words.next().is_some_and(|method| !is_token(method)) {
        return Beginning::No;
    }
    for word in words {
        let version = word.get(..VERSION.len());
        if version.is_some_and(|start| start.eq_ignore_ascii_case(VERSION)) {
            return Beginning::Whole;
        }
        // Nobody takes these in a target.
        if word.iter().any(u8::is_ascii_control) {
            return Beginning::No;
        }
    }
    match end {
        Some(_) => Beginning::No,
        // Whoever reads requests says what is wrong with one that is too long.
        None if visible.len() > MAX_LINE => Beginning::Whole,
        None => Beginning::Part,
    }
}

fn parse_hello(
    bytes: &[u8],
    expected: &Expected<'_>,
) -> Result<Progress<FirstFlight>, FirstFlightError> {
    match ClientHello::parse(bytes).map_err(FirstFlightError::Hello)? {
        Progress::NeedMore => Ok(Progress::NeedMore),
        Progress::Done { value: hello, .. } => {
            match expected.server_name {
                ServerName::Same => check_hello(&hello, expected.host)?,
                ServerName::Any => {}
            }
            Ok(Progress::Done {
                value: FirstFlight::Tls,
                used: 0,
            })
        }
    }
}

/// Whether the greeting is for `host`; a client that connects to an address names no server.
fn check_hello(hello: &ClientHello, host: &Host) -> Result<(), FirstFlightError> {
    if hello.encrypted == EncryptedHello::Present {
        return Err(FirstFlightError::Encrypted);
    }
    match (&hello.server_name, host) {
        (Some(named), Host::Name(name)) if named == name => Ok(()),
        (Some(named), Host::Name(_) | Host::Address(_)) => {
            Err(FirstFlightError::OtherServer(named.as_str().to_owned()))
        }
        (None, Host::Address(_)) => Ok(()),
        (None, Host::Name(_)) => Err(FirstFlightError::NoServerName),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hello::tests::{message, records};
    use crate::progress::assert_prefix_stable;
    use proptest::prelude::*;

    fn host(text: &str) -> Host {
        Host::parse(text.as_bytes()).unwrap()
    }

    fn parse(bytes: &[u8], port: u16) -> Result<Progress<FirstFlight>, FirstFlightError> {
        let expected = Expected {
            host: &host("example.com"),
            port,
            server_name: ServerName::Same,
        };
        FirstFlight::parse(bytes, &expected)
    }

    fn settled(bytes: &[u8], port: u16) -> FirstFlight {
        match parse(bytes, port).unwrap() {
            Progress::Done { value, .. } => value,
            Progress::NeedMore => panic!("{}", bytes.escape_ascii()),
        }
    }

    #[test]
    fn protocols_are_known_by_their_beginning_on_any_port() {
        let hello = records(&message(Some(b"example.com"), &[]), 1 << 14);
        for port in [443, 8443] {
            assert_eq!(settled(&hello, port), FirstFlight::Tls);
            assert_eq!(settled(b"SSH-2.0-x y\r\nz", port), FirstFlight::Opaque);
        }
        for port in [80, 8080] {
            assert_eq!(settled(b"GET / HTTP/1.1", port), FirstFlight::Http);
            assert_eq!(settled(b"CONNECT a:1 HTTP/1.1", port), FirstFlight::Http);
        }
        assert_eq!(
            settled(b"\0\0\0\x08\x04\xd2\x16/", 5432),
            FirstFlight::Opaque
        );
        assert_eq!(settled(b"EHLO a.example\r\n", 25), FirstFlight::Opaque);
        assert_eq!(settled(b"USER a b c :d\r\n", 6667), FirstFlight::Opaque);
        assert_eq!(settled(b"@RSYNCD: 31.0\n", 873), FirstFlight::Opaque);
        assert_eq!(
            settled(b"0032git-upload-pack /a\0", 9418),
            FirstFlight::Opaque
        );
        assert_eq!(settled(b"PING\r\n", 6379), FirstFlight::Opaque);
        assert_eq!(settled(b"U\0\0\x01", 3306), FirstFlight::Opaque);
        assert_eq!(settled(b"\x16\0\0\0", 3306), FirstFlight::Opaque);
        assert_eq!(parse(b"GET / HT", 8080), Ok(Progress::NeedMore));
        assert_eq!(parse(b"GET / HTTP/1.1", 443), Err(FirstFlightError::NotTls));
        // The request parser says what is wrong with it.
        assert_eq!(settled(b"\0", 80), FirstFlight::Http);
    }

    #[test]
    fn the_greeting_must_be_for_the_host() {
        let read = |name: Option<&[u8]>, further: &[(u16, &[u8])], to: &str| {
            let bytes = records(&message(name, further), 1 << 14);
            let host = host(to);
            let expected = |server_name| Expected {
                host: &host,
                port: 443,
                server_name,
            };
            assert!(FirstFlight::parse(&bytes, &expected(ServerName::Any)).is_ok());
            FirstFlight::parse(&bytes, &expected(ServerName::Same)).map(drop)
        };
        assert_eq!(read(Some(b"EXAMPLE.com"), &[], "example.com"), Ok(()));
        assert_eq!(read(None, &[], "11.22.33.44"), Ok(()));
        assert_eq!(
            read(None, &[], "example.com"),
            Err(FirstFlightError::NoServerName)
        );
        for to in ["example.com", "11.22.33.44"] {
            assert_eq!(
                read(Some(b"evil.example"), &[], to),
                Err(FirstFlightError::OtherServer("evil.example".to_owned()))
            );
        }
        assert_eq!(
            read(Some(b"example.com"), &[(0xfe0d, b"")], "example.com"),
            Err(FirstFlightError::Encrypted)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_the_same_however_they_arrive(
            prefix in prop::sample::select(vec![&b""[..], b"SSH", b"SSH-2.0-", b"\r\n", b"GET ", b"GET / HTTP/1", b"\x16\x03\x01\x00\x05"]),
            tail in proptest::collection::vec(any::<u8>(), 0..30),
            port in prop::sample::select(vec![22_u16, 80, 443, 8080]),
        ) {
            assert_prefix_stable(&[prefix, &tail].concat(), |bytes| parse(bytes, port));
        }
    }
}
