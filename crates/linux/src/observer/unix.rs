//! Calls about Unix sockets in sessions that may reach some of the host's: read once, decided by what was read.
//!
//! Invariant: a connect(2) is left to the kernel only where no socket is concerned that could reach a path: there is
//! none in the session.

use std::path::PathBuf;

use ringfence_policy::decision::{Denial, Evidence, OwnPermissions};
use ringfence_policy::escape::{escape, escape_os};
use ringfence_policy::{Decision, Grant, Operation, RuleId};
use rustix::io::Errno;

use super::address::{self, UnixName};
use super::call::{Base, Follow};
use super::door::{Door, Reception, closes_on_exec};
use super::listener::{Answer, CloseOnExec, Delivery, Notification};
use super::{Observer, ObserverError, memory};

/// A name that a target wants to connect to.
enum Wanted {
    Granted(u16),
    Refused { errno: Errno, denial: Box<Denial> },
    Absent,
}

impl Observer {
    /// The same with a way to Unix sockets of the host.
    #[must_use]
    pub fn with_door(mut self, door: Option<Door>) -> Self {
        self.door = door;
        self
    }

    /// The way to Unix sockets of the host, to be waited for beside the calls.
    #[must_use]
    pub fn door(&self) -> Option<&Door> {
        self.door.as_ref().filter(|door| door.is_waiting())
    }

    /// Passes the harness's answers on to the calls that wait for them.
    pub(super) fn hear_harness(&mut self) -> Result<(), ObserverError> {
        let Some(door) = &mut self.door else {
            return Ok(());
        };
        while door.is_waiting() {
            let Some(answered) = door.next_answer() else {
                break;
            };
            let answer = match answered.number {
                0 => Answer::Succeed,
                number => Answer::Fail(u16::try_from(number).unwrap_or(u16::MAX)),
            };
            if self.listener.answer(answered.notification, answer)? == Delivery::Gone {
                door.was_not_heard(answered);
            }
        }
        Ok(())
    }

    /// What a target gets that asks for a Unix stream socket.
    pub(super) fn make_socket(&mut self, notification: &Notification) -> Answer {
        let [_, kind, ..] = notification.arguments;
        let Some(door) = &mut self.door else {
            return fail(Errno::ACCESS);
        };
        match door.make_end(kind) {
            Ok(end) if closes_on_exec(kind) => Answer::HandOver(end, CloseOnExec::Yes),
            Ok(end) => Answer::HandOver(end, CloseOnExec::No),
            Err(errno) => fail(errno),
        }
    }

    /// What comes of a connect(2) to a Unix socket; `None` for what the kernel may do.
    pub(super) fn connect_socket(
        &mut self,
        notification: &Notification,
    ) -> Option<(Answer, Option<Denial>)> {
        let wanted = self.wanted(notification)?;
        let [descriptor, ..] = notification.arguments;
        let (granted, denial) = match wanted {
            Wanted::Granted(index) => (Ok(index), None),
            Wanted::Refused { errno, denial } => (Err(errno), Some(*denial)),
            Wanted::Absent => (Err(Errno::NOENT), None),
        };
        let target = (notification.thread, descriptor);
        match self
            .door
            .as_mut()?
            .connect(notification.id, target, granted)
        {
            Reception::NotOurs => None,
            Reception::Asked => Some((Answer::Later, None)),
            Reception::Succeed => Some((Answer::Succeed, None)),
            Reception::Fail(errno) => Some((fail(errno), denial)),
        }
    }

    /// Reads what is wanted; `None` for other families, and without a door.
    fn wanted(&mut self, notification: &Notification) -> Option<Wanted> {
        self.door.as_ref()?;
        let [_, address, length, ..] = notification.arguments;
        let length = usize::try_from(length).ok()?.min(address::LONGEST);
        self.buffer.resize(length, 0);
        let bytes = memory::read(notification.thread, address, &mut self.buffer).ok()?;
        let spelt = match address::parse_unix(bytes)? {
            UnixName::Path(path) => path.to_vec(),
            UnixName::Abstract(name) => {
                let denial = Box::new(refused(format!("@{}", escape(name)), None));
                let errno = Errno::CONNREFUSED;
                return Some(Wanted::Refused { errno, denial });
            }
            UnixName::Unnamed => return Some(Wanted::Absent),
        };
        let path = self.path_of(notification.thread, &spelt)?;
        if let Some(index) = self.door.as_ref()?.granted(&path) {
            return Some(Wanted::Granted(index));
        }
        let is_hidden = !self.rules.is_allowed(Operation::Read, &path);
        if !is_hidden && rustix::fs::lstat(&path).is_err() {
            return Some(Wanted::Absent);
        }
        let grant = match self.rules.decide(Operation::Connect, &path) {
            Decision::Deny { grant, .. } => grant,
            Decision::Allow { .. } => None,
        };
        Some(Wanted::Refused {
            errno: Errno::ACCESS,
            denial: Box::new(refused(escape_os(&path), grant)),
        })
    }

    /// The path that a target means; one that leads nowhere is taken by its letters.
    fn path_of(&mut self, thread: u32, spelt: &[u8]) -> Option<PathBuf> {
        let by_letters = || {
            use std::os::unix::ffi::OsStrExt;
            PathBuf::from(std::ffi::OsStr::from_bytes(spelt))
        };
        // A granted name is meant as it is spelt, also where the session shows nothing there.
        let letters = by_letters();
        if self.door.as_ref()?.names(&letters) {
            return Some(letters);
        }
        let resolved = self
            .resolver
            .resolve(thread, Base::WorkingDirectory, spelt, Follow::Yes);
        Some(resolved.map_or(letters, |resolved| resolved.path().to_owned()))
    }
}

fn fail(errno: Errno) -> Answer {
    Answer::Fail(u16::try_from(errno.raw_os_error()).unwrap_or(u16::MAX))
}

fn refused(object: String, grant: Option<Grant>) -> Denial {
    Denial {
        operation: Operation::Connect,
        object,
        rule: RuleId::UnixSocket,
        grant,
        refused_root: None,
        syscall: "connect".to_owned(),
        evidence: Evidence::Refused,
        own_permissions: OwnPermissions::Allow,
        process: None,
    }
}
