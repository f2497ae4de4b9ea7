//! What a session needs to know of a Windows plan: the rules on paths, what is guarded, variables, the workspace.
//!
//! The rules speak of what the plan's descriptors hold, and of what the accounts can't reach by themselves; they
//! enforce nothing. Invariant: a path that the plan holds read-only or hides is never writable by these rules.

use ringfence_policy::document::Mode;
use ringfence_policy::filesystem::{
    FilesystemRules, GlobRule, PathAccess, PathRule, Scope, Strength,
};
use ringfence_policy::policy::{HiddenKind, HiddenPattern};
use ringfence_policy::{AbsolutePath, Policy, RuleId};

use crate::plan::{Guard, GuardedName, Plan};
use crate::windows::error::PlanError;
use crate::windows::facts::{PlaceName, WindowsFacts};
use crate::windows::machine::MachineDirectories;
use crate::windows::path::WindowsPath;
use crate::windows::plan::{Accounts, WindowsPlan};
use crate::windows::step::Purpose;

/// The plan as a session takes it, on any system.
///
/// # Errors
/// [`PlanError::FactsMismatch`] for a path that this system can't spell.
pub fn session_plan(
    policy: &Policy,
    facts: &WindowsFacts,
    plan: WindowsPlan,
) -> Result<Plan, PlanError> {
    let guard = Guard {
        absent: plan
            .guard
            .absent
            .iter()
            .map(|name| {
                Ok(GuardedName {
                    path: absolute(&name.path)?,
                    origin: name.origin.clone(),
                })
            })
            .collect::<Result<_, PlanError>>()?,
        roots: plan
            .guard
            .roots
            .iter()
            .map(absolute)
            .collect::<Result<_, _>>()?,
        new_repositories: plan.guard.new_repositories,
        commit_directories: plan
            .guard
            .commit_directories
            .iter()
            .map(absolute)
            .collect::<Result<_, _>>()?,
    };
    let launch = plan.launch.as_ref();
    Ok(Plan {
        level: plan.level,
        missing: plan.missing.clone(),
        notes: plan.notes.clone(),
        steps: Vec::new(),
        rules: rules(policy, facts, &plan)?,
        guard,
        environment: launch
            .map(|launch| launch.environment.clone())
            .unwrap_or_default(),
        workspace: match launch {
            Some(launch) => absolute(&launch.directory)?,
            None => policy.workspace.clone(),
        },
        windows: Some(Box::new(plan)),
    })
}

/// The rules on paths of a session under `plan`.
///
/// # Errors
/// [`PlanError::FactsMismatch`] for a path that this system can't spell.
pub fn rules(
    policy: &Policy,
    facts: &WindowsFacts,
    plan: &WindowsPlan,
) -> Result<FilesystemRules, PlanError> {
    let scope = Scope {
        mode: policy.mode.value,
        git: policy.filesystem.git.value,
        workspace: match plan.roots.first() {
            Some(root) => absolute(&root.object.path)?,
            None => policy.workspace.clone(),
        },
        home: policy.home.clone(),
    };
    let mut rules = Rules::default();
    rules.places(policy, facts, plan)?;
    rules.held(policy, facts, plan)?;
    rules.hidden(policy, plan)?;
    rules.state(policy, facts, plan)?;
    Ok(FilesystemRules::new(scope, rules.paths, rules.globs))
}

/// `path` as a policy spells it.
fn absolute(path: &WindowsPath) -> Result<AbsolutePath, PlanError> {
    AbsolutePath::of_windows(&path.to_string()).map_err(|_| PlanError::FactsMismatch {
        what: format!("`{}` in this system's spelling", path.printable()),
    })
}

#[derive(Default)]
struct Rules {
    paths: Vec<PathRule>,
    globs: Vec<GlobRule>,
}

impl Rules {
    fn add(
        &mut self,
        path: &WindowsPath,
        access: PathAccess,
        strength: Strength,
        (rule, origin): (RuleId, &str),
    ) -> Result<(), PlanError> {
        self.paths.push(PathRule {
            path: absolute(path)?,
            access,
            strength,
            rule,
            origin: origin.to_owned(),
            except: Vec::new(),
        });
        Ok(())
    }

    /// Roots and homes, what the accounts can't read, and what they were given to read.
    fn places(
        &mut self,
        policy: &Policy,
        facts: &WindowsFacts,
        plan: &WindowsPlan,
    ) -> Result<(), PlanError> {
        match plan.accounts {
            Accounts::Person => {}
            Accounts::Made(_) | Accounts::ToBeMade(_) => {
                for profile in facts.places(PlaceName::Profile) {
                    let why = (
                        RuleId::HiddenPlace,
                        "a profile: the sandbox accounts have no rights in it",
                    );
                    self.add(&profile.path, PathAccess::Hidden, Strength::Place, why)?;
                }
            }
        }
        let access = match policy.mode.value {
            Mode::WorkspaceWrite | Mode::FullAccess => PathAccess::ReadWrite,
            Mode::ReadOnly => PathAccess::ReadOnly,
        };
        let rule = match policy.mode.value {
            Mode::WorkspaceWrite | Mode::FullAccess => RuleId::WritableRoot,
            Mode::ReadOnly => RuleId::ReadOnlyMode,
        };
        for root in &plan.roots {
            let origin = root.object.path.to_string();
            self.add(&root.object.path, access, Strength::Place, (rule, &origin))?;
        }
        if let Some(workspace) = plan.roots.first() {
            let why = (RuleId::PrivateDirectory, "the workspace's private home");
            self.add(&workspace.home, PathAccess::ReadWrite, Strength::Place, why)?;
        }
        for root in &facts.roots {
            for mount in &root.mounts {
                let why = (RuleId::MountInsideRoot, "another volume");
                self.add(mount, PathAccess::ReadOnly, Strength::Place, why)?;
            }
        }
        Ok(())
    }

