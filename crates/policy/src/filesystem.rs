//! The decision on paths: concrete rules, and which of them decides.
//!
//! Judges spelt paths; follows no link and looks at no disk. Called for each observed system call, so it allocates
//! nothing when the answer is yes. Invariant: adding a rule of strength `Deny` or `HardBlock` never allows more.

use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::decision::{Decision, Operation};
use crate::document::{GitAccess, Mode};
use crate::glob::Glob;
use crate::grant;
use crate::path::{AbsolutePath, is_normal};
use crate::rule::RuleId;

/// What a rule leaves of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathAccess {
    /// Neither read nor written.
    Hidden,
    /// Read, not written.
    ReadOnly,
    /// Read and written.
    ReadWrite,
}

/// How a rule stands against others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strength {
    /// Among places the deepest decides: roots, private directories, hidden places, what is revealed in them.
    Place,
    /// Beats every place at any depth: protected names, secrets, `deny_read`.
    Deny,
    /// Beats everything and no grant lifts it: our own state.
    HardBlock,
}

/// One rule on one path and everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRule {
    /// The path as it is inside the session.
    pub path: AbsolutePath,
    /// What it leaves.
    pub access: PathAccess,
    /// How it stands against other rules.
    pub strength: Strength,
    /// Its name.
    pub rule: RuleId,
    /// The words of the policy it comes from: a protected name, a secret's name, a root.
    pub origin: String,
    /// Paths below it (and all below them) that it does not speak of, such as `known_hosts` in `~/.ssh`.
    pub except: Vec<AbsolutePath>,
}

/// A rule on names that may appear later: a glob below an anchor. Its strength is [`Strength::Deny`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobRule {
    /// The directory it is anchored at.
    pub anchor: AbsolutePath,
    /// The glob over paths relative to the anchor; a match covers everything below it.
    pub glob: String,
    /// Globs that take a match back.
    pub except: Vec<String>,
    /// What it leaves.
    pub access: PathAccess,
    /// Its name.
    pub rule: RuleId,
    /// The words of the policy it comes from.
    pub origin: String,
}

/// All file rules of a session.
///
/// The one place where paths are judged: the planner derives mounts from the same rules, `explain` and the
/// observer ask them directly. Paths are taken as they are spelt: who has links to follow follows them first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "UnsortedRules")]
pub struct FilesystemRules {
    scope: Scope,
    paths: Vec<PathRule>,
    globs: Vec<GlobRule>,
    #[serde(skip)]
    compiled: Cache,
}

/// What the rules were made for: it words the grants, and `full-access` allows everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// How much the target may write.
    pub mode: Mode,
    /// What the target may do inside `.git`.
    pub git: GitAccess,
    /// The session's workspace, as it is inside.
    pub workspace: AbsolutePath,
    /// The caller's home.
    pub home: AbsolutePath,
}

/// The rules as they travel: the order is ours to make, not the sender's to promise.
#[derive(Deserialize)]
struct UnsortedRules {
    scope: Scope,
    paths: Vec<PathRule>,
    globs: Vec<GlobRule>,
}

impl From<UnsortedRules> for FilesystemRules {
    fn from(rules: UnsortedRules) -> Self {
        Self::new(rules.scope, rules.paths, rules.globs)
    }
}

/// The compiled globs, made at the first question that needs them; no part of the rules' identity.
#[derive(Debug, Default)]
struct Cache(OnceLock<Vec<CompiledGlob>>);

impl Clone for Cache {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Cache {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Cache {}

#[derive(Debug)]
struct CompiledGlob {
    matcher: Option<Glob>,
    except: Vec<Glob>,
}

/// The rule that decides, be it on a path or a glob.
#[derive(Clone, Copy)]
pub(crate) struct Match<'rules> {
    /// Its name.
    pub rule: RuleId,
    /// The words of the policy it comes from.
    pub origin: &'rules str,
    /// The path it stands on; a glob's anchor.
    pub path: &'rules AbsolutePath,
}

impl PathRule {
    fn found(&self) -> Match<'_> {
        Match {
            rule: self.rule,
            origin: &self.origin,
            path: &self.path,
        }
    }

    /// Whether it speaks of `path`, which is known to lie at or below the rule's own.
    fn speaks_of(&self, path: &Path) -> bool {
        !self
            .except
            .iter()
            .any(|exception| path.starts_with(exception.as_path()))
    }
}

impl PathAccess {
    /// Whether a place of this access is enough for `operation`.
    pub(crate) fn permits(self, operation: Operation) -> bool {
        match operation {
            Operation::Read => self >= Self::ReadOnly,
            Operation::Write => self == Self::ReadWrite,
            Operation::Connect | Operation::Syscall | Operation::Signal | Operation::Trace => false,
        }
    }
}

