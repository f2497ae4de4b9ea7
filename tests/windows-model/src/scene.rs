//! The standard machine: two people, two roots of one of them under two policies, sibling sessions, runners, secrets,
//! and places that anyone may write; all of it planned by the real planner.
//!
//! What is promised is told by the scene, from a person's view, and not read from the plan: a planner that forgets a
//! path must not make its own judge forget it. Invariant: a target's token is made by the launch specification alone.

use ringfence_nt::fs::{Caller, NewKind, NodeId};
use ringfence_nt::{
    AccessMask, Ace, AceFlags, Acl, CreatorDescriptor, Privileges, Securable, SecurableKind,
    SecurityDescriptor, Sid, Token, WriteClass, for_new,
};
use ringfence_plan::windows::facts::WindowsFacts;
use ringfence_plan::windows::launch::{Identity, LaunchSpec, bind_descriptor};
use ringfence_plan::windows::sids::SidSecret;
use ringfence_plan::windows::step::{AccountRole, PersonStep};
use ringfence_plan::windows::walk::adopt;
use ringfence_plan::windows::{PlanError, WindowsLedger, WindowsPlan, plan};

use crate::carry::{Walking, carry_out, node_of, runner_token};
use crate::host::{Host, account, described, name};
use crate::mutate::Mutation;
use crate::observe::{Seat, observe};
use crate::world::{Guarded, World};

/// What the scene's first policy says besides the defaults.
const STRICT: &str = "[filesystem]\ndeny_read = [\"D:/keys\"]\n";
/// The second policy: of the other root.
const LOOSE: &str = "[filesystem]\ngit = \"full\"\n";

/// An explicit entry that somebody left.
const EVERYONE_ALL: Ace = Ace::allow(
    AceFlags::INHERIT_ALL,
    AccessMask::FILE_ALL_ACCESS,
    Sid::EVERYONE,
);

