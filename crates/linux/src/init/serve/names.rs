//! Names that change on the host while the session lives: replaced below a mount, or made where a protected one was absent.
//!
//! Invariant: a name that the session may have made itself is told to the harness as touched, never covered as somebody
//! else's.

use std::time::Instant;

use ringfence_backend::wire::Event;
use ringfence_policy::AbsolutePath;
use rustix::process::Signal;

use super::super::InitError;
use super::super::watch::Change;
use super::{End, Init};
use crate::observer::Observer;

impl Init {
    /// Somebody replaced or removed a name that a mount lay on, or made a protected name that was absent.
    pub(super) fn restore_mounts(&mut self) -> Result<(), InitError> {
        let Some(watch) = &mut self.parts.watch else {
            return Ok(());
        };
        let changes = watch.changes();
        let may_be_ours = watch.lays_mounts()
            && self
                .parts
                .observer
                .as_ref()
                .is_some_and(Observer::may_make_names);
        for change in &changes {
            if let Change::Appeared(path) = change
                && may_be_ours
                && self.touched.insert(path.clone())
            {
                let path = path.clone();
                self.channel.post(&Event::Touched { path }, &[])?;
            }
        }
        let session_made = |path: &AbsolutePath| self.touched.contains(path);
        let relevant = changes.iter().any(|change| match change {
            Change::Covered(_) => true,
            Change::Appeared(path) => !session_made(path),
        });
        if !relevant {
            return Ok(());
        }
        self.tree.signal(Signal::STOP);
        let mut lost = false;
        for change in changes {
            let (path, restored) = match change {
                Change::Covered(path) => {
                    let restored = watch.restore(&path);
                    (path, restored)
                }
                // The harness moves it to quarantine.
                Change::Appeared(path) if session_made(&path) => continue,
                Change::Appeared(path) => {
                    let restored = watch.protect(&path);
                    (path, restored)
                }
            };
            lost |= !restored;
            self.channel
                .post(&Event::Remounted { path, restored }, &[])?;
        }
        if lost {
            // A protection that can't be set again: the session ends rather than run on without it.
            self.tree.signal(Signal::KILL);
            self.end = End::Killed;
        }
        self.tree.signal(Signal::CONT);
        Ok(())
    }

    /// Leaves out threads that make no name any more, after what they made was heard of.
    pub(super) fn forget_makers(&mut self) -> Result<(), InitError> {
        let is_due = |observer: &&Observer| {
            let next = observer.next_look();
            next.is_some_and(|next| next <= Instant::now())
        };
        let Some(observer) = self.parts.observer.as_ref().filter(is_due) else {
            return Ok(());
        };
        let gone = observer.makers_gone();
        self.restore_mounts()?;
        if let Some(observer) = &mut self.parts.observer {
            observer.forget_makers(&gone);
        }
        Ok(())
    }
}
