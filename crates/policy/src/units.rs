//! Sizes and times with their unit in the type.
//!
//! Reads and prints the words of a policy file (`4GiB`, `1h30m`); knows nothing of what they limit.
//! Invariant: what is printed reads back as the same value.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A number of bytes.
///
/// Text in human-readable formats (`4GiB`, `512MB`, `4096`), a plain number elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// The least memory that a session's own first process and a small command fit into.
pub const LEAST_MEMORY: ByteSize = ByteSize(4 << 20);

/// A length of time in whole milliseconds.
///
/// Text in human-readable formats (`30m`, `1h30m`), a plain number elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span(pub u64);

/// Why a text is no size or time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// It is below zero.
    #[error("it is negative")]
    Negative,
    /// It has a fraction.
    #[error("it is not a whole number")]
    Fraction,
    /// A unit without a number before it, or no number at all.
    #[error("`{0}` has no number before its unit")]
    NoNumber(String),
    /// A time without a unit.
    #[error("`{0}` has no unit")]
    NoUnit(String),
    /// A unit that is not known.
    #[error("`{0}` is not a unit")]
    UnknownUnit(String),
    /// A unit twice, or a larger one after a smaller.
    #[error("`{0}` comes twice or after a smaller unit")]
    UnitOrder(String),
    /// It does not fit into 64 bits.
    #[error("it is too large")]
    TooLarge,
}

/// Binary before decimal, large before small: the first that divides exactly is printed.
const SIZE_UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

const TIME_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl ByteSize {
    /// What a person is told when a size can't be read.
    pub const HINT: &'static str =
        "write a whole number and a unit: `4GiB`, `512MiB`, `500MB`, or bytes without a unit";
}

impl Span {
    /// What a person is told when a time can't be read.
    pub const HINT: &'static str = "write whole numbers with units (d, h, m, s, ms), large before small: `30m`, `120s`, `1h30m`";

    /// The same length as the standard library's type.
    #[must_use]
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

/// Splits the decimal number off the front of `text`.
fn leading_number(text: &str) -> Result<(u64, &str), UnitError> {
    if text.starts_with('-') {
        return Err(UnitError::Negative);
    }
    let end = text
        .bytes()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return Err(UnitError::NoNumber(text.to_owned()));
    }
    if rest.starts_with('.') {
        return Err(UnitError::Fraction);
    }
    let number = digits.parse().map_err(|_| UnitError::TooLarge)?;
    Ok((number, rest))
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(UnitError::Empty);
        }
        let (number, unit) = leading_number(text)?;
        let unit = unit.trim_start();
        if unit.is_empty() || unit.eq_ignore_ascii_case("b") {
            return Ok(Self(number));
        }
        let (_, factor) = SIZE_UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .ok_or_else(|| UnitError::UnknownUnit(unit.to_owned()))?;
        number
            .checked_mul(*factor)
            .map(Self)
            .ok_or(UnitError::TooLarge)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(UnitError::Empty);
        }
        let mut total = 0_u64;
        let mut smallest = u64::MAX;
        while !rest.is_empty() {
            let (number, after) = leading_number(rest)?;
            let end = after
                .bytes()
                .position(|byte| byte.is_ascii_digit())
                .unwrap_or(after.len());
            let (unit, next) = after.split_at(end);
            if unit.is_empty() {
                return Err(UnitError::NoUnit(rest.to_owned()));
            }
            if unit.starts_with('.') {
                return Err(UnitError::Fraction);
            }
            let (_, factor) = TIME_UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(|| UnitError::UnknownUnit(unit.to_owned()))?;
            if *factor >= smallest {
                return Err(UnitError::UnitOrder(unit.to_owned()));
            }
            smallest = *factor;
            total = number
                .checked_mul(*factor)
                .and_then(|part| total.checked_add(part))
                .ok_or(UnitError::TooLarge)?;
            rest = next;
        }
        Ok(Self(total))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = SIZE_UNITS
            .iter()
            .find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        match exact {
            Some((unit, factor)) => write!(formatter, "{}{unit}", self.0 / factor),
            None => write!(formatter, "{}B", self.0),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return formatter.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, factor) in TIME_UNITS {
            if rest >= factor {
                write!(formatter, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

/// Text where people read, a number where they don't; a file may also give plain bytes as a number.
macro_rules! serde_as_text {
    ($type:ident, $visitor:ident, $expecting:literal, $number:expr) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_u64(self.0)
                }
            }
        }

        struct $visitor;

        impl Visitor<'_> for $visitor {
            type Value = $type;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str($expecting)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$type, E> {
                let number = u64::try_from(number).map_err(|_| E::custom(UnitError::Negative))?;
                self.visit_u64(number)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$type, E> {
                let from_number: fn(u64) -> Result<$type, UnitError> = $number;
                from_number(number).map_err(E::custom)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    deserializer.deserialize_any($visitor)
                } else {
                    u64::deserialize(deserializer)
                        .map(Self)
                        .map_err(D::Error::custom)
                }
            }
        }
    };
}

