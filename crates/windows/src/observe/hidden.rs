//! What the policy's hidden paths and patterns match on this machine.

use ringfence_plan::layout::{Child, Entry, HiddenFact, Kind};
use ringfence_plan::windows::WindowsPath;
use ringfence_policy::Policy;
use ringfence_policy::policy::{HiddenPath, HiddenPattern};

use super::ObserveError;
use super::look::Look;
use super::resolve::probe_or_absent;
use super::scan::{Match, NameGlob};

/// Looks every hidden path up, expands globs with a fixed directory, and adds what the scan of the roots matched.
///
/// # Errors
/// [`ObserveError`].
pub(crate) fn observe<L: Look>(
    look: &mut L,
    policy: &Policy,
    matches: &[Match],
) -> Result<Vec<HiddenFact<WindowsPath>>, ObserveError> {
    let mut facts = Vec::new();
    for hidden in &policy.filesystem.hidden {
        match &hidden.pattern {
            HiddenPattern::Path(path) => {
                // What is on no drive of this machine can be neither read nor held here.
                if let Ok(path) = WindowsPath::from_policy(path) {
                    facts.push(fact(look, hidden, &path)?);
                }
            }
            HiddenPattern::HomeGlob(pattern) => {
                for path in expand(look, pattern)? {
                    facts.push(fact(look, hidden, &path)?);
                }
            }
            HiddenPattern::RootGlob { .. } => {}
        }
    }
    for found in matches {
        if let Some(hidden) = policy.filesystem.hidden.get(found.hidden) {
            facts.push(fact(look, hidden, &found.path)?);
        }
    }
    Ok(facts)
}

fn fact<L: Look>(
    look: &mut L,
    hidden: &HiddenPath,
    path: &WindowsPath,
) -> Result<HiddenFact<WindowsPath>, ObserveError> {
    let (path, entry) = probe_or_absent(look, path)?;
    let mut shown = Vec::new();
    if entry == Entry::Directory {
        for except in &hidden.except {
            let Ok(except) = WindowsPath::from_policy(except) else {
                continue;
            };
            let (except, found) = probe_or_absent(look, &except)?;
            let kind = match found {
                Entry::File => Kind::File,
                Entry::Directory => Kind::Directory,
                // A link in a hidden directory may lead to any other part of it: it stays hidden.
                Entry::Absent
                | Entry::AbsentParent { .. }
                | Entry::Other
                | Entry::Symlink { .. } => continue,
            };
            if except.is_below(&path) {
                shown.push(Child { path: except, kind });
            }
        }
    }
    Ok(HiddenFact {
        name: hidden.name.clone(),
        path,
        entry,
        shown,
        masked: Vec::new(),
    })
}

/// Every path that an absolute glob matches. A component matches within one directory; `**` is not expanded here.
fn expand<L: Look>(look: &mut L, pattern: &str) -> Result<Vec<WindowsPath>, ObserveError> {
    // `/C:/Users/…` on other systems, `C:\Users\…` or `C:/Users/…` on Windows.
    let plain = pattern.replace('\\', "/");
    let plain = plain.trim_start_matches('/');
    let mut parts = plain.split('/').filter(|part| !part.is_empty());
    let drive = parts.next().unwrap_or_default();
    let Ok(root) = WindowsPath::parse(&format!("{drive}\\")) else {
        return Ok(Vec::new());
    };
    let mut found = vec![root];
    for part in parts {
        if !part.contains(['*', '?', '[', '{']) {
            found = found
                .into_iter()
                .filter_map(|path| path.join(part).ok())
                .collect();
            continue;
        }
        let matcher = NameGlob::new(part)?;
        let mut next = Vec::new();
        for directory in found {
            // Absent, unreadable or no directory: there is nothing that the target could read either.
            for listed in look.list(&directory)?.unwrap_or_default() {
                let Ok(path) = directory.join_observed(&listed.name) else {
                    continue;
                };
                if matcher.is_match(path.name().unwrap_or_default()) {
                    next.push(path);
                }
            }
        }
        found = next;
    }
    found.sort_unstable();
    Ok(found)
}
