//! TOML text to a [`PolicyDocument`], with errors a person can act on.
//!
//! Checks spelling and types, not sense: contradictions are found when layers are resolved. The text may be an
//! attacker's (a project's file). Invariant: no input panics, and every error names its place.

use std::ops::Range;

use serde::Deserialize;
use serde_json::Value as Json;
use toml_edit::Value;

use crate::allow::{AllowError, AllowRule};
use crate::document::PolicyDocument;
use crate::escape::escape;
use crate::host::{HostError, HostRule};
use crate::place::{Content, Found, Place, Spot, report, walk};
use crate::reference;
use crate::units::{ByteSize, Span};

/// The largest policy file that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;

/// Why a text is no policy file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct ParseError {
    /// Where.
    pub place: Box<Place>,
    /// What is wrong.
    pub fault: ParseFault,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseFault {
    /// It is larger than [`MAX_FILE_BYTES`].
    #[error("the file has {0} bytes; a policy file has at most {MAX_FILE_BYTES}")]
    TooLarge(usize),
    /// It begins with a byte order mark.
    #[error("the file begins with a byte order mark ({0})")]
    ByteOrderMark(&'static str),
    /// It is no UTF-8.
    #[error("the file is not UTF-8: bad byte at offset {0}")]
    NotUtf8(usize),
    /// It holds a NUL byte.
    #[error("the file holds a NUL byte at offset {0}")]
    Nul(usize),
    /// It is no TOML.
    #[error("not TOML: {0}")]
    Syntax(String),
    /// A key stands twice.
    #[error("the key stands twice")]
    DuplicateKey,
    /// A key that does not exist.
    #[error("unknown key `{name}`{}", did_you_mean(suggestion.as_deref()))]
    UnknownKey {
        /// Its last part, as it is written.
        name: String,
        /// A key that is spelt much like it.
        suggestion: Option<String>,
        /// The keys that exist there.
        known: Vec<String>,
    },
    /// A word that is none of those the key takes.
    #[error("`{word}` is not one of {}{}", allowed.join(", "), did_you_mean(suggestion.as_deref()))]
    UnknownWord {
        /// The word.
        word: String,
        /// One that is spelt much like it.
        suggestion: Option<String>,
        /// The words the key takes.
        allowed: Vec<String>,
    },
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What the key takes.
        expected: String,
        /// What stands there.
        found: &'static str,
    },
    /// A value of the right type that can't be read.
    #[error("{0}")]
    BadValue(String),
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |word| format!("; did you mean `{word}`?"))
}

/// The entry of `known` that is spelt most like `word`, if one is near enough to be meant.
#[must_use]
pub fn closest<'known>(
    word: &str,
    known: impl IntoIterator<Item = &'known str>,
) -> Option<&'known str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

impl ParseError {
    /// The next thing to do.
    #[must_use]
    pub fn hint(&self) -> String {
        let key = self.place.key.as_str();
        match &self.fault {
            ParseFault::TooLarge(_) => {
                "a policy file is a few lines; is this the right file?".into()
            }
            ParseFault::ByteOrderMark(_) | ParseFault::NotUtf8(_) => {
                "save the file as UTF-8 without a byte order mark".into()
            }
            ParseFault::Nul(_) => "is this a text file?".into(),
            ParseFault::Syntax(_) => {
                "a policy file is TOML: `key = value` below `[section]`".into()
            }
            ParseFault::DuplicateKey => "keep one of them".into(),
            ParseFault::UnknownKey { known, .. } => format!("known here: {}", known.join(", ")),
            ParseFault::UnknownWord { .. } => String::new(),
            ParseFault::WrongType { expected, found }
                if expected.starts_with("a list") && *found != "a table" =>
            {
                let name = key.rsplit('.').next().unwrap_or(key);
                format!("write it in brackets: `{name} = [ … ]`")
            }
            ParseFault::WrongType { .. } => format!("see `{key}` in docs/policy.md"),
            ParseFault::BadValue(_) => value_hint(key).into(),
        }
    }

    /// The error laid out for a person: message, excerpt with a caret, hint.
    #[must_use]
    pub fn report(&self) -> String {
        report(self, &self.place, &self.hint())
    }
}

/// What a person is told whose value for `key` can't be read.
fn value_hint(key: &str) -> &'static str {
    match key {
        "limits.memory" => ByteSize::HINT,
        "limits.time" | "approvals.timeout" | "approvals.max_duration" => Span::HINT,
        "network.publish" => "write ports from 1 to 65535: `publish = [3000]`",
        _ => "",
    }
}