    /// What has a descriptor of ours, and what must not appear.
    fn held(
        &mut self,
        policy: &Policy,
        facts: &WindowsFacts,
        plan: &WindowsPlan,
    ) -> Result<(), PlanError> {
        for held in &plan.held {
            let path = &held.object.path;
            match held.purpose {
                Purpose::Protected => {
                    let rule = rule_of(policy, &held.origin);
                    let why = (rule, held.origin.as_str());
                    self.add(path, PathAccess::ReadOnly, Strength::Deny, why)?;
                }
                Purpose::Secret | Purpose::DeniedRead => {
                    let why = (RuleId::Secret, held.origin.as_str());
                    self.add(path, PathAccess::Hidden, Strength::Deny, why)?;
                }
                Purpose::Tool => {
                    let why = (RuleId::ReadDefault, held.origin.as_str());
                    self.add(path, PathAccess::ReadOnly, Strength::Place, why)?;
                }
                Purpose::Root
                | Purpose::Between
                | Purpose::Ancestor
                | Purpose::WorldWritable
                | Purpose::Profile
                | Purpose::Walked => {}
            }
        }
        for name in &plan.guard.absent {
            let why = (rule_of(policy, &name.origin), name.origin.as_str());
            self.add(&name.path, PathAccess::ReadOnly, Strength::Deny, why)?;
        }
        for path in facts.roots.iter().flat_map(|root| &root.outside_links) {
            let why = (RuleId::HardLinkOutside, "hard_links");
            self.add(path, PathAccess::ReadOnly, Strength::Deny, why)?;
        }
        Ok(())
    }

    fn hidden(&mut self, policy: &Policy, plan: &WindowsPlan) -> Result<(), PlanError> {
        for hidden in &policy.filesystem.hidden {
            let rule = match hidden.kind {
                HiddenKind::BuiltIn => RuleId::Secret,
                HiddenKind::DenyRead => RuleId::DenyRead,
            };
            let glob = |anchor: AbsolutePath, glob: &str, except: &[String]| GlobRule {
                anchor,
                glob: glob.to_owned(),
                except: except.to_vec(),
                access: PathAccess::Hidden,
                rule,
                origin: hidden.name.clone(),
            };
            match &hidden.pattern {
                HiddenPattern::Path(path) => self.paths.push(PathRule {
                    path: path.clone(),
                    access: PathAccess::Hidden,
                    strength: Strength::Deny,
                    rule,
                    origin: hidden.name.clone(),
                    except: hidden.except.clone(),
                }),
                HiddenPattern::HomeGlob(pattern) => {
                    if let Some((anchor, rest)) = split_glob(pattern) {
                        self.globs.push(glob(anchor, &rest, &[]));
                    }
                }
                HiddenPattern::RootGlob {
                    glob: pattern,
                    except,
                } => {
                    for root in &plan.roots {
                        let anchor = absolute(&root.object.path)?;
                        self.globs.push(glob(anchor, pattern, except));
                    }
                }
            }
        }
        Ok(())
    }

    /// Our own: the person's state, and the machine's records.
    fn state(
        &mut self,
        policy: &Policy,
        facts: &WindowsFacts,
        plan: &WindowsPlan,
    ) -> Result<(), PlanError> {
        let homes: Vec<AbsolutePath> = plan
            .roots
            .iter()
            .map(|root| absolute(&root.home))
            .collect::<Result<_, _>>()?;
        let mut own = vec![absolute(&facts.state)?];
        if own.first() != Some(&policy.state) {
            own.push(policy.state.clone());
        }
        own.extend(
            MachineDirectories::of(facts)
                .ok()
                .map(|directories| absolute(&directories.top))
                .transpose()?,
        );
        self.paths.extend(own.into_iter().map(|path| {
            PathRule {
                except: homes
                    .iter()
                    .filter(|home| home.starts_with(&path))
                    .cloned()
                    .collect(),
                path,
                access: PathAccess::Hidden,
                strength: Strength::HardBlock,
                rule: RuleId::RingfenceState,
                origin: "state".to_owned(),
            }
        }));
        Ok(())
    }
}

/// The rule behind a protected path: the policy's name for it, or a setting of git's that leads there.
fn rule_of(policy: &Policy, origin: &str) -> RuleId {
    let is_name = origin == ".git"
        || origin.starts_with(".git/")
        || policy
            .filesystem
            .protected
            .iter()
            .any(|name| name.value == origin);
    let is_secret = policy
        .filesystem
        .hidden
        .iter()
        .any(|hidden| hidden.name == origin);
    match (is_name, is_secret) {
        (true, _) => RuleId::ProtectedName,
        (false, true) => RuleId::Secret,
        (false, false) => RuleId::GitExecutableConfig,
    }
}

/// The fixed directory of an absolute glob, and the rest.
fn split_glob(glob: &str) -> Option<(AbsolutePath, String)> {
    let slashes = glob.replace('\\', "/");
    let special = slashes.find(['*', '?', '[', '{']).unwrap_or(slashes.len());
    let slash = slashes.get(..special)?.rfind('/')?;
    let (directory, rest) = slashes.split_at(slash);
    let directory = AbsolutePath::of_windows(directory.trim_start_matches('/')).ok()?;
    Some((directory, rest.trim_start_matches('/').to_owned()))
}
