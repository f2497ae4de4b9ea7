//! What a command left that the person could not live with, put right when the command has ended.
//!
//! What a target makes it owns, and an owner may give an object a list that keeps the person out: they could then
//! neither read nor delete it. And adding a file to an empty directory and making the directory a junction are one
//! right, so a root itself may have been turned into a link. Whoever has the same user as the targets and no restricted
//! token (the runner; in same-user mode the harness) opens such objects to the person, and takes such a link off.
//!
//! It looks at what was reported as changed, and walks only below directories that were; where the report is
//! incomplete, everywhere below the root. No reparse point is followed. What it can't do it reports: an object whose
//! list leaves its owner nothing (an OWNER RIGHTS entry without `WRITE_DAC`) needs `ringfence setup repair`.
//!
//! Invariant: only objects of the targets' own user are changed, and only by adding entries.

use std::collections::BTreeSet;

use ringfence_nt::check::access_check;
use ringfence_nt::fs::FileName;
use ringfence_nt::{
    AccessMask, Ace, AceFlags, Acl, Dacl, GenericMapping, SecurityDescriptor, Sid, Token,
    WriteClass,
};
use ringfence_plan::windows::step::{Object, ObjectKind};

use super::files::{Files, Redirection};
use super::runner::Tended;
use crate::call::CallFailure;

/// `ERROR_ACCESS_DENIED`
const DENIED: u32 = 5;
/// `ERROR_FILE_NOT_FOUND`
const NOT_FOUND: u32 = 2;
/// `ERROR_NOT_SUPPORTED`: a call said yes and did nothing.
const NOT_KEPT: u32 = 50;

/// Files whose reparse points can be taken off.
pub trait ReparsePoints: Files {
    /// Makes an object that redirects plain again (`FSCTL_DELETE_REPARSE_POINT`); what it led to stays.
    ///
    /// # Errors
    /// [`CallFailure`].
    fn remove_reparse_point(&mut self, object: &Self::Handle) -> Result<(), CallFailure>;
}

/// What was reported as changed below a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// These, as paths from the root with backslashes between their names.
    Names(BTreeSet<Vec<u16>>),
    /// More than was kept: anything may have changed.
    Unknown,
}

/// Who is kept out, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tender {
    /// Who gets full access.
    pub person: Sid,
    /// The targets' user: only what is theirs is changed.
    pub owner: Sid,
}

impl Tender {
    /// Puts right what stands in and below `root`; each thing that was done, or could not be, goes to `report`.
    ///
    /// # Security
    /// Names and lists are the target's. Each object is opened by the handle of its directory.
    pub fn tend<F: ReparsePoints>(
        &self,
        files: &mut F,
        root: &Object,
        changes: &Changes,
        report: &mut dyn FnMut(String, Tended),
    ) {
        let mut round = Round {
            tender: self,
            files,
            report,
        };
        let path = root.path.printable();
        match round.root(root, &path) {
            Ok(Some(handle)) => round.below(&handle, &path, changes),
            Ok(None) => {}
            Err(failure) => (round.report)(path, Tended::Left(failure.into())),
        }
    }

    /// Opens one object that keeps the person out; `None` where it does not, or is somebody else's.
    ///
    /// # Errors
    /// [`CallFailure`].
    pub(super) fn open<F: Files>(
        &self,
        files: &mut F,
        object: &F::Handle,
    ) -> Result<Option<Tended>, CallFailure> {
        let kind = files.observe(object)?.kind;
        let descriptor = files.observe_descriptor(object)?;
        let Some(wanted) = self.opened(&descriptor, kind, AlsoOwner::No) else {
            return Ok(None);
        };
        files.set_dacl(object, &wanted)?;
        let there = files.observe_descriptor(object)?;
        if self.opened(&there, kind, AlsoOwner::No).is_some() {
            return Err(CallFailure::new("NtSetSecurityObject", "", NOT_KEPT));
        }
        Ok(Some(Tended::Opened))
    }

