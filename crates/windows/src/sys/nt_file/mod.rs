//! Files and directories by handle: opened one component at a time, never through a reparse point.
//!
//! It chooses nothing and knows no paths longer than one component but a drive's root. Invariant: no function here
//! follows a link; what is asked and written is the object that the handle was opened for.
//!
//! Source: learn.microsoft.com `NtCreateFile`, `NtQueryDirectoryFile`, `NtSetInformationFile`,
//! `NtSetSecurityObject`, `OpenFileById`; [MS-FSCC] 2.4.

mod delete;
mod link;
mod look;
mod open;
mod reparse;
mod security;

use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};

pub use delete::delete;
pub use link::link;
pub use look::{FileLook, Link, links, list, look};
pub use open::{Access, drive_root, make_directory, open_at, open_by_id, reopen};
pub use reparse::remove_reparse_point;
pub use security::{set_dacl, set_owner};

/// An open file or directory.
#[derive(Debug)]
pub struct FileHandle(OwnedHandle);

impl AsHandle for FileHandle {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}

impl From<FileHandle> for std::fs::File {
    fn from(handle: FileHandle) -> Self {
        Self::from(handle.0)
    }
}

#[cfg(test)]
mod tests;
