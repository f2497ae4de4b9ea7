//! Checks a plan against what every plan must keep, whoever made it.
//!
//! Knows steps and rules, no policy and no host. Invariant: the planner's own plans have no finding of severity
//! [`Severity::Error`]; a property test holds it.

use std::collections::HashSet;
use std::path::Path;

use ringfence_policy::AbsolutePath;
use ringfence_policy::filesystem::{PathAccess, PathRule, Strength};
use ringfence_policy::system::is_system;

use crate::linux::landlock::Rights;
use crate::plan::{Level, Plan};
use crate::render::printable;
use crate::step::{MountAccess, Step};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The boundary is weaker for it, but holds.
    Warning,
    /// The boundary does not hold.
    Error,
}

/// Which rule a plan breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LintRule {
    /// A step that needs capabilities after they are gone.
    NeedsCapabilities,
    /// A boundary without one of its walls.
    WallMissing,
    /// The whole file system made writable, or a part of what steers the machine.
    ForbiddenBind,
    /// A directory between a held path and its writable root that could be renamed away.
    PinMissing,
    /// A rule of the session that no step enforces.
    RuleWithoutStep,
    /// A right granted above a path that must not have it.
    GrantAboveDenied,
    /// The same step twice.
    Repeated,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Which rule.
    pub rule: LintRule,
    /// The path or step.
    pub object: String,
}

/// Every finding, worst first; a plan without a boundary has none to break.
#[must_use]
pub fn lint(plan: &Plan) -> Vec<Finding> {
    if plan.level == Level::None {
        return Vec::new();
    }
    let view = View::of(plan);
    let mut findings = Vec::new();
    let mut add = |severity, rule, object: String| {
        findings.push(Finding {
            severity,
            rule,
            object,
        });
    };
    order(plan, &mut add);
    walls(plan, &mut add);
    for root in &view.writable {
        if root.parent().is_none() || is_system(root) {
            add(
                Severity::Error,
                LintRule::ForbiddenBind,
                root.display().to_string(),
            );
        }
    }
    system_grants(plan, &view, &mut add);
    view.pins(&mut add);
    for rule in plan.rules.paths() {
        view.rule(rule, plan, &mut add);
    }
    findings.sort_by(|a, b| b.cmp(a));
    findings
}

/// Without mounts of its own, Landlock alone keeps a session from the system's directories.
fn system_grants(plan: &Plan, view: &View<'_>, add: &mut Add<'_>) {
    if view.sealed {
        return;
    }
    let is_private = |path: &AbsolutePath| {
        plan.steps.iter().any(|step| {
            matches!(step, Step::MakePrivateDirectory { path: private, .. } if path.starts_with(private))
        })
    };
    for step in &plan.steps {
        let Step::RestrictPaths { ruleset } = step else {
            continue;
        };
        for rule in &ruleset.rules {
            let makes = !rule.allowed.both(Rights::MAKE_REG).is_empty();
            if makes && is_system(rule.path.as_path()) && !is_private(&rule.path) {
                add(
                    Severity::Error,
                    LintRule::ForbiddenBind,
                    printable(&rule.path),
                );
            }
        }
    }
}

type Add<'a> = dyn FnMut(Severity, LintRule, String) + 'a;

fn order(plan: &Plan, add: &mut Add<'_>) {
    let mut dropped = false;
    let mut seen = HashSet::new();
    for step in &plan.steps {
        let text = crate::render::render_step(step);
        if dropped && needs_capabilities(step) {
            add(Severity::Error, LintRule::NeedsCapabilities, text.clone());
        }
        dropped |= matches!(step, Step::DropCapabilities);
        if !seen.insert(text.clone()) {
            add(Severity::Warning, LintRule::Repeated, text);
        }
    }
}

fn needs_capabilities(step: &Step) -> bool {
    match step {
        Step::EnterNamespaces { .. }
        | Step::RaiseLoopback
        | Step::CaptureAddresses { .. }
        | Step::Serve { .. }
        | Step::Publish { .. }
        | Step::ReachSocket { .. }
        | Step::SealMounts
        | Step::MountProc
        | Step::KeepProc
        | Step::MountDevices
        | Step::MountTemporary { .. }
        | Step::Bind { .. }
        | Step::MountOverlay { .. }
        | Step::Pin { .. }
        | Step::Protect { .. }
        | Step::ProtectLink { .. }
        | Step::Unprotect { .. }
        | Step::Hide { .. }
        | Step::LimitMemory { .. }
        | Step::LimitProcesses { .. } => true,
        Step::MakePrivateDirectory { .. }
        | Step::DropCapabilities
        | Step::SetNoNewPrivs
        | Step::RestrictPaths { .. }
        | Step::FilterSyscalls { .. } => false,
    }
}

fn walls(plan: &Plan, add: &mut Add<'_>) {
    let has = |test: fn(&Step) -> bool| plan.steps.iter().any(test);
    let sealed = has(|step| matches!(step, Step::SealMounts));
    let restricted = has(|step| matches!(step, Step::RestrictPaths { .. }));
    let mut require = |present: bool, name: &str| {
        if !present {
            add(Severity::Error, LintRule::WallMissing, name.to_owned());
        }
    };
    require(sealed || restricted, "mounts or Landlock");
    require(
        plan.level != Level::Full || (sealed && restricted),
        "a full plan's two walls",
    );
    require(
        has(|step| matches!(step, Step::FilterSyscalls { .. })),
        "seccomp",
    );
    require(
        has(|step| matches!(step, Step::SetNoNewPrivs)),
        "no_new_privs",
    );
    require(
        has(|step| matches!(step, Step::DropCapabilities)),
        "no capabilities",
    );
}

