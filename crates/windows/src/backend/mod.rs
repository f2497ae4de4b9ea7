//! The Windows executor behind the contract: observe this machine, carry a plan's steps out with the person's own
//! rights, launch its session.
//!
//! It decides nothing. In steady state (no step in the plan) no list is written and no helper started but the session's
//! runner. Invariant: without a finished set-up nothing is launched that the plan gives to an account.

pub mod audited;
pub mod elevated;
pub mod grants;
pub mod live;
pub mod person;
pub mod readable;
mod running;
mod scans;
mod unbounded;
pub mod undoing;

use std::path::PathBuf;

use ringfence_backend::call::CallFailure;
use ringfence_backend::causes::chain;
use ringfence_backend::session::{
    Backend, BorrowedDescriptor, Cause, LaunchFault, ObserveFault, RunningSession,
};
use ringfence_backend::windows::{Due, SetupDue, explain_code};
use ringfence_plan::plan::Level;
use ringfence_plan::windows::facts::WindowsFacts;
use ringfence_plan::windows::launch::Identity;
use ringfence_plan::windows::step::Object;
use ringfence_plan::windows::{WindowsLedger, WindowsPlan};
use ringfence_plan::{HostFacts, Plan};
use ringfence_policy::decision::RefusedRoot;
use ringfence_policy::escape::escape_path;
use ringfence_policy::{AbsolutePath, Policy};

use crate::launch::{Account, OpenError, Order, Session};
use crate::observe::Surroundings;
use crate::observe::disk::Disk;
use crate::observe::look::{Look, Seen};
use crate::observe::machine::{self, Known};
use crate::observe::write_class;
use crate::sys::CallError;
use crate::sys::logon::Logon;
use crate::sys::object::ProtectError;
use crate::sys::process::StartError;
use crate::sys::token::RestrictError;
use live::{LiveError, LiveSessions};
use person::{PersonError, PersonFiles};
use running::{Running, Stubs};
use scans::ScanFiles;
use unbounded::Unconfined;

/// The file name of the runner's program, beside the harness's own.
pub const RUNNER: &str = "ringfence-runner.exe";

/// This machine, with the rights of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Windows;

