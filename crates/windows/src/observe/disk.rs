//! This machine's disks behind [`Look`]: each object is opened itself, and told from that one handle.

use std::fs::File;
use std::io::Read as _;
use std::os::windows::ffi::OsStrExt as _;
use std::os::windows::fs::FileTypeExt as _;
use std::os::windows::io::{AsHandle as _, BorrowedHandle};

use ringfence_backend::call::CallFailure;
use ringfence_nt::SecurityDescriptor;
use ringfence_nt::fs::FileName;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::facts::{Case, Residency};
use ringfence_plan::windows::step::ObjectKind;

use super::changes;
use super::look::{JournalMark, Leads, Listed, ListedKind, Look, MAX_FILE, Off, Seen, Since};
use super::resolve::kind_elsewhere;
use crate::sys::file::{self, READ_ATTRIBUTES, READ_CONTROL};
use crate::sys::{CallError, Win32Error};

/// `FILE_READ_DATA`
const READ_DATA: u32 = 1;

/// The disks of this machine, with the rights of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

/// A failed call, as it goes across the contract.
pub(crate) fn failure(error: CallError) -> CallFailure {
    CallFailure::new(error.call, error.object, error.error.0)
}

impl Look for Disk {
    fn look(&mut self, path: &WindowsPath) -> Result<Option<Seen>, CallFailure> {
        let Some(handle) = file::open_itself(path, READ_ATTRIBUTES).map_err(failure)? else {
            return Ok(None);
        };
        seen(handle.as_handle())
            .map(Some)
            .map_err(|error| CallFailure::new(error.call, path.printable(), error.error.0))
    }

    fn list(&mut self, directory: &WindowsPath) -> Result<Option<Vec<Listed>>, CallFailure> {
        let Ok(entries) = std::fs::read_dir(file::verbatim(directory)) else {
            return Ok(None);
        };
        let mut listed = Vec::new();
        for entry in entries {
            let Ok(entry) = entry else {
                return Ok(None);
            };
            let units: Vec<u16> = entry.file_name().encode_wide().collect();
            let (Ok(name), Ok(kind)) = (FileName::from_units(&units), entry.file_type()) else {
                continue;
            };
            let kind = if kind.is_symlink_dir() || kind.is_symlink_file() {
                ListedKind::Link
            } else if kind.is_dir() {
                ListedKind::Directory
            } else {
                ListedKind::File
            };
            listed.push(Listed { name, kind });
        }
        listed.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Ok(Some(listed))
    }

    fn read(&mut self, path: &WindowsPath) -> Result<Option<Vec<u8>>, CallFailure> {
        let access = READ_DATA | READ_ATTRIBUTES;
        let Some(handle) = file::open_itself(path, access).map_err(failure)? else {
            return Ok(None);
        };
        let attributes = file::attributes(handle.as_handle()).map_err(failure)?;
        // A placeholder is not fetched for being looked at.
        if attributes.is_directory() || attributes.is_surrogate() || attributes.is_away() {
            return Ok(None);
        }
        let mut content = Vec::new();
        let limit = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
        match File::from(handle).take(limit + 1).read_to_end(&mut content) {
            Ok(length) if length <= MAX_FILE => Ok(Some(content)),
            // ERROR_FILE_TOO_LARGE: what it says can't be left out of account.
            Ok(_) => Err(CallFailure::new("ReadFile", path.printable(), 223)),
            Err(error) => {
                let code = error.raw_os_error().unwrap_or(0).unsigned_abs();
                Err(CallFailure::new("ReadFile", path.printable(), code))
            }
        }
    }

    fn names(&mut self, path: &WindowsPath) -> Result<Vec<Option<WindowsPath>>, CallFailure> {
        let names = match file::names_on_volume(path) {
            Ok(names) => names,
            // A file system without such names, or a file that is gone: the caller takes the worse case.
            Err(error) if is_unanswered(error.error) => return Ok(Vec::new()),
            Err(error) => return Err(failure(error)),
        };
        Ok(names
            .into_iter()
            .map(|name| {
                let name = name.to_str()?;
                WindowsPath::observed(&format!("{}:{name}", path.drive())).ok()
            })
            .collect())
    }

    fn descriptor(
        &mut self,
        path: &WindowsPath,
    ) -> Result<Option<SecurityDescriptor>, CallFailure> {
        let access = READ_ATTRIBUTES | READ_CONTROL;
        let Some(handle) = file::open_itself(path, access).map_err(failure)? else {
            return Ok(None);
        };
        match file::descriptor(handle.as_handle()) {
            Ok(descriptor) => Ok(Some(descriptor)),
            Err(error) if is_unanswered(error.error) => Ok(None),
            Err(error) => Err(CallFailure::new(
                error.call,
                path.printable(),
                error.error.0,
            )),
        }
    }

    fn elsewhere(&mut self, named: &str) -> Result<Option<Off>, CallFailure> {
        let Some(handle) = file::open_followed(named).map_err(failure)? else {
            return Ok(None);
        };
        Ok(place(handle.as_handle()).map_err(failure)?.err())
    }

    fn mark(&mut self, root: &WindowsPath) -> Option<JournalMark> {
        changes::mark(root)
    }

