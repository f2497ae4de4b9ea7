//! The demo's rows: as lines while they come in, as a summary, as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::tools::Tools;
use super::trial::{Outcome, Trial};
use crate::render::escape::one_line;
use crate::render::style::{Colour, Tone};

const NAME_WIDTH: usize = 54;
const SIDE_WIDTH: usize = 11;

/// What a row shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Work, which must go on as without a boundary.
    Job,
    /// An attack, which must not.
    Attack,
}

/// What a row means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// As it should be.
    Held,
    /// An attack worked inside, or work did not.
    Broken,
    /// It crashed inside, or Ringfence failed: nothing is proven.
    NoAnswer,
    /// The control failed: nothing is proven.
    NotTested,
    /// It can't be tried on this machine.
    LeftOut,
}

/// One row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    kind: Kind,
    name: &'static str,
    verdict: Verdict,
    control: Option<Outcome>,
    inside: Option<Outcome>,
    rules: Vec<String>,
    why: Option<String>,
}

impl Row {
    /// A row that was run on both sides.
    pub(crate) fn tried(
        kind: Kind,
        name: &'static str,
        verdict: Verdict,
        control: Trial,
        inside: Trial,
    ) -> Self {
        Self {
            kind,
            name,
            verdict,
            control: Some(control.outcome),
            inside: Some(inside.outcome),
            rules: inside.rules,
            why: None,
        }
    }

    /// A row that can't be run here.
    pub(crate) fn left_out(kind: Kind, name: &'static str, why: String) -> Self {
        Self {
            kind,
            name,
            verdict: Verdict::LeftOut,
            control: None,
            inside: None,
            rules: Vec::new(),
            why: Some(why),
        }
    }
}

/// All rows, counted.
#[derive(Debug, Serialize)]
pub(crate) struct Summary<'a> {
    held: usize,
    broken: usize,
    no_answer: usize,
    not_tested: usize,
    left_out: usize,
    rows: &'a [Row],
}

impl<'a> Summary<'a> {
    /// Counts `rows`.
    pub(crate) fn of(rows: &'a [Row]) -> Self {
        let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
        Self {
            held: count(Verdict::Held),
            broken: count(Verdict::Broken),
            no_answer: count(Verdict::NoAnswer),
            not_tested: count(Verdict::NotTested),
            left_out: count(Verdict::LeftOut),
            rows,
        }
    }

    /// Whether all that was tried ended as it should, with its control.
    pub(crate) fn all_held(&self) -> bool {
        self.held > 0 && self.broken + self.no_answer + self.not_tested == 0
    }
}

/// What is about to be shown.
pub(crate) fn render_introduction(tools: &Tools, colour: Colour) -> String {
    let (found, missing) = super::tool_names(tools);
    let mut text = format!(
        "{}\n\nA small project in a scratch directory, worked on and attacked twice: without a boundary,\n\
         and inside `ringfence run` with no configuration. Made with {}.\n",
        colour.paint(Tone::Strong, "ringfence demo"),
        list(&found),
    );
    // Writing to a String can't fail, here and below.
    if !missing.is_empty() {
        let _ = writeln!(text, "Not installed here, so left out: {}.", list(&missing));
    }
    text
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        "a shell alone".to_owned()
    } else {
        names.join(", ")
    }
}

/// The heads of a section.
pub(crate) fn render_heads(kind: Kind, colour: Colour) -> String {
    let (title, last) = match kind {
        Kind::Job => ("WORK THAT MUST GO ON", ""),
        Kind::Attack => ("ATTACKS OF A HOSTILE AGENT", "REFUSED BY"),
    };
    let line = format!(
        "{title:NAME_WIDTH$}{:SIDE_WIDTH$}{:SIDE_WIDTH$}{last}",
        "WITHOUT", "INSIDE"
    );
    format!("\n{}\n", colour.paint(Tone::Strong, line.trim_end()))
}

