//! The `ClientHello` of TLS: which server the client says it wants.
//!
//! Reads the greeting over as many records as it is cut into, up to 16 KiB; decrypts nothing and changes nothing: the
//! bytes go on as they came. Invariant: a greeting is read whole or refused, so that the name found here is the name
//! that the origin finds.
//!
//! Sources: RFC 8446 §4.1.2 and §5.1, RFC 6066 §3, the registry of TLS extensions.

use ringfence_policy::host::{HostError, HostName};

use crate::progress::{Cursor, Progress};

/// The first byte of a TLS record that carries a handshake.
pub const HANDSHAKE_RECORD: u8 = 22;

/// The most bytes that are looked at, with the heads of the records.
pub const MAX_HELLO: usize = 16 * 1024;

/// The fatal alert `access_denied` in a record of its own: the nearest thing to a refusal that TLS knows.
pub const ACCESS_DENIED_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

const CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ENCRYPTED_HELLO: u16 = 0xfe0d;
/// The draft before it.
const EXTENSION_ENCRYPTED_NAME: u16 = 0xffce;

/// What a client's greeting says about where it wants to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The name of the server; absent when the client connects to an address.
    pub server_name: Option<HostName>,
    /// Whether another greeting is hidden in this one.
    pub encrypted: EncryptedHello,
}

/// Whether a greeting hides another one (ECH), or pretends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncryptedHello {
    /// No.
    Absent,
    /// Yes: the name that is seen may not be the name that is meant.
    Present,
}

/// Why bytes are no greeting that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The first bytes are no handshake record of TLS.
    #[error("this is no TLS handshake")]
    NotTls,
    /// A record that is empty or larger than TLS allows.
    #[error("a TLS record is empty or too large")]
    RecordLength,
    /// More than [`MAX_HELLO`] bytes.
    #[error("the TLS greeting is larger than {MAX_HELLO} bytes")]
    TooLarge,
    /// Another message than a `ClientHello`.
    #[error("the TLS handshake does not begin with a ClientHello")]
    NotHello,
    /// Lengths inside it do not fit together.
    #[error("the TLS greeting is malformed")]
    Malformed,
    /// An extension twice.
    #[error("the TLS greeting holds an extension twice")]
    Repeated,
    /// Several server names, or one of an unknown kind.
    #[error("the TLS greeting does not hold exactly one server name")]
    ServerNames,
    /// A server name outside the grammar.
    #[error("the server name of the TLS greeting can't be read")]
    ServerName(#[source] HostError),
}

impl ClientHello {
    /// Reads a greeting from the beginning of what a client sends.
    ///
    /// # Errors
    /// [`HelloError`].
    ///
    /// # Security
    /// The target chooses every byte, and how they are cut into records.
    pub fn parse(bytes: &[u8]) -> Result<Progress<Self>, HelloError> {
        let mut cursor = Cursor::new(bytes);
        let mut message = Vec::new();
        loop {
            let (fragment, whole) = match read_fragment(&mut cursor)? {
                Fragment::Missing => return need_more(bytes),
                Fragment::Begun(fragment) => (fragment, false),
                Fragment::Whole(fragment) => (fragment, true),
            };
            message.extend_from_slice(fragment);
            let wanted = message_length(&message)?;
            if !whole {
                return need_more(bytes);
            }
            match wanted {
                Some(length) if message.len() == length => {
                    let value = parse_message(message.get(4..).unwrap_or_default())?;
                    let used = cursor.used();
                    if used > MAX_HELLO {
                        return Err(HelloError::TooLarge);
                    }
                    return Ok(Progress::Done { value, used });
                }
                // Another message behind the greeting in the same record: no client does that.
                Some(length) if message.len() > length => return Err(HelloError::Malformed),
                Some(_) | None => {}
            }
        }
    }
}

fn need_more(bytes: &[u8]) -> Result<Progress<ClientHello>, HelloError> {
    if bytes.len() >= MAX_HELLO {
        Err(HelloError::TooLarge)
    } else {
        Ok(Progress::NeedMore)
    }
}

enum Fragment<'a> {
    /// Not even the head of a record.
    Missing,
    /// The head and a part of the content.
    Begun(&'a [u8]),
    /// All of it.
    Whole(&'a [u8]),
}

fn read_fragment<'a>(cursor: &mut Cursor<'a>) -> Result<Fragment<'a>, HelloError> {
    match cursor.u8() {
        None => return Ok(Fragment::Missing),
        Some(HANDSHAKE_RECORD) => {}
        Some(_) => return Err(HelloError::NotTls),
    }
    match cursor.u8() {
        None => return Ok(Fragment::Missing),
        Some(3) => {}
        Some(_) => return Err(HelloError::NotTls),
    }
    let (Some(_minor), Some(length)) = (cursor.u8(), cursor.u16()) else {
        return Ok(Fragment::Missing);
    };
    if length == 0 || length > 1 << 14 {
        return Err(HelloError::RecordLength);
    }
    match cursor.take(usize::from(length)) {
        Some(content) => Ok(Fragment::Whole(content)),
        None => Ok(Fragment::Begun(cursor.rest())),
    }
}

