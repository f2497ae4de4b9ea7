//! Absolute paths of a Windows machine, compared as Windows compares them.
//!
//! A path names an object; it never proves which one. Executors open it, compare the file id, and then trust the
//! handle alone. Invariant: two paths that are equal lead to the same place on a volume without case sensitivity.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

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
}

impl WindowsPath {
    /// Reads `C:\…`; slashes count as backslashes, one trailing backslash is dropped.
    ///
    /// # Errors
    /// [`WindowsPathError`].
    pub fn parse(text: &str) -> Result<Self, WindowsPathError> {
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

    /// Whether it is `above` or lies below it, component by component.
    #[must_use]
    pub fn starts_with(&self, above: &Self) -> bool {
        self.drive == above.drive
            && self.components.len() >= above.components.len()
            && self
                .components
                .iter()
                .zip(&above.components)
                .all(|(one, other)| folded(one).eq(folded(other)))
    }
}

/// Upper case, one character for one, as NTFS compares.
fn folded(component: &str) -> impl Iterator<Item = char> {
    component.chars().map(|character| {
        let mut upper = character.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(one), None) => one,
            // NTFS keeps what would become several characters (ß) as it is.
            _ => character,
        }
    })
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
    Ok(())
}

impl PartialEq for WindowsPath {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for WindowsPath {}

impl PartialOrd for WindowsPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for WindowsPath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.drive.cmp(&other.drive).then_with(|| {
            let mine = self.components.iter().map(|part| folded(part));
            let theirs = other.components.iter().map(|part| folded(part));
            compare(mine, theirs)
        })
    }
}

/// Compares component by component, so that a directory comes right before what is in it.
fn compare<I: Iterator<Item = char>>(
    mut mine: impl Iterator<Item = I>,
    mut theirs: impl Iterator<Item = I>,
) -> Ordering {
    loop {
        match (mine.next(), theirs.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(one), Some(other)) => match one.cmp(other) {
                Ordering::Equal => {}
                unequal => return unequal,
            },
        }
    }
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
        Self::parse(&text)
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
        use WindowsPathError::{Character, Component, NoDrive, NotLocal, Trailing};
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
        ] {
            assert_eq!(
                WindowsPath::parse(text).map(|p| p.to_string()),
                Err(error),
                "{text}"
            );
        }
    }

    #[test]
    fn ancestors_end_at_the_drive() {
        let above: Vec<String> = path("C:\\a\\b")
            .ancestors()
            .map(|p| p.to_string())
            .collect();
        assert_eq!(above, ["C:\\a", "C:\\"]);
    }
}