    /// What `descriptor` becomes where it keeps the person out of what is the targets'; `None` where it does not.
    fn opened(
        &self,
        descriptor: &SecurityDescriptor,
        kind: ObjectKind,
        also_owner: AlsoOwner,
    ) -> Option<SecurityDescriptor> {
        if descriptor.owner != Some(self.owner) {
            return None;
        }
        let Dacl::Present(list) = &descriptor.dacl else {
            return None;
        };
        let full = AccessMask::FILE_ALL_ACCESS;
        let person = Token::new(self.person, &[Sid::EVERYONE, Sid::AUTHENTICATED_USERS]);
        let (file, class) = (&GenericMapping::FILE, WriteClass::H2);
        let is_open = access_check(descriptor, &person, full, file, class).is_granted();
        if is_open && also_owner == AlsoOwner::No {
            return None;
        }
        let flags = match kind {
            ObjectKind::Directory => AceFlags::INHERIT_ALL,
            ObjectKind::File => AceFlags::NONE,
        };
        // Before everything else, so that no deny entry of the target's counts against it.
        let mut aces = vec![Ace::allow(flags, full, self.person)];
        if also_owner == AlsoOwner::Yes {
            let look = AccessMask::FILE_GENERIC_READ | AccessMask::FILE_GENERIC_EXECUTE;
            aces.push(Ace::allow(AceFlags::NONE, look, self.owner));
        }
        aces.extend(list.aces.iter().copied());
        Some(SecurityDescriptor {
            dacl: Dacl::Present(Acl::new(aces)),
            ..descriptor.clone()
        })
    }
}

/// Whether the owner is let in too, to look at what is in a directory that was closed to themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AlsoOwner {
    No,
    Yes,
}

/// One root's tending.
struct Round<'a, F: ReparsePoints> {
    tender: &'a Tender,
    files: &'a mut F,
    report: &'a mut dyn FnMut(String, Tended),
}

