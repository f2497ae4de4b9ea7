//! A table of plain columns.

use crate::render::escape::one_line;
use crate::render::style::{Colour, Tone};

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// A cell in the colour of `tone`.
    pub(crate) fn toned(tone: Tone, text: &str) -> Self {
        Self {
            text: one_line(text).into_owned(),
            tone: Some(tone),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self {
            text: one_line(text).into_owned(),
            tone: None,
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

/// Lines up `rows` below `heads`; the last column is as wide as it needs to be.
pub(crate) fn render<const N: usize>(
    heads: [&str; N],
    rows: &[[Cell; N]],
    colour: Colour,
) -> String {
    let mut widths = heads.map(|head| head.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let mut text = line(
        &heads.map(|head| Cell::toned(Tone::Faint, head)),
        &widths,
        colour,
    );
    for row in rows {
        text.push_str(&line(row, &widths, colour));
    }
    text
}

fn line<const N: usize>(row: &[Cell; N], widths: &[usize; N], colour: Colour) -> String {
    let mut text = String::new();
    let filled = row
        .iter()
        .rposition(|cell| !cell.text.is_empty())
        .unwrap_or_default();
    for (index, (cell, width)) in row.iter().zip(widths).enumerate().take(filled + 1) {
        match cell.tone {
            Some(tone) if !cell.text.is_empty() => text.push_str(&colour.paint(tone, &cell.text)),
            Some(_) | None => text.push_str(&cell.text),
        }
        if index < filled {
            let missing = width.saturating_sub(cell.text.chars().count());
            text.push_str(&" ".repeat(missing + 2));
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_hostile_text_stays_on_its_line() {
        let rows = [
            ["a".into(), "b\nc".into(), "d".into()],
            ["long".into(), "x".into(), "".into()],
        ];
        assert_eq!(
            render(["one", "two", "three"], &rows, Colour::Plain),
            "one   two   three\na     b\\nc  d\nlong  x\n"
        );
    }
}
