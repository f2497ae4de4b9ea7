//! From a policy to a boundary that stands: plan, launch, wait, and once more without namespaces where they are refused.
//!
//! Invariant: a session comes out only when its runner has said that the boundary stands; what was sent to the runner
//! before is started by it only then.

use std::io;

use ringfence_audit::SessionId;
use ringfence_audit::event::{Event as AuditEvent, LoadedLayer as LayerEvent};
use ringfence_backend::session::LaunchFault;
use ringfence_backend::wire::Event;
use ringfence_backend::{Backend, Enforcement};
use ringfence_plan::step::Observe;
use ringfence_plan::{Level, Plan, Step};
use ringfence_policy::Policy;
use ringfence_policy::document::{GitAccess, Require};
use ringfence_policy::escape::escape_os;
use ringfence_policy::layers::LayerKind;

#[cfg(any(target_os = "linux", windows))]
use super::network::Network;
use super::report::Journal;
use super::{Life, Session, SessionOptions, StartError, Sweep};
use crate::clock;
use crate::environment::Composed;
use crate::grants::RootJudge;
use crate::load::LoadedLayer;
use crate::platform::{self, Namespaces, Overlays, PlanOptions, Tried};
use crate::quarantine::Quarantine;
use crate::state::StateDirectory;
use crate::sweep::{
    Guardian, Lease, LeaseError, Repositories, Watching, has_orders, sweep_leftovers,
};

/// What a session is opened with.
pub(super) struct Opening<'a> {
    backend: &'a dyn Backend,
    policy: &'a Policy,
    state: &'a StateDirectory,
    planning: PlanOptions,
    id: SessionId,
    journal: Journal,
    announce: &'a mut dyn FnMut(&Plan),
}

/// Why a session was not opened.
pub(super) enum OpenError<E> {
    /// The boundary does not stand.
    Start(StartError),
    /// What was to be done before waiting for it failed.
    Before(E),
}

/// Why one plan did not lead to a session.
enum Attempt<E> {
    /// The boundary does not stand; with the plan that was tried, where one was made.
    Start(StartError, Option<Box<Plan>>),
    Before(E),
}

/// What to plan without the next time.
enum Retry {
    Namespaces(StartError),
    Overlays(StartError),
}

impl Retry {
    fn tried<'a>(&'a self, before: Tried<'a>) -> Tried<'a> {
        match self {
            Self::Namespaces(error) => Tried {
                namespaces: Namespaces::Refused(error),
                ..before
            },
            Self::Overlays(error) => Tried {
                overlays: Overlays::Refused(error),
                ..before
            },
        }
    }
}

impl<E> Attempt<E> {
    /// What another plan can do without.
    fn retry(self, policy: &Policy) -> Result<Retry, OpenError<E>> {
        match self {
            Self::Start(error, Some(plan)) if is_overlay(&error, &plan) => {
                Ok(Retry::Overlays(error))
            }
            Self::Start(error, Some(plan)) if falls_back(&error, policy, &plan) => {
                Ok(Retry::Namespaces(error))
            }
            other => Err(other.into_error()),
        }
    }

    fn into_error(self) -> OpenError<E> {
        match self {
            Self::Start(error, _) => OpenError::Start(error),
            Self::Before(error) => OpenError::Before(error),
        }
    }
}

impl<'a> Opening<'a> {
    pub(super) fn new(
        backend: &'a dyn Backend,
        policy: &'a Policy,
        state: &'a StateDirectory,
        options: SessionOptions,
        announce: &'a mut dyn FnMut(&Plan),
    ) -> Self {
        let id = match &options.events {
            Some(sink) => sink.session().clone(),
            None => clock::new_session_id(),
        };
        let mut journal = Journal::new(options.events);
        journal.write(|| policy_event(&options.layers));
        Self {
            backend,
            policy,
            state,
            planning: PlanOptions {
                observe: options.observe,
            },
            id,
            journal,
            announce,
        }
    }

