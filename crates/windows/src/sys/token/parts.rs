//! What calls on tokens write and read: buffers with structures at their start, lists of SIDs.

use std::mem::size_of;

use ringfence_nt::Sid;
use windows_sys::Win32::Security::{PSID, SID_AND_ATTRIBUTES};

use crate::sys::error::{CallError, Win32Error};

/// Bytes that the system wrote, aligned for its structures.
pub(super) struct Buffer {
    memory: Vec<usize>,
    length: usize,
}

impl Buffer {
    pub(super) fn new(bytes: u32) -> Self {
        let length = usize::try_from(bytes).unwrap_or(0);
        Self {
            memory: vec![0; length.div_ceil(size_of::<usize>())],
            length,
        }
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut core::ffi::c_void {
        self.memory.as_mut_ptr().cast()
    }

    /// The structure at its start, where that many bytes are there. Only for plain structures of the system.
    pub(super) fn head<T>(&self) -> Result<&T, CallError> {
        // A structure that ends in a list of one may stand for an empty list, shorter than itself.
        if self.memory.len() * size_of::<usize>() < size_of::<T>() || self.length == 0 {
            return Err(CallError::new(
                "GetTokenInformation",
                "too short",
                Win32Error(122),
            ));
        }
        // SAFETY: the memory is large enough, aligned for pointers, initialised, and lives as long as the reference.
        Ok(unsafe { &*self.memory.as_ptr().cast::<T>() })
    }
}

/// SIDs as a call takes them: a list of pointers into bytes that live as long as it.
pub(super) struct SidList {
    entries: Vec<SID_AND_ATTRIBUTES>,
    _bytes: Vec<Vec<u8>>,
}

impl SidList {
    pub(super) fn new(sids: &[Sid]) -> Self {
        let bytes: Vec<Vec<u8>> = sids.iter().map(Sid::to_bytes).collect();
        let entries = bytes
            .iter()
            .map(|sid| SID_AND_ATTRIBUTES {
                Sid: sid.as_ptr().cast_mut().cast::<core::ffi::c_void>() as PSID,
                Attributes: 0,
            })
            .collect();
        Self {
            entries,
            _bytes: bytes,
        }
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(0)
    }

    pub(super) fn as_ptr(&self) -> *const SID_AND_ATTRIBUTES {
        if self.entries.is_empty() {
            return std::ptr::null();
        }
        self.entries.as_ptr()
    }
}
