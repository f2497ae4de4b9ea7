//! Absolute, lexically normal paths.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::{Component, Path, PathBuf};

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An absolute path without `.`, `..` or repeated separators.
///
/// Normal by its letters only: symbolic links are the executor's business.
/// Serialised as text where it is UTF-8, else as a list of bytes: a name in the workspace is an attacker's, and one
/// that is no UTF-8 must survive every round trip.
///
/// Ordered by components, so that a path sorts right before what lies below it. Because the spelling is normal, bytes
/// tell equality, order and containment: plans and rules compare paths by the thousand, and walking components costs
/// ten times as much.
#[derive(Clone)]
pub struct AbsolutePath(PathBuf);

/// Why a path is no [`AbsolutePath`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin at the root.
    #[error("`{0}` is not an absolute path")]
    Relative(PathBuf),
    /// `..` would climb above the root.
    #[error("`{0}` climbs above the root")]
    AboveRoot(PathBuf),
    /// It holds a NUL byte.
    #[error("the path holds a NUL byte")]
    Nul,
}

impl AbsolutePath {
    /// Normalises `path`, which must be absolute.
    ///
    /// # Errors
    /// [`PathError`] for a relative path, one that climbs above the root, or one with a NUL byte.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, PathError> {
        let path = path.as_ref();
        if is_normal(path) {
            return Ok(Self(path.to_owned()));
        }
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(PathError::Nul);
        }
        if !path.has_root() {
            return Err(PathError::Relative(path.to_owned()));
        }
        let mut normal = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Prefix(_) | Component::RootDir => normal.push(component),
                Component::CurDir => {}
                Component::ParentDir => {
                    if !normal.pop() {
                        return Err(PathError::AboveRoot(path.to_owned()));
                    }
                }
                Component::Normal(name) => normal.push(name),
            }
        }
        Ok(Self(normal))
    }

    /// A path of a Windows machine as this system can hold it: as it is on Windows, `/C:/x` elsewhere.
    ///
    /// Network paths become `/UNC/server/share`, device paths `/?/…`: neither is ever a path on a drive.
    ///
    /// # Errors
    /// [`PathError`], as [`AbsolutePath::new`].
    pub fn of_windows(text: &str) -> Result<Self, PathError> {
        if cfg!(windows) {
            return Self::new(text);
        }
        let slashes = text.replace('\\', "/");
        let mapped = match slashes.strip_prefix("//") {
            Some(device) if device.starts_with(['?', '.']) => {
                format!("/?{}", device.get(1..).unwrap_or_default())
            }
            Some(share) => format!("/UNC/{share}"),
            None if slashes.starts_with('/') => slashes,
            None if slashes.as_bytes().get(1) == Some(&b':') => format!("/{slashes}"),
            None => return Err(PathError::Relative(PathBuf::from(text))),
        };
        Self::new(mapped)
    }

    /// The root of the file system.
    #[must_use]
    pub fn root() -> Self {
        Self(PathBuf::from(std::path::MAIN_SEPARATOR_STR))
    }

    /// The path itself.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// This path with `relative` below it.
    ///
    /// # Errors
    /// [`PathError`] when `relative` climbs above the root or holds a NUL byte.
    pub fn join(&self, relative: impl AsRef<Path>) -> Result<Self, PathError> {
        let joined = self.0.join(relative);
        if is_normal(&joined) {
            return Ok(Self(joined));
        }
        Self::new(joined)
    }

    /// The directory above, or `None` at the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.parent().map(|parent| Self(parent.to_owned()))
    }

    /// Whether this path is `ancestor` or lies below it.
    #[must_use]
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        match self.bytes().strip_prefix(ancestor.bytes()) {
            Some([]) => true,
            Some([next, ..]) => {
                is_separator(*next) || ancestor.bytes().last().copied().is_some_and(is_separator)
            }
            None => false,
        }
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_os_str().as_encoded_bytes()
    }
}

/// Whether `path` is absolute and normal as it is, so that nothing has to be allocated.
pub(crate) fn is_normal(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    if !cfg!(unix) || bytes.first() != Some(&b'/') {
        return false;
    }
    // One pass: how long the name is so far, and whether it is made of dots alone.
    let (mut length, mut dots) = (0_usize, true);
    for byte in bytes.iter().skip(1) {
        match byte {
            0 => return false,
            b'/' if length == 0 || (dots && length <= 2) => return false,
            b'/' => (length, dots) = (0, true),
            byte => {
                length += 1;
                dots &= *byte == b'.';
            }
        }
    }
    bytes.len() == 1 || (length > 0 && !(dots && length <= 2))
}

fn is_separator(byte: u8) -> bool {
    std::path::is_separator(char::from(byte))
}

