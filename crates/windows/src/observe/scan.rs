//! One walk over a root: repositories, names that match patterns, files with a name outside, other volumes.
//!
//! Links are not entered, nor is the inside of `.git`. Where it is known what has changed since an earlier walk, only
//! that is read. Invariant: each directory is read at most once, and one that could not be read is reported.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::step::FileId;
use ringfence_policy::Policy;
use ringfence_policy::glob::Glob;
use ringfence_policy::policy::{HiddenKind, HiddenPattern};
use ringfence_policy::protected::FILLED;
use serde::{Deserialize, Serialize};

use super::ObserveError;
use super::look::{Changes, Leads, Listed, ListedKind, Look};

/// As many directories as one scan reads.
pub(crate) const MAX_DIRECTORIES: usize = 1_000_000;

/// What every git directory holds at its top, by which git itself knows one.
const BARE: [&str; 3] = ["HEAD", "objects", "refs"];

/// A path in a root that a hidden pattern matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Match {
    /// Index of the policy's hidden entry.
    pub(crate) hidden: usize,
    /// The path.
    pub(crate) path: WindowsPath,
}

/// What a walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// Whether what lies in the directories of a directory is read too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Tree,
    Itself,
}

/// A directory that is to be read.
struct Due {
    directory: WindowsPath,
    /// Its path from the root, with `/` between names.
    relative: String,
    depth: Depth,
    extent: Extent,
}

/// The policy's patterns, compiled once for all roots.
#[derive(Debug)]
pub(crate) struct Patterns {
    compiled: Vec<Pattern>,
    /// What they were compiled from: scans of the same text found the same.
    text: String,
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
        let mut text = String::new();
        for (hidden, entry) in policy.filesystem.hidden.iter().enumerate() {
            let HiddenPattern::RootGlob { glob, except } = &entry.pattern else {
                continue;
            };
            let _ = writeln!(text, "{hidden} {:?} {glob:?} {except:?}", entry.kind);
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
        Ok(Self {
            compiled,
            text,
            has_own,
        })
    }

    /// What tells these patterns from others.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// How a walk of `root` comes to `directory` in it; `None` where it does not.
    fn way(&self, root: &WindowsPath, directory: &WindowsPath) -> Option<(String, Depth)> {
        let (mut relative, mut depth) = (String::new(), Depth::Whole);
        if !directory.starts_with(root) {
            return None;
        }
        for name in directory.components().iter().skip(root.components().len()) {
            if same(name, ".git") {
                return None;
            }
            if !relative.is_empty() {
                relative.push('/');
            }
            relative.push_str(name);
            if self.matching(&relative, depth).next().is_some() {
                return None;
            }
            if FILLED.iter().any(|filled| same(name, filled)) {
                if !self.has_own {
                    return None;
                }
                depth = Depth::OwnPatterns;
            }
        }
        Some((relative, depth))
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
    let all = Due {
        directory: root.clone(),
        relative: String::new(),
        depth: Depth::Whole,
        extent: Extent::Tree,
    };
    Walk::begin(look, (root, patterns), Found::default()).run(vec![all])
}

/// What a walk of `root` would find now, by what one has found before and what has changed since.
///
/// # Errors
/// As [`walk`].
///
/// # Security
/// As [`walk`]: what is found anew is looked at, and what was found before and is gone is left out.
pub(crate) fn walk_changes<L: Look>(
    look: &mut L,
    root: &WindowsPath,
    patterns: &Patterns,
    before: Found,
    changes: &Changes,
) -> Result<Found, ObserveError> {
    let is_moved =
        |path: &WindowsPath| path.ancestors().any(|above| changes.moved.contains(&above));
    let kept = before.without(changes).still_there(look)?;
    let moved = changes.moved.iter();
    // One that moved with another is walked with it.
    let trees = moved.filter(|path| !is_moved(path));
    let trees = trees.map(|path| (path, Extent::Tree));
    let single = changes.directories.iter();
    let single = single.filter(|path| !changes.moved.contains(path) && !is_moved(path));
    let single = single.map(|path| (path, Extent::Itself));
    let due = trees.chain(single).filter_map(|(path, extent)| {
        let (relative, depth) = patterns.way(root, path)?;
        Some(Due {
            directory: path.clone(),
            relative,
            depth,
            extent,
        })
    });
    let due = due.collect();
    Walk::begin(look, (root, patterns), kept).run(due)
}

impl Found {
    /// What is not in a directory that has changed.
    fn without(mut self, changes: &Changes) -> Self {
        let is_kept = |directory: &WindowsPath| {
            !changes.directories.contains(directory)
                && !changes.moved.contains(directory)
                && !directory
                    .ancestors()
                    .any(|above| changes.moved.contains(&above))
        };
        let is_kept_in = |path: &WindowsPath| path.parent().is_none_or(|above| is_kept(&above));
        self.repositories.retain(is_kept);
        self.bare.retain(is_kept);
        self.matches.retain(|found| is_kept_in(&found.path));
        self.outside_links.retain(is_kept_in);
        self.mounts.retain(is_kept_in);
        self
    }

