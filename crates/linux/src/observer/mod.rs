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
use std::time::Instant;

use ringfence_backend::wire::Event;
use ringfence_plan::plan::Guard;
use ringfence_plan::step::Observe;
use ringfence_policy::decision::{Denial, Evidence, OwnPermissions};
use ringfence_policy::escape::escape_os;
use ringfence_policy::{AbsolutePath, Decision, FilesystemRules, Operation, RuleId};

use rustix::fs::FileType;

use crate::seccomp::{self, Access, Call, Family, FilterProfile, Verdict};

mod address;
mod aim;
mod call;
mod connection;
mod door;
mod guard;
mod listener;
mod makers;
mod memory;
mod permissions;
mod resolve;
mod tally;
#[cfg(test)]
mod tests;
mod unix;

pub use aim::Bystanders;
use call::{Effect, PathArgument};
pub use connection::Reach;
pub use door::{Door, Granted};
use guard::Watch;
use listener::{Answer, Listener, Notification};
use makers::Makers;
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

/// What is to be said of a call once it is answered.
#[derive(Debug)]
enum Report {
    Denied(Denial),
    Touched(PathBuf),
}

impl Report {
    fn denial(&mut self) -> Option<&mut Denial> {
        match self {
            Self::Denied(denial) => Some(denial),
            Self::Touched(_) => None,
        }
    }
}

/// What a call moves from one name to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    Nothing,
    Directory,
}

