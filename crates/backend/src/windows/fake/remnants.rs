//! What of ours is on a machine in memory, whatever a ledger says.
//!
//! Invariant: it looks and changes nothing.

use ringfence_plan::windows::WindowsPath;

use crate::windows::machine::{Remnant, RemnantKind};

use super::machine::{World, folded};

/// Our own key.
const OWN_KEY: &str = "SOFTWARE\\Ringfence";
/// Our own directory.
const OWN_DIRECTORY: &str = "C:\\ProgramData\\Ringfence";

pub(super) fn observe(world: &World) -> Vec<Remnant> {
    let World {
        groups,
        accounts,
        records,
        directories,
        keys,
        values,
        filters,
        changed_filters,
        rules,
        denied,
        ..
    } = world;
    let ours = |name: &&String| name.starts_with("ringfence");
    let own_key = |key: &&String| key.starts_with(&folded(OWN_KEY));
    let own = WindowsPath::parse(OWN_DIRECTORY).ok();
    let own_path = |path: &&WindowsPath| own.as_ref().is_some_and(|own| path.starts_with(own));
    let remnant = |kind| move |object: String| Remnant { kind, object };
    let mut found = Vec::new();
    found.extend(
        groups
            .keys()
            .filter(ours)
            .cloned()
            .map(remnant(RemnantKind::Group)),
    );
    found.extend(
        accounts
            .keys()
            .filter(ours)
            .cloned()
            .map(remnant(RemnantKind::Account)),
    );
    found.extend(
        records
            .keys()
            .filter(own_path)
            .map(ToString::to_string)
            .map(remnant(RemnantKind::Record)),
    );
    found.extend(
        directories
            .keys()
            // A profile that was not deleted bears its account's name.
            .filter(|path| own_path(path) || path.name().is_some_and(|name| ours(&&folded(name))))
            .map(ToString::to_string)
            .map(remnant(RemnantKind::Directory)),
    );
    found.extend(
        keys.keys()
            .filter(own_key)
            .cloned()
            .map(remnant(RemnantKind::Key)),
    );
    found.extend(
        values
            .keys()
            .filter(|(key, name)| own_key(&key) || ours(&name))
            .map(|(key, name)| format!("{key}\\{name}"))
            .map(remnant(RemnantKind::Value)),
    );
    found.extend(
        filters
            .keys()
            .chain(changed_filters)
            .map(ToString::to_string)
            .map(remnant(RemnantKind::Filter)),
    );
    found.extend(
        rules
            .iter()
            .filter(|rule| rule.grouping == "Ringfence")
            .map(|rule| rule.name.clone())
            .map(remnant(RemnantKind::FirewallRule)),
    );
    let is_there = |sid| accounts.values().any(|account| account.sid == sid);
    found.extend(
        denied
            .keys()
            .filter(|sid| !is_there(**sid))
            .map(ToString::to_string)
            .map(remnant(RemnantKind::Rights)),
    );
    found
}
