//! Escapes text that somebody else wrote, and quotes words for a shell.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with every character escaped that a terminal would act on, hide or reorder.
///
/// # Security
/// Names come from the target: a file name may hold escape sequences, line breaks, or bidirectional overrides
/// that make a denial read as something else. Newlines stay only in [`printable`]'s multi-line callers' own text.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escape(text, |character| character == '\n')
}

/// As [`printable`], and line breaks are escaped too: for text that must stay on one line.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// A name of the operating system on one line.
pub(crate) fn escape_os(name: impl AsRef<std::ffi::OsStr>) -> String {
    one_line(&name.as_ref().to_string_lossy()).into_owned()
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text
        .chars()
        .all(|character| keep(character) || !is_hostile(character))
    {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if keep(character) || !is_hostile(character) {
            escaped.push(character);
        } else {
            escaped.extend(character.escape_default());
        }
    }
    Cow::Owned(escaped)
}

/// Controls, and the format characters that hide or reorder text (Unicode, "Bidirectional Algorithm", section 2).
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// `words` as a person would type them: quoted where a shell needs it.
pub(crate) fn shell_words(words: &[String]) -> String {
    words
        .iter()
        .map(|word| shell_word(word))
        .collect::<Vec<_>>()
        .join(" ")
}

fn shell_word(word: &str) -> Cow<'_, str> {
    if cfg!(windows) {
        windows_word(word)
    } else {
        posix_word(word)
    }
}

/// A word that `cmd.exe` and PowerShell read alike; with a `$` or a backtick in it, as PowerShell does.
fn windows_word(word: &str) -> Cow<'_, str> {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./\\:=+~".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        return Cow::Borrowed(word);
    }
    let word = one_line(word);
    if word.contains(['$', '`']) {
        return Cow::Owned(format!("'{}'", word.replace('\'', "''")));
    }
    // A backslash before the closing quote would take its meaning away.
    let end = if word.ends_with('\\') { "\\" } else { "" };
    Cow::Owned(format!("\"{word}{end}\""))
}

fn posix_word(word: &str) -> Cow<'_, str> {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./:=@%+,~".contains(character);
    if word.chars().any(is_hostile) {
        // A shell's `$'…'`: the only form in which a control character can be typed.
        let mut quoted = String::from("$'");
        for character in word.chars() {
            match character {
                '\'' => quoted.push_str("\\'"),
                '\\' => quoted.push_str("\\\\"),
                hostile if is_hostile(hostile) => {
                    let code = u32::from(hostile);
                    // Writing to a String can't fail.
                    let _ = if code < 0x80 {
                        write!(quoted, "\\x{code:02x}")
                    } else {
                        write!(quoted, "\\U{code:08x}")
                    };
                }
                other => quoted.push(other),
            }
        }
        quoted.push('\'');
        return Cow::Owned(quoted);
    }
    if !word.is_empty() && word.chars().all(plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', "'\\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_sequences_and_overrides_are_escaped() {
        assert_eq!(one_line("a\u{1b}]0;x\u{7}b"), "a\\u{1b}]0;x\\u{7}b");
        assert_eq!(one_line("a\u{202e}b\u{9b}c\nd"), "a\\u{202e}b\\u{9b}c\\nd");
        assert_eq!(printable("a\nb"), "a\nb");
        assert_eq!(one_line("ünïcode ✓"), "ünïcode ✓");
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        let words = ["--writable-root", "/a b", "~/x", "it's", "", "a\nb"];
        assert_eq!(
            words.map(posix_word).join(" "),
            "--writable-root '/a b' ~/x 'it'\\''s' '' $'a\\x0ab'"
        );
    }

    #[test]
    fn words_are_quoted_for_the_shells_of_windows() {
        for (word, typed) in [
            (r"C:\windows", r"C:\windows"),
            (r"C:\a b\", r#""C:\a b\\""#),
            ("x&y", "\"x&y\""),
            ("", "\"\""),
            ("$HOME it's", "'$HOME it''s'"),
            ("a\u{1b}b", "\"a\\u{1b}b\""),
        ] {
            assert_eq!(windows_word(word), typed, "{word}");
        }
    }
}
