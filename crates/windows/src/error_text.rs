//! An error on one line, for reports that are not a person's screen.
//!
//! Invariant: every cause is in it, the outermost first.

use std::error::Error;

/// The error and its causes, with colons between them.
#[must_use]
pub fn chain(error: impl Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
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
        assert_eq!(chain(error), "the boat sank: a leak");
        assert_eq!(chain(std::io::Error::other("a leak")), "a leak");
    }
}
