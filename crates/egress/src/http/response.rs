//! The head of an origin's answer: where its body ends, and what of it goes on to the caller.
//!
//! Changes no end-to-end header. Invariant: the caller's reading of where the answer ends is the one used here.

use std::io::Write as _;

use super::head::{
    ConnectionWords, Framing, Header, LineError, Lines, Persistence, Version, is_field_text,
    names_upgrade, parse_lines, read_framing, write_change, write_end_to_end, write_header,
};
use super::request::Changing;
use crate::progress::Progress;

/// How the body of an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    /// After so many bytes; 0 for none.
    Bytes(u64),
    /// With the last chunk.
    Chunked,
    /// When the origin closes the connection.
    UntilClose,
}

/// An answer without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead<'a> {
    /// The origin's version.
    pub version: Version,
    /// From 100 to 599.
    pub status: u16,
    /// How the body ends.
    pub body: ResponseBody,
    /// Whether the origin takes another request.
    pub persistence: Persistence,
    reason: &'a [u8],
    headers: Vec<Header<'a>>,
}

/// Why bytes are no answer that may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The lines can't be read.
    #[error("the head of the answer can't be read")]
    Lines(#[source] LineError),
    /// Not `HTTP/1.x STATUS REASON`.
    #[error("the first line of the answer is not `HTTP/1.1 STATUS REASON`")]
    StatusLine,
    /// Two lengths, a length and chunks, or an unknown transfer coding.
    #[error("the length of the answer is said in two ways, or in none that is known")]
    Framing,
    /// `Connection` lists a header that must go on.
    #[error("the Connection header takes away a header that must stay")]
    ConnectionHeader,
    /// The origin changes the protocol, though nobody asked it to, or to another one.
    #[error("the origin changes the protocol without being asked, or to another one")]
    Switched,
}

impl From<LineError> for ResponseError {
    fn from(error: LineError) -> Self {
        Self::Lines(error)
    }
}

impl<'a> ResponseHead<'a> {
    /// Reads the head of the answer to a request of `method`.
    ///
    /// # Errors
    /// [`ResponseError`], as soon as the first bad line is complete.
    ///
    /// # Security
    /// The origin chooses every byte.
    pub fn parse(bytes: &'a [u8], method: &str) -> Result<Progress<Self>, ResponseError> {
        Self::parse_changing(bytes, method, Changing::Nothing)
    }

    /// Reads the head of the answer to a request of `method` that may change the protocol.
    ///
    /// # Errors
    /// As [`ResponseHead::parse`].
    ///
    /// # Security
    /// The origin chooses every byte.
    pub fn parse_changing(
        bytes: &'a [u8],
        method: &str,
        changing: Changing<'_>,
    ) -> Result<Progress<Self>, ResponseError> {
        match parse_lines(bytes, |first| parse_status_line(first, changing).map(drop))? {
            Progress::NeedMore => Ok(Progress::NeedMore),
            Progress::Done { value, used } => Ok(Progress::Done {
                value: Self::from_lines(value, method, changing)?,
                used,
            }),
        }
    }

    fn from_lines(
        lines: Lines<'a>,
        method: &str,
        changing: Changing<'_>,
    ) -> Result<Self, ResponseError> {
        let (version, status, reason) = parse_status_line(lines.first, changing)?;
        if let (101, Changing::To(protocol)) = (status, changing) {
            check_change(&lines.headers, protocol)?;
        }
        let headers = lines.headers;
        let framing = read_framing(&headers, version).ok_or(ResponseError::Framing)?;
        let bodiless = method == "HEAD" || matches!(status, 100..=199 | 204 | 304);
        let body = match framing {
            _ if bodiless => ResponseBody::Bytes(0),
            Framing::Length(bytes) => ResponseBody::Bytes(bytes),
            Framing::Chunked => ResponseBody::Chunked,
            Framing::Unsaid => ResponseBody::UntilClose,
        };
        let connection = ConnectionWords::read(&headers).ok_or(ResponseError::ConnectionHeader)?;
        let persistence = match body {
            ResponseBody::UntilClose => Persistence::Close,
            ResponseBody::Bytes(_) | ResponseBody::Chunked => connection.persistence(version),
        };
        Ok(Self {
            version,
            status,
            body,
            persistence,
            reason,
            headers,
        })
    }

    /// Whether another answer to the same request follows.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && !self.is_change()
    }

    /// Whether the protocol changes behind it.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.status == 101
    }

    /// Writes the head of a change to `protocol` anew.
    pub fn write_change(&self, protocol: &str, out: &mut Vec<u8>) {
        self.write_beginning(out);
        write_change(protocol, out);
        out.extend_from_slice(b"\r\n");
    }

    fn write_beginning(&self, out: &mut Vec<u8>) {
        // Writing to a Vec can't fail.
        let _ = write!(out, "{} {} ", self.version.text(), self.status);
        out.extend_from_slice(self.reason);
        out.extend_from_slice(b"\r\n");
        write_end_to_end(&self.headers, "connection", out);
    }

    /// Writes the head anew for a caller of version `caller`, with the origin's framing and what the caller must know
    /// of this hop.
    pub fn write_forward(&self, caller: Version, persistence: Persistence, out: &mut Vec<u8>) {
        self.write_beginning(out);
        let framing =
            |header: &&Header<'_>| header.is("content-length") || header.is("transfer-encoding");
        // As the origin said it: an answer to HEAD, or 304, says the length of a body that does not follow.
        for header in self.headers.iter().filter(framing) {
            write_header(header.name, header.value, out);
        }
        match persistence {
            Persistence::Close if !self.is_interim() => {
                out.extend_from_slice(b"Connection: close\r\n");
            }
            Persistence::KeepAlive if [caller, self.version].contains(&Version::Http10) => {
                out.extend_from_slice(b"Connection: keep-alive\r\n");
            }
            Persistence::Close | Persistence::KeepAlive => {}
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// A change to `protocol`, of one that was asked for alone, and with nothing that ends a body.
fn check_change(headers: &[Header<'_>], protocol: &str) -> Result<(), ResponseError> {
    let mut said = headers.iter().filter(|header| header.is("upgrade"));
    let is_asked = match (said.next(), said.next()) {
        (Some(header), None) => header.value.eq_ignore_ascii_case(protocol.as_bytes()),
        (Some(_) | None, _) => false,
    };
    let is_framed =
        |header: &Header<'_>| header.is("content-length") || header.is("transfer-encoding");
    if is_asked && names_upgrade(headers) && !headers.iter().any(is_framed) {
        Ok(())
    } else {
        Err(ResponseError::Switched)
    }
}

fn parse_status_line<'a>(
    line: &'a [u8],
    changing: Changing<'_>,
) -> Result<(Version, u16, &'a [u8]), ResponseError> {
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    let version = parts.next().and_then(Version::parse);
    let status = parts.next().unwrap_or_default();
    let reason = parts.next().unwrap_or_default();
    let three_digits = status.len() == 3 && status.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(status)
        .ok()
        .and_then(|text| text.parse::<u16>().ok())
        .filter(|number| three_digits && (100..600).contains(number));
    match (version, number) {
        (_, Some(101)) if changing == Changing::Nothing => Err(ResponseError::Switched),
        (Some(version), Some(number)) if is_field_text(reason) => Ok((version, number, reason)),
        (Some(_) | None, Some(_) | None) => Err(ResponseError::StatusLine),
    }
}
