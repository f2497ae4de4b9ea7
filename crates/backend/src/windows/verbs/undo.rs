//! How a step is undone.
//!
//! Invariant: what goes is what the ledger says was made, by its SID, its id, its key or all its properties; whatever
//! another has put in its place stays.

use ringfence_nt::Sid;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{
    AccountRole, Filter, FirewallRule, Guid, LogonRight, MachineStep, PortRange, RegistryValue,
};

use crate::ledger::Undone;
use crate::windows::books::{Before, MachineReceipt};
use crate::windows::machine::{KeyBefore, Machine, Reservation};
use crate::windows::merge::same;

use super::look::{is_value, sorted};
use super::{Known, StepError, Verb, describe};

/// Undoes it; `before` is what its entry in the ledger says was there.
pub(in crate::windows) fn undo<M: Machine>(
    machine: &mut M,
    verb: &Verb<'_>,
    before: &Before,
) -> Result<Undone, StepError> {
    match verb.step {
        MachineStep::EnsureGroup { name, comment } => undo_group(machine, verb, name, comment),
        MachineStep::EnsureAccount {
            name,
            comment,
            record,
            ..
        } => undo_account(machine, verb, (name, comment), record),
        MachineStep::DenyLogon { role, rights } => {
            let already = before.logons();
            undo_logons(machine, verb, *role, (rights, already))
        }
        MachineStep::MakeDirectory { path, .. } => undo_directory(machine, verb, path, before),
        MachineStep::SetValue {
            key, name, value, ..
        } => undo_value(machine, verb, (key, name), value, before),
        MachineStep::InstallFilters { filters } => {
            let older = before.filters();
            undo_filters(machine, verb, filters, older)
        }
        MachineStep::AddFirewallRule { rule } => {
            let older = before.rules();
            undo_rule(machine, verb, rule, older)
        }
        MachineStep::ReservePorts { ports } => undo_ports(machine, verb, *ports),
    }
}

fn not_kept(verb: &Verb<'_>) -> StepError {
    StepError::NotKept {
        object: describe(verb.step),
    }
}

/// How an entry ends whose object is not there.
fn absent(known: Known) -> Undone {
    match known {
        Known::Nothing | Known::Intended => Undone::NeverDone,
        Known::Received(_) => Undone::Gone,
    }
}

/// Whether the account or group that is there is the one of the entry.
fn is_ours(known: Known, sid: Sid, same_comment: bool) -> bool {
    match known {
        Known::Nothing => false,
        Known::Intended => same_comment,
        Known::Received(receipt) => receipt == MachineReceipt::Principal(sid),
    }
}

fn undo_group<M: Machine>(
    machine: &mut M,
    verb: &Verb<'_>,
    name: &str,
    comment: &str,
) -> Result<Undone, StepError> {
    let Some(group) = machine.observe_group(name).map_err(StepError::Call)? else {
        return Ok(absent(verb.known));
    };
    if !is_ours(verb.known, group.sid, group.comment == comment) {
        return Ok(Undone::Gone);
    }
    machine.remove_group(name).map_err(StepError::Call)?;
    match machine.observe_group(name).map_err(StepError::Call)? {
        None => Ok(Undone::Restored),
        Some(_) => Err(not_kept(verb)),
    }
}

fn undo_account<M: Machine>(
    machine: &mut M,
    verb: &Verb<'_>,
    (name, comment): (&str, &str),
    record: &WindowsPath,
) -> Result<Undone, StepError> {
    let observe = |machine: &mut M| machine.observe_user(name).map_err(StepError::Call);
    let gone = match observe(machine)? {
        None => Some(absent(verb.known)),
        Some(found) if !is_ours(verb.known, found.sid, found.comment == comment) => {
            Some(Undone::Gone)
        }
        Some(_) => None,
    };
    if let Some(gone) = gone {
        // Somebody has deleted it, and what the local security policy says of it is left.
        forget(machine, verb.known)?;
        return Ok(gone);
    }
    machine.quiesce_account(name).map_err(StepError::Call)?;
    machine
        .remove_account(name, record)
        .map_err(StepError::Call)?;
    match observe(machine)? {
        None => Ok(Undone::Restored),
        Some(_) => Err(not_kept(verb)),
    }
}

/// Takes away what the local security policy says of an account that was made and is gone.
pub(in crate::windows) fn forget<M: Machine>(
    machine: &mut M,
    known: Known,
) -> Result<(), StepError> {
    match known {
        Known::Received(MachineReceipt::Principal(sid)) => {
            machine.forget_logons(sid).map_err(StepError::Call)
        }
        Known::Received(_) | Known::Intended | Known::Nothing => Ok(()),
    }
}

fn undo_logons<M: Machine>(
    machine: &mut M,
    verb: &Verb<'_>,
    role: AccountRole,
    (rights, already): (&[LogonRight], &[LogonRight]),
) -> Result<Undone, StepError> {
    let Some(account) = verb.accounts.account(role) else {
        return Ok(Undone::Gone);
    };
    let observe = |machine: &mut M| {
        machine
            .observe_denied_logons(account)
            .map_err(StepError::Call)
    };
    let denied = observe(machine)?;
    let ours: Vec<LogonRight> = rights
        .iter()
        .filter(|right| denied.contains(right) && !already.contains(right))
        .copied()
        .collect();
    if ours.is_empty() {
        return Ok(absent(verb.known));
    }
    machine
        .allow_logons(account, &ours)
        .map_err(StepError::Call)?;
    let left = observe(machine)?;
    if ours.iter().any(|right| left.contains(right)) {
        return Err(not_kept(verb));
    }
    Ok(Undone::Restored)
}

