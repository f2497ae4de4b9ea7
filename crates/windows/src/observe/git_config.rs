//! What git configuration runs or reads inside a root: system, user and repository files, with their includes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ringfence_backend::call::CallFailure;
use ringfence_plan::layout::{BackLink, Entry, GitLayout, GitReference};
use ringfence_plan::linux::git_config::{Bases, Certainty, Content, Lead, Variable, leads, parse};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::facts::{GitIdentity, Reached, WindowsRoot};
use ringfence_policy::Policy;

use super::git_layout::{layout, read_following};
use super::git_paths::{meanings, slashed};
use super::look::Look;
use super::resolve::probe_or_absent;

/// As deep as git follows includes.
const MAX_DEPTH: usize = 10;

/// Every path in a root that git, started by the person in a repository there, would run or read as configuration.
///
/// `global` are the files that hold for every repository, the system's first.
///
/// # Errors
/// The look-ups'.
pub(crate) fn references<L: Look>(
    look: &mut L,
    policy: &Policy,
    home: &WindowsPath,
    global: &[WindowsPath],
    roots: &[WindowsRoot],
) -> Result<Vec<GitReference<WindowsPath>>, CallFailure> {
    let tops: Vec<&WindowsPath> = roots
        .iter()
        .filter_map(|root| match &root.reached {
            Reached::Directory { path } => Some(path),
            Reached::Absent | Reached::File | Reached::Elsewhere { .. } => None,
        })
        .collect();
    let mut found = BTreeMap::new();
    for (top, layout) in repositories(look, policy, roots, &tops)? {
        let mut reading = Reading {
            look: &mut *look,
            home,
            top: &top,
            seen: BTreeSet::new(),
            leads: Vec::new(),
        };
        for file in global {
            reading.file(file, MAX_DEPTH)?;
        }
        for file in [
            layout.common.join("config"),
            layout.directory.join("config.worktree"),
        ]
        .into_iter()
        .flatten()
        {
            reading.file(&file, MAX_DEPTH)?;
        }
        for lead in reading.leads {
            add(look, &lead, &tops, &mut found)?;
        }
    }
    Ok(found.into_values().collect())
}

type Repositories = Vec<(WindowsPath, GitLayout<WindowsPath>)>;

/// The repositories in the roots and above them: their configuration may lead into a root.
fn repositories<L: Look>(
    look: &mut L,
    policy: &Policy,
    roots: &[WindowsRoot],
    tops: &[&WindowsPath],
) -> Result<Repositories, CallFailure> {
    let mut repositories: Repositories = roots
        .iter()
        .flat_map(|root| &root.anchors)
        .filter_map(|anchor| Some((anchor.path.clone(), anchor.git.clone()?)))
        .collect();
    for bare in roots.iter().flat_map(|root| &root.bare) {
        // Git started in it has no other top.
        let layout = GitLayout {
            directory: bare.path.clone(),
            common: bare.path.clone(),
            back_link: BackLink::Mutual,
            directories: Vec::new(),
        };
        repositories.push((bare.path.clone(), layout));
    }
    for above in tops.iter().flat_map(|top| top.ancestors()) {
        let Ok(dot_git) = above.join(".git") else {
            continue;
        };
        let (_, entry) = probe_or_absent(look, &dot_git)?;
        if let Some(layout) = layout(look, policy, &above, &entry)? {
            repositories.push((above, layout));
        }
    }
    Ok(repositories)
}

fn add<L: Look>(
    look: &mut L,
    lead: &Lead,
    roots: &[&WindowsPath],
    found: &mut BTreeMap<WindowsPath, GitReference<WindowsPath>>,
) -> Result<(), CallFailure> {
    for named in meanings(&lead.path) {
        add_one(look, lead, named, roots, found)?;
    }
    Ok(())
}

fn add_one<L: Look>(
    look: &mut L,
    lead: &Lead,
    named: WindowsPath,
    roots: &[&WindowsPath],
    found: &mut BTreeMap<WindowsPath, GitReference<WindowsPath>>,
) -> Result<(), CallFailure> {
    if found.contains_key(&named) {
        return Ok(());
    }
    let (path, entry) = probe_or_absent(look, &named)?;
    let inside = |path: &WindowsPath| roots.iter().any(|root| path.starts_with(root));
    let target_inside = match &entry {
        Entry::Symlink { target, .. } => inside(target),
        Entry::Absent
        | Entry::AbsentParent { .. }
        | Entry::File
        | Entry::Directory
        | Entry::Other => false,
    };
    let counts = match lead.certainty {
        Certainty::Path => !roots.contains(&&path),
        Certainty::IfFile => entry == Entry::File,
    };
    if counts && (inside(&path) || target_inside) {
        found.insert(
            named,
            GitReference {
                key: lead.key.clone(),
                path,
                entry,
            },
        );
    }
    Ok(())
}

struct Reading<'a, L> {
    look: &'a mut L,
    home: &'a WindowsPath,
    top: &'a WindowsPath,
    seen: BTreeSet<WindowsPath>,
    leads: Vec<Lead>,
}

impl<L: Look> Reading<'_, L> {
    fn file(&mut self, file: &WindowsPath, depth: usize) -> Result<(), CallFailure> {
        if depth == 0 || !self.seen.insert(file.clone()) {
            return Ok(());
        }
        let directory = file.parent().unwrap_or_else(|| file.clone());
        let (home, directory, top) = (slashed(self.home), slashed(&directory), slashed(self.top));
        for variable in variables(self.look, file)? {
            let bases = Bases {
                home: Path::new(&home),
                file: Path::new(&directory),
                top: Path::new(&top),
            };
            for lead in leads(&variable, &bases) {
                if lead.content == Content::Configuration {
                    for path in meanings(&lead.path) {
                        self.file(&path, depth - 1)?;
                    }
                }
                self.leads.push(lead);
            }
        }
        Ok(())
    }
}

fn variables<L: Look>(look: &mut L, file: &WindowsPath) -> Result<Vec<Variable>, CallFailure> {
    // What can't be read, git reads neither.
    let content = read_following(look, file)?;
    Ok(content.map_or_else(Vec::new, |content| parse(&content)))
}

/// `user.name` and `user.email` of the person's own files; the last one counts, as git has it.
///
/// # Errors
/// The look-ups'.
pub(crate) fn identity<L: Look>(
    look: &mut L,
    global: &[WindowsPath],
) -> Result<Option<GitIdentity>, CallFailure> {
    let (mut name, mut email) = (None, None);
    for file in global {
        for variable in variables(look, file)? {
            if variable.section != "user" || variable.subsection.is_some() {
                continue;
            }
            let value = variable
                .value
                .and_then(|value| String::from_utf8(value).ok());
            match variable.name.as_str() {
                "name" => name = value,
                "email" => email = value,
                _ => {}
            }
        }
    }
    Ok(name
        .zip(email)
        .map(|(name, email)| GitIdentity { name, email }))
}
