//! The executor of this operating system, and plans for it.
//!
//! Invariant: where there is none, nothing starts.

use ringfence_backend::Backend;
use ringfence_backend::causes::in_one_sentence;
use ringfence_plan::linux::facts::Overlay;
use ringfence_plan::step::Observe;
use ringfence_plan::windows::WindowsLedger;
use ringfence_plan::{HostFacts, Plan, Step};
use ringfence_policy::Policy;

use crate::session::StartError;

/// What a plan depends on beside policy and host facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Which calls the observer sees.
    pub observe: Observe,
}

/// Whether namespaces are planned with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Namespaces<'a> {
    /// As far as the machine offers them.
    Expected,
    /// They were tried and refused.
    Refused(&'a StartError),
}

/// Whether caches are planned with an overlay.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Overlays<'a> {
    /// As far as the machine offers them.
    Expected,
    /// One was tried and refused.
    Refused(&'a StartError),
}

/// What an earlier launch has shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tried<'a> {
    pub(crate) namespaces: Namespaces<'a>,
    pub(crate) overlays: Overlays<'a>,
}

impl Tried<'_> {
    /// Nothing: there was no launch yet.
    pub(crate) const NOTHING: Self = Self {
        namespaces: Namespaces::Expected,
        overlays: Overlays::Expected,
    };
}

/// What would be done for `policy` on this machine; nothing is done.
///
/// # Errors
/// [`StartError`] when the machine can't be examined or the policy can't be held on it.
pub fn plan(policy: &Policy, options: PlanOptions) -> Result<Plan, StartError> {
    let backend = backend()?;
    let refused = backend.probe_namespaces().map_err(StartError::Launch).err();
    let namespaces = refused
        .as_ref()
        .map_or(Namespaces::Expected, Namespaces::Refused);
    let tried = Tried {
        namespaces,
        ..Tried::NOTHING
    };
    plan_on(&*backend, policy, options, tried)
}

/// What a plan for `policy` depends on, on this machine; nothing is changed.
///
/// # Errors
/// [`StartError`] when the machine can't be examined.
pub fn observe(policy: &Policy) -> Result<HostFacts, StartError> {
    let backend = backend()?;
    match backend.probe_namespaces().map_err(StartError::Launch) {
        Ok(()) => backend.observe(policy),
        Err(refused) => backend.observe_without_namespaces(policy, &cause_of(&refused)),
    }
    .map_err(StartError::Observe)
}

/// What would be done for `policy` on the machine of `facts`, after what `ledger` says was done there before.
///
/// # Errors
/// [`StartError::Plan`] when the policy can't be held there.
pub fn plan_for(
    policy: &Policy,
    facts: &HostFacts,
    ledger: &WindowsLedger,
    options: PlanOptions,
) -> Result<Plan, StartError> {
    let facts = match facts {
        HostFacts::Linux(facts) => facts,
        HostFacts::Windows(facts) => {
            return ringfence_plan::windows::plan(policy, facts, ledger)
                .and_then(|plan| ringfence_plan::windows::session_plan(policy, facts, plan))
                .map_err(StartError::WindowsPlan);
        }
    };
    let mut plan = ringfence_plan::linux::plan(policy, facts).map_err(StartError::Plan)?;
    for step in &mut plan.steps {
        if let Step::FilterSyscalls { observe, .. } = step {
            // Where the host has no listener the planner has turned it off; that is not undone.
            if *observe != Observe::Off {
                *observe = options.observe;
            }
        }
    }
    Ok(plan)
}

pub(crate) fn plan_on(
    backend: &dyn Backend,
    policy: &Policy,
    options: PlanOptions,
    tried: Tried<'_>,
) -> Result<Plan, StartError> {
    let facts = match tried.namespaces {
        Namespaces::Expected => backend.observe(policy),
        Namespaces::Refused(error) => backend.observe_without_namespaces(policy, &cause_of(error)),
    };
    let mut facts = facts.map_err(StartError::Observe)?;
    if let (HostFacts::Linux(facts), Overlays::Refused(error)) = (&mut facts, tried.overlays) {
        facts.overlay = Overlay::Refused {
            cause: cause_of(error),
        };
    }
    let ledger = backend.ledger().map_err(StartError::Observe)?;
    plan_for(policy, &facts, &ledger, options)
}

fn cause_of(error: &StartError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => in_one_sentence(cause),
        None => error.to_string(),
    }
}

/// This machine's executor.
///
/// # Errors
/// [`StartError::Unsupported`] where there is none.
#[cfg(target_os = "linux")]
pub fn backend() -> Result<Box<dyn Backend>, StartError> {
    Ok(Box::new(linux::Linux::default()))
}

