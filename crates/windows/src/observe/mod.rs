//! Gathers the facts that a plan depends on, read only, with the person's own rights.
//!
//! What is asked of files goes through [`Look`]; what is asked of the machine comes as [`Surroundings`], which
//! [`machine`] gathers on Windows. So the whole can be tried on a simulated file system. Every path below a root is
//! an attacker's: no link is followed but by [`resolve`], which tells it.
//!
//! Invariant: what could not be looked at is in the facts or in the error, never taken for absent.

mod astray;
#[cfg(windows)]
mod changes;
#[cfg(windows)]
pub mod disk;
mod git;
mod git_paths;
mod hidden;
pub mod kept;
pub mod look;
#[cfg(windows)]
pub mod machine;
mod objects;
#[cfg(any(windows, test))]
mod ports;
mod resolve;
mod scan;
mod ssh;
mod tools;
#[cfg(windows)]
pub mod write_class;

use std::collections::BTreeSet;
use std::path::PathBuf;

use ringfence_backend::call::CallFailure;
use ringfence_backend::session::Cause;
use ringfence_nt::WriteClass;
use ringfence_plan::git::{Root, bare, layout, references};
use ringfence_plan::layout::{Anchor, Entry, GitReference, HiddenFact, NameFact};
use ringfence_plan::windows::facts::{
    Capability, Filtering, FirewallPolicy, Installed, LiveSession, Machine, Person, Place,
    PlaceName, Ports, Reached, Volume, WindowsFacts, WindowsRoot,
};
use ringfence_plan::windows::{WindowsPath, WindowsPathError, closed_paths};
use ringfence_policy::{AbsolutePath, Policy};

use git::Seen;
use git_paths::slashed;
use kept::{NoScans, Scanned, Scans};
pub use look::Look;
use resolve::{Resolution, kind_elsewhere, probe_or_absent, resolve};
use scan::{Match, Patterns};
pub use tools::Search;

/// Why the machine could not be examined.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// A look-up failed.
    #[error("a call to the system failed")]
    Look(#[from] CallFailure),
    /// A pattern of the policy can't be used.
    #[error("the pattern `{glob}` can't be used")]
    Glob {
        /// The pattern.
        glob: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A root is too large.
    #[error("`{}` holds more than {limit} directories; name a smaller workspace", .root.printable())]
    TooManyDirectories {
        /// The root.
        root: WindowsPath,
        /// The limit.
        limit: usize,
    },
    /// A path of the machine is none that a plan can hold.
    #[error("`{path}` is no path on a drive of this machine")]
    Path {
        /// The path, escaped.
        path: String,
        /// Why.
        #[source]
        source: WindowsPathError,
    },
}

/// What is asked of the machine, not of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The machine.
    pub machine: Machine,
    /// Who asks; their git identity is looked up.
    pub person: Person,
    /// Mounted volumes, and drive letters that are none.
    pub volumes: Vec<Volume>,
    /// Directories with a meaning, as the system names them.
    pub places: Vec<(PlaceName, WindowsPath)>,
    /// What an earlier set-up has left.
    pub installed: Installed,
    /// What the second pass of a write-restricted token covers, where it could be measured.
    pub write_class: Option<WriteClass>,
    /// Whether local firewall rules take effect.
    pub firewall: FirewallPolicy,
    /// What was seen of copied tokens at the network filters.
    pub filtering: Filtering,
    /// TCP ports.
    pub ports: Ports,
    /// The person's Ringfence directory.
    pub state: WindowsPath,
    /// Git's configuration files that hold for every repository, the system's first.
    pub git_global: Vec<WindowsPath>,
    /// Where tools are sought.
    pub search: Search,
    /// Capability SIDs that have been given out.
    pub capabilities: Vec<Capability>,
    /// Sessions that are alive.
    pub sessions: Vec<LiveSession>,
}

/// Gathers the facts for `policy`.
///
/// # Errors
/// [`ObserveError`], naming the object that could not be looked at.
pub fn observe<L: Look>(
    look: &mut L,
    policy: &Policy,
    surroundings: Surroundings,
) -> Result<WindowsFacts, ObserveError> {
    observe_keeping(look, &mut NoScans, policy, surroundings)
}

/// [`observe`], with what is kept of earlier walks: no root is walked of which the volume's journal tells what changed.
///
/// # Errors
/// As [`observe`].
pub fn observe_keeping<L: Look>(
    look: &mut L,
    scans: &mut dyn Scans,
    policy: &Policy,
    surroundings: Surroundings,
) -> Result<WindowsFacts, ObserveError> {
    let home = surroundings.person.profile.clone();
    let git_global = surroundings.git_global.clone();
    let search = surroundings.search.clone();
    let mut matches = Vec::new();
    let roots = roots(look, scans, policy, &mut matches)?;
    let (roots, scanned): (Vec<_>, Vec<_>) = roots.into_iter().unzip();
    let mut facts = unlooked(look, surroundings, roots)?;
    facts.hidden = hidden::observe(look, policy, &matches)?;
    facts.git_references = git_references(look, policy, &home, &git_global, &facts.roots)?;
    facts.tools = tools::directories(look, &search)?;
    facts.shells = tools::shells(look, &search, &facts.tools)?;
    facts.shared_places = objects::shared_places(look, &facts)?;
    strays(look, scans, policy, &mut facts, scanned)?;
    facts.objects = objects::observe(look, &facts)?;
    Ok(facts)
}

