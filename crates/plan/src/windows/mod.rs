//! The planner for Windows: policy, host facts and what was done before in; accounts, descriptors, filters out.
//!
//! Everything is decided here, on any machine. Nothing of it has been executed on Windows yet.
//!
//! A plan before set-up names accounts that do not exist by [`sids::Placeholder`]s: it is for reading and for set-up;
//! the person's steps are planned anew once the accounts are there. Invariant: on a machine where everything is as
//! planned there is no step, and the same input gives the same plan.

pub mod audit;
pub mod descriptors;
pub mod egress;
mod environment;
pub mod error;
pub mod facts;
pub mod filters;
mod held;
pub mod launch;
pub mod lint;
pub mod live;
pub mod machine;
mod objects;
mod outside;
pub mod path;
pub mod plan;
pub mod reach;
pub mod refuse;
pub mod render;
mod roots;
mod sddl;
mod session;
pub mod sids;
pub mod step;
mod steps;
pub mod walk;

use std::collections::{BTreeMap, BTreeSet};

use ringfence_nt::Sid;
use ringfence_nt::fs::LinkRule;
use ringfence_policy::Policy;
use ringfence_policy::document::{Mode, NetworkMode, Require, WindowsSandbox};

pub use error::PlanError;
pub use objects::Objects;
pub use path::{WindowsPath, WindowsPathError};
pub use plan::{Accounts, GrantedRoot, HeldObject, WindowsLedger, WindowsPlan};
pub use roots::{file_policy_hash, home_name};
pub use session::{rules, session_plan};

use crate::plan::{Guard, Level, Missing};
use crate::windows::descriptors::Trustees;
use crate::windows::facts::{CopiedToken, Residency, WindowsFacts};
use crate::windows::filters::FilterForm;
use crate::windows::held::{Collected, Collector, Describe};
use crate::windows::launch::{Identity, Launch, LaunchSpec, Network, WriteClassRule};
use crate::windows::machine::Machine;
use crate::windows::outside::Outside;
use crate::windows::reach::Reach;
use crate::windows::refuse::{Refusal, RefuseList};
use crate::windows::roots::Roots;
use crate::windows::step::{AccountRole, PersonInverse, PersonStep, Purpose};
use crate::windows::steps::Steps;

/// What every record and screen of same-user mode says.
pub const SAME_USER: &str = "network: advisory, secrets: readable";

/// Whether commands of `policy` run as the person on Windows; then what is said of them is to say [`SAME_USER`].
#[must_use]
pub fn is_same_user(policy: &Policy) -> bool {
    policy.mode.value != Mode::FullAccess
        && policy.windows_sandbox.value == WindowsSandbox::Unelevated
}

/// Plans sessions of `policy` on the host of `facts`, after what `ledger` says was done before.
///
/// # Errors
/// [`PlanError`]: the policy asks for what can't be, or the host can't hold the boundary. Nothing has been done.
///
/// # Security
/// Names inside the roots are an attacker's, and so are repositories, their configuration, and descriptors of what
/// earlier commands made.
pub fn plan(
    policy: &Policy,
    facts: &WindowsFacts,
    ledger: &WindowsLedger,
) -> Result<WindowsPlan, PlanError> {
    if policy.mode.value == Mode::FullAccess {
        return Ok(unbounded(policy, facts, ledger));
    }
    let accounts = accounts(policy, facts);
    check_class(facts, accounts, WriteClassRule::least(accounts))?;
    let plan = Planner::new(policy, facts, ledger, accounts).plan()?;
    live::check_beside(&plan, &facts.sessions)?;
    if policy.require.value == Require::Full && plan.level != Level::Full {
        return Err(PlanError::RequireFull {
            missing: plan.missing,
        });
    }
    Ok(plan)
}

