//! Machine steps in words.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ringfence_nt::{AceKind, SecurityDescriptor, Sid};

use ringfence_policy::escape::escape_again;

use super::{Names, flag_words, mask_words};
use crate::windows::filters::{PROVIDER, PROVIDER_SERVICE, SUBLAYER_WEIGHT, match_descriptor};
use crate::windows::machine::{hive_entries, profile_entries};
use crate::windows::step::{
    AccountRole, AceTemplate, Condition, DescriptorTemplate, Filter, FilterAction, Guid, Layer,
    LogonRight, MachineStep, PortRange, RegistryValue, Trustee,
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
            format!("make the local group {name} ({})", escape_again(comment))
        }
        MachineStep::EnsureAccount {
            name,
            role: of,
            comment,
            record,
            marker: _,
        } => format!(
            "make the local account {name} as {} ({}), its password sealed in {}",
            role(*of),
            escape_again(comment),
            record.printable()
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
                RegistryValue::Text(words) => format!("\"{}\"", escape_again(words)),
                RegistryValue::Random(bytes) => format!("{bytes} random bytes, once"),
            };
            format!(
                "set HKLM\\{}\\{} to {value}",
                escape_again(key),
                escape_again(name)
            )
        }
        MachineStep::InstallFilters { filters } => {
            format!(
                "install {} filters, in one transaction: below, the layer (FWPM_LAYER_), what is done, by what weight, \
                 for whom and what",
                filters.len()
            )
        }
        MachineStep::AddFirewallRule { rule } => format!(
            "add the firewall rule \"{}\": outbound, block {} (LocalUserAuthorizedList O:LSD:(A;;CC;;;{})) to {}{}",
            escape_again(&rule.name),
            trustee(rule.user, names),
            trustee(rule.user, names),
            rule.remote_addresses.join(" "),
            if rule.remote_ports.is_empty() {
                String::new()
            } else {
                let list: Vec<String> = rule.remote_ports.iter().copied().map(ports).collect();
                format!(" on TCP and UDP {}", list.join(" "))
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
        MachineStep::InstallFilters { filters } => filter_set(text, filters, names),
        MachineStep::EnsureAccount { marker, .. } => {
            let _ = writeln!(
                text,
                "         UF_NORMAL_ACCOUNT UF_SCRIPT UF_DONT_EXPIRE_PASSWD UF_PASSWD_CANT_CHANGE, USER_PRIV_USER"
            );
            let _ = writeln!(
                text,
                "         member of GROUP and Users (S-1-5-32-545), and of nothing else"
            );
            let _ = writeln!(text, "         a profile of its own, by CreateProfile");
            for (what, aces) in [
                ("its profile", profile_entries(*marker)),
                (
                    "its registry hive (0x20 is KEY_CREATE_LINK)",
                    hive_entries(*marker),
                ),
            ] {
                let _ = writeln!(text, "         {what}, besides what Windows puts there");
                for ace in &aces {
                    let _ = writeln!(text, "           {}", template_words(ace, names));
                }
                if let Some(accounts) = &names.accounts {
                    let list = aces.iter().map(|ace| ace.resolve(accounts)).collect();
                    let entries = SecurityDescriptor {
                        owner: None,
                        group: None,
                        ..SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, list)
                    };
                    let _ = writeln!(text, "           sddl {}", entries.to_sddl());
                }
            }
        }
        MachineStep::EnsureGroup { .. }
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
        let _ = writeln!(text, "         {}", template_words(ace, names));
    }
    if let Some(accounts) = &names.accounts {
        let sddl = descriptor.resolve(accounts).to_sddl();
        let _ = writeln!(text, "         sddl {sddl}");
    }
}

fn template_words(ace: &AceTemplate, names: &Names) -> String {
    let kind = match ace.kind {
        AceKind::Deny => "deny ",
        AceKind::Allow | AceKind::Audit | AceKind::MandatoryLabel => "allow",
    };
    format!(
        "{kind} {}: {}, {}",
        trustee(ace.trustee, names),
        mask_words(ace.mask),
        flag_words(ace.flags)
    )
}

