//! Every object that the facts name and that exists, with its descriptor, and every directory above one.
//!
//! Invariant: an object is left out only if it does not exist or the person may not see it.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_backend::call::CallFailure;
use ringfence_nt::{AccessMask, GenericMapping, SecurityDescriptor, Sid, Token, WriteClass};
use ringfence_plan::layout::{Entry, GitDirectory, NameFact};
use ringfence_plan::windows::WindowsPath;
use ringfence_plan::windows::facts::{
    Case, ObjectFact, PlaceName, Reached, Reparse, WindowsFacts, WindowsRoot,
};
use ringfence_plan::windows::machine::MachineDirectories;
use ringfence_plan::windows::step::{Object, ObjectKind};

use super::look::{Leads, ListedKind, Look, Seen};

/// Looks at all of them.
///
/// # Errors
/// The look-ups'.
pub(crate) fn observe<L: Look>(
    look: &mut L,
    facts: &WindowsFacts,
) -> Result<Vec<ObjectFact>, CallFailure> {
    let mut named = Names::default();
    named.facts(facts);
    homes(look, facts, &mut named.0)?;
    let above: Vec<WindowsPath> = named.0.iter().flat_map(WindowsPath::ancestors).collect();
    named.0.extend(above);
    let mut objects = BTreeMap::new();
    for path in &named.0 {
        if let Some(fact) = object(look, path)? {
            objects.insert(path.clone(), fact);
        }
    }
    let doubles = doubles(look, &named.0, &objects)?;
    let mut objects: Vec<ObjectFact> = objects.into_values().chain(doubles).collect();
    objects.sort_by(|left, right| left.object.path.cmp(&right.object.path));
    Ok(objects)
}

/// One object; `None` where nothing is.
fn object<L: Look>(look: &mut L, path: &WindowsPath) -> Result<Option<ObjectFact>, CallFailure> {
    let Some(seen) = look.look(path)? else {
        return Ok(None);
    };
    let descriptor = look.descriptor(path)?;
    Ok(Some(fact(path, seen, descriptor)))
}

fn fact(path: &WindowsPath, seen: Seen, descriptor: Option<SecurityDescriptor>) -> ObjectFact {
    ObjectFact {
        object: Object {
            path: path.clone(),
            id: seen.id,
            kind: seen.kind,
        },
        links: match seen.kind {
            ObjectKind::Directory => 1,
            ObjectKind::File => seen.links,
        },
        reparse: seen.leads.map(|leads| Reparse {
            target: match leads {
                Leads::Path(target) => {
                    WindowsPath::parse(target.strip_prefix("\\??\\").unwrap_or(&target)).ok()
                }
                Leads::Volume | Leads::Unknown => None,
            },
        }),
        case: seen.case,
        residency: seen.residency,
        descriptor,
    }
}

/// Objects beside a named one whose names differ from it by case alone.
fn doubles<L: Look>(
    look: &mut L,
    named: &BTreeSet<WindowsPath>,
    objects: &BTreeMap<WindowsPath, ObjectFact>,
) -> Result<Vec<ObjectFact>, CallFailure> {
    let mut found = Vec::new();
    for path in named {
        let Some(parent) = path.parent() else {
            continue;
        };
        let is_sensitive = objects
            .get(&parent)
            .is_some_and(|fact| fact.case == Case::Sensitive);
        if !is_sensitive {
            continue;
        }
        for listed in look.list(&parent)?.unwrap_or_default() {
            let Ok(beside) = parent.join_observed(&listed.name) else {
                continue;
            };
            if beside == *path && beside.to_string() != path.to_string() {
                found.extend(object(look, &beside)?);
            }
        }
    }
    Ok(found)
}

/// The private homes of this person, and what set-up has made above them.
fn homes<L: Look>(
    look: &mut L,
    facts: &WindowsFacts,
    named: &mut BTreeSet<WindowsPath>,
) -> Result<(), CallFailure> {
    let mut tops: Vec<WindowsPath> = facts.state.join("Homes").ok().into_iter().collect();
    if let Ok(own) = MachineDirectories::of(facts) {
        tops.push(own.home);
    }
    for top in tops {
        for listed in look.list(&top)?.unwrap_or_default() {
            if listed.kind == ListedKind::Directory
                && let Ok(home) = top.join_observed(&listed.name)
            {
                named.insert(home);
            }
        }
        named.insert(top);
    }
    Ok(())
}