/// Why the last root of `facts` can't be a writable root; `None` where it can. What is in it is not asked.
///
/// # Errors
/// [`PlanError`] where the facts say too little, or the object can't be told from another.
pub fn refuse_root(policy: &Policy, facts: &WindowsFacts) -> Result<Option<Refusal>, PlanError> {
    let Some(root) = facts.roots.last() else {
        return Ok(None);
    };
    let objects = Objects::new(facts);
    let list = RefuseList::new(facts, &objects);
    let person = &facts.person;
    let accounts = accounts(policy, facts);
    let reach = Reach::new(accounts.sids().as_ref(), person.sid, &person.groups);
    match refuse::check_root(root, &list, &reach) {
        Ok(_) => Ok(None),
        Err(PlanError::ForbiddenRoot { refusal, .. }) => Ok(Some(refusal)),
        Err(error) => Err(error),
    }
}

/// What takes everything back that `ledger` says was done with the person's rights: the inverses, the last step first.
///
/// The machine's steps are undone by set-up, from its own ledger, in the same way.
#[must_use]
pub fn plan_uninstall(ledger: &WindowsLedger) -> Vec<PersonInverse> {
    ledger
        .person
        .iter()
        .rev()
        .map(PersonStep::inverse)
        .collect()
}

/// What `policy` closes in the roots of `facts`, to write or to read: the observer looks in these directories for objects
/// that were moved in with the rights of another place ([`facts::WindowsRoot::astray`]).
#[must_use]
pub fn closed_paths(policy: &Policy, facts: &WindowsFacts) -> Vec<WindowsPath> {
    if policy.mode.value == Mode::FullAccess {
        return Vec::new();
    }
    held::closed(policy, facts, accounts(policy, facts))
}

fn accounts(policy: &Policy, facts: &WindowsFacts) -> Accounts {
    match (policy.windows_sandbox.value, facts.accounts()) {
        (WindowsSandbox::Unelevated, _) => Accounts::Person,
        (WindowsSandbox::Elevated, Some(sids)) => Accounts::Made(sids),
        (WindowsSandbox::Elevated, None) => Accounts::ToBeMade(sids::accounts_to_be()),
    }
}

/// Whether what was measured of the second pass suffices; same-user mode needs it measured before anything is planned.
fn check_class(
    facts: &WindowsFacts,
    accounts: Accounts,
    rule: WriteClassRule,
) -> Result<(), PlanError> {
    match facts.write_class {
        Some(class) if !rule.accepts(class) => Err(PlanError::WriteClass),
        None if accounts == Accounts::Person => Err(PlanError::NotMeasured),
        Some(_) | None => Ok(()),
    }
}

/// What planning one session works on.
struct Planner<'a> {
    policy: &'a Policy,
    facts: &'a WindowsFacts,
    ledger: &'a WindowsLedger,
    accounts: Accounts,
    marker: Sid,
    reach: Reach,
    objects: Objects<'a>,
}

impl<'a> Planner<'a> {
    fn new(
        policy: &'a Policy,
        facts: &'a WindowsFacts,
        ledger: &'a WindowsLedger,
        accounts: Accounts,
    ) -> Self {
        let person = &facts.person;
        Self {
            policy,
            facts,
            ledger,
            accounts,
            marker: sids::marker(&ledger.secret, ledger.shape, person.sid),
            reach: Reach::new(accounts.sids().as_ref(), person.sid, &person.groups),
            objects: Objects::new(facts),
        }
    }

