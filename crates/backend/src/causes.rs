//! An error with what caused it.
//!
//! Invariant: every cause is told, the outermost first.

use std::error::Error;

/// The error, its cause, the cause of that, and so on.
pub fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The error and its causes in one sentence, with colons between them.
#[must_use]
pub fn in_one_sentence(error: &(dyn Error + 'static)) -> String {
    let told: Vec<String> = chain(error).map(ToString::to_string).collect();
    told.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the boat sank")]
    struct Sank(#[source] std::io::Error);

    #[test]
    fn every_cause_is_told_in_order() {
        let error = Sank(std::io::Error::other("a leak"));
        assert_eq!(in_one_sentence(&error), "the boat sank: a leak");
        let cause = std::io::Error::other("a leak");
        assert_eq!(in_one_sentence(&cause), "a leak");
    }
}
