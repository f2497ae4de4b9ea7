//! `ringfence quarantine`: what a command made under a protected name, and what becomes of it.

use std::io::stdout;

use crate::render::escape::escape_os;
use ringfence::quarantine::{Entry, EntryId, Listing, ObjectKind};
use ringfence::{Quarantine as Store, StateDirectory};

use crate::cli::Quarantine;
use crate::failure::Failure;
use crate::output;
use crate::render::style::Colour;
use crate::render::table;

/// Lists, restores or drops.
pub(crate) fn run(options: &Quarantine) -> Result<u8, Failure> {
    let store = Store::open(&StateDirectory::open()?);
    match options {
        Quarantine::List { json } => list(&store, *json)?,
        Quarantine::Restore { item } => {
            let entry = store.restore(&EntryId(item.clone()))?;
            output::message(&format!("ringfence: restored {}\n", origin(&entry)));
        }
        Quarantine::Drop { item } => {
            let dropped = store.drop(&EntryId(item.clone()))?;
            let what = dropped.map_or_else(|| item.clone(), |entry| origin(&entry));
            output::message(&format!(
                "ringfence: deleted what a command made at {what}\n"
            ));
        }
    }
    Ok(0)
}

fn list(store: &Store, json: bool) -> Result<(), Failure> {
    let Listing {
        entries,
        unrecorded,
    } = store.list()?;
    for (id, cause) in &unrecorded {
        output::message(&format!(
            "ringfence: item {id} can only be dropped: {cause}\n"
        ));
    }
    if json {
        return output::json(&entries);
    }
    if entries.is_empty() {
        output::message("ringfence: quarantine is empty\n");
        return Ok(());
    }
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            [
                entry.id.to_string().into(),
                entry.time.as_str().into(),
                kind(entry.kind).into(),
                entry.reason.words().into(),
                origin(entry).into(),
            ]
        })
        .collect();
    output::data(&table::render(
        ["ITEM", "TIME", "KIND", "WHY", "WAS AT"],
        &rows,
        Colour::of(&stdout()),
    ))
}

/// Where an entry was, on one line.
pub(crate) fn origin(entry: &Entry) -> String {
    escape_os(entry.origin.as_path())
}

fn kind(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::File => "file",
        ObjectKind::Directory => "directory",
        ObjectKind::Symlink => "symlink",
        ObjectKind::Special => "special",
    }
}
