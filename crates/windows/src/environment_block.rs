//! The environment as `CreateProcess` takes it: `NAME=value`, each ended by a zero, sorted, one more zero at the end.
//!
//! Source: learn.microsoft.com "Changing Environment Variables" (sorted by name, case-insensitive, in the order of
//! the alphabet). Invariant: a name stands once; what another program would find first is what was meant.

use std::collections::BTreeMap;

/// A variable, in UTF-16 units.
pub type Variable = (Vec<u16>, Vec<u16>);

/// Why variables make no block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// A name is empty, or holds a zero or an equals sign.
    #[error("`{0}` is no name of a variable")]
    Name(String),
    /// A value holds a zero.
    #[error("the value of `{0}` holds a zero character")]
    Value(String),
    /// Two names differ in case alone.
    #[error("`{0}` is set twice")]
    Twice(String),
}

/// Makes the block, with both final zeros.
///
/// # Errors
/// [`BlockError`], naming the variable.
pub fn build(variables: &[Variable]) -> Result<Vec<u16>, BlockError> {
    let mut sorted: Vec<(Vec<u16>, &Variable)> = variables
        .iter()
        .map(|variable| (upper(&variable.0), variable))
        .collect();
    sorted.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    let mut block = Vec::new();
    let mut before: Option<&[u16]> = None;
    for (key, (name, value)) in &sorted {
        let shown = || String::from_utf16_lossy(name);
        // The names of drives' directories begin with an equals sign; none of ours does.
        if name.is_empty() || name.contains(&0) || name.contains(&u16::from(b'=')) {
            return Err(BlockError::Name(shown()));
        }
        if value.contains(&0) {
            return Err(BlockError::Value(shown()));
        }
        if before == Some(key.as_slice()) {
            return Err(BlockError::Twice(shown()));
        }
        before = Some(key);
        block.extend_from_slice(name);
        block.push(b'='.into());
        block.extend_from_slice(value);
        block.push(0);
    }
    if block.is_empty() {
        block.push(0);
    }
    block.push(0);
    Ok(block)
}

/// `under` with what `over` sets in its place: names are compared without regard to case, and the last one counts.
#[must_use]
pub fn overlay(under: Vec<Variable>, over: Vec<Variable>) -> Vec<Variable> {
    let mut merged: BTreeMap<Vec<u16>, Variable> = BTreeMap::new();
    for variable in under.into_iter().chain(over) {
        merged.insert(upper(&variable.0), variable);
    }
    merged.into_values().collect()
}

/// The value of a variable, its name compared without regard to case.
#[must_use]
pub fn find<'a>(variables: &'a [Variable], name: &str) -> Option<&'a [u16]> {
    let wanted = upper(&name.encode_utf16().collect::<Vec<u16>>());
    let mut all = variables.iter();
    all.find(|(name, _)| upper(name) == wanted)
        .map(|(_, value)| value.as_slice())
}

/// Upper case unit by unit, as the system compares names; what would change its length stays.
fn upper(name: &[u16]) -> Vec<u16> {
    name.iter()
        .map(|unit| {
            let Some(character) = char::from_u32(u32::from(*unit)) else {
                return *unit;
            };
            let mut all = character.to_uppercase();
            match (all.next(), all.next()) {
                (Some(one), None) => u16::try_from(u32::from(one)).unwrap_or(*unit),
                _ => *unit,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(list: &[(&str, &str)]) -> Vec<Variable> {
        let units = |text: &str| text.encode_utf16().collect();
        list.iter().map(|(n, v)| (units(n), units(v))).collect()
    }

    fn block(list: &[(&str, &str)]) -> Result<String, BlockError> {
        build(&variables(list)).map(|block| String::from_utf16(&block).unwrap())
    }

    #[test]
    fn a_block_is_sorted_without_regard_to_case() {
        let made = block(&[("b", "2"), ("A", "1"), ("_x", "4"), ("C", "3")]);
        assert_eq!(made.unwrap(), "A=1\0b=2\0C=3\0_x=4\0\0");
    }

    #[test]
    fn what_is_laid_over_takes_the_place_of_every_spelling() {
        let merged = overlay(
            variables(&[("Path", "old"), ("A", "1"), ("PATH", "older")]),
            variables(&[("pAtH", "new"), ("b", "2")]),
        );
        let expected = variables(&[("A", "1"), ("b", "2"), ("pAtH", "new")]);
        assert_eq!(merged, expected);
        let value: Vec<u16> = "new".encode_utf16().collect();
        assert_eq!(find(&merged, "PATH"), Some(value.as_slice()));
        assert_eq!(find(&merged, "absent"), None);
    }

    #[test]
    fn an_empty_block_has_both_zeros() {
        assert_eq!(block(&[]).unwrap(), "\0\0");
    }

    #[test]
    fn what_would_be_read_as_another_variable_is_refused() {
        assert_eq!(block(&[("", "x")]), Err(BlockError::Name(String::new())));
        assert_eq!(
            block(&[("A=B", "x")]),
            Err(BlockError::Name("A=B".to_owned()))
        );
        assert_eq!(
            block(&[("A\0B", "x")]),
            Err(BlockError::Name("A\0B".to_owned()))
        );
        assert_eq!(
            block(&[("A", "x\0PATH=evil")]),
            Err(BlockError::Value("A".to_owned()))
        );
        assert!(matches!(
            block(&[("Path", "1"), ("PATH", "2")]),
            Err(BlockError::Twice(_))
        ));
    }
}
