//! Passwords of the accounts: 32 characters, some of every class.
//!
//! It draws from a generator that it is given. Invariant: every character is equally likely, and a password that lacks
//! a class is drawn anew, whole.

/// How many characters a password has.
pub const LENGTH: usize = 32;

/// The classes that password policies know, without characters that a layout or a shell takes for something else.
const CLASSES: [&[u8]; 4] = [
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b"abcdefghijklmnopqrstuvwxyz",
    b"0123456789",
    b"!#$*+-.:=?@_",
];

/// A password in ASCII, drawn from `fill`, the system's generator.
///
/// # Errors
/// The generator's.
pub fn draw<E>(mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Vec<u8>, E> {
    loop {
        let mut password = Vec::with_capacity(LENGTH);
        while password.len() < LENGTH {
            let mut byte = [0];
            fill(&mut byte)?;
            let [byte] = byte;
            password.extend(character(byte));
        }
        let has = |class: &&[u8]| password.iter().any(|character| class.contains(character));
        if CLASSES.iter().all(has) {
            return Ok(password);
        }
        password.fill(0);
    }
}

/// The character that a random byte stands for; none for bytes beyond the last whole round of the alphabet, which would
/// make some characters likelier.
fn character(byte: u8) -> Option<u8> {
    let alphabet = CLASSES.concat();
    let (round, place) = (
        usize::from(byte) / alphabet.len(),
        usize::from(byte) % alphabet.len(),
    );
    (round < 256 / alphabet.len())
        .then(|| alphabet.get(place).copied())
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A generator for tests alone.
    fn generator(seed: u32) -> impl FnMut(&mut [u8]) -> Result<(), Infallible> {
        let mut state = seed;
        move |bytes| {
            for byte in bytes {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = state.to_be_bytes()[0];
            }
            Ok(())
        }
    }

    #[test]
    fn every_password_has_every_class_and_no_two_are_alike() {
        let mut seen = std::collections::BTreeSet::new();
        let mut fill = generator(7);
        for _ in 0..500 {
            let password = draw(&mut fill).unwrap();
            assert_eq!(password.len(), LENGTH);
            for class in CLASSES {
                assert!(password.iter().any(|character| class.contains(character)));
            }
            assert!(seen.insert(password));
        }
    }

    #[test]
    fn a_password_that_lacks_a_class_is_not_taken() {
        let mut calls = 0_u32;
        let mut good = generator(3);
        let password = draw(|bytes: &mut [u8]| {
            calls += 1;
            if calls <= 32 {
                bytes.fill(0);
                return Ok::<(), Infallible>(());
            }
            good(bytes)
        })
        .unwrap();
        assert!(calls > 64 && password.iter().any(|byte| *byte != b'A'));
    }

    #[test]
    fn no_character_is_likelier_than_another() {
        let mut counts = std::collections::BTreeMap::new();
        for character in (0..=u8::MAX).filter_map(character) {
            *counts.entry(character).or_insert(0) += 1;
        }
        let alphabet = CLASSES.concat();
        assert_eq!(counts.len(), alphabet.len());
        assert!(counts.values().all(|count| *count == 256 / alphabet.len()));
    }
}