impl FilesystemRules {
    /// The rules of a session; any order, and each once.
    #[must_use]
    pub fn new(scope: Scope, mut paths: Vec<PathRule>, mut globs: Vec<GlobRule>) -> Self {
        // Strongest first among those of one path, and the strictest first among equals.
        paths.sort_by(|left, right| {
            key(left.path.as_path())
                .cmp(key(right.path.as_path()))
                .then(right.strength.cmp(&left.strength))
                .then(left.access.cmp(&right.access))
                .then(left.rule.cmp(&right.rule))
                .then_with(|| left.origin.cmp(&right.origin))
                .then_with(|| left.except.cmp(&right.except))
        });
        paths.dedup();
        globs.sort_by(|left, right| {
            (key(left.anchor.as_path()), &left.glob, left.rule).cmp(&(
                key(right.anchor.as_path()),
                &right.glob,
                right.rule,
            ))
        });
        globs.dedup();
        Self {
            scope,
            paths,
            globs,
            compiled: Cache::default(),
        }
    }

    /// The part of them that judges `roots` and what lies below: there it decides the same.
    #[must_use]
    pub fn below(&self, roots: &[AbsolutePath]) -> Self {
        let speaks_of = |path: &AbsolutePath| {
            let meets = |root: &AbsolutePath| path.starts_with(root) || root.starts_with(path);
            roots.iter().any(meets)
        };
        let paths = self.paths.iter().filter(|rule| speaks_of(&rule.path));
        let globs = self.globs.iter().filter(|rule| speaks_of(&rule.anchor));
        Self {
            scope: self.scope.clone(),
            paths: paths.cloned().collect(),
            globs: globs.cloned().collect(),
            compiled: Cache::default(),
        }
    }

    /// Without the rules on names that may appear later: what is enforced from the start of a session.
    #[must_use]
    pub fn without_globs(&self) -> Self {
        Self {
            globs: Vec::new(),
            ..self.clone()
        }
    }

    /// What they were made for.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The rules on paths, sorted by path.
    #[must_use]
    pub fn paths(&self) -> &[PathRule] {
        &self.paths
    }

    /// The rules on names that may appear later.
    #[must_use]
    pub fn globs(&self) -> &[GlobRule] {
        &self.globs
    }

    /// Judges `operation` (read, write, or connecting to a Unix socket) on `path`.
    ///
    /// A path that is not absolute is refused; one with `..` or repeated separators is normalised first, by letters.
    ///
    /// # Security
    /// The target chooses the path.
    #[must_use]
    pub fn decide(&self, operation: Operation, path: &Path) -> Decision {
        if self.scope.mode == Mode::FullAccess {
            return allow(RuleId::FullAccess, "");
        }
        if is_normal(path) {
            return self.decide_normal(operation, path);
        }
        match AbsolutePath::new(path) {
            Ok(normal) => self.decide_normal(operation, normal.as_path()),
            Err(_) => Decision::Deny {
                rule: self.default_rule(Operation::Write),
                origin: String::new(),
                grant: None,
            },
        }
    }

    /// Whether [`Self::decide`] allows it, without an allocation on a path that is normal already.
    #[must_use]
    pub fn is_allowed(&self, operation: Operation, path: &Path) -> bool {
        if self.scope.mode == Mode::FullAccess {
            return true;
        }
        if !is_normal(path) {
            return matches!(self.decide(operation, path), Decision::Allow { .. });
        }
        if self.first_denial(operation, path).is_some() {
            return false;
        }
        match self.deepest_place(path) {
            Some(place) => place.access.permits(operation),
            None => operation == Operation::Read,
        }
    }

    fn decide_normal(&self, operation: Operation, path: &Path) -> Decision {
        if let Some(found) = self.first_denial(operation, path) {
            return self.deny(found, operation, path);
        }
        if let Operation::Connect | Operation::Syscall | Operation::Signal | Operation::Trace =
            operation
        {
            return self.deny(self.default_match(operation), operation, path);
        }
        match self.deepest_place(path) {
            Some(place) if place.access.permits(operation) => {
                let rule = match (operation, place.access) {
                    // Named for what it refuses; reading is as everywhere.
                    (Operation::Read, PathAccess::ReadOnly) => RuleId::ReadDefault,
                    (_, PathAccess::Hidden | PathAccess::ReadOnly | PathAccess::ReadWrite) => {
                        place.rule
                    }
                };
                allow(rule, &place.origin)
            }
            // What is shown for reading refuses a write as everything outside the roots does.
            Some(place) if place.rule == RuleId::ReadDefault => {
                self.deny(self.default_match(operation), operation, path)
            }
            Some(place) => self.deny(place.found(), operation, path),
            None if operation == Operation::Read => allow(RuleId::ReadDefault, ""),
            None => self.deny(self.default_match(operation), operation, path),
        }
    }

    fn deny(&self, found: Match<'_>, operation: Operation, path: &Path) -> Decision {
        Decision::Deny {
            rule: found.rule,
            origin: found.origin.to_owned(),
            grant: grant::for_path(self, operation, path),
        }
    }

    fn default_rule(&self, operation: Operation) -> RuleId {
        match (operation, self.scope.mode) {
            (Operation::Connect, _) => RuleId::UnixSocket,
            (Operation::Syscall, _) => RuleId::Syscall,
            (Operation::Signal | Operation::Trace, _) => RuleId::OutsideProcess,
            (Operation::Read, _) => RuleId::ReadDefault,
            (Operation::Write, Mode::ReadOnly) => RuleId::ReadOnlyMode,
            (Operation::Write, Mode::WorkspaceWrite | Mode::FullAccess) => {
                RuleId::OutsideWritableRoots
            }
        }
    }

