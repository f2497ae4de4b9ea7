//! Absolute paths of a Windows machine, compared as Windows compares them.
//!
//! A path names an object; it never proves which one. Executors open it, compare the file id, and then trust the
//! handle alone. Invariant: two paths that are equal lead to the same place on a volume without case sensitivity.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use ringfence_nt::fs::FileName;

use ringfence_policy::AbsolutePath;
use ringfence_policy::escape::escape_windows;

/// A drive letter and components: `C:\Users\ada\src`.
///
/// # Security
/// Forms that reach an object past its name are refused: device and volume paths, UNC paths, streams, names that end
/// in a dot or a space, and `.` or `..`. Whether a name is another's short form (`PROGRA~1`) only the machine can
/// tell, so facts carry final paths.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WindowsPath {
    drive: char,
    components: Vec<String>,
}

/// Why a text is no path of a local drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowsPathError {
    /// It doesn't begin with a drive and a backslash.
    #[error("the path does not begin with a drive, as C:\\ does")]
    NoDrive,
    /// It is a device, volume or network path.
    #[error("the path names a device, a volume or another machine")]
    NotLocal,
    /// A component is empty, `.` or `..`.
    #[error("the path has an empty component, or one that is . or ..")]
    Component,
    /// A component holds a character that no file name can hold; a colon opens a stream.
    #[error("the path holds a character that no file name can hold")]
    Character,
    /// A component ends in a dot or a space, which Windows strips.
    #[error("a component of the path ends in a dot or a space")]
    Trailing,
    /// A component is a device's name (`CON`, `NUL`, `COM1`, …), alone or with an extension.
    #[error("a component of the path is a device's name")]
    Reserved,
}

impl WindowsPath {
    /// Reads `C:\…`; slashes count as backslashes, one trailing backslash is dropped.
    ///
    /// # Errors
    /// [`WindowsPathError`].
    pub fn parse(text: &str) -> Result<Self, WindowsPathError> {
        Self::read(text, check)
    }

    /// Reads a path that was observed: the final path of an opened handle, or a name found in a directory.
    ///
    /// Such a name may end in a dot or be a device's: NTFS holds what Win32 would never make, and a target can make
    /// it. The executor opens it by these very letters (`\\?\`). A lone surrogate, which no text can hold, stands as
    /// the character `U+10F800` and up; a name that really holds one of these is not observed.
    ///
    /// # Errors
    /// [`WindowsPathError`] for what even NTFS does not hold.
    pub fn observed(text: &str) -> Result<Self, WindowsPathError> {
        Self::read(text, check_observed)
    }

    /// The drive path that a policy means: `C:\x` on Windows, `/C:/x` where the policy is read on another system.
    ///
    /// # Errors
    /// [`WindowsPathError`]; a name that is no text counts as [`WindowsPathError::Character`].
    pub fn from_policy(path: &AbsolutePath) -> Result<Self, WindowsPathError> {
        let text = path.as_path().to_str().ok_or(WindowsPathError::Character)?;
        match text.strip_prefix('/') {
            Some(below) if below.starts_with("UNC/") || below.starts_with("?/") => {
                Err(WindowsPathError::NotLocal)
            }
            Some(below) => Self::parse(below),
            None => Self::parse(text),
        }
    }

    fn read(
        text: &str,
        check: fn(&str) -> Result<(), WindowsPathError>,
    ) -> Result<Self, WindowsPathError> {
        let text = text.replace('/', "\\");
        if text.starts_with("\\\\") || text.starts_with("\\??") {
            return Err(WindowsPathError::NotLocal);
        }
        let mut characters = text.chars();
        let drive = characters
            .next()
            .filter(char::is_ascii_alphabetic)
            .ok_or(WindowsPathError::NoDrive)?;
        let rest = characters
            .as_str()
            .strip_prefix(":\\")
            .ok_or(WindowsPathError::NoDrive)?;
        let rest = rest.strip_suffix('\\').unwrap_or(rest);
        let mut components = Vec::new();
        if !rest.is_empty() {
            for component in rest.split('\\') {
                check(component)?;
                components.push(component.to_owned());
            }
        }
        Ok(Self {
            drive: drive.to_ascii_uppercase(),
            components,
        })
    }

    /// The drive letter, in upper case.
    #[must_use]
    pub const fn drive(&self) -> char {
        self.drive
    }

    /// The components below the drive's root.
    #[must_use]
    pub fn components(&self) -> &[String] {
        &self.components
    }