impl PartialEq for AbsolutePath {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for AbsolutePath {}

impl Hash for AbsolutePath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl Ord for AbsolutePath {
    fn cmp(&self, other: &Self) -> Ordering {
        // A separator sorts before every byte that a name can hold; NUL is none of them.
        let key = |byte: &u8| if is_separator(*byte) { 0 } else { *byte };
        self.bytes()
            .iter()
            .map(key)
            .cmp(other.bytes().iter().map(key))
    }
}

impl PartialOrd for AbsolutePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl AsRef<Path> for AbsolutePath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl TryFrom<PathBuf> for AbsolutePath {
    type Error = PathError;
    fn try_from(path: PathBuf) -> Result<Self, PathError> {
        Self::new(path)
    }
}

impl From<AbsolutePath> for PathBuf {
    fn from(path: AbsolutePath) -> Self {
        path.0
    }
}

impl fmt::Debug for AbsolutePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(formatter)
    }
}

impl Serialize for AbsolutePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.0.as_os_str().as_encoded_bytes();
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(bytes);
        }
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_seq(bytes),
        }
    }
}

impl<'de> Deserialize<'de> for AbsolutePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(PathVisitor)
        } else {
            deserializer.deserialize_bytes(PathVisitor)
        }
    }
}

struct PathVisitor;

impl<'de> Visitor<'de> for PathVisitor {
    type Value = AbsolutePath;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an absolute path, as text or as a list of bytes")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<AbsolutePath, E> {
        AbsolutePath::new(text).map_err(E::custom)
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<AbsolutePath, E> {
        AbsolutePath::new(path_from_bytes(bytes).map_err(E::custom)?).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<AbsolutePath, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = sequence.next_element()? {
            bytes.push(byte);
        }
        AbsolutePath::new(path_from_bytes(&bytes).map_err(A::Error::custom)?)
            .map_err(A::Error::custom)
    }
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "one signature on every system")]
fn path_from_bytes(bytes: &[u8]) -> Result<PathBuf, std::str::Utf8Error> {
    use std::os::unix::ffi::OsStrExt;
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
}

#[cfg(not(unix))]
fn path_from_bytes(bytes: &[u8]) -> Result<PathBuf, std::str::Utf8Error> {
    std::str::from_utf8(bytes).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_normal_by_their_letters() {
        for (text, normal) in [
            ("/", "/"),
            ("//a///b/", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("/a/..", "/"),
        ] {
            assert_eq!(
                AbsolutePath::new(text).unwrap().as_path().as_os_str(),
                normal,
                "{text}"
            );
        }
        for bad in ["", "a", "./a", "~", "/..", "/a/../../b", "/a\0"] {
            assert!(AbsolutePath::new(bad).is_err(), "{bad:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn windows_paths_have_a_spelling_of_their_own() {
        for (text, spelt) in [
            ("C:\\Users\\ann", "/C:/Users/ann"),
            ("d:/x", "/d:/x"),
            ("\\\\server\\share\\x", "/UNC/server/share/x"),
            ("\\\\?\\C:\\x", "/?/C:/x"),
            ("\\\\.\\C:\\x", "/?/C:/x"),
            ("/C:/x", "/C:/x"),
        ] {
            assert_eq!(
                AbsolutePath::of_windows(text).unwrap(),
                AbsolutePath::new(spelt).unwrap()
            );
        }
        for bad in ["", "x", "x\\y"] {
            assert!(AbsolutePath::of_windows(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_text_that_is_no_absolute_path_does_not_deserialise() {
        for json in ["\"a\"", "\"/..\"", "[97]", "[47, 0]", "7", "[256]"] {
            assert!(
                serde_json::from_str::<AbsolutePath>(json).is_err(),
                "{json}"
            );
        }
    }

    #[cfg(unix)]
    proptest! {
        #[test]
        fn every_path_survives_every_format(bytes in proptest::collection::vec(1_u8.., 0..40)) {
            use std::os::unix::ffi::OsStrExt;
            let text = [b"/".as_slice(), bytes.as_slice()].concat();
            if let Ok(path) = AbsolutePath::new(std::ffi::OsStr::from_bytes(&text)) {
                let json = serde_json::to_string(&path).unwrap();
                prop_assert_eq!(&serde_json::from_str::<AbsolutePath>(&json).unwrap(), &path);
                let binary = postcard::to_stdvec(&path).unwrap();
                prop_assert_eq!(&postcard::from_bytes::<AbsolutePath>(&binary).unwrap(), &path);
                prop_assert_eq!(&AbsolutePath::new(&path).unwrap(), &path);
            }
        }
    }

    proptest! {
        #[test]
        fn bytes_tell_what_components_tell(left in "(/[a./\\-]{0,3}){1,4}", right in "(/[a./\\-]{0,3}){1,4}") {
            let (Ok(left), Ok(right)) = (AbsolutePath::new(left), AbsolutePath::new(right)) else {
                return Ok(());
            };
            prop_assert_eq!(left.cmp(&right), left.as_path().cmp(right.as_path()));
            prop_assert_eq!(left == right, left.as_path() == right.as_path());
            prop_assert_eq!(left.starts_with(&right), left.as_path().starts_with(right.as_path()));
        }
    }
}