fn undo_directory<M: Machine>(
    machine: &mut M,
    verb: &Verb<'_>,
    path: &WindowsPath,
    before: &Before,
) -> Result<Undone, StepError> {
    let Some(directory) = machine.observe_directory(path).map_err(StepError::Call)? else {
        return Ok(absent(verb.known));
    };
    match verb.known {
        // It was not there when the entry was written.
        Known::Intended => {}
        Known::Received(MachineReceipt::Directory(id)) if id == directory.id => {}
        Known::Received(_) | Known::Nothing => return Ok(Undone::Gone),
    }
    if let Before::Directory(earlier) = before {
        machine
            .make_directory(path, earlier)
            .map_err(StepError::Call)?;
        let found = machine.observe_directory(path).map_err(StepError::Call)?;
        return match found {
            Some(found) if same(&found.descriptor, earlier) => Ok(Undone::Restored),
            Some(_) | None => Err(not_kept(verb)),
        };
    }
    if machine
        .observe_policy(path)
        .map_err(StepError::Call)?
        .is_some()
    {
        // It stays, and so does its place: without it nobody would be bound by it after the next set-up.
        return Ok(Undone::Merged);
    }
    machine
        .remove_directory(path, directory.id)
        .map_err(StepError::Call)?;
    match machine.observe_directory(path).map_err(StepError::Call)? {
        None => Ok(Undone::Restored),
        Some(_) => Err(not_kept(verb)),
    }
}

fn undo_value<M: Machine>(
    machine: &mut M,
    verb: &Verb<'_>,
    (key, name): (&str, &str),
    wanted: &RegistryValue,
    before: &Before,
) -> Result<Undone, StepError> {
    let (earlier, key_before) = before.value();
    let found = machine.observe_value(key, name).map_err(StepError::Call)?;
    let key_found = machine.observe_key(key).map_err(StepError::Call)?;
    let key_stays = key_before == KeyBefore::There || key_found.is_none();
    if found.as_ref() == earlier && key_stays {
        return Ok(absent(verb.known));
    }
    let digest = match verb.known {
        Known::Received(MachineReceipt::Value(digest)) => Some(digest),
        Known::Received(_) | Known::Intended | Known::Nothing => None,
    };
    if let Some(found) = &found
        && Some(found) != earlier
        && !is_value(wanted, found, digest)
    {
        // Somebody else's value by now.
        return Ok(Undone::Merged);
    }
    machine
        .restore_value(key, name, earlier, key_before)
        .map_err(StepError::Call)?;
    let left = machine.observe_value(key, name).map_err(StepError::Call)?;
    if left.as_ref() != earlier {
        return Err(not_kept(verb));
    }
    Ok(Undone::Restored)
}

fn undo_filters<M: Machine>(
    machine: &mut M,
    verb: &Verb<'_>,
    filters: &[Filter],
    older: &[Filter],
) -> Result<Undone, StepError> {
    let keys: Vec<Guid> = filters.iter().map(|filter| filter.key).collect();
    let observe = |machine: &mut M| {
        let found = machine.observe_filters(&keys).map_err(StepError::Call)?;
        Ok(sorted(&found))
    };
    let already = observe(machine)? == sorted(older);
    // In any case: one that is disabled, or that somebody has changed, is not seen and goes by its key.
    machine
        .replace_filters(&keys, older)
        .map_err(StepError::Call)?;
    if observe(machine)? != sorted(older) {
        return Err(not_kept(verb));
    }
    Ok(if already {
        absent(verb.known)
    } else {
        Undone::Restored
    })
}

fn undo_rule<M: Machine>(
    machine: &mut M,
    verb: &Verb<'_>,
    rule: &FirewallRule,
    older: &[FirewallRule],
) -> Result<Undone, StepError> {
    let observe = |machine: &mut M| {
        machine
            .observe_firewall_rules(&rule.name)
            .map_err(StepError::Call)
    };
    let count = |rules: &[FirewallRule]| rules.iter().filter(|one| *one == rule).count();
    let found = observe(machine)?;
    let is_there = found.contains(rule);
    if is_there {
        machine
            .remove_firewall_rule(rule)
            .map_err(StepError::Call)?;
    }
    for old in older.iter().filter(|old| !found.contains(old)) {
        machine.add_firewall_rule(old).map_err(StepError::Call)?;
    }
    let left = observe(machine)?;
    if (is_there && count(&left) >= count(&found)) || older.iter().any(|old| !left.contains(old)) {
        return Err(not_kept(verb));
    }
    Ok(if is_there {
        Undone::Restored
    } else if left.is_empty() {
        absent(verb.known)
    } else {
        Undone::Merged
    })
}

fn undo_ports<M: Machine>(
    machine: &mut M,
    verb: &Verb<'_>,
    ports: PortRange,
) -> Result<Undone, StepError> {
    match machine.observe_ports(ports).map_err(StepError::Call)? {
        Reservation::Free | Reservation::Taken => return Ok(absent(verb.known)),
        Reservation::Reserved => {}
    }
    machine.release_ports(ports).map_err(StepError::Call)?;
    match machine.observe_ports(ports).map_err(StepError::Call)? {
        Reservation::Reserved => Err(not_kept(verb)),
        Reservation::Free | Reservation::Taken => Ok(Undone::Restored),
    }
}
