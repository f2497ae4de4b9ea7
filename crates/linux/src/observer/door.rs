//! Unix sockets of the host: what a target gets that asks for a Unix socket, and what comes of its connect(2).
//!
//! A target gets one end of a connected pair. The kernel never connects it again (`EISCONN`), so no race of a target
//! can make it reach anything. When it asks for a path that the plan opens, the other end goes to the harness, which
//! connects to the object that was judged and moves the bytes: no descriptor travels with them.
//! Invariant: the answer depends on the path alone, and the harness learns of no path but those of the plan.

use std::collections::{HashMap, HashSet};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use ringfence_plan::step::FileId;
use ringfence_policy::AbsolutePath;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, CWD, OFlags, fcntl_setfl, fstat, readlink, statat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recv, sendmsg, socketpair,
};

use crate::sys;

/// How many ends wait to be connected, over all commands.
const MAX_ENDS: usize = 256;
/// How many wishes wait for the harness's word.
const MAX_WISHES: usize = 64;

/// A socket of the host that may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// As the policy names it, and where it lies.
    pub names: [AbsolutePath; 2],
    /// The object.
    pub identity: FileId,
}

impl Granted {
    fn is_named(&self, path: &Path) -> bool {
        self.names.iter().any(|name| name.as_path() == path)
    }
}

/// What becomes of a call at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reception {
    /// It fails.
    Fail(Errno),
    /// It succeeds: an earlier call of the same socket did, and was interrupted before it could hear so.
    Succeed,
    /// The harness was asked; [`Door::next_answer`] says more.
    Asked,
    /// It is not about an end of ours: the kernel knows what to say.
    NotOurs,
}

/// Our side of an end that a target holds.
#[derive(Debug)]
enum End {
    /// Not connected.
    Free(OwnedFd),
    /// The harness has a copy, and has not answered.
    Asked(OwnedFd),
}

/// What the harness says of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    /// The call that waits for it.
    pub(super) notification: u64,
    /// Which end, for [`Door::was_not_heard`].
    pub(super) end: u64,
    /// An error number, or 0.
    pub(super) number: i32,
}

/// A call that waits for the harness.
#[derive(Clone, Copy, Debug)]
struct Wish {
    notification: u64,
    end: u64,
}

/// Closes ends on a thread of its own: what a target has put into one is closed with it, and before Linux 6.16 that may
/// be a socket that takes long to close.
#[derive(Debug)]
struct Disposal(Option<SyncSender<OwnedFd>>);

impl Disposal {
    /// Begins with the first end.
    fn start() -> Self {
        let (sender, ends) = sync_channel(MAX_ENDS);
        let thread = thread::Builder::new()
            .name("disposal".to_owned())
            .stack_size(16 << 10)
            .spawn(move || ends.into_iter().for_each(drop::<OwnedFd>));
        Self(thread.is_ok().then_some(sender))
    }

    /// Takes an end that nobody needs; gives it back where as many wait as may.
    fn take(&self, end: OwnedFd) -> Option<OwnedFd> {
        let Some(sender) = &self.0 else {
            // Without a thread it is closed here.
            return None;
        };
        match sender.try_send(end) {
            Ok(()) => None,
            Err(TrySendError::Full(end) | TrySendError::Disconnected(end)) => Some(end),
        }
    }
}

/// The way to the harness.
#[derive(Debug)]
pub struct Door {
    harness: OwnedFd,
    granted: Vec<Granted>,
    /// By the inode number of the target's end.
    ends: HashMap<u64, End>,
    /// Ends that were connected while their target's call was interrupted.
    unheard: HashSet<u64>,
    wishes: HashMap<u32, Wish>,
    next: u32,
    disposal: Disposal,
}

impl AsFd for Door {
    /// Readable when the harness has answered.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.harness.as_fd()
    }
}

