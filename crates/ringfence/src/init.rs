//! This program as a session's init: an embedding program calls [`run_if_asked`] first of all.

#[cfg(target_os = "linux")]
pub use ringfence_linux::init::run_if_asked;

/// Does nothing where there is no executor.
#[cfg(not(target_os = "linux"))]
pub fn run_if_asked() {}
