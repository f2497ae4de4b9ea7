//! Which file a program's name means: `PATH` and `PATHEXT` of the command, as a shell reads them.
//!
//! Never the current directory, never a relative entry of `PATH`, never the aliases of the Store, which can't start
//! under a restricted token. Text is UTF-16 units. Invariant: what is found is an absolute path on a drive.

/// What of Windows `PATHEXT` is where it is not set.
const EXTENSIONS: &str = ".COM;.EXE;.BAT;.CMD";

const BACKSLASH: u16 = b'\\' as u16;
const SLASH: u16 = b'/' as u16;
const COLON: u16 = b':' as u16;
const DOT: u16 = b'.' as u16;
const SEMICOLON: u16 = b';' as u16;
const QUOTE: u16 = b'"' as u16;

/// A program that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// An executable.
    Native(Vec<u16>),
    /// A batch file, which `cmd.exe` runs.
    Batch(Vec<u16>),
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// Nothing of this name.
    #[error("the program was not found")]
    NotFound,
    /// A file of another kind than Windows starts.
    #[error("`{0}` is no program that Windows starts by itself")]
    Kind(String),
}

/// Where a name is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The command's `PATH`.
    pub path: &'a [u16],
    /// The command's `PATHEXT`.
    pub extensions: Option<&'a [u16]>,
    /// The directory that relative paths begin at.
    pub directory: &'a [u16],
}

/// Finds what `name` means; `is_file` looks at the disk.
///
/// # Errors
/// [`SearchError`].
///
/// # Security
/// Name and variables may come from a repository: a relative entry of `PATH` would let it choose every program.
pub fn find(
    name: &[u16],
    places: Places<'_>,
    is_file: impl Fn(&[u16]) -> bool,
) -> Result<Program, SearchError> {
    let found = candidates(name, places)
        .into_iter()
        .find(|path| is_file(path))
        .ok_or(SearchError::NotFound)?;
    let text = String::from_utf16_lossy(&found).to_lowercase();
    match text.rsplit_once('.').map(|(_, extension)| extension) {
        Some("exe" | "com") => Ok(Program::Native(found)),
        Some("bat" | "cmd") => Ok(Program::Batch(found)),
        _ => Err(SearchError::Kind(String::from_utf16_lossy(&found))),
    }
}

/// The paths to look at, in order.
fn candidates(name: &[u16], places: Places<'_>) -> Vec<Vec<u16>> {
    if name.is_empty() || name.contains(&0) {
        return Vec::new();
    }
    let standard: Vec<u16> = EXTENSIONS.encode_utf16().collect();
    let extensions = places.extensions.unwrap_or(&standard);
    let spellings = |base: Vec<u16>| {
        // With an extension of its own it may be the whole name already.
        let whole = has_extension(&base).then(|| base.clone());
        let longer = extensions
            .split(|unit| *unit == SEMICOLON)
            .filter(|extension| extension.first() == Some(&DOT) && extension.len() > 1)
            .map(move |extension| [base.as_slice(), extension].concat());
        whole.into_iter().chain(longer).collect::<Vec<_>>()
    };
    let is_path = name
        .iter()
        .any(|unit| [BACKSLASH, SLASH, COLON].contains(unit));
    if is_path {
        if is_absolute(name) {
            return spellings(name.to_vec());
        }
        // `C:x`, `\x` and streams mean something that depends on more than the directory.
        if name.contains(&COLON) || [BACKSLASH, SLASH].contains(name.first().unwrap_or(&0)) {
            return Vec::new();
        }
        return spellings(join(places.directory, name));
    }
    places
        .path
        .split(|unit| *unit == SEMICOLON)
        .map(|entry| {
            entry
                .iter()
                .copied()
                .filter(|unit| *unit != QUOTE)
                .collect()
        })
        .filter(|entry: &Vec<u16>| is_absolute(entry) && !is_of_the_store(entry))
        .flat_map(|entry| spellings(join(&entry, name)))
        .collect()
}

fn join(directory: &[u16], name: &[u16]) -> Vec<u16> {
    let mut path = directory.to_vec();
    if ![Some(&BACKSLASH), Some(&SLASH)].contains(&path.last()) {
        path.push(BACKSLASH);
    }
    path.extend(name);
    path
}