    /// Opens it. `before` is called when the runner has been launched and before it is waited for, once for each plan
    /// that is tried.
    pub(super) fn open<T, E>(
        mut self,
        mut before: impl FnMut(&mut Session) -> Result<T, E>,
    ) -> Result<(Session, T), OpenError<E>> {
        self.backend.expect_launch();
        // Before the machine is looked at: what was planted would be protected as the person's own.
        let leftovers = sweep_leftovers(self.state);
        let (mut session, done) = self.open_swept(&mut before)?;
        session.guardian.inherit(leftovers.swept);
        Ok((session, done))
    }

    fn open_swept<T, E>(
        &mut self,
        before: &mut impl FnMut(&mut Session) -> Result<T, E>,
    ) -> Result<(Session, T), OpenError<E>> {
        let first = match self.try_once(Tried::NOTHING, before) {
            Ok(opened) => return Ok(opened),
            Err(attempt) => attempt.retry(self.policy)?,
        };
        // Where the overlay is refused, the namespaces may be refused yet, and the other way round.
        let second = match self.try_once(first.tried(Tried::NOTHING), before) {
            Ok(opened) => return Ok(opened),
            Err(attempt) => attempt.retry(self.policy)?,
        };
        let tried = second.tried(first.tried(Tried::NOTHING));
        self.try_once(tried, before).map_err(Attempt::into_error)
    }

    fn try_once<T, E>(
        &mut self,
        tried: Tried<'_>,
        before: &mut impl FnMut(&mut Session) -> Result<T, E>,
    ) -> Result<(Session, T), Attempt<E>> {
        let plan = platform::plan_on(self.backend, self.policy, self.planning, tried)
            .map_err(|error| Attempt::Start(error, None))?;
        self.attempt(plan, before)
    }

    fn attempt<T, E>(
        &mut self,
        plan: Plan,
        before: &mut impl FnMut(&mut Session) -> Result<T, E>,
    ) -> Result<(Session, T), Attempt<E>> {
        let mut session = self
            .launch(plan)
            .map_err(|(error, plan)| Attempt::Start(error, Some(plan)))?;
        // Before it is asked for a command; not of a plan that is refused at once.
        (self.announce)(&session.plan);
        let done = before(&mut session).map_err(Attempt::Before)?;
        match session.wait_until_it_stands() {
            Ok(()) => Ok((session, done)),
            Err(error) => {
                // Another attempt goes on with the record.
                self.journal = std::mem::take(&mut session.journal);
                Err(Attempt::Start(error, Some(Box::new(session.plan.clone()))))
            }
        }
    }

    fn launch(&mut self, plan: Plan) -> Result<Session, (StartError, Box<Plan>)> {
        let repositories = match self.policy.filesystem.git.value {
            GitAccess::ReadOnly | GitAccess::Commit => Repositories::AsPlanned,
            GitAccess::Full => Repositories::Left,
        };
        let mut lease = match self.lease(&plan, repositories) {
            Ok(lease) => lease,
            Err(error) => return Err((StartError::Record(error), Box::new(plan))),
        };
        let lent = lease.as_ref().and_then(Lease::descriptor);
        #[cfg(any(target_os = "linux", windows))]
        let network = match Network::new(self.policy, &plan, &self.id) {
            Ok(network) => network,
            Err(error) => {
                let swept = crate::sweep::Swept::default();
                return Err((StartError::Egress { error, swept }, Box::new(plan)));
            }
        };
        let running = match self.backend.launch(&plan, lent) {
            Ok(running) => running,
            Err(fault) => return Err((StartError::Launch(fault), Box::new(plan))),
        };
        #[cfg_attr(not(windows), expect(unused_mut, reason = "it watches on Windows"))]
        let mut guardian = Guardian::new(
            &plan,
            (watching(&plan), repositories),
            Quarantine::open(self.state),
            self.id.clone(),
        );
        // While the runner builds, and before it is asked for a command.
        if let Some(lease) = &mut lease
            && let Err(error) = lease.place(guardian.orders())
        {
            return Err((StartError::Record(error), Box::new(plan)));
        }
        #[cfg(windows)]
        guardian.watch(&plan, self.policy);
        let limits = &self.policy.limits;
        Ok(Session {
            id: self.id.clone(),
            enforcement: Enforcement {
                level: plan.level,
                missing: plan.missing.clone(),
                proven: Vec::new(),
            },
            plan,
            variables: self.policy.environment.clone(),
            composed: Composed::default(),
            #[cfg(target_os = "linux")]
            signals: None,
            time_limit: limits.time.as_ref().map(|limit| limit.value.0),
            #[cfg(any(target_os = "linux", windows))]
            network,
            #[cfg(windows)]
            heard: super::decided::Heard::default(),
            running,
            guardian,
            journal: std::mem::take(&mut self.journal),
            roots: RootJudge::new(self.policy),
            commands: 0,
            sweep: Sweep::Done,
            life: Life::Opening,
            _lease: lease,
        })
    }

