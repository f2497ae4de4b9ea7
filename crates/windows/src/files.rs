//! A machine's files, as the steps on descriptors want them: opened component by component, each by the handle of the
//! one above it.
//!
//! It decides nothing and propagates nothing. Invariant: no reparse point is entered; what is read and written is the
//! object behind the handle.
//!
//! # Security
//! A path is an attacker's: between two components a directory may be replaced by a junction. Each is opened by
//! itself, and refused where it redirects; which object was reached is told by its id alone.

use std::ops::ControlFlow;
use std::os::windows::ffi::OsStrExt as _;
use std::os::windows::io::AsHandle as _;

use ringfence_backend::call::CallFailure;
use ringfence_backend::windows::{Files, ObjectState, Redirection};
use ringfence_nt::fs::FileName;
use ringfence_nt::{SecurityDescriptor, Sid};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::path::units;
use ringfence_plan::windows::step::{FileId, ObjectKind};

use crate::sys::CallError;
use crate::sys::file::{descriptor as file_descriptor, final_path};
use crate::sys::nt_file::{self, Access, FileHandle};

/// `ERROR_CANT_ACCESS_FILE`: a reparse point stands on the way.
const REDIRECTED: u32 = 1920;
/// `ERROR_ACCESS_DENIED`
const DENIED: u32 = 5;
/// `ERROR_INVALID_NAME`
const INVALID_NAME: u32 = 123;
/// `ERROR_ALREADY_EXISTS`: something that is no directory.
const EXISTS: u32 = 183;
/// `ERROR_DIRECTORY_NOT_EMPTY`
const NOT_EMPTY: u32 = 145;

/// `ERROR_REQUEST_ABORTED`
const STOPPED: u32 = 1235;

/// An open object of [`NtFiles`].
#[derive(Debug)]
pub struct OpenObject {
    handle: FileHandle,
    /// What failures name.
    name: String,
}

impl OpenObject {
    /// Its handle.
    #[must_use]
    pub const fn handle(&self) -> &FileHandle {
        &self.handle
    }
}

/// Who is told how many objects a walk has visited, and may stop it.
pub type Watch = fn(u64) -> ControlFlow<()>;

/// The files of this machine, with this program's rights.
#[derive(Debug, Default)]
pub struct NtFiles {
    watch: Option<Watch>,
    visited: u64,
}

/// A failed call as data.
#[must_use]
pub fn failure(error: CallError) -> CallFailure {
    CallFailure::new(error.call, error.object, error.error.0)
}

/// A failed call as data, for this object.
fn for_object(name: &str) -> impl FnOnce(CallError) -> CallFailure {
    let name = name.to_owned();
    |error| CallFailure::new(error.call, name, error.error.0)
}

/// Whether a reparse tag leaves an object what it is: data that is elsewhere until it is read, not another place.
///
/// Source: [MS-FSCC] 2.1.2.1. Cloud files (`0x9000x01a`), deduplicated files and compressed system files.
const fn is_in_place(tag: u32) -> bool {
    matches!(tag, 0x8000_0013 | 0x8000_0017) || tag & 0xffff_0fff == 0x9000_001a
}

fn redirection(tag: Option<u32>) -> Redirection {
    match tag {
        Some(tag) if !is_in_place(tag) => Redirection::Reparse,
        Some(_) | None => Redirection::None,
    }
}

/// Opens the root of a drive, if the letter is a volume's and not another directory's.
fn open_drive(letter: char, access: Access) -> Result<Option<FileHandle>, CallFailure> {
    let name = format!("{letter}:\\");
    let Some(root) = nt_file::drive_root(letter, access).map_err(for_object(&name))? else {
        return Ok(None);
    };
    let found = final_path(root.as_handle()).map_err(for_object(&name))?;
    if found == *format!(r"\\?\{letter}:\") {
        return Ok(Some(root));
    }
    // A substituted or mapped drive.
    Err(CallFailure::new("NtCreateFile", name, REDIRECTED))
}

