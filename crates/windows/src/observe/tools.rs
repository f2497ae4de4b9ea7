//! Directories of programs: those on PATH, those that shims in them lead to, and shells.
//!
//! Invariant: a shell is a real executable, never an alias of the Store, which can't start under a restricted token.

use std::collections::BTreeMap;

use ringfence_backend::call::CallFailure;
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::facts::{Consent, Shell, ToolDirectory, ToolFound};
use ringfence_plan::windows::step::ObjectKind;

use super::look::Look;
use super::resolve::{Resolution, resolve};

/// What shims lead to: the end of the shims' directory, the program that tells them, and where the tools are, seen
/// from that directory.
const SHIMS: [(&str, &str, &str); 5] = [
    ("\\.cargo\\bin", "rustup.exe", "..\\..\\.rustup\\toolchains"),
    ("\\pyenv-win\\shims", "", "..\\versions"),
    ("\\volta\\bin", "volta.exe", "..\\tools"),
    ("\\scoop\\shims", "", "..\\apps"),
    ("\\.fnm", "", "node-versions"),
];

/// What the search for tools starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// The entries of PATH, in order.
    pub path: Vec<String>,
    /// Directories of tools that the person has agreed to.
    pub agreed: Vec<WindowsPath>,
    /// `RUSTUP_HOME`, where it is set.
    pub rustup_home: Option<WindowsPath>,
    /// `C:\Windows`
    pub windows: Option<WindowsPath>,
    /// `C:\Program Files`
    pub program_files: Option<WindowsPath>,
}

/// The directories of tools, each once.
///
/// # Errors
/// The look-ups'.
pub(crate) fn directories<L: Look>(
    look: &mut L,
    search: &Search,
) -> Result<Vec<ToolDirectory>, CallFailure> {
    let mut found: Vec<ToolDirectory> = Vec::new();
    let mut shims = Vec::new();
    for entry in &search.path {
        // A relative entry means another directory to each program: commands do not get it.
        let Ok(named) = WindowsPath::parse(entry.trim().trim_matches('"')) else {
            continue;
        };
        let Some(path) = directory(look, &named)? else {
            continue;
        };
        shims.extend(behind(look, &path, search)?);
        add(
            &mut found,
            search,
            path,
            format!("PATH: {entry}"),
            ToolFound::Path,
        );
    }
    for (path, shim) in shims {
        let origin = format!("started by {}", shim.printable());
        add(&mut found, search, path, origin, ToolFound::Shim);
    }
    Ok(found)
}

fn add(
    found: &mut Vec<ToolDirectory>,
    search: &Search,
    path: WindowsPath,
    origin: String,
    how: ToolFound,
) {
    if found.iter().any(|known| known.path == path) {
        return;
    }
    let consent = if search.agreed.contains(&path) {
        Consent::Given
    } else {
        Consent::Missing
    };
    found.push(ToolDirectory {
        path,
        origin,
        found: how,
        consent,
    });
}

/// The final path of a directory that exists on a drive of this machine.
fn directory<L: Look>(
    look: &mut L,
    named: &WindowsPath,
) -> Result<Option<WindowsPath>, CallFailure> {
    let end = resolve(look, named)?.on_drive();
    Ok(end
        .filter(super::resolve::Resolved::is_directory)
        .map(|end| end.path))
}

/// Where the shims in `path` find what they start.
fn behind<L: Look>(
    look: &mut L,
    path: &WindowsPath,
    search: &Search,
) -> Result<Vec<(WindowsPath, WindowsPath)>, CallFailure> {
    let letters = path.to_string().to_ascii_lowercase();
    let mut found = Vec::new();
    for (end, program, below) in SHIMS {
        if !letters.ends_with(end) {
            continue;
        }
        if !program.is_empty() {
            let Ok(program) = path.join(program) else {
                continue;
            };
            if look.look(&program)?.is_none() {
                continue;
            }
        }
        let home = search
            .rustup_home
            .as_ref()
            .filter(|_| program == "rustup.exe");
        let named = match home {
            Some(home) => home.join("toolchains").ok(),
            None => super::git_paths::place(below.as_bytes(), path),
        };
        let Some(named) = named else { continue };
        if let Some(tools) = directory(look, &named)? {
            found.push((tools, path.clone()));
        }
    }
    Ok(found)
}

/// The shells of this machine: PowerShell 7, Windows PowerShell, the command prompt, and git's bash.
///
/// # Errors
/// The look-ups'.
pub(crate) fn shells<L: Look>(
    look: &mut L,
    search: &Search,
    tools: &[ToolDirectory],
) -> Result<Vec<Shell>, CallFailure> {
    let mut candidates: BTreeMap<&str, Vec<WindowsPath>> = BTreeMap::new();
    let below = |base: &Option<WindowsPath>, relative: &str| {
        let mut path = base.clone()?;
        for part in relative.split('\\') {
            path = path.join(part).ok()?;
        }
        Some(path)
    };
    // bash below System32 starts a distribution of WSL: another machine as far as the boundary goes. So only
    // PowerShell is sought on PATH.
    for (name, base, relative) in [
        ("pwsh", &search.program_files, "PowerShell\\7\\pwsh.exe"),
        (
            "powershell",
            &search.windows,
            "System32\\WindowsPowerShell\\v1.0\\powershell.exe",
        ),
        ("cmd", &search.windows, "System32\\cmd.exe"),
        ("bash", &search.program_files, "Git\\bin\\bash.exe"),
    ] {
        let known = candidates.entry(name).or_default();
        known.extend(below(base, relative));
        for tool in tools.iter().filter(|_| name == "pwsh") {
            known.extend(tool.path.join("pwsh.exe").ok());
        }
    }
    let mut shells = Vec::new();
    for name in ["pwsh", "powershell", "cmd", "bash"] {
        for candidate in candidates.remove(name).unwrap_or_default() {
            if let Some(path) = executable(look, &candidate)? {
                shells.push(Shell {
                    name: name.to_owned(),
                    path,
                });
                break;
            }
        }
    }
    Ok(shells)
}

/// The final path of an executable; none for an alias of the Store.
///
/// # Errors
/// The look-ups'.
fn executable<L: Look>(
    look: &mut L,
    named: &WindowsPath,
) -> Result<Option<WindowsPath>, CallFailure> {
    let Resolution::Drive(end) = resolve(look, named)? else {
        return Ok(None);
    };
    let is_file = end
        .seen
        .as_ref()
        .is_some_and(|seen| seen.kind == ObjectKind::File);
    Ok((is_file && !end.path.has_component("WindowsApps")).then_some(end.path))
}