    /// A lease for a session that can leave something behind.
    fn lease(&self, plan: &Plan, repositories: Repositories) -> Result<Option<Lease>, LeaseError> {
        if has_orders(&plan.guard, repositories) {
            Lease::take(self.state, &self.id)
        } else {
            Ok(None)
        }
    }
}

impl Session {
    /// Waits for the runner's word that the boundary stands.
    fn wait_until_it_stands(&mut self) -> Result<(), StartError> {
        loop {
            let received = match self.running.receive(None) {
                Ok(Some(received)) => received,
                Ok(None) => continue,
                Err(fault) => {
                    let swept = self.break_off();
                    return Err(StartError::Lost { fault, swept });
                }
            };
            let sent = match received.event {
                Event::Ready(enforcement) => return self.opened(enforcement),
                Event::Unwatched { directory } => {
                    self.guardian.unwatched(&directory);
                    continue;
                }
                #[cfg(target_os = "linux")]
                Event::Serving { socket } => {
                    match self.network.collect(socket, received.descriptor) {
                        Some(()) => continue,
                        None => "serving",
                    }
                }
                #[cfg(target_os = "linux")]
                Event::Naming => match self.network.collect_namer(received.descriptor) {
                    Some(()) => continue,
                    None => "naming",
                },
                #[cfg(target_os = "linux")]
                Event::Dialling => match self.network.collect_dialler(received.descriptor) {
                    Some(()) => continue,
                    None => "dialling",
                },
                #[cfg(target_os = "linux")]
                Event::Reaching => match self.network.collect_door(received.descriptor) {
                    Some(()) => continue,
                    None => "reaching",
                },
                Event::LaunchFailed {
                    step,
                    operation,
                    errno,
                } => {
                    // It says so before it takes any request: there is nothing to sweep.
                    self.sweep = Sweep::Done;
                    return Err(StartError::Step {
                        step,
                        operation: escape_os(&operation),
                        source: io::Error::from_raw_os_error(errno),
                    });
                }
                #[cfg(not(target_os = "linux"))]
                Event::Serving { .. } => "serving",
                #[cfg(not(target_os = "linux"))]
                Event::Naming => "naming",
                #[cfg(not(target_os = "linux"))]
                Event::Dialling => "dialling",
                #[cfg(not(target_os = "linux"))]
                Event::Reaching => "reaching",
                Event::Started { .. } => "started",
                Event::Denied { .. } => "denied",
                Event::Touched { .. } => "touched",
                Event::Remounted { .. } => "remounted",
                Event::Tended(_) => "tended",
                Event::Exited { .. } => "exited",
                Event::Ended => "ended",
            };
            let swept = self.break_off();
            return Err(StartError::Protocol { sent, swept });
        }
    }

