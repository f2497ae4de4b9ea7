//! Checks a Windows plan against what every such plan must keep, whoever made it.
//!
//! Knows the plan and the places of the machine; no policy. Invariant: the planner's own plans have no finding of
//! severity [`Severity::Error`]; property tests and the golden hosts hold it.

use std::collections::HashSet;

use ringfence_nt::{AccessMask, Ace, AceFlags, AceKind, Acl, Sid};

use crate::lint::Severity;
use crate::windows::descriptors::{PASS, PROTECT, READ, STAY, Trustees};
use crate::windows::facts::WindowsFacts;
use crate::windows::filters;
use crate::windows::objects::Objects;
use crate::windows::path::WindowsPath;
use crate::windows::plan::{Accounts, HeldObject, WindowsPlan};
use crate::windows::refuse::RefuseList;
use crate::windows::sids::{self, SidKind};
use crate::windows::step::{
    Condition, DescriptorTemplate, Filter, FilterAction, MachineStep, PersonStep, Purpose, Trustee,
};

mod launch;
mod undo;

/// Which rule a plan breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LintRule {
    /// `FILE_DELETE_CHILD` is granted to us: a child goes whatever its own list says.
    DeleteChildGranted,
    /// `WRITE_DAC` or `WRITE_OWNER` is granted to us, or OWNER RIGHTS more than `READ_CONTROL`; or one of the accounts
    /// owns the object, and no OWNER RIGHTS entry takes an owner's `WRITE_DAC` from it.
    PermissionsGranted,
    /// An entry lets somebody in who is neither of ours nor the person.
    ForeignGrant,
    /// A deny lacks a bit of what its purpose denies.
    DenyIncomplete,
    /// A deny names no SID of the normal pass, or lacks a capability.
    DenyUnnamed,
    /// An inherited entry on a place of the refuse list.
    RefusedPlace,
    /// An inherited right above a root.
    InheritedAboveRoot,
    /// Denies, allows and inherited entries are not in this order.
    OrderNotCanonical,
    /// A directory between a held path and its root that could be renamed away.
    BetweenMissing,
    /// A secret that one of the accounts still reads.
    SecretReadable,
    /// Undoing the step would not give back what was there, or would take what is not ours.
    NotInvertible,
    /// A SID that only stands for another would be written.
    PlaceholderWritten,
    /// A filter that can hit others than an account of the person, a block that outweighs a permit, or a sublayer that
    /// is not the person's own.
    FilterUnbound,
    /// The token of targets lacks a flag, a SID of the second pass, or has one too many.
    TokenTooWide,
    /// The runner, its pipe or its token is open to a target.
    RunnerOpen,
    /// The pipe, the station, the desktop or the token of a session gives more than its launch needs.
    SessionOpen,
    /// A directory or key of the machine's record lets the group do more than pass, or the person write where the group
    /// may not even look.
    MachineOpen,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Which rule.
    pub rule: LintRule,
    /// The object or step.
    pub object: String,
}

/// Every finding, worst first; a plan without a boundary has none to break.
#[must_use]
pub fn lint(plan: &WindowsPlan, facts: &WindowsFacts) -> Vec<Finding> {
    let Some(launch) = &plan.launch else {
        return Vec::new();
    };
    let mut lint = Lint {
        plan,
        findings: HashSet::new(),
    };
    for held in &plan.held {
        lint.held(held);
        lint.between(held);
    }
    lint.places(facts);
    for step in &plan.person_steps {
        lint.step(step);
    }
    lint.undo(facts);
    for step in &plan.machine_steps {
        match step {
            MachineStep::InstallFilters { filters } => lint.filters(filters),
            MachineStep::MakeDirectory { path, descriptor } => {
                lint.of_machine(descriptor, &path.printable());
            }
            MachineStep::SetValue {
                key,
                descriptor: Some(descriptor),
                ..
            } => lint.of_machine(descriptor, key),
            _ => {}
        }
    }
    lint.launch(launch);
    lint.session(launch);
    let mut findings: Vec<Finding> = lint.findings.into_iter().collect();
    findings.sort_by(|a, b| b.cmp(a));
    findings
}

struct Lint<'a> {
    plan: &'a WindowsPlan,
    findings: HashSet<Finding>,
}

