//! Where the tools of a session keep what they fetch and make: never in the person's own caches.
//!
//! A cache that exists is overlaid: tools find what the person has, and what they write goes to our state. One that
//! does not exist, or can't be overlaid, is a private directory that the tool's variable names. Two stay as they
//! are where they can't be overlaid: cargo and Go work with what they have, and an empty cache would break them
//! without a network. Invariant: no writable root, no state of ours and nothing hidden is seen through an overlay.

use std::path::Path;

use ringfence_policy::{AbsolutePath, Policy, RuleId};

use crate::linux::error::PlanError;
use crate::linux::facts::{
    CacheFact, CacheName, Entry, Kind, LinuxFacts, Object, Overlay, PlaceName, Setting,
};
use crate::linux::places::{PlaceKind, Places};
use crate::linux::session;
use crate::step::{Mask, MountAccess, MountPoint, Placeholder, Step};

/// Where private caches are found by commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Mounted below `/run`, which hides the host's own.
    Mounted,
    /// In our state directory, where they lie: nothing can be mounted.
    InPlace,
}

/// What the caches of one session are made of.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    /// Directories of ours to be made.
    pub(crate) made: Vec<Step>,
    /// The overlay.
    pub(crate) overlay: Option<Step>,
    /// The private directory's mount, and where it is.
    pub(crate) bind: Option<(AbsolutePath, Step)>,
    /// Variables that lead tools to the private directory.
    pub(crate) variables: Vec<(String, String)>,
}

/// Chooses for each cache, and adds what becomes writable to `places`, which must hold all others.
///
/// # Errors
/// [`PlanError::Path`]; not for a well-formed policy.
pub(crate) fn plan(
    policy: &Policy,
    facts: &LinuxFacts,
    places: &mut Places,
    room: Room,
) -> Result<Caches, PlanError> {
    let store = session::cache_store(policy, facts)?;
    let private = session::below(&store, "private")?;
    let found_at = found_at(facts, places, room, &private)?;
    let mut directories: Vec<AbsolutePath> = Vec::new();
    let mut variables = Vec::new();
    for fact in &facts.caches {
        let parts: Vec<&Object> = fact
            .parts
            .iter()
            .filter(|part| room == Room::Mounted && can_be_overlaid(part, facts, places))
            .collect();
        if !parts.is_empty() {
            directories.extend(parts.into_iter().map(|part| part.path.clone()));
        } else if let Some(at) = found_at.as_ref().and_then(|at| at.as_path().to_str())
            && !is_writable(fact, places)
        {
            variables.extend(variable(fact, at));
        }
    }
    directories.sort_unstable();
    directories.dedup();
    directories.dedup_by(|later, earlier| later.starts_with(earlier));
    let mut caches = Caches::default();
    if directories.is_empty() && variables.is_empty() {
        return Ok(caches);
    }
    caches.made = make(facts, &store, &private, &variables)?;
    if let Some(at) = found_at.filter(|_| !variables.is_empty()) {
        add(places, &at, "private caches");
        if room == Room::Mounted {
            let step = Step::Bind {
                source: private,
                target: at.clone(),
                access: MountAccess::ReadWrite,
                identity: None,
                mount_point: MountPoint::MakeDirectory,
            };
            caches.bind = Some((at, step));
        }
        caches.variables = variables;
    }
    if let Some(home) = facts.home.as_ref().filter(|_| !directories.is_empty()) {
        for directory in &directories {
            add(places, directory, "cache");
        }
        caches.overlay = Some(Step::MountOverlay {
            lower: home.path.clone(),
            store,
            masked: masked(facts, &directories),
            directories,
        });
    }
    Ok(caches)
}

fn add(places: &mut Places, path: &AbsolutePath, origin: &str) {
    places.add(path, PlaceKind::Private, RuleId::PrivateDirectory, origin);
}

/// Where commands find the private directory, if there is room for it.
fn found_at(
    facts: &LinuxFacts,
    places: &Places,
    room: Room,
    private: &AbsolutePath,
) -> Result<Option<AbsolutePath>, PlanError> {
    match room {
        Room::InPlace => Ok(Some(private.clone())),
        // In a temporary file system of the session's own, where no earlier command can have put anything.
        Room::Mounted => match facts.place(PlaceName::Run) {
            Some(run) if places.exactly(run.as_path()) == Some(PlaceKind::Hidden) => {
                Ok(Some(session::below(run, "ringfence/cache")?))
            }
            Some(_) | None => Ok(None),
        },
    }
}

