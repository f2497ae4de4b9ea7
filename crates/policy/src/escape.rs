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

/// [`escape`] for a name of this operating system; on Windows [`escape_windows`].
#[must_use]
pub fn escape_os(name: impl AsRef<OsStr>) -> String {
    if cfg!(windows) {
        escape_windows(name)
    } else {
        escape(name.as_ref().as_encoded_bytes()).into_owned()
    }
}

/// [`escape_os`] for a path that may be another machine's: what begins as one of Windows is escaped as one.
#[must_use]
pub fn escape_path(path: impl AsRef<OsStr>) -> String {
    let bytes = path.as_ref().as_encoded_bytes();
    let is_of_windows = match bytes {
        [b'\\', b'\\', ..] => true,
        [drive, b':', b'\\', ..] => drive.is_ascii_alphabetic(),
        _ => false,
    };
    if is_of_windows {
        escape_windows(path)
    } else {
        escape_os(path)
    }
}

/// Escapes a name or path of Windows so that a person can type it again.
///
/// A backslash stays one: it parts names, and no name holds it. Every character that [`escape`] does not print becomes
/// `<U+202E>`, a lone surrogate `<U+D800>`, and so do `<` and `>` themselves, which no name holds that Win32 makes
/// (learn.microsoft.com, "Naming Files, Paths, and Namespaces"). What has no `<` in it is the path as it is.
///
/// # Security
/// The attacker chooses every unit.
#[must_use]
pub fn escape_windows(name: impl AsRef<OsStr>) -> String {
    let mut rest = name.as_ref().as_encoded_bytes();
    let mut escaped = String::with_capacity(rest.len());
    // Writing to a String can't fail, here and below.
    while let Some(chunk) = rest.utf8_chunks().next() {
        for character in chunk.valid().chars() {
            if character != '\\' && (must_escape(character) || matches!(character, '<' | '>')) {
                let _ = write!(escaped, "<U+{:04X}>", u32::from(character));
            } else {
                escaped.push(character);
            }
        }
        let Some(invalid) = rest.get(chunk.valid().len()..) else {
            break;
        };
        rest = match invalid {
            // The standard library holds names of Windows as WTF-8, where a surrogate is three bytes.
            [0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf, after @ ..] => {
                let unit = 0xd000 | u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f);
                let _ = write!(escaped, "<U+{unit:04X}>");
                after
            }
            [byte, after @ ..] => {
                let _ = write!(escaped, "<{byte:02X}>");
                after
            }
            [] => break,
        };
    }
    escaped
}

/// Escapes a text whose names are escaped already, for one line: backslashes and angle brackets stay.
#[must_use]
pub fn escape_again(text: &str) -> String {
    let mut parts = text.split('\\').map(|part| escape(part.as_bytes()));
    let first = parts.next().unwrap_or_default().into_owned();
    parts.fold(first, |text, part| text + "\\" + &part)
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
        for path in [
            r"C:\Windows\x",
            r"\\server\share",
            r"C:\Users\ann b\$it's",
            r"C:\u{202e}\x1b",
        ] {
            assert_eq!(escape_path(path), path);
        }
    }

    #[test]
    fn hostile_names_of_windows_are_escaped_by_what_no_name_holds() {
        for (name, escaped) in [
            ("C:\\a\u{202e}txt.exe", r"C:\a<U+202E>txt.exe"),
            (
                "C:\\a\u{1b}[2J\r\n\t",
                r"C:\a<U+001B>[2J<U+000D><U+000A><U+0009>",
            ),
            ("C:\\\u{9b}2J", r"C:\<U+009B>2J"),
            ("C:\\<U+202E>", r"C:\<U+003C>U+202E<U+003E>"),
            ("C:\\\u{e0041}", r"C:\<U+E0041>"),
        ] {
            assert_eq!(escape_path(name), escaped);
            assert_eq!(escape_windows(name), escaped);
        }
        // A lone surrogate as the standard library of Windows holds it, and bytes that no system makes.
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt as _;
            let name = |bytes| escape_windows(OsStr::from_bytes(bytes));
            assert_eq!(name(b"C:\\a\xed\xa0\x80b"), r"C:\a<U+D800>b");
            assert_eq!(name(b"\xed\xbf\xbf"), "<U+DFFF>");
            assert_eq!(name(b"\xed\xa0\xff\x80"), "<ED><A0><FF><80>");
        }
        #[cfg(windows)]
        {
            use std::os::windows::ffi::OsStringExt as _;
            let name = std::ffi::OsString::from_wide(&[0x43, 0x3a, 0x5c, 0xd800, 0x61]);
            assert_eq!(escape_os(name), r"C:\<U+D800>a");
        }
    }

    #[cfg(unix)]
    #[test]
    fn elsewhere_a_name_may_hold_a_backslash() {
        assert_eq!(escape_path(r"/a\b"), r"/a\\b");
        assert_eq!(escape_path(r"C:x\y"), r"C:x\\y");
        assert_eq!(escape_os(r"C:\x"), r"C:\\x");
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
        fn every_name_of_windows_has_its_own_output(one in "[a<>U+20\u{202e}\\\\\n]{0,8}", other in "[a<>U+20\u{202e}\\\\\n]{0,8}") {
            prop_assert_eq!(one == other, escape_windows(&one) == escape_windows(&other));
            prop_assert!(!escape_windows(&one).chars().any(|c| c != '\\' && must_escape(c)));
        }

        #[test]
        fn every_text_has_its_own_output(text in any::<String>()) {
            prop_assert_eq!(unescape(&escape(text.as_bytes())), text.into_bytes());
        }
    }
}
