//! The many ways to write one path: drive letters, `\\?\`, `\\.\`, volume GUIDs, devices, the local host as a server,
//! streams, and the dots and spaces that Win32 strips.
//!
//! It looks nothing up. Invariant: two spellings of one object that differ in form alone give the same [`NtPath`].
//!
//! Sources: learn.microsoft.com "Naming Files, Paths, and Namespaces", "File path formats on Windows systems", "Naming a
//! Volume", "File Streams"; [MS-FSCC] 2.1.5 and 2.1.5.3 (stream type).

use super::name::{FileName, NameError};

/// How a path names its volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VolumeName {
    /// `C:`, in upper case.
    Letter(char),
    /// `Volume{…}`: what stands between the braces, in lower case.
    Guid(String),
    /// `\Device\HarddiskVolumeN`.
    Device(u32),
}

/// Which part of an object a path names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// The object itself; `::$DATA` and `::$INDEX_ALLOCATION` say the same.
    #[default]
    Whole,
    /// A named data stream, in 16-bit units.
    Named(Vec<u16>),
}

/// A path, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NtPath {
    /// The volume.
    pub volume: VolumeName,
    /// The names from its root on.
    pub names: Vec<FileName>,
    /// What of the last one.
    pub stream: Stream,
}

/// Why a text is no path of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It depends on a current directory.
    #[error("the path is not absolute")]
    Relative,
    /// It names another host, or a share that is no drive.
    #[error("the path leads to the network")]
    Network,
    /// It names a device (`NUL`, `CON`, a pipe).
    #[error("the path names a device")]
    Device,
    /// The volume is not written as any volume is.
    #[error("the path names no volume")]
    Volume,
    /// A part is no name.
    #[error("a part of the path is no name")]
    Name(#[source] NameError),
    /// What follows a colon is no stream.
    #[error("a part of the path names no stream")]
    Stream,
}

/// What a prefix says of the rest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Win32 rules: `/` separates too, `.` and `..` are resolved, trailing dots and spaces go.
    Win32,
    /// Handed to the object manager as it is.
    Literal,
}

/// Takes a path apart.
///
/// # Errors
/// [`PathError`].
///
/// # Security
/// The text comes from the attacker; every form that reaches a local volume is meant to be known here.
pub fn parse(text: &str) -> Result<NtPath, PathError> {
    let (form, rest) = prefix(text);
    let rest = match form {
        Form::Win32 => rest.replace('/', "\\"),
        Form::Literal => rest.to_owned(),
    };
    let (volume, rest) = volume(&rest)?;
    let mut names: Vec<FileName> = Vec::new();
    let mut stream = Stream::Whole;
    let mut parts = rest.split('\\').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        match (form, part) {
            (Form::Win32, ".") => continue,
            (Form::Win32, "..") => {
                names.pop();
                continue;
            }
            (Form::Win32 | Form::Literal, _) => {}
        }
        let (name, of) = split_stream(part)?;
        let name = match form {
            Form::Win32 => name.trim_end_matches(['.', ' ']),
            Form::Literal => name,
        };
        if form == Form::Win32 && is_dos_device(name) {
            return Err(PathError::Device);
        }
        names.push(FileName::new(name).map_err(PathError::Name)?);
        if parts.peek().is_none() {
            stream = of;
        } else if of != Stream::Whole {
            return Err(PathError::Stream);
        }
    }
    Ok(NtPath {
        volume,
        names,
        stream,
    })
}

/// Splits what says how to read the rest from the rest.
fn prefix(text: &str) -> (Form, &str) {
    for literal in ["\\\\?\\", "\\??\\"] {
        if let Some(rest) = text.strip_prefix(literal) {
            return (Form::Literal, rest);
        }
    }
    if let Some(rest) = strip_prefix_folded(text, "\\Device\\") {
        let whole = text.len() - rest.len() - "Device\\".len();
        return (Form::Literal, text.get(whole..).unwrap_or(text));
    }
    for device in ["\\\\.\\", "//./", "//?/"] {
        if let Some(rest) = text.strip_prefix(device) {
            return (Form::Win32, rest);
        }
    }
    (Form::Win32, text)
}

