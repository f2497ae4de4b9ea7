//! The plan without namespaces: Landlock and seccomp alone.
//!
//! Landlock can't refuse below what it allows, so a directory that holds something protected or hidden is never
//! granted whole: its other children are granted one by one, and a new entry directly in it fails.
//! Invariant: no rule grants a right on a path above one that must not have it; what is lost is in `missing`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use ringfence_policy::filesystem::{PathAccess, PathRule, Strength};
use ringfence_policy::{AbsolutePath, Policy, RuleId};

use crate::linux::caches::{self, Room};
use crate::linux::error::PlanError;
use crate::linux::facts::{Kind, LinuxFacts, Listing, PlaceName};
use crate::linux::full::{denied_roots, git_writes, observe, writable_places};
use crate::linux::holds::{self, Hold, Holds};
use crate::linux::landlock::{Abi, Rights, Ruleset};
use crate::linux::limits::{self, UserNamespace};
use crate::linux::places::{PlaceKind, Places};
use crate::linux::{filesystem_rules, guard, network, notes, session, sockets};
use crate::plan::{Level, Missing, Plan};
use crate::render::printable;
use crate::step::{IpSockets, Step};

/// Device nodes that every program needs; the rest of `/dev` is closed.
const DEVICES: [&str; 8] = [
    "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts",
];

/// Plans without namespaces, which `refused` says the cause of.
///
/// # Errors
/// [`PlanError::NotHeld`] for a protected name that this ABI can't hold; [`PlanError::FactsMismatch`] where a
/// listing is missing; those of the holds.
pub(crate) fn plan(
    policy: &Policy,
    facts: &LinuxFacts,
    abi: Abi,
    refused: &Missing,
) -> Result<Plan, PlanError> {
    let tmp = session::private_tmp(policy, facts)?;
    let mut places = places(policy, facts, &tmp)?;
    let caches = caches::plan(policy, facts, &mut places, Room::InPlace)?;
    let mut holds = holds::collect(policy, facts, &places)?;
    refuse_what_cannot_be_held(abi, &holds)?;
    let carving = Carving::new(facts, &places, &holds);
    let ruleset = carving.ruleset(abi, &places)?;

    let mut missing = losses(facts, abi, refused, &tmp);
    missing.extend(carving.loss(&places));
    missing.extend(network::loss(policy));
    let mut steps = session::make_private(facts, &tmp)?;
    steps.extend(caches.made);
    steps.extend(sockets::steps(facts, &mut missing));
    steps.extend(limits::steps(policy, facts, UserNamespace::Shared));
    steps.push(Step::DropCapabilities);
    steps.push(Step::SetNoNewPrivs);
    steps.push(Step::RestrictPaths { ruleset });
    steps.push(Step::FilterSyscalls {
        observe: observe(facts, &mut missing),
        ip_sockets: IpSockets::Refused,
    });
    holds.rules.extend(carving.rules(&places));
    let mut notes = std::mem::take(&mut holds.notes);
    notes::collect(policy, facts, &mut notes);
    let tmp = tmp.as_path().to_str().unwrap_or("/tmp").to_owned();
    Ok(Plan {
        level: Level::Partial,
        missing,
        notes,
        steps,
        rules: filesystem_rules(policy, facts, &places, &mut holds)?,
        guard: guard(policy, &places, &holds),
        environment: session::environment(facts, &tmp, git_writes(policy), caches.variables),
        workspace: session::workspace(policy, facts),
        windows: None,
    })
}

/// The directories whose entries a plan without namespaces has to know: the executor lists them, and asks again.
///
/// # Errors
/// As [`plan`](super::plan).
pub fn directories_to_list(
    policy: &Policy,
    facts: &LinuxFacts,
) -> Result<Vec<AbsolutePath>, PlanError> {
    let tmp = session::private_tmp(policy, facts)?;
    let mut places = places(policy, facts, &tmp)?;
    caches::plan(policy, facts, &mut places, Room::InPlace)?;
    let holds = holds::collect(policy, facts, &places)?;
    let carving = Carving::new(facts, &places, &holds);
    let mut paths: Vec<AbsolutePath> = carving
        .above_unreadable
        .iter()
        .chain(&carving.above_unwritable)
        .filter_map(|path| AbsolutePath::new(path).ok())
        .collect();
    paths.sort_unstable();
    paths.dedup();
    Ok(paths)
}