impl Lint<'_> {
    fn error(&mut self, rule: LintRule, object: &impl ToString) {
        self.findings.insert(Finding {
            severity: Severity::Error,
            rule,
            object: object.to_string(),
        });
    }

    fn held(&mut self, held: &HeldObject) {
        let path = held.object.path.printable();
        let trustees = self.plan.trustees(held.root);
        let Some(acl) = held.descriptor.acl() else {
            self.error(LintRule::DenyIncomplete, &path);
            return;
        };
        if !acl.is_canonical() {
            self.error(LintRule::OrderNotCanonical, &path);
        }
        for ace in acl.aces.iter().filter(|ace| ace.kind == AceKind::Allow) {
            self.grant(ace, &trustees, &path);
            let is_wide = !AccessMask::READ_CONTROL.contains(ace.mask);
            if ace.sid == Sid::OWNER_RIGHTS && is_wide && trustees.own(&held.descriptor) {
                self.error(LintRule::PermissionsGranted, &path);
            }
        }
        // The owner's SID is in the second pass too: without such an entry its targets rewrite the list.
        let is_bound = acl
            .aces
            .iter()
            .any(|ace| ace.sid == Sid::OWNER_RIGHTS && ace.applies_here());
        if trustees.own(&held.descriptor) && !is_bound {
            self.error(LintRule::PermissionsGranted, &path);
        }
        match held.purpose {
            Purpose::Protected | Purpose::WorldWritable => {
                self.denies(acl, &trustees, PROTECT, &path);
            }
            Purpose::Root | Purpose::Between => self.denies(acl, &trustees, STAY, &path),
            Purpose::DeniedRead => self.denies(acl, &trustees, READ, &path),
            Purpose::Secret => {
                let reach = self.plan.reach().of_accounts(Some(&held.descriptor));
                if reach.intersects(READ) {
                    self.error(LintRule::SecretReadable, &path);
                }
            }
            Purpose::Ancestor | Purpose::Tool | Purpose::Profile | Purpose::Walked => {}
        }
    }

    /// What an allow entry that names us may hold.
    fn grant(&mut self, ace: &Ace, trustees: &Trustees, path: &String) {
        let permissions = AccessMask::WRITE_DAC | AccessMask::WRITE_OWNER;
        if !trustees.is_ours(ace) {
            return;
        }
        let generic = AccessMask::GENERIC_ALL | AccessMask::GENERIC_WRITE;
        if ace.mask.contains(AccessMask::FILE_DELETE_CHILD) || ace.mask.intersects(generic) {
            self.error(LintRule::DeleteChildGranted, path);
        }
        if ace.mask.intersects(permissions) {
            self.error(LintRule::PermissionsGranted, path);
        }
    }

    /// Explicit denies of `mask` must stand in front, for a SID of the normal pass and every capability.
    fn denies(&mut self, acl: &Acl, trustees: &Trustees, mask: AccessMask, path: &String) {
        let mut named = trustees.capabilities.clone();
        named.extend(trustees.accounts.map(|accounts| accounts.group));
        if named.is_empty() {
            self.error(LintRule::DenyUnnamed, path);
        }
        for sid in named {
            let denied = acl
                .explicit()
                .filter(|ace| ace.kind == AceKind::Deny && ace.sid == sid && ace.applies_here())
                .fold(AccessMask::NONE, |all, ace| all | ace.mask);
            if denied.is_empty() {
                self.error(LintRule::DenyUnnamed, path);
            } else if !denied.contains(mask) {
                self.error(LintRule::DenyIncomplete, path);
            }
            if denied.intersects(AccessMask::SYNCHRONIZE | AccessMask::READ_CONTROL) {
                self.error(LintRule::DenyIncomplete, path);
            }
        }
    }

    fn between(&mut self, held: &HeldObject) {
        let needs = matches!(
            held.purpose,
            Purpose::Protected | Purpose::Between | Purpose::Root
        );
        let path = &held.object.path;
        let roots = self.plan.roots.iter().map(|root| &root.object.path);
        let outermost = roots
            .filter(|root| path.is_below(root))
            .min_by_key(|root| root.components().len());
        let (true, Some(outermost)) = (needs, outermost) else {
            return;
        };
        let missing = path
            .ancestors()
            .take_while(|above| above.is_below(outermost))
            .find(|above| self.plan.held_at(above).is_none());
        if let Some(missing) = missing {
            self.error(LintRule::BetweenMissing, &missing.printable());
        }
    }

    /// Inherited entries only where the refuse list allows them, and never above a root.
    fn places(&mut self, facts: &WindowsFacts) {
        let objects = Objects::new(facts);
        let list = RefuseList::new(facts, &objects);
        for held in &self.plan.held {
            let trustees = self.plan.trustees(held.root);
            let inheritable = held
                .descriptor
                .acl()
                .into_iter()
                .flat_map(Acl::explicit)
                .any(|ace| ace.flags != AceFlags::NONE && trustees.is_ours(ace));
            if !inheritable {
                continue;
            }
            let path = &held.object.path;
            let refused = match held.purpose {
                Purpose::Tool => list.check_tool(path),
                Purpose::Root
                | Purpose::Protected
                | Purpose::Between
                | Purpose::Ancestor
                | Purpose::Secret
                | Purpose::DeniedRead
                | Purpose::WorldWritable
                | Purpose::Profile
                | Purpose::Walked => list.check(path),
            };
            if !matches!(refused, Ok(None)) {
                self.error(LintRule::RefusedPlace, &path.printable());
            }
            let above = |root: &WindowsPath| root.is_below(path);
            let grants = held
                .descriptor
                .acl()
                .into_iter()
                .flat_map(Acl::explicit)
                .any(|ace| {
                    ace.kind == AceKind::Allow
                        && ace.flags != AceFlags::NONE
                        && trustees.is_ours(ace)
                });
            let mut roots = self.plan.roots.iter();
            if grants && held.purpose != Purpose::Root && roots.any(|root| above(&root.object.path))
            {
                self.error(LintRule::InheritedAboveRoot, &path.printable());
            }
        }
    }

    fn step(&mut self, step: &PersonStep) {
        let (path, descriptor) = match step {
            PersonStep::SetDacl { object, after, .. } => (&object.path, after),
            PersonStep::MakeHome { path, descriptor } => (path, descriptor),
            PersonStep::Walk { .. } => return,
        };
        let path = path.printable();
        if let Accounts::Made(_) = self.plan.accounts {
            let mut aces = descriptor.acl().into_iter().flat_map(|acl| &acl.aces);
            if aces.any(|ace| sids::kind_of(ace.sid) == Some(SidKind::Placeholder)) {
                self.error(LintRule::PlaceholderWritten, &path);
            }
        }
        if let PersonStep::MakeHome { .. } = step {
            let trustees = self.plan.trustees(Some(0));
            for ace in descriptor.acl().into_iter().flat_map(|acl| &acl.aces) {
                if ace.kind == AceKind::Allow {
                    self.grant(ace, &trustees, &path);
                }
            }
            if !descriptor.acl().is_some_and(Acl::is_canonical) {
                self.error(LintRule::OrderNotCanonical, &path);
            }
        }
        if let PersonStep::SetDacl { before, after, .. } = step {
            self.foreign(before.acl(), after.acl(), &path);
        }
    }

    /// The group passes through what is made for the machine, or is denied all of it; then the person only reads.
    fn of_machine(&mut self, descriptor: &DescriptorTemplate, object: &String) {
        let write = AccessMask::WRITE_DAC | AccessMask::WRITE_OWNER | AccessMask::DELETE;
        // To write data or set a value; to append or make a key.
        let write = write | AccessMask(0x2) | AccessMask(0x4);
        let of_group = |kind: AceKind| {
            let aces = descriptor.aces.iter();
            aces.filter(move |ace| {
                ace.kind == kind && matches!(ace.trustee, Trustee::Group | Trustee::Account(_))
            })
        };
        let mut allowed = of_group(AceKind::Allow);
        let is_wide = allowed.any(|ace| !PASS.contains(ace.mask) || ace.flags != AceFlags::NONE);
        let passes = of_group(AceKind::Allow).next().is_some();
        let all = |sid: Sid| {
            let aces = descriptor.aces.iter();
            let own = aces
                .filter(move |ace| ace.kind == AceKind::Allow && ace.trustee == Trustee::Sid(sid));
            own.fold(AccessMask::NONE, |all, ace| all | ace.mask)
        };
        let denied = of_group(AceKind::Deny)
            .filter(|ace| ace.flags == AceFlags::INHERIT_ALL)
            .fold(AccessMask::NONE, |all, ace| all | ace.mask);
        let of_person = all(self.plan.person);
        let is_closed = denied.contains(all(Sid::SYSTEM)) && !of_person.intersects(write);
        // Where the person is not named there is nothing of theirs.
        if is_wide || !(of_person.is_empty() || passes || is_closed) {
            self.error(LintRule::MachineOpen, object);
        }
    }

    /// Every allow that is new must be for us, the person, the owner's bare right, or SYSTEM on a secret.
    fn foreign(&mut self, before: Option<&Acl>, after: Option<&Acl>, path: &String) {
        let plan = self.plan;
        let present: HashSet<(Sid, AccessMask)> = before
            .into_iter()
            .flat_map(|acl| &acl.aces)
            .map(|ace| (ace.sid, ace.mask))
            .collect();
        let ours = |sid: Sid| {
            let of_accounts = plan
                .accounts
                .sids()
                .is_some_and(|all| all.all().contains(&sid));
            let known = [plan.person, Sid::OWNER_RIGHTS, Sid::SYSTEM];
            of_accounts
                || known.contains(&sid)
                || plan.roots.iter().any(|root| root.capability == sid)
        };
        let foreign = after
            .into_iter()
            .flat_map(|acl| &acl.aces)
            .filter(|ace| ace.kind == AceKind::Allow && !ace.is_inherited())
            .any(|ace| !ours(ace.sid) && !present.contains(&(ace.sid, ace.mask)));
        if foreign {
            self.error(LintRule::ForeignGrant, path);
        }
    }

    /// Each filter hits an account of the person alone: it names one, or it is one half of a pair, a permit for
    /// everybody else above a block of the same. And no other person's permit can stand above it.
    fn filters(&mut self, filters: &[Filter]) {
        let own = filters::sublayer(self.plan.person);
        for filter in filters {
            let weight = match filter.action {
                FilterAction::Permit => filter.weight > 0,
                FilterAction::Block => filter.weight == 0,
            };
            let is_half_of = |other: &Filter| {
                other.layer == filter.layer
                    && other.action != filter.action
                    && without_user(other) == without_user(filter)
            };
            let bound = match (user_of(filter), filter.action) {
                (User::Account, FilterAction::Permit | FilterAction::Block) => true,
                (User::EverybodyElse, FilterAction::Permit) => filters
                    .iter()
                    .any(|other| user_of(other) == User::Nobody && is_half_of(other)),
                (User::Nobody, FilterAction::Block) => filters
                    .iter()
                    .any(|other| user_of(other) == User::EverybodyElse && is_half_of(other)),
                (User::EverybodyElse, FilterAction::Block)
                | (User::Nobody, FilterAction::Permit)
                | (User::Another, FilterAction::Permit | FilterAction::Block) => false,
            };
            if !bound || !weight || filter.sublayer != own {
                self.error(LintRule::FilterUnbound, &filter.key);
            }
        }
    }
}

