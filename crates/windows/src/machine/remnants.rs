//! Everything of ours that is on a machine, whatever a ledger says.
//!
//! Invariant: it looks and changes nothing.

use ringfence_backend::call::CallFailure;
use ringfence_backend::windows::{Files as _, Redirection, Remnant, RemnantKind};
use ringfence_nt::Sid;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::machine::{HIDDEN_ACCOUNTS, OWN_KEY, POLICY_FILE};
use ringfence_plan::windows::step::ObjectKind;

use super::profile;
use crate::files::{NtFiles, failure};
use crate::sys::account;
use crate::sys::firewall::Firewall;
use crate::sys::key::{Key, KeyAccess, Root};
use crate::sys::machine as system;
use crate::sys::rights::Policy;
use crate::sys::wfp::Engine;

/// `ERROR_ACCESS_DENIED`
const DENIED: u32 = 5;
/// What the names of our accounts and groups begin with.
const PREFIXES: [&str; 3] = ["ringfence-", "ringfenceoff-", "ringfenceon-"];

fn is_ours(name: &str) -> bool {
    let name = name.to_lowercase();
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

pub(super) fn observe(files: &mut NtFiles, own: &WindowsPath) -> Result<Vec<Remnant>, CallFailure> {
    let mut found = Vec::new();
    let mut add = |kind, object: String| found.push(Remnant { kind, object });
    for name in account::groups().map_err(failure)? {
        if is_ours(&name) {
            add(RemnantKind::Group, name);
        }
    }
    for name in account::users().map_err(failure)? {
        if is_ours(&name) {
            add(RemnantKind::Account, name);
        }
    }
    if let Some(list) =
        Key::open(Root::Machine, HIDDEN_ACCOUNTS, KeyAccess::Read).map_err(failure)?
    {
        for name in list.values().map_err(failure)? {
            if is_ours(&name) {
                add(RemnantKind::Value, format!("{HIDDEN_ACCOUNTS}\\{name}"));
            }
        }
    }
    if let Some(own) = Key::open(Root::Machine, OWN_KEY, KeyAccess::Read).map_err(failure)? {
        for name in own.keys().map_err(failure)? {
            let key = format!("{OWN_KEY}\\{name}");
            if let Some(child) = own.child(&name, KeyAccess::Read).map_err(failure)? {
                for value in child.values().map_err(failure)? {
                    add(RemnantKind::Value, format!("{key}\\{value}"));
                }
            }
            add(RemnantKind::Key, key);
        }
    }
    let engine = Engine::open().map_err(failure)?;
    for key in engine.keys().map_err(failure)? {
        add(RemnantKind::Filter, key.to_string());
    }
    let firewall = Firewall::open().map_err(failure)?;
    for name in firewall.names("Ringfence").map_err(failure)? {
        add(RemnantKind::FirewallRule, name);
    }
    found.extend(rights()?);
    found.extend(directories(files, own)?);
    found.extend(profiles(files)?);
    Ok(found)
}

/// Local accounts that are gone and are denied what our accounts are, and hold nothing else: an account that somebody
/// deletes leaves that behind, and bears no name any more.
fn rights() -> Result<Vec<Remnant>, CallFailure> {
    let remnant = |kind, object| Remnant { kind, object };
    let held = Policy::open_to_look().and_then(|policy| policy.denied_everything());
    let held = match held {
        Ok(held) => held,
        // An ordinary person's look at their own machine.
        Err(error) if error.error.0 == DENIED => {
            let object = "the local security policy".to_owned();
            return Ok(vec![remnant(RemnantKind::Unseen, object)]);
        }
        Err(error) => return Err(failure(error)),
    };
    let mut found = Vec::new();
    for sid in held {
        if is_local(sid)? && system::name_of(sid).map_err(failure)?.is_none() {
            found.push(remnant(RemnantKind::Rights, sid.to_string()));
        }
    }
    Ok(found)
}

/// Whether it is an account of this machine's own.
fn is_local(sid: Sid) -> Result<bool, CallFailure> {
    let computer = system::computer_name().map_err(failure)?;
    let machine = system::sid_of(&computer).map_err(failure)?;
    Ok(machine.is_some_and(|machine| {
        let child = sid.subauthorities();
        sid.authority() == machine.authority()
            && child.len() == machine.subauthorities().len() + 1
            && child.starts_with(machine.subauthorities())
    }))
}

/// Profiles that are named as ours, whether their accounts are there or not.
fn profiles(files: &mut NtFiles) -> Result<Vec<Remnant>, CallFailure> {
    let Some(above) = profile::above()? else {
        return Ok(Vec::new());
    };
    let Some(directory) = files.open(&above)? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for name in files.list(&directory)? {
        if is_ours(&name.to_string())
            && let Ok(path) = above.join_observed(&name)
        {
            found.push(Remnant {
                kind: RemnantKind::Directory,
                object: path.to_string(),
            });
        }
    }
    Ok(found)
}

/// What lies in our own directory: directories down to each person's own, and files that are none of the ledger's.
fn directories(files: &mut NtFiles, own: &WindowsPath) -> Result<Vec<Remnant>, CallFailure> {
    const DEPTH: usize = 2;
    let mut found = Vec::new();
    let Some(top) = files.open(own)? else {
        return Ok(found);
    };
    let mut open = vec![(top, own.clone(), 0)];
    while let Some((directory, path, depth)) = open.pop() {
        for name in files.list(&directory)? {
            let Some(child) = files.open_child(&directory, &name)? else {
                continue;
            };
            let state = files.observe(&child)?;
            let below = path.join_observed(&name).unwrap_or_else(|_| path.clone());
            let is_directory =
                state.kind == ObjectKind::Directory && state.redirection == Redirection::None;
            // The ledger is the store's own, and goes with it.
            let ledger = depth == 0
                && below
                    .name()
                    .is_some_and(|name| name.to_lowercase().starts_with("machine.ledger"));
            // And the policy is the administrator's.
            let policy = depth == 0 && below.name() == Some(POLICY_FILE);
            if ledger || policy {
                continue;
            }
            found.push(Remnant {
                kind: if is_directory {
                    RemnantKind::Directory
                } else {
                    RemnantKind::Record
                },
                object: below.to_string(),
            });
            // What lies in a person's home is that person's.
            let homes = path.name() == Some("Homes");
            if is_directory && depth < DEPTH && !homes {
                open.push((child, below, depth + 1));
            }
        }
    }
    Ok(found)
}