impl Door {
    /// A door, and the harness's side of it.
    ///
    /// # Errors
    /// The system's, for the pair.
    pub fn open(granted: Vec<Granted>) -> Result<(Self, OwnedFd), Errno> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let door = Self {
            harness: ours,
            granted,
            ends: HashMap::new(),
            unheard: HashSet::new(),
            wishes: HashMap::new(),
            next: 0,
            disposal: Disposal::start(),
        };
        Ok((door, theirs))
    }

    /// The descriptor that a target gets which asks for a stream socket; `kind` is its type argument.
    pub(super) fn make_end(&mut self, kind: u64) -> Result<OwnedFd, Errno> {
        if self.ends.len() >= MAX_ENDS {
            self.dispose_of_left();
        }
        if self.ends.len() >= MAX_ENDS {
            return Err(Errno::MFILE);
        }
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // What a target sent into a pair would be closed by us, however long that takes.
        sys::refuse_descriptors(&ours)?;
        sys::refuse_descriptors(&theirs)?;
        if has(kind, libc::SOCK_NONBLOCK) {
            fcntl_setfl(&theirs, OFlags::NONBLOCK)?;
        }
        self.ends.insert(fstat(&theirs)?.st_ino, End::Free(ours));
        Ok(theirs)
    }

    /// Takes a connect(2) of `descriptor` of `thread` to a path that was read from the target once: to `granted` of
    /// the plan's sockets, or to none, which is refused with `refusal`.
    ///
    /// # Security
    /// The target chooses both; neither is looked at again.
    pub(super) fn connect(
        &mut self,
        notification: u64,
        (thread, descriptor): (u32, u64),
        granted: Result<u16, Errno>,
    ) -> Reception {
        let Some(number) = socket_number(thread, descriptor) else {
            return Reception::NotOurs;
        };
        if self.unheard.remove(&number) {
            return Reception::Succeed;
        }
        let ours = match self.ends.get(&number) {
            None => return Reception::NotOurs,
            Some(End::Asked(_)) => return Reception::Fail(Errno::ALREADY),
            Some(End::Free(ours)) => ours,
        };
        let index = match granted {
            Ok(_) if self.wishes.len() >= MAX_WISHES => return Reception::Fail(Errno::AGAIN),
            Ok(index) => index,
            Err(refusal) => return Reception::Fail(refusal),
        };
        let wish = self.next;
        self.next = self.next.wrapping_add(1);
        match ask(&self.harness, wish, index, ours) {
            Ok(()) => {}
            // It has closed its side: the proxy has ended.
            Err(Errno::PIPE | Errno::CONNRESET) => return Reception::Fail(Errno::CONNREFUSED),
            Err(errno) => return Reception::Fail(errno),
        }
        if let Some(End::Free(ours)) = self.ends.remove(&number) {
            self.ends.insert(number, End::Asked(ours));
        }
        let end = number;
        self.wishes.insert(wish, Wish { notification, end });
        Reception::Asked
    }

    /// The next answer of the harness; one that is gone refuses everything.
    pub(super) fn next_answer(&mut self) -> Option<Answered> {
        loop {
            let mut answer = [0; 8];
            match recv(&self.harness, &mut answer, RecvFlags::DONTWAIT) {
                Ok((8, _)) => {}
                Err(Errno::AGAIN) => return None,
                Err(Errno::INTR) => continue,
                Ok(_) | Err(_) => {
                    let wish = *self.wishes.keys().next()?;
                    return self.settle(wish, Errno::CONNREFUSED.raw_os_error());
                }
            }
            let [a, b, c, d, number @ ..] = answer;
            let wish = u32::from_le_bytes([a, b, c, d]);
            if let Some(answered) = self.settle(wish, i32::from_le_bytes(number)) {
                return Some(answered);
            }
        }
    }

    /// Whether anybody waits for the harness.
    pub(super) fn is_waiting(&self) -> bool {
        !self.wishes.is_empty()
    }

    /// The call that was answered had been interrupted; its target will ask again.
    pub(super) fn was_not_heard(&mut self, answered: Answered) {
        if answered.number == 0 && self.unheard.len() < MAX_ENDS {
            self.unheard.insert(answered.end);
        }
    }

    /// Closes the ends whose other side no target holds.
    fn dispose_of_left(&mut self) {
        let left = self.ends.extract_if(|_, end| !is_held(end));
        let kept: Vec<_> = left
            .filter_map(|(number, end)| match end {
                End::Free(ours) => Some((number, self.disposal.take(ours)?)),
                // Held by the harness too.
                End::Asked(_) => None,
            })
            .collect();
        let kept = kept.into_iter();
        self.ends
            .extend(kept.map(|(number, ours)| (number, End::Free(ours))));
    }

    fn settle(&mut self, wish: u32, number: i32) -> Option<Answered> {
        let Wish { notification, end } = self.wishes.remove(&wish)?;
        // Connected, it is the harness's alone: what comes of it is what the other side hears.
        match self.ends.remove(&end) {
            Some(End::Asked(ours)) if number != 0 => drop(self.ends.insert(end, End::Free(ours))),
            // What the disposal does not take is closed here: the harness holds it too.
            Some(End::Asked(ours)) => drop(self.disposal.take(ours)),
            Some(End::Free(_)) | None => {}
        }
        Some(Answered {
            notification,
            end,
            number,
        })
    }

    /// Whether `path` is, letter by letter, what the policy names or where that lies.
    pub(super) fn names(&self, path: &Path) -> bool {
        self.granted.iter().any(|granted| granted.is_named(path))
    }

    /// Which of the plan's sockets `path` names, by its letters or by the object that is seen there.
    pub(super) fn granted(&self, path: &Path) -> Option<u16> {
        let seen = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok();
        let by_object = |granted: &Granted| {
            seen.as_ref().is_some_and(|seen| {
                (seen.st_dev, seen.st_ino) == (granted.identity.device, granted.identity.inode)
            })
        };
        let mut all = self.granted.iter();
        let index = all.position(|granted| granted.is_named(path) || by_object(granted))?;
        u16::try_from(index).ok()
    }
}