/// Opens the object at `path` for `access`; the directories above it are passed through.
///
/// # Errors
/// [`CallFailure`]: 1920 where a reparse point stands on the way.
pub fn open_path(path: &WindowsPath, access: Access) -> Result<Option<FileHandle>, CallFailure> {
    let name = path.printable();
    let Some((last, above)) = path.components().split_last() else {
        return open_drive(path.drive(), access);
    };
    let Some(mut at) = open_drive(path.drive(), Access::Pass)? else {
        return Ok(None);
    };
    for component in above {
        let next = nt_file::open_at(at.as_handle(), &units(component), Access::Pass, &name)
            .map_err(failure)?;
        let Some(next) = next else {
            return Ok(None);
        };
        refuse_redirection(&next, &name)?;
        at = next;
    }
    nt_file::open_at(at.as_handle(), &units(last), access, &name).map_err(failure)
}

fn refuse_redirection(handle: &FileHandle, name: &str) -> Result<(), CallFailure> {
    let look = nt_file::look(handle.as_handle()).map_err(for_object(name))?;
    match redirection(look.reparse) {
        Redirection::None => Ok(()),
        Redirection::Reparse => Err(CallFailure::new("NtCreateFile", name, REDIRECTED)),
    }
}

/// Tries to open with the right to set the DACL, then to read it, then to pass: an object that can't be written must
/// still be seen, and setting its DACL fails later with its own code.
fn open_as_far_as_possible<T>(
    open: impl Fn(Access) -> Result<T, CallFailure>,
) -> Result<T, CallFailure> {
    let mut last = None;
    for access in [Access::Protect, Access::Look, Access::Pass] {
        match open(access) {
            Err(failure) if failure.code == DENIED => last = Some(failure),
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| CallFailure::new("NtCreateFile", "", DENIED)))
}

impl NtFiles {
    /// The files of this machine.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            watch: None,
            visited: 0,
        }
    }

    /// The same, and whoever walks a tree with it tells `watch` of each object.
    #[must_use]
    pub const fn watched(watch: Watch) -> Self {
        Self {
            watch: Some(watch),
            visited: 0,
        }
    }

    /// One object more was visited.
    ///
    /// # Errors
    /// [`CallFailure`] with 1235 where somebody stops the walk.
    pub fn tick(&mut self, name: &str) -> Result<(), CallFailure> {
        self.visited = self.visited.saturating_add(1);
        let flow = self.watch.map(|watch| watch(self.visited));
        if flow.is_some_and(|flow| flow.is_break()) {
            return Err(CallFailure::new("a walk that was stopped", name, STOPPED));
        }
        Ok(())
    }

    /// The directory of `path`, made where it is missing, with what it inherits; the root of a drive is never made.
    fn open_or_make(path: &WindowsPath) -> Result<FileHandle, CallFailure> {
        let name = path.printable();
        let Some(mut at) = open_drive(path.drive(), Access::Pass)? else {
            return Err(CallFailure::new("NtCreateFile", name, 3));
        };
        for component in path.components() {
            let text = units(component);
            let opened = nt_file::open_at(at.as_handle(), &text, Access::Pass, &name);
            let next = match opened.map_err(failure)? {
                Some(next) => next,
                None => nt_file::make_directory(at.as_handle(), &text, None, &name)
                    .map_err(failure)?
                    .ok_or_else(|| CallFailure::new("NtCreateFile", name.clone(), EXISTS))?,
            };
            refuse_redirection(&next, &name)?;
            at = next;
        }
        Ok(at)
    }

    /// The volume with that serial, by the root of one of its drive letters.
    fn volume(serial: u64) -> Option<FileHandle> {
        ('A'..='Z').find_map(|letter| {
            let root = open_drive(letter, Access::Pass).ok()??;
            let look = nt_file::look(root.as_handle()).ok()?;
            (look.id.volume == serial).then_some(root)
        })
    }

    fn path_of(object: &FileHandle) -> Option<WindowsPath> {
        let found = final_path(object.as_handle()).ok()?;
        let found: Vec<u16> = found.encode_wide().collect();
        let prefix: Vec<u16> = r"\\?\".encode_utf16().collect();
        let below = found.strip_prefix(prefix.as_slice())?;
        let [drive, colon, backslash, rest @ ..] = below else {
            return None;
        };
        let letter = char::from(u8::try_from(*drive).ok()?);
        if [*colon, *backslash] != [u16::from(b':'), u16::from(b'\\')] {
            return None;
        }
        let root = WindowsPath::parse(&format!("{letter}:\\")).ok()?;
        let mut components = rest.split(|unit| *unit == u16::from(b'\\'));
        components
            .by_ref()
            .filter(|component| !component.is_empty())
            .try_fold(root, |path, component| {
                path.join_observed(&FileName::from_units(component).ok()?)
                    .ok()
            })
    }

    /// The final path of an open object; none for one that has no drive letter.
    ///
    /// # Errors
    /// [`CallFailure`]: 123 for a name that no path can hold.
    pub fn observe_path(&mut self, object: &OpenObject) -> Result<WindowsPath, CallFailure> {
        Self::path_of(&object.handle).ok_or_else(|| {
            CallFailure::new(
                "GetFinalPathNameByHandleW",
                object.name.as_str(),
                INVALID_NAME,
            )
        })
    }

    /// Empties a directory, and deletes it. What can't be opened or deleted is left, and fails at the end.
    fn remove(&mut self, directory: &FileHandle, name: &str) -> Result<(), CallFailure> {
        let listing = nt_file::reopen(directory.as_handle(), Access::List, &name);
        let mut failed = None;
        match listing.and_then(|listing| nt_file::list(listing.as_handle())) {
            Ok(names) => {
                for child in names {
                    if let Err(failure) = self.remove_child(directory, &child, name) {
                        if failure.code == STOPPED {
                            return Err(failure);
                        }
                        failed.get_or_insert(failure);
                    }
                }
            }
            // A directory that is empty goes without having been listed.
            Err(error) => failed = Some(for_object(name)(error)),
        }
        let deleted = nt_file::reopen(directory.as_handle(), Access::Delete, &name)
            .and_then(|object| nt_file::delete(object.as_handle()));
        match deleted {
            // What could not go is still in it, whatever the system says.
            Ok(()) => failed.map_or(Ok(()), Err),
            Err(error) if error.error.0 == NOT_EMPTY => {
                Err(failed.unwrap_or_else(|| for_object(name)(error)))
            }
            Err(error) => Err(for_object(name)(error)),
        }
    }

    fn remove_child(
        &mut self,
        directory: &FileHandle,
        child: &[u16],
        name: &str,
    ) -> Result<(), CallFailure> {
        let name = format!("{name}\\{}", String::from_utf16_lossy(child));
        self.tick(&name)?;
        let opened = nt_file::open_at(directory.as_handle(), child, Access::Pass, &name);
        let Some(object) = opened.map_err(failure)? else {
            return Ok(());
        };
        let look = nt_file::look(object.as_handle()).map_err(for_object(&name))?;
        match (look.kind, redirection(look.reparse)) {
            (ObjectKind::Directory, Redirection::None) => self.remove(&object, &name),
            (ObjectKind::Directory | ObjectKind::File, _) => {
                let object = nt_file::reopen(object.as_handle(), Access::Delete, &name);
                object
                    .and_then(|object| nt_file::delete(object.as_handle()))
                    .map_err(for_object(&name))
            }
        }
    }
}

