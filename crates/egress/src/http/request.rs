//! The head of a request: what is asked of whom, and how its body ends.
//!
//! Knows absolute form, origin form and `CONNECT`. `h2c` is stripped, any other upgrade only named: whether it may
//! be is decided elsewhere, and it goes on only when [`RequestHead::write_forward`] is told so. Invariant: in every form the host that is asked for stands in one place of the result,
//! and a `Host` header that says another is an error.

use std::io::Write as _;

use ringfence_policy::host::{Host, HostError, parse_port};

use super::head::{
    ConnectionWords, Framing, Header, LineError, Lines, Persistence, Version, is_token,
    names_upgrade, parse_lines, read_framing, words, write_change, write_end_to_end, write_header,
};
use crate::progress::Progress;

/// The longest method.
const MAX_METHOD: usize = 32;

/// The first line of HTTP/2 (RFC 9113, 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0";

/// How a request travels, which decides what a missing port means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Inside TLS that was terminated.
    Https,
}

impl Scheme {
    fn usual_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// What stands before the host in absolute form.
    fn prefix(self) -> &'static str {
        match self {
            Self::Http => "http://",
            Self::Https => "https://",
        }
    }
}

/// A host and a port, as a request names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port; the scheme's where none was written.
    pub port: u16,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `CONNECT host:port`: a tunnel.
    Tunnel(Authority),
    /// `GET http://host/path`: a resource of a host that the proxy shall fetch.
    Absolute {
        /// Whose.
        authority: Authority,
        /// The path and query, never empty.
        path: &'a str,
    },
    /// `GET /path`, or `OPTIONS *`: a resource of the host that the caller believes to talk to.
    Origin {
        /// The `Host` header; only HTTP/1.0 may leave it out.
        authority: Option<Authority>,
        /// The path and query, or `*`.
        path: &'a str,
    },
}

/// How the body of a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// After so many bytes; 0 for none.
    Bytes(u64),
    /// With the last chunk.
    Chunked,
}

/// Whether a request asks for another protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// It does not, or only for `h2c`, which is left out.
    None,
    /// It does: a WebSocket for one.
    Wanted,
}

/// What becomes of a change of protocol that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changing<'a> {
    /// It is left out.
    Nothing,
    /// It goes on, to this protocol.
    To(&'a str),
}

/// A request without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead<'a> {
    /// The method: capital letters and `-`.
    pub method: &'a str,
    /// What is asked for.
    pub target: Target<'a>,
    /// The caller's version.
    pub version: Version,
    /// How the body ends.
    pub body: BodyLength,
    /// Whether the caller may send another request.
    pub persistence: Persistence,
    /// Whether it asks for another protocol.
    pub upgrade: Upgrade,
    headers: Vec<Header<'a>>,
}