    /// What is still there: each by its name.
    fn still_there<L: Look>(self, look: &mut L) -> Result<Self, ObserveError> {
        let mut kept = Self::default();
        for path in self.repositories {
            if named(look, &path, ".git")? {
                kept.repositories.push(path);
            }
        }
        for path in self.bare {
            let mut is_whole = true;
            for part in BARE {
                is_whole &= named(look, &path, part)?;
            }
            if is_whole {
                kept.bare.push(path);
            }
        }
        for found in self.matches {
            if look.look(&found.path)?.is_some() {
                kept.matches.push(found);
            }
        }
        for path in self.outside_links {
            if look.look(&path)?.is_some_and(|seen| seen.links > 1) {
                kept.outside_links.push(path);
            }
        }
        for path in self.mounts {
            if look
                .look(&path)?
                .is_some_and(|seen| seen.leads == Some(Leads::Volume))
            {
                kept.mounts.push(path);
            }
        }
        Ok(kept)
    }
}

fn named<L: Look>(look: &mut L, directory: &WindowsPath, name: &str) -> Result<bool, ObserveError> {
    match directory.join(name) {
        Ok(path) => Ok(look.look(&path)?.is_some()),
        Err(_) => Ok(false),
    }
}

struct Walk<'a, L> {
    look: &'a mut L,
    root: &'a WindowsPath,
    patterns: &'a Patterns,
    found: Found,
    /// Files with more than one name: how many they have, and those found inside.
    links: BTreeMap<FileId, (u32, Vec<WindowsPath>)>,
    left: Vec<Due>,
    read: usize,
}

impl<'a, L: Look> Walk<'a, L> {
    const fn begin(
        look: &'a mut L,
        (root, patterns): (&'a WindowsPath, &'a Patterns),
        found: Found,
    ) -> Self {
        Self {
            look,
            root,
            patterns,
            found,
            links: BTreeMap::new(),
            left: Vec::new(),
            read: 0,
        }
    }

    fn run(mut self, due: Vec<Due>) -> Result<Found, ObserveError> {
        self.left = due;
        while let Some(due) = self.left.pop() {
            self.directory(&due)?;
        }
        self.finish()
    }

    fn directory(&mut self, due: &Due) -> Result<(), ObserveError> {
        let (directory, depth) = (&due.directory, due.depth);
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
                // A file that leads to a repository may have another name outside, as any file.
                if depth == Depth::Whole
                    && listed.kind == ListedKind::File
                    && let Ok(path) = directory.join_observed(&listed.name)
                {
                    self.file(&path)?;
                }
                continue;
            }
            if depth == Depth::Whole && BARE.iter().any(|part| same(&name, part)) {
                parts += 1;
            }
            self.entry(due, &listed)?;
        }
        if parts == BARE.len() {
            self.found.bare.push(directory.clone());
        }
        Ok(())
    }

    fn entry(&mut self, due: &Due, listed: &Listed) -> Result<(), ObserveError> {
        let (directory, depth) = (&due.directory, due.depth);
        let Ok(path) = directory.join_observed(&listed.name) else {
            // A name that no path of ours can spell: nothing of it can be held, so it is said.
            self.found.unread.push(directory.clone());
            return Ok(());
        };
        let name = path.name().unwrap_or_default();
        let relative = if due.relative.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", due.relative)
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
            ListedKind::Directory if due.extent == Extent::Itself => {}
            ListedKind::Directory => {
                let is_filled = FILLED.iter().any(|filled| same(name, filled));
                if !is_hidden && (self.patterns.has_own || !is_filled) {
                    let depth = if is_filled { Depth::OwnPatterns } else { depth };
                    self.left.push(Due {
                        directory: path,
                        relative,
                        depth,
                        extent: Extent::Tree,
                    });
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
        found.bare.dedup();
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