fn places(policy: &Policy, facts: &LinuxFacts, tmp: &AbsolutePath) -> Result<Places, PlanError> {
    let mut places = Places::default();
    writable_places(policy, facts, &mut places);
    places.add(
        tmp,
        PlaceKind::Private,
        RuleId::PrivateDirectory,
        "private /tmp",
    );
    for fact in &facts.places {
        places.add(
            &fact.path,
            PlaceKind::Hidden,
            RuleId::HiddenPlace,
            &printable(&fact.path),
        );
    }
    let workspace = facts.roots.first().and_then(|root| root.object.as_ref());
    for object in workspace.into_iter().chain(&facts.home) {
        if !places.is_visible(object.path.as_path()) {
            places.add(&object.path, PlaceKind::Shown, RuleId::ReadDefault, "shown");
        }
    }
    for needed in &facts.needed {
        if !places.is_visible(needed.source.as_path()) {
            places.add(
                &needed.source,
                PlaceKind::Shown,
                RuleId::ReadDefault,
                &needed.origin,
            );
        }
    }
    let devices = session::path("/dev")?;
    let listed = facts
        .listings
        .iter()
        .find(|listing| listing.path == devices);
    for node in DEVICES {
        let path = session::path(&format!("/dev/{node}"))?;
        // Containers have a link for /dev/ptmx, which a rule can't name: what it leads to, /dev/pts, is granted too.
        if listed.is_some_and(|listing| listing.children.iter().all(|child| child.path != path)) {
            continue;
        }
        places.add(&path, PlaceKind::Private, RuleId::Device, "/dev");
    }
    places.add(
        &session::path("/dev")?,
        PlaceKind::Hidden,
        RuleId::HiddenPlace,
        "/dev",
    );
    Ok(places)
}

/// Before ABI 3 nothing refuses truncation: what is protected could be emptied.
fn refuse_what_cannot_be_held(abi: Abi, holds: &Holds) -> Result<(), PlanError> {
    let protected = holds
        .held
        .iter()
        .find(|held| matches!(held.hold, Hold::Protect));
    match protected {
        Some(held) if abi < Abi::V3 => Err(PlanError::NotHeld {
            path: held.path.clone(),
            cause: format!("Landlock ABI {} can't refuse truncation", abi.number()),
        }),
        Some(_) | None => Ok(()),
    }
}

/// Which paths must not be granted, and which directories therefore not whole.
struct Carving<'a> {
    listings: HashMap<&'a Path, &'a Listing>,
    unreadable: HashSet<PathBuf>,
    unwritable: HashSet<PathBuf>,
    above_unreadable: HashSet<PathBuf>,
    above_unwritable: HashSet<PathBuf>,
    roots: Vec<AbsolutePath>,
    /// What stays readable in hidden directories.
    shown: Vec<(AbsolutePath, Kind)>,
    /// Needed paths that are no directories: a rule on one may hold the rights of files only.
    files: HashSet<&'a Path>,
}

impl<'a> Carving<'a> {
    fn new(facts: &'a LinuxFacts, places: &Places, holds: &Holds) -> Self {
        let denied = denied_roots(places, holds);
        let mut carving = Self {
            listings: facts
                .listings
                .iter()
                .map(|listing| (listing.path.as_path(), listing))
                .collect(),
            unreadable: HashSet::new(),
            unwritable: HashSet::new(),
            above_unreadable: HashSet::new(),
            above_unwritable: HashSet::new(),
            roots: places.of_kind(PlaceKind::Root),
            shown: Vec::new(),
            files: facts
                .needed
                .iter()
                .filter(|needed| needed.kind != Kind::Directory)
                .map(|needed| needed.source.as_path())
                .collect(),
        };
        carving.roots.retain(|root| !denied.contains(root));
        for path in places
            .of_kind(PlaceKind::Hidden)
            .iter()
            .chain([&facts.state])
        {
            carving.close_read(path);
        }
        // Absent secrets as well: what is granted above them would open them once somebody makes them.
        for rule in &holds.rules {
            if rule.access == PathAccess::Hidden {
                carving.close_read(&rule.path);
            }
        }
        for held in &holds.held {
            match &held.hold {
                Hold::Hide(_) => carving.close_read(&held.path),
                Hold::HideAround(around) => {
                    carving.close_read(&held.path);
                    carving.shown.extend(around.shown.iter().cloned());
                }
                Hold::Protect | Hold::Link | Hold::Absent(_) => carving.close_write(&held.path),
                Hold::Pin => {}
            }
        }
        for path in places.of_kind(PlaceKind::Shown) {
            if places.kind_above(path.as_path()) == PlaceKind::Root {
                carving.close_write(&path);
            }
        }
        carving
    }

