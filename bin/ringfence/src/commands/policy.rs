//! `ringfence policy check|schema`: the policy of all layers with its provenance, and the schema of its files.

use std::io::stdout;

use ringfence::load::LoadedLayer;
use ringfence_policy::PolicyDocument;
use ringfence_policy::layers::{LayerKind, Trust};

use crate::cli::{Policy, PolicyCheck};
use crate::context;
use crate::failure::Failure;
use crate::output;
use crate::render::escape::one_line;
use crate::render::policy::render;
use crate::render::style::Colour;

/// Checks, or prints the schema.
pub(crate) fn run(options: &Policy) -> Result<u8, Failure> {
    match options {
        Policy::Check(options) => check(options)?,
        Policy::Schema => output::json(&schemars::schema_for!(PolicyDocument))?,
    }
    Ok(0)
}

fn check(options: &PolicyCheck) -> Result<(), Failure> {
    let mut policy = options.policy.clone();
    if let Some(file) = &options.file {
        policy.config = Some(file.clone());
    }
    let loaded = context::load(&policy)?.loaded;
    if options.json {
        return output::json(&loaded.policy);
    }
    for layer in loaded.layers.iter().filter(|layer| layer.digest.is_some()) {
        output::message(&format!("ringfence: {}\n", describe(layer)));
    }
    for note in &loaded.notes {
        output::message(&format!("ringfence: {}\n", one_line(note)));
    }
    output::data(&render(&loaded.policy, Colour::of(&stdout())))
}

fn describe(layer: &LoadedLayer) -> String {
    let trust = match (layer.kind, layer.trust) {
        (LayerKind::Project, Trust::Trusted) => ", trusted",
        (LayerKind::Project, Trust::Untrusted) => ", not trusted: it can only narrow",
        (LayerKind::Managed | LayerKind::CommandLine | LayerKind::User | LayerKind::Default, _) => {
            ""
        }
    };
    format!(
        "read {} policy {}{trust}",
        layer.kind.word(),
        one_line(&layer.source)
    )
}