    /// The last component; none for a drive's root.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.components.last().map(String::as_str)
    }

    /// The directory it lies in; none for a drive's root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.components.split_last()?;
        Some(Self {
            drive: self.drive,
            components: above.to_vec(),
        })
    }

    /// The directories above it, the nearest first, down to the drive's root.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// This path with one more component.
    ///
    /// # Errors
    /// [`WindowsPathError`] when `component` is no plain name.
    pub fn join(&self, component: &str) -> Result<Self, WindowsPathError> {
        check(component)?;
        let mut components = self.components.clone();
        components.push(component.to_owned());
        Ok(Self {
            drive: self.drive,
            components,
        })
    }

    /// This path with a name that was found in the directory, whatever it is; a lone surrogate as in
    /// [`WindowsPath::observed`].
    ///
    /// # Errors
    /// [`WindowsPathError::Character`] for a name that no path can hold.
    pub fn join_observed(&self, name: &FileName) -> Result<Self, WindowsPathError> {
        let mut component = String::new();
        for unit in char::decode_utf16(name.units().iter().copied()) {
            match unit {
                Ok(character) if u32::from(character) >= LONE => {
                    return Err(WindowsPathError::Character);
                }
                Ok(character) => component.push(character),
                Err(lone) => {
                    let offset = u32::from(lone.unpaired_surrogate()) - 0xd800;
                    component
                        .push(char::from_u32(LONE + offset).ok_or(WindowsPathError::Character)?);
                }
            }
        }
        check_observed(&component)?;
        let mut components = self.components.clone();
        components.push(component);
        Ok(Self {
            drive: self.drive,
            components,
        })
    }

    /// This path with a policy's name below it: one or more components, with slashes.
    ///
    /// # Errors
    /// [`WindowsPathError`] when a component is no plain name.
    pub fn join_name(&self, name: &str) -> Result<Self, WindowsPathError> {
        name.split('/')
            .try_fold(self.clone(), |path, component| path.join(component))
    }

    /// Whether it is a drive's root.
    #[must_use]
    pub const fn is_drive_root(&self) -> bool {
        self.components.is_empty()
    }

    /// Whether it lies below `above`.
    #[must_use]
    pub fn is_below(&self, above: &Self) -> bool {
        self.components.len() > above.components.len() && self.starts_with(above)
    }

    /// Whether one of its components is `name`, whatever the case.
    #[must_use]
    pub fn has_component(&self, name: &str) -> bool {
        self.components.iter().any(|part| same_name(part, name))
    }

    /// The path on one line, escaped; a separator stays one backslash, because no name holds a backslash.
    #[must_use]
    pub fn printable(&self) -> String {
        let is_lone = |character| lone_surrogate(character).is_some();
        let mut text = String::new();
        for part in self.to_string().split_inclusive(is_lone) {
            text.push_str(&escape_windows(part.trim_end_matches(is_lone)));
            if let Some(unit) = part.chars().next_back().and_then(lone_surrogate) {
                // Writing to a String can't fail.
                let _ = write!(text, "<U+{unit:04X}>");
            }
        }
        text
    }

    /// Whether it is `above` or lies below it, component by component.
    #[must_use]
    pub fn starts_with(&self, above: &Self) -> bool {
        self.drive == above.drive
            && self.components.len() >= above.components.len()
            && self
                .components
                .iter()
                .zip(&above.components)
                .all(|(one, other)| compare(one, other).is_eq())
    }
}

/// What stands for the lone surrogate `U+D800`; those above it follow.
const LONE: u32 = 0x0010_f800;

/// The 16-bit units of an observed path's component, as its name on the disk has them.
#[must_use]
pub fn units(component: &str) -> Vec<u16> {
    let mut units = Vec::with_capacity(component.len());
    for character in component.chars() {
        match lone_surrogate(character) {
            Some(unit) => units.push(unit),
            None => units.extend_from_slice(character.encode_utf16(&mut [0; 2])),
        }
    }
    units
}

/// The lone surrogate that `character` stands for.
fn lone_surrogate(character: char) -> Option<u16> {
    let offset = u32::from(character).checked_sub(LONE)?;
    u16::try_from(0xd800 + offset).ok()
}

/// Upper case, one character for one, as NTFS compares.
fn folded(component: &str) -> impl Iterator<Item = char> {
    component.chars().map(|character| {
        let mut upper = character.to_uppercase();
        match (upper.next(), upper.next()) {
            // A letter beyond ASCII is no ASCII letter to NTFS: `ı` is not `I`, `ſ` is not `S`.
            (Some(one), None) if one.is_ascii() == character.is_ascii() => one,
            // NTFS keeps what would become several characters (ß) as it is.
            _ => character,
        }
    })
}