impl Files for NtFiles {
    type Handle = OpenObject;

    fn open(&mut self, path: &WindowsPath) -> Result<Option<OpenObject>, CallFailure> {
        let opened = open_as_far_as_possible(|access| open_path(path, access))?;
        let name = path.printable();
        Ok(opened.map(|handle| OpenObject { handle, name }))
    }

    fn open_id(&mut self, id: FileId) -> Result<Option<OpenObject>, CallFailure> {
        let Some(volume) = Self::volume(id.volume) else {
            return Ok(None);
        };
        let name = format!("the file {:x} of volume {:x}", id.file, id.volume);
        let opened = open_as_far_as_possible(|access| {
            nt_file::open_by_id(volume.as_handle(), id, access).map_err(for_object(&name))
        })?;
        Ok(opened.map(|handle| OpenObject { handle, name }))
    }

    fn open_child(
        &mut self,
        directory: &OpenObject,
        name: &FileName,
    ) -> Result<Option<OpenObject>, CallFailure> {
        let object = format!("{}\\{name}", directory.name);
        let opened = open_as_far_as_possible(|access| {
            nt_file::open_at(directory.handle.as_handle(), name.units(), access, &object)
                .map_err(failure)
        })?;
        Ok(opened.map(|handle| OpenObject {
            handle,
            name: object,
        }))
    }