/// The length of the whole message with its head, once that is there.
fn message_length(message: &[u8]) -> Result<Option<usize>, HelloError> {
    let mut cursor = Cursor::new(message);
    match cursor.u8() {
        None => return Ok(None),
        Some(CLIENT_HELLO) => {}
        Some(_) => return Err(HelloError::NotHello),
    }
    match cursor.u24() {
        None => Ok(None),
        Some(length) if length + 4 > MAX_HELLO => Err(HelloError::TooLarge),
        Some(length) => Ok(Some(length + 4)),
    }
}

fn parse_message(body: &[u8]) -> Result<ClientHello, HelloError> {
    let mut hello = ClientHello {
        server_name: None,
        encrypted: EncryptedHello::Absent,
    };
    let mut cursor = Cursor::new(body);
    let _version = cursor.u16().ok_or(HelloError::Malformed)?;
    let _random = cursor.take(32).ok_or(HelloError::Malformed)?;
    let _session = cursor.vector8().ok_or(HelloError::Malformed)?;
    let _suites = cursor.vector16().ok_or(HelloError::Malformed)?;
    let _compression = cursor.vector8().ok_or(HelloError::Malformed)?;
    if cursor.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Cursor::new(cursor.vector16().ok_or(HelloError::Malformed)?);
    if !cursor.is_empty() {
        return Err(HelloError::Malformed);
    }
    let mut seen = Vec::new();
    while !extensions.is_empty() {
        let kind = extensions.u16().ok_or(HelloError::Malformed)?;
        let content = extensions.vector16().ok_or(HelloError::Malformed)?;
        if seen.contains(&kind) {
            return Err(HelloError::Repeated);
        }
        seen.push(kind);
        match kind {
            EXTENSION_SERVER_NAME => hello.server_name = Some(parse_server_name(content)?),
            EXTENSION_ENCRYPTED_HELLO | EXTENSION_ENCRYPTED_NAME => {
                hello.encrypted = EncryptedHello::Present;
            }
            _ => {}
        }
    }
    Ok(hello)
}

