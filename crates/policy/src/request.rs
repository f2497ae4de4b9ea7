//! Which requests of HTTP a rule means: methods, and patterns of paths.
//!
//! A path is read so strictly that two servers can't understand two things by it; what is ambiguous is an error, and
//! an error is a refusal. The query is no part of a path. Invariant: a path that is accepted has one reading, its
//! segments, whatever a server decodes, merges, strips or resolves.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::escape::escape;

/// The longest path that is compared, in bytes.
const MAX_PATH: usize = 8 * 1024;

/// The most segments of a path.
const MAX_SEGMENTS: usize = 256;

/// A method of HTTP: capital letters and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Method(String);

/// Why a text is no method, or no pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not a word of capital letters.
    #[error("`{0}` is no method: write capital letters, for example GET")]
    Method(String),
    /// `CONNECT`, which is no request to a server.
    #[error("CONNECT opens a tunnel and is no request: name a method such as GET")]
    Connect,
    /// A pattern that does not begin with `/`.
    #[error("`{0}` is no path: it begins with `/`")]
    NotAPath(String),
    /// `**` beside other characters.
    #[error("`{0}`: `**` stands alone between two `/`; within a name write `*`")]
    Stars(String),
    /// What no accepted path can have.
    #[error("`{pattern}` can't match: {reason}; write the path without escapes")]
    Never {
        /// The pattern.
        pattern: String,
        /// Why.
        reason: PathError,
    },
}

/// Why a path has more than one reading, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not `/…`.
    #[error("it does not begin with `/`")]
    NotAPath,
    /// Longer than any path that is compared.
    #[error("it is too long")]
    TooLong,
    /// A fragment, which is never sent.
    #[error("it holds `#`")]
    Fragment,
    /// `//`, which some servers take for `/`.
    #[error("it holds an empty segment")]
    EmptySegment,
    /// `.` or `..`, also escaped, or dots alone.
    #[error("a segment is nothing but dots")]
    Dots,
    /// A `%` without two hexadecimal digits.
    #[error("`%` is not followed by two hexadecimal digits")]
    Escape,
    /// `%2f`, `%5c`, `%25` and other escapes that servers decode twice, or not at all.
    #[error("it hides a separator, a dot, a `%`, or a control character behind an escape")]
    HiddenCharacter,
    /// `;`, behind which some servers see parameters.
    #[error("it holds `;`")]
    Parameters,
    /// A backslash, a space, a control character, or anything beyond ASCII that is not escaped.
    #[error("it holds a character that no path may hold")]
    Character,
    /// Escapes that are no UTF-8, such as overlong forms of `/`.
    #[error("its escapes are not UTF-8")]
    NotUtf8,
    /// The query asks the server to take the request for another method.
    #[error("its query names another method")]
    MethodOverride,
}

/// A path of a request, in its only reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath {
    /// Between the slashes; the last one is empty for a path that ends with `/`.
    segments: Vec<String>,
}

/// A pattern of paths: `*` within a segment, `**` for any number of segments, at the end for everything below.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern(String);

/// Which requests a rule means; an empty list means any.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestScope {
    /// The methods.
    pub methods: Vec<Method>,
    /// The paths.
    pub paths: Vec<PathPattern>,
}

impl Method {
    /// As it stands in a request.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Method {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let is_word = !text.is_empty()
            && text.len() <= 32
            && text
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        match text {
            "CONNECT" => Err(ScopeError::Connect),
            _ if is_word => Ok(Self(text.to_owned())),
            _ => Err(ScopeError::Method(escape(text.as_bytes()).into_owned())),
        }
    }
}

