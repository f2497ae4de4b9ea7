//! Machine steps in words.

use std::fmt::Write as _;

use ringfence_nt::Sid;

use super::{Names, line, mask_words};
use crate::windows::render::flag_words;
use crate::windows::step::{
    AccountRole, Condition, DescriptorTemplate, Filter, FilterAction, Layer, LogonRight,
    MachineStep, PortRange, RegistryValue, Trustee,
};

const fn role(role: AccountRole) -> &'static str {
    match role {
        AccountRole::Offline => "OFFLINE",
        AccountRole::Online => "ONLINE",
    }
}

fn trustee(trustee: Trustee, names: &Names) -> String {
    match trustee {
        Trustee::Sid(sid) => names.of_sid(sid),
        Trustee::Account(account) => role(account).to_owned(),
        Trustee::Group => "GROUP".to_owned(),
    }
}

fn ports(range: PortRange) -> String {
    if range.first == range.last {
        range.first.to_string()
    } else {
        format!("{}-{}", range.first, range.last)
    }
}

const fn right(right: LogonRight) -> &'static str {
    match right {
        LogonRight::DenyNetwork => "network",
        LogonRight::DenyRemoteInteractive => "remote desktop",
        LogonRight::DenyBatch => "batch",
        LogonRight::DenyService => "service",
    }
}

/// One step, with what belongs to it on lines of its own.
pub(super) fn render(text: &mut String, number: usize, step: &MachineStep, names: &Names) {
    let words = match step {
        MachineStep::EnsureGroup { name, comment } => {
            format!("make the local group {name} ({})", line(comment))
        }
        MachineStep::EnsureAccount {
            name,
            role: of,
            comment,
            record,
            marker,
        } => format!(
            "make the local account {name} as {} ({}), its password sealed in {}, its profile closed to writes by {}",
            role(*of),
            line(comment),
            record.printable(),
            names.of_sid(*marker)
        ),
        MachineStep::DenyLogon { role: of, rights } => {
            let rights: Vec<&str> = rights.iter().map(|one| right(*one)).collect();
            format!("deny {} to sign in by {}", role(*of), rights.join(", "))
        }
        MachineStep::MakeDirectory { path, .. } => format!("make {}", path.printable()),
        MachineStep::SetValue {
            key, name, value, ..
        } => {
            let value = match value {
                RegistryValue::Dword(number) => number.to_string(),
                RegistryValue::Text(words) => format!("\"{}\"", line(words)),
                RegistryValue::Random(bytes) => format!("{bytes} random bytes, once"),
            };
            format!("set HKLM\\{}\\{} to {value}", line(key), line(name))
        }
        MachineStep::InstallFilters { filters } => {
            format!("install {} filters, in one transaction", filters.len())
        }
        MachineStep::AddFirewallRule { rule } => format!(
            "add the firewall rule \"{}\": block {} to {}{}",
            line(&rule.name),
            trustee(rule.user, names),
            rule.remote_addresses.join(" "),
            if rule.remote_ports.is_empty() {
                String::new()
            } else {
                let list: Vec<String> = rule.remote_ports.iter().copied().map(ports).collect();
                format!(" on TCP {}", list.join(" "))
            }
        ),
        MachineStep::ReservePorts { ports: range } => {
            format!("reserve TCP ports {} for the proxy", ports(*range))
        }
    };
    let _ = writeln!(text, "{number:>5}  {words}");
    details(text, step, names);
}

fn details(text: &mut String, step: &MachineStep, names: &Names) {
    match step {
        MachineStep::MakeDirectory { descriptor, .. }
        | MachineStep::SetValue {
            descriptor: Some(descriptor),
            ..
        } => template(text, descriptor, names),
        MachineStep::InstallFilters { filters } => {
            for filter in filters {
                let _ = writeln!(text, "         {}", filter_words(filter, names));
            }
        }
        MachineStep::EnsureGroup { .. }
        | MachineStep::EnsureAccount { .. }
        | MachineStep::DenyLogon { .. }
        | MachineStep::SetValue {
            descriptor: None, ..
        }
        | MachineStep::AddFirewallRule { .. }
        | MachineStep::ReservePorts { .. } => {}
    }
}

fn template(text: &mut String, descriptor: &DescriptorTemplate, names: &Names) {
    let owner: Sid = descriptor.owner;
    let _ = writeln!(
        text,
        "         owner {}, nothing inherited",
        names.of_sid(owner)
    );
    for ace in &descriptor.aces {
        let kind = match ace.kind {
            ringfence_nt::AceKind::Deny => "deny ",
            ringfence_nt::AceKind::Allow
            | ringfence_nt::AceKind::Audit
            | ringfence_nt::AceKind::MandatoryLabel => "allow",
        };
        let _ = writeln!(
            text,
            "         {kind} {}: {}, {}",
            trustee(ace.trustee, names),
            mask_words(ace.mask),
            flag_words(ace.flags)
        );
    }
}

fn filter_words(filter: &Filter, names: &Names) -> String {
    let layer = match filter.layer {
        Layer::ConnectV4 => "connect v4",
        Layer::ConnectV6 => "connect v6",
        Layer::AcceptV4 => "accept v4",
        Layer::AcceptV6 => "accept v6",
        Layer::AssignmentV4 => "assign v4",
        Layer::AssignmentV6 => "assign v6",
    };
    let action = match filter.action {
        FilterAction::Permit => "permit",
        FilterAction::Block => "block ",
    };
    let conditions: Vec<String> = filter
        .conditions
        .iter()
        .map(|condition| match condition {
            Condition::User(user) => trustee(*user, names),
            Condition::UserOr(user, sid) => {
                format!("{} or {}", trustee(*user, names), names.of_sid(*sid))
            }
            Condition::NotUser(user) => format!("anyone but {}", trustee(*user, names)),
            Condition::Loopback => "loopback".to_owned(),
            Condition::Tcp => "TCP".to_owned(),
            Condition::RemotePorts(range) => format!("ports {}", ports(*range)),
            Condition::RawEndpoint => "raw endpoint".to_owned(),
        })
        .collect();
    format!(
        "{layer:<10} {action} weight {:<2} {} [{}] {}",
        filter.weight,
        conditions.join(", "),
        line(&filter.name),
        filter.key
    )
}
