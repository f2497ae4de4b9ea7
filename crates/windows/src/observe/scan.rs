//! One walk over a root: repositories, names that match patterns, files with a name outside, other volumes.
//!
//! Links are not entered, nor is the inside of `.git`. Invariant: each directory is read at most once, and one that
//! could not be read is reported.

use std::collections::BTreeMap;
use std::path::Path;

use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::FileId;
use ringfence_policy::Policy;
use ringfence_policy::glob::Glob;
use ringfence_policy::policy::{HiddenKind, HiddenPattern};
use ringfence_policy::protected::FILLED;

use super::ObserveError;
use super::look::{Leads, Listed, ListedKind, Look};

/// As many directories as one scan reads.
const MAX_DIRECTORIES: usize = 1_000_000;

/// What every git directory holds at its top, by which git itself knows one.
const BARE: [&str; 3] = ["HEAD", "objects", "refs"];

/// A path in a root that a hidden pattern matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    /// Index of the policy's hidden entry.
    pub(crate) hidden: usize,
    /// The path.
    pub(crate) path: WindowsPath,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Directories with a `.git`, the root's top not among them, sorted.
    pub(crate) repositories: Vec<WindowsPath>,
    /// Git directories without a working tree, sorted.
    pub(crate) bare: Vec<WindowsPath>,
    /// What hidden patterns match.
    pub(crate) matches: Vec<Match>,
    /// Files of which another name lies outside the root, sorted.
    pub(crate) outside_links: Vec<WindowsPath>,
    /// Other volumes that are mounted inside.
    pub(crate) mounts: Vec<WindowsPath>,
    /// Directories that could not be read.
    pub(crate) unread: Vec<WindowsPath>,
}

/// How much of a directory matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// Everything.
    Whole,
    /// Only what the person's own patterns name: tools fill the directory.
    OwnPatterns,
}

/// The policy's patterns, compiled once for all roots.
#[derive(Debug)]
pub(crate) struct Patterns {
    compiled: Vec<Pattern>,
    /// Whether a person wrote one of them.
    has_own: bool,
}

#[derive(Debug)]
struct Pattern {
    hidden: usize,
    kind: HiddenKind,
    glob: NameGlob,
    except: Vec<NameGlob>,
}

impl Patterns {
    /// Compiles the patterns of `policy`.
    ///
    /// # Errors
    /// [`ObserveError::Glob`].
    pub(crate) fn compile(policy: &Policy) -> Result<Self, ObserveError> {
        let mut compiled = Vec::new();
        for (hidden, entry) in policy.filesystem.hidden.iter().enumerate() {
            let HiddenPattern::RootGlob { glob, except } = &entry.pattern else {
                continue;
            };
            compiled.push(Pattern {
                hidden,
                kind: entry.kind,
                glob: NameGlob::new(glob)?,
                except: except
                    .iter()
                    .map(|one| NameGlob::new(one))
                    .collect::<Result<_, _>>()?,
            });
        }
        let has_own = compiled
            .iter()
            .any(|pattern| pattern.kind == HiddenKind::DenyRead);
        Ok(Self { compiled, has_own })
    }

    fn matching<'a>(&'a self, relative: &'a str, depth: Depth) -> impl Iterator<Item = usize> + 'a {
        self.compiled
            .iter()
            .filter(move |pattern| {
                (depth == Depth::Whole || pattern.kind == HiddenKind::DenyRead)
                    && pattern.glob.is_match(relative)
                    && !pattern.except.iter().any(|glob| glob.is_match(relative))
            })
            .map(|pattern| pattern.hidden)
    }
}

/// A glob in the dialect of policies that tells no case apart, as Windows opens names: `.ENV` is a project's `.env`.
#[derive(Debug)]
pub(crate) struct NameGlob(Glob);

impl NameGlob {
    /// Reads `text`.
    ///
    /// # Errors
    /// [`ObserveError::Glob`].
    pub(crate) fn new(text: &str) -> Result<Self, ObserveError> {
        let glob = Glob::new(&text.to_lowercase()).map_err(|source| ObserveError::Glob {
            glob: text.to_owned(),
            source: Box::new(source),
        })?;
        Ok(Self(glob))
    }

    /// Whether `path`, with `/` between names, matches as a whole.
    pub(crate) fn is_match(&self, path: &str) -> bool {
        self.0.is_match(Path::new(&path.to_lowercase()))
    }
}

/// Walks the directory `root`, a final path.
///
/// # Errors
/// [`ObserveError`]: a look-up failed, or there are too many directories.
///
/// # Security
/// Every name below the root is an attacker's.
pub(crate) fn walk<L: Look>(
    look: &mut L,
    root: &WindowsPath,
    patterns: &Patterns,
) -> Result<Found, ObserveError> {
    let mut walk = Walk {
        look,
        root,
        patterns,
        found: Found::default(),
        links: BTreeMap::new(),
        left: vec![(root.clone(), String::new(), Depth::Whole)],
        read: 0,
    };
    while let Some((directory, relative, depth)) = walk.left.pop() {
        walk.directory(&directory, &relative, depth)?;
    }
    walk.finish()
}