/// Looks for strays in what the policy closes, and keeps what the walks have found.
fn strays<L: Look>(
    look: &mut L,
    scans: &mut dyn Scans,
    policy: &Policy,
    facts: &mut WindowsFacts,
    scanned: Vec<Option<Scanned>>,
) -> Result<(), ObserveError> {
    let closed = closed_paths(policy, facts);
    let tops: BTreeSet<WindowsPath> = facts.roots.iter().filter_map(WindowsRoot::path).collect();
    for (index, scan) in scanned.into_iter().enumerate() {
        let Some(scan) = scan else { continue };
        let of_root = closed.iter().filter(|path| path.is_below(scan.root()));
        let closed = astray::Closed {
            paths: of_root.cloned().collect(),
            roots: &tops,
        };
        let strays = astray::find(look, &scan, &closed)?;
        if let Some(root) = facts.roots.get_mut(index) {
            root.astray = strays.found.iter().cloned().collect();
            root.unread.extend(strays.unread.iter().cloned());
        }
        scan.keep(scans, closed.paths, strays);
    }
    Ok(())
}

/// What decides whether `directory` can be a writable root beside those of `policy`: it is the last root of these facts,
/// and nothing in any root is looked at but a `.ssh` in `directory` itself.
///
/// # Errors
/// [`ObserveError`], naming the object that could not be looked at.
pub fn observe_root<L: Look>(
    look: &mut L,
    policy: &Policy,
    surroundings: Surroundings,
    directory: &AbsolutePath,
) -> Result<WindowsFacts, ObserveError> {
    let roots = named_roots(policy)
        .chain([directory])
        .map(|named| reached(look, named))
        .collect::<Result<Vec<_>, _>>()?;
    let keys = match roots.last().map(|root| &root.reached) {
        Some(Reached::Directory { path }) => path.join(".ssh").ok(),
        Some(Reached::Absent | Reached::File | Reached::Elsewhere { .. }) | None => None,
    };
    let mut facts = unlooked(look, surroundings, roots)?;
    if let Some(path) = keys {
        let (path, entry) = probe_or_absent(look, &path)?;
        facts.hidden.push(HiddenFact {
            name: ".ssh".to_owned(),
            path,
            entry,
            shown: Vec::new(),
            masked: Vec::new(),
        });
    }
    facts.objects = objects::observe(look, &facts)?;
    Ok(facts)
}

/// The facts of the surroundings and of `roots`, before the rest is looked at.
fn unlooked<L: Look>(
    look: &mut L,
    surroundings: Surroundings,
    roots: Vec<WindowsRoot>,
) -> Result<WindowsFacts, ObserveError> {
    let Surroundings {
        machine,
        mut person,
        volumes,
        places,
        installed,
        write_class,
        firewall,
        filtering,
        ports,
        state,
        git_global,
        search: _,
        capabilities,
        sessions,
    } = surroundings;
    let home = person.profile.clone();
    person.git_identity = git::identity(look, &git_global)?;
    Ok(WindowsFacts {
        machine,
        person,
        volumes,
        places: self::places(look, places)?,
        installed,
        write_class,
        firewall,
        links: None,
        filtering,
        ports,
        state: final_path(look, &state)?,
        hidden: Vec::new(),
        ssh_names: ssh::names(look, &home)?,
        git_references: Vec::new(),
        roots,
        shells: Vec::new(),
        tools: Vec::new(),
        shared_places: Vec::new(),
        objects: Vec::new(),
        capabilities,
        sessions,
    })
}

/// The final path; what does not exist is appended as it was named.
fn final_path<L: Look>(look: &mut L, named: &WindowsPath) -> Result<WindowsPath, ObserveError> {
    let end = resolve(look, named)?.on_drive();
    Ok(end.map_or_else(|| named.clone(), |end| end.path))
}