serde_as_text!(ByteSize, SizeVisitor, "a size such as `4GiB`", |bytes| {
    Ok(ByteSize(bytes))
});
serde_as_text!(Span, SpanVisitor, "a time such as `30m`", |number| {
    Err(UnitError::NoUnit(number.to_string()))
});

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "minimum": 1,
            "pattern": "^[0-9]+ ?([kKmMgGtT]?[iI]?[bB])?$",
        })
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
            "minLength": 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [
            ("4GiB", 4 << 30),
            ("512MB", 512_000_000),
            ("512 mib", 512 << 20),
            ("4096", 4096),
            ("4096B", 4096),
            ("1kB", 1000),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn bad_sizes_say_what_is_wrong() {
        for (text, error) in [
            ("", UnitError::Empty),
            ("  ", UnitError::Empty),
            ("-1GiB", UnitError::Negative),
            ("1.5GiB", UnitError::Fraction),
            ("GiB", UnitError::NoNumber("GiB".into())),
            ("4G", UnitError::UnknownUnit("G".into())),
            ("4Gib/s", UnitError::UnknownUnit("Gib/s".into())),
            ("99999999999999999999", UnitError::TooLarge),
            ("18446744073709551615KiB", UnitError::TooLarge),
        ] {
            assert_eq!(text.parse::<ByteSize>(), Err(error), "{text}");
        }
    }

    #[test]
    fn times_read_as_people_write_them() {
        for (text, milliseconds) in [
            ("30m", 1_800_000),
            ("120s", 120_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("250ms", 250),
            ("1s500ms", 1_500),
        ] {
            assert_eq!(text.parse(), Ok(Span(milliseconds)), "{text}");
        }
    }

    #[test]
    fn bad_times_say_what_is_wrong() {
        for (text, error) in [
            ("", UnitError::Empty),
            ("-5m", UnitError::Negative),
            ("30", UnitError::NoUnit("30".into())),
            ("1h30", UnitError::NoUnit("30".into())),
            ("1.5h", UnitError::Fraction),
            ("m", UnitError::NoNumber("m".into())),
            ("30min", UnitError::UnknownUnit("min".into())),
            ("30m1h", UnitError::UnitOrder("h".into())),
            ("1m1m", UnitError::UnitOrder("m".into())),
            ("18446744073709551615d", UnitError::TooLarge),
        ] {
            assert_eq!(text.parse::<Span>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(number: u64) {
            prop_assert_eq!(ByteSize(number).to_string().parse(), Ok(ByteSize(number)));
            prop_assert_eq!(Span(number).to_string().parse(), Ok(Span(number)));
            let json = serde_json::to_string(&(ByteSize(number), Span(number))).unwrap();
            prop_assert!(json.starts_with("[\""));
            prop_assert_eq!(serde_json::from_str::<(ByteSize, Span)>(&json).unwrap(), (ByteSize(number), Span(number)));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<ByteSize>();
            let _ = text.parse::<Span>();
        }
    }
}