/// Why a session was not launched.
#[derive(Debug, thiserror::Error)]
pub enum WindowsLaunchError {
    /// The plan is another system's, or has no boundary.
    #[error("the plan has no launch for Windows")]
    NoLaunch,
    /// Set-up has not run, or not for this plan.
    #[error("{0}")]
    SetupMissing(&'static str),
    /// What the person keeps can't be used.
    #[error(transparent)]
    Person(#[from] PersonError),
    /// Another session is in the way, or it is not known whether one is.
    #[error("the session can't run beside those that are alive")]
    Live(#[source] LiveError),
    /// The workspace's private home is not there.
    #[error("the workspace's private home `{path}` can't be found")]
    Home {
        /// Where it should be.
        path: String,
        /// Why not.
        #[source]
        source: CallFailure,
    },
    /// The access rights could not be set.
    #[error("the access rights of the workspace could not be set")]
    Grants(#[source] grants::ApplyError),
    /// The runner's program is not where it belongs.
    #[error("the runner's program {RUNNER} could not be found beside this one")]
    Runner(#[source] std::io::Error),
    /// The session did not open.
    #[error("the session could not be opened")]
    Open(#[source] OpenError),
}

impl Backend for Windows {
    fn observe(&self, policy: &Policy) -> Result<HostFacts, ObserveFault> {
        let facts = observe(policy).map_err(ObserveFault)?;
        Ok(HostFacts::Windows(facts))
    }

    fn observe_without_namespaces(
        &self,
        policy: &Policy,
        _cause: &str,
    ) -> Result<HostFacts, ObserveFault> {
        self.observe(policy)
    }

    fn refuse_root(
        &self,
        policy: &Policy,
        directory: &AbsolutePath,
    ) -> Result<Option<RefusedRoot>, ObserveFault> {
        refuse_root(policy, directory).map_err(ObserveFault)
    }

    fn ledger(&self) -> Result<WindowsLedger, ObserveFault> {
        let files = PersonFiles::open().map_err(|error| ObserveFault(Box::new(error)))?;
        files
            .ledger()
            .map_err(|error| ObserveFault(Box::new(error)))
    }

    fn launch(
        &self,
        plan: &Plan,
        _lease: Option<BorrowedDescriptor<'_>>,
    ) -> Result<Box<dyn RunningSession>, LaunchFault> {
        if plan.level == Level::None {
            let session = Unconfined::new();
            let session = session.map_err(|error| LaunchFault::Failed(Box::new(error)))?;
            return Ok(Box::new(session));
        }
        match launch(plan) {
            Ok(running) => Ok(Box::new(running)),
            Err(error) => Err(fault(error)),
        }
    }
}

fn fault(error: WindowsLaunchError) -> LaunchFault {
    match &error {
        WindowsLaunchError::SetupMissing(_) => LaunchFault::SetupMissing(Box::new(error)),
        WindowsLaunchError::Live(LiveError::InTheWay(found)) => LaunchFault::Coded {
            hint: found.hints().join("\n"),
            cause: Box::new(error),
        },
        WindowsLaunchError::Live(_)
        | WindowsLaunchError::Home { .. }
        | WindowsLaunchError::NoLaunch
        | WindowsLaunchError::Person(_)
        | WindowsLaunchError::Grants(_)
        | WindowsLaunchError::Runner(_)
        | WindowsLaunchError::Open(_) => match code_of(&error).and_then(explain_code) {
            Some(meaning) => LaunchFault::Coded {
                hint: format!("{} ({}): {}", meaning.name, meaning.cause, meaning.cure),
                cause: Box::new(error),
            },
            None => LaunchFault::Failed(Box::new(error)),
        },
    }
}

/// The system's code at the bottom of an error.
#[must_use]
pub fn code_of(error: &(dyn std::error::Error + 'static)) -> Option<u32> {
    chain(error).find_map(|cause| {
        let call = cause.downcast_ref::<CallError>().or_else(|| inside(cause));
        match call {
            Some(call) => Some(call.error.0),
            None => Some(cause.downcast_ref::<CallFailure>()?.code),
        }
    })
}

/// The call that an error stands for which shows it as its own: the chain of causes leaves such a call out.
fn inside<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a CallError> {
    if let Some(StartError::Call(call)) = error.downcast_ref() {
        return Some(call);
    }
    if let Some(ProtectError::Call(call)) = error.downcast_ref() {
        return Some(call);
    }
    match error.downcast_ref() {
        Some(RestrictError::Call(call)) => Some(call),
        _ => None,
    }
}

/// Where the facts about ports come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortFacts {
    /// Kept from the last set-up: no program is started.
    Kept,
    /// Asked of the machine, for a set-up.
    Asked,
}

/// The facts of this machine for `policy`.
///
/// # Errors
/// The reason, with its object.
pub fn observe(policy: &Policy) -> Result<WindowsFacts, Cause> {
    observe_with(policy, PortFacts::Kept)
}

/// [`observe`], with the ports from where it is said.
///
/// # Errors
/// As [`observe`].
pub fn observe_with(policy: &Policy, ports: PortFacts) -> Result<WindowsFacts, Cause> {
    let files = PersonFiles::open()?;
    let surroundings = surroundings(&files, ports)?;
    let mut scans = ScanFiles::below(files.directory());
    let mut facts = crate::observe::observe_keeping(&mut Disk, &mut scans, policy, surroundings)?;
    facts.filtering.complement_consent = files.kept()?.complement;
    if let Some(record) = files.audit()? {
        facts.filtering = record.filtering(&facts);
        facts.links = record.links(&facts);
    }
    Ok(facts)
}

/// What is asked of the machine, with what is known of it from before.
fn surroundings(files: &PersonFiles, ports: PortFacts) -> Result<Surroundings, Cause> {
    let kept = files.kept()?;
    let person = machine::person()?;
    Ok(machine::surroundings(Known {
        agreed: kept.agreed.clone(),
        record: files.record(person)?,
        capabilities: files.capabilities()?,
        sessions: LiveSessions::below(files.directory()).observe()?,
        ports: match ports {
            PortFacts::Kept => kept.ports.clone(),
            PortFacts::Asked => None,
        },
        write_class: write_class::probe(),
    })?)
}

/// Why `directory` can't be a writable root beside those of `policy`.
fn refuse_root(policy: &Policy, directory: &AbsolutePath) -> Result<Option<RefusedRoot>, Cause> {
    let surroundings = surroundings(&PersonFiles::open()?, PortFacts::Kept)?;
    let facts = crate::observe::observe_root(&mut Disk, policy, surroundings, directory)?;
    let refusal = ringfence_plan::windows::refuse_root(policy, &facts)?;
    Ok(refusal.map(|refusal| {
        let directory = escape_path(directory.as_path());
        let is_named = refusal.place.eq_ignore_ascii_case(&directory);
        RefusedRoot {
            reason: if is_named {
                refusal.reason.text().to_owned()
            } else {
                refusal.to_string()
            },
            directory,
            instead: refusal.reason.instead().to_owned(),
        }
    }))
}

/// Plans anew for `policy` and does the person's steps: for a name that somebody has given to another object while a
/// session runs.
///
/// # Errors
/// The reason, with its object.
pub fn stamp(policy: &Policy) -> Result<(), Cause> {
    let facts = observe(policy)?;
    let files = PersonFiles::open()?;
    let plan = ringfence_plan::windows::plan(policy, &facts, &files.ledger()?)?;
    grants::apply(&plan, &files)?;
    Ok(())
}

fn launch(plan: &Plan) -> Result<Running, WindowsLaunchError> {
    let windows = plan
        .windows
        .as_deref()
        .ok_or(WindowsLaunchError::NoLaunch)?;
    let spec = windows
        .launch
        .as_ref()
        .ok_or(WindowsLaunchError::NoLaunch)?;
    check_setup(windows)?;
    let files = PersonFiles::open()?;
    let kept = files.kept()?;
    // Before any list is changed: what this plan needs may be what another session's must not have.
    let mut live = LiveSessions::below(files.directory())
        .enter(windows)
        .map_err(WindowsLaunchError::Live)?;
    grants::apply(windows, &files).map_err(WindowsLaunchError::Grants)?;
    let runner = runner_program().map_err(WindowsLaunchError::Runner)?;
    let tended = tended(windows, &mut Disk)?;
    let stay: Vec<Object> = windows.emptiable().cloned().collect();
    let (account, stubs) = match spec.identity {
        Identity::Account(role) => (Some(files.account(windows.person, role)?), None),
        Identity::Person => (None, Some(Stubs(files.new_stubs()?))),
    };
    let who = match (&account, &stubs) {
        (Some(account), _) => Account::Sandbox(Logon {
            user: &account.name,
            password: &account.password,
        }),
        (None, Some(stubs)) => Account::Person { stubs: &stubs.0 },
        (None, None) => return Err(WindowsLaunchError::NoLaunch),
    };
    let session = Session::open(&Order {
        launch: spec,
        person: windows.person,
        shape: kept.shape,
        roots: &tended,
        stay: &stay,
        runner: &runner,
        account: who,
    })
    .map_err(WindowsLaunchError::Open)?;
    if let Some(runner) = session.runner() {
        live.add(runner).map_err(WindowsLaunchError::Live)?;
    }
    Ok(Running::new(session, plan, (live, stubs)))
}

/// The runner's program, which lies beside this one.
///
/// # Errors
/// Where this program does not know where it is.
pub fn runner_program() -> std::io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(RUNNER))
}

/// What is looked at when a command has ended: the roots, and the private home, which stands by now.
fn tended(plan: &WindowsPlan, disk: &mut dyn Look) -> Result<Vec<Object>, WindowsLaunchError> {
    let roots = plan.roots.iter();
    let mut tended: Vec<Object> = roots.map(|root| root.object.clone()).collect();
    if let Some(workspace) = plan.roots.first() {
        let path = workspace.home.clone();
        let failed = |source| WindowsLaunchError::Home {
            path: path.printable(),
            source,
        };
        // ERROR_PATH_NOT_FOUND
        let absent = || CallFailure::new("NtCreateFile", path.printable(), 3);
        let seen = disk.look(&path).map_err(failed)?;
        let Seen { id, kind, .. } = seen.ok_or_else(|| failed(absent()))?;
        tended.push(Object { path, id, kind });
    }
    Ok(tended)
}

/// Whether set-up has made what the plan starts from.
fn check_setup(plan: &WindowsPlan) -> Result<(), WindowsLaunchError> {
    match Due::of(plan).setup {
        SetupDue::First => Err(WindowsLaunchError::SetupMissing(
            "set-up has not run on this machine for you",
        )),
        SetupDue::Again => Err(WindowsLaunchError::SetupMissing(
            "what set-up did is not what this policy and this machine need now",
        )),
        SetupDue::Nothing => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use ringfence_plan::windows::WindowsPath;

    use super::*;
    use crate::sys::Win32Error;

    #[test]
    fn every_known_code_of_a_start_as_an_account_reaches_the_person_with_cause_and_cure() {
        for meaning in ringfence_backend::windows::CODES {
            let call = CallError::new(
                "CreateProcessWithLogonW",
                "runner",
                Win32Error(meaning.code),
            );
            let error = WindowsLaunchError::Open(OpenError::Start {
                user: "RingfenceOff-ABCDEF".to_owned(),
                cause: StartError::Call(call),
            });
            let LaunchFault::Coded { hint, .. } = fault(error) else {
                panic!("{} has no hint", meaning.code);
            };
            assert!(
                hint.contains(meaning.cause) && hint.contains(meaning.cure),
                "{hint}"
            );
        }
    }

    // enforced-by-wine: directories and their ids.
    #[test]
    fn the_private_home_is_tended_with_the_roots_and_must_be_there() {
        let home = std::env::temp_dir().join(format!("ringfence-home-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        let path = WindowsPath::parse(home.to_str().unwrap()).unwrap();
        let mut plan = live::tests::plan(r"C:\ws", "one");
        plan.roots[0].home = path.clone();
        let all = tended(&plan, &mut Disk).unwrap();
        let id = Disk.look(&path).unwrap().unwrap().id;
        assert_eq!(all.len(), 2);
        assert_eq!(all[0], plan.roots[0].object);
        assert_eq!((&all[1].path, all[1].id), (&path, id));
        std::fs::remove_dir(&home).unwrap();
        let gone = tended(&plan, &mut Disk).unwrap_err();
        assert!(matches!(gone, WindowsLaunchError::Home { .. }), "{gone}");
    }
}
