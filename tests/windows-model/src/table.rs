//! Plans written by hand after the table of the design, to test the search itself with.
//!
//! Invariant: what is granted and denied here is what the planner is meant to decide, in the same steps.

use ringfence_nt::fs::NodeId;
use ringfence_nt::{
    AccessMask, Ace, AceFlags, Acl, Control, Group, Privileges, Restriction, SecurityDescriptor,
    Sid, Token,
};
use ringfence_plan::windows::step::{PersonStep, Purpose};

use crate::apply::{apply, object};
use crate::host::{Host, account};

/// What a target must not get on a protected path.
pub const DENIED: AccessMask = AccessMask(0x000d_0156);

/// One person with accounts.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// The person.
    pub sid: Sid,
    /// Their Offline user.
    pub offline: Sid,
    /// Their group.
    pub group: Sid,
    /// In every target's token.
    pub marker: Sid,
}

impl Person {
    /// The person with this RID; accounts and group follow it.
    #[must_use]
    pub fn new(relative: u32) -> Self {
        Self {
            sid: account(relative),
            offline: account(relative + 10),
            group: account(relative + 30),
            marker: made_up(relative, 0),
        }
    }

    /// The capability SID of one of their roots.
    #[must_use]
    pub fn capability(&self, number: u32) -> Sid {
        let [.., relative] = self.sid.subauthorities() else {
            return Sid::NULL;
        };
        made_up(*relative, 100 + number)
    }

    /// Their own token, unelevated.
    #[must_use]
    pub fn token(&self) -> Token {
        let mut token = Token::new(
            self.sid,
            &[
                Sid::EVERYONE,
                Sid::USERS,
                Sid::AUTHENTICATED_USERS,
                Sid::INTERACTIVE,
            ],
        );
        token.groups.push(Group::deny_only(Sid::ADMINISTRATORS));
        token.privileges = Privileges::CHANGE_NOTIFY;
        token
    }

    /// The token of a target of theirs with these capabilities.
    #[must_use]
    pub fn target(&self, session: u32, capabilities: &[Sid]) -> Token {
        let session = made_up(9_000_000 + session, 0);
        let mut token = Token::new(self.offline, &[Sid::EVERYONE, Sid::USERS, self.group]);
        for sid in [Sid::AUTHENTICATED_USERS, Sid::INTERACTIVE, Sid::LOCAL] {
            token.groups.push(Group::deny_only(sid));
        }
        let mut restricting = vec![session, self.marker, self.offline, Sid::WRITE_RESTRICTED];
        restricting.extend(capabilities);
        token.restriction = Restriction::Writes(restricting);
        token.privileges = Privileges::CHANGE_NOTIFY;
        let generic =
            AccessMask::GENERIC_READ | AccessMask::GENERIC_WRITE | AccessMask::GENERIC_EXECUTE;
        token.default_dacl = Some(Acl::new(vec![
            Ace::allow(AceFlags::NONE, generic, self.group),
            Ace::allow(AceFlags::NONE, AccessMask::GENERIC_ALL, session),
            Ace::allow(AceFlags::NONE, AccessMask::GENERIC_ALL, Sid::SYSTEM),
            Ace::allow(AceFlags::NONE, AccessMask::READ_CONTROL, Sid::OWNER_RIGHTS),
        ]));
        token
    }
}

fn made_up(first: u32, second: u32) -> Sid {
    Sid::new(0, &[7, 7, first, second]).expect("four subauthorities fit")
}

/// A root and what is in it.
#[derive(Clone, Debug)]
pub struct Root {
    /// Whose.
    pub person: Person,
    /// Its capability SID.
    pub capability: Sid,
    /// The directory.
    pub top: NodeId,
    /// Protected paths that exist.
    pub protected: Vec<NodeId>,
    /// Directories between those and the root.
    pub between: Vec<NodeId>,
    /// Secrets.
    pub secrets: Vec<NodeId>,
}

