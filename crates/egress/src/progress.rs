//! How far a parser came with the bytes it was given, and reading them in pieces.
//!
//! Invariant: what a parser says about a beginning it also says about the whole, unless it asked for more.

/// The answer of a parser that may be given a beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress<T> {
    /// All bytes so far are good, and more are needed.
    NeedMore,
    /// Everything is there.
    Done {
        /// What was read.
        value: T,
        /// How many bytes of the input it took.
        used: usize,
    },
}

impl<T> Progress<T> {
    /// The same progress with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Progress<U> {
        match self {
            Self::NeedMore => Progress::NeedMore,
            Self::Done { value, used } => Progress::Done {
                value: change(value),
                used,
            },
        }
    }
}

/// The bytes of a message that are still to be read; every read says whether there were enough.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            length: bytes.len(),
        }
    }

    /// How many bytes were read.
    pub(crate) fn used(&self) -> usize {
        self.length - self.rest.len()
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u24(&mut self) -> Option<usize> {
        self.array()
            .map(|[a, b, c]| usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c))
    }

    /// The bytes that a length of one byte announces.
    pub(crate) fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// The bytes that a length of two bytes announces.
    pub(crate) fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}

/// Checks that `parse` gives the same answer however the bytes arrive: at once, or byte by byte.
#[cfg(test)]
pub(crate) fn assert_prefix_stable<T, E>(
    bytes: &[u8],
    parse: impl Fn(&[u8]) -> Result<Progress<T>, E>,
) where
    T: PartialEq + std::fmt::Debug,
    E: PartialEq + std::fmt::Debug,
{
    let whole = parse(bytes);
    for end in 0..=bytes.len() {
        match parse(&bytes[..end]) {
            Ok(Progress::NeedMore) => {}
            settled => {
                assert_eq!(settled, whole, "after {end} of {} bytes", bytes.len());
                if let Ok(Progress::Done { used, .. }) = &settled {
                    assert!(*used <= end);
                }
            }
        }
    }
}
