//! The observer: looks at calls that the filter hands over, answers them, and reports what is refused.
//!
//! It observes only. A path in a target's memory may change between this reading and the kernel's; that race is
//! harmless, because an observed call is always let through to the kernel, where mounts and Landlock decide. A
//! refused call is refused for its number and register arguments, which can't change. Repetitions are counted.
//!
//! Invariant: no call of a target makes it wait, whatever its memory holds and whether it still lives.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use ringfence_backend::wire::Event;
use ringfence_plan::plan::Guard;
use ringfence_policy::decision::{Denial, Evidence, OwnPermissions};
use ringfence_policy::{AbsolutePath, Decision, FilesystemRules, Grant, Operation, RuleId};

use crate::seccomp::{self, Access, Call, Family, FilterProfile, Verdict};

mod address;
mod call;
mod guard;
mod listener;
mod memory;
mod permissions;
mod resolve;
mod tally;
#[cfg(test)]
mod tests;

use call::{Effect, PathArgument};
use guard::Watch;
use listener::{Answer, Listener, Notification};
use permissions::{Credentials, Prospect};
use resolve::{Resolved, Resolver};
use tally::Tally;

pub use tally::MAX_DISTINCT;

/// How many calls are answered in one go, so that a flood leaves time for everything else.
const BATCH: usize = 64;