/// The steps that make a root.
#[must_use]
pub fn plan(host: &Host, root: &Root) -> Vec<PersonStep> {
    let mut planning = Planning {
        host: host.clone(),
        steps: Vec::new(),
    };
    planning.ancestors(root);
    let ours = [root.person.group, root.capability];
    let everywhere = AceFlags::INHERIT_ALL;
    let here = AceFlags::NONE;
    let full = AccessMask::FILE_ALL_ACCESS;
    let mut aces: Vec<Ace> = ours
        .map(|sid| Ace::deny(here, AccessMask::DELETE, sid))
        .into();
    aces.extend(ours.map(|sid| Ace::allow(everywhere, AccessMask::FILE_MODIFY, sid)));
    aces.push(Ace::allow(
        everywhere,
        AccessMask::READ_CONTROL,
        Sid::OWNER_RIGHTS,
    ));
    aces.push(Ace::allow(everywhere, full, root.person.sid));
    planning.add(root.top, &aces, Purpose::Root);
    planning.walk(root.top, Purpose::Root);
    for between in &root.between {
        let aces = ours.map(|sid| Ace::deny(here, AccessMask::DELETE, sid));
        planning.add(*between, &aces, Purpose::Between);
    }
    for protected in &root.protected {
        let aces = ours.map(|sid| Ace::deny(everywhere, DENIED, sid));
        planning.add(*protected, &aces, Purpose::Protected);
        planning.walk(*protected, Purpose::Protected);
        planning.deny_again(*protected, &aces);
    }
    for secret in &root.secrets {
        let aces = [root.person.sid, Sid::SYSTEM].map(|sid| Ace::allow(here, full, sid));
        planning.replace(*secret, Acl::new(aces.into()), Purpose::Secret);
    }
    planning.steps
}

struct Planning {
    host: Host,
    steps: Vec<PersonStep>,
}

impl Planning {
    fn ancestors(&mut self, root: &Root) {
        let pass = AccessMask::FILE_READ_ATTRIBUTES
            | AccessMask::FILE_EXECUTE
            | AccessMask::READ_CONTROL
            | AccessMask::SYNCHRONIZE;
        let ace = Ace::allow(AceFlags::NONE, pass, root.person.group);
        let mut at = root.top;
        loop {
            let Some(place) = self.host.fs.places(at).next() else {
                return;
            };
            at = place.parent;
            let owner = self.host.descriptor(at).owner;
            if owner == Some(root.person.sid) {
                self.add(at, &[ace], Purpose::Ancestor);
            }
        }
    }

    /// Adds entries at their canonical place and computes the inherited part anew.
    fn add(&mut self, node: NodeId, aces: &[Ace], purpose: Purpose) {
        let before = self.host.descriptor(node);
        let old = before.acl().cloned().unwrap_or_default();
        let mut all: Vec<Ace> = aces.to_vec();
        all.extend(old.aces);
        all.sort_by_key(|ace| (ace.is_inherited(), ace.kind != ringfence_nt::AceKind::Deny));
        let mut inherited: Vec<Ace> = Vec::new();
        all.retain(|ace| {
            if ace.is_inherited() {
                inherited.push(*ace);
            }
            !ace.is_inherited()
        });
        // The order of what is inherited is the parent's.
        inherited = before
            .acl()
            .map_or(inherited, |acl| acl.inherited().copied().collect());
        all.extend(inherited);
        let after = SecurityDescriptor {
            dacl: ringfence_nt::Dacl::Present(Acl::new(all)),
            ..before
        };
        self.set(node, after, purpose);
    }

    fn replace(&mut self, node: NodeId, acl: Acl, purpose: Purpose) {
        let before = self.host.descriptor(node);
        let after = SecurityDescriptor {
            dacl: ringfence_nt::Dacl::Present(acl),
            control: Control::DACL_PROTECTED,
            ..before
        };
        self.set(node, after, purpose);
    }

    fn set(&mut self, node: NodeId, after: SecurityDescriptor, purpose: Purpose) {
        let step = PersonStep::SetDacl {
            object: object(&self.host.fs, node),
            purpose,
            before: self.host.descriptor(node),
            after,
        };
        apply(&mut self.host.fs, std::slice::from_ref(&step));
        self.steps.push(step);
    }

    fn walk(&mut self, node: NodeId, purpose: Purpose) {
        let step = PersonStep::Walk {
            root: object(&self.host.fs, node),
            purpose,
        };
        apply(&mut self.host.fs, std::slice::from_ref(&step));
        self.steps.push(step);
    }

    /// An inherited deny loses to an explicit allow, and a protected list inherits nothing: such children get the
    /// denies themselves.
    fn deny_again(&mut self, top: NodeId, aces: &[Ace]) {
        let children: Vec<NodeId> = self
            .host
            .fs
            .node(top)
            .map_or(&[][..], ringfence_nt::fs::Node::entries)
            .iter()
            .map(|entry| entry.node)
            .collect();
        for child in children {
            let own = self.host.descriptor(child);
            let explicit = own.acl().is_some_and(|acl| {
                acl.explicit().any(|ace| {
                    ace.kind == ringfence_nt::AceKind::Allow && ace.mask.intersects(DENIED)
                })
            });
            if explicit || own.control.contains(Control::DACL_PROTECTED) {
                self.add(child, aces, Purpose::Protected);
                self.walk(child, Purpose::Protected);
            }
            self.deny_again(child, aces);
        }
    }
}