/// Whether a path begins at the root of a drive.
fn is_absolute(path: &[u16]) -> bool {
    let letter = |unit: u16| u8::try_from(unit).is_ok_and(|byte| byte.is_ascii_alphabetic());
    match path {
        [drive, COLON, separator, rest @ ..] => {
            letter(*drive) && [BACKSLASH, SLASH].contains(separator) && !rest.contains(&COLON)
        }
        _ => false,
    }
}

fn is_of_the_store(directory: &[u16]) -> bool {
    String::from_utf16_lossy(directory)
        .split(['\\', '/'])
        .any(|component| {
            component
                .trim_end_matches(['.', ' '])
                .eq_ignore_ascii_case("WindowsApps")
        })
}

fn has_extension(path: &[u16]) -> bool {
    let name = path
        .rsplit(|unit| [BACKSLASH, SLASH].contains(unit))
        .next()
        .unwrap_or_default();
    name.iter().skip(1).any(|unit| *unit == DOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    fn search(name: &str, path: &str, pathext: Option<&str>, files: &[&str]) -> String {
        let (path, extensions) = (units(path), pathext.map(units));
        let places = Places {
            path: &path,
            extensions: extensions.as_deref(),
            directory: &units("C:\\ws"),
        };
        let found = find(&units(name), places, |candidate| {
            let candidate = String::from_utf16(candidate).unwrap();
            files
                .iter()
                .any(|file| file.eq_ignore_ascii_case(&candidate))
        });
        match found {
            Ok(Program::Native(path)) => format!("native {}", String::from_utf16(&path).unwrap()),
            Ok(Program::Batch(path)) => format!("batch {}", String::from_utf16(&path).unwrap()),
            Err(SearchError::NotFound) => "none".to_owned(),
            Err(SearchError::Kind(path)) => format!("kind {path}"),
        }
    }

    #[test]
    fn directories_go_before_extensions_and_extensions_by_their_order() {
        let files = ["C:\\a\\git.cmd", "C:\\b\\git.exe", "C:\\b\\git.bat"];
        let find = |path, extensions| search("git", path, extensions, &files);
        assert_eq!(find("C:\\a;C:\\b", None), "batch C:\\a\\git.CMD");
        assert_eq!(find("C:\\b;C:\\a", None), "native C:\\b\\git.EXE");
        assert_eq!(find("C:\\b", Some(".BAT;.EXE")), "batch C:\\b\\git.BAT");
        assert_eq!(find("\"C:\\b\"", Some(";;.EXE")), "native C:\\b\\git.EXE");
    }

    #[test]
    fn a_name_with_its_extension_is_taken_as_it_is_first() {
        let files = ["C:\\a\\x.exe", "C:\\a\\y.2.exe"];
        assert_eq!(
            search("x.exe", "C:\\a", None, &files),
            "native C:\\a\\x.exe"
        );
        assert_eq!(
            search("y.2", "C:\\a", None, &files),
            "native C:\\a\\y.2.EXE"
        );
        let script = ["C:\\a\\run.ps1"];
        assert_eq!(
            search("run.ps1", "C:\\a", None, &script),
            "kind C:\\a\\run.ps1"
        );
    }

    #[test]
    fn the_current_directory_relative_entries_and_the_store_are_never_searched() {
        let files = [
            "C:\\ws\\git.exe",
            "C:\\ws\\bin\\git.exe",
            "C:\\WindowsApps\\git.exe",
            "\\\\server\\share\\git.exe",
        ];
        for path in [
            "",
            ".",
            "bin",
            ";;",
            "C:",
            "C:bin",
            "\\\\server\\share",
            "\\ws",
            "C:\\WindowsApps",
            "C:\\Users\\a\\windowsapps.\\x",
        ] {
            assert_eq!(search("git", path, None, &files), "none", "{path}");
        }
        // The control: named outright, it is found.
        assert_eq!(
            search("C:\\ws\\git", "", None, &files),
            "native C:\\ws\\git.EXE"
        );
        assert_eq!(
            search("bin\\git", "", None, &files),
            "native C:\\ws\\bin\\git.EXE"
        );
        for odd in ["C:git", "\\ws\\git", "x:y", "C:\\ws\\git:stream", ""] {
            assert_eq!(search(odd, "C:\\ws", None, &files), "none", "{odd}");
        }
    }
}
