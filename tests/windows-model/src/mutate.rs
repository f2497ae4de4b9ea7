//! Plans broken on purpose: each way in which a planner or an executor could forget something.
//!
//! Invariant: a mutation changes the plan it is applied to, or is counted as not applicable, never as killed.

use ringfence_nt::{AccessMask, Ace, AceFlags, AceKind, Acl, Dacl, SecurityDescriptor, Sid};
use ringfence_plan::windows::WindowsPlan;
use ringfence_plan::windows::launch::RestrictingSid;
use ringfence_plan::windows::step::{PersonStep, Purpose};

use crate::carry::Walking;

/// One way to break a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A bit is left out of the denies of protected paths.
    DropDenyBit(AccessMask),
    /// A bit is left out of the denies of roots and of directories that must stay.
    DropStayBit(AccessMask),
    /// Roots grant `FILE_DELETE_CHILD`.
    AddDeleteChild,
    /// Roots grant `WRITE_DAC`.
    AddWriteDac,
    /// Everyone gets everything on what is held.
    AddEveryone,
    /// Everyone stands in the second pass.
    RestrictWithEveryone,
    /// Allows come before denies on what is held.
    SwapOrder,
    /// Denies name the capability alone.
    DropGroupDenies,
    /// Denies name the group alone.
    DropCapabilityDenies,
    /// OWNER RIGHTS stands nowhere.
    DropOwnerRights,
    /// The person stands nowhere on roots.
    DropPerson,
    /// The steps of one purpose are left out.
    Skip(Purpose),
    /// What must not be inherited is.
    InheritStay,
    /// Entries of protected paths are not inherited.
    DenyHereOnly,
    /// The walk leaves out objects with explicit entries.
    WalkSkipsExplicit,
    /// No walk is made.
    NoWalk,
    /// What was moved into a closed directory keeps the list of where it was.
    StraysStay,
    /// The second pass is left out.
    Unrestricted,
    /// The logon SID counts.
    LogonCounts,
    /// The marker is not in the token.
    NoMarker,
    /// The marker is denied nothing at the session's pipe.
    DropMarkerDeny,
    /// The group stands in the second pass.
    RestrictWithGroup,
    /// Targets carry the SID of every root that the person was given.
    EveryCapability,
    /// What everybody who has signed on carries counts.
    EverybodyCounts,
    /// The runner keeps the DACLs that its user would give it.
    SoftRunner,
    /// The default DACL names Everyone.
    OpenDefault,
    /// The default DACL gives the group generic read: on tokens that is a copy of them.
    ReadableDefault,
    /// The desktop of a session names the group for everything, and no session.
    SharedDesktop,
    /// Targets' tokens may be duplicated by the group.
    TokensTaken,
}

