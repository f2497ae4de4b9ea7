//! Lists whose length an attacker chooses: the first few are kept, and the rest counted.
//!
//! Invariant: no list is longer than [`LISTED`], and none forgets how many there were.

use super::machine::{Remnant, RemnantKind};

/// How many are kept.
pub const LISTED: usize = 100;
/// The longest text of one of them that is told, in characters.
const SHOWN: usize = 1000;

/// The first of many, and how many more there were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    first: Vec<T>,
    more: u64,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self {
            first: Vec::new(),
            more: 0,
        }
    }
}

impl<T> Listing<T> {
    /// Takes one more.
    pub fn push(&mut self, one: T) {
        if self.first.len() < LISTED {
            self.first.push(one);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// Those that were kept, in the order in which they came.
    #[must_use]
    pub fn first(&self) -> &[T] {
        &self.first
    }

    /// How many were not kept.
    #[must_use]
    pub const fn more(&self) -> u64 {
        self.more
    }

    /// Whether there was none at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.first.is_empty() && self.more == 0
    }

    /// Each that was kept, as something else.
    #[must_use]
    pub fn map<U>(self, make: impl FnMut(T) -> U) -> Listing<U> {
        Listing {
            first: self.first.into_iter().map(make).collect(),
            more: self.more,
        }
    }

    /// Puts those that were kept in order.
    pub(super) fn sort(&mut self)
    where
        T: Ord,
    {
        self.first.sort();
    }
}

impl Listing<String> {
    /// The texts, of bounded length; a last one counts the rest: `and 7 more objects {what}`.
    #[must_use]
    pub fn told(self, what: &str) -> Vec<String> {
        let rest = (self.more > 0).then(|| format!("and {} more objects {what}", self.more));
        let first = self.first.into_iter().map(shortened);
        first.chain(rest).collect()
    }
}

impl Listing<Remnant> {
    /// As [`Listing::told`]; the rest count as not looked at.
    #[must_use]
    pub fn remnants(self, what: &str) -> Vec<Remnant> {
        let kinds: Vec<RemnantKind> = self.first.iter().map(|one| one.kind).collect();
        let rest = std::iter::repeat(RemnantKind::Unseen);
        let told = self.map(|one| one.object).told(what);
        let kinds = kinds.into_iter().chain(rest);
        let remnant = |(kind, object)| Remnant { kind, object };
        kinds.zip(told).map(remnant).collect()
    }
}

/// A text that ends with an ellipsis where it was longer.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_counted_and_said() {
        let mut listing = Listing::default();
        assert!(listing.is_empty());
        for number in 0..250_u32 {
            listing.push(number);
        }
        assert_eq!((listing.first().len(), listing.more()), (LISTED, 150));
        let entry = |number: u32| Remnant {
            kind: RemnantKind::Entry,
            object: number.to_string(),
        };
        let told = listing.map(entry).remnants("carry entries");
        assert_eq!(told.len(), LISTED + 1);
        let last = told.last().unwrap();
        assert_eq!(last.kind, RemnantKind::Unseen);
        assert_eq!(last.object, "and 150 more objects carry entries");
        assert!(
            told.iter()
                .take(LISTED)
                .all(|one| one.kind == RemnantKind::Entry)
        );
        let mut few = Listing::default();
        few.push("é".repeat(4000));
        let told = few.told("are long");
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].chars().count(), SHOWN + 1);
    }
}