/// Whether two names are the same, whatever their case.
#[must_use]
pub fn same_name(left: &str, right: &str) -> bool {
    compare(left, right).is_eq()
}

/// One name as NTFS holds it.
fn check_observed(component: &str) -> Result<(), WindowsPathError> {
    if component.is_empty() || component == "." || component == ".." {
        return Err(WindowsPathError::Component);
    }
    if component.contains(['\0', ':']) {
        return Err(WindowsPathError::Character);
    }
    Ok(())
}

/// Source: learn.microsoft.com "Naming Files, Paths, and Namespaces"; the superscript digits count as digits.
fn is_reserved(component: &str) -> bool {
    let stem = component.split('.').next().unwrap_or_default().trim_end();
    let upper = stem.to_ascii_uppercase();
    if ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&upper.as_str()) {
        return true;
    }
    let port = upper
        .strip_prefix("COM")
        .or_else(|| upper.strip_prefix("LPT"));
    let mut digits = port.unwrap_or_default().chars();
    matches!(
        (digits.next(), digits.next()),
        (Some('0'..='9' | '\u{b9}' | '\u{b2}' | '\u{b3}'), None)
    )
}

fn check(component: &str) -> Result<(), WindowsPathError> {
    if component.is_empty() || component == "." || component == ".." {
        return Err(WindowsPathError::Component);
    }
    let forbidden = |c: char| c < ' ' || "<>:\"/\\|?*".contains(c);
    if component.contains(forbidden) {
        return Err(WindowsPathError::Character);
    }
    if component.ends_with(['.', ' ']) {
        return Err(WindowsPathError::Trailing);
    }
    if is_reserved(component) {
        return Err(WindowsPathError::Reserved);
    }
    Ok(())
}

impl PartialEq for WindowsPath {
    fn eq(&self, other: &Self) -> bool {
        // Paths of one directory differ at their ends.
        let mut parts = self.components.iter().zip(&other.components).rev();
        self.drive == other.drive
            && self.components.len() == other.components.len()
            && parts.all(|(one, other)| compare(one, other).is_eq())
    }
}

impl Eq for WindowsPath {}

impl PartialOrd for WindowsPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for WindowsPath {
    /// Component by component, so that a directory comes right before what is in it.
    fn cmp(&self, other: &Self) -> Ordering {
        let mut parts = self.components.iter().zip(&other.components);
        let first =
            parts.find_map(|(one, other)| Some(compare(one, other)).filter(|order| order.is_ne()));
        let by_parts = first.unwrap_or_else(|| self.components.len().cmp(&other.components.len()));
        self.drive.cmp(&other.drive).then(by_parts)
    }
}

/// Compares two components without case.
fn compare(one: &str, other: &str) -> Ordering {
    // Nearly all are spelt alike, or in ASCII: a plan compares paths a hundred thousand times.
    if one == other {
        return Ordering::Equal;
    }
    if one.is_ascii() && other.is_ascii() {
        return one
            .bytes()
            .map(|byte| byte.to_ascii_uppercase())
            .cmp(other.bytes().map(|byte| byte.to_ascii_uppercase()));
    }
    folded(one).cmp(folded(other))
}

impl Hash for WindowsPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.drive.hash(state);
        for component in &self.components {
            folded(component).for_each(|character| character.hash(state));
            '\\'.hash(state);
        }
    }
}

impl fmt::Display for WindowsPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:\\{}", self.drive, self.components.join("\\"))
    }
}

impl fmt::Debug for WindowsPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl TryFrom<String> for WindowsPath {
    type Error = WindowsPathError;

    fn try_from(text: String) -> Result<Self, WindowsPathError> {
        Self::observed(&text)
    }
}

