//! Inputs out of other inputs: a few changes each, from a generator that repeats itself for the same start.
//!
//! Knows no format. Invariant: the same start gives the same inputs.

/// Longer inputs than this are cut.
const MOST_BYTES: usize = 8192;
/// Bytes at which readers branch.
const TELLING: [u8; 16] = [
    0, 1, 0x7f, 0x80, 0xff, b'\r', b'\n', b' ', b':', b'.', b'/', b'\\', b'"', b'%', b'*', b'-',
];

/// A small generator (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins at `start`; 0 is taken for 1.
    #[must_use]
    pub fn new(start: u64) -> Self {
        Self(start.max(1))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`; 0 for 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from((self.number() >> 11) % end).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        if self.below(2) == 0 {
            let index = self.below(TELLING.len());
            TELLING.get(index).copied().unwrap_or(0)
        } else {
            self.number().to_le_bytes()[3]
        }
    }
}

/// One to eight changes of `input`; pieces of `other` may come in.
#[must_use]
pub fn change(random: &mut Random, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len() + 1);
        let length = random.below(16) + 1;
        let end = (at + length).min(bytes.len());
        match random.below(7) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            1 => {
                let byte = random.byte();
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            2 => bytes.insert(at, random.byte()),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes.get(at..end).unwrap_or_default().to_vec();
                let place = random.below(bytes.len() + 1);
                drop(bytes.splice(place..place, piece));
            }
            5 => {
                let from = random.below(other.len() + 1);
                let piece = other.get(from..).unwrap_or_default();
                let piece = piece.get(..length * 4).unwrap_or(piece).to_vec();
                drop(bytes.splice(at..at, piece));
            }
            _ => bytes.truncate(at),
        }
    }
    bytes.truncate(MOST_BYTES);
    bytes
}