    fn plan(&self) -> Result<WindowsPlan, PlanError> {
        let machine = self.machine()?;
        let list = RefuseList::new(self.facts, &self.objects);
        let roots = Roots {
            policy: self.policy,
            facts: self.facts,
            ledger: self.ledger,
            accounts: self.accounts,
            marker: self.marker,
        }
        .check(&list, &self.reach)?;
        let paths: Vec<WindowsPath> = roots
            .trustees
            .iter()
            .map(|(path, _)| path.clone())
            .collect();
        let collected = Collector::new(self.policy, &paths, self.accounts).collect(self.facts)?;
        let describe = Describe {
            objects: &self.objects,
            reach: &self.reach,
            roots: &roots.trustees,
        };
        let mut held = describe.all(&collected)?;
        let elsewhere = Trustees {
            accounts: self.accounts.sids(),
            person: self.facts.person.sid,
            capabilities: Vec::new(),
            known: roots.known.clone(),
        };
        let mut outside = Outside {
            facts: self.facts,
            objects: &self.objects,
            reach: &self.reach,
            list: &list,
            trustees: &elsewhere,
            roots: &paths,
            denied: self.denied_before(),
            held: BTreeMap::new(),
            path: Vec::new(),
            rule: WriteClassRule::least(self.accounts),
            notes: Vec::new(),
            missing: Vec::new(),
        };
        match self.accounts {
            Accounts::Made(_) | Accounts::ToBeMade(_) => outside.all(self.policy)?,
            // The person reaches what they reach; nothing outside names them.
            Accounts::Person => {}
        }
        let Outside {
            held: more,
            path,
            rule,
            mut notes,
            mut missing,
            ..
        } = outside;
        check_class(self.facts, self.accounts, rule)?;
        held.extend(more.into_values());
        held.sort_by(|a, b| a.object.path.cmp(&b.object.path));
        let mut all_notes = self.notes(&machine);
        all_notes.extend(collected.notes.iter().cloned());
        all_notes.append(&mut notes);
        all_notes.extend(self.denied_elsewhere(&held, &paths));
        let of_network = egress::missing(self.policy, self.accounts);
        let of_network = self.escaping().into_iter().chain(of_network);
        let of_network = self.linking().into_iter().chain(of_network);
        missing.splice(0..0, self.missing().into_iter().chain(of_network));
        let launch = self.launch(&roots.roots, &path, rule)?;
        let mut person_steps: Vec<PersonStep> =
            steps::home(&roots.roots, &roots.trustees, &self.objects)
                .into_iter()
                .collect();
        let changes = Steps {
            facts: self.facts,
            objects: &self.objects,
            held: &held,
            reach: &self.reach,
            roots: &roots.trustees,
        };
        person_steps.extend(changes.all()?);
        Ok(WindowsPlan {
            level: if missing.is_empty() {
                Level::Full
            } else {
                Level::Partial
            },
            missing,
            notes: all_notes,
            person: self.facts.person.sid,
            accounts: self.accounts,
            marker: self.marker,
            machine_steps: machine.steps,
            machine_hash: machine.hash,
            person_steps,
            known: roots.known.clone(),
            collected: roots.collected,
            guard: self.guard(collected, paths),
            roots: roots.roots,
            held,
            launch: Some(launch),
        })
    }

    fn machine(&self) -> Result<Machine, PlanError> {
        match self.accounts {
            Accounts::Made(_) | Accounts::ToBeMade(_) => {
                machine::plan(self.facts, self.marker, self.policy.windows_loopback.value)
            }
            Accounts::Person => Ok(Machine {
                steps: Vec::new(),
                hash: String::new(),
            }),
        }
    }

    /// What same-user mode can't hold, by a name that says it: whatever tells what is missing says it.
    fn missing(&self) -> Option<Missing> {
        match self.accounts {
            Accounts::Made(_) | Accounts::ToBeMade(_) => None,
            Accounts::Person => Some(Missing {
                what: SAME_USER.to_owned(),
                cause: "commands run as you: they read what you read, and nothing holds programs that do not ask the variables which discourage them from the network".to_owned(),
                cure: "let an administrator run `ringfence setup install`, and use `sandbox = \"elevated\"`".to_owned(),
            }),
        }
    }

    /// What policies of the person have denied reading, by what was done.
    fn denied_before(&self) -> BTreeSet<WindowsPath> {
        let steps = self.ledger.person.iter();
        steps
            .filter_map(|step| match step {
                PersonStep::SetDacl {
                    object,
                    purpose: Purpose::DeniedRead,
                    ..
                } => Some(object.path.clone()),
                PersonStep::SetDacl { .. }
                | PersonStep::Walk { .. }
                | PersonStep::MakeHome { .. } => None,
            })
            .collect()
    }

    /// What another policy of the person keeps from all their sandboxed commands: reading is denied to the group, and
    /// taking that away for one session would give it to the others.
    fn denied_elsewhere(&self, held: &[HeldObject], roots: &[WindowsPath]) -> Vec<String> {
        let is_own = |path: &WindowsPath| {
            let mut own = held.iter();
            own.any(|one| one.object.path == *path && one.purpose == Purpose::DeniedRead)
                || roots.iter().any(|root| path.starts_with(root))
        };
        self.denied_before()
            .into_iter()
            .filter(|path| !is_own(path))
            .map(|path| {
                let path = path.printable();
                format!(
                    "`{path}` is read by no sandboxed command of yours: another policy of yours denies it. Where none does any more: `ringfence setup repair \"{path}\"`"
                )
            })
            .collect()
    }

