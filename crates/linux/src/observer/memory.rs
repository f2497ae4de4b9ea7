#![expect(unsafe_code, reason = "process_vm_readv(2) has no safe wrapper")]
//! Reading a thread's memory: paths and socket addresses that its calls point to.
//!
//! Invariant: whatever the address, at most the buffer is filled, and nothing of this process is touched but that.

use std::io;

/// The longest path the kernel takes, with its NUL: `PATH_MAX`.
pub(super) const PATH_MAX: usize = 4096;

/// The smallest page there is. One transfer never fails in the middle of an entry, so entries end with pages.
const PAGE: u64 = 4096;

/// Copies up to `buffer.len()` bytes (at most two pages' worth) from `address` of `thread`; what was readable is
/// returned.
///
/// # Errors
/// The system's error: `EFAULT` for a bad address, `ESRCH` for a dead thread, `EPERM` for one out of reach.
///
/// # Security
/// The target chooses the address and changes the bytes while they are read; they are only ever reported.
pub(super) fn read(thread: u32, address: u64, buffer: &mut [u8]) -> io::Result<&[u8]> {
    let wanted = buffer.len().min(PATH_MAX) as u64;
    let first = wanted.min(PAGE - address % PAGE);
    let bad = || io::Error::from_raw_os_error(libc::EFAULT);
    let entry = |address: u64, length: u64| -> io::Result<libc::iovec> {
        Ok(libc::iovec {
            iov_base: std::ptr::without_provenance_mut(
                usize::try_from(address).map_err(|_| bad())?,
            ),
            iov_len: usize::try_from(length).map_err(|_| bad())?,
        })
    };
    let remote = [
        entry(address, first)?,
        entry(address.wrapping_add(first), wanted - first)?,
    ];
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let thread = i32::try_from(thread).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: process_vm_readv(2) writes at most `local.iov_len` bytes at `local.iov_base`, which is `buffer`; the
    // remote addresses are another process's and the kernel checks them.
    let read =
        unsafe { libc::process_vm_readv(thread, &raw const local, 1, remote.as_ptr(), 2, 0) };
    let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    buffer.get(..read).ok_or_else(bad)
}

/// Copies the path at `address` of `thread`, without its NUL; `None` where there is none of at most [`PATH_MAX`]
/// bytes, so that the kernel refuses the call anyway.
pub(super) fn read_path(thread: u32, address: u64, buffer: &mut Vec<u8>) -> Option<&[u8]> {
    buffer.resize(PATH_MAX, 0);
    let bytes = read(thread, address, buffer).ok()?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    bytes.get(..end)
}
