//! A policy as a person reads it: each setting, its value, and the layer that said it.

use ringfence_policy::{LayerKind, Policy};

use crate::render::style::Colour;
use crate::render::table;

/// Renders every setting; of the built-in secrets only their number, and the built-in names on one line.
pub(crate) fn render(policy: &Policy, colour: Colour) -> String {
    let settings = policy.settings();
    let built_in = |key: &str| -> Vec<&str> {
        settings
            .iter()
            .filter(|setting| setting.key == key && setting.layer == LayerKind::Default)
            .map(|setting| setting.value.as_str())
            .collect()
    };
    let summaries = [
        (
            SECRETS,
            format!(
                "{} built-in secrets (--json lists them)",
                built_in(SECRETS).len()
            ),
        ),
        (NAMES, built_in(NAMES).join(" ")),
    ];
    let mut summaries = summaries.into_iter().peekable();
    let mut rows = Vec::new();
    for setting in &settings {
        let layer = setting.layer.word();
        if setting.layer == LayerKind::Default && [SECRETS, NAMES].contains(&setting.key.as_str()) {
            // Once for all of them, in the place of the first.
            if let Some((key, summary)) = summaries.next_if(|(key, _)| *key == setting.key) {
                rows.push([key.into(), layer.into(), summary.as_str().into()]);
            }
            continue;
        }
        rows.push([
            setting.key.as_str().into(),
            layer.into(),
            setting.value.as_str().into(),
        ]);
        if setting.key == "require" {
            let workspace = policy.workspace.to_string();
            rows.push(["workspace".into(), "".into(), workspace.as_str().into()]);
        }
    }
    table::render(["SETTING", "FROM", "VALUE"], &rows, colour)
}

/// The key of what is hidden.
const SECRETS: &str = "filesystem.deny_read";
/// The key of what is protected.
const NAMES: &str = "filesystem.protected";