impl Mutation {
    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let denied = ringfence_plan::windows::descriptors::PROTECT
            .bits()
            .map(Self::DropDenyBit);
        let stay = ringfence_plan::windows::descriptors::STAY
            .bits()
            .map(Self::DropStayBit);
        let skipped = [
            Purpose::Root,
            Purpose::Protected,
            Purpose::Between,
            Purpose::Secret,
            Purpose::DeniedRead,
            Purpose::Ancestor,
        ]
        .map(Self::Skip);
        denied
            .chain(stay)
            .chain(skipped)
            .chain([
                Self::AddDeleteChild,
                Self::AddWriteDac,
                Self::AddEveryone,
                Self::RestrictWithEveryone,
                Self::SwapOrder,
                Self::DropGroupDenies,
                Self::DropCapabilityDenies,
                Self::DropOwnerRights,
                Self::DropPerson,
                Self::InheritStay,
                Self::DenyHereOnly,
                Self::WalkSkipsExplicit,
                Self::NoWalk,
                Self::StraysStay,
                Self::Unrestricted,
                Self::LogonCounts,
                Self::NoMarker,
                Self::DropMarkerDeny,
                Self::RestrictWithGroup,
                Self::EveryCapability,
                Self::EverybodyCounts,
                Self::SoftRunner,
                Self::OpenDefault,
                Self::ReadableDefault,
                Self::SharedDesktop,
                Self::TokensTaken,
            ])
            .collect()
    }

    /// Breaks the plan; says how its walks are made.
    pub fn apply(self, plan: &mut WindowsPlan) -> Walking {
        match self {
            Self::DropDenyBit(bit) => {
                edit(plan, &[Purpose::Protected], |aces| without_bit(aces, bit));
            }
            Self::DropStayBit(bit) => {
                edit(plan, &[Purpose::Root, Purpose::Between], |aces| {
                    without_bit(aces, bit);
                });
            }
            Self::AddDeleteChild => grant_more(plan, AccessMask::FILE_DELETE_CHILD),
            Self::AddWriteDac => grant_more(plan, AccessMask::WRITE_DAC),
            Self::AddEveryone => edit(plan, &HELD, |aces| {
                let all = AccessMask::FILE_ALL_ACCESS;
                aces.insert(0, Ace::allow(AceFlags::INHERIT_ALL, all, Sid::EVERYONE));
            }),
            Self::SwapOrder => edit(plan, &HELD, |aces| {
                aces.sort_by_key(|ace| (ace.is_inherited(), ace.kind == AceKind::Deny));
            }),
            Self::DropGroupDenies => {
                let group = plan.accounts.sids().map(|accounts| accounts.group);
                edit(plan, &HELD, |aces| {
                    aces.retain(|ace| ace.kind != AceKind::Deny || Some(ace.sid) != group);
                });
            }
            Self::DropCapabilityDenies => {
                let capabilities: Vec<Sid> =
                    plan.roots.iter().map(|root| root.capability).collect();
                edit(plan, &HELD, |aces| {
                    aces.retain(|ace| {
                        ace.kind != AceKind::Deny || !capabilities.contains(&ace.sid)
                    });
                });
            }
            Self::DropOwnerRights => {
                edit(plan, &HELD, |aces| {
                    aces.retain(|ace| ace.sid != Sid::OWNER_RIGHTS);
                });
            }
            Self::DropPerson => {
                let person = plan.person;
                edit(plan, &[Purpose::Root], |aces| {
                    aces.retain(|ace| ace.sid != person);
                });
            }
            Self::InheritStay => edit(plan, &[Purpose::Root, Purpose::Between], |aces| {
                for ace in aces.iter_mut().filter(|ace| ace.kind == AceKind::Deny) {
                    ace.flags = ace.flags.with(AceFlags::INHERIT_ALL);
                }
            }),
            Self::DenyHereOnly => edit(plan, &[Purpose::Protected], |aces| {
                for ace in aces.iter_mut().filter(|ace| ace.kind == AceKind::Deny) {
                    ace.flags = ace.flags.without(AceFlags::INHERIT_ALL);
                }
            }),
            Self::Skip(purpose) => skip(plan, purpose),
            Self::NoWalk => plan
                .person_steps
                .retain(|step| !matches!(step, PersonStep::Walk { .. })),
            Self::StraysStay => forget_strays(plan),
            Self::WalkSkipsExplicit => return Walking::SkipsExplicit,
            Self::RestrictWithEveryone
            | Self::Unrestricted
            | Self::LogonCounts
            | Self::NoMarker
            | Self::DropMarkerDeny
            | Self::RestrictWithGroup
            | Self::EveryCapability
            | Self::EverybodyCounts
            | Self::SoftRunner
            | Self::OpenDefault
            | Self::ReadableDefault
            | Self::SharedDesktop
            | Self::TokensTaken => self.launch(plan),
        }
        Walking::Whole
    }

    /// Breaks how commands start.
    fn launch(self, plan: &mut WindowsPlan) {
        let (marker, accounts) = (plan.marker, plan.accounts.sids());
        let known = plan.known.clone();
        let Some(spec) = &mut plan.launch else { return };
        let everything = |sid: Sid| Ace::allow(AceFlags::NONE, AccessMask::GENERIC_ALL, sid);
        match self {
            Self::RestrictWithEveryone => spec.token.restricting.push(because(Sid::EVERYONE)),
            Self::RestrictWithGroup => {
                let group = accounts.map(|accounts| because(accounts.group));
                spec.token.restricting.extend(group);
            }
            Self::EveryCapability => {
                let of_others = known.into_iter().filter(|sid| *sid != marker);
                spec.token.restricting.extend(of_others.map(because));
            }
            Self::EverybodyCounts => {
                let everybody = [Sid::AUTHENTICATED_USERS, Sid::INTERACTIVE, Sid::LOCAL];
                spec.token.deny_only.retain(|sid| !everybody.contains(sid));
            }
            Self::DropMarkerDeny => {
                let lists = spec.pipe.as_mut().map(|pipe| &mut pipe.descriptor.dacl);
                if let Some(Dacl::Present(acl)) = lists {
                    acl.aces.retain(|ace| ace.sid != marker);
                }
            }
            Self::Unrestricted => spec.token.restricting.clear(),
            Self::LogonCounts => {
                let logon = ringfence_plan::windows::sids::Placeholder::Logon.sid();
                spec.token.deny_only.retain(|sid| *sid != logon);
            }
            Self::NoMarker => spec.token.restricting.retain(|one| one.sid != marker),
            Self::SoftRunner => {
                if let (Some(runner), Some(accounts)) = (&mut spec.runner, accounts) {
                    for own in [&mut runner.process, &mut runner.thread, &mut runner.token] {
                        append(own, everything(accounts.offline));
                    }
                }
            }
            Self::OpenDefault => spec.token.default_dacl.aces.push(everything(Sid::EVERYONE)),
            Self::ReadableDefault => {
                if let Some(accounts) = accounts {
                    let read = Ace::allow(AceFlags::NONE, AccessMask::GENERIC_READ, accounts.group);
                    spec.token.default_dacl.aces.push(read);
                }
            }
            Self::SharedDesktop => {
                if let Some(accounts) = accounts {
                    for own in [&mut spec.desktop, &mut spec.station] {
                        append(own, everything(accounts.offline));
                    }
                }
            }
            Self::TokensTaken => {
                if let Some(accounts) = accounts {
                    append(&mut spec.token.descriptor, everything(accounts.group));
                }
            }
            Self::DropDenyBit(_)
            | Self::DropStayBit(_)
            | Self::AddDeleteChild
            | Self::AddWriteDac
            | Self::AddEveryone
            | Self::SwapOrder
            | Self::DropGroupDenies
            | Self::DropCapabilityDenies
            | Self::DropOwnerRights
            | Self::DropPerson
            | Self::Skip(_)
            | Self::InheritStay
            | Self::DenyHereOnly
            | Self::WalkSkipsExplicit
            | Self::NoWalk
            | Self::StraysStay => {}
        }
    }
}

