//! The policy's patterns for names in roots.

use std::fmt::Write as _;
use std::path::Path;

use ringfence_policy::Policy;
use ringfence_policy::glob::{Glob, GlobIndex};
use ringfence_policy::policy::{HiddenKind, HiddenPattern};

use super::super::error::ObserveError;
use super::super::hidden::compile;

/// How much of a directory matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Everything.
    Whole,
    /// Only what the person's own patterns name: tools fill the directory.
    OwnPatterns,
}

/// The policy's patterns, compiled once for all roots.
pub(in super::super) struct Patterns {
    compiled: Vec<Pattern>,
    /// Which of them a name can match at all.
    index: GlobIndex,
    fingerprint: String,
    /// Whether a person wrote one of them.
    has_own: bool,
}

struct Pattern {
    hidden: usize,
    kind: HiddenKind,
    glob: Glob,
    except: Vec<Glob>,
}

impl Patterns {
    /// Compiles the patterns of `policy`.
    ///
    /// # Errors
    /// [`ObserveError::Glob`].
    pub(in super::super) fn compile(policy: &Policy) -> Result<Self, ObserveError> {
        let mut patterns = Vec::new();
        let mut words = Vec::new();
        let mut fingerprint = String::new();
        for (hidden, entry) in policy.filesystem.hidden.iter().enumerate() {
            let HiddenPattern::RootGlob { glob, except } = &entry.pattern else {
                continue;
            };
            // Writing to a String can't fail.
            let _ = writeln!(fingerprint, "{hidden} {:?} {glob:?} {except:?}", entry.kind);
            words.push(glob.as_str());
            patterns.push(Pattern {
                hidden,
                kind: entry.kind,
                glob: compile(glob)?,
                except: except
                    .iter()
                    .map(|glob| compile(glob))
                    .collect::<Result<_, _>>()?,
            });
        }
        let has_own = patterns
            .iter()
            .any(|pattern| pattern.kind == HiddenKind::DenyRead);
        Ok(Self {
            compiled: patterns,
            index: GlobIndex::new(words),
            fingerprint,
            has_own,
        })
    }

    /// What tells these patterns from others.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether a person wrote one of them.
    pub(super) fn has_own(&self) -> bool {
        self.has_own
    }

    /// The policy's hidden entries that `relative` matches, whose last name is `name`.
    pub(super) fn matching<'a>(
        &'a self,
        relative: &'a Path,
        name: &'a [u8],
        depth: Depth,
    ) -> impl Iterator<Item = usize> + use<'a> {
        self.index
            .candidates(name)
            .filter_map(|place| self.compiled.get(place))
            .filter(move |pattern| {
                (depth == Depth::Whole || pattern.kind == HiddenKind::DenyRead)
                    && pattern.glob.is_match(relative)
                    && !pattern.except.iter().any(|glob| glob.is_match(relative))
            })
            .map(|pattern| pattern.hidden)
    }
}