    fn close_read(&mut self, path: &AbsolutePath) {
        mark(
            path.as_path(),
            &mut self.unreadable,
            &mut self.above_unreadable,
        );
        self.close_write(path);
    }

    fn close_write(&mut self, path: &AbsolutePath) {
        // Only roots are ever granted for writing: what lies above them needs no carving.
        let inside = |path: &Path| {
            self.roots
                .iter()
                .any(|root| path.starts_with(root.as_path()))
        };
        if !inside(path.as_path()) {
            return;
        }
        self.unwritable.insert(path.as_path().to_owned());
        for above in path
            .as_path()
            .ancestors()
            .skip(1)
            .take_while(|above| inside(above))
        {
            if !self.above_unwritable.insert(above.to_owned()) {
                break;
            }
        }
    }

    fn ruleset(&self, abi: Abi, places: &Places) -> Result<Ruleset, PlanError> {
        let mut ruleset = Ruleset::refusing_all(abi);
        let top = session::path("/")?;
        // Names of entries can't be kept without keeping `ls` from working anywhere.
        ruleset.allow(top.clone(), Rights::READ_DIR);
        let reads = Grant {
            rights: Rights::READ,
            closed: &self.unreadable,
            above_closed: &self.above_unreadable,
        };
        let writes = Grant {
            rights: ruleset.directory_writes(),
            closed: &self.unwritable,
            above_closed: &self.above_unwritable,
        };
        self.grant(&top, Kind::Directory, &reads, &mut ruleset)?;
        for kind in [PlaceKind::Shown, PlaceKind::Root] {
            for path in places.of_kind(kind) {
                if !places.is_visible(path.as_path().parent().unwrap_or(Path::new("/"))) {
                    let kind = if self.files.contains(path.as_path()) {
                        Kind::File
                    } else {
                        Kind::Directory
                    };
                    self.grant(&path, kind, &reads, &mut ruleset)?;
                }
            }
        }
        for (path, kind) in &self.shown {
            let rights = match kind {
                Kind::Directory => Rights::READ,
                Kind::File | Kind::Other => Rights::READ.both(Rights::OF_FILES),
            };
            ruleset.allow(path.clone(), rights);
        }
        for root in &self.roots {
            self.grant(root, Kind::Directory, &writes, &mut ruleset)?;
        }
        for path in places.of_kind(PlaceKind::Private) {
            if path.as_path().starts_with("/dev") {
                let reads = Rights::READ_FILE.with(Rights::WRITE_NODE);
                ruleset.allow(path, reads);
            } else {
                let rights = ruleset.directory_writes().with(Rights::READ);
                ruleset.allow(path, rights);
            }
        }
        Ok(ruleset)
    }

    fn grant(
        &self,
        path: &AbsolutePath,
        kind: Kind,
        grant: &Grant<'_>,
        ruleset: &mut Ruleset,
    ) -> Result<(), PlanError> {
        if grant.closed.contains(path.as_path()) {
            return Ok(());
        }
        if !grant.above_closed.contains(path.as_path()) {
            let rights = match kind {
                Kind::Directory => grant.rights,
                Kind::File | Kind::Other => grant.rights.both(Rights::OF_FILES),
            };
            ruleset.allow(path.clone(), rights);
            return Ok(());
        }
        let listing =
            self.listings
                .get(path.as_path())
                .ok_or_else(|| PlanError::FactsMismatch {
                    what: format!("the entries of `{}`", printable(path)),
                })?;
        for child in &listing.children {
            self.grant(&child.path, child.kind, grant, ruleset)?;
        }
        Ok(())
    }

