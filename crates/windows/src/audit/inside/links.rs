//! A further name for a file that the target can read and not write: what does Windows ask of the handle?
//!
//! Where any handle does, whoever reads a protected file can give it a name in a directory of their own, and empty it by
//! that. Invariant: only a refusal by its own code is held, and only where the same call links a file of the target's
//! own into the same directory, and the file cannot be opened to write its attributes.

use std::fs::{File, OpenOptions};
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::AsHandle as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use ringfence_plan::windows::audit::Answer;
use windows_sys::Win32::Storage::FileSystem::{FILE_READ_ATTRIBUTES, FILE_WRITE_ATTRIBUTES};

use crate::audit::Finding;
use crate::sys::{CallError, Win32Error, nt_file};

/// `ERROR_ACCESS_DENIED`
const DENIED: Win32Error = Win32Error(5);
const CONTROL: &str =
    "a file of its own is linked there, and this program's is not opened to be changed";

/// Links this program's own file into the directory for temporary files.
pub(super) fn readable() -> Finding {
    let directory = std::env::temp_dir();
    let own = directory.join(unused("ringfence-link"));
    let made = std::fs::write(&own, b"");
    let found = match (made, std::env::current_exe()) {
        (Ok(()), Ok(program)) => judge(
            tried(&own, FILE_WRITE_ATTRIBUTES, &directory),
            &opened(&program, FILE_WRITE_ATTRIBUTES),
            tried(&program, FILE_READ_ATTRIBUTES, &directory),
        ),
        (Err(error), _) | (_, Err(error)) => Finding::unknown(error.to_string()),
    };
    // What it leaves is a file of its own in its own directory.
    let _ = std::fs::remove_file(&own);
    found
}

/// A name that this process has not used before.
fn unused(stem: &str) -> String {
    static USED: AtomicU32 = AtomicU32::new(0);
    let number = USED.fetch_add(1, Ordering::Relaxed);
    format!("{stem}-{}-{number}", std::process::id())
}

/// What an attempt failed with, and how that is told.
type Failure = (Option<Win32Error>, String);

fn opened(path: &Path, access: u32) -> Result<File, Failure> {
    let file = OpenOptions::new().access_mode(access).open(path);
    file.map_err(|error| {
        let code = error
            .raw_os_error()
            .map(|code| Win32Error(code.cast_unsigned()));
        (code, format!("{}: {error}", path.display()))
    })
}

fn tried(path: &Path, access: u32, directory: &Path) -> Result<(), Failure> {
    let told = |error: CallError| (Some(error.error), format!("{error}: {}", error.error));
    let file = opened(path, access)?;
    let to = directory.join(unused("ringfence-linked"));
    let to_text = to.to_string_lossy();
    nt_file::link(file.as_handle(), &to_text).map_err(told)?;
    // The name must go before the next attempt; where it stays, that one says so.
    let _ = std::fs::remove_file(&to);
    Ok(())
}

fn judge(
    own: Result<(), Failure>,
    writable: &Result<File, Failure>,
    linked: Result<(), Failure>,
) -> Finding {
    if let Err((_, told)) = own {
        return Finding::unknown(format!("a file of its own is not linked either: {told}"));
    }
    match writable {
        Err((Some(DENIED), _)) => {}
        Err((_, told)) => return Finding::unknown(told.clone()),
        Ok(_) => return Finding::unknown("this program's file may be changed: it tells nothing"),
    }
    match linked {
        Ok(()) => Finding::new(
            Answer::Open,
            "a file that can only be read was given another name",
            CONTROL,
        ),
        Err((Some(DENIED), told)) => Finding::new(Answer::Held, told, CONTROL),
        Err((_, told)) => Finding::unknown(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: u32) -> Failure {
        (Some(Win32Error(code)), format!("{code}"))
    }

    fn answer(own: Option<u32>, writable: u32, linked: Option<u32>) -> Answer {
        let result = |code: Option<u32>| code.map_or(Ok(()), |code| Err(failed(code)));
        judge(result(own), &Err(failed(writable)), result(linked)).answer
    }

    #[test]
    fn only_a_refusal_beside_a_link_that_works_is_held() {
        assert_eq!(answer(None, 5, Some(5)), Answer::Held);
        assert_eq!(answer(None, 5, None), Answer::Open);
        // Another volume, a control that fails, a file that could not be opened for another reason.
        assert_eq!(answer(None, 5, Some(17)), Answer::Unknown);
        assert_eq!(answer(Some(1), 5, Some(5)), Answer::Unknown);
        assert_eq!(answer(None, 32, Some(5)), Answer::Unknown);
    }

    #[test]
    fn an_own_file_is_linked_by_its_handle() {
        let directory = std::env::temp_dir();
        let own = directory.join(format!("ringfence-link-test-{}", std::process::id()));
        std::fs::write(&own, b"").unwrap();
        let linked = tried(&own, FILE_WRITE_ATTRIBUTES, &directory);
        std::fs::remove_file(&own).unwrap();
        assert_eq!(linked, Ok(()));
    }
}