/// Whether the target still holds its side.
fn is_held(end: &End) -> bool {
    let ours = match end {
        End::Asked(_) => return true,
        End::Free(ours) => ours,
    };
    let mut fds = [PollFd::new(ours, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let _ = poll(&mut fds, Some(&now));
    let [fd] = fds;
    !fd.revents().contains(PollFlags::HUP)
}

fn has(kind: u64, flag: i32) -> bool {
    kind & u64::from(flag.unsigned_abs()) != 0
}

/// Whether the descriptor that a socket call with this type argument makes is closed at the next execve(2).
pub(super) fn closes_on_exec(kind: u64) -> bool {
    has(kind, libc::SOCK_CLOEXEC)
}

/// The inode number of the socket that `descriptor` of `thread` is; `None` for everything else.
fn socket_number(thread: u32, descriptor: u64) -> Option<u64> {
    // The kernel takes the low half, as a number with a sign.
    let descriptor = u32::try_from(descriptor & 0xFFFF_FFFF).ok()?;
    let link = readlink(format!("/proc/{thread}/fd/{descriptor}"), Vec::new()).ok()?;
    let text = link.to_str().ok()?;
    text.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// Sends the number of the wish, which of the plan's sockets, and the end.
fn ask(harness: &OwnedFd, wish: u32, index: u16, end: &OwnedFd) -> Result<(), Errno> {
    let mut message = [0; 6];
    let (number, which) = message.split_at_mut(4);
    number.copy_from_slice(&wish.to_le_bytes());
    which.copy_from_slice(&index.to_le_bytes());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let passed = [end.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&passed));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(harness, &[IoSlice::new(&message)], &mut control, flags)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
    }

    #[test]
    fn ends_are_closed_by_a_thread_of_their_own() {
        let disposal = Disposal::start();
        let (ours, theirs) = end();
        assert!(disposal.take(ours).is_none());
        // Nothing more comes from it: it is closed.
        assert_eq!(rustix::io::read(&theirs, &mut [0; 1]), Ok(0));
    }

    #[test]
    fn while_a_close_takes_long_no_more_ends_wait_than_may() {
        // Nobody closes.
        let (sender, _waiting) = sync_channel(1);
        let disposal = Disposal(Some(sender));
        assert!(disposal.take(end().0).is_none());
        assert!(disposal.take(end().0).is_some());
    }
}
