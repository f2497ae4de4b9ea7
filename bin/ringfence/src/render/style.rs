//! Colour, where a person looks at a terminal; it only repeats what the words say.

use std::io::IsTerminal;

/// Whether colour is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// ANSI colours.
    Ansi,
    /// None.
    Plain,
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Needs a look.
    Warning,
    /// Not as it should be.
    Bad,
    /// A heading.
    Strong,
    /// Of less weight.
    Faint,
}

impl Colour {
    /// Colour for `stream`: a terminal that understands it, and no `NO_COLOR` (no-color.org).
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if stream.is_terminal() && !refused && !dumb {
            Self::Ansi
        } else {
            Self::Plain
        }
    }

    /// `text` in the colour of `tone`.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match (self, tone) {
            (Self::Plain, _) => return text.to_owned(),
            (Self::Ansi, Tone::Good) => "32",
            (Self::Ansi, Tone::Warning) => "33",
            (Self::Ansi, Tone::Bad) => "31",
            (Self::Ansi, Tone::Strong) => "1",
            (Self::Ansi, Tone::Faint) => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}