    fn observe(&mut self, object: &OpenObject) -> Result<ObjectState, CallFailure> {
        let look = nt_file::look(object.handle.as_handle()).map_err(for_object(&object.name))?;
        Ok(ObjectState {
            id: look.id,
            kind: look.kind,
            redirection: redirection(look.reparse),
            links: match look.kind {
                ObjectKind::Directory => 1,
                ObjectKind::File => look.links,
            },
        })
    }

    fn list(&mut self, directory: &OpenObject) -> Result<Vec<FileName>, CallFailure> {
        let name = &directory.name;
        let listing = nt_file::reopen(directory.handle.as_handle(), Access::List, name);
        let names = listing
            .and_then(|listing| nt_file::list(listing.as_handle()))
            .map_err(for_object(name))?;
        names
            .iter()
            .map(|units| {
                FileName::from_units(units).map_err(|_| {
                    CallFailure::new("NtQueryDirectoryFile", name.as_str(), INVALID_NAME)
                })
            })
            .collect()
    }

    fn observe_names(
        &mut self,
        object: &OpenObject,
    ) -> Result<Vec<Option<WindowsPath>>, CallFailure> {
        let failed = || for_object(&object.name);
        let links = nt_file::links(object.handle.as_handle()).map_err(failed())?;
        let volume = nt_file::look(object.handle.as_handle())
            .map_err(failed())?
            .id
            .volume;
        links
            .into_iter()
            .map(|link| {
                let id = FileId {
                    volume,
                    file: u128::from(link.parent),
                };
                let parent = nt_file::open_by_id(object.handle.as_handle(), id, Access::Pass)
                    .map_err(failed())?;
                let name = FileName::from_units(&link.name).ok();
                Ok(parent
                    .and_then(|parent| Self::path_of(&parent))
                    .zip(name)
                    .and_then(|(parent, name)| parent.join_observed(&name).ok()))
            })
            .collect()
    }

    fn observe_descriptor(
        &mut self,
        object: &OpenObject,
    ) -> Result<SecurityDescriptor, CallFailure> {
        file_descriptor(object.handle.as_handle()).map_err(for_object(&object.name))
    }

    fn set_dacl(
        &mut self,
        object: &OpenObject,
        descriptor: &SecurityDescriptor,
    ) -> Result<(), CallFailure> {
        nt_file::set_dacl(object.handle.as_handle(), descriptor).map_err(for_object(&object.name))
    }

    fn set_owner(&mut self, object: &OpenObject, owner: Sid) -> Result<(), CallFailure> {
        let handle = nt_file::reopen(object.handle.as_handle(), Access::Own, &object.name);
        handle
            .and_then(|handle| nt_file::set_owner(handle.as_handle(), owner))
            .map_err(for_object(&object.name))
    }

    fn make_directory(
        &mut self,
        path: &WindowsPath,
        descriptor: &SecurityDescriptor,
    ) -> Result<(), CallFailure> {
        let object = path.printable();
        let failed = |code| CallFailure::new("NtCreateFile", object.as_str(), code);
        let (parent, name) = path
            .parent()
            .zip(path.name())
            .ok_or_else(|| failed(EXISTS))?;
        let parent = Self::open_or_make(&parent)?;
        let made =
            nt_file::make_directory(parent.as_handle(), &units(name), Some(descriptor), &object);
        if made.map_err(failure)?.is_some() {
            return Ok(());
        }
        let there = nt_file::open_at(parent.as_handle(), &units(name), Access::Protect, &object)
            .map_err(failure)?
            .ok_or_else(|| failed(2))?;
        refuse_redirection(&there, &object)?;
        let look = nt_file::look(there.as_handle()).map_err(for_object(&object))?;
        if look.kind == ObjectKind::File {
            return Err(failed(EXISTS));
        }
        let found = file_descriptor(there.as_handle()).map_err(for_object(&object))?;
        if let Some(owner) = descriptor.owner.filter(|_| descriptor.owner != found.owner) {
            nt_file::reopen(there.as_handle(), Access::Own, &object)
                .and_then(|handle| nt_file::set_owner(handle.as_handle(), owner))
                .map_err(for_object(&object))?;
        }
        nt_file::set_dacl(there.as_handle(), descriptor).map_err(for_object(&object))
    }

    fn remove_directory(&mut self, directory: &OpenObject) -> Result<(), CallFailure> {
        refuse_redirection(&directory.handle, &directory.name)?;
        self.remove(&directory.handle, &directory.name)
    }
}

#[cfg(test)]
mod tests;