/// The volume at the head of what the prefix left, and the rest.
fn volume(text: &str) -> Result<(VolumeName, &str), PathError> {
    let text = strip_prefix_folded(text, "GLOBALROOT\\").unwrap_or(text);
    if let Some(rest) = strip_prefix_folded(text, "Device\\") {
        return device(rest);
    }
    if let Some(rest) = strip_prefix_folded(text, "UNC\\") {
        return share(rest);
    }
    if let Some(rest) = text.strip_prefix("\\\\") {
        return share(rest);
    }
    if let Some(rest) = strip_prefix_folded(text, "Volume{") {
        let (guid, rest) = rest.split_once('}').ok_or(PathError::Volume)?;
        let guid = guid.to_ascii_lowercase();
        return Ok((VolumeName::Guid(guid), rest));
    }
    if ["pipe", "nul", "con", "aux", "prn"]
        .iter()
        .any(|device| strip_prefix_folded(text, device).is_some())
    {
        return Err(PathError::Device);
    }
    let mut characters = text.chars();
    match (characters.next(), characters.next(), characters.next()) {
        (Some(letter), Some(':'), Some('\\')) if letter.is_ascii_alphabetic() => {
            let rest = text.get(2..).ok_or(PathError::Volume)?;
            Ok((VolumeName::Letter(letter.to_ascii_uppercase()), rest))
        }
        _ => Err(PathError::Relative),
    }
}

/// `HarddiskVolumeN\…`
fn device(text: &str) -> Result<(VolumeName, &str), PathError> {
    let rest = strip_prefix_folded(text, "HarddiskVolume").ok_or(PathError::Device)?;
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = rest.split_at(digits);
    if !rest.is_empty() && !rest.starts_with('\\') {
        return Err(PathError::Volume);
    }
    let number = number.parse().map_err(|_| PathError::Volume)?;
    Ok((VolumeName::Device(number), rest))
}

/// `host\c$\…`: a drive of this machine, if the host is this machine and the share is a drive's.
fn share(text: &str) -> Result<(VolumeName, &str), PathError> {
    let (host, rest) = text.split_once('\\').ok_or(PathError::Network)?;
    let here = ["localhost", "127.0.0.1", "::1", "0--1.ipv6-literal.net"];
    if !here.iter().any(|own| host.eq_ignore_ascii_case(own)) {
        return Err(PathError::Network);
    }
    let (share, rest) = match rest.find('\\') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let mut characters = share.chars();
    match (characters.next(), characters.next(), characters.next()) {
        (Some(letter), Some('$'), None) if letter.is_ascii_alphabetic() => {
            Ok((VolumeName::Letter(letter.to_ascii_uppercase()), rest))
        }
        _ => Err(PathError::Network),
    }
}

/// `name`, `name:stream`, `name:stream:$DATA`, `name::$DATA`, `name::$INDEX_ALLOCATION`, `name:$I30:$INDEX_ALLOCATION`.
fn split_stream(part: &str) -> Result<(&str, Stream), PathError> {
    let mut pieces = part.split(':');
    let name = pieces.next().unwrap_or_default();
    let (stream, kind) = (pieces.next(), pieces.next());
    if pieces.next().is_some() {
        return Err(PathError::Stream);
    }
    let named = |stream: &str| Stream::Named(stream.encode_utf16().collect());
    match (stream, kind) {
        (None, None) => Ok((name, Stream::Whole)),
        (Some(""), Some(kind)) if is(kind, "$DATA") || is(kind, "$INDEX_ALLOCATION") => {
            Ok((name, Stream::Whole))
        }
        (Some(stream), Some(kind)) if is(stream, "$I30") && is(kind, "$INDEX_ALLOCATION") => {
            Ok((name, Stream::Whole))
        }
        (Some(stream), None) if !stream.is_empty() => Ok((name, named(stream))),
        (Some(stream), Some(kind)) if !stream.is_empty() && is(kind, "$DATA") => {
            Ok((name, named(stream)))
        }
        (None | Some(_), _) => Err(PathError::Stream),
    }
}