/// Puts an explicit entry of somebody else first.
fn put_first(descriptor: &mut SecurityDescriptor, ace: Ace) {
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
        observe(&self.host, seat, &policy, self.class)
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
        let mut facts = observe(&self.host, seat, &resolved, self.class);
        facts.write_class = Some(WriteClass::H2);
        plan(&resolved, &facts, &ledger(seat))
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
        self.sessions += 1;
        let sid = Sid::new(0, &[777, self.sessions]).expect("two subauthorities fit");
        let logon = Sid::new(5, &[5, 0, 1000 + self.sessions]).expect("three fit");
        let accounts = plan.accounts.sids().expect("set-up has run");
        let spec = plan.launch.as_ref().expect("there is a boundary");
        let user = match spec.identity {
            Identity::Account(AccountRole::Online) => accounts.online,
            Identity::Account(AccountRole::Offline) | Identity::Person => accounts.offline,
        };
        let runner = runner_token(&accounts, user, logon);
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

    /// Two people, two roots of one of them, all sessions running.
    ///
    /// # Errors
    /// [`Blocked`]: what a target must be able to do it can't.
    pub fn standard(class: WriteClass, mutation: Option<Mutation>) -> Result<World, Blocked> {
        let mut scene = Self::new(class);
        scene.mutation = mutation;
        let (ann, bob) = (scene.ann.clone(), scene.bob.clone());
        scene.project(&ann.path("ws"), ann.sid);
        scene.host.directory(&ann.path("notes"), ann.sid);
        scene.host.file(&ann.path("notes\\n.txt"), ann.sid);
        scene.host.directory(&bob.path("work"), bob.sid);
        scene.host.file(&bob.path("work\\w.txt"), bob.sid);
        let theirs = scene.start(&bob, &bob.path("work"), "")?;
        let other = scene.start(&ann, &ann.path("notes"), LOOSE)?;
        scene.make(&theirs, &bob.path("work\\made"), NewKind::Directory, None)?;
        scene.make(&other, &ann.path("notes\\made"), NewKind::Directory, None)?;
        scene.make(&other, &ann.path("notes\\made\\m.txt"), NewKind::File, None)?;
        // An earlier session under the same policy: what it made is owned by the account.
        let earlier = scene.start(&ann, &ann.path("ws"), STRICT)?;
        scene.make(&earlier, &ann.path("ws\\src\\built"), NewKind::File, None)?;
        // The person fills it in afterwards: a secret that the account owns.
        scene.make(&earlier, &ann.path("ws\\lib\\.env"), NewKind::File, None)?;
        let session = scene.start(&ann, &ann.path("ws"), STRICT)?;
        Ok(scene.world("two people, two roots", &session, &[&other, &theirs]))
    }

    /// A project that Everyone has full control of, in which an earlier session could write the repository too, and
    /// left a directory whose list gives the owner everything (as Python's `mkdir(0o700)` does).
    ///
    /// # Errors
    /// [`Blocked`]: what a target must be able to do it can't.
    pub fn shared(class: WriteClass, mutation: Option<Mutation>) -> Result<World, Blocked> {
        let mut scene = Self::new(class);
        scene.mutation = mutation;
        let ann = scene.ann.clone();
        let top = scene.host.directory(&ann.path("ws"), ann.sid);
        let mut own = scene.host.descriptor(top);
        put_first(&mut own, EVERYONE_ALL);
        scene.host.describe(top, own);
        scene.project(&ann.path("ws"), ann.sid);
        let earlier = scene.start(&ann, &ann.path("ws"), LOOSE)?;
        let owner_alone = CreatorDescriptor {
            dacl: Some(ringfence_nt::Dacl::Present(Acl::new(vec![
                Ace::allow(
                    AceFlags::INHERIT_ALL,
                    AccessMask::FILE_ALL_ACCESS,
                    Sid::SYSTEM,
                ),
                Ace::allow(
                    AceFlags::INHERIT_ALL,
                    AccessMask::FILE_ALL_ACCESS,
                    Sid::OWNER_RIGHTS,
                ),
            ]))),
            control: ringfence_nt::Control::DACL_PROTECTED,
            ..CreatorDescriptor::default()
        };
        let given = Some(&owner_alone);
        for own in [".vscode", ".git\\own"] {
            let path = ann.path(&format!("ws\\{own}"));
            scene.make(&earlier, &path, NewKind::Directory, given)?;
        }
        scene.end_command(&earlier);
        let session = scene.start(&ann, &ann.path("ws"), STRICT)?;
        let mut world = scene.world("shared with everyone", &session, &[]);
        world
            .protected
            .push(scene.host.find(&ann.path("ws\\.vscode")));
        world.absent.retain(|place| place.name != name(".vscode"));
        Ok(world)
    }

    /// What the target of `session` attacks.
    #[must_use]
    pub fn world(&self, title: &str, session: &Session, siblings: &[&Session]) -> World {
        let (host, ann) = (&self.host, &self.ann);
        let existing = |paths: &[String]| -> Vec<NodeId> {
            paths
                .iter()
                .filter_map(|path| host.fs.find(path).ok())
                .collect()
        };
        let mut roots: Vec<NodeId> = Vec::new();
        for root in &session.plan.roots {
            roots.extend(node_of(root.object.id));
            roots.extend(host.fs.find(&root.home.to_string()).ok());
        }
        let top = |below: &str| ann.path(&format!("ws\\{below}"));
        let absent = [".codex", ".vscode"].map(|own| host.place(&top(own)));
        World {
            name: title.to_owned(),
            fs: host.fs.clone(),
            target: session.target.clone(),
            harness: harness(ann),
            roots,
            protected: existing(&[top(".git"), top("lib\\.git")]),
            absent: absent.into(),
            secrets: existing(&[
                top(".env"),
                top("lib\\.env"),
                ann.path(".ssh"),
                self.bob.path(".ssh"),
                "D:\\keys".into(),
                self.bob.path("work"),
            ]),
            quarantine: host.find(&ann.path("AppData\\Local\\Ringfence\\quarantine")),
            guarded: guarded(session, siblings),
            names: vec![name(".codex"), name("n")],
            redirects: vec![ann.path("notes")],
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

/// Every right but `READ_CONTROL`, which owners keep.
const ANYTHING: AccessMask = AccessMask(0x001d_ffff);

/// The processes, tokens, pipes and desktops that the target of `session` must not get at.
fn guarded(session: &Session, siblings: &[&Session]) -> Vec<Guarded> {
    let mut all = objects("own", session, Whose::Own);
    for (number, sibling) in siblings.iter().enumerate() {
        all.extend(objects(
            &format!("sibling {number}"),
            sibling,
            Whose::Sibling,
        ));
    }
    all.push(persons_process(session));
    all
}

/// Every right on such an object that is neither for reading nor for executing.
fn writes(kind: SecurableKind) -> AccessMask {
    let mapping = kind.mapping();
    mapping.all - mapping.read - mapping.execute
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Own,
    Sibling,
}

fn objects(who: &str, session: &Session, whose: Whose) -> Vec<Guarded> {
    let spec = session.plan.launch.as_ref().expect("there is a boundary");
    let bind =
        |descriptor: &SecurityDescriptor| bind_descriptor(descriptor, session.sid, session.logon);
    let object = |what: &str, kind, descriptor, never| Guarded {
        name: format!("{who} {what}"),
        object: Securable { kind, descriptor },
        never,
    };
    let mut all = Vec::new();
    if let Some(runner) = &spec.runner {
        for (what, kind, descriptor) in [
            ("runner", SecurableKind::Process, &runner.process),
            ("runner's thread", SecurableKind::Thread, &runner.thread),
            ("runner's token", SecurableKind::Token, &runner.token),
        ] {
            all.push(object(what, kind, bind(descriptor), ANYTHING));
        }
    }
    if let Some(pipe) = &spec.pipe {
        // Targets have the runner's user in their first pass, so no entry keeps them from opening it for reading: that
        // it has one instance, whose client is checked, does.
        let kind = SecurableKind::Pipe;
        all.push(object("pipe", kind, bind(&pipe.descriptor), writes(kind)));
    }
    if whose == Whose::Sibling {
        all.extend(of_sibling(session, spec, &object, &bind));
    }
    all
}

/// What belongs to another session of the same or another account: nothing of it may be written or taken.
fn of_sibling(
    session: &Session,
    spec: &LaunchSpec,
    object: &impl Fn(&str, SecurableKind, SecurityDescriptor, AccessMask) -> Guarded,
    bind: &impl Fn(&SecurityDescriptor) -> SecurityDescriptor,
) -> Vec<Guarded> {
    let made = |kind: SecurableKind| {
        let leaf = ringfence_nt::ObjectKind::Leaf;
        for_new(None, &session.target, None, leaf, &kind.mapping())
    };
    // TOKEN_ASSIGN_PRIMARY, TOKEN_DUPLICATE, TOKEN_IMPERSONATE and all that adjusts; TOKEN_QUERY_SOURCE only reads.
    let source = AccessMask(0x10);
    let takes = (writes(SecurableKind::Token) | AccessMask(0x1e7)) - source;
    [
        (
            "target",
            SecurableKind::Process,
            made(SecurableKind::Process),
            None,
        ),
        (
            "target's thread",
            SecurableKind::Thread,
            made(SecurableKind::Thread),
            None,
        ),
        (
            "target's pipe",
            SecurableKind::Pipe,
            made(SecurableKind::Pipe),
            None,
        ),
        (
            "target's token",
            SecurableKind::Token,
            bind(&spec.token.descriptor),
            Some(takes),
        ),
        (
            "station",
            SecurableKind::WindowStation,
            bind(&spec.station),
            None,
        ),
        ("desktop", SecurableKind::Desktop, bind(&spec.desktop), None),
    ]
    .into_iter()
    .map(|(what, kind, descriptor, never)| {
        object(
            what,
            kind,
            descriptor,
            never.unwrap_or_else(|| writes(kind)),
        )
    })
    .collect()
}

/// A process and the desktop of the person themselves; the logon SID opens the desktop, and runners carry it.
fn persons_process(session: &Session) -> Guarded {
    let person = session.plan.person;
    let list = Acl::new(vec![
        Ace::allow(AceFlags::NONE, AccessMask::GENERIC_ALL, person),
        Ace::allow(AceFlags::NONE, AccessMask::GENERIC_ALL, Sid::SYSTEM),
        Ace::allow(AceFlags::NONE, AccessMask::GENERIC_ALL, session.logon),
    ]);
    Guarded {
        name: "the person's own desktop".into(),
        object: Securable {
            kind: SecurableKind::Desktop,
            descriptor: SecurityDescriptor::new(person, person, list),
        },
        never: ANYTHING,
    }
}

/// An account that belongs to nobody in the scene.
#[must_use]
pub fn stranger() -> Sid {
    account(1999)
}
