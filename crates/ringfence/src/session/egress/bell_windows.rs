//! What rings when the proxy has news: an event.

use std::io;
use std::os::windows::io::AsHandle as _;

use ringfence_backend::session::BorrowedDescriptor;
use ringfence_windows::sys::handle::Signal;

/// Signalled from a ring until it is cleared.
#[derive(Debug)]
pub(super) struct Bell(Signal);

impl Bell {
    pub(super) fn new() -> Result<Self, io::Error> {
        Signal::new().map(Self).map_err(io::Error::other)
    }

    pub(super) fn ring(&self) {
        self.0.set();
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }

    pub(super) fn readiness(&self) -> BorrowedDescriptor<'_> {
        self.0.as_handle()
    }
}
