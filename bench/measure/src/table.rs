//! Rows of the result: what was measured, the goal, and whether it was met. Pure.
//!
//! Invariant: a row without a measurement says why, and counts as neither met nor missed.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    /// One median divided by another.
    Ratio,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Mebibytes.
    Mebibytes,
}

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// It is only reported.
    None,
}

impl Goal {
    fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtMost(goal) => Some(value <= goal),
            Self::AtLeast(goal) => Some(value >= goal),
            Self::None => None,
        }
    }
}

/// One line of the result.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// The number, or why there is none.
    pub(crate) value: Result<f64, String>,
    /// What it counts.
    pub(crate) unit: Unit,
    /// What is to be reached.
    pub(crate) goal: Goal,
    /// The absolute figures behind it.
    pub(crate) detail: String,
}

impl Row {
    /// A row; a value that is missing is a contender that was not there.
    pub(crate) fn new(
        what: &str,
        unit: Unit,
        goal: Goal,
        value: Option<f64>,
        detail: String,
    ) -> Self {
        Self {
            what: what.to_owned(),
            value: value.ok_or_else(|| "not measured".to_owned()),
            unit,
            goal,
            detail,
        }
    }

    /// A row that could not be measured.
    pub(crate) fn failed(what: &str, unit: Unit, goal: Goal, why: String) -> Self {
        Self {
            what: what.to_owned(),
            value: Err(why),
            unit,
            goal,
            detail: String::new(),
        }
    }
}

fn number(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Ratio => format!("{value:.2}"),
        Unit::Milliseconds => format!("{value:.2} ms"),
        Unit::Microseconds => format!("{value:.3} µs"),
        Unit::Mebibytes => format!("{value:.2} MiB"),
    }
}

/// For a person.
pub(crate) fn render(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<54} {:>11} {:>13}  {:<8} medians\n",
        "what", "measured", "goal", "verdict"
    );
    for row in rows {
        let goal = match row.goal {
            Goal::AtMost(goal) => format!("≤ {}", number(goal, row.unit)),
            Goal::AtLeast(goal) => format!("≥ {}", number(goal, row.unit)),
            Goal::None => "–".to_owned(),
        };
        let (measured, verdict) = match &row.value {
            Ok(value) => {
                let verdict = match row.goal.is_met(*value) {
                    Some(true) => "met",
                    Some(false) => "NOT MET",
                    None => "–",
                };
                (number(*value, row.unit), verdict)
            }
            Err(_) => ("–".to_owned(), "no value"),
        };
        let detail = row.value.as_ref().err().unwrap_or(&row.detail);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<54} {measured:>11} {goal:>13}  {verdict:<8} {detail}",
            row.what
        );
    }
    text
}

/// For a program.
pub(crate) fn to_json(rows: &[Row]) -> String {
    serde_json::to_string_pretty(rows).unwrap_or_else(|cause| format!("{{\"error\": \"{cause}\"}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: Option<f64>, goal: Goal) -> String {
        let row = Row::new("start", Unit::Ratio, goal, value, "1 ms".to_owned());
        render(&[row]).lines().nth(1).unwrap().to_owned()
    }

    #[test]
    fn goals_are_judged_in_their_own_direction() {
        assert!(row(Some(1.2), Goal::AtMost(1.25)).contains(" met"));
        assert!(row(Some(1.3), Goal::AtMost(1.25)).contains("NOT MET"));
        assert!(row(Some(0.5), Goal::AtLeast(0.75)).contains("NOT MET"));
        assert!(!row(Some(9.0), Goal::None).contains("MET"));
    }

    #[test]
    fn a_row_without_a_value_is_never_met() {
        let text = row(None, Goal::AtMost(1.0));
        assert!(text.contains("no value") && text.contains("not measured"));
        assert!(!text.contains(" met"));
    }
}