    /// Whether sessions of this policy rest on the network filters.
    fn is_filtered(&self) -> bool {
        self.accounts != Accounts::Person && self.policy.network.mode.value != NetworkMode::Open
    }

    /// What further names of files break, unless this machine was seen to ask for `FILE_WRITE_ATTRIBUTES`.
    ///
    /// No entry helps: who may link what they can only read gives it a name in a directory of their own, whose
    /// `FILE_DELETE_CHILD` is DELETE on it, and supersedes it there.
    fn linking(&self) -> Option<Missing> {
        let (cause, cure) = match self.facts.links {
            Some(LinkRule::WriteAttributes) => return None,
            Some(LinkRule::AnyHandle) => (
                "read-only-files: partial. This Windows lets a command link files that it can only read, in its roots or outside, and empty them by the new name",
                "keep what must not be emptied under version control elsewhere; a current Windows asks for more",
            ),
            None => (
                "read-only-files: partial. Whether this Windows lets a command link files that it can only read, in its roots or outside, and empty them by the new name, has not been measured",
                "measure it: `ringfence audit`",
            ),
        };
        Some(Missing {
            what: "read-only-files".to_owned(),
            cause: cause.to_owned(),
            cure: cure.to_owned(),
        })
    }

    /// What gets past the network filters by what was measured of them.
    fn escaping(&self) -> Option<Missing> {
        let filtering = &self.facts.filtering;
        let form = FilterForm::of(filtering);
        let copies = form.measured(filtering).filter(|_| self.is_filtered())?;
        let which = match (copies.deny_only, copies.anonymous) {
            (CopiedToken::Matched, CopiedToken::Matched) => return None,
            (CopiedToken::Escapes, CopiedToken::Matched) => {
                "a copy of its token in which the account is deny-only"
            }
            (CopiedToken::Matched, CopiedToken::Escapes) => "an anonymous token",
            (CopiedToken::Escapes, CopiedToken::Escapes) => {
                "a copy of its token in which the account is deny-only, or an anonymous one,"
            }
        };
        Some(Missing {
            what: "network".to_owned(),
            cause: format!("network: partial. A command that connects with {which} gets past the filters"),
            cure: match form {
                FilterForm::Named => "let an administrator agree to filters that permit everybody else and block what is left: `ringfence setup install --complement-filters`".to_owned(),
                FilterForm::Complement | FilterForm::ComplementWithoutAnonymous => {
                    "`ringfence audit` prints what was measured; please report it, with the Windows build".to_owned()
                }
            },
        })
    }

    /// What is not known of the network filters, and whom else they hit.
    fn filter_notes(&self) -> Vec<String> {
        let filtering = &self.facts.filtering;
        let form = FilterForm::of(filtering);
        let mut notes = Vec::new();
        if !self.is_filtered() {
            return notes;
        }
        if form.measured(filtering).is_none() {
            notes.push("whether a copy of a command's token (the account deny-only, or anonymous) gets past the network filters has not been measured on this machine: `ringfence audit`".to_owned());
        }
        match form {
            FilterForm::Named => {}
            FilterForm::Complement => notes.push("the network filters block everybody whom they do not permit: programs of others whose restricted token has neither Everyone, RESTRICTED nor WRITE RESTRICTED, too".to_owned()),
            FilterForm::ComplementWithoutAnonymous => notes.push("the network filters block everybody whom they do not permit: programs of others that connect anonymously, or whose restricted token has neither Everyone, RESTRICTED nor WRITE RESTRICTED, too".to_owned()),
        }
        notes
    }

