//! Whether a step is done.
//!
//! Invariant: something that we did not make is never called done where its name alone would make it ours.

use sha2::{Digest as _, Sha256};

use ringfence_nt::Sid;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::{
    AccountRole, DescriptorTemplate, Filter, FirewallRule, LogonRight, MachineStep, PortRange,
    RegistryValue,
};

use crate::windows::books::{Before, MachineReceipt};
use crate::windows::machine::{
    AccountName, KeyBefore, Logon, Machine, PasswordRule, ProfileGuard, Reservation, StoredValue,
};
use crate::windows::merge::same;
use crate::windows::trustees::descriptor_of;

use super::{Known, Standing, StepError, Verb};

/// Looks at the machine.
pub(in crate::windows) fn look<M: Machine>(
    machine: &mut M,
    verb: &Verb<'_>,
) -> Result<Standing, StepError> {
    match verb.step {
        MachineStep::EnsureGroup { name, comment } => look_group(machine, verb, name, comment),
        MachineStep::EnsureAccount {
            name,
            comment,
            record,
            marker,
            ..
        } => {
            let account = AccountName {
                name,
                record,
                marker: *marker,
            };
            look_account(machine, verb, account, comment)
        }
        MachineStep::DenyLogon { role, rights } => look_logons(machine, verb, *role, rights),
        MachineStep::MakeDirectory { path, descriptor } => {
            look_directory(machine, verb, path, descriptor)
        }
        MachineStep::SetValue {
            key,
            name,
            value,
            descriptor,
        } => {
            let digest = match verb.known {
                Known::Received(MachineReceipt::Value(digest)) => Some(digest),
                Known::Received(_) | Known::Intended | Known::Nothing => None,
            };
            look_value(machine, (key, name), (value, digest), descriptor.as_ref())
        }
        MachineStep::InstallFilters { filters } => look_filters(machine, filters),
        MachineStep::AddFirewallRule { rule } => look_rule(machine, verb, rule),
        MachineStep::ReservePorts { ports } => look_ports(machine, *ports),
    }
}

/// Whether an account or group of that name is the one that we made.
fn ownership(known: Known, sid: Sid, same_comment: bool) -> Result<(), &'static str> {
    match known {
        Known::Nothing => Err("is there, and Ringfence did not make it"),
        Known::Intended if same_comment => Ok(()),
        Known::Intended => Err("is there with a comment that Ringfence did not write"),
        Known::Received(MachineReceipt::Principal(made)) if made == sid => Ok(()),
        Known::Received(_) => Err("is not the one that Ringfence made"),
    }
}

fn look_group<M: Machine>(
    machine: &mut M,
    verb: &Verb<'_>,
    name: &str,
    comment: &str,
) -> Result<Standing, StepError> {
    let Some(group) = machine.observe_group(name).map_err(StepError::Call)? else {
        return Ok(Standing::Absent(Before::Nothing));
    };
    Ok(
        match ownership(verb.known, group.sid, group.comment == comment) {
            Ok(()) => Standing::Done(MachineReceipt::Principal(group.sid)),
            Err(reason) => Standing::Foreign(reason),
        },
    )
}

fn look_account<M: Machine>(
    machine: &mut M,
    verb: &Verb<'_>,
    name: AccountName<'_>,
    comment: &str,
) -> Result<Standing, StepError> {
    let group = verb.accounts.group.ok_or(StepError::TrusteeUnknown)?;
    let observed = machine.observe_account(name).map_err(StepError::Call)?;
    let Some(account) = observed else {
        return Ok(Standing::Absent(Before::Nothing));
    };
    if let Err(reason) = ownership(verb.known, account.sid, account.comment == comment) {
        return Ok(Standing::Foreign(reason));
    }
    let usable = match account.logon {
        Logon::Works => true,
        Logon::Disabled | Logon::Wrong | Logon::NoRecord => false,
    };
    let guarded = match account.profile {
        ProfileGuard::Guarded => true,
        ProfileGuard::Open | ProfileGuard::Absent => false,
    };
    let ruled = match account.password {
        PasswordRule::Kept => true,
        PasswordRule::Loose => false,
    };
    Ok(
        if usable && ruled && guarded && account.groups == [Sid::USERS, group].into() {
            Standing::Done(MachineReceipt::Principal(account.sid))
        } else {
            Standing::Absent(Before::Principal)
        },
    )
}

fn look_logons<M: Machine>(
    machine: &mut M,
    verb: &Verb<'_>,
    role: AccountRole,
    rights: &[LogonRight],
) -> Result<Standing, StepError> {
    let account = verb
        .accounts
        .account(role)
        .ok_or(StepError::TrusteeUnknown)?;
    let denied = machine
        .observe_denied_logons(account)
        .map_err(StepError::Call)?;
    let (there, missing): (Vec<LogonRight>, Vec<LogonRight>) =
        rights.iter().partition(|right| denied.contains(right));
    Ok(if missing.is_empty() {
        Standing::Done(MachineReceipt::Done)
    } else {
        Standing::Absent(Before::Logons(there))
    })
}

