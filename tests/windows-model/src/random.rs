//! Numbers that look random and are the same in every run with the same seed.
//!
//! The generator is `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). Not for
//! secrets. Invariant: same seed, same numbers, on every machine.

/// A source of numbers.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// The source number `index` of a family: neighbours have nothing in common.
    #[must_use]
    pub const fn new(seed: u64, index: u64) -> Self {
        Self {
            state: mix(seed).wrapping_add(mix(index.wrapping_mul(Self::STEP))),
        }
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(Self::STEP);
        mix(self.state)
    }

    /// The next 32 bits.
    pub const fn word(&mut self) -> u32 {
        (self.bits() >> 32) as u32
    }

    /// A number below `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        // The bias of the remainder is below 2^-50 for the small ranges in use.
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.bits() % end).unwrap_or(0)
    }

    /// Whether something that happens `percent` times in a hundred happens now.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`, or `otherwise` if there is none.
    pub fn one_of<T: Copy>(&mut self, choices: &[T], otherwise: T) -> T {
        choices
            .get(self.below(choices.len()))
            .copied()
            .unwrap_or(otherwise)
    }

    /// Each of `choices` with the given chance, in order.
    pub fn some_of<T: Copy>(&mut self, choices: &[T], percent: usize) -> Vec<T> {
        let mut taken = Vec::new();
        for choice in choices {
            if self.chance(percent) {
                taken.push(*choice);
            }
        }
        taken
    }
}

const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_index_others() {
        let take = |seed, index| {
            let mut random = Random::new(seed, index);
            [random.bits(), random.bits(), random.bits()]
        };
        assert_eq!(take(1, 2), take(1, 2));
        assert_ne!(take(1, 2), take(1, 3));
        assert_ne!(take(1, 2), take(2, 2));
    }

    #[test]
    fn every_choice_is_made_sometimes() {
        let mut random = Random::new(0, 0);
        let mut seen = [0_u32; 5];
        for _ in 0..1000 {
            seen[random.below(5)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }
}
