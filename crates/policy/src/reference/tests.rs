//! The pages are complete, true, and what is committed.

use super::*;
use crate::layers::{Layer, resolve};

/// Every leaf key of the schema below `prefix`.
fn leaves(schema: &Json, prefix: &str, found: &mut Vec<String>) {
    for name in keys_of(schema) {
        let key = if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}.{name}")
        };
        let own = at_key(schema, name).unwrap();
        if keys_of(own).is_empty() || key == "audit.otlp" {
            found.push(key);
        } else {
            leaves(own, &key, found);
        }
    }
}

fn field<'schema>(schema: &'schema Json, key: &str) -> &'schema Json {
    let (outer, name) = key.rsplit_once('.').unwrap_or(("", key));
    &at_key(schema, outer).unwrap()["properties"][name]
}

#[test]
fn every_key_has_a_description_and_an_example_that_parses() {
    let schema = schema();
    let mut keys = Vec::new();
    leaves(&schema, "", &mut keys);
    assert_eq!(keys.len(), 31, "{keys:?}");
    for key in keys {
        let field = field(&schema, &key);
        assert!(
            field["description"]
                .as_str()
                .is_some_and(|text| text.ends_with('.')),
            "{key}"
        );
        let mut document = serde_json::json!(field["examples"][0]);
        assert!(!document.is_null(), "{key}");
        for name in key.rsplit('.') {
            document = serde_json::json!({ name: document });
        }
        let parsed: PolicyDocument =
            serde_json::from_value(document).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_ne!(parsed, PolicyDocument::default(), "{key}");
    }
}

#[test]
fn the_documented_defaults_are_the_effective_ones() {
    let schema = schema();
    let policy = resolve(&[], &crate::layers::tests::context()).unwrap();
    let mut checked = 0;
    for setting in policy.settings() {
        let own = field(&schema, &setting.key);
        if own["default"].is_array() || own["default"].is_null() {
            continue;
        }
        let documented = own["default"]
            .as_str()
            .map_or_else(|| own["default"].to_string(), str::to_owned);
        assert_eq!(documented, setting.value, "{}", setting.key);
        checked += 1;
    }
    assert_eq!(checked, 13);
    // Saying the defaults changes nothing but who said it.
    let mut document = serde_json::json!({});
    for setting in policy.settings() {
        let default = &field(&schema, &setting.key)["default"];
        let (section, name) = setting.key.rsplit_once('.').unwrap_or(("", &setting.key));
        match section {
            "" => document[name] = default.clone(),
            section => document[section][name] = default.clone(),
        }
    }
    let said: PolicyDocument = serde_json::from_value(document).unwrap();
    let again = resolve(
        &[Layer::from_command_line(said)],
        &crate::layers::tests::context(),
    )
    .unwrap();
    let values = |policy: &crate::Policy| -> Vec<(String, String)> {
        policy
            .settings()
            .into_iter()
            .map(|setting| (setting.key, setting.value))
            .collect()
    };
    assert_eq!(values(&again), values(&policy));
}

#[test]
fn every_rule_has_a_sentence() {
    let rules = schema_of::<crate::RuleId>();
    let variants = rules["oneOf"].as_array().unwrap();
    assert!(variants.len() >= 25);
    assert!(
        variants
            .iter()
            .all(|variant| variant["description"].is_string() && variant["const"].is_string())
    );
}

/// Compares a committed page with what is rendered; with `RINGFENCE_BLESS=1` it is written instead.
#[expect(
    clippy::disallowed_methods,
    reason = "a test compares committed files; the crate itself has no disk"
)]
fn check_page(name: &str, rendered: &str) {
    let path = format!("{}/../../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("RINGFENCE_BLESS").is_some_and(|bless| bless == "1") {
        std::fs::create_dir_all(format!("{}/../../docs", env!("CARGO_MANIFEST_DIR"))).unwrap();
        std::fs::write(&path, rendered).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == rendered,
        "docs/{name} is stale: run `RINGFENCE_BLESS=1 cargo test -p ringfence-policy reference` and commit it"
    );
}

#[test]
fn the_committed_pages_are_fresh() {
    check_page("policy.md", &render_policy_reference());
    check_page("policy.schema.json", &render_schema());
    check_page("errors.md", &render_exit_codes());
}
