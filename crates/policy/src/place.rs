//! Where a fault is: source, key, line and column, with the line itself and a caret.
//!
//! Finds keys in TOML text and draws excerpts; judges nothing. A project's file is an attacker's, so the excerpt is
//! escaped and cut. Invariant: an excerpt is one line of at most 200 characters, none of them a control character.

use std::fmt;
use std::ops::Range;

use toml_edit::{Item, TableLike, Value};

use crate::escape::escape;

/// Where something stands in the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The layer's name: a path, or `command line`.
    pub source: String,
    /// The dotted key, or the option on a command line; empty for the file as a whole.
    pub key: String,
    /// Where in the text, when there is one.
    pub spot: Option<Spot>,
}

/// A part of one line of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The line in three parts, escaped and cut: before, marked, after.
    parts: [String; 3],
}

const CONTEXT: usize = 60;

impl Spot {
    /// The part of `text` at the byte range `range`; a range outside the text marks its end.
    #[must_use]
    pub fn at(text: &str, range: &Range<usize>) -> Self {
        let start = floor_boundary(text, range.start);
        let (head, tail) = text.split_at(start);
        let line_start = head.rfind('\n').map_or(0, |newline| newline + 1);
        let before = head.get(line_start..).unwrap_or_default();
        let line_rest = tail.lines().next().unwrap_or_default();
        let length = floor_boundary(line_rest, range.end.saturating_sub(range.start));
        let (marked, after) = line_rest.split_at(length);
        let shown_before = escape(before.trim_start().as_bytes()).into_owned();
        let skipped = shown_before.chars().count().saturating_sub(CONTEXT);
        Self {
            line: head.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before.chars().count() + 1,
            parts: [
                shown_before.chars().skip(skipped).collect(),
                cut(marked),
                cut(after),
            ],
        }
    }

    /// The line and, below it, carets under the marked part; both behind a margin with the line's number.
    #[must_use]
    pub fn excerpt(&self) -> String {
        let [before, marked, after] = &self.parts;
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let indent = " ".repeat(before.chars().count());
        let carets = "^".repeat(marked.chars().count().max(1));
        format!("{number} | {before}{marked}{after}\n{margin} | {indent}{carets}")
    }
}

fn cut(text: &str) -> String {
    escape(text.as_bytes()).chars().take(CONTEXT).collect()
}

fn floor_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&escape(self.source.as_bytes()))?;
        if let Some(spot) = &self.spot {
            write!(formatter, ":{}:{}", spot.line, spot.column)?;
        }
        if !self.key.is_empty() {
            write!(formatter, ": {}", escape(self.key.as_bytes()))?;
        }
        Ok(())
    }
}

/// Lays out one fault for a person: what and where, the excerpt, the hint.
pub(crate) fn report(message: &dyn fmt::Display, place: &Place, hint: &str) -> String {
    let mut text = message.to_string();
    if let Some(spot) = &place.spot {
        for line in spot.excerpt().lines() {
            text.push_str("\n  ");
            text.push_str(line);
        }
    }
    if !hint.is_empty() {
        text.push_str("\n  hint: ");
        text.push_str(hint);
    }
    text
}

/// One key or array element of a document.
pub(crate) struct Found<'document> {
    /// Its dotted key; an array's element has its array's.
    pub key: String,
    /// What stands there.
    pub content: Content<'document>,
    /// Where the key stands.
    pub key_span: Option<Range<usize>>,
    /// Where the value stands.
    pub value_span: Option<Range<usize>>,
}

/// What stands behind a key.
#[derive(Clone, Copy)]
pub(crate) enum Content<'document> {
    /// A value, an inline table too.
    Value(&'document Value),
    /// A section.
    Table,
    /// Sections in double brackets.
    Tables,
}

/// Every key and array element of `root`, in no order that matters.
pub(crate) fn walk(root: &dyn TableLike) -> Vec<Found<'_>> {
    let mut found = Vec::new();
    walk_table(root, "", &mut found);
    found
}