impl RequestPath {
    /// Reads the target of a request in origin form: `/path?query`.
    ///
    /// # Errors
    /// [`PathError`] for whatever two servers could read in two ways.
    ///
    /// # Security
    /// The target chooses every byte.
    pub fn parse(target: &str) -> Result<Self, PathError> {
        if target.contains('#') {
            return Err(PathError::Fragment);
        }
        let path = target.split('?').next().unwrap_or_default();
        let rest = path.strip_prefix('/').ok_or(PathError::NotAPath)?;
        if path.len() > MAX_PATH {
            return Err(PathError::TooLong);
        }
        let count = rest.split('/').count();
        if count > MAX_SEGMENTS {
            return Err(PathError::TooLong);
        }
        let segments = rest
            .split('/')
            .enumerate()
            .map(|(index, text)| read_segment(text, index + 1 == count))
            .collect::<Result<_, _>>()?;
        Ok(Self { segments })
    }
}

/// One segment, decoded; only the last may be empty.
fn read_segment(text: &str, is_last: bool) -> Result<String, PathError> {
    if text.is_empty() && !is_last {
        return Err(PathError::EmptySegment);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let pair = digit().zip(digit()).ok_or(PathError::Escape)?;
                let hidden = u8::try_from(pair.0 * 16 + pair.1).map_err(|_| PathError::Escape)?;
                if hidden.is_ascii_control() || b"./\\%;?#".contains(&hidden) {
                    return Err(PathError::HiddenCharacter);
                }
                hidden
            }
            b';' => return Err(PathError::Parameters),
            b'\\' => return Err(PathError::Character),
            byte if !byte.is_ascii_graphic() => return Err(PathError::Character),
            byte => byte,
        });
    }
    let decoded = String::from_utf8(decoded).map_err(|_| PathError::NotUtf8)?;
    // Some file systems drop a space at the end, and some servers take look-alikes for what they look like.
    let looks_like = |character: char| {
        matches!(
            character,
            '\u{2024}' | '\u{2215}' | '\u{ff0e}' | '\u{ff0f}' | '\u{ff3c}'
        )
    };
    if decoded.contains(looks_like) {
        return Err(PathError::HiddenCharacter);
    }
    let is_dots = |character: char| character == '.' || character.is_whitespace();
    if !decoded.is_empty() && decoded.chars().all(is_dots) {
        return Err(PathError::Dots);
    }
    Ok(decoded)
}

impl FromStr for PathPattern {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let shown = || escape(text.as_bytes()).into_owned();
        if !text.starts_with('/') {
            return Err(ScopeError::NotAPath(shown()));
        }
        if text
            .split('/')
            .any(|segment| segment.contains("**") && segment != "**")
        {
            return Err(ScopeError::Stars(shown()));
        }
        let never = |reason| ScopeError::Never {
            pattern: shown(),
            reason,
        };
        // A query is no part of a path, and an escape is compared decoded.
        if text.contains(['?', '%']) || text.chars().any(char::is_whitespace) {
            return Err(never(PathError::Character));
        }
        let ascii: String = text
            .chars()
            .map(|c| if c.is_ascii() { c } else { 'x' })
            .collect();
        RequestPath::parse(&ascii).map_err(never)?;
        Ok(Self(text.to_owned()))
    }
}

impl PathPattern {
    /// Whether it means `path`.
    #[must_use]
    pub fn matches(&self, path: &RequestPath) -> bool {
        let pattern: Vec<&str> = self.0.split('/').skip(1).collect();
        matches_segments(&pattern, &path.segments)
    }

    /// Whether every path that `other` means is meant by this one too; `false` where that is not plain.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let below = self
            .0
            .strip_suffix("**")
            .filter(|prefix| !prefix.contains('*'));
        self == other || below.is_some_and(|prefix| other.0.starts_with(prefix))
    }
}

