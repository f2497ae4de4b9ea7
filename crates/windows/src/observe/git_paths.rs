//! Paths as git writes them on Windows: with slashes, relative, or `/c/…` from an MSYS shell.

use std::path::Path;

use ringfence_plan::windows::WindowsPath;

/// Where `value` leads, seen from `base`; nothing where that is no place on a drive.
pub(crate) fn place(value: &[u8], base: &WindowsPath) -> Option<WindowsPath> {
    let text = std::str::from_utf8(value).ok()?;
    if text.is_empty() || text.contains('\0') {
        return None;
    }
    absolute(&format!("{}/{text}", slashed(base)))
}

/// The drive paths that a path of git's configuration may mean, joined by letters: `/c/x` is MSYS's `C:\x`, and joined
/// to a drive it looks like `C:\c\x`.
pub(crate) fn meanings(path: &Path) -> Vec<WindowsPath> {
    let Some(text) = path.to_str().map(|text| text.replace('\\', "/")) else {
        return Vec::new();
    };
    let below_drive = text.split_once(":/").map(|(_, below)| below);
    let rooted = below_drive.or_else(|| text.strip_prefix('/'));
    let msys = rooted.and_then(|below| {
        let (letter, rest) = below.split_once('/')?;
        let is_drive = letter.len() == 1 && letter.chars().all(|one| one.is_ascii_alphabetic());
        is_drive.then(|| absolute(&format!("{letter}:/{rest}")))?
    });
    absolute(&text).into_iter().chain(msys).collect()
}

/// A path for [`meanings`] to start from.
pub(crate) fn slashed(path: &WindowsPath) -> String {
    path.to_string().replace('\\', "/")
}

/// The last absolute path in a chain of joins by letters, normal.
fn absolute(joined: &str) -> Option<WindowsPath> {
    let joined = joined.replace('\\', "/");
    let parts: Vec<&str> = joined.split('/').collect();
    let is_drive = |part: &str| {
        let mut letters = part.chars();
        matches!(
            (letters.next(), letters.next(), letters.next()),
            (Some(drive), Some(':'), None) if drive.is_ascii_alphabetic()
        )
    };
    let start = parts.iter().rposition(|part| is_drive(part))?;
    let (mut drive, mut rest) = (
        (*parts.get(start)?).to_owned(),
        parts.get(start + 1..).unwrap_or_default(),
    );
    // `C:/base//c/x`: an absolute value without a drive, which is MSYS's way to write one, or the drive's own root.
    if let Some(root) = rest.iter().rposition(|part| part.is_empty())
        && let Some(below) = rest.get(root + 1..)
        && !below.is_empty()
    {
        rest = below;
        if let [letter, after @ ..] = rest
            && letter.len() == 1
            && letter.chars().all(|letter| letter.is_ascii_alphabetic())
        {
            drive = format!("{letter}:");
            rest = after;
        }
    }
    let mut normal: Vec<&str> = Vec::new();
    for part in rest {
        match *part {
            "" | "." => {}
            ".." => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    WindowsPath::observed(&format!("{drive}\\{}", normal.join("\\"))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_writes_paths_in_many_ways() {
        let base = WindowsPath::parse("C:\\w\\sub").unwrap();
        for (value, path) in [
            (&b"../.git/modules/sub"[..], "C:\\w\\.git\\modules\\sub"),
            (b"C:/other/.git", "C:\\other\\.git"),
            (b"d:\\other", "D:\\other"),
            (b"/d/other", "D:\\other"),
            (b"/tools/x", "C:\\tools\\x"),
            (b"hooks/", "C:\\w\\sub\\hooks"),
            (b"../../../../x", "C:\\x"),
        ] {
            let placed = place(value, &base).map(|path| path.to_string());
            assert_eq!(placed.as_deref(), Some(path), "{}", value.escape_ascii());
        }
        assert_eq!(place(b"", &base), None);
        assert_eq!(place(b"a\0b", &base), None);
    }
}
