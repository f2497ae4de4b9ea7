//! The policy's reference, made from its definitions: JSON Schema, `docs/policy.md`, `docs/errors.md`.
//!
//! One definition gives the parser, the schema and the pages; nothing is written down twice.
//! Invariant: every key of the schema has a description.

mod pages;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use crate::document::PolicyDocument;

pub use pages::{render_exit_codes, render_policy_reference, render_schema};

/// The schema of a policy file, every part inlined.
pub(crate) fn schema() -> Json {
    schema_of::<PolicyDocument>()
}

fn schema_of<T: JsonSchema>() -> Json {
    let generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    generator.into_root_schema_for::<T>().to_value()
}

/// The schema below `key`, a dotted one; the whole for an empty one.
pub(crate) fn at_key<'schema>(schema: &'schema Json, key: &str) -> Option<&'schema Json> {
    let mut here = schema;
    for name in key.split('.').filter(|name| !name.is_empty()) {
        here = here
            .get("properties")
            .and_then(|properties| properties.get(name))
            .or_else(|| {
                here.get("additionalProperties")
                    .filter(|extra| extra.is_object())
            })?;
        here = without_null(here);
    }
    Some(here)
}

/// The schema of the value itself where it may be left out too.
fn without_null(schema: &Json) -> &Json {
    let alternatives = schema.get("anyOf").and_then(Json::as_array);
    alternatives
        .and_then(|alternatives| {
            alternatives
                .iter()
                .find(|one| one.get("type").and_then(Json::as_str) != Some("null"))
        })
        .unwrap_or(schema)
}

/// The keys that a table's schema knows, sorted.
pub(crate) fn keys_of(schema: &Json) -> Vec<&str> {
    let mut keys: Vec<_> = schema
        .get("properties")
        .and_then(Json::as_object)
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default();
    keys.sort_unstable();
    keys
}

/// The JSON types that a schema takes, without `null`.
pub(crate) fn types_of(schema: &Json) -> Vec<&str> {
    if !words_of(schema).is_empty() {
        return vec!["string"];
    }
    match schema.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(several)) => several
            .iter()
            .filter_map(Json::as_str)
            .filter(|name| *name != "null")
            .collect(),
        _ => Vec::new(),
    }
}

/// The largest whole number that a schema takes, where it says one.
pub(crate) fn most_of(schema: &Json) -> Option<u64> {
    match schema.get("format").and_then(Json::as_str)? {
        "uint16" => Some(u16::MAX.into()),
        "uint32" => Some(u32::MAX.into()),
        _ => None,
    }
}

/// The words that an enum's schema takes; empty for anything else.
pub(crate) fn words_of(schema: &Json) -> Vec<&str> {
    let mut words = Vec::new();
    if let Some(listed) = schema.get("enum").and_then(Json::as_array) {
        words.extend(listed.iter().filter_map(Json::as_str));
    }
    if let Some(variants) = schema.get("oneOf").and_then(Json::as_array) {
        for variant in variants {
            words.extend(variant.get("const").and_then(Json::as_str));
            words.extend(words_of(variant));
        }
    }
    words
}

/// A schema's type in words.
pub(crate) fn describe_type(schema: &Json) -> String {
    let words = words_of(schema);
    if !words.is_empty() {
        return format!("one of {}", words.join(", "));
    }
    let types = types_of(schema);
    let names: Vec<String> = types
        .iter()
        .map(|name| match *name {
            "string" => "text".to_owned(),
            "integer" => "a whole number".to_owned(),
            "boolean" => "true or false".to_owned(),
            "array" => {
                let items = schema.get("items").map(types_of).unwrap_or_default();
                let of = if items.contains(&"integer") {
                    "numbers"
                } else if items.contains(&"object") {
                    "texts and tables"
                } else {
                    "texts"
                };
                format!("a list of {of}")
            }
            "object" => "a table".to_owned(),
            other => other.to_owned(),
        })
        .collect();
    names.join(" or ")
}

#[cfg(test)]
mod tests;