fn make(
    facts: &LinuxFacts,
    store: &AbsolutePath,
    private: &AbsolutePath,
    variables: &[(String, String)],
) -> Result<Vec<Step>, PlanError> {
    let target = facts.target_identity();
    let own = (facts.caller.uid, facts.caller.gid);
    let make = |path: &AbsolutePath, owner| Step::MakePrivateDirectory {
        path: path.clone(),
        mode: 0o700,
        owner,
    };
    let mut steps = vec![
        make(&session::below(&facts.state, "cache")?, None),
        make(store, None),
    ];
    if !variables.is_empty() {
        steps.push(make(private, (target != own).then_some(target)));
    }
    Ok(steps)
}

/// Whether a session's writes can lie over `part`: it is the person's own, seen by commands, and all of it is cache.
fn can_be_overlaid(part: &Object, facts: &LinuxFacts, places: &Places) -> bool {
    let Some(home) = &facts.home else {
        return false;
    };
    let path = &part.path;
    facts.overlay == Overlay::Available
        && part.kind == Kind::Directory
        && part.owner.0 == facts.target_identity().0
        && path.starts_with(&home.path)
        && *path != home.path
        && places.kind_at(path.as_path()) == PlaceKind::Shown
        && !places.reach_into(path)
        && !facts.state.starts_with(path)
        && !hidden_objects(facts).any(|(hidden, _)| path.starts_with(hidden))
}

/// What the policy hides and exists: links with what they lead to.
fn hidden_objects(facts: &LinuxFacts) -> impl Iterator<Item = (&AbsolutePath, Placeholder)> {
    facts.hidden.iter().flat_map(|fact| {
        let file = Some((&fact.path, Placeholder::File));
        let (own, target) = match &fact.entry {
            Entry::Absent | Entry::AbsentParent { .. } => (None, None),
            Entry::File | Entry::Other => (file, None),
            Entry::Directory => (Some((&fact.path, Placeholder::Directory)), None),
            Entry::Symlink { target, kind } => match kind {
                Some(Kind::Directory) => (file, Some((target, Placeholder::Directory))),
                Some(Kind::File | Kind::Other) => (file, Some((target, Placeholder::File))),
                None => (file, None),
            },
        };
        own.into_iter().chain(target)
    })
}

fn masked(facts: &LinuxFacts, directories: &[AbsolutePath]) -> Vec<Mask> {
    let mut masked: Vec<Mask> = hidden_objects(facts)
        .filter(|(path, _)| directories.iter().any(|above| path.starts_with(above)))
        .map(|(path, placeholder)| Mask {
            path: path.clone(),
            placeholder,
        })
        .collect();
    masked.sort_unstable();
    masked.dedup_by(|later, earlier| later.path.starts_with(&earlier.path));
    masked
}

/// Whether commands may write the cache where it is: in a writable root, or in a directory of the session's own.
fn is_writable(fact: &CacheFact, places: &Places) -> bool {
    fact.object.as_ref().is_some_and(|object| {
        let path: &Path = object.path.as_path();
        match places.kind_at(path) {
            PlaceKind::Root | PlaceKind::Private => true,
            PlaceKind::Hidden | PlaceKind::Shown => false,
        }
    })
}

/// The variable that leads a tool to `at`, where an empty cache is better than one that can't be written.
fn variable(fact: &CacheFact, at: &str) -> Option<(String, String)> {
    let variable = |name: &str, value: String| Some((name.to_owned(), value));
    match fact.cache {
        CacheName::User => variable("XDG_CACHE_HOME", format!("{at}/user")),
        CacheName::Npm => variable("npm_config_cache", format!("{at}/npm")),
        CacheName::Cargo if fact.object.is_none() => variable("CARGO_HOME", format!("{at}/cargo")),
        CacheName::Go if fact.object.is_none() => variable("GOPATH", format!("{at}/go")),
        // The only way into Maven 3 but the command line; what the person says there stays.
        CacheName::Maven if fact.parts.is_empty() && fact.setting == Setting::Unset => {
            variable("MAVEN_OPTS", format!("-Dmaven.repo.local={at}/maven"))
        }
        CacheName::Cargo | CacheName::Go | CacheName::Maven => None,
    }
}