/// Why the observer can't go on.
#[derive(Debug, thiserror::Error)]
pub enum ObserverError {
    /// The kernel does not say how large its structures are.
    #[error("seccomp(SECCOMP_GET_NOTIF_SIZES) failed")]
    Sizes {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The kernel's structures are other than those known here.
    #[error(
        "this kernel's notifications have {notification} and {response} bytes, which is unknown; run with --observe off"
    )]
    Layout {
        /// Bytes of a notification.
        notification: u16,
        /// Bytes of a response.
        response: u16,
    },
    /// Other processes' memory can't be read at all.
    #[error("process_vm_readv is refused here, so calls can't be observed; run with --observe off")]
    ReadMemory {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The listener could not be polled.
    #[error("the seccomp listener could not be polled")]
    Poll {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A call could not be read from the listener.
    #[error("ioctl(SECCOMP_IOCTL_NOTIF_RECV) failed")]
    Receive {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// An answer could not be given.
    #[error("ioctl(SECCOMP_IOCTL_NOTIF_SEND) failed")]
    Send {
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// What was learnt of a call before it was answered.
struct Finding {
    thread: u32,
    syscall: &'static str,
    subject: Subject,
}

enum Subject {
    Path { resolved: Resolved, effect: Effect },
    Connection(SocketAddr),
    Refused { family: Family, object: String },
}

/// The observer of one session.
#[derive(Debug)]
pub struct Observer {
    listener: Listener,
    profile: FilterProfile,
    rules: FilesystemRules,
    watch: Watch,
    resolver: Resolver,
    buffer: Vec<u8>,
    tally: Tally,
}

impl AsFd for Observer {
    /// Readable when a call waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Observer {
    /// Takes the listener of a filter that was compiled for `profile`.
    ///
    /// # Errors
    /// [`ObserverError`] when this kernel, or a sandbox round this process, makes observing impossible.
    pub fn new(
        listener: OwnedFd,
        profile: FilterProfile,
        rules: FilesystemRules,
        guard: &Guard,
    ) -> Result<Self, ObserverError> {
        let probe = [1_u8];
        let mut copy = [0_u8];
        memory::read(std::process::id(), probe.as_ptr().addr() as u64, &mut copy)
            .map_err(|source| ObserverError::ReadMemory { source })?;
        Ok(Self {
            listener: Listener::new(listener)?,
            profile,
            rules,
            watch: Watch::new(guard),
            resolver: Resolver::default(),
            buffer: Vec::new(),
            tally: Tally::default(),
        })
    }

    /// Answers the calls that wait, at most 64 of them, and reports what is new. Never waits for a target.
    ///
    /// # Errors
    /// [`ObserverError`] when the listener is lost; the session must end then, since notified calls only fail.
    pub fn handle_ready(&mut self, report: &mut dyn FnMut(Event)) -> Result<(), ObserverError> {
        let mut touched = Vec::new();
        for _ in 0..BATCH {
            let Some(notification) = self.listener.receive()? else {
                break;
            };
            let (answer, findings) = self.examine(&notification);
            if !self.listener.is_valid(notification.id) {
                continue;
            }
            self.listener.answer(notification.id, answer)?;
            for finding in findings.into_iter().flatten() {
                self.judge(finding, &mut touched, report);
            }
        }
        for path in touched {
            // The kernel gives absolute paths only.
            if let Ok(path) = AbsolutePath::new(path) {
                report(Event::Touched { path });
            }
        }
        Ok(())
    }

    /// Reports how often known denials were repeated since they were last reported: when a command ends.
    pub fn flush(&mut self, report: &mut dyn FnMut(Event)) {
        self.tally.flush(report);
    }

    /// Reads what a call is about and says what it gets. Everything of its thread is read here, before the answer.
    fn examine(&mut self, notification: &Notification) -> (Answer, [Option<Finding>; 2]) {
        let arguments = &notification.arguments;
        let decided = seccomp::decide(&self.profile, notification.number, arguments)
            .filter(|_| notification.architecture == seccomp::ARCHITECTURE);
        let finding = |syscall: &'static Call, subject| Finding {
            thread: notification.thread,
            syscall: syscall.name,
            subject,
        };
        match decided {
            Some((call, family, Verdict::Refuse(errno))) => {
                let object = self.refused_object(call, family, notification);
                let subject = Subject::Refused { family, object };
                (Answer::Fail(errno), [Some(finding(call, subject)), None])
            }
            Some((call, _, Verdict::Observe(Access::Connect))) => {
                let subject = self.destination(notification).map(Subject::Connection);
                let found = subject.map(|subject| finding(call, subject));
                (Answer::Continue, [found, None])
            }
            Some((call, _, Verdict::Observe(Access::Write | Access::Read | Access::Execute))) => {
                let found = call::paths(call.name, arguments).map(|argument| {
                    let argument = argument?;
                    let resolved = self.resolve(notification.thread, &argument)?;
                    let effect = argument.effect;
                    Some(finding(call, Subject::Path { resolved, effect }))
                });
                (Answer::Continue, found)
            }
            // The filter hands none of these over; if it did, running them would be wrong.
            Some((_, _, Verdict::Absent(_) | Verdict::Allow)) | None => (
                Answer::Fail(u16::try_from(libc::ENOSYS).unwrap_or(u16::MAX)),
                [None, None],
            ),
        }
    }

    fn resolve(&mut self, thread: u32, argument: &PathArgument) -> Option<Resolved> {
        let spelt = match argument.address {
            Some(address) => memory::read_path(thread, address, &mut self.buffer)?,
            None => &[],
        };
        self.resolver
            .resolve(thread, argument.base, spelt, argument.follow)
    }

    fn destination(&mut self, notification: &Notification) -> Option<SocketAddr> {
        let [_, address, length, ..] = notification.arguments;
        let length = usize::try_from(length).ok()?.min(address::LONGEST);
        self.buffer.resize(length, 0);
        let bytes = memory::read(notification.thread, address, &mut self.buffer).ok()?;
        address::parse(bytes)
    }

    fn refused_object(
        &mut self,
        call: &'static Call,
        family: Family,
        notification: &Notification,
    ) -> String {
        match family {
            Family::Socket | Family::IpSocket | Family::UnixSocket => {
                describe_socket(&notification.arguments)
            }
            Family::PrivilegedMode => call::paths(call.name, &notification.arguments)
                .into_iter()
                .flatten()
                .find_map(|argument| self.resolve(notification.thread, &argument))
                .map_or_else(|| call.name.to_owned(), |resolved| escape(resolved.path())),
            Family::Kernel | Family::Path | Family::Connection => call.name.to_owned(),
        }
    }

    /// Says what the boundary makes of a call that has been answered.
    fn judge(
        &mut self,
        finding: Finding,
        touched: &mut Vec<PathBuf>,
        report: &mut dyn FnMut(Event),
    ) {
        let Finding {
            thread,
            syscall,
            subject,
        } = finding;
        let denial = match subject {
            Subject::Refused { family, object } => Some(refused(family, object, syscall)),
            Subject::Connection(address) => connection(&address, syscall),
            Subject::Path { resolved, effect } => {
                if let Some(path) = self.touched(&resolved, effect) {
                    if !touched.contains(&path) {
                        touched.push(path);
                    }
                    None
                } else {
                    self.path_denial(thread, &resolved, effect, syscall)
                }
            }
        };
        if let Some(denial) = denial {
            self.tally.count(denial, report);
        }
    }

    /// The watched name that a call makes or changes.
    fn touched(&self, resolved: &Resolved, effect: Effect) -> Option<PathBuf> {
        match effect {
            Effect::Create | Effect::CreateOrChange | Effect::Change | Effect::ChangeAttributes => {
            }
            Effect::Remove | Effect::Read | Effect::Execute => return None,
        }
        match resolved {
            Resolved::Name { path, .. } => self.watch.absent_name(path).or_else(|| {
                let makes = self.watch.may_make_repository(path)
                    && matches!(
                        self.rules.decide(Operation::Write, path),
                        Decision::Allow { .. }
                    );
                makes.then(|| path.clone())
            }),
            Resolved::Object { path } => self.watch.absent_name(path),
            Resolved::Nowhere { .. } => None,
        }
    }

    fn path_denial(
        &self,
        thread: u32,
        resolved: &Resolved,
        effect: Effect,
        syscall: &'static str,
    ) -> Option<Denial> {
        let operation = match effect {
            Effect::Read | Effect::Execute => Operation::Read,
            Effect::Create
            | Effect::CreateOrChange
            | Effect::Change
            | Effect::ChangeAttributes
            | Effect::Remove => Operation::Write,
        };
        let path = resolved.path();
        let Decision::Deny { rule, grant, .. } = self.rules.decide(operation, path) else {
            return None;
        };
        // Behind a placeholder nothing can be said of the object, so it is taken to be there.
        let hidden = operation == Operation::Read
            || matches!(
                self.rules.decide(Operation::Read, path),
                Decision::Deny { .. }
            );
        let own_permissions = match resolved {
            Resolved::Nowhere { .. } | Resolved::Name { .. } | Resolved::Object { .. }
                if hidden =>
            {
                OwnPermissions::Allow
            }
            Resolved::Nowhere { .. } => return None,
            Resolved::Object { .. } => OwnPermissions::Allow,
            Resolved::Name { parent, name, .. } => match Credentials::observe(thread) {
                None => OwnPermissions::Allow,
                Some(credentials) => {
                    match permissions::prospect(&credentials, parent, name, effect) {
                        Prospect::Possible(own) => own,
                        Prospect::Impossible => return None,
                    }
                }
            },
        };
        Some(Denial {
            operation,
            object: escape(path),
            rule,
            grant,
            syscall: syscall.to_owned(),
            evidence: Evidence::Predicted,
            own_permissions,
        })
    }
}

fn escape(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

fn describe_socket(arguments: &[u64; 6]) -> String {
    let [family, kind, protocol, ..] = *arguments;
    let low = |value: u64| value & 0xFFFF_FFFF;
    let name = match i32::try_from(low(family)) {
        Ok(libc::AF_UNIX) => "AF_UNIX",
        Ok(libc::AF_INET) => "AF_INET",
        Ok(libc::AF_INET6) => "AF_INET6",
        Ok(libc::AF_NETLINK) => "AF_NETLINK",
        Ok(libc::AF_PACKET) => "AF_PACKET",
        Ok(libc::AF_VSOCK) => "AF_VSOCK",
        Ok(libc::AF_ALG) => "AF_ALG",
        Ok(libc::AF_KEY) => "AF_KEY",
        Ok(libc::AF_BLUETOOTH) => "AF_BLUETOOTH",
        Ok(libc::AF_CAN) => "AF_CAN",
        Ok(_) | Err(_) => "",
    };
    let kind = low(kind) & 0xF;
    let protocol = low(protocol);
    if name.is_empty() {
        format!(
            "socket of family {}, type {kind}, protocol {protocol}",
            low(family)
        )
    } else {
        format!("{name} socket of type {kind}, protocol {protocol}")
    }
}

fn refused(family: Family, object: String, syscall: &'static str) -> Denial {
    let (operation, rule) = match family {
        Family::Socket => (Operation::Connect, RuleId::SocketFamily),
        Family::IpSocket | Family::Connection => (Operation::Connect, RuleId::Offline),
        Family::UnixSocket => (Operation::Connect, RuleId::UnixSocket),
        Family::PrivilegedMode | Family::Path => (Operation::Write, RuleId::PrivilegedMode),
        Family::Kernel => (Operation::Syscall, RuleId::Syscall),
    };
    Denial {
        operation,
        object,
        rule,
        grant: None,
        syscall: syscall.to_owned(),
        evidence: Evidence::Refused,
        own_permissions: OwnPermissions::Allow,
    }
}

/// A connection that leaves the session. Port 0 is no connection: resolvers ask so which source address they get.
fn connection(address: &SocketAddr, syscall: &'static str) -> Option<Denial> {
    if address::is_session_loopback(address) || address.port() == 0 {
        return None;
    }
    Some(Denial {
        operation: Operation::Connect,
        object: address.to_string(),
        rule: RuleId::Offline,
        grant: Some(Grant {
            arguments: [
                "--network".to_owned(),
                "allowlist".to_owned(),
                "--allow-host".to_owned(),
                address.to_string(),
            ]
            .into(),
            caution: String::new(),
        }),
        syscall: syscall.to_owned(),
        evidence: Evidence::Predicted,
        own_permissions: OwnPermissions::Allow,
    })
}