/// One row as a line, or two where it needs an explanation.
pub(crate) fn render_row(row: Option<&Row>, colour: Colour) -> String {
    let Some(row) = row else { return String::new() };
    let (Some(control), Some(inside)) = (&row.control, &row.inside) else {
        let why = row.why.as_deref().unwrap_or_default();
        let line = format!("{:NAME_WIDTH$}left out: {}", row.name, one_line(why));
        return format!("{}\n", colour.paint(Tone::Faint, &line));
    };
    let tone = match row.verdict {
        Verdict::Held => Tone::Good,
        Verdict::Broken => Tone::Bad,
        Verdict::NoAnswer | Verdict::NotTested | Verdict::LeftOut => Tone::Warning,
    };
    let padded = format!("{:SIDE_WIDTH$}", word(inside));
    let mut text = format!(
        "{:NAME_WIDTH$}{:SIDE_WIDTH$}{}{}",
        row.name,
        word(control),
        colour.paint(tone, &padded),
        by(row, inside),
    );
    text.truncate(text.trim_end().len());
    text.push('\n');
    match row.verdict {
        Verdict::Held | Verdict::LeftOut => {}
        Verdict::Broken => {
            let label = match row.kind {
                Kind::Job => "WORK WAS BROKEN:",
                Kind::Attack => "THE BOUNDARY DID NOT HOLD:",
            };
            let _ = writeln!(
                text,
                "  {} {}",
                colour.paint(Tone::Bad, label),
                answer(inside)
            );
        }
        Verdict::NoAnswer => {
            let _ = writeln!(
                text,
                "  {} {}",
                colour.paint(Tone::Warning, "NOT PROVEN:"),
                answer(inside)
            );
        }
        Verdict::NotTested => {
            let _ = writeln!(
                text,
                "  {} it fails without a boundary too: {}",
                colour.paint(Tone::Warning, "NOT TESTED:"),
                answer(control)
            );
        }
    }
    text
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Worked => "works",
        Outcome::Refused { .. } => "refused",
        Outcome::Quarantined => "taken away",
        Outcome::Contained => "no effect",
        Outcome::Unknown { .. } => "no answer",
    }
}

/// The rule that was recorded; where none is (there is nothing there to refuse), what the attack was told.
fn by(row: &Row, inside: &Outcome) -> String {
    if row.kind == Kind::Job {
        return String::new();
    }
    if !row.rules.is_empty() {
        return one_line(&row.rules.join(", ")).into_owned();
    }
    match inside {
        Outcome::Refused { answer } => one_line(answer).into_owned(),
        Outcome::Quarantined => "ringfence quarantine".to_owned(),
        Outcome::Contained => "nothing of it was left".to_owned(),
        Outcome::Worked | Outcome::Unknown { .. } => String::new(),
    }
}

fn answer(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused { answer } | Outcome::Unknown { answer } => one_line(answer).into_owned(),
        Outcome::Worked => "it worked".to_owned(),
        Outcome::Quarantined => "what it made was taken away".to_owned(),
        Outcome::Contained => "it had no effect".to_owned(),
    }
}

/// The last lines.
pub(crate) fn render_summary(rows: &[Row], colour: Colour) -> String {
    let summary = Summary::of(rows);
    let held = |kind| {
        rows.iter()
            .filter(|row| row.kind == kind && row.verdict == Verdict::Held)
            .count()
    };
    let tried = |kind| {
        rows.iter()
            .filter(|row| row.kind == kind && row.verdict != Verdict::LeftOut)
            .count()
    };
    let verdict = if summary.all_held() {
        colour.paint(Tone::Good, "The boundary held.")
    } else if summary.broken > 0 {
        colour.paint(Tone::Bad, "Not as it should be: see above.")
    } else {
        colour.paint(Tone::Warning, "Not proven: see above.")
    };
    let mut text = format!(
        "\n{verdict} {} of {} attacks came to nothing, {} of {} jobs worked.",
        held(Kind::Attack),
        tried(Kind::Attack),
        held(Kind::Job),
        tried(Kind::Job),
    );
    if summary.left_out > 0 {
        let _ = write!(text, " {} left out here.", summary.left_out);
    }
    text.push_str(
        "\nNext: ringfence run -- COMMAND, ringfence explain write PATH, ringfence doctor\n",
    );
    text
}