    fn notes(&self, machine: &Machine) -> Vec<String> {
        let mut notes = Vec::new();
        if let Accounts::ToBeMade(_) = self.accounts {
            notes.push(
                "set-up has not run: GROUP, OFFLINE and ONLINE stand for accounts that it makes"
                    .to_owned(),
            );
        } else if !machine.steps.is_empty() {
            notes.push(
                "set-up has to run again: what it did is not what this policy and this machine need".to_owned(),
            );
        }
        if self.facts.write_class.is_none() {
            notes.push(
                "which rights a restricted token is checked for is measured before the first command; unless DELETE, WRITE_DAC and WRITE_OWNER are among them, nothing runs".to_owned(),
            );
        }
        notes.extend(self.filter_notes());
        notes.extend(egress::notes(self.policy, self.accounts));
        for root in &self.facts.roots {
            if let facts::Reached::Directory { path } = &root.reached
                && self
                    .objects
                    .get(path)
                    .is_some_and(|fact| fact.residency == Residency::Placeholder)
            {
                notes.push(format!(
                    "`{}` is kept by OneDrive or its like: files that are not on this machine are fetched when commands read them",
                    path.printable()
                ));
            }
        }
        notes
    }

    fn guard(&self, collected: Collected, roots: Vec<WindowsPath>) -> Guard<WindowsPath> {
        Guard {
            absent: collected.absent,
            roots,
            new_repositories: self.policy.filesystem.new_repositories.value,
            commit_directories: collected.commit_directories,
        }
    }

    fn launch(
        &self,
        roots: &[GrantedRoot],
        path: &[WindowsPath],
        write_class: WriteClassRule,
    ) -> Result<LaunchSpec, PlanError> {
        let open = self.policy.network.mode.value == NetworkMode::Open;
        let loopback = self.policy.windows_loopback.value;
        let (identity, network) = match self.accounts {
            Accounts::Person => (Identity::Person, Network::Advisory),
            Accounts::Made(_) | Accounts::ToBeMade(_) if open => {
                (Identity::Account(AccountRole::Online), Network::Open)
            }
            Accounts::Made(_) | Accounts::ToBeMade(_) => (
                Identity::Account(AccountRole::Offline),
                Network::of(loopback),
            ),
        };
        let workspace = roots.first().ok_or_else(|| PlanError::FactsMismatch {
            what: "the workspace".to_owned(),
        })?;
        let directory = workspace.object.path.clone();
        let (policy, facts) = (self.policy, self.facts);
        let environment = match self.accounts {
            Accounts::Person => environment::of_person(policy, facts, path, workspace)?,
            Accounts::Made(_) | Accounts::ToBeMade(_) => {
                environment::of_account(policy, facts, path, workspace)?
            }
        };
        let proxy = egress::ports(policy, facts, self.accounts)?;
        let writable = match self.policy.mode.value {
            Mode::WorkspaceWrite | Mode::FullAccess => roots,
            // Without a capability in the token the second pass refuses every write.
            Mode::ReadOnly => &[],
        };
        let shells = facts.shells.iter();
        Ok(Launch {
            policy,
            accounts: self.accounts.sids(),
            identity,
            network,
            proxy,
            write_class,
            person: facts.person.sid,
            marker: self.marker,
            capabilities: writable
                .iter()
                .map(|root| (root.capability, root.object.path.printable()))
                .chain([(workspace.home_sid, workspace.home.printable())])
                .collect(),
            environment,
            directory,
            shells: shells
                .map(|shell| (shell.name.clone(), shell.path.clone()))
                .collect(),
        }
        .spec())
    }
}

/// The plan of `full-access`: no boundary, and a note that says so.
fn unbounded(policy: &Policy, facts: &WindowsFacts, ledger: &WindowsLedger) -> WindowsPlan {
    let person = facts.person.sid;
    WindowsPlan {
        level: Level::None,
        missing: Vec::new(),
        notes: vec![
            "mode = \"full-access\": there is no boundary, the command can do what its caller can"
                .to_owned(),
        ],
        person,
        accounts: Accounts::Person,
        marker: sids::marker(&ledger.secret, ledger.shape, person),
        known: Vec::new(),
        machine_steps: Vec::new(),
        machine_hash: String::new(),
        person_steps: Vec::new(),
        roots: Vec::new(),
        held: Vec::new(),
        collected: Vec::new(),
        guard: Guard {
            absent: Vec::new(),
            roots: Vec::new(),
            new_repositories: policy.filesystem.new_repositories.value,
            commit_directories: Vec::new(),
        },
        launch: None,
    }
}