struct Walk<'a, L> {
    look: &'a mut L,
    root: &'a WindowsPath,
    patterns: &'a Patterns,
    found: Found,
    /// Files with more than one name: how many they have, and those found inside.
    links: BTreeMap<FileId, (u32, Vec<WindowsPath>)>,
    left: Vec<(WindowsPath, String, Depth)>,
    read: usize,
}

impl<L: Look> Walk<'_, L> {
    fn directory(
        &mut self,
        directory: &WindowsPath,
        relative: &str,
        depth: Depth,
    ) -> Result<(), ObserveError> {
        self.read += 1;
        if self.read > MAX_DIRECTORIES {
            return Err(ObserveError::TooManyDirectories {
                root: self.root.clone(),
                limit: MAX_DIRECTORIES,
            });
        }
        let Some(names) = self.look.list(directory)? else {
            self.found.unread.push(directory.clone());
            return Ok(());
        };
        let mut parts = 0;
        for listed in names {
            let name = listed.name.to_string();
            if same(&name, ".git") {
                if depth == Depth::Whole && directory != self.root {
                    self.found.repositories.push(directory.clone());
                }
                continue;
            }
            if depth == Depth::Whole && BARE.iter().any(|part| same(&name, part)) {
                parts += 1;
            }
            self.entry(directory, relative, &listed, depth)?;
        }
        if parts == BARE.len() {
            self.found.bare.push(directory.clone());
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: &WindowsPath,
        relative: &str,
        listed: &Listed,
        depth: Depth,
    ) -> Result<(), ObserveError> {
        let Ok(path) = directory.join_observed(&listed.name) else {
            // A name that no path of ours can spell: nothing of it can be held, so it is said.
            self.found.unread.push(directory.clone());
            return Ok(());
        };
        let name = path.name().unwrap_or_default();
        let relative = if relative.is_empty() {
            name.to_owned()
        } else {
            format!("{relative}/{name}")
        };
        let before = self.found.matches.len();
        for hidden in self.patterns.matching(&relative, depth) {
            self.found.matches.push(Match {
                hidden,
                path: path.clone(),
            });
        }
        let is_hidden = self.found.matches.len() > before;
        match listed.kind {
            ListedKind::Directory => {
                let is_filled = FILLED.iter().any(|filled| same(name, filled));
                if !is_hidden && (self.patterns.has_own || !is_filled) {
                    let depth = if is_filled { Depth::OwnPatterns } else { depth };
                    self.left.push((path, relative, depth));
                }
            }
            ListedKind::File if depth == Depth::Whole => self.file(&path)?,
            ListedKind::File => {}
            ListedKind::Link => self.link(&path)?,
        }
        Ok(())
    }

    fn file(&mut self, path: &WindowsPath) -> Result<(), ObserveError> {
        if let Some(seen) = self.look.look(path)?.filter(|seen| seen.links > 1) {
            self.links
                .entry(seen.id)
                .or_insert_with(|| (seen.links, Vec::new()))
                .1
                .push(path.clone());
        }
        Ok(())
    }

    fn link(&mut self, path: &WindowsPath) -> Result<(), ObserveError> {
        if let Some(seen) = self.look.look(path)?
            && seen.leads == Some(Leads::Volume)
        {
            self.found.mounts.push(path.clone());
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Found, ObserveError> {
        for (names, found) in self.links.into_values() {
            if u32::try_from(found.len()).is_ok_and(|count| count >= names) {
                continue;
            }
            // Directories that tools fill are not read for links: the names themselves are asked.
            let all = match found.first() {
                Some(first) => self.look.names(first)?,
                None => Vec::new(),
            };
            let is_outside = |name: &Option<WindowsPath>| {
                name.as_ref().is_none_or(|name| !name.is_below(self.root))
            };
            if all.iter().any(is_outside) || all.is_empty() {
                self.found.outside_links.extend(found);
            }
        }
        let found = &mut self.found;
        found.outside_links.sort_unstable();
        found.repositories.sort_unstable();
        found.repositories.dedup();
        found.bare.sort_unstable();
        found.mounts.sort_unstable();
        found.unread.sort_unstable();
        found.unread.dedup();
        found
            .matches
            .sort_by(|a, b| (&a.path, a.hidden).cmp(&(&b.path, b.hidden)));
        Ok(self.found)
    }
}

fn same(left: &str, right: &str) -> bool {
    ringfence_plan::windows::path::same_name(left, right)
}