    pub(crate) fn default_match(&self, operation: Operation) -> Match<'_> {
        Match {
            rule: self.default_rule(operation),
            origin: "",
            path: &self.scope.workspace,
        }
    }

    /// The rules on exactly `path`, strongest first.
    fn rules_on(&self, path: &Path) -> &[PathRule] {
        let wanted = key(path);
        let start = self
            .paths
            .partition_point(|rule| key(rule.path.as_path()) < wanted);
        let tail = self.paths.get(start..).unwrap_or_default();
        let length = tail
            .iter()
            .take_while(|rule| key(rule.path.as_path()) == wanted)
            .count();
        tail.get(..length).unwrap_or_default()
    }

    /// The deepest place that holds `path`; the strictest of several on one path.
    pub(crate) fn deepest_place(&self, path: &Path) -> Option<&PathRule> {
        path.ancestors().find_map(|ancestor| {
            self.rules_on(ancestor)
                .iter()
                .find(|rule| rule.strength == Strength::Place && rule.speaks_of(path))
        })
    }

    fn first_denial(&self, operation: Operation, path: &Path) -> Option<Match<'_>> {
        let mut first: Option<&PathRule> = None;
        for rule in self.denying_paths(operation, path) {
            if first.is_none_or(|first| rule.strength > first.strength) {
                first = Some(rule);
            }
        }
        match first {
            Some(rule) => Some(rule.found()),
            None => self.denying_globs(operation, path).next(),
        }
    }

    fn denying_paths<'rules, 'path>(
        &'rules self,
        operation: Operation,
        path: &'path Path,
    ) -> impl Iterator<Item = &'rules PathRule> + use<'rules, 'path> {
        path.ancestors()
            .flat_map(|ancestor| self.rules_on(ancestor))
            .filter(move |rule| {
                rule.strength > Strength::Place
                    && !lets_pass(rule.access, operation)
                    && rule.speaks_of(path)
            })
    }

    fn denying_globs<'rules, 'path>(
        &'rules self,
        operation: Operation,
        path: &'path Path,
    ) -> impl Iterator<Item = Match<'rules>> + use<'rules, 'path> {
        // Nothing is compiled where nothing is anchored.
        let compiled: &[CompiledGlob] = if self.globs.is_empty() {
            &[]
        } else {
            self.compiled.0.get_or_init(|| self.compile())
        };
        self.globs
            .iter()
            .zip(compiled)
            .filter(move |(rule, compiled)| {
                !lets_pass(rule.access, operation) && compiled.covers(&rule.anchor, path)
            })
            .map(|(rule, _)| Match {
                rule: rule.rule,
                origin: &rule.origin,
                path: &rule.anchor,
            })
    }

    /// Every rule that stands in the way of `operation`, whatever places say; `None` if one is a hard block.
    pub(crate) fn all_denials(&self, operation: Operation, path: &Path) -> Option<Vec<Match<'_>>> {
        let mut denials = Vec::new();
        for rule in self.denying_paths(operation, path) {
            if rule.strength == Strength::HardBlock {
                return None;
            }
            denials.push(rule.found());
        }
        denials.extend(self.denying_globs(operation, path));
        Some(denials)
    }

    fn compile(&self) -> Vec<CompiledGlob> {
        let one = |rule: &GlobRule| CompiledGlob {
            // Globs are checked when the policy is resolved; one that fails here covers its whole anchor.
            matcher: Glob::new(&rule.glob).ok(),
            except: rule
                .except
                .iter()
                .filter_map(|glob| Glob::new(glob).ok())
                .collect(),
        };
        self.globs.iter().map(one).collect()
    }
}

impl CompiledGlob {
    /// Whether `path` or a directory above it, below the anchor, matches.
    fn covers(&self, anchor: &AbsolutePath, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(anchor.as_path()) else {
            return false;
        };
        let Some(matcher) = &self.matcher else {
            return true;
        };
        below
            .ancestors()
            .take_while(|part| !part.as_os_str().is_empty())
            .any(|part| {
                matcher.is_match(part) && !self.except.iter().any(|except| except.is_match(part))
            })
    }
}

/// Whether a deny rule of `access` has nothing against `operation`; a hidden socket can't be connected to.
fn lets_pass(access: PathAccess, operation: Operation) -> bool {
    match operation {
        Operation::Connect => access > PathAccess::Hidden,
        Operation::Read
        | Operation::Write
        | Operation::Syscall
        | Operation::Signal
        | Operation::Trace => access.permits(operation),
    }
}

fn allow(rule: RuleId, origin: &str) -> Decision {
    Decision::Allow {
        rule,
        origin: origin.to_owned(),
    }
}

/// Rules are sorted and searched by their bytes: comparing components costs ten times as much.
fn key(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

#[cfg(test)]
mod tests;