fn is(text: &str, expected: &str) -> bool {
    text.eq_ignore_ascii_case(expected)
}

fn strip_prefix_folded<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Whether Win32 takes the name for a device in any directory (`NUL`, and on older systems `NUL.txt`).
fn is_dos_device(name: &str) -> bool {
    let base = name.split('.').next().unwrap_or_default().trim_end();
    ["CON", "PRN", "AUX", "NUL"].iter().any(|own| is(base, own))
        || ["COM", "LPT"].iter().any(|kind| {
            strip_prefix_folded(base, kind).is_some_and(|number| {
                number.len() == 1 && number.as_bytes().iter().all(|b| (b'1'..=b'9').contains(b))
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> NtPath {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn forms_of_one_path_are_one_path() {
        let plain = path("C:\\ws\\.git");
        for same in [
            "c:/ws/.git",
            "C:\\ws\\.\\x\\..\\.git\\",
            "C:\\ws.\\.git. . ",
            "\\\\?\\C:\\ws\\.git",
            "\\\\.\\c:\\ws\\.git.",
            "\\??\\C:\\ws\\.git",
            "\\\\?\\GLOBALROOT\\??\\C:\\ws\\.git"
                .replace("GLOBALROOT\\??\\", "")
                .as_str(),
            "\\\\localhost\\c$\\ws\\.git",
            "\\\\127.0.0.1\\C$\\ws\\.git",
            "\\\\?\\UNC\\LocalHost\\c$\\ws\\.git",
            "C:\\ws\\.git::$INDEX_ALLOCATION",
            "C:\\ws::$INDEX_ALLOCATION\\.git:$I30:$index_allocation",
            "C:\\ws\\.git::$DATA",
        ] {
            assert_eq!(path(same), plain, "{same}");
        }
    }

    #[test]
    fn volumes_have_three_kinds_of_names() {
        assert_eq!(
            path("\\\\?\\Volume{ABC-1}\\x").volume,
            VolumeName::Guid("abc-1".into())
        );
        let device = path("\\\\?\\GLOBALROOT\\Device\\HarddiskVolume3\\x");
        assert_eq!(device.volume, VolumeName::Device(3));
        assert_eq!(path("\\Device\\HarddiskVolume3\\x"), device);
    }

    #[test]
    fn a_literal_path_keeps_dots_and_spaces() {
        let literal = path("\\\\?\\C:\\ws\\.git.");
        assert_eq!(literal.names.last(), Some(&FileName::new(".git.").unwrap()));
        assert_eq!(
            parse("\\\\?\\C:\\ws\\..\\x"),
            Err(PathError::Name(NameError::Empty))
        );
    }

    #[test]
    fn what_is_no_file_is_refused() {
        for (text, error) in [
            ("ws\\.git", PathError::Relative),
            ("C:ws", PathError::Relative),
            ("\\ws", PathError::Relative),
            ("\\\\server\\share\\x", PathError::Network),
            ("\\\\localhost\\share\\x", PathError::Network),
            ("\\\\?\\UNC\\other\\c$\\x", PathError::Network),
            ("C:\\ws\\NUL", PathError::Device),
            ("C:\\ws\\com1.txt", PathError::Device),
            ("\\\\.\\pipe\\x", PathError::Device),
            ("\\Device\\NamedPipe\\x", PathError::Device),
            ("C:\\ws\\a:b:c:d", PathError::Stream),
            ("C:\\ws\\a:b:$INDEX_ALLOCATION", PathError::Stream),
            ("C:\\ws\\a:s\\b", PathError::Stream),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_stream_has_a_name() {
        let stream = |text: &str| path(text).stream;
        let evil = Stream::Named("evil".encode_utf16().collect());
        assert_eq!(stream("C:\\a:evil"), evil);
        assert_eq!(stream("C:\\a:evil:$DATA"), evil);
    }
}
