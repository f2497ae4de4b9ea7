//! The lines of a head: where they end, what may stand in them, and which headers concern only one hop.
//!
//! Decides nothing about their meaning. Invariant: a line is judged as soon as it is complete, in order, so that a
//! bad line is found however the bytes arrive.

use crate::progress::Progress;

/// The most bytes of a whole head.
pub const MAX_HEAD: usize = 32 * 1024;

/// The most bytes of one line, without its end.
pub const MAX_LINE: usize = 16 * 1024;

/// The most header lines.
pub const MAX_HEADERS: usize = 128;

/// One header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name as it was written: a token.
    pub name: &'a [u8],
    /// The value without the spaces around it.
    pub value: &'a [u8],
}

impl Header<'_> {
    /// Whether this is the header `name`.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: the connection closes unless both want otherwise; no chunks.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    /// As it stands on the wire.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes {
            b"HTTP/1.0" => Some(Self::Http10),
            b"HTTP/1.1" => Some(Self::Http11),
            _ => None,
        }
    }
}

/// Whether the connection stays open after this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Another message may follow.
    KeepAlive,
    /// This is the last one.
    Close,
}

/// Why the lines of a head can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A line feed without a carriage return before it.
    #[error("a line ends without a carriage return")]
    BareLineFeed,
    /// A line of more than [`MAX_LINE`] bytes.
    #[error("a line is longer than {MAX_LINE} bytes")]
    LineTooLong,
    /// A head of more than [`MAX_HEAD`] bytes.
    #[error("the head is larger than {MAX_HEAD} bytes")]
    HeadTooLarge,
    /// More than [`MAX_HEADERS`] header lines.
    #[error("there are more than {MAX_HEADERS} header lines")]
    TooManyHeaders,
    /// A header line that continues the one before.
    #[error("a header line is folded")]
    Folded,
    /// A header line without a colon, or whose name is no token.
    #[error("a header has no name or a bad one")]
    HeaderName,
    /// A control character in a header's value.
    #[error("a header's value holds a control character")]
    HeaderValue,
}

/// The first line and the headers of a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lines<'a> {
    pub(super) first: &'a [u8],
    pub(super) headers: Vec<Header<'a>>,
}

/// Reads a head; `check_first` judges the first line as soon as it is complete.
pub(super) fn parse_lines<'a, E: From<LineError>>(
    bytes: &'a [u8],
    check_first: impl FnOnce(&'a [u8]) -> Result<(), E>,
) -> Result<Progress<Lines<'a>>, E> {
    let Some((first, mut used)) = next_line(bytes, 0)? else {
        return Ok(Progress::NeedMore);
    };
    check_first(first)?;
    let mut headers = Vec::new();
    loop {
        let Some((line, end)) = next_line(bytes, used)? else {
            return Ok(Progress::NeedMore);
        };
        used = end;
        if line.is_empty() {
            let value = Lines { first, headers };
            return Ok(Progress::Done { value, used });
        }
        if headers.len() == MAX_HEADERS {
            return Err(LineError::TooManyHeaders.into());
        }
        headers.push(parse_header(line)?);
    }
}

/// The line that begins at `start` without its end, and where the next one begins.
fn next_line(bytes: &[u8], start: usize) -> Result<Option<(&[u8], usize)>, LineError> {
    let (window, too_long) = if MAX_HEAD - start < MAX_LINE + 2 {
        (MAX_HEAD - start, LineError::HeadTooLarge)
    } else {
        (MAX_LINE + 2, LineError::LineTooLong)
    };
    let rest = bytes.get(start..).unwrap_or_default();
    let visible = rest.get(..window).unwrap_or(rest);
    match visible.iter().position(|byte| *byte == b'\n') {
        Some(feed) => {
            let line = visible
                .get(..feed)
                .and_then(|line| line.strip_suffix(b"\r"))
                .ok_or(LineError::BareLineFeed)?;
            Ok(Some((line, start + feed + 1)))
        }
        None if visible.len() == window => Err(too_long),
        None => Ok(None),
    }
}

