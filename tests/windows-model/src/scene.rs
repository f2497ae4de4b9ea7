//! The standard machine: two people, two roots of one of them under two policies, sibling sessions, runners, secrets,
//! and places that anyone may write; all of it planned by the real planner.
//!
//! What is promised is told by the scene, from a person's view, and not read from the plan: a planner that forgets a
//! path must not make its own judge forget it. Invariant: a target's token is made by the launch specification alone.

use ringfence_nt::fs::{Caller, NewKind, NodeId, Place, Replace};
use ringfence_nt::{
    AccessMask, Ace, AceFlags, CreatorDescriptor, Privileges, SecurityDescriptor, Sid, Token,
    WriteClass,
};
use ringfence_plan::windows::facts::{Capability, Presence, WindowsFacts};
use ringfence_plan::windows::launch::Identity;
use ringfence_plan::windows::sids::SidSecret;
use ringfence_plan::windows::step::{AccountRole, PersonStep};
use ringfence_plan::windows::walk::adopt;
use ringfence_plan::windows::{PlanError, WindowsLedger, WindowsPlan, plan};

use crate::carry::{Walking, carry_out, node_of, runner_token};
use crate::host::{Host, account, described, name};
use crate::mutate::Mutation;
use crate::observe::{Seat, observe};
use crate::operation::Operation;

/// What the scene's first policy says besides the defaults.
pub(crate) const STRICT: &str = "[filesystem]\ndeny_read = [\"D:/keys\"]\n";
/// The second policy: of the other root.
pub(crate) const LOOSE: &str = "[filesystem]\ngit = \"full\"\n";

/// An explicit entry that somebody left.
pub(crate) const EVERYONE_ALL: Ace = Ace::allow(
    AceFlags::INHERIT_ALL,
    AccessMask::FILE_ALL_ACCESS,
    Sid::EVERYONE,
);

/// Puts an explicit entry of somebody else first.
pub(crate) fn put_first(descriptor: &mut SecurityDescriptor, ace: Ace) {
    if let ringfence_nt::Dacl::Present(acl) = &mut descriptor.dacl {
        acl.aces.insert(0, ace);
    }
}

/// What must work and does not: the control of a denial.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Blocked {
    /// What.
    pub what: String,
}

/// A session of a person, under a plan.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its plan.
    pub plan: WindowsPlan,
    /// The token of its runner.
    pub runner: Token,
    /// The token of its targets.
    pub target: Token,
    /// Its SID.
    pub sid: Sid,
    /// The logon SID that runner and harness share.
    pub logon: Sid,
    /// What the person's ledger would hold of it.
    pub done: Vec<PersonStep>,
}

/// A machine that is being set up.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The machine.
    pub host: Host,
    /// The person whose target attacks.
    pub ann: Seat,
    /// Somebody else.
    pub bob: Seat,
    /// What the plan is made for.
    pub class: WriteClass,
    /// What is broken on purpose.
    pub mutation: Option<Mutation>,
    sessions: u32,
    /// The SIDs of roots that sessions were given, each with its person.
    given: Vec<(Sid, Capability)>,
    /// What was done with each person's rights.
    done: Vec<(Sid, PersonStep)>,
}

impl Scene {
    /// Two people who have moved in, and places that anyone may write.
    #[must_use]
    pub fn new(class: WriteClass) -> Self {
        let mut host = Host::new();
        let (ann, bob) = (Seat::new("ann", 1001), Seat::new("bob", 1002));
        for seat in [&ann, &bob] {
            seat.move_in(&mut host);
            host.directory(&seat.path(".ssh"), seat.sid);
            host.file(&seat.path(".ssh\\id"), seat.sid);
        }
        host.directory("D:\\data", ann.sid);
        host.file("D:\\data\\shared.txt", ann.sid);
        host.directory("D:\\keys", ann.sid);
        host.file("D:\\keys\\key.pem", ann.sid);
        Self {
            host,
            ann,
            bob,
            class,
            mutation: None,
            sessions: 0,
            given: Vec::new(),
            done: Vec::new(),
        }
    }

