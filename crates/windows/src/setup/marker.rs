//! The state of a finished set-up and its marker, which is written last and read back as the person.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::windows::io::AsHandle as _;
use std::path::Path;

use ringfence_backend::call::CallFailure;
use ringfence_backend::windows::{Check, InstalledState};
use ringfence_nt::Sid;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::machine::MachineDirectories;

use super::enforcement::check;
use super::{SetupFault, marker_text};
use crate::files::{failure, open_path};
use crate::sys::file::verbatim;
use crate::sys::nt_file::Access;
use crate::sys::rename;
use crate::sys::running::Process;
use crate::sys::signon::impersonate;
use crate::sys::token::AccessToken;

/// `ERROR_ACCESS_DENIED`
const DENIED: u32 = 5;

fn failed(call: &'static str, path: &WindowsPath, error: &io::Error) -> CallFailure {
    let code = error.raw_os_error().map_or(1, i32::cast_unsigned);
    CallFailure::new(call, path.printable(), code)
}

/// Takes the marker away: the set-up counts as unfinished from now on.
pub(super) fn remove(directories: &MachineDirectories) -> Result<(), CallFailure> {
    let path = &directories.marker;
    if open_path(path, Access::Pass)?.is_none() {
        return Ok(());
    }
    match std::fs::remove_file(verbatim(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("DeleteFileW", path, &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a file whole, or leaves the old one.
fn put(path: &WindowsPath, bytes: &[u8]) -> Result<(), CallFailure> {
    let name = verbatim(path);
    let mut new = name.clone();
    new.push(".new");
    File::create(Path::new(&new))
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(|error| failed("WriteFile", path, &error))?;
    rename::replace(&new, &name).map_err(failure)
}

/// Writes state and marker, and reads the marker as the person who asked.
pub(super) fn write(
    directories: &MachineDirectories,
    state: &InstalledState,
    caller: Option<u32>,
) -> Result<Check, SetupFault> {
    let bytes = state.to_bytes().map_err(|_| SetupFault::Directories)?;
    put(&directories.state, &bytes).map_err(SetupFault::State)?;
    let text = marker_text(&bytes);
    put(&directories.marker, text.as_bytes()).map_err(SetupFault::State)?;
    let person = state.subject.person;
    let read = read_as(person, caller, &directories.marker);
    match read {
        Ok(Some(found)) if found == text.as_bytes() => Ok(check(
            "marker",
            Ok("the person who asked reads the marker of this set-up".to_owned()),
        )),
        Ok(Some(_)) => Err(SetupFault::Marker {
            person,
            source: CallFailure::new("ReadFile", directories.marker.printable(), 13),
        }),
        Ok(None) => {
            let mut unread = check(
                "marker",
                Err(
                    "nobody here may read as that person: the first run reads the marker"
                        .to_owned(),
                ),
            );
            unread.proof = ringfence_backend::windows::Proof::NotTried;
            Ok(unread)
        }
        Err(source) => Err(SetupFault::Marker { person, source }),
    }
}

/// What the file holds, read with the rights of that person's process; none where it is not that person's, and where
/// an administrator who is somebody else is not let act as the person.
fn read_as(
    person: Sid,
    caller: Option<u32>,
    path: &WindowsPath,
) -> Result<Option<Vec<u8>>, CallFailure> {
    let Some(caller) = caller else {
        return Ok(None);
    };
    let token =
        Process::open(caller).and_then(|process| AccessToken::to_act_as(process.as_handle()));
    let token = match token {
        Ok(token) => token,
        // Another administrator may not act as the person, whose token names the person alone.
        Err(error) if error.error.0 == DENIED => return Ok(None),
        Err(error) => return Err(failure(error)),
    };
    if token.user().map_err(failure)? != person {
        return Ok(None);
    }
    let name = verbatim(path);
    let read = impersonate(&token, "the person who asked", || {
        std::fs::read(Path::new(&name))
    });
    read.map_err(failure)?
        .map(Some)
        .map_err(|error| failed("ReadFile", path, &error))
}