/// A call that is being looked at.
#[derive(Clone, Copy)]
struct Examined<'n> {
    call: &'static Call,
    family: Family,
    notification: &'n Notification,
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
    makers: Makers,
    reach: Reach,
    bystanders: Bystanders,
    door: Option<Door>,
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
        probe_memory()?;
        Ok(Self {
            listener: Listener::new(listener)?,
            profile,
            rules,
            watch: Watch::new(guard),
            resolver: Resolver::default(),
            buffer: Vec::new(),
            tally: Tally::default(),
            makers: Makers::default(),
            reach: Reach::Offline,
            bystanders: Bystanders::Unseen,
            door: None,
        })
    }

    /// The same for a session of another reach than none.
    #[must_use]
    pub fn with_reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// The same for a session whose processes could see others.
    #[must_use]
    pub fn with_bystanders(mut self, bystanders: Bystanders) -> Self {
        self.bystanders = bystanders;
        self
    }

    /// What it judges by.
    #[must_use]
    pub fn rules(&self) -> &FilesystemRules {
        &self.rules
    }

    /// Answers the calls that wait, at most 64 of them, and reports what is new. Never waits for a target.
    ///
    /// # Errors
    /// [`ObserverError`] when the listener is lost; the session must end then, since notified calls only fail.
    pub fn handle_ready(&mut self, report: &mut dyn FnMut(Event)) -> Result<(), ObserverError> {
        self.hear_harness()?;
        let mut touched = Vec::new();
        for _ in 0..BATCH {
            let Some(notification) = self.listener.receive()? else {
                break;
            };
            let (answer, mut reports) = self.examine(&notification);
            for denial in reports.iter_mut().flatten().filter_map(Report::denial) {
                self.name_caller(denial, notification.thread);
            }
            // What was read is of this thread only if its call still waits. Unread, it needs no such question: the
            // answer to a call that is gone goes nowhere.
            let reported = reports.iter().any(Option::is_some);
            if reported && !self.listener.is_valid(notification.id) {
                continue;
            }
            self.listener.answer(notification.id, answer)?;
            for found in reports.into_iter().flatten() {
                match found {
                    Report::Denied(denial) => self.tally.count(denial, report),
                    Report::Touched(path) if touched.contains(&path) => {}
                    Report::Touched(path) => touched.push(path),
                }
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

    /// Says who tried to connect, the first time that it is reported.
    fn name_caller(&self, denial: &mut Denial, thread: u32) {
        let Denial {
            operation,
            rule,
            object,
            ..
        } = &*denial;
        let is_new = self.tally.find(*operation, *rule, object).is_none();
        if *operation == Operation::Connect && is_new {
            denial.process = crate::process::of_thread(thread).map(Box::new);
        }
    }

    /// Whether a name that appears may be made by a call of the session, whichever name was read there.
    ///
    /// # Security
    /// The name that is read here may be another than the kernel's: another thread exchanges it in between. That a
    /// name is made can't be hidden: it is the call's number. A target can hold the call up, but not be seen outside it.
    #[must_use]
    pub fn may_make_names(&self) -> bool {
        self.makers.may_make()
    }

    /// When to ask for [`Observer::makers_gone`].
    #[must_use]
    pub fn next_look(&self) -> Option<Instant> {
        self.makers.next_look()
    }

    /// Threads that have left their calls that make names: to be forgotten once what has appeared is heard of.
    #[must_use]
    pub fn makers_gone(&self) -> Vec<u32> {
        self.makers.gone(Instant::now())
    }

    /// Leaves `threads` out of those that may make names.
    pub fn forget_makers(&mut self, threads: &[u32]) {
        self.makers.forget(threads, Instant::now());
    }

    /// Reports how often known denials were repeated since they were last reported: when a command ends.
    pub fn flush(&mut self, report: &mut dyn FnMut(Event)) {
        self.tally.flush(report);
    }

    /// Says what a call gets and what is to be reported. Its thread and the objects it names are looked at before the
    /// answer, while they are as the call found them.
    fn examine(&mut self, notification: &Notification) -> (Answer, [Option<Report>; 2]) {
        let decided = seccomp::decide(&self.profile, notification.number, &notification.arguments)
            .filter(|_| notification.architecture == seccomp::ARCHITECTURE);
        // The filter hands nothing over that no rule refuses or observes; if it did, running it would be wrong.
        let absent = Answer::Fail(u16::try_from(libc::ENOSYS).unwrap_or(u16::MAX));
        let Some((call, family, verdict)) = decided else {
            return (absent, [None, None]);
        };
        let examined = Examined {
            call,
            family,
            notification,
        };
        match verdict {
            Verdict::Refuse(errno) => {
                let denial = refused(family, self.refused_object(examined), call.name);
                (Answer::Fail(errno), [Some(Report::Denied(denial)), None])
            }
            Verdict::Supervise => (self.make_socket(notification), [None, None]),
            Verdict::Observe(Access::Connect) => {
                if let Some((answer, denial)) = self.connect_socket(notification) {
                    return (answer, [denial.map(Report::Denied), None]);
                }
                if self.profile.observe == Observe::Off {
                    return (Answer::Continue, [None, None]);
                }
                let denial = self
                    .destination(notification)
                    .and_then(|address| connection::refused(&address, self.reach, call.name));
                (Answer::Continue, [denial.map(Report::Denied), None])
            }
            Verdict::Observe(Access::Reach) => {
                let denial = aim::refused(call, &notification.arguments, self.bystanders);
                (Answer::Continue, [denial.map(Report::Denied), None])
            }
            Verdict::Observe(Access::Write | Access::Read | Access::Execute) => {
                let paths = call::paths(call.name, &notification.arguments);
                if paths.iter().flatten().any(|path| path.effect.makes_names()) {
                    let (thread, number) = (notification.thread, notification.number);
                    self.makers.add(thread, number, Instant::now());
                }
                let moved = self.moved(examined, &paths);
                let reports = paths.map(|argument| self.examine_path(examined, argument?, moved));
                (Answer::Continue, reports)
            }
            Verdict::Absent(_) | Verdict::Allow => (absent, [None, None]),
        }
    }

    /// Whether a call moves a directory.
    fn moved(&mut self, examined: Examined<'_>, paths: &call::Paths) -> Moved {
        let moves = examined.call.name.starts_with("rename");
        let mut is_directory = |argument: &PathArgument| {
            self.resolve(examined.notification.thread, argument)
                .is_some_and(|resolved| {
                    rustix::fs::lstat(resolved.path())
                        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir())
                })
        };
        if moves && paths.iter().flatten().any(&mut is_directory) {
            Moved::Directory
        } else {
            Moved::Nothing
        }
    }

    fn examine_path(
        &mut self,
        examined: Examined<'_>,
        argument: PathArgument,
        moved: Moved,
    ) -> Option<Report> {
        let resolved = self.resolve(examined.notification.thread, &argument)?;
        if let Some(path) = self.touched(&resolved, argument.effect, moved) {
            return Some(Report::Touched(path));
        }
        self.path_denial(examined, &resolved, argument.effect)
            .map(Report::Denied)
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

    fn refused_object(&mut self, examined: Examined<'_>) -> String {
        let Examined {
            call,
            family,
            notification,
        } = examined;
        match family {
            Family::Socket | Family::IpSocket | Family::UnixSocket => {
                describe_socket(&notification.arguments)
            }
            Family::PrivilegedMode => call::paths(call.name, &notification.arguments)
                .into_iter()
                .flatten()
                .find_map(|argument| self.resolve(notification.thread, &argument))
                .map_or_else(
                    || call.name.to_owned(),
                    |resolved| escape_os(resolved.path()),
                ),
            Family::Kernel | Family::Path | Family::Connection | Family::Process => {
                call.name.to_owned()
            }
        }
    }

    /// The watched name that a call makes or changes.
    fn touched(&self, resolved: &Resolved, effect: Effect, moved: Moved) -> Option<PathBuf> {
        match effect {
            Effect::Create
            | Effect::CreateOrChange
            | Effect::Change
            | Effect::ChangeAttributes
            | Effect::Name => {}
            Effect::Remove | Effect::Read | Effect::Execute => return None,
        }
        match resolved {
            Resolved::Name { path } | Resolved::Object { path } => {
                self.watch.absent_name(path).or_else(|| {
                    // What a moved directory holds was seen under another name, if at all.
                    let brings = moved == Moved::Directory
                        && effect.makes_names()
                        && self.watch.may_hold_repositories(path);
                    let makes = (brings || self.watch.may_make_repository(path))
                        && self.rules.is_allowed(Operation::Write, path);
                    makes.then(|| path.clone())
                })
            }
            Resolved::Nowhere { .. } => None,
        }
    }

    /// Judges what a call does to `path`; `None` where it is allowed.
    fn decide(
        &self,
        examined: Examined<'_>,
        operation: Operation,
        path: &Path,
        effect: Effect,
    ) -> Option<Decision> {
        if !self.rules.is_allowed(operation, path) {
            return Some(self.rules.decide(operation, path));
        }
        // Where a directory's entries are granted one by one, each may be written, and none taken away or replaced.
        let takes_name = effect == Effect::Remove || examined.call.name.starts_with("rename");
        let directory = path.parent().filter(|_| takes_name)?;
        let decision = self.rules.decide(Operation::Write, directory);
        matches!(
            decision,
            Decision::Deny {
                rule: RuleId::NewEntry,
                ..
            }
        )
        .then_some(decision)
    }

    fn path_denial(
        &self,
        examined: Examined<'_>,
        resolved: &Resolved,
        effect: Effect,
    ) -> Option<Denial> {
        let operation = match effect {
            Effect::Read | Effect::Execute => Operation::Read,
            Effect::Create
            | Effect::CreateOrChange
            | Effect::Change
            | Effect::ChangeAttributes
            | Effect::Remove => Operation::Write,
            // Refused or not, it is the new name that counts.
            Effect::Name => return None,
        };
        let path = resolved.path();
        let Decision::Deny { rule, grant, .. } = self.decide(examined, operation, path, effect)?
        else {
            return None;
        };
        let object = escape_os(path);
        if let Some(known) = self.tally.find(operation, rule, &object) {
            return Some(known.clone());
        }
        // Behind a placeholder nothing can be said of the object, so it is taken to be there.
        let hidden = operation == Operation::Read || !self.rules.is_allowed(Operation::Read, path);
        let own_permissions = if hidden {
            OwnPermissions::Allow
        } else {
            match resolved {
                Resolved::Nowhere { .. } => return None,
                Resolved::Object { .. } => OwnPermissions::Allow,
                Resolved::Name { .. } => own_permissions(examined.notification, path, effect)?,
            }
        };
        Some(Denial {
            operation,
            object,
            rule,
            grant,
            refused_root: None,
            syscall: examined.call.name.to_owned(),
            evidence: Evidence::Predicted,
            own_permissions,
            process: None,
        })
    }
}

/// Proves that memory can be read as the observer reads it, on this process's own.
///
/// # Errors
/// [`ObserverError::ReadMemory`].
pub fn probe_memory() -> Result<(), ObserverError> {
    let probe = [1_u8];
    let mut copy = [0_u8];
    memory::read(std::process::id(), probe.as_ptr().addr() as u64, &mut copy)
        .map_err(|source| ObserverError::ReadMemory { source })?;
    Ok(())
}

/// What permissions say of a call that the boundary refuses; `None` when it fails whatever they say.
fn own_permissions(
    notification: &Notification,
    path: &Path,
    effect: Effect,
) -> Option<OwnPermissions> {
    let Some(credentials) = Credentials::observe(notification.thread) else {
        return Some(OwnPermissions::Allow);
    };
    match permissions::prospect(&credentials, path, effect) {
        Prospect::Possible(own) => Some(own),
        Prospect::Impossible => None,
    }
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
        Family::Process => (Operation::Signal, RuleId::OutsideProcess),
    };
    Denial {
        operation,
        object,
        rule,
        grant: None,
        refused_root: None,
        syscall: syscall.to_owned(),
        evidence: Evidence::Refused,
        own_permissions: OwnPermissions::Allow,
        process: None,
    }
}
