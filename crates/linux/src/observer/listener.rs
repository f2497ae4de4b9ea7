#![expect(
    unsafe_code,
    reason = "the ioctls of a seccomp listener have no safe wrapper"
)]
//! The seccomp listener: notified calls in, answers out (`seccomp_unotify(2)`).
//!
//! It reads no memory of a target and judges nothing. Invariant: no call here waits for a target.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::ObserverError;

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`: the listener and its target wake each other on the same processor.
const SYNC_WAKE_UP: u64 = 1;
/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`
const CONTINUE: u32 = 1;
/// `SECCOMP_ADDFD_FLAG_SEND`
const ADD_AND_SEND: u32 = 2;

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notification {
    /// Names it in the answer.
    pub(super) id: u64,
    /// The thread that made it, as numbered in the reader's process namespace; 0 when it has none there.
    pub(super) thread: u32,
    /// `AUDIT_ARCH_*`
    pub(super) architecture: u32,
    /// The call's number.
    pub(super) number: u32,
    /// Its arguments, as they were in the registers.
    pub(super) arguments: [u64; 6],
}

/// What a notified call gets.
#[derive(Debug)]
pub(super) enum Answer {
    /// The kernel runs it.
    Continue,
    /// It fails with this error number.
    Fail(u16),
    /// It is said to have succeeded, and nothing is run.
    Succeed,
    /// It returns a copy of this descriptor.
    HandOver(OwnedFd, CloseOnExec),
    /// It waits for an answer that comes later.
    Later,
}

/// Whether a descriptor is closed by execve(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseOnExec {
    Yes,
    No,
}

/// Whether there was still a call to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Heard,
    Gone,
}