fn places<L: Look>(
    look: &mut L,
    named: Vec<(PlaceName, WindowsPath)>,
) -> Result<Vec<Place>, ObserveError> {
    let mut places: Vec<Place> = Vec::new();
    for (name, path) in named {
        let place = match resolve(look, &path)?.on_drive() {
            Some(end) => Place {
                name,
                path: end.path,
                id: end.seen.map(|seen| seen.id),
            },
            // On a share: no root is there, and the refuse list still knows it by its letters.
            None => Place {
                name,
                path,
                id: None,
            },
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    Ok(places)
}

/// The workspace, then the policy's writable roots in its order.
fn roots<L: Look>(
    look: &mut L,
    scans: &mut dyn Scans,
    policy: &Policy,
    matches: &mut Vec<Match>,
) -> Result<Vec<(WindowsRoot, Option<Scanned>)>, ObserveError> {
    let patterns = Patterns::compile(policy)?;
    named_roots(policy)
        .map(|named| {
            let (root, scan) = root(look, (scans, &patterns), policy, named)?;
            let found = scan.iter().flat_map(|scan| &scan.found().matches);
            matches.extend(found.cloned());
            Ok((root, scan))
        })
        .collect()
}

fn named_roots(policy: &Policy) -> impl Iterator<Item = &AbsolutePath> {
    let more = policy.filesystem.writable_roots.iter();
    std::iter::once(&policy.workspace).chain(more.map(|root| &root.value))
}

/// What `named` leads to; nothing in it is looked at.
fn reached<L: Look>(look: &mut L, named: &AbsolutePath) -> Result<WindowsRoot, ObserveError> {
    let mut fact = WindowsRoot {
        named: spelt(named),
        reached: Reached::Absent,
        links: Vec::new(),
        anchors: Vec::new(),
        bare: Vec::new(),
        mounts: Vec::new(),
        outside_links: Vec::new(),
        astray: Vec::new(),
        unread: Vec::new(),
    };
    let Ok(path) = WindowsPath::from_policy(named) else {
        let (path, what) = match look.elsewhere(&fact.named)? {
            Some(elsewhere) => elsewhere,
            None => (fact.named.clone(), kind_elsewhere(&fact.named)),
        };
        fact.reached = Reached::Elsewhere { path, what };
        return Ok(fact);
    };
    fact.named = path.to_string();
    match resolve(look, &path)? {
        Resolution::Drive(end) => {
            fact.links.clone_from(&end.links);
            fact.reached = match (&end.seen, end.is_directory()) {
                (None, _) => Reached::Absent,
                (Some(_), false) => Reached::File,
                (Some(_), true) => Reached::Directory { path: end.path },
            };
        }
        Resolution::Elsewhere((path, what), links) => {
            fact.links = links;
            fact.reached = Reached::Elsewhere { path, what };
        }
    }
    Ok(fact)
}

fn root<L: Look>(
    look: &mut L,
    (scans, patterns): (&mut dyn Scans, &Patterns),
    policy: &Policy,
    named: &AbsolutePath,
) -> Result<(WindowsRoot, Option<Scanned>), ObserveError> {
    let mut fact = reached(look, named)?;
    let Reached::Directory { path: top } = fact.reached.clone() else {
        return Ok((fact, None));
    };
    fact.anchors.push(anchor(look, policy, &top)?);
    // What no plan accepts is not walked to find that out.
    let is_refused = top.is_drive_root() || policy.home == *named;
    if is_refused {
        fact.unread.push(top);
        return Ok((fact, None));
    }
    let scan = kept::find(look, scans, &top, patterns)?;
    let found = scan.found();
    for repository in &found.repositories {
        fact.anchors.push(anchor(look, policy, repository)?);
    }
    for directory in &found.bare {
        fact.bare.push(bare(&mut Seen(look), directory)?);
    }
    fact.mounts.clone_from(&found.mounts);
    fact.outside_links.clone_from(&found.outside_links);
    fact.unread.clone_from(&found.unread);
    Ok((fact, Some(scan)))
}

/// What git configuration leads to in the roots.
fn git_references<L: Look>(
    look: &mut L,
    policy: &Policy,
    home: &WindowsPath,
    global: &[WindowsPath],
    roots: &[WindowsRoot],
) -> Result<Vec<GitReference<WindowsPath>>, CallFailure> {
    let roots: Vec<_> = roots
        .iter()
        .map(|root| Root {
            top: match &root.reached {
                Reached::Directory { path } => Some(path),
                Reached::Absent | Reached::File | Reached::Elsewhere { .. } => None,
            },
            anchors: &root.anchors,
            bare: &root.bare,
        })
        .collect();
    let global: Vec<PathBuf> = global.iter().map(|file| slashed(file).into()).collect();
    references(&mut Seen(look), policy, home, &global, &roots)
}

/// The Windows spelling of a path that a policy names.
fn spelt(path: &AbsolutePath) -> String {
    let text = path.as_path().to_string_lossy();
    match text.strip_prefix('/') {
        Some(below) => match below.strip_prefix("UNC/") {
            Some(share) => format!("\\\\{}", share.replace('/', "\\")),
            None => below.replace('/', "\\"),
        },
        None => text.into_owned(),
    }
}

fn anchor<L: Look>(
    look: &mut L,
    policy: &Policy,
    top: &WindowsPath,
) -> Result<Anchor<WindowsPath>, ObserveError> {
    let mut names = Vec::new();
    let mut git = Entry::Absent;
    let protected = policy
        .filesystem
        .protected
        .iter()
        .map(|name| name.value.as_str());
    for name in protected.filter(|name| *name != ".git").chain([".git"]) {
        let path = top.join_name(name).map_err(|source| ObserveError::Path {
            path: ringfence_policy::escape::escape(name.as_bytes()).into_owned(),
            source,
        })?;
        let entry = probe_or_absent(look, &path)?.1;
        if name == ".git" {
            git = entry.clone();
        }
        names.push(NameFact {
            name: name.to_owned(),
            entry,
        });
    }
    Ok(Anchor {
        path: top.clone(),
        git: layout(&mut Seen(look), policy, top, &git)?,
        names,
    })
}