impl<F: ReparsePoints> Round<'_, F> {
    /// Opens the root, plain again; `None` where something else stands in its place.
    fn root(&mut self, root: &Object, path: &str) -> Result<Option<F::Handle>, CallFailure> {
        let absent = || CallFailure::new("NtCreateFile", path, NOT_FOUND);
        let handle = self.files.open(&root.path)?.ok_or_else(absent)?;
        let state = self.files.observe(&handle)?;
        if state.id != root.id {
            // Not ours to touch: the plan does not know it.
            return Err(absent());
        }
        if state.redirection == Redirection::Reparse {
            self.files.remove_reparse_point(&handle)?;
            if self.files.observe(&handle)?.redirection == Redirection::Reparse {
                let call = "FSCTL_DELETE_REPARSE_POINT";
                return Err(CallFailure::new(call, path, NOT_KEPT));
            }
            (self.report)(path.to_owned(), Tended::Unlinked);
        }
        Ok(Some(handle))
    }

    fn below(&mut self, root: &F::Handle, path: &str, changes: &Changes) {
        let names = match changes {
            Changes::Unknown => return self.walk_children(root, path),
            Changes::Names(names) => names,
        };
        // By components, so that what lies below a directory comes right after it, and was walked with it.
        let mut names: Vec<&[u16]> = names.iter().map(Vec::as_slice).collect();
        names.sort_by(|one, other| components(one).cmp(components(other)));
        let mut walked: Option<&[u16]> = None;
        for name in names {
            if walked.is_some_and(|above| is_below(name, above)) {
                continue;
            }
            match self.one(root, path, name) {
                Ok(Walked::Yes) => walked = Some(name),
                Ok(Walked::No) => {}
                Err((path, failure)) => (self.report)(path, Tended::Left(failure.into())),
            }
        }
    }

    /// One name that was reported: the object there, if there still is one, and all below it.
    fn one(
        &mut self,
        root: &F::Handle,
        path: &str,
        name: &[u16],
    ) -> Result<Walked, (String, CallFailure)> {
        let shown = format!("{path}\\{}", String::from_utf16_lossy(name));
        let failed = |failure| (shown.clone(), failure);
        let mut at: Option<F::Handle> = None;
        for component in components(name) {
            let Ok(component) = FileName::from_units(component) else {
                return Ok(Walked::No);
            };
            if let Some(above) = &at {
                let state = self.files.observe(above).map_err(failed)?;
                if state.redirection == Redirection::Reparse {
                    return Ok(Walked::No);
                }
            }
            let directory = at.as_ref().unwrap_or(root);
            let next = self.files.open_child(directory, &component);
            let Some(next) = next.map_err(failed)? else {
                return Ok(Walked::No);
            };
            at = Some(next);
        }
        let Some(object) = at else {
            return Ok(Walked::No);
        };
        Ok(self.tree(object, shown))
    }

    fn walk_children(&mut self, root: &F::Handle, path: &str) {
        match self.files.list(root) {
            Ok(names) => {
                for name in names {
                    self.child(root, path, &name);
                }
            }
            Err(failure) => (self.report)(path.to_owned(), Tended::Left(failure.into())),
        }
    }

    fn child(&mut self, directory: &F::Handle, path: &str, name: &FileName) {
        let shown = format!("{path}\\{name}");
        match self.files.open_child(directory, name) {
            Ok(Some(object)) => {
                self.tree(object, shown);
            }
            Ok(None) => {}
            Err(failure) => (self.report)(shown, Tended::Left(failure.into())),
        }
    }

    /// An object and all below it, the upper ones first. Trees may be as deep as the target likes: no recursion.
    fn tree(&mut self, object: F::Handle, path: String) -> Walked {
        let mut open = Vec::new();
        let mut walked = Walked::No;
        if let Some(frame) = self.enter(object, path) {
            walked = Walked::Yes;
            open.push(frame);
        }
        while let Some(frame) = open.last_mut() {
            let Some(name) = frame.names.pop() else {
                open.pop();
                continue;
            };
            let shown = format!("{}\\{name}", frame.path);
            match self.files.open_child(&frame.directory, &name) {
                Ok(Some(child)) => open.extend(self.enter(child, shown)),
                Ok(None) => {}
                Err(failure) => (self.report)(shown, Tended::Left(failure.into())),
            }
        }
        walked
    }

    /// Tends one object; for a directory that is no link, what is in it.
    fn enter(&mut self, object: F::Handle, path: String) -> Option<Frame<F::Handle>> {
        match self.tender.open(self.files, &object) {
            Ok(None) => {}
            Ok(Some(tended)) => (self.report)(path.clone(), tended),
            Err(failure) => (self.report)(path.clone(), Tended::Left(failure.into())),
        }
        let state = self.files.observe(&object).ok()?;
        match (state.kind, state.redirection) {
            (ObjectKind::Directory, Redirection::None) => {}
            (ObjectKind::Directory | ObjectKind::File, _) => return None,
        }
        match self.list(&object) {
            Ok(names) => Some(Frame {
                directory: object,
                names,
                path,
            }),
            Err(failure) => {
                (self.report)(path, Tended::Left(failure.into()));
                None
            }
        }
    }

    /// The names in a directory, which may have been closed to its owner too.
    fn list(&mut self, directory: &F::Handle) -> Result<Vec<FileName>, CallFailure> {
        let failure = match self.files.list(directory) {
            Ok(names) => return Ok(names),
            Err(failure) if failure.code == DENIED => failure,
            Err(failure) => return Err(failure),
        };
        let descriptor = self.files.observe_descriptor(directory)?;
        let kind = ObjectKind::Directory;
        let wanted = self.tender.opened(&descriptor, kind, AlsoOwner::Yes);
        self.files.set_dacl(directory, &wanted.ok_or(failure)?)?;
        self.files.list(directory)
    }
}

/// A directory that is being walked.
struct Frame<H> {
    directory: H,
    names: Vec<FileName>,
    path: String,
}

/// Whether all below a name was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walked {
    No,
    Yes,
}

fn components(name: &[u16]) -> impl Iterator<Item = &[u16]> {
    name.split(|unit| *unit == u16::from(b'\\'))
}

fn is_below(name: &[u16], above: &[u16]) -> bool {
    name.strip_prefix(above)
        .is_some_and(|rest| rest.first() == Some(&u16::from(b'\\')))
}