impl From<WindowsPath> for String {
    fn from(path: WindowsPath) -> Self {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> WindowsPath {
        WindowsPath::parse(text).unwrap()
    }

    #[test]
    fn names_are_compared_as_their_folded_characters_are() {
        let names = [
            "", "a", "A", "b", "ab", "AB", "a_", "aZ", "é", "É", "ß", "ı", "i", "ſ", "zé",
        ];
        for one in names {
            for other in names {
                assert_eq!(
                    compare(one, other),
                    folded(one).cmp(folded(other)),
                    "{one} {other}"
                );
            }
        }
    }

    #[test]
    fn case_and_slashes_make_no_difference() {
        assert_eq!(path("c:/users/ADA/"), path("C:\\Users\\ada"));
        assert_ne!(path("C:\\Users\\ada"), path("D:\\Users\\ada"));
        assert_eq!(path("C:\\STRASSE").cmp(&path("C:\\straße")), Ordering::Less);
    }

    #[test]
    fn a_longer_name_is_not_below_a_shorter_one() {
        assert!(path("C:\\a\\b").starts_with(&path("c:\\A")));
        assert!(path("C:\\a").starts_with(&path("C:\\")));
        assert!(!path("C:\\ab").starts_with(&path("C:\\a")));
    }

    #[test]
    fn hostile_forms_are_refused() {
        use WindowsPathError::{Character, Component, NoDrive, NotLocal, Reserved, Trailing};
        for (text, error) in [
            ("", NoDrive),
            ("a\\b", NoDrive),
            ("C:", NoDrive),
            ("C:a", NoDrive),
            ("\\\\server\\share", NotLocal),
            ("\\\\?\\C:\\a", NotLocal),
            ("\\\\.\\PhysicalDrive0", NotLocal),
            ("//localhost/c$", NotLocal),
            ("\\??\\C:\\a", NotLocal),
            ("C:\\a\\..\\b", Component),
            ("C:\\a\\\\b", Component),
            ("C:\\a:stream", Character),
            ("C:\\a\\b::$DATA", Character),
            ("C:\\a\u{0}", Character),
            ("C:\\git.", Trailing),
            ("C:\\.git \\config", Trailing),
            ("C:\\nul.txt", Reserved),
            ("C:\\COM1 .log\\x", Reserved),
            ("C:\\lpt\u{b9}", Reserved),
        ] {
            assert_eq!(
                WindowsPath::parse(text).map(|p| p.to_string()),
                Err(error),
                "{text}"
            );
        }
    }

    #[test]
    fn letters_beyond_ascii_are_no_ascii_letters() {
        assert_eq!(path("C:\\Übung"), path("C:\\übung"));
        assert_ne!(path("C:\\fi\u{131}e"), path("C:\\fiie"));
        assert_ne!(path("C:\\\u{17f}sh"), path("C:\\ssh"));
    }

    #[test]
    fn a_name_that_only_ntfs_holds_can_be_observed_and_stored() {
        for text in ["C:\\w\\.git.", "C:\\w\\nul", "C:\\w\\a\u{10f800}"] {
            let path = WindowsPath::observed(text).unwrap();
            let json = serde_json::to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<WindowsPath>(&json).unwrap(), path);
        }
        assert!(WindowsPath::observed("C:\\w\\a:b").is_err());
        assert_eq!(
            WindowsPath::observed("C:\\w\\a\nb\u{10f800}c")
                .unwrap()
                .printable(),
            "C:\\w\\a<U+000A>b<U+D800>c"
        );
    }

    #[test]
    fn the_policys_spelling_is_read_on_any_system() {
        let policy = |text: &str| {
            WindowsPath::from_policy(&AbsolutePath::new(text).unwrap()).map(|path| path.to_string())
        };
        if cfg!(windows) {
            assert_eq!(policy("C:\\dev\\w s").unwrap(), "C:\\dev\\w s");
            return;
        }
        assert_eq!(policy("/C:/dev/w s").unwrap(), "C:\\dev\\w s");
        assert_eq!(policy("/home/u"), Err(WindowsPathError::NoDrive));
        assert_eq!(policy("/UNC/server/share"), Err(WindowsPathError::NotLocal));
        assert_eq!(policy("/?/C:/x"), Err(WindowsPathError::NotLocal));
    }

    #[test]
    fn ancestors_end_at_the_drive() {
        let above: Vec<String> = path("C:\\a\\b")
            .ancestors()
            .map(|p| p.to_string())
            .collect();
        assert_eq!(above, ["C:\\a", "C:\\"]);
    }

    #[test]
    fn a_name_that_was_found_comes_back_unit_by_unit() {
        let directory = path("C:\\w");
        for found in [
            &[0x61, 0xd800, 0x62][..],
            &[0xdfff],
            &[0x2e, 0x67, 0x2e],
            &[0x6e, 0x75, 0x6c],
            &[0xd83d, 0xde00],
            &[0xde00, 0xd83d],
        ] {
            let joined = directory.join_observed(&FileName::from_units(found).unwrap());
            let joined = joined.unwrap();
            assert_eq!(units(joined.name().unwrap()), found);
            assert_eq!(WindowsPath::observed(&joined.to_string()).unwrap(), joined);
        }
        let stands_for_one = FileName::new("a\u{10f800}").unwrap();
        assert!(directory.join_observed(&stands_for_one).is_err());
    }
}