fn walk_table<'document>(
    table: &'document dyn TableLike,
    prefix: &str,
    found: &mut Vec<Found<'document>>,
) {
    for (name, item) in table.iter() {
        let key = if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}.{name}")
        };
        let key_span = table.key(name).and_then(toml_edit::Key::span);
        found.push(Found {
            key: key.clone(),
            content: match item {
                Item::Value(value) => Content::Value(value),
                Item::ArrayOfTables(_) => Content::Tables,
                Item::Table(_) | Item::None => Content::Table,
            },
            key_span,
            value_span: item.span(),
        });
        match item {
            Item::Table(_) | Item::Value(Value::InlineTable(_)) => {
                if let Some(table) = item.as_table_like() {
                    walk_table(table, &key, found);
                }
            }
            Item::Value(Value::Array(array)) => walk_array(array, &key, found),
            // No key of a policy takes sections in double brackets: what is in them is not looked at.
            Item::None | Item::ArrayOfTables(_) | Item::Value(_) => {}
        }
    }
}

fn walk_array<'document>(
    array: &'document toml_edit::Array,
    key: &str,
    found: &mut Vec<Found<'document>>,
) {
    for value in array {
        found.push(Found {
            key: key.to_owned(),
            content: Content::Value(value),
            key_span: None,
            value_span: value.span(),
        });
    }
}

/// Where `key` stands in `text`: the array element that reads `entry` when there is one, else the value, else the key.
pub(crate) fn locate(text: &str, key: &str, entry: &str) -> Option<Spot> {
    let document = toml_edit::Document::parse(text).ok()?;
    let found = walk(document.as_table());
    let of_key = || found.iter().filter(|found| found.key == key);
    let reads = |value: &Value| match value.as_str() {
        Some(string) => string == entry,
        None => value.to_string().trim() == entry,
    };
    let element = of_key().find(|found| match found.content {
        Content::Value(value) => found.key_span.is_none() && reads(value),
        Content::Table | Content::Tables => false,
    });
    let found = element.or_else(|| of_key().next())?;
    let span = match found.content {
        Content::Value(_) => found.value_span.clone(),
        Content::Table | Content::Tables => None,
    };
    let span = span.or_else(|| found.key_span.clone())?;
    Some(Spot::at(text, &span))
}

/// Whether `text` names `key` at all, be it with an empty list.
pub(crate) fn states(text: &str, key: &str) -> bool {
    toml_edit::Document::parse(text).is_ok_and(|document| {
        walk(document.as_table())
            .iter()
            .any(|found| found.key == key)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_marks_its_part() {
        let text = "a = 1\n\tgit = \"commti\" # x\nb = 2";
        let start = text.find("\"commti\"").unwrap();
        let spot = Spot::at(text, &(start..start + 8));
        assert_eq!((spot.line, spot.column), (2, 8));
        assert_eq!(
            spot.excerpt(),
            "2 | git = \"commti\" # x\n  |       ^^^^^^^^"
        );
    }

    #[test]
    fn an_excerpt_is_short_and_escaped_whatever_the_line() {
        let text = format!("{}\u{1b}[2J{}", "x".repeat(5000), "y".repeat(5000));
        let spot = Spot::at(&text, &(5000..9000));
        let excerpt = spot.excerpt();
        assert!(excerpt.lines().all(|line| line.chars().count() < 200));
        assert!(excerpt.contains("\\u{1b}[2J"));
        assert_eq!(Spot::at("ü", &(1..usize::MAX)).column, 1);
        assert_eq!(Spot::at("", &(7..9)).line, 1);
    }

    #[test]
    fn an_entry_is_found_by_its_text() {
        let text = "[filesystem]\nwritable_roots = [\"~/a\",\n  \"b/c\"]\n";
        let spot = locate(text, "filesystem.writable_roots", "b/c").unwrap();
        assert_eq!((spot.line, spot.column), (3, 3));
        assert!(states(text, "filesystem.writable_roots"));
        assert!(!states(text, "filesystem.git"));
        assert!(locate(text, "network.mode", "").is_none());
    }
}