    fn changed_since(&mut self, root: &WindowsPath, mark: JournalMark) -> Since {
        changes::since(root, mark)
    }
}

/// `ERROR_FILE_NOT_FOUND`, `ERROR_PATH_NOT_FOUND`, `ERROR_ACCESS_DENIED`, `ERROR_INVALID_FUNCTION`,
/// `ERROR_NOT_SUPPORTED`, `ERROR_CALL_NOT_IMPLEMENTED`.
const fn is_unanswered(error: Win32Error) -> bool {
    matches!(error.0, 1 | 2 | 3 | 5 | 50 | 120)
}

fn seen(handle: BorrowedHandle<'_>) -> Result<Seen, CallError> {
    let attributes = file::attributes(handle)?;
    let leads = if attributes.is_surrogate() {
        Some(match file::reparse_target(handle)? {
            Some(target) => leads(&target.to_string_lossy()),
            None => Leads::Unknown,
        })
    } else {
        None
    };
    let (kind, links, case) = if attributes.is_directory() {
        let case = if file::is_case_sensitive(handle) {
            Case::Sensitive
        } else {
            Case::Insensitive
        };
        (ObjectKind::Directory, 1, case)
    } else {
        (ObjectKind::File, file::links(handle)?, Case::Insensitive)
    };
    Ok(Seen {
        place: place(handle)?,
        id: file::id(handle)?,
        kind,
        links,
        leads,
        case,
        residency: if attributes.is_away() {
            Residency::Placeholder
        } else {
            Residency::Local
        },
    })
}

/// A junction to a volume's root is a mount point.
fn leads(target: &str) -> Leads {
    let lower = target.to_ascii_lowercase();
    let is_volume = lower
        .strip_prefix("\\??\\volume{")
        .or_else(|| lower.strip_prefix("\\\\?\\volume{"))
        .is_some_and(|rest| rest.ends_with("}\\") || rest.ends_with('}'));
    if is_volume {
        Leads::Volume
    } else {
        Leads::Path(target.to_owned())
    }
}

/// Where an open object lies.
fn place(handle: BorrowedHandle<'_>) -> Result<Result<WindowsPath, Off>, CallError> {
    let path = file::final_path(handle)?;
    let units: Vec<u16> = path.encode_wide().collect();
    let text = String::from_utf16(&units).unwrap_or_else(|_| lone(&units));
    let plain = text.strip_prefix("\\\\?\\").unwrap_or(&text);
    Ok(WindowsPath::observed(plain).map_err(|_| {
        let what = kind_elsewhere(&text);
        (text, what)
    }))
}

/// Text of a path with lone surrogates, as plans spell these.
fn lone(units: &[u16]) -> String {
    char::decode_utf16(units.iter().copied())
        .map(|unit| match unit {
            Ok(character) => character,
            Err(lone) => {
                char::from_u32(0x0010_f800 + u32::from(lone.unpaired_surrogate()) - 0xd800)
                    .unwrap_or(char::REPLACEMENT_CHARACTER)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(path: &std::path::Path) -> WindowsPath {
        let text = path.canonicalize().unwrap();
        let text = text.to_str().unwrap();
        WindowsPath::observed(text.strip_prefix("\\\\?\\").unwrap_or(text)).unwrap()
    }

    #[test]
    fn an_object_is_told_from_one_handle() {
        let directory = std::env::temp_dir().join(format!("ringfence-look-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("Content.txt"), b"as it was").unwrap();
        let top = here(&directory);
        let file = top.join("CONTENT.TXT").unwrap();
        let mut disk = Disk;
        let seen = disk.look(&file).unwrap().unwrap();
        assert_eq!((seen.kind, seen.links), (ObjectKind::File, 1));
        assert_eq!(seen.leads, None);
        let again = disk.look(&file).unwrap().unwrap();
        assert_eq!(again.id, seen.id);
        assert_ne!(disk.look(&top).unwrap().unwrap().id, seen.id);
        assert_eq!(
            disk.read(&file).unwrap().as_deref(),
            Some(&b"as it was"[..])
        );
        assert_eq!(disk.read(&top).unwrap(), None);
        let listed = disk.list(&top).unwrap().unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].name.to_string(), "Content.txt");
        assert!(disk.descriptor(&file).unwrap().is_some());
        assert_eq!(disk.look(&top.join("absent").unwrap()).unwrap(), None);
        assert_eq!(disk.list(&top.join("absent").unwrap()).unwrap(), None);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_name_that_only_ntfs_holds_is_opened_to_the_letter() {
        let path = WindowsPath::observed("C:\\w\\.git.").unwrap();
        assert_eq!(file::verbatim(&path), "\\\\?\\C:\\w\\.git.");
        let root = WindowsPath::parse("D:\\").unwrap();
        assert_eq!(file::verbatim(&root), "\\\\?\\D:\\");
    }

    #[test]
    fn junctions_to_volumes_are_mount_points() {
        assert_eq!(
            leads("\\??\\Volume{00000000-0000-0000-0000-000000000000}\\"),
            Leads::Volume
        );
        assert_eq!(leads("\\??\\C:\\x"), Leads::Path("\\??\\C:\\x".to_owned()));
    }
}
