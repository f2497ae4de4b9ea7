//! How a step is done.
//!
//! Invariant: doing a step twice is doing it once.

use ringfence_nt::Sid;
use ringfence_plan::windows::step::{FirewallRule, MachineStep};

use crate::windows::books::Before;
use crate::windows::machine::{Machine, NewAccount};
use crate::windows::trustees::descriptor_of;

use super::{StepError, Verb};

/// Does it; `before` is what its entry in the ledger says was there.
pub(in crate::windows) fn act<M: Machine>(
    machine: &mut M,
    verb: &Verb<'_>,
    before: &Before,
) -> Result<(), StepError> {
    let done = match verb.step {
        MachineStep::EnsureGroup { name, comment } => machine.make_group(name, comment),
        MachineStep::EnsureAccount {
            name,
            comment,
            record,
            marker,
            ..
        } => {
            let group = verb.accounts.group.ok_or(StepError::TrusteeUnknown)?;
            machine.make_account(&NewAccount {
                name,
                comment,
                record,
                marker: *marker,
                groups: &[Sid::USERS, group],
            })
        }
        MachineStep::DenyLogon { role, rights } => {
            let account = verb.accounts.account(*role);
            machine.deny_logons(account.ok_or(StepError::TrusteeUnknown)?, rights)
        }
        MachineStep::MakeDirectory { path, descriptor } => {
            machine.make_directory(path, &descriptor_of(descriptor))
        }
        MachineStep::SetValue {
            key,
            name,
            value,
            descriptor,
        } => {
            let descriptor = descriptor.as_ref().map(descriptor_of);
            machine.set_value(key, name, value, descriptor.as_ref())
        }
        MachineStep::InstallFilters { filters } => {
            let keys: Vec<_> = filters.iter().map(|filter| filter.key).collect();
            machine.replace_filters(&keys, filters)
        }
        MachineStep::AddFirewallRule { rule } => return replace_rule(machine, rule, before),
        MachineStep::ReservePorts { ports } => machine.reserve_ports(*ports),
    };
    done.map_err(StepError::Call)
}

/// Several rules may bear one name, so the older form is seen to be gone before the new one comes.
fn replace_rule<M: Machine>(
    machine: &mut M,
    rule: &FirewallRule,
    before: &Before,
) -> Result<(), StepError> {
    let observe = |machine: &mut M| {
        machine
            .observe_firewall_rules(&rule.name)
            .map_err(StepError::Call)
    };
    let present = observe(machine)?;
    for old in before.rules().iter().filter(|old| present.contains(old)) {
        machine.remove_firewall_rule(old).map_err(StepError::Call)?;
    }
    if !before.rules().is_empty() {
        let left = observe(machine)?;
        if before.rules().iter().any(|old| left.contains(old)) {
            return Err(StepError::NotKept {
                object: format!("the firewall rule {}", rule.name),
            });
        }
    }
    machine.add_firewall_rule(rule).map_err(StepError::Call)
}