/// Why bytes are no request that may go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The lines can't be read.
    #[error("the head of the request can't be read")]
    Lines(#[source] LineError),
    /// Not `METHOD TARGET HTTP/1.x`.
    #[error("the request line is not `METHOD TARGET HTTP/1.1`")]
    RequestLine,
    /// HTTP/2 that was not asked for first.
    #[error("this is HTTP/2 in the clear, whose hosts are not read here: use HTTP/1.1, or TLS")]
    Http2,
    /// The method is no word of capital letters.
    #[error("the method is not a word of capital letters")]
    Method,
    /// The target is none of the three forms, or holds what may not stand there.
    #[error("the target is neither a path, nor `http://HOST/PATH`, nor HOST:PORT")]
    Target,
    /// The host in the target or in `Host` can't be read.
    #[error("the host can't be read")]
    Host(#[source] HostError),
    /// No `Host` header, or more than one.
    #[error("there must be one Host header")]
    HostCount,
    /// `Host` names another host than the target.
    #[error("the Host header names another host than the request line")]
    HostDiffers,
    /// Two lengths, a length and chunks, or an unknown transfer coding.
    #[error("the length of the body is said in two ways, or in none that is known")]
    Framing,
    /// `Connection` lists a header that must go on.
    #[error("the Connection header takes away a header that must stay")]
    ConnectionHeader,
    /// `Expect` for anything but `100-continue`.
    #[error("it expects something other than 100-continue")]
    Expectation,
}

impl From<LineError> for RequestError {
    fn from(error: LineError) -> Self {
        Self::Lines(error)
    }
}

impl<'a> RequestHead<'a> {
    /// Reads the head of a request that came in the clear.
    ///
    /// # Errors
    /// [`RequestError`], as soon as the first bad line is complete.
    ///
    /// # Security
    /// The target chooses every byte.
    pub fn parse(bytes: &'a [u8]) -> Result<Progress<Self>, RequestError> {
        Self::parse_over(bytes, Scheme::Http)
    }

    /// Reads the head of a request that came by `scheme`.
    ///
    /// # Errors
    /// As [`RequestHead::parse`].
    ///
    /// # Security
    /// The target chooses every byte.
    pub fn parse_over(bytes: &'a [u8], scheme: Scheme) -> Result<Progress<Self>, RequestError> {
        let progress = parse_lines(bytes, |first| RequestLine::parse(first, scheme).map(drop))?;
        match progress {
            Progress::NeedMore => Ok(Progress::NeedMore),
            Progress::Done { value, used } => Ok(Progress::Done {
                value: Self::from_lines(value, scheme)?,
                used,
            }),
        }
    }

    fn from_lines(lines: Lines<'a>, scheme: Scheme) -> Result<Self, RequestError> {
        let line = RequestLine::parse(lines.first, scheme)?;
        let headers = lines.headers;
        let host = read_host(&headers, line.version)?;
        let target = line.target.with_host(host, scheme)?;
        let framing = read_framing(&headers, line.version).ok_or(RequestError::Framing)?;
        let body = match (framing, &target) {
            (Framing::Unsaid, _) => BodyLength::Bytes(0),
            (Framing::Length(_) | Framing::Chunked, Target::Tunnel(_)) => {
                return Err(RequestError::Framing);
            }
            (Framing::Length(bytes), _) => BodyLength::Bytes(bytes),
            (Framing::Chunked, _) => BodyLength::Chunked,
        };
        let expects_other = headers.iter().any(|header| {
            header.is("expect") && !header.value.eq_ignore_ascii_case(b"100-continue")
        });
        if expects_other {
            return Err(RequestError::Expectation);
        }
        let connection = ConnectionWords::read(&headers).ok_or(RequestError::ConnectionHeader)?;
        Ok(Self {
            method: line.method,
            target,
            version: line.version,
            body,
            persistence: connection.persistence(line.version),
            upgrade: read_upgrade(&headers),
            headers,
        })
    }

    /// The headers as they were written.
    #[must_use]
    pub fn headers(&self) -> &[Header<'a>] {
        &self.headers
    }

    /// Writes the head anew, in origin form, for `authority`: without what concerns one hop, with one length.
    pub fn write_forward(
        &self,
        authority: &Authority,
        scheme: Scheme,
        changing: Changing<'_>,
        out: &mut Vec<u8>,
    ) {
        let path = match &self.target {
            Target::Absolute { path, .. } | Target::Origin { path, .. } => path,
            // A tunnel has no path and is never forwarded as a request.
            Target::Tunnel(_) => "*",
        };
        // Writing to a Vec can't fail.
        let _ = write!(
            out,
            "{} {path} {}\r\nHost: {}\r\n",
            self.method,
            self.version.text(),
            authority.written(scheme)
        );
        write_end_to_end(&self.headers, "host", out);
        match self.body {
            BodyLength::Bytes(0) if !self.says_length() => {}
            BodyLength::Bytes(bytes) => {
                write_header(b"Content-Length", bytes.to_string().as_bytes(), out);
            }
            BodyLength::Chunked => write_header(b"Transfer-Encoding", b"chunked", out),
        }
        match changing {
            Changing::Nothing => {}
            Changing::To(protocol) => write_change(protocol, out),
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The only protocol that it asks for, in lower case; `None` for several, and for a request that can't ask: not GET,
    /// with a body, without naming `upgrade` in `Connection`, or of HTTP/1.0 (RFC 9110, 7.8; RFC 6455, 4.1).
    #[must_use]
    pub fn wanted_protocol(&self) -> Option<String> {
        let mut wanted = wanted_protocols(&self.headers);
        let (Some(protocol), None) = (wanted.next(), wanted.next()) else {
            return None;
        };
        let can_ask = self.method == "GET"
            && self.version == Version::Http11
            && self.body == BodyLength::Bytes(0)
            && names_upgrade(&self.headers);
        let name = std::str::from_utf8(protocol).ok();
        let name = name.filter(|name| is_token(protocol) && name.len() <= 64);
        name.filter(|_| can_ask).map(str::to_ascii_lowercase)
    }

    fn says_length(&self) -> bool {
        self.headers
            .iter()
            .any(|header| header.is("content-length"))
    }
}

impl Authority {
    /// As a `Host` header has it: without the scheme's own port.
    fn written(&self, scheme: Scheme) -> String {
        if self.port == scheme.usual_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl std::fmt::Display for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.written(Scheme::Http))
    }
}

struct RequestLine<'a> {
    method: &'a str,
    target: Target<'a>,
    version: Version,
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a [u8], scheme: Scheme) -> Result<Self, RequestError> {
        if line == HTTP2 {
            return Err(RequestError::Http2);
        }
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(RequestError::RequestLine);
        };
        let version = Version::parse(version).ok_or(RequestError::RequestLine)?;
        let capitals = method
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || *byte == b'-');
        if !capitals || !is_token(method) || method.len() > MAX_METHOD {
            return Err(RequestError::Method);
        }
        let method = std::str::from_utf8(method).map_err(|_| RequestError::Method)?;
        let visible = target
            .iter()
            .all(|byte| byte.is_ascii_graphic() && *byte != b'#');
        if !visible {
            return Err(RequestError::Target);
        }
        let target = std::str::from_utf8(target).map_err(|_| RequestError::Target)?;
        let target = Target::parse(method, target, scheme)?;
        Ok(Self {
            method,
            target,
            version,
        })
    }
}