/// What the steps make of the file system.
struct View<'a> {
    sealed: bool,
    /// Targets of writable binds of the host's own directories.
    writable: HashSet<&'a Path>,
    /// Targets of everything else that is mounted.
    covered: HashSet<&'a Path>,
    pins: HashSet<&'a Path>,
    protected: HashSet<&'a Path>,
    hidden: HashSet<&'a Path>,
    absent: HashSet<&'a Path>,
}

impl<'a> View<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut view = Self {
            sealed: false,
            writable: HashSet::new(),
            covered: HashSet::new(),
            pins: HashSet::new(),
            protected: HashSet::new(),
            hidden: HashSet::new(),
            absent: plan
                .guard
                .absent
                .iter()
                .map(|name| name.path.as_path())
                .collect(),
        };
        for step in &plan.steps {
            match step {
                Step::SealMounts => view.sealed = true,
                Step::Bind {
                    source,
                    target,
                    access: MountAccess::ReadWrite,
                    ..
                } if source == target => {
                    view.writable.insert(target.as_path());
                }
                Step::Bind { target, .. } => {
                    view.covered.insert(target.as_path());
                }
                Step::MountOverlay { directories, .. } => {
                    view.covered
                        .extend(directories.iter().map(AbsolutePath::as_path));
                }
                Step::MountTemporary { target, .. } => {
                    view.covered.insert(target.as_path());
                    view.hidden.insert(target.as_path());
                }
                Step::Pin { path } => {
                    view.pins.insert(path.as_path());
                }
                Step::Protect { path } | Step::ProtectLink { path } => {
                    view.protected.insert(path.as_path());
                }
                Step::Hide { path, .. } => {
                    view.hidden.insert(path.as_path());
                }
                Step::MakePrivateDirectory { .. }
                | Step::EnterNamespaces { .. }
                | Step::RaiseLoopback
                | Step::CaptureAddresses { .. }
                | Step::Serve { .. }
                | Step::Publish { .. }
                | Step::ReachSocket { .. }
                | Step::MountProc
                | Step::KeepProc
                | Step::MountDevices
                | Step::Unprotect { .. }
                | Step::LimitMemory { .. }
                | Step::LimitProcesses { .. }
                | Step::DropCapabilities
                | Step::SetNoNewPrivs
                | Step::RestrictPaths { .. }
                | Step::FilterSyscalls { .. } => {}
            }
        }
        view
    }

    /// Whether `path` lies in a writable bind, and in nothing put on top of it.
    fn is_writable(&self, path: &Path) -> bool {
        path.ancestors()
            .find(|above| self.writable.contains(above) || self.covered.contains(above))
            .is_some_and(|above| self.writable.contains(above))
    }

    fn is_held(&self, path: &Path) -> bool {
        path.ancestors().any(|above| {
            self.protected.contains(above)
                || self.hidden.contains(above)
                || self.absent.contains(above)
        })
    }

    fn pins(&self, add: &mut Add<'_>) {
        if !self.sealed {
            return;
        }
        for held in self.protected.iter().chain(&self.hidden) {
            if !self.is_writable(held) || self.writable.contains(held) {
                continue;
            }
            let missing = held
                .ancestors()
                .skip(1)
                .take_while(|above| !self.writable.contains(above))
                .find(|above| !self.pins.contains(above));
            if let Some(missing) = missing {
                add(
                    Severity::Error,
                    LintRule::PinMissing,
                    missing.display().to_string(),
                );
            }
        }
    }

    fn rule(&self, rule: &PathRule, plan: &Plan, add: &mut Add<'_>) {
        if rule.strength == Strength::Place || rule.access == PathAccess::ReadWrite {
            return;
        }
        let path = rule.path.as_path();
        if self.sealed {
            if self.is_writable(path) && !self.is_held(path) {
                add(
                    Severity::Error,
                    LintRule::RuleWithoutStep,
                    printable(&rule.path),
                );
            }
            return;
        }
        let forbidden = match rule.access {
            PathAccess::Hidden => Rights::READ_FILE.with(Rights::WRITE_FILE),
            PathAccess::ReadOnly => Rights::WRITE_FILE,
            PathAccess::ReadWrite => Rights(0),
        };
        if granted_above(plan, &rule.path, forbidden) {
            add(
                Severity::Error,
                LintRule::GrantAboveDenied,
                printable(&rule.path),
            );
        }
    }
}

fn granted_above(plan: &Plan, path: &AbsolutePath, forbidden: Rights) -> bool {
    plan.steps.iter().any(|step| {
        let Step::RestrictPaths { ruleset } = step else {
            return false;
        };
        let mut rules = ruleset.rules.iter();
        rules.any(|rule| path.starts_with(&rule.path) && !rule.allowed.both(forbidden).is_empty())
    })
}