fn parse_header(line: &[u8]) -> Result<Header<'_>, LineError> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(LineError::Folded);
    }
    let colon = line
        .iter()
        .position(|byte| *byte == b':')
        .ok_or(LineError::HeaderName)?;
    let (name, rest) = line.split_at(colon);
    if !is_token(name) {
        return Err(LineError::HeaderName);
    }
    let value = trim(rest.strip_prefix(b":").unwrap_or(rest));
    if !is_field_text(value) {
        return Err(LineError::HeaderValue);
    }
    Ok(Header { name, value })
}

/// Whether `bytes` may stand in a header's value or a reason phrase: no control character but the tab.
pub(super) fn is_field_text(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}

/// Whether `bytes` is a token of RFC 9110.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    let is_token_byte =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_token_byte)
}

/// `bytes` without the spaces and tabs around it.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = bytes.iter().position(|byte| !is_space(byte));
    let end = bytes.iter().rposition(|byte| !is_space(byte));
    match (start, end) {
        (Some(start), Some(end)) => bytes.get(start..=end).unwrap_or_default(),
        (None, _) | (_, None) => &[],
    }
}

/// The words of a list header: `a, b`.
pub(super) fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(trim)
        .filter(|word| !word.is_empty())
}

/// Headers that say how the message is framed or whose it is; no `Connection` header may take them away.
const NEVER_LISTED: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];

/// Headers that concern one hop, and what replaces them is written anew.
const HOP_BY_HOP: [&str; 12] = [
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-authentication-info",
];

/// What the `Connection` headers of a message say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct ConnectionWords {
    close: bool,
    keep_alive: bool,
}

impl ConnectionWords {
    /// Reads them; `None` when they list a header that must stay.
    pub(super) fn read(headers: &[Header<'_>]) -> Option<Self> {
        let mut found = Self::default();
        for word in connection_words(headers) {
            found.close |= word.eq_ignore_ascii_case(b"close");
            found.keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
            if NEVER_LISTED
                .iter()
                .any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
            {
                return None;
            }
        }
        Some(found)
    }

    pub(super) fn persistence(self, version: Version) -> Persistence {
        match version {
            Version::Http11 if !self.close => Persistence::KeepAlive,
            Version::Http10 if self.keep_alive && !self.close => Persistence::KeepAlive,
            Version::Http10 | Version::Http11 => Persistence::Close,
        }
    }
}

fn connection_words<'a>(headers: &'a [Header<'a>]) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(|header| header.is("connection") || header.is("proxy-connection"))
        .flat_map(|header| words(header.value))
}

/// Whether a `Connection` header names `upgrade`.
pub(super) fn names_upgrade(headers: &[Header<'_>]) -> bool {
    connection_words(headers).any(|word| word.eq_ignore_ascii_case(b"upgrade"))
}

/// Writes the headers of a change to `protocol`.
pub(super) fn write_change(protocol: &str, out: &mut Vec<u8>) {
    write_header(b"Connection", b"upgrade", out);
    write_header(b"Upgrade", protocol.as_bytes(), out);
}

/// Writes the headers that go on to the next hop.
pub(super) fn write_end_to_end(headers: &[Header<'_>], also_not: &str, out: &mut Vec<u8>) {
    for header in headers {
        let hop = header.is(also_not)
            || HOP_BY_HOP.iter().any(|name| header.is(name))
            || connection_words(headers).any(|word| word.eq_ignore_ascii_case(header.name));
        if !hop {
            write_header(header.name, header.value, out);
        }
    }
}

/// Writes one header line.
pub(super) fn write_header(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// How a message says where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// It does not say.
    Unsaid,
    /// By a number of bytes.
    Length(u64),
    /// By chunks.
    Chunked,
}

/// Reads the framing; `None` when it is said twice, in two ways, or in a way that is not known.
pub(super) fn read_framing(headers: &[Header<'_>], version: Version) -> Option<Framing> {
    let mut found = Framing::Unsaid;
    for header in headers {
        let said = if header.is("content-length") {
            Framing::Length(parse_length(header.value)?)
        } else if header.is("transfer-encoding") {
            let chunked =
                header.value.eq_ignore_ascii_case(b"chunked") && version == Version::Http11;
            chunked.then_some(Framing::Chunked)?
        } else {
            continue;
        };
        if found != Framing::Unsaid {
            return None;
        }
        found = said;
    }
    Some(found)
}

/// Digits alone: no sign, no list, no space.
fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok()?;
    digits.then(|| text.parse().ok()).flatten()
}