    /// The runner says that the boundary stands; it does when its network is served as well.
    fn opened(&mut self, enforcement: Enforcement) -> Result<(), StartError> {
        #[cfg(target_os = "linux")]
        if !self.network.is_whole() {
            let swept = self.break_off();
            let sent = "ready";
            return Err(StartError::Protocol { sent, swept });
        }
        #[cfg(target_os = "linux")]
        let served = self.network.open(&self.id);
        #[cfg(windows)]
        let served = self.network.open(&self.id, self.running.members());
        #[cfg(any(target_os = "linux", windows))]
        if let Err(error) = served {
            let swept = self.break_off();
            return Err(StartError::Egress { error, swept });
        }
        self.stands(enforcement);
        Ok(())
    }

    fn stands(&mut self, enforcement: Enforcement) {
        self.enforcement = enforcement;
        self.life = Life::Open;
        let (plan, enforcement) = (&self.plan, &self.enforcement);
        self.journal.write(|| AuditEvent::SessionStart {
            plan: plan.hash().to_string(),
            level: enforcement.level.word().to_owned(),
            missing: enforcement
                .missing
                .iter()
                .map(|missing| missing.what.clone())
                .collect(),
        });
    }
}

/// Whether the overlay of the caches is what failed: it is no wall, and a session can do without.
fn is_overlay(error: &StartError, plan: &Plan) -> bool {
    matches!(
        error,
        StartError::Step { step: Some(index), .. }
            if matches!(plan.steps.get(*index), Some(Step::MountOverlay { .. }))
    )
}

/// Whether a failed launch is one that a plan without namespaces may get round, and the policy allows it.
///
/// Where a security module takes the namespaces' capabilities away, making them succeeds and their first use fails.
fn falls_back(error: &StartError, policy: &Policy, plan: &Plan) -> bool {
    let refused = match error {
        StartError::Launch(LaunchFault::NamespacesRefused(_)) => true,
        StartError::Step {
            step: Some(index),
            source,
            ..
        } => {
            matches!(source.kind(), io::ErrorKind::PermissionDenied)
                && plan.steps.get(*index).is_some_and(needs_namespace_rights)
        }
        StartError::Step { step: None, .. }
        | StartError::Launch(
            LaunchFault::Failed(_) | LaunchFault::SetupMissing(_) | LaunchFault::Coded { .. },
        )
        | StartError::WindowsPlan(_)
        | StartError::Unsupported
        | StartError::Record(_)
        | StartError::Observe(_)
        | StartError::Plan(_)
        | StartError::Lost { .. }
        | StartError::Protocol { .. } => false,
        #[cfg(any(target_os = "linux", windows))]
        StartError::Egress { .. } => false,
    };
    refused && plan.level == Level::Full && policy.require.value == Require::Partial
}

fn needs_namespace_rights(step: &Step) -> bool {
    matches!(
        step,
        Step::EnterNamespaces { .. }
            | Step::RaiseLoopback
            | Step::CaptureAddresses { .. }
            | Step::Serve { .. }
            | Step::SealMounts
            | Step::MountProc
            | Step::KeepProc
    )
}

fn watching(plan: &Plan) -> Watching {
    let observed = plan.steps.iter().any(|step| {
        matches!(
            step,
            Step::FilterSyscalls {
                observe: Observe::Writes | Observe::All,
                ..
            }
        )
    });
    if observed {
        Watching::Observed
    } else {
        Watching::Unobserved
    }
}

fn policy_event(layers: &[LoadedLayer]) -> AuditEvent {
    let layers = layers.iter().map(|layer| LayerEvent {
        kind: match layer.kind {
            LayerKind::Managed => "managed",
            LayerKind::CommandLine => "command-line",
            LayerKind::User => "user",
            LayerKind::Project => "project",
            LayerKind::Default => "default",
        }
        .to_owned(),
        source: layer.source.clone(),
        sha256: layer.digest.map(|digest| digest.to_string()),
    });
    AuditEvent::PolicyLoaded {
        layers: layers.collect(),
    }
}
