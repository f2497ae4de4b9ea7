//! The JSON Schema of the event stream and its reference page, both made from the types.
//!
//! Invariant: neither is written by hand; a test fails when the stored ones are not what the types say.

use std::fmt::Write as _;

use schemars::schema_for;
use serde_json::Value;

use crate::event::Record;

/// The JSON Schema of one line, as text with a newline at its end.
#[must_use]
pub fn render_schema() -> String {
    let schema = schema_for!(Record);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// The reference page `docs/events.md`.
#[must_use]
pub fn render_reference() -> String {
    let schema = schema_for!(Record).to_value();
    let mut page = String::from(
        "# Events\n\n<!-- Generated from crates/audit/src/event.rs; RINGFENCE_BLESS=1 cargo test -p ringfence-audit writes it anew. -->\n\n\
         `ringfence run --events FILE` writes one JSON object per line, at once. Every line has:\n\n",
    );
    render_properties(&mut page, &schema, "");
    page.push_str(
        "\nBeside these, by the value of `event`. What comes from the command is escaped; file contents, query strings, \
         header values and values of variables are never recorded. The JSON Schema is in [events.schema.json](events.schema.json).\n",
    );
    let variants = schema.get("oneOf").and_then(Value::as_array);
    for variant in variants.into_iter().flatten() {
        let name = variant
            .pointer("/properties/event/const")
            .and_then(Value::as_str)
            .unwrap_or("?");
        let _ = write!(page, "\n## `{name}`\n\n{}\n\n", description(variant));
        render_properties(&mut page, variant, "event");
    }
    if let Some(definitions) = schema.get("$defs").and_then(Value::as_object) {
        for (name, definition) in definitions {
            let _ = write!(page, "\n## {name}\n\n{}\n\n", description(definition));
            render_properties(&mut page, definition, "");
        }
    }
    while page.ends_with("\n\n") {
        page.pop();
    }
    page
}

fn render_properties(page: &mut String, schema: &Value, skip: &str) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    if properties.keys().all(|name| name == skip) {
        return;
    }
    page.push_str("| key | type | |\n|---|---|---|\n");
    for (name, property) in properties.iter().filter(|(name, _)| *name != skip) {
        let _ = writeln!(
            page,
            "| `{name}` | {} | {} |",
            type_name(property),
            description(property)
        );
    }
}

fn description(schema: &Value) -> String {
    let text = schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    text.replace('\n', " ")
}

fn type_name(schema: &Value) -> String {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return reference.rsplit('/').next().unwrap_or(reference).to_owned();
    }
    match schema.get("type") {
        Some(Value::String(name)) if name == "array" => {
            let items = schema.get("items").map_or_else(String::new, type_name);
            format!("list of {items}")
        }
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => {
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            if names.contains(&"array") {
                let items = schema.get("items").map_or_else(String::new, type_name);
                return format!("list of {items}, or null");
            }
            names.join(" or ")
        }
        Some(_) | None => "object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn compare(name: &str, rendered: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs")
            .join(name);
        if std::env::var_os("RINGFENCE_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().expect("docs has a parent"))
                .expect("docs is made");
            std::fs::write(&path, rendered).expect("the page is written");
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            stored == rendered,
            "docs/{name} is stale; run: RINGFENCE_BLESS=1 cargo test -p ringfence-audit"
        );
    }

    #[test]
    fn the_stored_schema_is_fresh() {
        compare("events.schema.json", &render_schema());
    }

    #[test]
    fn the_stored_page_is_fresh() {
        compare("events.md", &render_reference());
    }
}
