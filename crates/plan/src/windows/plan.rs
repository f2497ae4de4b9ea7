//! The plan for Windows: what is done to the machine, what with the person's own rights, and how commands start.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use ringfence_nt::{SecurityDescriptor, Sid};

use crate::plan::{Guard, Level, Missing, PlanHash};
use crate::render::hexadecimal;
use crate::windows::descriptors::Trustees;
use crate::windows::launch::LaunchSpec;
use crate::windows::path::WindowsPath;
use crate::windows::reach::Reach;
use crate::windows::roots::trustees_of;
use crate::windows::sids::{RootGrant, SidSecret, SidShape};
use crate::windows::step::{
    AccountSids, FileId, MachineStep, Object, ObjectKind, PersonStep, Purpose,
};

/// What was done before, for this person: what a plan needs of both ledgers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WindowsLedger {
    /// The person's secret, from which SIDs are derived. Made once, when their ledger is.
    pub secret: SidSecret,
    /// What SIDs of ours look like on this machine.
    pub shape: SidShape,
    /// Machine steps that were carried out and not undone, in order.
    pub machine: Vec<MachineStep>,
    /// The person's steps that were carried out and not undone, in order.
    pub person: Vec<PersonStep>,
}

/// Who runs commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accounts {
    /// The accounts of a finished set-up.
    Made(AccountSids),
    /// Set-up has to make them first; these SIDs stand for them, and plans are made anew when they exist.
    ToBeMade(AccountSids),
    /// The person: same-user mode.
    Person,
}

impl Accounts {
    /// The SIDs that descriptors of the plan name; none in same-user mode.
    #[must_use]
    pub const fn sids(&self) -> Option<AccountSids> {
        match self {
            Self::Made(sids) | Self::ToBeMade(sids) => Some(*sids),
            Self::Person => None,
        }
    }
}

/// One root that commands may write, with its SID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedRoot {
    /// The directory.
    pub object: Object,
    /// What its SID grants.
    pub grant: RootGrant,
    /// Its capability SID: on the root, and in the tokens of this policy's targets.
    pub capability: Sid,
    /// Its private home, made where it is the workspace.
    pub home: WindowsPath,
    /// The SID that writes the home: in the tokens of all targets whose workspace it is.
    pub home_sid: Sid,
    /// The hash of the file policy that it is under while a session lives.
    pub policy: String,
}

/// An object that has a descriptor of ours when the plan has been carried out, whether or not anything has to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldObject {
    /// Which.
    pub object: Object,
    /// Why.
    pub purpose: Purpose,
    /// The words of the policy, or what leads here.
    pub origin: String,
    /// The root that it belongs to, as an index; none away from roots.
    pub root: Option<usize>,
    /// What it has then.
    pub descriptor: SecurityDescriptor,
}

/// Everything that will be done, in order, and nothing left to decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowsPlan {
    /// How much of the boundary it holds.
    pub level: Level,
    /// What it can't hold.
    pub missing: Vec<Missing>,
    /// What a person should know, one line each.
    pub notes: Vec<String>,
    /// Who asks.
    pub person: Sid,
    /// Who runs commands.
    pub accounts: Accounts,
    /// The marker SID of the person's targets.
    pub marker: Sid,
    /// Every SID of ours that may stand on an object beside a root's own, sorted.
    pub known: Vec<Sid>,
    /// Steps of the elevated set-up; empty where it has been done.
    pub machine_steps: Vec<MachineStep>,
    /// The hash of all machine steps that this person needs, done or not: what the machine's record names.
    pub machine_hash: String,
    /// Steps with the person's own rights; empty in steady state.
    pub person_steps: Vec<PersonStep>,
    /// The roots.
    pub roots: Vec<GrantedRoot>,
    /// Every object that is held, sorted by path.
    pub held: Vec<HeldObject>,
    /// Capability SIDs that are given up, with the root that each was for: the object is gone.
    pub collected: Vec<(Sid, FileId)>,
    /// What is watched and swept.
    pub guard: Guard<WindowsPath>,
    /// How commands start; none without a boundary.
    pub launch: Option<LaunchSpec>,
}

impl WindowsPlan {
    /// SHA-256 of the plan's canonical JSON: fields in the order of their definition, no spaces.
    #[must_use]
    pub fn hash(&self) -> PlanHash {
        PlanHash(digest(self))
    }

    /// Whom entries name at the root of this index, and away from roots without one.
    #[must_use]
    pub fn trustees(&self, root: Option<usize>) -> Trustees {
        match root.and_then(|index| self.roots.get(index)) {
            Some(root) => trustees_of(root, &self.roots, self.accounts, self.person, &self.known),
            None => Trustees {
                accounts: self.accounts.sids(),
                person: self.person,
                capabilities: Vec::new(),
                known: self.known.clone(),
            },
        }
    }

    /// What the accounts could reach by themselves, for the rules of walks.
    #[must_use]
    pub fn reach(&self) -> Reach {
        Reach::new(self.accounts.sids().as_ref(), self.person, &[])
    }

    /// Directories inside the roots that must stay and could be made junctions while they are empty: nothing in them
    /// has to stay too. To add a file and to make an empty directory a junction are one right.
    pub fn emptiable(&self) -> impl Iterator<Item = &Object> {
        let parents: HashSet<WindowsPath> = self
            .held
            .iter()
            .filter_map(|held| held.object.path.parent())
            .collect();
        let between = self.held.iter().filter(|held| {
            held.purpose == Purpose::Between && held.object.kind == ObjectKind::Directory
        });
        between
            .map(|held| &held.object)
            .filter(move |object| !parents.contains(&object.path))
    }

    /// Why what lies at this path is closed to the accounts by what is held above it, if it is.
    #[must_use]
    pub fn closed_by(&self, path: &WindowsPath) -> Option<Purpose> {
        let above = path.ancestors().find_map(|above| {
            let held = self.held_at(&above)?;
            let decides = matches!(
                held.purpose,
                Purpose::Root | Purpose::Protected | Purpose::Secret
            );
            decides.then_some(held.purpose)
        });
        above.filter(|purpose| *purpose != Purpose::Root)
    }

    /// The object that is held at `path`.
    #[must_use]
    pub fn held_at(&self, path: &WindowsPath) -> Option<&HeldObject> {
        self.held
            .binary_search_by(|held| held.object.path.cmp(path))
            .ok()
            .and_then(|index| self.held.get(index))
    }
}

/// SHA-256 of a plain value's JSON, in hexadecimal.
pub(crate) fn digest<T: Serialize + std::fmt::Debug>(value: &T) -> String {
    let mut hasher = Sha256::new();
    // Serialising plain values can't fail; a failure must still not look like another value.
    match serde_json::to_vec(value) {
        Ok(json) => hasher.update(&json),
        Err(error) => hasher.update(format!("unserialisable: {error}: {value:?}").as_bytes()),
    }
    hexadecimal(&hasher.finalize())
}