impl<'a> Target<'a> {
    fn parse(method: &str, target: &'a str, scheme: Scheme) -> Result<Self, RequestError> {
        if method == "CONNECT" {
            let (authority, port) = parse_authority(target.as_bytes())?;
            let port = port.ok_or(RequestError::Target)?;
            return Ok(Self::Tunnel(authority_at(authority, port)));
        }
        let origin = target.starts_with('/') || (target == "*" && method == "OPTIONS");
        if origin {
            return Ok(Self::Origin {
                authority: None,
                path: target,
            });
        }
        let prefix = scheme.prefix();
        let (written, rest) = target
            .split_at_checked(prefix.len())
            .ok_or(RequestError::Target)?;
        if !written.eq_ignore_ascii_case(prefix) {
            return Err(RequestError::Target);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = parse_authority(authority.as_bytes())?;
        let path = match path {
            "" => "/",
            // A query without a path would need a slash in front of it: nobody writes that but to confuse.
            path if path.starts_with('?') => return Err(RequestError::Target),
            path => path,
        };
        Ok(Self::Absolute {
            authority: authority_at(host, port.unwrap_or(scheme.usual_port())),
            path,
        })
    }

    /// The target together with the `Host` header, which must not say another.
    fn with_host(
        self,
        host: Option<(Host, Option<u16>)>,
        scheme: Scheme,
    ) -> Result<Self, RequestError> {
        let Some((host, port)) = host else {
            return Ok(self);
        };
        let named = match &self {
            Self::Origin { path, .. } => {
                return Ok(Self::Origin {
                    authority: Some(authority_at(host, port.unwrap_or(scheme.usual_port()))),
                    path,
                });
            }
            Self::Tunnel(authority) => {
                // Some clients leave the port out here, since there is no scheme to tell the usual one.
                let port = port.unwrap_or(authority.port);
                (authority, authority_at(host, port))
            }
            Self::Absolute { authority, .. } => (
                authority,
                authority_at(host, port.unwrap_or(scheme.usual_port())),
            ),
        };
        if *named.0 == named.1 {
            Ok(self)
        } else {
            Err(RequestError::HostDiffers)
        }
    }
}

fn authority_at(host: Host, port: u16) -> Authority {
    Authority { host, port }
}

/// `HOST` or `HOST:PORT`; a user name before the host is refused with every other `@`.
fn parse_authority(bytes: &[u8]) -> Result<(Host, Option<u16>), RequestError> {
    let after_brackets = bytes
        .iter()
        .rposition(|byte| *byte == b']')
        .map_or(0, |end| end + 1);
    let tail = bytes.get(after_brackets..).unwrap_or_default();
    let (host, port) = match tail.iter().position(|byte| *byte == b':') {
        None => (bytes, None),
        Some(colon) => {
            let (host, port) = bytes
                .split_at_checked(after_brackets + colon)
                .ok_or(RequestError::Target)?;
            let port = port.strip_prefix(b":").unwrap_or(port);
            let port = std::str::from_utf8(port).map_err(|_| RequestError::Target)?;
            (host, Some(parse_port(port).map_err(RequestError::Host)?))
        }
    };
    Ok((Host::parse(host).map_err(RequestError::Host)?, port))
}

/// The `Host` header: one, readable; HTTP/1.0 may leave it out.
fn read_host(
    headers: &[Header<'_>],
    version: Version,
) -> Result<Option<(Host, Option<u16>)>, RequestError> {
    let mut hosts = headers.iter().filter(|header| header.is("host"));
    match (hosts.next(), hosts.next(), version) {
        (Some(host), None, _) => parse_authority(host.value).map(Some),
        (None, None, Version::Http10) => Ok(None),
        (None, None, Version::Http11) | (Some(_) | None, Some(_), _) => {
            Err(RequestError::HostCount)
        }
    }
}

/// The protocols that are asked for, but for the one that is left out.
fn wanted_protocols<'a>(headers: &'a [Header<'a>]) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(|header| header.is("upgrade"))
        .flat_map(|header| words(header.value))
        .filter(|word| !word.eq_ignore_ascii_case(b"h2c"))
}

fn read_upgrade(headers: &[Header<'_>]) -> Upgrade {
    if wanted_protocols(headers).next().is_some() {
        Upgrade::Wanted
    } else {
        Upgrade::None
    }
}
