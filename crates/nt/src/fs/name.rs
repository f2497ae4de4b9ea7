//! Names of files: 16-bit units that need not be well-formed UTF-16, compared without case unless a directory says
//! otherwise, with a short (8.3) name beside the long one.
//!
//! It knows no paths. Invariant: a [`FileName`] can stand in a directory.
//!
//! Sources: [MS-FSCC] 2.1.5 (pathname, filename, 8.3 name); [MS-UCODEREF] 3.1.5.3 (upper-case table).

use std::fmt;

/// The longest name of a file, in 16-bit units.
const MAX_UNITS: usize = 255;

/// Why something is no name of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty, `.` or `..`.
    #[error("the name is empty, . or ..")]
    Empty,
    /// It has more than 255 units.
    #[error("the name is longer than 255 units")]
    TooLong,
    /// It has a character that no name may have.
    #[error("the name has a character that NTFS reserves")]
    Character,
}

/// A name in a directory, as it was written.
///
/// Derived equality is exact; [`FileName::same`] asks as NTFS does.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(Box<[u16]>);

impl FileName {
    /// A name of these units.
    ///
    /// # Errors
    /// [`NameError`]: [MS-FSCC] 2.1.5.2.
    ///
    /// # Security
    /// The units come from the attacker; lone surrogates are kept as they are.
    pub fn from_units(units: &[u16]) -> Result<Self, NameError> {
        if units.is_empty() || units == [DOT] || units == [DOT, DOT] {
            return Err(NameError::Empty);
        }
        if units.len() > MAX_UNITS {
            return Err(NameError::TooLong);
        }
        if units.iter().copied().any(is_reserved) {
            return Err(NameError::Character);
        }
        Ok(Self(units.into()))
    }

    /// A name of this text.
    ///
    /// # Errors
    /// As [`FileName::from_units`].
    pub fn new(text: &str) -> Result<Self, NameError> {
        Self::from_units(&text.encode_utf16().collect::<Vec<u16>>())
    }

    /// The units.
    #[must_use]
    pub fn units(&self) -> &[u16] {
        &self.0
    }

    /// Whether both are one name where case does not count.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .all(|(left, right)| fold(*left) == fold(*right))
    }

    /// The short name that NTFS gives beside this one, if it needs one; `taken` says which are not free.
    ///
    /// [MS-FSCC] 2.1.5.2.1 says what a short name is; which one a file system makes is its own affair. Six characters, a
    /// tilde and a number is what NTFS makes for the first four; from the fifth it puts a hash of the name there,
    /// which is not documented and not modelled: the number goes on.
    #[must_use]
    pub fn short(&self, taken: impl Fn(&Self) -> bool) -> Option<Self> {
        if self.is_short() {
            return None;
        }
        let last_dot = self.0.iter().rposition(|unit| *unit == DOT);
        let (base, extension) = match last_dot {
            Some(at) if at > 0 => self.0.split_at(at),
            Some(_) | None => (&*self.0, &[] as &[u16]),
        };
        let base: Vec<u16> = short_units(base).collect();
        let extension: Vec<u16> = short_units(extension).take(3).collect();
        (1..1000_u32).find_map(|number| {
            let tail: Vec<u16> = format!("~{number}").encode_utf16().collect();
            let mut units: Vec<u16> = base.iter().copied().take(8 - tail.len()).collect();
            units.extend(&tail);
            if !extension.is_empty() {
                units.push(DOT);
                units.extend(&extension);
            }
            let name = Self(units.into());
            (!taken(&name)).then_some(name)
        })
    }

    /// Whether it is a short name itself: eight characters, a dot and three, nothing but ASCII that DOS knew.
    #[must_use]
    pub fn is_short(&self) -> bool {
        let mut parts = self.0.split(|unit| *unit == DOT);
        let base = parts.next().unwrap_or_default();
        let extension = parts.next();
        let known = |units: &[u16]| units.iter().all(|unit| short_unit(*unit) == fold(*unit));
        (1..=8).contains(&base.len())
            && known(base)
            && extension.is_none_or(|part| (1..=3).contains(&part.len()) && known(part))
            && parts.next().is_none()
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for decoded in char::decode_utf16(self.0.iter().copied()) {
            match decoded {
                Ok(character) if !character.is_control() => write!(formatter, "{character}")?,
                Ok(character) => write!(formatter, "{}", character.escape_unicode())?,
                Err(lone) => write!(formatter, "\\u{{{:x}}}", lone.unpaired_surrogate())?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{self}\"")
    }
}

