//! Programs that stand in for `ssh` and its like in same-user mode, where nothing but discouragement holds the network.
//!
//! They come first in `PATH`, as executables for programs that look for `.exe` alone and as batch files for shells;
//! `PATHEXT` names batch files first, for what looks for one extension in all directories before the next. It is no
//! boundary: whoever wants to starts another program. Invariant: the directory is made anew, never added to.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

/// What is stood in for.
pub const STUBS: &[&str] = &["ssh", "scp", "sftp"];

const EXTENSIONS: &str = ".BAT;.CMD;.COM;.EXE;.VBS;.VBE;.JS;.JSE;.WSF;.WSH;.MSC";
/// As `ssh` ends when it can't connect.
const BATCH: &str =
    "@echo ringfence: %~n0 is switched off in same-user mode 1>&2\r\n@exit /b 255\r\n";

/// Puts the stubs into `directory`, which is made; `runner` is the program that they are copies of.
///
/// # Errors
/// The file system's.
pub fn lay_stubs(directory: &Path, runner: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(directory)?;
    for stub in STUBS {
        fs::copy(runner, directory.join(format!("{stub}.exe")))?;
        fs::write(directory.join(format!("{stub}.bat")), BATCH)?;
    }
    Ok(())
}

/// `environment` with the stubs first in `PATH`, and batch files first in `PATHEXT`. Without a `PATH` of its own it
/// gets `inherited`, the caller's.
#[must_use]
pub fn with_stubs(
    environment: Vec<(String, String)>,
    directory: &Path,
    inherited: &str,
) -> Vec<(String, String)> {
    let mut path = inherited.to_owned();
    let mut others = Vec::with_capacity(environment.len() + 2);
    for (name, value) in environment {
        if name.eq_ignore_ascii_case("PATH") {
            path = value;
        } else if !name.eq_ignore_ascii_case("PATHEXT") {
            others.push((name, value));
        }
    }
    let mut first = OsString::from(directory).to_string_lossy().into_owned();
    if !path.is_empty() {
        first.push(';');
        first.push_str(&path);
    }
    others.push(("PATH".to_owned(), first));
    others.push(("PATHEXT".to_owned(), EXTENSIONS.to_owned()));
    others.sort();
    others
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::program::{self, Places, Program};

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn a_stub_is_found_before_the_program_however_it_is_looked_for() {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let before = vec![
            set("A", "1"),
            set("Path", r"C:\Git\bin"),
            set("pathext", ".EXE"),
        ];
        let after = with_stubs(before, Path::new(r"C:\stubs"), "unused");
        assert_eq!(
            after,
            [
                set("A", "1"),
                set("PATH", r"C:\stubs;C:\Git\bin"),
                set("PATHEXT", EXTENSIONS),
            ]
        );
        let files = [
            r"C:\stubs\ssh.exe",
            r"C:\stubs\ssh.bat",
            r"C:\Git\bin\ssh.exe",
        ];
        let (path, extensions) = (units(&after[1].1), units(EXTENSIONS));
        let find = |name: &str| {
            let places = Places {
                path: &path,
                extensions: Some(&extensions),
                directory: &units(r"C:\ws"),
            };
            let found = program::find(&units(name), places, |path| {
                let path = String::from_utf16(path).unwrap();
                files.iter().any(|file| file.eq_ignore_ascii_case(&path))
            });
            match found.unwrap() {
                Program::Native(path) | Program::Batch(path) => String::from_utf16(&path).unwrap(),
            }
        };
        assert_eq!(find("ssh"), r"C:\stubs\ssh.BAT");
        assert_eq!(find("ssh.exe"), r"C:\stubs\ssh.exe");
    }

    #[test]
    fn without_a_path_the_callers_own_follows() {
        let after = with_stubs(Vec::new(), Path::new(r"C:\stubs"), r"C:\bin");
        assert_eq!(after[0].1, r"C:\stubs;C:\bin");
    }
}