/// Table of "does the rest match": no backtracking, whatever the pattern.
fn matches_segments(pattern: &[&str], path: &[String]) -> bool {
    // `reachable[i]`: the first `i` segments of the path are matched by the pattern so far.
    let mut reachable = vec![false; path.len() + 1];
    if let Some(start) = reachable.first_mut() {
        *start = true;
    }
    for (position, word) in pattern.iter().enumerate() {
        let is_last = position + 1 == pattern.len();
        let mut next = vec![false; path.len() + 1];
        if *word == "**" {
            // At the end it stands for what is below, which is at least one segment.
            let mut seen = false;
            for (here, after) in reachable.iter().zip(&mut next) {
                *after = if is_last { seen } else { seen || *here };
                seen |= *here;
            }
        } else {
            for ((here, segment), after) in reachable.iter().zip(path).zip(next.iter_mut().skip(1))
            {
                *after = *here && matches_name(word, segment);
            }
        }
        reachable = next;
    }
    reachable.last().copied().unwrap_or(false)
}

/// `*` for any run of characters within one segment; not for an empty one.
fn matches_name(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last) && !name.is_empty()
}

impl RequestScope {
    /// Whether it means a request with `method` to `target`, in origin form.
    ///
    /// # Errors
    /// [`PathError`] where `target` can be read in two ways.
    ///
    /// # Security
    /// The target chooses both.
    pub fn allows(&self, method: &str, target: &str) -> Result<bool, PathError> {
        let method_fits =
            self.methods.is_empty() || self.methods.iter().any(|own| own.as_str() == method);
        if !self.methods.is_empty() && overrides_method(target) {
            return Err(PathError::MethodOverride);
        }
        if self.paths.is_empty() {
            return Ok(method_fits);
        }
        let path = RequestPath::parse(target)?;
        Ok(method_fits && self.paths.iter().any(|pattern| pattern.matches(&path)))
    }

    /// Whether every request that `other` means is meant by this one too; `false` where that is not plain.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let methods = self.methods.is_empty()
            || !other.methods.is_empty()
                && other.methods.iter().all(|own| self.methods.contains(own));
        let paths = self.paths.is_empty()
            || !other.paths.is_empty()
                && other
                    .paths
                    .iter()
                    .all(|inner| self.paths.iter().any(|outer| outer.covers(inner)));
        methods && paths
    }
}

/// Whether the query has a parameter that some frameworks take for the method: `_method`, also written with escapes, and
/// as PHP reads names (spaces in front dropped, `.` and space as `_`, nothing after a NUL or `[`); and `method`, where
/// its value is one that changes things.
fn overrides_method(target: &str) -> bool {
    const CHANGING: [&str; 4] = ["DELETE", "PATCH", "POST", "PUT"];
    let query = target.split_once('?').map_or("", |(_, query)| query);
    query.split(['&', ';']).any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // What can't be read may be anything.
        let Some(name) = decode(name) else {
            return true;
        };
        let read = name.split(['\0', '[']).next().unwrap_or_default();
        let folded = read.trim_start().replace(['.', ' '], "_");
        let is_changing = |value: String| {
            let value = value.trim();
            CHANGING.iter().any(|one| value.eq_ignore_ascii_case(one))
        };
        let changes = || decode(value).is_none_or(is_changing);
        folded.eq_ignore_ascii_case("_method") || folded.eq_ignore_ascii_case("method") && changes()
    })
}

/// A part of a query without its escapes; `None` for a broken one.
fn decode(text: &str) -> Option<String> {
    let mut decoded = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' => {
                let mut digit = || characters.next()?.to_digit(16);
                let (high, low) = digit().zip(digit())?;
                decoded.extend(char::from_u32(high * 16 + low));
            }
            '+' => decoded.push(' '),
            other => decoded.push(other),
        }
    }
    Some(decoded)
}

impl fmt::Display for RequestScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
        let mut words = vec![methods.join(",")];
        words.extend(self.paths.iter().map(|path| path.0.clone()));
        words.retain(|word| !word.is_empty());
        formatter.write_str(&words.join(" "))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for Method {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Self, ScopeError> {
        text.parse()
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.0
    }
}

impl TryFrom<String> for PathPattern {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Self, ScopeError> {
        text.parse()
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> Self {
        pattern.0
    }
}

#[cfg(test)]
mod tests;