/// This machine's executor.
///
/// # Errors
/// [`StartError::Unsupported`] where there is none.
#[cfg(windows)]
pub fn backend() -> Result<Box<dyn Backend>, StartError> {
    Ok(Box::new(ringfence_windows::backend::Windows))
}

/// This machine's executor.
///
/// # Errors
/// [`StartError::Unsupported`] where there is none.
#[cfg(not(any(target_os = "linux", windows)))]
pub fn backend() -> Result<Box<dyn Backend>, StartError> {
    Err(StartError::Unsupported)
}

#[cfg(target_os = "linux")]
mod linux {
    //! The Linux executor behind the contract.

    use std::cell::RefCell;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::time::Duration;

    use ringfence_backend::session::{LaunchFault, ObserveFault, SessionFault};
    use ringfence_backend::{
        Backend, CommandId, CommandRequest, Received, Remains, RunningSession,
    };
    use ringfence_linux::observe;
    use ringfence_linux::session::{Ahead, LaunchError, Session, SessionError, probe_namespaces};
    use ringfence_plan::linux::NAMESPACES;
    use ringfence_plan::{HostFacts, Plan};
    use ringfence_policy::decision::RefusedRoot;
    use ringfence_policy::escape::escape_path;
    use ringfence_policy::{AbsolutePath, Policy};

    #[derive(Debug, Default)]
    pub(super) struct Linux {
        /// For the next launch.
        ahead: RefCell<Option<Ahead>>,
    }

    #[derive(Debug)]
    struct Running(Session);

    impl Backend for Linux {
        fn observe(&self, policy: &Policy) -> Result<HostFacts, ObserveFault> {
            let facts = observe::observe(policy).map_err(|error| ObserveFault(Box::new(error)))?;
            Ok(HostFacts::Linux(facts))
        }

        fn observe_without_namespaces(
            &self,
            policy: &Policy,
            cause: &str,
        ) -> Result<HostFacts, ObserveFault> {
            let facts = observe::observe_without_namespaces(policy, cause.to_owned())
                .map_err(|error| ObserveFault(Box::new(error)))?;
            Ok(HostFacts::Linux(facts))
        }

        fn refuse_root(
            &self,
            policy: &Policy,
            directory: &AbsolutePath,
        ) -> Result<Option<RefusedRoot>, ObserveFault> {
            let candidate = observe::observe_root(policy, directory)
                .map_err(|error| ObserveFault(Box::new(error)))?;
            let refused = ringfence_plan::linux::refuse_root(&candidate);
            Ok(refused.map(|reason| RefusedRoot {
                directory: escape_path(directory.as_path()),
                reason: reason.to_string(),
                instead: reason.instead(),
            }))
        }

        fn probe_namespaces(&self) -> Result<(), LaunchFault> {
            probe_namespaces(&NAMESPACES)
                .map_err(|error| LaunchFault::NamespacesRefused(Box::new(error)))
        }

        fn expect_launch(&self) {
            self.ahead.replace(Ahead::begin(&NAMESPACES));
        }

        fn launch(
            &self,
            plan: &Plan,
            lease: Option<BorrowedFd<'_>>,
        ) -> Result<Box<dyn RunningSession>, LaunchFault> {
            match Session::launch(plan, lease, self.ahead.take()) {
                Ok(session) => Ok(Box::new(Running(session))),
                Err(error @ (LaunchError::Namespaces(_) | LaunchError::IdMap { .. })) => {
                    Err(LaunchFault::NamespacesRefused(Box::new(error)))
                }
                Err(error) => Err(LaunchFault::Failed(Box::new(error))),
            }
        }
    }

    impl RunningSession for Running {
        fn spawn(
            &mut self,
            request: &CommandRequest,
            descriptors: &[BorrowedFd<'_>],
        ) -> Result<(), SessionFault> {
            self.0.spawn(request, descriptors).map_err(fault)
        }

        fn receive(&mut self, timeout: Option<Duration>) -> Result<Option<Received>, SessionFault> {
            let received = self.0.receive(timeout).map_err(fault)?;
            Ok(received.map(|(event, descriptor)| Received { event, descriptor }))
        }

        fn signal(&mut self, command: CommandId, signal: i32) -> Result<(), SessionFault> {
            self.0.signal(command, signal).map_err(fault)
        }

        fn end(&mut self) -> Result<(), SessionFault> {
            self.0.end().map_err(fault)
        }

        fn stop(&mut self) -> Remains {
            self.0.stop()
        }

        fn readiness(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    fn fault(error: SessionError) -> SessionFault {
        SessionFault::Failed(Box::new(error))
    }
}