/// Reads one policy file; `source` is its name in errors.
///
/// # Errors
/// [`ParseError`] with line, column, key, cause and hint.
///
/// # Security
/// An attacker may have chosen every byte.
pub fn parse(source: &str, bytes: &[u8]) -> Result<PolicyDocument, ParseError> {
    let text = decode(bytes).map_err(|fault| {
        let spot = match fault {
            ParseFault::NotUtf8(offset) | ParseFault::Nul(offset) => {
                let lossy = String::from_utf8_lossy(bytes.get(..offset).unwrap_or_default());
                Some(Spot::at(&lossy, &(lossy.len()..lossy.len())))
            }
            ParseFault::TooLarge(_)
            | ParseFault::ByteOrderMark(_)
            | ParseFault::Syntax(_)
            | ParseFault::DuplicateKey
            | ParseFault::UnknownKey { .. }
            | ParseFault::UnknownWord { .. }
            | ParseFault::WrongType { .. }
            | ParseFault::BadValue(_) => None,
        };
        at(source, String::new(), spot, fault)
    })?;
    let document = toml_edit::Document::parse(text).map_err(|error| {
        let range = error.span().unwrap_or(text.len()..text.len());
        syntax_error(source, text, &range, error.message())
    })?;
    let deserializer = toml_edit::de::Deserializer::from(document);
    PolicyDocument::deserialize(deserializer)
        .map_err(|error| explain(source, text, error.span().as_ref(), error.message()))
}

fn at(source: &str, key: String, spot: Option<Spot>, fault: ParseFault) -> ParseError {
    let place = Place {
        source: source.to_owned(),
        key,
        spot,
    };
    ParseError {
        place: Box::new(place),
        fault,
    }
}

/// Bytes to text, with an error for everything that is no plain UTF-8 file of reasonable size.
fn decode(bytes: &[u8]) -> Result<&str, ParseFault> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(ParseFault::TooLarge(bytes.len()));
    }
    for (mark, name) in [
        (&b"\xef\xbb\xbf"[..], "UTF-8"),
        (b"\xff\xfe", "UTF-16, little-endian"),
        (b"\xfe\xff", "UTF-16, big-endian"),
    ] {
        if bytes.starts_with(mark) {
            return Err(ParseFault::ByteOrderMark(name));
        }
    }
    if let Some(offset) = bytes.iter().position(|byte| *byte == 0) {
        return Err(ParseFault::Nul(offset));
    }
    std::str::from_utf8(bytes).map_err(|error| ParseFault::NotUtf8(error.valid_up_to()))
}

fn syntax_error(source: &str, text: &str, range: &Range<usize>, message: &str) -> ParseError {
    let fault = if message.starts_with("duplicate key") {
        ParseFault::DuplicateKey
    } else {
        ParseFault::Syntax(escape(message.as_bytes()).into_owned())
    };
    let key = key_by_lines(text, range.start);
    at(source, key, Some(Spot::at(text, range)), fault)
}

/// The dotted key at `offset` of a text that is no TOML: the last section header above, and the line's own key.
fn key_by_lines(text: &str, offset: usize) -> String {
    let mut section = "";
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let line_end = line_start + line.len();
        let trimmed = line.trim();
        if offset < line_end || line_end == text.len() {
            let name = trimmed.split('=').next().unwrap_or_default().trim();
            let plain = !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
            return match (section.is_empty(), plain) {
                (_, false) => section.to_owned(),
                (true, true) => name.to_owned(),
                (false, true) => format!("{section}.{name}"),
            };
        }
        if let Some(header) = trimmed
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next())
        {
            section = header.trim_matches(['[', ' ']);
        }
        line_start = line_end;
    }
    section.to_owned()
}

/// Turns serde's complaint into one of ours, by comparing the document with the schema.
fn explain(source: &str, text: &str, span: Option<&Range<usize>>, message: &str) -> ParseError {
    let fallback = |key: String| {
        let spot = span.map(|span| Spot::at(text, span));
        let fault = ParseFault::BadValue(escape(message.as_bytes()).into_owned());
        at(source, key, spot, fault)
    };
    let Ok(document) = toml_edit::Document::parse(text) else {
        return fallback(String::new());
    };
    let schema = reference::schema();
    let mut found = walk(document.as_table());
    found.sort_by_key(|found| {
        let span = found.key_span.as_ref().or(found.value_span.as_ref());
        span.map_or(usize::MAX, |span| span.start)
    });
    for entry in &found {
        if let Some((fault, span)) = judge(entry, &schema) {
            let spot = span.map(|span| Spot::at(text, &span));
            return at(source, entry.key.clone(), spot, fault);
        }
    }
    let key = span
        .and_then(|span| {
            let inside = |place: &Option<Range<usize>>| {
                place
                    .as_ref()
                    .is_some_and(|place| place.contains(&span.start))
            };
            found
                .iter()
                .rev()
                .find(|found| inside(&found.value_span) || inside(&found.key_span))
        })
        .map(|found| found.key.clone())
        .unwrap_or_default();
    fallback(key)
}