const DOT: u16 = b'.' as u16;
const SPACE: u16 = b' ' as u16;
const UNDERSCORE: u16 = b'_' as u16;

/// [MS-FSCC] 2.1.5.2: control characters and `"*/:<>?\|`.
fn is_reserved(unit: u16) -> bool {
    u8::try_from(unit).is_ok_and(|byte| byte < 0x20 || br#""*/:<>?\|"#.contains(&byte))
}

/// A unit in upper case, as a volume's `$UpCase` table has it.
///
/// The table maps single units to single units and never a unit outside ASCII to one inside it (dotless `ı` and long
/// `ſ` stay themselves), so neither does this.
#[must_use]
pub fn fold(unit: u16) -> u16 {
    if let Ok(byte) = u8::try_from(unit)
        && byte.is_ascii()
    {
        return u16::from(byte.to_ascii_uppercase());
    }
    let Some(character) = char::from_u32(u32::from(unit)) else {
        return unit;
    };
    let mut upper = character.to_uppercase();
    match (
        upper.next().map(|first| u16::try_from(u32::from(first))),
        upper.next(),
    ) {
        (Some(Ok(first)), None) if first > 0x7f => first,
        _ => unit,
    }
}

/// The units of a short name: upper case, no spaces and dots, what DOS did not know as `_`.
fn short_units(units: &[u16]) -> impl Iterator<Item = u16> {
    units
        .iter()
        .copied()
        .filter(|unit| *unit != SPACE && *unit != DOT)
        .map(short_unit)
}

fn short_unit(unit: u16) -> u16 {
    match u8::try_from(unit) {
        Ok(byte) if byte.is_ascii_alphanumeric() || b"!#$%&'()-@^_`{}~".contains(&byte) => {
            fold(unit)
        }
        Ok(_) | Err(_) => UNDERSCORE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    #[test]
    fn what_can_not_stand_in_a_directory_is_refused() {
        for (text, error) in [
            ("", NameError::Empty),
            (".", NameError::Empty),
            ("..", NameError::Empty),
            ("a:b", NameError::Character),
            ("a\\b", NameError::Character),
            ("a\u{1f}", NameError::Character),
            (&"x".repeat(256), NameError::TooLong),
        ] {
            assert_eq!(FileName::new(text), Err(error), "{text}");
        }
        assert_eq!(
            FileName::from_units(&[0xd800]).unwrap().to_string(),
            "\\u{d800}"
        );
    }

    #[test]
    fn case_does_not_count_and_nothing_folds_into_ascii() {
        assert!(name(".git").same(&name(".GIT")));
        assert!(name("é").same(&name("É")));
        for foreign in [".g\u{131}t", ".\u{131}dea", ".gi\u{17f}"] {
            assert!(!name(".git").same(&name(foreign)));
            assert!(!name(".idea").same(&name(foreign)));
        }
        assert!(!name("\u{212a}").same(&name("k")));
    }

    #[test]
    fn short_names_are_made_where_the_long_one_is_none() {
        let free = |_: &FileName| false;
        assert_eq!(name(".git").short(free), Some(name("GIT~1")));
        assert_eq!(name("AGENTS.md").short(free), None);
        assert_eq!(
            name("CLAUDE.markdown").short(free),
            Some(name("CLAUDE~1.MAR"))
        );
        assert_eq!(name("a b.c").short(free), Some(name("AB~1.C")));
        let first = name("GIT~1");
        let second = name(".git").short(|other| *other == first);
        assert_eq!(second, Some(name("GIT~2")));
    }

    #[test]
    fn no_made_short_name_is_a_protected_name() {
        // A made one has a tilde in it; no protected name has.
        let made = name(".gitx").short(|_| false).unwrap();
        assert!(made.units().contains(&u16::from(b'~')));
    }
}
