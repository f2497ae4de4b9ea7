//! The plan for Linux: which level this host can hold, and the steps that hold it.
//!
//! Does nothing and asks nobody: [`facts::LinuxFacts`] hold all that is known of the machine.
//! Invariant: what the policy protects is held by a step or named in the error; nothing is dropped in silence.

mod caches;
pub mod error;
pub mod facts;
mod full;
mod holds;
pub mod landlock;
mod limits;
mod network;
mod notes;
mod partial;
mod places;
mod roots;
mod session;
mod sockets;

pub use full::NAMESPACES;
pub use partial::directories_to_list;
pub use roots::refuse_root;

use ringfence_policy::document::{Mode, Require};
use ringfence_policy::filesystem::{FilesystemRules, GlobRule, PathAccess, PathRule, Strength};
use ringfence_policy::policy::{HiddenKind, HiddenPattern};
use ringfence_policy::protected::FILLED;
use ringfence_policy::{AbsolutePath, Policy, RuleId};

use crate::linux::error::PlanError;
use crate::linux::facts::{LinuxFacts, Seccomp, UserNamespaces};
use crate::linux::holds::{Hold, Holds};
use crate::linux::landlock::Abi;
use crate::linux::places::{PlaceKind, Places};
use crate::plan::{Guard, GuardedName, Level, Missing, Plan};

/// Plans the session of `policy` on the host of `facts`.
///
/// # Errors
/// [`PlanError`]: the policy asks for what can't be, or the host can't hold the boundary. Nothing has been done.
///
/// # Security
/// Names inside the roots are an attacker's, and so are repositories and their configuration.
pub fn plan(policy: &Policy, facts: &LinuxFacts) -> Result<Plan, PlanError> {
    if policy.mode.value == Mode::FullAccess {
        return Ok(session::unbounded(policy));
    }
    roots::check(policy, facts)?;
    let plan = match walls(facts)? {
        Walls::Namespaces(abi) => full::plan(policy, facts, abi)?,
        Walls::LandlockAlone(abi, cause) => partial::plan(policy, facts, abi, &cause)?,
    };
    if policy.require.value == Require::Full && plan.level != Level::Full {
        return Err(PlanError::RequireFull {
            missing: plan.missing,
        });
    }
    Ok(plan)
}

/// What this host's boundary is built of.
enum Walls {
    /// Mounts in namespaces, and Landlock as the second wall where it is good for that.
    Namespaces(Option<Abi>),
    /// Landlock and seccomp; with what refuses namespaces.
    LandlockAlone(Abi, Missing),
}

fn walls(facts: &LinuxFacts) -> Result<Walls, PlanError> {
    if facts.seccomp == Seccomp::Absent {
        return Err(PlanError::NotEnforceable {
            cause: "the kernel has no seccomp filters".to_owned(),
            cure: "use a kernel with CONFIG_SECCOMP_FILTER".to_owned(),
        });
    }
    let abi = Abi::negotiate(facts.landlock_abi);
    match (&facts.user_namespaces, abi) {
        // ABI 1 refuses every rename between directories: as a second wall it would break builds and git.
        (UserNamespaces::Available, abi) => Ok(Walls::Namespaces(abi.filter(|abi| *abi > Abi::V1))),
        (UserNamespaces::Refused { cause, cure }, Some(abi)) => Ok(Walls::LandlockAlone(
            abi,
            Missing {
                what: "namespaces".to_owned(),
                cause: cause.clone(),
                cure: cure.clone(),
            },
        )),
        (UserNamespaces::Refused { cause, cure }, None) => Err(PlanError::NotEnforceable {
            cause: format!("user namespaces are refused ({cause}) and the kernel has no Landlock"),
            cure: cure.clone(),
        }),
    }
}

/// The rules that both levels enforce: places, holds, our own state.
fn filesystem_rules(
    policy: &Policy,
    facts: &LinuxFacts,
    places: &Places,
    holds: &mut Holds,
) -> Result<FilesystemRules, PlanError> {
    let mut paths = places.rules();
    paths.append(&mut holds.rules);
    let mut state = vec![&policy.state];
    if facts.state != policy.state {
        state.push(&facts.state);
    }
    // Without namespaces the private directory is used where it lies: in our state.
    let private = places.of_kind(PlaceKind::Private);
    for path in state {
        paths.push(PathRule {
            path: path.clone(),
            access: PathAccess::Hidden,
            strength: Strength::HardBlock,
            rule: RuleId::RingfenceState,
            origin: "state".to_owned(),
            except: private
                .iter()
                .filter(|place| place.starts_with(path))
                .cloned()
                .collect(),
        });
    }
    let globs = glob_rules(policy, facts)?;
    Ok(FilesystemRules::new(
        session::scope(policy, facts),
        paths,
        globs,
    ))
}

fn glob_rules(policy: &Policy, facts: &LinuxFacts) -> Result<Vec<GlobRule>, PlanError> {
    let mut globs = Vec::new();
    for hidden in &policy.filesystem.hidden {
        let rule = match hidden.kind {
            HiddenKind::BuiltIn => RuleId::Secret,
            HiddenKind::DenyRead => RuleId::DenyRead,
        };
        let mut add = |anchor: &AbsolutePath, glob: &str, except: &[String]| {
            globs.push(GlobRule {
                anchor: anchor.clone(),
                glob: glob.to_owned(),
                except: except.to_vec(),
                access: PathAccess::Hidden,
                rule,
                origin: hidden.name.clone(),
            });
        };
        match &hidden.pattern {
            HiddenPattern::Path(_) => {}
            HiddenPattern::HomeGlob(glob) => {
                if let Some((anchor, rest)) = session::split_glob(glob)? {
                    add(&anchor, rest, &[]);
                }
            }
            HiddenPattern::RootGlob { glob, except } => {
                let mut except = except.clone();
                if hidden.kind == HiddenKind::BuiltIn {
                    // As the scan does.
                    except.extend(FILLED.iter().map(|name| format!("**/{name}/**")));
                }
                for root in &facts.roots {
                    if let Some(object) = &root.object {
                        add(&object.path, glob, &except);
                    }
                }
            }
        }
    }
    Ok(globs)
}

fn guard(policy: &Policy, places: &Places, holds: &Holds) -> Guard {
    let denied = full::denied_roots(places, holds);
    Guard {
        absent: holds
            .held
            .iter()
            .filter(|held| matches!(held.hold, Hold::Absent(_)))
            .map(|held| GuardedName {
                path: held.path.clone(),
                origin: held.origin.clone(),
            })
            .collect(),
        roots: places
            .of_kind(PlaceKind::Root)
            .into_iter()
            .filter(|root| !denied.contains(root))
            .collect(),
        new_repositories: policy.filesystem.new_repositories.value,
        commit_directories: holds.commit_directories.clone(),
    }
}