/// Every filter on a line, and each way to name a user as the descriptor that it is.
fn filter_set(text: &mut String, filters: &[Filter], names: &Names) {
    let sublayers: BTreeSet<Guid> = filters.iter().map(|filter| filter.sublayer).collect();
    let _ = writeln!(
        text,
        "         provider {PROVIDER}, FWPM_PROVIDER_FLAG_PERSISTENT, service {PROVIDER_SERVICE}"
    );
    for sublayer in sublayers {
        let _ = writeln!(
            text,
            "         sublayer {sublayer}, this person's alone, weight {SUBLAYER_WEIGHT:#06x}, FWPM_SUBLAYER_FLAG_PERSISTENT"
        );
    }
    let _ = writeln!(text, "         each filter FWPM_FILTER_FLAG_PERSISTENT");
    for filter in filters {
        let _ = writeln!(text, "         {}", filter_words(filter, names));
    }
    let mut users: Vec<(String, String)> = filters
        .iter()
        .flat_map(|filter| &filter.conditions)
        .filter_map(|condition| {
            Some((
                condition_words(condition, names),
                user_sddl(condition, names)?,
            ))
        })
        .collect();
    users.sort();
    users.dedup();
    for (words, sddl) in users {
        let _ = writeln!(text, "         \"{words}\" is ALE_USER_ID {sddl}");
    }
}

/// The descriptor of a condition on the user, with the names of the plan where there may be no SID yet.
fn user_sddl(condition: &Condition, names: &Names) -> Option<String> {
    // Any SID that stands nowhere else; the text has its name instead.
    let stand_in = Sid::NULL;
    let who = match condition {
        Condition::User(user)
        | Condition::UserOr(user, _)
        | Condition::NotUser(user)
        | Condition::NotUserNorAnonymous(user) => trustee(*user, names),
        Condition::Loopback
        | Condition::Tcp
        | Condition::RemotePorts(_)
        | Condition::RawEndpoint
        | Condition::Promiscuous => return None,
    };
    let descriptor = match_descriptor(condition, |_| stand_in)?;
    let mut sddl = "O:SYG:SYD:".to_owned();
    for ace in descriptor.acl().into_iter().flat_map(|acl| &acl.aces) {
        let kind = match ace.kind {
            AceKind::Deny => "D",
            AceKind::Allow | AceKind::Audit | AceKind::MandatoryLabel => "A",
        };
        let sid = if ace.sid == stand_in {
            who.clone()
        } else {
            names.of_sid(ace.sid)
        };
        let _ = write!(sddl, "({kind};;CC;;;{sid})");
    }
    Some(sddl)
}

fn filter_words(filter: &Filter, names: &Names) -> String {
    let layer = match filter.layer {
        Layer::ConnectV4 => "ALE_AUTH_CONNECT_V4",
        Layer::ConnectV6 => "ALE_AUTH_CONNECT_V6",
        Layer::AcceptV4 => "ALE_AUTH_RECV_ACCEPT_V4",
        Layer::AcceptV6 => "ALE_AUTH_RECV_ACCEPT_V6",
        Layer::AssignmentV4 => "ALE_RESOURCE_ASSIGNMENT_V4",
        Layer::AssignmentV6 => "ALE_RESOURCE_ASSIGNMENT_V6",
    };
    let action = match filter.action {
        FilterAction::Permit => "permit",
        FilterAction::Block => "block ",
    };
    let conditions: Vec<String> = filter
        .conditions
        .iter()
        .map(|condition| condition_words(condition, names))
        .collect();
    let conditions = if conditions.is_empty() {
        "everything".to_owned()
    } else {
        conditions.join(", ")
    };
    format!(
        "{layer:<26} {action} {:>2}  {conditions}  [{}] {}",
        filter.weight,
        escape_again(&filter.name),
        filter.key
    )
}

fn condition_words(condition: &Condition, names: &Names) -> String {
    match condition {
        Condition::User(user) => trustee(*user, names),
        Condition::UserOr(user, sid) => {
            format!("{} or {}", trustee(*user, names), names.of_sid(*sid))
        }
        Condition::NotUser(user) => format!("anyone but {}", trustee(*user, names)),
        Condition::NotUserNorAnonymous(user) => {
            format!("anyone but {} and the anonymous", trustee(*user, names))
        }
        Condition::Loopback => "loopback".to_owned(),
        Condition::Tcp => "TCP".to_owned(),
        Condition::RemotePorts(range) => format!("remote ports {}", ports(*range)),
        Condition::RawEndpoint => "raw endpoint".to_owned(),
        Condition::Promiscuous => "promiscuous endpoint".to_owned(),
    }
}
