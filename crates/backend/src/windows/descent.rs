//! Trees looked through from the top, one open handle for each level on the way down.
//!
//! Whoever calls decides what is entered. Invariant: however many objects a directory has, no more than one of them is
//! open beside those on the way to it.

use ringfence_nt::fs::FileName;
use ringfence_plan::windows::WindowsPath;

use crate::call::CallFailure;

use super::files::Files;
use super::grants::child_path;

/// A walk on its way.
pub(super) struct Descent<H> {
    levels: Vec<Level<H>>,
}

/// A directory whose children are looked at.
struct Level<H> {
    directory: H,
    path: WindowsPath,
    names: std::vec::IntoIter<FileName>,
}

impl<H> Descent<H> {
    pub(super) const fn new() -> Self {
        Self { levels: Vec::new() }
    }

    /// Goes into a directory: its children come next.
    ///
    /// # Errors
    /// [`CallFailure`] where it can't be listed.
    pub(super) fn enter<F: Files<Handle = H>>(
        &mut self,
        files: &mut F,
        directory: H,
        path: WindowsPath,
    ) -> Result<(), CallFailure> {
        let names = files.list(&directory)?.into_iter();
        self.levels.push(Level {
            directory,
            path,
            names,
        });
        Ok(())
    }

    /// The next object, or why it can't be opened; `None` at the end. What has gone since it was listed is left out.
    pub(super) fn next<F: Files<Handle = H>>(
        &mut self,
        files: &mut F,
    ) -> Option<(WindowsPath, Result<H, CallFailure>)> {
        while let Some(level) = self.levels.last_mut() {
            let Some(name) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let path = child_path(&level.path, &name);
            match files.open_child(&level.directory, &name) {
                Ok(Some(child)) => return Some((path, Ok(child))),
                Ok(None) => {}
                Err(failure) => return Some((path, Err(failure))),
            }
        }
        None
    }
}