#[derive(Default)]
struct Names(BTreeSet<WindowsPath>);

impl Names {
    fn facts(&mut self, facts: &WindowsFacts) {
        self.0.extend(facts.shared_places.iter().cloned());
        self.0
            .extend(facts.places.iter().map(|one| one.path.clone()));
        self.0
            .extend(facts.tools.iter().map(|one| one.path.clone()));
        self.0.extend(facts.ssh_names.iter().cloned());
        self.0.insert(facts.state.clone());
        self.0.insert(facts.person.profile.clone());
        for hidden in &facts.hidden {
            self.entry(&hidden.path, &hidden.entry);
        }
        for reference in &facts.git_references {
            self.entry(&reference.path, &reference.entry);
        }
        for root in &facts.roots {
            self.root(root);
        }
    }

    fn root(&mut self, root: &WindowsRoot) {
        if let Reached::Directory { path } = &root.reached {
            self.0.insert(path.clone());
        }
        self.0.extend(root.outside_links.iter().cloned());
        self.0.extend(root.astray.iter().cloned());
        self.0.extend(root.mounts.iter().cloned());
        for anchor in &root.anchors {
            self.0.insert(anchor.path.clone());
            self.names(&anchor.path, &anchor.names);
            if let Some(git) = &anchor.git {
                self.0.extend([git.directory.clone(), git.common.clone()]);
                for directory in &git.directories {
                    self.git_directory(directory);
                }
            }
        }
        for directory in &root.bare {
            self.git_directory(directory);
        }
    }

    fn git_directory(&mut self, directory: &GitDirectory<WindowsPath>) {
        self.0.insert(directory.path.clone());
        self.names(&directory.path, &directory.names);
    }

    fn names(&mut self, top: &WindowsPath, names: &[NameFact<WindowsPath>]) {
        for own in names {
            if let Ok(path) = top.join_name(&own.name) {
                self.entry(&path, &own.entry);
            }
        }
    }

    fn entry(&mut self, path: &WindowsPath, entry: &Entry<WindowsPath>) {
        self.0.insert(path.clone());
        match entry {
            Entry::AbsentParent { existing } => {
                self.0.insert(existing.clone());
            }
            Entry::Symlink { target, .. } => {
                self.0.insert(target.clone());
            }
            Entry::Absent | Entry::File | Entry::Directory | Entry::Other => {}
        }
    }
}

/// Places in which more than their owner may write: directories on PATH, `%TEMP%`, `%PUBLIC%`, drive roots and what
/// lies directly below these.
///
/// # Errors
/// The look-ups'.
pub(crate) fn shared_places<L: Look>(
    look: &mut L,
    facts: &WindowsFacts,
) -> Result<Vec<WindowsPath>, CallFailure> {
    let mut candidates: BTreeSet<WindowsPath> =
        facts.tools.iter().map(|tool| tool.path.clone()).collect();
    for place in &facts.places {
        let is_root = match place.name {
            PlaceName::DriveRoot => true,
            PlaceName::Temp | PlaceName::Public => false,
            PlaceName::Users
            | PlaceName::Profile
            | PlaceName::KnownFolder
            | PlaceName::AppData
            | PlaceName::LocalAppData
            | PlaceName::RoamingAppData
            | PlaceName::Windows
            | PlaceName::ProgramFiles
            | PlaceName::WindowsApps
            | PlaceName::ProgramData
            | PlaceName::OneDrive => continue,
        };
        candidates.insert(place.path.clone());
        if is_root {
            let below = look.list(&place.path)?.unwrap_or_default();
            candidates.extend(
                below
                    .into_iter()
                    .filter(|listed| listed.kind == ListedKind::Directory)
                    .filter_map(|listed| place.path.join_observed(&listed.name).ok()),
            );
        }
    }
    let mut shared = Vec::new();
    for path in candidates {
        if look
            .descriptor(&path)?
            .is_some_and(|descriptor| is_shared(&descriptor))
        {
            shared.push(path);
        }
    }
    Ok(shared)
}

/// Whether any user of the machine may make something in it.
fn is_shared(descriptor: &SecurityDescriptor) -> bool {
    let anyone = Token::new(
        Sid::NULL,
        &[Sid::EVERYONE, Sid::USERS, Sid::AUTHENTICATED_USERS],
    );
    ringfence_nt::maximum_allowed(descriptor, &anyone, &GenericMapping::FILE, WriteClass::H2)
        .intersects(AccessMask::FILE_WRITE_DATA)
}
