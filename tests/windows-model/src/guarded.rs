//! What is no file and must not be got at: the processes, tokens, pipes, desktops and stations of sessions.
//!
//! Invariant: each object has the descriptor that the launch specification gives it, and nothing more is assumed.

use ringfence_nt::{
    AccessMask, Ace, AceFlags, Acl, Securable, SecurableKind, SecurityDescriptor, Sid, for_new,
};
use ringfence_plan::windows::launch::{LaunchSpec, bind_descriptor};

use crate::scene::Session;
use crate::world::Guarded;

/// Every right but `READ_CONTROL`, which owners keep.
const ANYTHING: AccessMask = AccessMask(0x001d_ffff);

/// The processes, tokens, pipes and desktops that the target of `session` must not get at.
pub(crate) fn guarded(session: &Session, siblings: &[&Session]) -> Vec<Guarded> {
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
///
/// Of processes without `PROCESS_SET_SESSIONID`, which shares its bit with reading a section: what it is for takes
/// `SeTcbPrivilege`, and no target has that.
fn writes(kind: SecurableKind) -> AccessMask {
    let mapping = kind.mapping();
    let writes = mapping.all - mapping.read - mapping.execute;
    match kind {
        SecurableKind::Process => writes - AccessMask(0x4),
        SecurableKind::Thread
        | SecurableKind::Token
        | SecurableKind::Pipe
        | SecurableKind::WindowStation
        | SecurableKind::Desktop
        | SecurableKind::Job => writes,
    }
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
    // TOKEN_ASSIGN_PRIMARY and TOKEN_IMPERSONATE share their bits with rights that files and sections need. A process's
    // token is taken by a copy alone: it is no impersonation token, and is no relative of another logon session's.
    let by_a_copy = takes - AccessMask(0x5);
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
        // Started by a process that has the target's token already, never by the runner's.
        (
            "console host",
            SecurableKind::Process,
            made(SecurableKind::Process),
            None,
        ),
        (
            "console host's pipe",
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
        // The system makes it with the default list of who starts the program.
        (
            "token of what a target starts",
            SecurableKind::Token,
            made(SecurableKind::Token),
            Some(by_a_copy),
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
        never: match session.plan.accounts.sids() {
            Some(_) => ANYTHING,
            // Commands of the person themselves read what the person reads.
            None => writes(SecurableKind::Desktop),
        },
    }
}
