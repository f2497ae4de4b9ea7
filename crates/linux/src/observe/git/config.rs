//! What git configuration runs or reads inside a root: system, user and repository files, with their includes.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use ringfence_plan::linux::facts::{BackLink, Entry, GitLayout, GitReference, RootFacts};
use ringfence_plan::linux::git_config::{Bases, Certainty, Content, Lead, Variable, leads, parse};
use ringfence_policy::{AbsolutePath, Policy};
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;

use super::super::error::ObserveError;
use super::super::host::read_at;
use super::super::resolve::{Resolved, look_up, probe_entry};
use super::layout;

/// As deep as git follows includes.
const MAX_DEPTH: usize = 10;

/// Every path in a root that git, started by the person in a repository there, would run or read as configuration.
///
/// # Errors
/// [`ObserveError`]: a configuration file that exists and can't be read might name anything.
pub(in super::super) fn references(
    policy: &Policy,
    home: &Resolved,
    roots: &[RootFacts],
) -> Result<Vec<GitReference>, ObserveError> {
    let tops: Vec<&Path> = roots
        .iter()
        .filter_map(|root| root.object.as_ref())
        .map(|object| object.path.as_path())
        .collect();
    let mut found = BTreeMap::new();
    let global = global_files(&home.path);
    let mut repositories: Vec<(PathBuf, GitLayout)> = roots
        .iter()
        .flat_map(|root| &root.anchors)
        .filter_map(|anchor| Some((anchor.path.as_path().to_owned(), anchor.git.clone()?)))
        .collect();
    for bare in roots.iter().flat_map(|root| &root.bare) {
        // Git started in it has no other top.
        let layout = GitLayout {
            directory: bare.path.clone(),
            common: bare.path.clone(),
            back_link: BackLink::Mutual,
            directories: Vec::new(),
        };
        repositories.push((bare.path.as_path().to_owned(), layout));
    }
    for top in &tops {
        repositories.extend(enclosing(policy, top)?);
    }
    for (top, layout) in &repositories {
        let mut reading = Reading {
            home: &home.path,
            top,
            seen: HashSet::new(),
            leads: Vec::new(),
        };
        for file in &global {
            reading.file(file, MAX_DEPTH)?;
        }
        reading.file(&layout.common.as_path().join("config"), MAX_DEPTH)?;
        reading.file(
            &layout.directory.as_path().join("config.worktree"),
            MAX_DEPTH,
        )?;
        for lead in reading.leads {
            add(lead, &tops, &mut found)?;
        }
    }
    Ok(found.into_values().collect())
}

/// Repositories above a root: their configuration may lead into it.
fn enclosing(policy: &Policy, root: &Path) -> Result<Vec<(PathBuf, GitLayout)>, ObserveError> {
    let mut found = Vec::new();
    for above in root.ancestors().skip(1) {
        let dot_git = above.join(".git");
        if look_up(&dot_git)?.is_none() {
            continue;
        }
        let (_, entry) = probe_entry(&dot_git)?;
        if let Some(layout) = layout(policy, above, &entry)? {
            found.push((above.to_owned(), layout));
        }
    }
    Ok(found)
}

fn global_files(home: &Path) -> [PathBuf; 3] {
    let user = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .unwrap_or_else(|| home.join(".config"));
    [
        PathBuf::from("/etc/gitconfig"),
        user.join("git/config"),
        home.join(".gitconfig"),
    ]
}

fn add(
    lead: Lead,
    roots: &[&Path],
    found: &mut BTreeMap<AbsolutePath, GitReference>,
) -> Result<(), ObserveError> {
    let Ok(named) = AbsolutePath::new(&lead.path) else {
        return Ok(());
    };
    if found.contains_key(&named) {
        return Ok(());
    }
    // A command names many words that are no files: none is looked up that can't lie in a root by its letters,
    // unless a link may lead there.
    let (path, entry) = probe_entry(named.as_path())?;
    let inside = |path: &AbsolutePath| roots.iter().any(|root| path.as_path().starts_with(root));
    let target_inside = match &entry {
        Entry::Symlink { target, .. } => inside(target),
        Entry::Absent
        | Entry::AbsentParent { .. }
        | Entry::File
        | Entry::Directory
        | Entry::Other => false,
    };
    let is_root = roots.iter().any(|root| path.as_path() == *root);
    let counts = match lead.certainty {
        Certainty::Path => !is_root,
        Certainty::IfFile => entry == Entry::File,
    };
    if counts && (inside(&path) || target_inside) {
        found.insert(
            named,
            GitReference {
                key: lead.key,
                path,
                entry,
            },
        );
    }
    Ok(())
}

struct Reading<'a> {
    home: &'a Path,
    top: &'a Path,
    seen: HashSet<PathBuf>,
    leads: Vec<Lead>,
}

impl Reading<'_> {
    fn file(&mut self, file: &Path, depth: usize) -> Result<(), ObserveError> {
        if depth == 0 || !self.seen.insert(file.to_owned()) {
            return Ok(());
        }
        for variable in read(file)? {
            let bases = Bases {
                home: self.home,
                file: file.parent().unwrap_or(Path::new("/")),
                top: self.top,
            };
            for lead in leads(&variable, &bases) {
                if lead.content == Content::Configuration {
                    self.file(&lead.path, depth - 1)?;
                }
                self.leads.push(lead);
            }
        }
        Ok(())
    }
}

fn read(file: &Path) -> Result<Vec<Variable>, ObserveError> {
    match read_at(CWD, file.as_os_str(), OFlags::empty()) {
        Ok(content) => Ok(parse(&content)),
        // Git reads nothing there either.
        Err(
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::ACCESS
            | Errno::ISDIR
            | Errno::LOOP
            | Errno::AGAIN,
        ) => Ok(Vec::new()),
        Err(source) => Err(ObserveError::ReadFile {
            path: file.to_owned(),
            source,
        }),
    }
}
