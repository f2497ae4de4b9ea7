//! `ringfence trust`: lets a project's policy file widen the policy, by its exact content.

use std::io::stdout;
use std::path::PathBuf;

use ringfence::trust::{Added, Removed};
use ringfence::{StateDirectory, TrustStore};

use crate::cli::{PolicyOptions, Trust};
use crate::context;
use crate::failure::Failure;
use crate::output;
use crate::render::escape::escape_os;
use crate::render::style::Colour;
use crate::render::table;

/// Adds, lists or removes trust.
pub(crate) fn run(options: &Trust) -> Result<u8, Failure> {
    let store = TrustStore::open(&StateDirectory::open()?);
    if options.list {
        list(&store, options.json)?;
    } else if options.remove {
        remove(&store, options)?;
    } else {
        add(&store, options)?;
    }
    Ok(0)
}

fn file(options: &Trust) -> Result<PathBuf, Failure> {
    if let Some(file) = &options.file {
        return Ok(file.clone());
    }
    let workspace = context::workspace(&PolicyOptions::default())?;
    Ok(workspace.as_path().join(".ringfence").join("policy.toml"))
}

fn add(store: &TrustStore, options: &Trust) -> Result<(), Failure> {
    let file = file(options)?;
    let Added {
        digest,
        damaged_store,
    } = store.add(&file)?;
    if let Some(aside) = damaged_store {
        output::message(&format!(
            "ringfence: the record of trusted files was damaged and is kept as {}; trust the others anew\n",
            escape_os(&aside)
        ));
    }
    if options.json {
        return output::json(&serde_json::json!({ "path": file, "digest": digest }));
    }
    output::message(&format!(
        "ringfence: trusted {} (sha256 {digest})\n",
        escape_os(&file)
    ));
    Ok(())
}

fn remove(store: &TrustStore, options: &Trust) -> Result<(), Failure> {
    let file = file(options)?;
    let removed = store.remove(&file)? == Removed::Trusted;
    if options.json {
        return output::json(&serde_json::json!({ "path": file, "removed": removed }));
    }
    let words = if removed {
        "no longer trusted"
    } else {
        "was not trusted"
    };
    output::message(&format!("ringfence: {} {words}\n", escape_os(&file)));
    Ok(())
}

fn list(store: &TrustStore, json: bool) -> Result<(), Failure> {
    let files = store.list()?;
    if json {
        return output::json(&files);
    }
    if files.is_empty() {
        output::message("ringfence: no policy file is trusted\n");
        return Ok(());
    }
    let rows: Vec<_> = files
        .iter()
        .map(|file| {
            [
                file.since.as_str().into(),
                file.digest.to_string().into(),
                escape_os(file.path.as_path()).into(),
            ]
        })
        .collect();
    output::data(&table::render(
        ["SINCE", "SHA-256", "FILE"],
        &rows,
        Colour::of(&stdout()),
    ))
}