/// Whom a filter speaks of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    /// An account of the person.
    Account,
    /// Everybody but an account of the person.
    EverybodyElse,
    /// Somebody else.
    Another,
    /// It has no such condition.
    Nobody,
}

fn user_of(filter: &Filter) -> User {
    let spoken = filter
        .conditions
        .iter()
        .find_map(|condition| match condition {
            Condition::User(user) | Condition::UserOr(user, _) => Some((user, User::Account)),
            Condition::NotUser(user) | Condition::NotUserNorAnonymous(user) => {
                Some((user, User::EverybodyElse))
            }
            Condition::Loopback
            | Condition::Tcp
            | Condition::RemotePorts(_)
            | Condition::RawEndpoint
            | Condition::Promiscuous => None,
        });
    match spoken {
        Some((Trustee::Account(_), user)) => user,
        Some((Trustee::Sid(_) | Trustee::Group, _)) => User::Another,
        None => User::Nobody,
    }
}

fn without_user(filter: &Filter) -> Vec<Condition> {
    let is_user = |condition: &Condition| match condition {
        Condition::User(_)
        | Condition::UserOr(..)
        | Condition::NotUser(_)
        | Condition::NotUserNorAnonymous(_) => true,
        Condition::Loopback
        | Condition::Tcp
        | Condition::RemotePorts(_)
        | Condition::RawEndpoint
        | Condition::Promiscuous => false,
    };
    let rest = filter.conditions.iter().filter(|one| !is_user(one));
    rest.copied().collect()
}
