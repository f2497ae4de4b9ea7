//! The pages themselves.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::{at_key, describe_type, keys_of, schema, schema_of, words_of};
use crate::environment::{AGENT_SOCKETS, LOADERS, NamedVariable, SECRET_WORDS, SHAPES};
use crate::exit::ExitCode;
use crate::rule::RuleId;
use crate::secrets::Platform;
use crate::{protected, secrets};

const GENERATED: &str = "<!-- Generated from the definitions in crates/policy; change those, then run the tests with RINGFENCE_BLESS=1. -->\n";

const LAYERS: &str = "\
## Layers

Strongest first: managed (the administrator's file), the command line, the user's file, the project's
`.ringfence/policy.toml`, the defaults.

- A single value is the strongest layer's that names it. Lists add up.
- Deny beats allow. `allow_read` and `unprotected` of a stronger layer take back, by its exact words, what a weaker
  layer or a default denies.
- What the managed file says is a limit. A single value may be narrowed, not widened. A list that grants
  (`writable_roots`, `allow_read`, `unprotected`, `allow`, `publish`, `connect`, `unix_sockets`, `pass`) is the whole of
  what may be granted, also when it is empty. A list that denies can't be taken back. `upstream_proxy`, `otlp`,
  `approvals.command` and a variable of `set` stay as they are; a managed `reviewer` may only become `none`. The
  command line that asks for more ends with exit status 103; a file that does is cut to the limit, with a note.
- A project's file may only narrow the defaults until `ringfence trust` has been given exactly its content. Until then
  these are errors (exit status 101): any value wider than the default, and any entry of a list that grants, of
  `environment.set`, `upstream_proxy`, `approvals.command` or `audit.otlp`.
";

/// The text of `docs/policy.md`.
#[must_use]
pub fn render_policy_reference() -> String {
    let schema = schema();
    let mut page = format!(
        "{GENERATED}\n# The policy file\n\nTOML. Every key may be left out. `ringfence policy check` says which layer set what; \
         `ringfence policy schema` prints the JSON Schema.\n\n{LAYERS}"
    );
    let (sections, keys): (Vec<&str>, Vec<&str>) = keys_of(&schema)
        .into_iter()
        .partition(|key| at_key(&schema, key).is_some_and(|own| !keys_of(own).is_empty()));
    page.push_str("\n## Keys at the top\n");
    for key in keys {
        render_key(&mut page, &schema, key);
    }
    for section in sections {
        let own = at_key(&schema, section).unwrap_or(&Json::Null);
        let _ = write!(page, "\n## `[{section}]`\n\n{}\n", sentence(own));
        for key in keys_of(own) {
            render_key(&mut page, &schema, &format!("{section}.{key}"));
        }
    }
    render_tables(&mut page);
    page
}

/// The text of `docs/policy.schema.json`.
#[must_use]
pub fn render_schema() -> String {
    let mut text = format!("{:#}", schema());
    text.push('\n');
    text
}

/// The text of `docs/errors.md`.
#[must_use]
pub fn render_exit_codes() -> String {
    let mut page = format!(
        "{GENERATED}\n# Exit statuses of `ringfence run`\n\nThe command's own status passes through; 128 + N says that signal N ended it. \
         These are Ringfence's own:\n\n| status | meaning |\n|---|---|\n"
    );
    for code in ExitCode::ALL {
        let _ = writeln!(page, "| {} | {} |", code.code(), code.meaning());
    }
    page
}

/// The description of a schema on one line.
fn sentence(schema: &Json) -> String {
    let text = schema.get("description").and_then(Json::as_str);
    text.unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn render_key(page: &mut String, schema: &Json, key: &str) {
    let Some(own) = at_key(schema, key) else {
        return;
    };
    let (outer, name) = key.rsplit_once('.').unwrap_or(("", key));
    // What a field says of itself stands beside the type's alternatives, not in them.
    let field = at_key(schema, outer)
        .and_then(|outer| outer.get("properties"))
        .and_then(|properties| properties.get(name))
        .unwrap_or(own);
    let _ = write!(page, "\n### `{key}`\n\n{}\n\n", sentence(field));
    let _ = writeln!(page, "- Type: {}", describe_type(own));
    let default = field.get("default").filter(|default| !default.is_null());
    let default = default.map_or_else(
        || "none".to_owned(),
        |default| format!("`{}`", toml(default)),
    );
    let _ = writeln!(page, "- Default: {default}");
    let example = field
        .get("examples")
        .and_then(Json::as_array)
        .and_then(|examples| examples.first());
    if let Some(example) = example {
        let _ = writeln!(page, "- Example: `{name} = {}`", toml(example));
    }
    let variants = own
        .get("oneOf")
        .and_then(Json::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    for variant in variants {
        for word in words_of(&serde_json::json!({ "oneOf": [variant] })) {
            let _ = writeln!(page, "- `{word}`: {}", sentence(variant));
        }
    }
    for inner in keys_of(own) {
        let described = at_key(own, inner).map(sentence).unwrap_or_default();
        let _ = writeln!(page, "- `{inner}`: {described}");
    }
}

/// A JSON value as a policy file writes it, on one line.
fn toml(value: &Json) -> String {
    match value {
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(entries) if entries.is_empty() => "{}".to_owned(),
        Json::Object(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{key} = {}", toml(value)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.to_string(),
    }
}

fn render_tables(page: &mut String) {
    page.push_str(
        "\n## Protected names\n\nRead-only at the top of every writable root and of every repository found in it, also when they do not exist yet.\n\n| name | why |\n|---|---|\n",
    );
    for entry in protected::BUILT_IN {
        let _ = writeln!(page, "| `{}` | {} |", entry.name, entry.why);
    }
    page.push_str(
        "\n## Secrets\n\nNever readable unless `allow_read` names them. A name without `~` or `/` in front is meant at any depth of each writable root, but not below `node_modules`, `target`, `.venv` and `vendor`: tools fill these, and what is hidden in them could not be removed (`deny_read = [\"**/.env\"]` reaches there too). Names are looked for when a session starts: a file that a command makes itself under such a name is hidden from the next session on.\n\n| name | what | where | but readable |\n|---|---|---|---|\n",
    );
    for secret in secrets::BUILT_IN {
        let except: Vec<String> = secret
            .except
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        let platforms: Vec<&str> = secret
            .platforms
            .iter()
            .map(|platform| platform_name(*platform))
            .collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            secret.name,
            secret.what,
            platforms.join(", "),
            except.join(", ")
        );
    }
    page.push_str("\n## Environment\n\nWith `mode = \"filtered\"` these are withheld; `pass` lets one through by its name. `RINGFENCE_*` never passes.\n");
    let words: Vec<String> = SECRET_WORDS
        .iter()
        .map(|word| format!("`{word}`"))
        .collect();
    let _ = write!(
        page,
        "\nNames with one of these as a whole word, between `_`, `-` or `.`: {}; `KEY` after a word such as `API` or a provider's name; `DSN`, `WEBHOOK_URL` and `CONNECTION_STRING` at the end. `awsSecretKey` is read as `AWS_SECRET_KEY`.\n",
        words.join(", ")
    );
    let shapes: Vec<String> = SHAPES
        .iter()
        .map(|shape| format!("`{}…`", shape.prefix))
        .collect();
    let _ = write!(
        page,
        "\nValues of the shape of a known secret: private keys in PEM, JSON Web Tokens, URLs with a password, webhooks, connection strings with a password or a key (`Server=…;Password=…;`), Slack tokens, and what begins with {}.\n",
        shapes.join(", ")
    );
    render_variables(page, "Agent sockets", &AGENT_SOCKETS);
    render_variables(page, "Loader variables", &LOADERS);
    page.push_str("\n`NODE_OPTIONS` and `JAVA_TOOL_OPTIONS` (with `_JAVA_OPTIONS` and `JDK_JAVA_OPTIONS`) are withheld where they load code: `--require`, `--import`, `--loader`; `-javaagent`, `-agentlib`, `-agentpath`. What only names where to search passes, for builds need it: `LD_LIBRARY_PATH`, `PYTHONPATH`, `NODE_PATH`.\n");
    page.push_str("\n## Rules\n\nThe names of what decides, as they stand in denials, events and `ringfence explain`.\n\n| rule | meaning |\n|---|---|\n");
    let rules = schema_of::<RuleId>();
    for variant in rules
        .get("oneOf")
        .and_then(Json::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
    {
        let id = variant
            .get("const")
            .and_then(Json::as_str)
            .unwrap_or_default();
        let _ = writeln!(page, "| `{id}` | {} |", sentence(variant));
    }
}

fn render_variables(page: &mut String, title: &str, table: &[NamedVariable]) {
    let _ = write!(page, "\n### {title}\n\n| variable | why |\n|---|---|\n");
    for entry in table {
        let _ = writeln!(page, "| `{}` | {} |", entry.name, entry.why);
    }
}

fn platform_name(platform: Platform) -> &'static str {
    match platform {
        Platform::Linux => "Linux",
        Platform::MacOs => "macOS",
        Platform::Windows => "Windows",
    }
}