fn parse_server_name(content: &[u8]) -> Result<HostName, HelloError> {
    let mut cursor = Cursor::new(content);
    let mut names = Cursor::new(cursor.vector16().ok_or(HelloError::Malformed)?);
    let kind = names.u8().ok_or(HelloError::Malformed)?;
    let name = names.vector16().ok_or(HelloError::Malformed)?;
    if kind != 0 || !names.is_empty() || !cursor.is_empty() {
        return Err(HelloError::ServerNames);
    }
    HostName::parse(name).map_err(HelloError::ServerName)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::progress::assert_prefix_stable;
    use proptest::prelude::*;

    /// A greeting for `name` with further extensions, as one handshake message.
    pub(crate) fn message(name: Option<&[u8]>, further: &[(u16, &[u8])]) -> Vec<u8> {
        let vector16 = |bytes: &[u8]| {
            let mut out = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
            out.extend_from_slice(bytes);
            out
        };
        let mut extensions = Vec::new();
        if let Some(name) = name {
            let entry = [&[0][..], &vector16(name)].concat();
            extensions.extend_from_slice(&EXTENSION_SERVER_NAME.to_be_bytes());
            extensions.extend_from_slice(&vector16(&vector16(&entry)));
        }
        for (kind, content) in further {
            extensions.extend_from_slice(&kind.to_be_bytes());
            extensions.extend_from_slice(&vector16(content));
        }
        let mut body = vec![3, 3];
        body.extend_from_slice(&[7; 32]);
        body.push(0);
        body.extend_from_slice(&[0, 2, 0x13, 1]);
        body.extend_from_slice(&[1, 0]);
        body.extend_from_slice(&vector16(&extensions));
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[CLIENT_HELLO], &length[1..], &body].concat()
    }

    /// A message cut into records of at most `size` bytes.
    pub(crate) fn records(message: &[u8], size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in message.chunks(size) {
            out.extend_from_slice(&[HANDSHAKE_RECORD, 3, 1]);
            out.extend_from_slice(&u16::try_from(piece.len()).unwrap().to_be_bytes());
            out.extend_from_slice(piece);
        }
        out
    }

    fn read(bytes: &[u8]) -> Result<ClientHello, HelloError> {
        match ClientHello::parse(bytes)? {
            Progress::Done { value, .. } => Ok(value),
            Progress::NeedMore => panic!("not whole"),
        }
    }

    #[test]
    fn the_name_is_found_however_the_greeting_is_cut() {
        let message = message(Some(b"Example.COM"), &[(0x2b, b"\x02\x03\x04")]);
        for size in [1, 2, 5, 40, 1 << 14] {
            let bytes = records(&message, size);
            let hello = read(&bytes).unwrap();
            assert_eq!(hello.server_name.unwrap().as_str(), "example.com");
            assert_eq!(hello.encrypted, EncryptedHello::Absent);
            assert_prefix_stable(&bytes, ClientHello::parse);
        }
    }

    #[test]
    fn a_hidden_greeting_is_seen() {
        for kind in [EXTENSION_ENCRYPTED_HELLO, EXTENSION_ENCRYPTED_NAME] {
            let bytes = records(&message(Some(b"example.com"), &[(kind, b"\0")]), 1 << 14);
            assert_eq!(read(&bytes).unwrap().encrypted, EncryptedHello::Present);
        }
        let bare = read(&records(&message(None, &[]), 1 << 14)).unwrap();
        assert_eq!(bare.server_name, None);
    }

    #[test]
    fn two_names_in_any_way_are_refused() {
        let entry = |name: &[u8]| {
            let length = u16::try_from(name.len()).unwrap().to_be_bytes();
            [&[0][..], &length, name].concat()
        };
        let both = [entry(b"example.com"), entry(b"evil.example")].concat();
        let length = u16::try_from(both.len()).unwrap().to_be_bytes();
        let list = [&length[..], &both].concat();
        let in_one_list = records(&message(None, &[(0, &list)]), 1 << 14);
        assert_eq!(read(&in_one_list), Err(HelloError::ServerNames));

        let single = entry(b"evil.example");
        let length = u16::try_from(single.len()).unwrap().to_be_bytes();
        let second = [&length[..], &single].concat();
        let twice = records(&message(Some(b"example.com"), &[(0, &second)]), 1 << 14);
        assert_eq!(read(&twice), Err(HelloError::Repeated));
    }

    #[test]
    fn names_outside_the_grammar_are_refused() {
        for name in [
            &b""[..],
            b"example.com\0",
            b"exam ple.com",
            b"127.0.0.1",
            b"127.1",
            b"\xff.example",
        ] {
            let bytes = records(&message(Some(name), &[]), 1 << 14);
            assert!(
                matches!(read(&bytes), Err(HelloError::ServerName(_))),
                "{name:?}"
            );
        }
    }

    #[test]
    fn what_is_no_greeting_is_refused_at_its_first_bytes() {
        assert_eq!(ClientHello::parse(b"GET / "), Err(HelloError::NotTls));
        // The greeting of SSL 2.
        assert_eq!(
            ClientHello::parse(&[0x80, 0x2e, 1, 3, 1]),
            Err(HelloError::NotTls)
        );
        assert_eq!(
            ClientHello::parse(&[22, 3, 1, 0, 0]),
            Err(HelloError::RecordLength)
        );
        assert_eq!(
            ClientHello::parse(&[22, 3, 1, 0xff, 0xff]),
            Err(HelloError::RecordLength)
        );
        assert_eq!(
            ClientHello::parse(&[22, 3, 1, 0, 4, 2]),
            Err(HelloError::NotHello)
        );
        assert_eq!(
            ClientHello::parse(&[22, 3, 1, 0, 4, 1, 1, 0, 0]),
            Err(HelloError::TooLarge)
        );
        // A second message behind it, and a record of another kind within it.
        let two = [message(Some(b"example.com"), &[]), vec![11]].concat();
        assert_eq!(read(&records(&two, 1 << 14)), Err(HelloError::Malformed));
        let mut cut = records(&message(Some(b"example.com"), &[]), 10);
        cut[15] = 23;
        assert_eq!(ClientHello::parse(&cut), Err(HelloError::NotTls));
    }

    #[test]
    fn a_greeting_in_tiny_records_ends_at_the_limit() {
        let padding = vec![0; 4000];
        let bytes = records(&message(Some(b"example.com"), &[(21, &padding)]), 1);
        assert!(bytes.len() > MAX_HELLO);
        assert_eq!(ClientHello::parse(&bytes), Err(HelloError::TooLarge));
        assert_eq!(
            ClientHello::parse(&bytes[..MAX_HELLO]),
            Err(HelloError::TooLarge)
        );
        assert_eq!(
            ClientHello::parse(&bytes[..MAX_HELLO - 1]),
            Ok(Progress::NeedMore)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_the_same_however_they_arrive(
            tail in proptest::collection::vec(any::<u8>(), 0..200),
            prefix in prop::sample::select(vec![&b""[..], &[22, 3, 1], &[22, 3, 1, 0, 60, 1, 0, 0, 56]]),
        ) {
            assert_prefix_stable(&[prefix, &tail].concat(), ClientHello::parse);
        }

        #[test]
        fn a_changed_greeting_never_panics_and_is_answered_the_same_however_it_arrives(
            at in 0_usize..100, to: u8, size in 1_usize..200,
        ) {
            let mut bytes = records(&message(Some(b"www.example.com"), &[(0xfe0d, b"xyz"), (10, b"ab")]), size);
            let at = at % bytes.len();
            bytes[at] = to;
            assert_prefix_stable(&bytes, ClientHello::parse);
        }
    }
}
