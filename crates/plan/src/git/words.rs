//! The words of a command line as a shell would split it, for finding the files that it runs.
//!
//! No shell: nothing is expanded, and an operator ends a word. More words than a shell would see are harmless, fewer
//! are not. Invariant: total on any input.

use std::path::PathBuf;

#[expect(
    clippy::match_same_arms,
    reason = "an order of arms that reads as a shell's rules"
)]
/// The words of `command`, quotes removed; of an assignment or option `a=b` both sides.
pub(crate) fn words(command: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let mut quote: Option<u8> = None;
    let mut bytes = command.iter().copied();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (Some(open), byte) if byte == open => quote = None,
            (Some(b'\''), byte) => word.push(byte),
            (_, b'\\') => word.extend(bytes.next()),
            (None, b'"' | b'\'') => quote = Some(byte),
            (
                None,
                b' ' | b'\t' | b'\n' | b'\r' | b';' | b'|' | b'&' | b'<' | b'>' | b'(' | b')'
                | b'`' | b'$' | b'{' | b'}' | b'=',
            ) => words.push(std::mem::take(&mut word)),
            (Some(_), b'$' | b'`') => words.push(std::mem::take(&mut word)),
            (Some(_) | None, byte) => word.push(byte),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "one signature on every system")]
pub(crate) fn bytes_to_path(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
}

#[cfg(not(unix))]
pub(crate) fn bytes_to_path(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn quotes_escapes_and_operators_split_as_in_a_shell() {
        let split = |text: &str| -> Vec<String> {
            words(text.as_bytes())
                .into_iter()
                .map(|word| String::from_utf8(word).expect("text"))
                .collect()
        };
        assert_eq!(split("a 'b c' \"d e\" f\\ g"), ["a", "b c", "d e", "f g"]);
        assert_eq!(split("cd x&&./y|z>q"), ["cd", "x", "./y", "z", "q"]);
        assert_eq!(split("f() { ./a/b \"$@\"; }; f"), ["f", "./a/b", "@", "f"]);
        assert_eq!(split("--exec=./x"), ["--exec", "./x"]);
        assert_eq!(split("'open"), ["open"]);
    }
}
