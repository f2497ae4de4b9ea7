//! What a person is told of objects that a command had closed to them.
//!
//! Invariant: names and causes are read as hostile, and escaped.

use ringfence_backend::wire::Tending;
use ringfence_policy::escape::escape;

/// One line for each kind of thing that was done, or could not be.
pub(super) fn notes(tending: &Tending) -> Vec<String> {
    let mut notes = Vec::new();
    if tending.opened > 0 {
        let names: Vec<String> = tending.examples.iter().map(|name| quoted(name)).collect();
        notes.push(format!(
            "{} that the command had closed to you {} open to you again: {}",
            objects(tending.opened),
            if tending.opened == 1 { "is" } else { "are" },
            listed(&names, tending.opened),
        ));
    }
    for path in &tending.unlinked {
        notes.push(format!(
            "{} had been made a link to somewhere else, and is a plain directory again",
            quoted(path)
        ));
    }
    if tending.left > 0 {
        let names: Vec<String> = tending
            .unopened
            .iter()
            .map(|(path, cause)| format!("{} ({})", quoted(path), escape(cause.as_bytes())))
            .collect();
        notes.push(format!(
            "WARNING: {} that the command left could not be opened to you: {}; `ringfence setup repair` with the path opens it",
            objects(tending.left),
            listed(&names, tending.left),
        ));
    }
    notes
}

fn quoted(name: &str) -> String {
    format!("`{}`", escape(name.as_bytes()))
}

fn objects(count: u64) -> String {
    match count {
        1 => "an object".to_owned(),
        more => format!("{more} objects"),
    }
}

/// The names, and how many there are beside them.
fn listed(names: &[String], count: u64) -> String {
    let shown = u64::try_from(names.len()).unwrap_or(u64::MAX);
    let text = names.join(", ");
    match count.saturating_sub(shown) {
        0 => text,
        more if names.is_empty() => format!("{more} in all"),
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_counted_named_and_escaped() {
        assert!(notes(&Tending::default()).is_empty());
        let tending = Tending {
            opened: 7,
            examples: vec!["C:\\ws\\a".to_owned(), "C:\\ws\\b\u{1b}[2J".to_owned()],
            unlinked: vec!["C:\\ws".to_owned()],
            left: 1,
            unopened: vec![("C:\\ws\\c".to_owned(), "denied\n".to_owned())],
        };
        let notes = notes(&tending);
        assert_eq!(notes.len(), 3);
        assert!(notes[0].starts_with("7 objects"), "{}", notes[0]);
        assert!(notes[0].ends_with("and 5 more"), "{}", notes[0]);
        assert!(notes[2].starts_with("WARNING: an object"), "{}", notes[2]);
        for note in notes {
            assert!(!note.contains(char::is_control), "{note:?}");
        }
    }
}