fn because(sid: Sid) -> RestrictingSid {
    RestrictingSid {
        sid,
        why: "a mutant".into(),
    }
}

/// What is held by denies or grants inside a root.
const HELD: [Purpose; 3] = [Purpose::Root, Purpose::Protected, Purpose::Between];

fn append(descriptor: &mut SecurityDescriptor, ace: Ace) {
    if let Dacl::Present(Acl { aces }) = &mut descriptor.dacl {
        aces.push(ace);
    }
}

fn without_bit(aces: &mut [Ace], bit: AccessMask) {
    for ace in aces.iter_mut().filter(|ace| ace.kind == AceKind::Deny) {
        ace.mask = ace.mask - bit;
    }
}

fn grant_more(plan: &mut WindowsPlan, more: AccessMask) {
    let granted = ringfence_plan::windows::descriptors::WRITE;
    edit(plan, &[Purpose::Root], |aces| {
        for ace in aces
            .iter_mut()
            .filter(|ace| ace.kind == AceKind::Allow && ace.mask == granted)
        {
            ace.mask |= more;
        }
    });
}

/// Edits the entries of every object of these purposes, in the steps and in what is held.
fn edit(plan: &mut WindowsPlan, purposes: &[Purpose], change: impl Fn(&mut Vec<Ace>)) {
    let edit_one = |descriptor: &mut SecurityDescriptor| {
        if let Dacl::Present(Acl { aces }) = &mut descriptor.dacl {
            change(aces);
        }
    };
    for held in &mut plan.held {
        if purposes.contains(&held.purpose) {
            edit_one(&mut held.descriptor);
        }
    }
    for step in &mut plan.person_steps {
        match step {
            PersonStep::SetDacl { purpose, after, .. } if purposes.contains(purpose) => {
                edit_one(after);
            }
            PersonStep::MakeHome { descriptor, .. } if purposes.contains(&Purpose::Root) => {
                edit_one(descriptor);
            }
            PersonStep::SetDacl { .. } | PersonStep::Walk { .. } | PersonStep::MakeHome { .. } => {}
        }
    }
}

/// Leaves out every step that closes an object below a held one, beside what an earlier plan left.
fn forget_strays(plan: &mut WindowsPlan) {
    let held: Vec<_> = plan.held.iter().map(|held| held.object.id).collect();
    plan.person_steps.retain(|step| match step {
        PersonStep::SetDacl {
            object, purpose, ..
        } => *purpose == Purpose::Walked || held.contains(&object.id),
        PersonStep::Walk { root, .. } => held.contains(&root.id),
        PersonStep::MakeHome { .. } => true,
    });
}

/// Forgets every object of a purpose.
fn skip(plan: &mut WindowsPlan, skipped: Purpose) {
    plan.held.retain(|held| held.purpose != skipped);
    plan.person_steps.retain(|step| match step {
        PersonStep::SetDacl { purpose, .. } | PersonStep::Walk { purpose, .. } => {
            *purpose != skipped
        }
        PersonStep::MakeHome { .. } => true,
    });
}
