//! The roots of a policy: checked against the refuse list, each with its capability SID and private home.
//!
//! Invariant: a root has one file policy at a time, and a person no more capability SIDs than a token can hold.

use std::collections::HashSet;

use ringfence_nt::Sid;
use ringfence_policy::Policy;
use ringfence_policy::document::{GitAccess, NetworkMode};
use ringfence_policy::escape::escape_windows;

use crate::windows::descriptors::Trustees;
use crate::windows::error::{PlanError, below};
use crate::windows::facts::{ObjectFact, Reached, WindowsFacts};
use crate::windows::machine::MachineDirectories;
use crate::windows::path::WindowsPath;
use crate::windows::plan::{Accounts, GrantedRoot, WindowsLedger, digest};
use crate::windows::reach::Reach;
use crate::windows::refuse::{RefuseList, check_root};
use crate::windows::sids::{self, MAX_CAPABILITIES, RootGrant};
use crate::windows::step::FileId;

/// What the roots are checked with.
#[derive(Debug)]
pub(crate) struct Roots<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) facts: &'a WindowsFacts,
    pub(crate) ledger: &'a WindowsLedger,
    pub(crate) accounts: Accounts,
    pub(crate) marker: Sid,
}

/// The roots that are granted.
#[derive(Debug)]
pub(crate) struct Granted {
    /// In the policy's order, each object once.
    pub(crate) roots: Vec<GrantedRoot>,
    /// Final path and trustees of each.
    pub(crate) trustees: Vec<(WindowsPath, Trustees)>,
    /// Every SID of ours that may stand on an object beside a root's own.
    pub(crate) known: Vec<Sid>,
    /// Capability SIDs whose root is gone.
    pub(crate) collected: Vec<(Sid, FileId)>,
}

/// The hash of what a policy says about files: sessions that share a root must agree on it.
#[must_use]
pub fn file_policy_hash(policy: &Policy) -> String {
    let filesystem = &policy.filesystem;
    let protected: Vec<&str> = filesystem
        .protected
        .iter()
        .map(|name| name.value.as_str())
        .collect();
    let hidden: Vec<_> = filesystem
        .hidden
        .iter()
        .map(|hidden| (&hidden.pattern, &hidden.except))
        .collect();
    digest(&(
        protected,
        hidden,
        filesystem.git.value,
        filesystem.new_repositories.value,
    ))
}

/// The name of the private home that a root has for one kind of network.
#[must_use]
pub fn home_name(root: FileId, network: NetworkMode) -> String {
    let name = digest(&(root, network));
    name.get(..16).unwrap_or_default().to_owned()
}

impl<'a> Roots<'a> {
    /// Checks every root and gives it its SID.
    ///
    /// # Errors
    /// [`PlanError`]: a root is refused, or one too many.
    pub(crate) fn check(&self, list: &RefuseList<'a>, reach: &Reach) -> Result<Granted, PlanError> {
        self.match_policy()?;
        let policy_hash = file_policy_hash(self.policy);
        let mut seen = HashSet::new();
        let mut roots = Vec::new();
        for root in &self.facts.roots {
            let fact = check_root(root, list, reach)?;
            if !seen.insert(fact.object.id) {
                continue;
            }
            roots.push(self.grant(fact, &policy_hash)?);
        }
        let (kept, gone) = sids::collect(&self.facts.capabilities);
        let mut given: HashSet<FileId> = kept.iter().map(|one| one.root).collect();
        given.extend(seen);
        if given.len() > MAX_CAPABILITIES {
            return Err(PlanError::TooManyRoots {
                count: given.len(),
                limit: MAX_CAPABILITIES,
            });
        }
        let known = self.known(&roots);
        Ok(Granted {
            trustees: self.trustees(&roots, &known),
            known,
            collected: gone.into_iter().map(|one| (one.sid, one.root)).collect(),
            roots,
        })
    }

    /// The facts must speak of the policy's roots, in its order.
    fn match_policy(&self) -> Result<(), PlanError> {
        let mismatch = |what: String| PlanError::FactsMismatch { what };
        let policy = std::iter::once(&self.policy.workspace).chain(
            self.policy
                .filesystem
                .writable_roots
                .iter()
                .map(|root| &root.value),
        );
        let mut facts = self.facts.roots.iter();
        for wanted in policy {
            let told = facts
                .next()
                .ok_or_else(|| mismatch(format!("the root `{wanted}`")))?;
            let same = match (
                WindowsPath::from_policy(wanted),
                WindowsPath::parse(&told.named),
            ) {
                (Ok(wanted), Ok(told)) => wanted == told,
                // No path on a drive: it will be refused by what the facts say it is.
                (Err(_), Err(_)) => !matches!(told.reached, Reached::Directory { .. }),
                (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
            };
            if !same {
                return Err(mismatch(format!("the root `{wanted}`")));
            }
        }
        match facts.next() {
            Some(more) => Err(mismatch(format!(
                "the policy's roots alone: `{}` is none of them",
                escape_windows(&more.named)
            ))),
            None => Ok(()),
        }
    }

    fn grant(&self, fact: &ObjectFact, policy: &str) -> Result<GrantedRoot, PlanError> {
        let grant = match self.policy.filesystem.git.value {
            GitAccess::ReadOnly => RootGrant::Write,
            GitAccess::Commit | GitAccess::Full => RootGrant::Commit,
        };
        let id = fact.object.id;
        let home = match self.accounts {
            Accounts::Made(_) | Accounts::ToBeMade(_) => MachineDirectories::of(self.facts)?.home,
            Accounts::Person => below(&self.facts.state, "Homes")?,
        };
        // One home, and one SID that writes it, per root object and kind of network: state must not travel from an
        // open network to a closed one.
        let network = self.policy.network.mode.value;
        let name = home_name(id, network);
        Ok(GrantedRoot {
            object: fact.object.clone(),
            grant,
            capability: sids::capability(&self.ledger.secret, self.ledger.shape, id, grant),
            home: below(&home, &name)?,
            home_sid: sids::home(&self.ledger.secret, self.ledger.shape, id, network),
            policy: policy.to_owned(),
        })
    }

    /// Both SIDs of each root, those given out before, and the marker.
    fn known(&self, roots: &[GrantedRoot]) -> Vec<Sid> {
        let WindowsLedger { secret, shape, .. } = self.ledger;
        let mut known = vec![self.marker];
        for root in roots {
            for grant in [RootGrant::Write, RootGrant::Commit] {
                known.push(sids::capability(secret, *shape, root.object.id, grant));
            }
            known.push(root.home_sid);
        }
        known.extend(self.facts.capabilities.iter().map(|one| one.sid));
        known.sort_unstable();
        known.dedup();
        known
    }

    fn trustees(&self, roots: &[GrantedRoot], known: &[Sid]) -> Vec<(WindowsPath, Trustees)> {
        roots
            .iter()
            .map(|root| {
                let path = root.object.path.clone();
                let trustees =
                    trustees_of(root, roots, self.accounts, self.facts.person.sid, known);
                (path, trustees)
            })
            .collect()
    }
}

/// Whom the entries of `root` name: its own capability first, then those of roots that it lies in.
pub(crate) fn trustees_of(
    root: &GrantedRoot,
    roots: &[GrantedRoot],
    accounts: Accounts,
    person: Sid,
    known: &[Sid],
) -> Trustees {
    let above = roots
        .iter()
        .filter(|other| root.object.path.is_below(&other.object.path))
        .map(|other| other.capability);
    Trustees {
        accounts: accounts.sids(),
        person,
        capabilities: std::iter::once(root.capability).chain(above).collect(),
        known: known.to_vec(),
    }
}