/// What is wrong with one entry by the schema, and where.
fn judge(entry: &Found<'_>, schema: &Json) -> Option<(ParseFault, Option<Range<usize>>)> {
    let (parent, name) = entry.key.rsplit_once('.').unwrap_or(("", &entry.key));
    let Some(own) = reference::at_key(schema, &entry.key) else {
        // An unknown section is reported for itself, not for what is in it.
        let known = reference::keys_of(reference::at_key(schema, parent)?);
        let fault = ParseFault::UnknownKey {
            name: escape(name.as_bytes()).into_owned(),
            suggestion: closest(name, known.iter().copied()).map(str::to_owned),
            known: known.into_iter().map(str::to_owned).collect(),
        };
        return Some((fault, entry.key_span.clone()));
    };
    let is_element = entry.key_span.is_none();
    let own = if is_element { own.get("items")? } else { own };
    let fault = judge_value(entry, own)?;
    let span = entry.value_span.clone().or_else(|| entry.key_span.clone());
    Some((fault, span))
}

fn judge_value(entry: &Found<'_>, schema: &Json) -> Option<ParseFault> {
    let (kind, found) = match entry.content {
        Content::Table | Content::Value(Value::InlineTable(_)) => ("object", "a table"),
        Content::Tables => ("tables", "a list of tables"),
        Content::Value(Value::String(_)) => ("string", "text"),
        Content::Value(Value::Integer(_)) => ("integer", "a number"),
        Content::Value(Value::Float(_)) => ("number", "a number with a fraction"),
        Content::Value(Value::Boolean(_)) => ("boolean", "true or false"),
        Content::Value(Value::Datetime(_)) => ("datetime", "a date"),
        Content::Value(Value::Array(_)) => ("array", "a list"),
    };
    if !reference::types_of(schema).contains(&kind) {
        let expected = reference::describe_type(schema);
        return Some(ParseFault::WrongType { expected, found });
    }
    if let Content::Value(Value::Integer(number)) = entry.content {
        let (number, most) = (*number.value(), reference::most_of(schema)?);
        let fits = u64::try_from(number).is_ok_and(|number| number <= most);
        let reason = format!("`{number}` is not a whole number from 0 to {most}");
        return (!fits).then_some(ParseFault::BadValue(reason));
    }
    let Content::Value(Value::String(string)) = entry.content else {
        return None;
    };
    let word = string.value();
    let allowed = reference::words_of(schema);
    if !allowed.is_empty() {
        if allowed.contains(&word.as_str()) {
            return None;
        }
        return Some(ParseFault::UnknownWord {
            word: escape(word.as_bytes()).into_owned(),
            suggestion: closest(word, allowed.iter().copied()).map(str::to_owned),
            allowed: allowed.into_iter().map(str::to_owned).collect(),
        });
    }
    match entry.key.as_str() {
        "network.allow" => {
            let reason = match word.parse::<AllowRule>().err()? {
                AllowError::Host(error) => host_reason(&entry.key, word, &error),
                error @ (AllowError::Scope(_)
                | AllowError::Term(_)
                | AllowError::Order(_)
                | AllowError::NoScope
                | AllowError::ScopeWithoutName) => format!("{error}; {}", error.hint()),
            };
            return Some(ParseFault::BadValue(reason));
        }
        "network.deny" => {
            let error = word.parse::<HostRule>().err()?;
            return Some(ParseFault::BadValue(host_reason(&entry.key, word, &error)));
        }
        _ => {}
    }
    None
}

fn host_reason(key: &str, word: &str, error: &HostError) -> String {
    let word = escape(word.as_bytes());
    let hint = match (error, key) {
        (HostError::Everything, "network.allow") => {
            "for every public host set `network.mode = \"open\"`"
        }
        (HostError::Everything, _) => {
            "what `allow` does not name is refused already; to refuse everything set `network.mode = \"offline\"`"
        }
        (other, _) => other.hint(),
    };
    format!("`{word}`: {error}; {hint}")
}

#[cfg(test)]
mod tests;