fn look_directory<M: Machine>(
    machine: &mut M,
    verb: &Verb<'_>,
    path: &WindowsPath,
    descriptor: &DescriptorTemplate,
) -> Result<Standing, StepError> {
    let observed = machine.observe_directory(path).map_err(StepError::Call)?;
    let Some(directory) = observed else {
        return Ok(Standing::Absent(Before::Nothing));
    };
    let done = same(&directory.descriptor, &descriptor_of(descriptor));
    Ok(match verb.known {
        Known::Received(MachineReceipt::Directory(id)) if id != directory.id => {
            Standing::Foreign("is not the one that Ringfence made")
        }
        Known::Nothing if !done => Standing::Foreign("is there, and Ringfence did not make it"),
        Known::Nothing | Known::Intended | Known::Received(_) if done => {
            Standing::Done(MachineReceipt::Directory(directory.id))
        }
        // It is ours, so it was made; what it holds stays when this is undone.
        Known::Received(_) => Standing::Absent(Before::Directory(Box::new(directory.descriptor))),
        Known::Nothing | Known::Intended => Standing::Absent(Before::Nothing),
    })
}

/// The SHA-256 of a value, its kind included.
fn digest_of(value: &StoredValue) -> [u8; 32] {
    let mut hash = Sha256::new();
    match value {
        StoredValue::Dword(number) => {
            hash.update(b"dword");
            hash.update(number.to_le_bytes());
        }
        StoredValue::Text(text) => {
            hash.update(b"text");
            hash.update(text);
        }
        StoredValue::Binary(bytes) => {
            hash.update(b"binary");
            hash.update(bytes);
        }
    }
    hash.finalize().into()
}

/// Whether `stored` is what the step makes; `digest` is that of what was drawn at random, where it is known.
pub(super) fn is_value(
    wanted: &RegistryValue,
    stored: &StoredValue,
    digest: Option<[u8; 32]>,
) -> bool {
    match (wanted, stored) {
        (RegistryValue::Dword(wanted), StoredValue::Dword(stored)) => wanted == stored,
        (RegistryValue::Text(wanted), StoredValue::Text(stored)) => wanted == stored,
        (RegistryValue::Random(length), StoredValue::Binary(bytes)) => {
            usize::from(*length) == bytes.len()
                && digest.is_none_or(|digest| digest == digest_of(stored))
        }
        (RegistryValue::Dword(_), StoredValue::Text(_) | StoredValue::Binary(_))
        | (RegistryValue::Text(_), StoredValue::Dword(_) | StoredValue::Binary(_))
        | (RegistryValue::Random(_), StoredValue::Dword(_) | StoredValue::Text(_)) => false,
    }
}

fn look_value<M: Machine>(
    machine: &mut M,
    (key, name): (&str, &str),
    (wanted, digest): (&RegistryValue, Option<[u8; 32]>),
    descriptor: Option<&DescriptorTemplate>,
) -> Result<Standing, StepError> {
    let found = machine.observe_key(key).map_err(StepError::Call)?;
    let stored = machine.observe_value(key, name).map_err(StepError::Call)?;
    let guarded = descriptor.is_none_or(|template| {
        let wanted = descriptor_of(template);
        found.as_ref().is_some_and(|found| same(found, &wanted))
    });
    if let Some(stored) = &stored
        && guarded
        && is_value(wanted, stored, digest)
    {
        return Ok(Standing::Done(MachineReceipt::Value(digest_of(stored))));
    }
    let key = match found {
        Some(_) => KeyBefore::There,
        None => KeyBefore::Absent,
    };
    Ok(Standing::Absent(Before::Value { value: stored, key }))
}

/// Filters in the order of their keys: the system lists them in its own.
pub(super) fn sorted(filters: &[Filter]) -> Vec<Filter> {
    let mut filters = filters.to_vec();
    filters.sort_by_key(|filter| filter.key);
    filters
}

fn look_filters<M: Machine>(machine: &mut M, filters: &[Filter]) -> Result<Standing, StepError> {
    let keys: Vec<_> = filters.iter().map(|filter| filter.key).collect();
    let found = machine.observe_filters(&keys).map_err(StepError::Call)?;
    Ok(if sorted(&found) == sorted(filters) {
        Standing::Done(MachineReceipt::Done)
    } else {
        Standing::Absent(Before::Filters(found))
    })
}

fn look_rule<M: Machine>(
    machine: &mut M,
    verb: &Verb<'_>,
    rule: &FirewallRule,
) -> Result<Standing, StepError> {
    let found = machine
        .observe_firewall_rules(&rule.name)
        .map_err(StepError::Call)?;
    if found.contains(rule) {
        return Ok(Standing::Done(MachineReceipt::Done));
    }
    Ok(match verb.known {
        Known::Nothing if !found.is_empty() => {
            Standing::Foreign("is there, and Ringfence did not make it")
        }
        // What is found under the name of a rule of ours is its older form.
        Known::Nothing | Known::Intended | Known::Received(_) => {
            Standing::Absent(Before::Rules(found))
        }
    })
}

fn look_ports<M: Machine>(machine: &mut M, ports: PortRange) -> Result<Standing, StepError> {
    Ok(
        match machine.observe_ports(ports).map_err(StepError::Call)? {
            Reservation::Free => Standing::Absent(Before::Nothing),
            Reservation::Reserved => Standing::Done(MachineReceipt::Done),
            Reservation::Taken => Standing::Foreign("are used or reserved by somebody else"),
        },
    )
}
