//! Text from a target, made safe to print.
//!
//! File names, arguments and addresses come from an attacker: a name may clear the screen, turn the reading
//! direction round or look like another. Nothing is dropped: two different inputs never print the same.
//! Invariant: the result holds no control, bidirectional or invisible character, and the way back is unique.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write as _;

/// Escapes `bytes` for a person's eyes.
///
/// A backslash becomes `\\`; line feed, carriage return and tab `\n`, `\r`, `\t`; other control, bidirectional and
/// invisible characters `\u{…}`; a byte that is no UTF-8 `\xNN`. Plain text is borrowed, not copied.
///
/// # Security
/// The attacker chooses every byte.
#[must_use]
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.chars().any(must_escape)
    {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_escaped(&mut escaped, character);
        }
        for byte in chunk.invalid() {
            // Writing to a String can't fail.
            let _ = write!(escaped, "\\x{byte:02x}");
        }
    }
    Cow::Owned(escaped)
}

/// [`escape`] for a name of the operating system.
#[must_use]
pub fn escape_os(name: impl AsRef<OsStr>) -> String {
    escape(name.as_ref().as_encoded_bytes()).into_owned()
}

/// [`escape_os`] for a path that a person types again: one of Windows keeps its backslashes, which no name there can
/// hold.
#[must_use]
pub fn escape_path(path: impl AsRef<OsStr>) -> String {
    let escaped = escape_os(path);
    let is_share = escaped.starts_with(r"\\\\");
    let mut letters = escaped.chars();
    let is_drive = letters
        .next()
        .is_some_and(|letter| letter.is_ascii_alphabetic())
        && letters.as_str().starts_with(r":\\");
    if is_share || is_drive {
        escaped.replace(r"\\", r"\")
    } else {
        escaped
    }
}

fn push_escaped(escaped: &mut String, character: char) {
    match character {
        '\\' => escaped.push_str("\\\\"),
        '\n' => escaped.push_str("\\n"),
        '\r' => escaped.push_str("\\r"),
        '\t' => escaped.push_str("\\t"),
        other if must_escape(other) => {
            let _ = write!(escaped, "\\u{{{:x}}}", u32::from(other));
        }
        other => escaped.push(other),
    }
}

/// Whether `character` changes how its neighbours are seen, or can't be seen itself.
///
/// The list is Unicode's general categories Cc, Cf, Zl and Zp (Unicode 16, `DerivedGeneralCategory.txt`), the
/// `Default_Ignorable` fillers and variation selectors, and every space but the plain one.
fn must_escape(character: char) -> bool {
    match character {
        ' '..='[' | ']'..='~' => false,
        '\\' => true,
        _ if character.is_control() => true,
        '\u{a0}' // no-break space
        | '\u{ad}' // soft hyphen
        | '\u{34f}' // combining grapheme joiner
        | '\u{600}'..='\u{605}'
        | '\u{61c}' // Arabic letter mark
        | '\u{6dd}'
        | '\u{70f}'
        | '\u{890}'..='\u{891}'
        | '\u{8e2}'
        | '\u{115f}'..='\u{1160}' // Hangul fillers
        | '\u{1680}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{2000}'..='\u{200f}' // spaces, zero-width characters, direction marks
        | '\u{2028}'..='\u{202f}' // separators, embeddings, overrides
        | '\u{205f}'..='\u{206f}' // joiners, isolates
        | '\u{3000}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' // variation selectors
        | '\u{feff}' // byte order mark
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{110bd}'
        | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => true, // tags, variation selectors
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_of_windows_is_typed_with_its_own_backslashes() {
        for path in [r"C:\Windows\x", r"\\server\share"] {
            assert_eq!(escape_path(path), path);
        }
        assert_eq!(escape_path("C:\\a\u{202e}b"), r"C:\a\u{202e}b");
        // Elsewhere a name may hold one.
        assert_eq!(escape_path(r"/a\b"), r"/a\\b");
        assert_eq!(escape_path(r"C:x\y"), r"C:x\\y");
    }

    #[test]
    fn plain_text_is_borrowed() {
        assert!(matches!(
            escape("/srv/projekt/ünï côdé.txt".as_bytes()),
            Cow::Borrowed("/srv/projekt/ünï côdé.txt")
        ));
    }

    #[test]
    fn terminal_control_is_escaped() {
        assert_eq!(
            escape(b"a\x1b[2Jb\x07\r\n\t"),
            "a\\u{1b}[2Jb\\u{7}\\r\\n\\t"
        );
        assert_eq!(escape("\u{9b}2J".as_bytes()), "\\u{9b}2J");
    }

    #[test]
    fn reading_direction_and_invisible_characters_are_escaped() {
        assert_eq!(
            escape("txt.\u{202e}exe\u{200b}\u{2066}\u{feff}".as_bytes()),
            "txt.\\u{202e}exe\\u{200b}\\u{2066}\\u{feff}"
        );
        assert_eq!(
            escape("a\u{2028}b\u{e0041}".as_bytes()),
            "a\\u{2028}b\\u{e0041}"
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_escaped_and_a_backslash_is_no_escape() {
        assert_eq!(escape(b"\xff/\xc3"), "\\xff/\\xc3");
        assert_eq!(escape(b"\\xff"), "\\\\xff");
    }

    /// Undoes [`escape`]; only for the test of uniqueness.
    fn unescape(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            if character != '\\' {
                bytes.extend(character.to_string().as_bytes());
                continue;
            }
            match rest.next().unwrap() {
                'n' => bytes.push(b'\n'),
                'r' => bytes.push(b'\r'),
                't' => bytes.push(b'\t'),
                '\\' => bytes.push(b'\\'),
                'x' => {
                    let digits: String = rest.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).unwrap());
                }
                'u' => {
                    let digits: String = rest.by_ref().skip(1).take_while(|c| *c != '}').collect();
                    let code = u32::from_str_radix(&digits, 16).unwrap();
                    bytes.extend(char::from_u32(code).unwrap().to_string().as_bytes());
                }
                other => panic!("unknown escape {other}"),
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn every_input_has_its_own_output(bytes: Vec<u8>) {
            let escaped = escape(&bytes).into_owned();
            prop_assert_eq!(unescape(&escaped), bytes);
            prop_assert!(!escaped.chars().any(|c| c != '\\' && must_escape(c)));
        }

        #[test]
        fn every_text_has_its_own_output(text in any::<String>()) {
            prop_assert_eq!(unescape(&escape(text.as_bytes())), text.into_bytes());
        }
    }
}
