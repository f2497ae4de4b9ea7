//! Steps whose trustees were still to be made, with their SIDs put in.
//!
//! Invariant: a step that comes out of here names SIDs alone.

use ringfence_nt::{SecurityDescriptor, Sid};
use ringfence_plan::windows::sids::{SidKind, kind_of};
use ringfence_plan::windows::step::{
    AccountRole, AccountSids, AceTemplate, Condition, DescriptorTemplate, Filter, FirewallRule,
    MachineStep, Trustee,
};

/// The accounts and the group of a person, as far as they exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownAccounts {
    /// The offline account.
    pub offline: Option<Sid>,
    /// The online account.
    pub online: Option<Sid>,
    /// The group.
    pub group: Option<Sid>,
}

impl KnownAccounts {
    /// The account of that role.
    #[must_use]
    pub const fn account(&self, role: AccountRole) -> Option<Sid> {
        match role {
            AccountRole::Offline => self.offline,
            AccountRole::Online => self.online,
        }
    }

    /// Those that exist.
    pub fn sids(&self) -> impl Iterator<Item = Sid> {
        [self.offline, self.online, self.group]
            .into_iter()
            .flatten()
    }

    fn find(&self, trustee: Trustee) -> Option<Trustee> {
        let sid = match trustee {
            // It stands for an account that is still to be made.
            Trustee::Sid(sid) if matches!(kind_of(sid), Some(SidKind::Placeholder)) => None,
            Trustee::Sid(sid) => Some(sid),
            Trustee::Account(role) => self.account(role),
            Trustee::Group => self.group,
        };
        sid.map(Trustee::Sid)
    }

    /// `step` with SIDs for trustees; none while one of them is still to be made.
    #[must_use]
    pub fn resolve(&self, step: &MachineStep) -> Option<MachineStep> {
        Some(match step {
            MachineStep::MakeDirectory { path, descriptor } => MachineStep::MakeDirectory {
                path: path.clone(),
                descriptor: self.template(descriptor)?,
            },
            MachineStep::SetValue {
                key,
                name,
                value,
                descriptor,
            } => MachineStep::SetValue {
                key: key.clone(),
                name: name.clone(),
                value: value.clone(),
                descriptor: match descriptor {
                    Some(template) => Some(self.template(template)?),
                    None => None,
                },
            },
            MachineStep::InstallFilters { filters } => MachineStep::InstallFilters {
                filters: filters
                    .iter()
                    .map(|filter| self.filter(filter))
                    .collect::<Option<Vec<Filter>>>()?,
            },
            MachineStep::AddFirewallRule { rule } => MachineStep::AddFirewallRule {
                rule: FirewallRule {
                    user: self.find(rule.user)?,
                    ..rule.clone()
                },
            },
            MachineStep::EnsureGroup { .. }
            | MachineStep::EnsureAccount { .. }
            | MachineStep::DenyLogon { .. }
            | MachineStep::ReservePorts { .. } => step.clone(),
        })
    }

    fn template(&self, template: &DescriptorTemplate) -> Option<DescriptorTemplate> {
        let resolve = |ace: &AceTemplate| {
            let trustee = self.find(ace.trustee)?;
            Some(AceTemplate { trustee, ..*ace })
        };
        Some(DescriptorTemplate {
            owner: template.owner,
            aces: template.aces.iter().map(resolve).collect::<Option<_>>()?,
        })
    }

    fn filter(&self, filter: &Filter) -> Option<Filter> {
        let resolve = |condition: &Condition| {
            Some(match condition {
                Condition::User(trustee) => Condition::User(self.find(*trustee)?),
                Condition::UserOr(trustee, sid) => Condition::UserOr(self.find(*trustee)?, *sid),
                Condition::NotUser(trustee) => Condition::NotUser(self.find(*trustee)?),
                Condition::NotUserNorAnonymous(trustee) => {
                    Condition::NotUserNorAnonymous(self.find(*trustee)?)
                }
                Condition::Loopback
                | Condition::Tcp
                | Condition::RemotePorts(_)
                | Condition::RawEndpoint
                | Condition::Promiscuous => *condition,
            })
        };
        Some(Filter {
            conditions: filter
                .conditions
                .iter()
                .map(resolve)
                .collect::<Option<_>>()?,
            ..filter.clone()
        })
    }
}

/// The descriptor of a template that came out of [`KnownAccounts::resolve`].
#[must_use]
pub(super) fn descriptor_of(template: &DescriptorTemplate) -> SecurityDescriptor {
    // Nothing in it names a role any more, so these are never looked at.
    let nobody = AccountSids {
        offline: Sid::NULL,
        online: Sid::NULL,
        group: Sid::NULL,
    };
    template.resolve(&nobody)
}
