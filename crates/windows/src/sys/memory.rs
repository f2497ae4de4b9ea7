//! Memory that the system allocated and we give back.

use std::ffi::c_void;

use windows_sys::Win32::Foundation::LocalFree;

/// Memory of `LocalAlloc`, given back by `LocalFree`.
#[derive(Debug)]
pub(crate) struct Local(*mut c_void);

impl Local {
    /// Takes over what a call has allocated.
    ///
    /// # Safety
    /// `memory` is null or was allocated by `LocalAlloc`, and nobody else frees it.
    pub(crate) const unsafe fn adopt(memory: *mut c_void) -> Self {
        Self(memory)
    }

    /// The memory.
    pub(crate) const fn as_ptr(&self) -> *mut c_void {
        self.0
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: `adopt` promised that it is ours and of LocalAlloc.
            unsafe { LocalFree(self.0) };
        }
    }
}