    /// A project with a repository, a repository in it, sources and a secret.
    pub fn project(&mut self, path: &str, owner: Sid) {
        for directory in [
            "",
            "\\.git",
            "\\.git\\hooks",
            "\\src",
            "\\lib",
            "\\lib\\.git",
        ] {
            let path = format!("{path}{directory}");
            if self.host.fs.find(&path).is_err() {
                self.host.directory(&path, owner);
            }
        }
        for file in [
            "\\.git\\config",
            "\\.git\\hooks\\pre-commit",
            "\\src\\a.rs",
            "\\lib\\.git\\config",
            "\\.env",
        ] {
            self.host.file(&format!("{path}{file}"), owner);
        }
        // As an installer or `icacls /grant` leaves them: an explicit allow, and a list of its own.
        let hooks = self.host.find(&format!("{path}\\.git\\hooks"));
        let mut own = self.host.descriptor(hooks);
        put_first(&mut own, EVERYONE_ALL);
        self.host.describe(hooks, own);
        let config = self.host.find(&format!("{path}\\lib\\.git\\config"));
        let list = [
            Ace::allow(AceFlags::NONE, AccessMask::FILE_ALL_ACCESS, owner),
            Ace::allow(AceFlags::NONE, AccessMask::FILE_ALL_ACCESS, Sid::EVERYONE),
        ];
        self.host
            .describe(config, described(owner, &list).protected());
    }

    /// The facts of this machine for a person and a policy.
    #[must_use]
    pub fn facts(&self, seat: &Seat, workspace: &str, policy: &str) -> WindowsFacts {
        let policy = seat.policy(workspace, policy);
        let mut facts = observe(&self.host, seat, &policy, self.class);
        let given = self.given.iter();
        let own = given.filter(|(person, _)| *person == seat.sid);
        facts.capabilities = own.map(|(_, capability)| capability.clone()).collect();
        facts
    }

    /// Plans a session.
    ///
    /// # Errors
    /// As the planner says.
    pub fn plan(
        &self,
        seat: &Seat,
        workspace: &str,
        policy: &str,
    ) -> Result<WindowsPlan, PlanError> {
        let resolved = seat.policy(workspace, policy);
        // What a machine measures is asked at launch; a plan for a narrower class is still looked at.
        let mut facts = self.facts(seat, workspace, policy);
        facts.write_class = Some(WriteClass::H2);
        let done = self.done.iter();
        let before = WindowsLedger {
            person: done
                .filter(|(person, _)| *person == seat.sid)
                .map(|(_, step)| step.clone())
                .collect(),
            ..ledger(seat)
        };
        plan(&resolved, &facts, &before)
    }

    /// Plans a session, carries the plan out and makes the session's tokens.
    ///
    /// # Errors
    /// [`Blocked`]: there is no plan.
    pub fn start(
        &mut self,
        seat: &Seat,
        workspace: &str,
        policy: &str,
    ) -> Result<Session, Blocked> {
        let planned = self.plan(seat, workspace, policy);
        let mut plan = planned.map_err(|error| Blocked {
            what: format!("no plan for {workspace}: {error}"),
        })?;
        let walking = match &self.mutation {
            Some(mutation) => mutation.apply(&mut plan),
            None => Walking::Whole,
        };
        let done = carry_out(&mut self.host.fs, &plan, walking);
        self.give(&plan);
        let person = plan.person;
        self.done
            .extend(done.iter().map(|step| (person, step.clone())));
        self.sessions += 1;
        let sid = Sid::new(0, &[777, self.sessions]).expect("two subauthorities fit");
        // Whoever starts runners lends all of them the same.
        let logon = Sid::new(5, &[5, 0, 1000]).expect("three fit");
        let spec = plan.launch.as_ref().expect("there is a boundary");
        let runner = match (spec.identity, plan.accounts.sids()) {
            (Identity::Account(AccountRole::Online), Some(accounts)) => {
                runner_token(&accounts, accounts.online, logon)
            }
            (Identity::Account(AccountRole::Offline), Some(accounts)) => {
                runner_token(&accounts, accounts.offline, logon)
            }
            // Commands of the person themselves: the harness makes the token from its own.
            (Identity::Account(_) | Identity::Person, _) => harness(seat),
        };
        let target = spec.token.target(&runner, sid, logon);
        Ok(Session {
            plan,
            runner,
            target,
            sid,
            logon,
            done,
        })
    }