    /// The same as rules: what is granted piecemeal is a place of its own, what lies beside it is not.
    fn rules(&self, places: &Places) -> Vec<PathRule> {
        let carved = |path: &Path| {
            self.above_unwritable.contains(path) && places.kind_at(path) == PlaceKind::Root
        };
        let rule = |path: &AbsolutePath, access, rule| PathRule {
            path: path.clone(),
            access,
            strength: Strength::Place,
            rule,
            origin: printable(path),
            except: Vec::new(),
        };
        let mut rules = Vec::new();
        for listing in self
            .listings
            .values()
            .filter(|listing| carved(listing.path.as_path()))
        {
            rules.push(rule(&listing.path, PathAccess::ReadOnly, RuleId::NewEntry));
            let granted = listing.children.iter().filter(|child| {
                !carved(child.path.as_path()) && !self.unwritable.contains(child.path.as_path())
            });
            rules.extend(
                granted.map(|child| rule(&child.path, PathAccess::ReadWrite, RuleId::WritableRoot)),
            );
        }
        rules
    }

    /// Says in which directories nothing can be made or removed.
    fn loss(&self, places: &Places) -> Option<Missing> {
        let mut paths: Vec<&PathBuf> = self
            .above_unwritable
            .iter()
            .filter(|path| places.kind_at(path) == PlaceKind::Root)
            .collect();
        paths.sort_unstable();
        let first = AbsolutePath::new(paths.first()?).ok()?;
        Some(Missing {
            what: "new-entries".to_owned(),
            cause: format!(
                "entries directly in {} directories that hold protected names, `{}` for one, can't be made, removed or renamed",
                paths.len(),
                printable(&first)
            ),
            cure: "work in a subdirectory, or get user namespaces".to_owned(),
        })
    }
}

/// One kind of grant, and where it stops.
struct Grant<'a> {
    rights: Rights,
    closed: &'a HashSet<PathBuf>,
    above_closed: &'a HashSet<PathBuf>,
}

fn mark(path: &Path, closed: &mut HashSet<PathBuf>, above: &mut HashSet<PathBuf>) {
    closed.insert(path.to_owned());
    for ancestor in path.ancestors().skip(1) {
        if !above.insert(ancestor.to_owned()) {
            return;
        }
    }
}

fn losses(facts: &LinuxFacts, abi: Abi, refused: &Missing, tmp: &AbsolutePath) -> Vec<Missing> {
    let because = |what: &str, cause: String| Missing {
        what: what.to_owned(),
        cause,
        cure: refused.cure.clone(),
    };
    let mut missing = vec![
        refused.clone(),
        because(
            "private-tmp",
            format!("/tmp is closed; TMPDIR is {}", printable(tmp)),
        ),
        because(
            "loopback",
            "IP sockets are refused, loopback among them".to_owned(),
        ),
        because(
            "no-survivors",
            "what a command leaves running may outlive a kill -9 of Ringfence".to_owned(),
        ),
        because(
            "processes",
            "the processes outside are visible in /proc".to_owned(),
        ),
        because(
            "shared-memory",
            "/dev/shm is closed: semaphores and shared memory by name fail".to_owned(),
        ),
        because(
            "secret-names",
            "the names, not the contents, in hidden directories can be listed".to_owned(),
        ),
        because(
            "metadata",
            "modes, times and attributes of the caller's files can be changed".to_owned(),
        ),
    ];
    if facts.place(PlaceName::SharedMemory).is_none() {
        missing.retain(|part| part.what != "shared-memory");
    }
    if facts.target_identity().0 != facts.caller.uid {
        missing.push(because(
            "identity",
            "commands run as root, without its capabilities".to_owned(),
        ));
    }
    if abi < Abi::V6 {
        missing.push(because(
            "signals",
            format!(
                "Landlock ABI {} can't keep signals and abstract sockets inside",
                abi.number()
            ),
        ));
    }
    if abi < Abi::V3 {
        missing.push(because(
            "truncation",
            "files outside the roots can be emptied".to_owned(),
        ));
    }
    if abi < Abi::V2 {
        missing.push(because(
            "renames",
            "files can't be moved between directories".to_owned(),
        ));
    }
    missing
}
