//! What rings when the proxy has news: an eventfd.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use ringfence_backend::session::BorrowedDescriptor;
use rustix::event::{EventfdFlags, eventfd};

/// Readable from a ring until it is cleared.
#[derive(Debug)]
pub(super) struct Bell(OwnedFd);

impl Bell {
    pub(super) fn new() -> Result<Self, io::Error> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(eventfd(0, flags)?))
    }

    pub(super) fn ring(&self) {
        // Full: it is readable already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    pub(super) fn clear(&self) {
        let mut count = [0; 8];
        // Empty: nothing was waiting.
        let _ = rustix::io::read(&self.0, &mut count);
    }

    pub(super) fn readiness(&self) -> BorrowedDescriptor<'_> {
        self.0.as_fd()
    }
}
