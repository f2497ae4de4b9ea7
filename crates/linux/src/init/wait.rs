//! What init waits for, in one poll(2).
//!
//! Invariant: what is not there is never ready.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::watch::Watch;
use crate::channel::Channel;
use crate::observer::Observer;

/// Everything that can wake init.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited<'a> {
    /// Requests of the harness; where something waits for it, also room to send that.
    pub(super) channel: &'a Channel,
    /// A child has ended.
    pub(super) signals: BorrowedFd<'a>,
    /// A command has started, or could not.
    pub(super) spawner: BorrowedFd<'a>,
    /// A call is to be judged, or the harness has answered one.
    pub(super) observer: Option<&'a Observer>,
    /// A name that matters has changed.
    pub(super) watch: Option<&'a Watch>,
    /// The harness is gone.
    pub(super) harness: Option<&'a OwnedFd>,
}

/// What poll found.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one flag for each descriptor of the loop"
)]
pub(super) struct Ready {
    pub(super) channel: bool,
    pub(super) children: bool,
    pub(super) spawner: bool,
    pub(super) observer: bool,
    pub(super) watch: bool,
    pub(super) harness: bool,
}

impl Awaited<'_> {
    /// Waits until something is ready, or until `time`; a signal ends it early with nothing ready.
    pub(super) fn wait(self, time: Option<Instant>) -> Result<Ready, Errno> {
        let events = PollFlags::IN;
        let channel_events = if self.channel.waiting() > 0 {
            events | PollFlags::OUT
        } else {
            events
        };
        let mut fds = vec![
            PollFd::new(self.channel, channel_events),
            PollFd::new(&self.signals, events),
            PollFd::new(&self.spawner, events),
        ];
        let observer = push(&mut fds, self.observer.map(AsFd::as_fd));
        let door = self.observer.and_then(Observer::door).map(AsFd::as_fd);
        let door = push(&mut fds, door);
        let watch = push(&mut fds, self.watch.map(AsFd::as_fd));
        let harness = push(&mut fds, self.harness.map(AsFd::as_fd));
        let timeout = time.map(|time| {
            let left = time.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let is_ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
        let readable = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        Ok(Ready {
            channel: fds
                .first()
                .is_some_and(|fd| fd.revents().intersects(readable)),
            children: is_ready(1),
            spawner: is_ready(2),
            observer: observer.is_some_and(is_ready) || door.is_some_and(is_ready),
            watch: watch.is_some_and(is_ready),
            harness: harness.is_some_and(is_ready),
        })
    }
}

fn push<'a>(fds: &mut Vec<PollFd<'a>>, fd: Option<BorrowedFd<'a>>) -> Option<usize> {
    fds.push(PollFd::from_borrowed_fd(fd?, PollFlags::IN));
    Some(fds.len() - 1)
}