/// The listener's descriptor.
#[derive(Debug)]
pub(super) struct Listener {
    descriptor: OwnedFd,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Listener {
    /// Takes a listener over and checks that the kernel's structures are those known here.
    pub(super) fn new(descriptor: OwnedFd) -> Result<Self, ObserverError> {
        let mut sizes = libc::seccomp_notif_sizes {
            seccomp_notif: 0,
            seccomp_notif_resp: 0,
            seccomp_data: 0,
        };
        // SAFETY: SECCOMP_GET_NOTIF_SIZES writes one `struct seccomp_notif_sizes`, which `sizes` is.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_GET_NOTIF_SIZES,
                0,
                &raw mut sizes,
            )
        };
        if result != 0 {
            return Err(ObserverError::Sizes {
                source: io::Error::last_os_error(),
            });
        }
        if usize::from(sizes.seccomp_notif) != size_of::<libc::seccomp_notif>()
            || usize::from(sizes.seccomp_notif_resp) != size_of::<libc::seccomp_notif_resp>()
        {
            return Err(ObserverError::Layout {
                notification: sizes.seccomp_notif,
                response: sizes.seccomp_notif_resp,
            });
        }
        // Only a gain in speed, which kernels before 6.6 don't have.
        // SAFETY: NOTIF_SET_FLAGS takes its argument by value; the descriptor is open.
        let _ = unsafe {
            libc::ioctl(
                descriptor.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS,
                SYNC_WAKE_UP,
            )
        };
        Ok(Self { descriptor })
    }

    /// The next waiting call; `None` when none waits.
    pub(super) fn receive(&self) -> Result<Option<Notification>, ObserverError> {
        loop {
            // Reading waits when nothing is there, even on a non-blocking descriptor. After a poll that found a
            // call it does not: if its thread has died since, reading fails with ENOENT.
            if !self.ready()? {
                return Ok(None);
            }
            match self.read() {
                Ok(notification) => return Ok(Some(notification)),
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENOENT | libc::EINTR) => {}
                    Some(_) | None => return Err(ObserverError::Receive { source: error }),
                },
            }
        }
    }

    fn ready(&self) -> Result<bool, ObserverError> {
        let mut poll = [PollFd::new(&self.descriptor, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match rustix::event::poll(&mut poll, Some(&now)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                return Err(ObserverError::Poll {
                    source: error.into(),
                });
            }
        }
        let [poll] = poll;
        Ok(poll.revents().contains(PollFlags::IN))
    }

    fn read(&self) -> io::Result<Notification> {
        // The kernel asks for zeroes.
        let mut notification = libc::seccomp_notif {
            id: 0,
            pid: 0,
            flags: 0,
            data: libc::seccomp_data {
                nr: 0,
                arch: 0,
                instruction_pointer: 0,
                args: [0; 6],
            },
        };
        // SAFETY: NOTIF_RECV writes one `struct seccomp_notif`, whose size `new` compared with the kernel's.
        let result = unsafe {
            libc::ioctl(
                self.descriptor.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV,
                &raw mut notification,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Notification {
            id: notification.id,
            thread: notification.pid,
            architecture: notification.data.arch,
            number: notification.data.nr.cast_unsigned(),
            arguments: notification.data.args,
        })
    }

    /// Whether the call still waits, so that what was read of its thread in the meantime was really of that thread.
    pub(super) fn is_valid(&self, id: u64) -> bool {
        // SAFETY: NOTIF_ID_VALID reads the 8 bytes of `id`.
        let result = unsafe {
            libc::ioctl(
                self.descriptor.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
                &raw const id,
            )
        };
        result == 0
    }

    /// Answers a call. One whose thread has died needs no answer.
    pub(super) fn answer(&self, id: u64, answer: Answer) -> Result<Delivery, ObserverError> {
        let (error, flags) = match answer {
            Answer::Continue => (0, CONTINUE),
            Answer::Fail(errno) => (-i32::from(errno), 0),
            Answer::Succeed => (0, 0),
            Answer::Later => return Ok(Delivery::Heard),
            Answer::HandOver(descriptor, close) => {
                return match self.hand_over(id, &descriptor, close) {
                    Ok(delivery) => Ok(delivery),
                    // Its table is full, or the kernel is older than 5.14 and has no such call.
                    Err(error) => {
                        let number = error.raw_os_error().unwrap_or(libc::EACCES);
                        self.answer(id, Answer::Fail(u16::try_from(number).unwrap_or(u16::MAX)))
                    }
                };
            }
        };
        let mut response = libc::seccomp_notif_resp {
            id,
            val: 0,
            error,
            flags,
        };
        loop {
            // SAFETY: NOTIF_SEND reads one `struct seccomp_notif_resp`, whose size `new` compared.
            let result = unsafe {
                libc::ioctl(
                    self.descriptor.as_raw_fd(),
                    libc::SECCOMP_IOCTL_NOTIF_SEND,
                    &raw mut response,
                )
            };
            if result == 0 {
                return Ok(Delivery::Heard);
            }
            let source = io::Error::last_os_error();
            match source.raw_os_error() {
                Some(libc::ENOENT | libc::EINPROGRESS) => return Ok(Delivery::Gone),
                Some(libc::EINTR) => {}
                Some(_) | None => return Err(ObserverError::Send { source }),
            }
        }
    }

    /// Puts a copy of `descriptor` into the caller's table and answers with its number, in one.
    fn hand_over(&self, id: u64, descriptor: &OwnedFd, close: CloseOnExec) -> io::Result<Delivery> {
        let flags = match close {
            CloseOnExec::Yes => libc::O_CLOEXEC.unsigned_abs(),
            CloseOnExec::No => 0,
        };
        let added = libc::seccomp_notif_addfd {
            id,
            flags: ADD_AND_SEND,
            srcfd: descriptor.as_raw_fd().unsigned_abs(),
            newfd: 0,
            newfd_flags: flags,
        };
        loop {
            // SAFETY: NOTIF_ADDFD reads one `struct seccomp_notif_addfd`; both descriptors are open.
            let result = unsafe {
                libc::ioctl(
                    self.descriptor.as_raw_fd(),
                    libc::SECCOMP_IOCTL_NOTIF_ADDFD,
                    &raw const added,
                )
            };
            if result >= 0 {
                return Ok(Delivery::Heard);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::ENOENT | libc::EINPROGRESS) => return Ok(Delivery::Gone),
                Some(libc::EINTR) => {}
                Some(_) | None => return Err(error),
            }
        }
    }
}