    /// Remembers the SIDs of a plan's roots, as the person's ledger does.
    fn give(&mut self, plan: &WindowsPlan) {
        for root in &plan.roots {
            let capability = Capability {
                sid: root.capability,
                root: root.object.id,
                path: root.object.path.clone(),
                presence: Presence::Present,
            };
            let given = (plan.person, capability);
            if !self.given.contains(&given) {
                self.given.push(given);
            }
        }
    }

    /// Lets a target make a file or a directory, with what it inherits or a descriptor of its choice.
    ///
    /// # Errors
    /// [`Blocked`]: it can't.
    pub fn make(
        &mut self,
        session: &Session,
        path: &str,
        kind: NewKind,
        given: Option<&CreatorDescriptor>,
    ) -> Result<NodeId, Blocked> {
        let caller = Caller {
            token: &session.target,
            class: self.class,
        };
        let made = self.host.fs.create(&caller, path, kind, given);
        made.map(|handle| handle.node).map_err(|status| Blocked {
            what: format!("a target can't make {path}: {status}"),
        })
    }

    /// Lets a person move something.
    ///
    /// # Errors
    /// [`Blocked`]: they can't.
    pub fn person_moves(&mut self, seat: &Seat, from: &str, to: &str) -> Result<(), Blocked> {
        let fs = &self.host.fs;
        let place = |path: &str| {
            let (parent, own) = path.rsplit_once('\\')?;
            Some(Place {
                parent: fs.find(&format!("{parent}\\")).ok()?,
                name: name(own),
            })
        };
        let blocked = |why: &dyn std::fmt::Display| Blocked {
            what: format!("{} can't move {from} to {to}: {why}", seat.name),
        };
        let (Some(old), Some(new)) = (place(from), place(to)) else {
            return Err(blocked(&"no such directory"));
        };
        let person = harness(seat);
        let caller = Caller {
            token: &person,
            class: self.class,
        };
        let moved = Operation::Rename(old, new, Replace::Yes).carry_out(fs, &caller);
        self.host.fs = moved.map_err(|status| blocked(&status))?;
        Ok(())
    }

    /// What the runner does when a command ends: it gives the person back what was made without them, where it can.
    pub fn end_command(&mut self, session: &Session) {
        let trustees = session.plan.trustees(Some(0));
        let caller = Caller {
            token: &session.runner,
            class: self.class,
        };
        let tops: Vec<NodeId> = session
            .plan
            .roots
            .iter()
            .filter_map(|root| node_of(root.object.id))
            .collect();
        let fs = &mut self.host.fs;
        let below: Vec<NodeId> = fs
            .nodes()
            .map(|(id, _)| id)
            .filter(|id| tops.iter().any(|top| fs.is_below(*id, *top)))
            .collect();
        for id in below {
            let Some(node) = fs.node(id) else { continue };
            let kind = crate::carry::object(fs, id).kind;
            let adopted = adopt(node.descriptor.as_ref().clone(), kind, &trustees);
            if adopted == *node.descriptor {
                continue;
            }
            let Ok(handle) = fs.open_by_id(&caller, id, AccessMask::WRITE_DAC) else {
                continue;
            };
            // The runner is trusted; a right that it lacked has just been refused.
            let _ = fs.set_dacl(&handle, adopted.dacl, adopted.control);
        }
    }
}

/// What the person's ledger says before anything is done.
#[must_use]
pub fn ledger(seat: &Seat) -> WindowsLedger {
    let byte = seat.name.bytes().next().unwrap_or_default();
    WindowsLedger {
        secret: SidSecret::new([byte; 32]),
        ..WindowsLedger::default()
    }
}

/// The person's own token, unelevated.
#[must_use]
pub fn harness(seat: &Seat) -> Token {
    let groups = [
        Sid::EVERYONE,
        Sid::USERS,
        Sid::AUTHENTICATED_USERS,
        Sid::INTERACTIVE,
    ];
    let mut token = Token::new(seat.sid, &groups);
    token.privileges = Privileges::CHANGE_NOTIFY;
    token
}

/// An account that belongs to nobody in the scene.
#[must_use]
pub fn stranger() -> Sid {
    account(1999)
}
