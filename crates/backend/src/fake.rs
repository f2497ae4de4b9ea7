//! A machine in memory behind the same contract: it carries plans out in a list, with a fault wherever one is wanted.
//!
//! It enforces nothing and starts no process; it shows what its callers do when a step fails or a runner dies.
//! Invariant: what a failed launch did is undone by the inverse of each step, the last first.

use std::collections::{BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringfence_plan::step::Inverse;
use ringfence_plan::{HostFacts, Plan, Step};
use ringfence_policy::decision::RefusedRoot;
use ringfence_policy::{AbsolutePath, Policy};

use crate::command::{Afterwards, CommandId, CommandRequest, Ending, Outcome};
use crate::enforcement::Enforcement;
use crate::session::{
    Backend, BorrowedDescriptor, LaunchFault, ObserveFault, Received, Remains, RunningSession,
    SessionFault,
};
use crate::wire::Event;

/// `EPERM`: what a refused step answers.
const EPERM: i32 = 1;

/// What goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine can't be examined.
    Observe,
    /// The kernel refuses namespaces at launch.
    Namespaces,
    /// The runner can't be started.
    Launch,
    /// The step with this index fails.
    Step(usize),
    /// The runner dies before the step with this index.
    CrashBefore(usize),
    /// The runner dies when it is asked to start a command.
    CrashAtSpawn,
    /// The runner dies while a command runs.
    CrashWhileRunning,
    /// The runner dies when the session shall end.
    CrashAtEnd,
}

/// What is true of the machine now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// Directories of ours: they outlive sessions.
    pub directories: BTreeSet<AbsolutePath>,
    /// Steps in force.
    pub in_force: Vec<Step>,
    /// Commands that were ever started.
    pub started: Vec<CommandRequest>,
    /// Commands that are running.
    pub running: Vec<CommandId>,
    /// Signals that were sent to commands.
    pub signals: Vec<(CommandId, i32)>,
    /// How many plans were launched or tried.
    pub launches: u32,
    /// How often the machine was examined: each time its roots are walked.
    pub observations: u32,
}

/// A machine in memory.
#[derive(Clone, Debug)]
pub struct FakeHost {
    facts: HostFacts,
    without_namespaces: HostFacts,
    fault: Arc<Mutex<Option<Fault>>>,
    world: Arc<Mutex<World>>,
    script: Vec<Event>,
    outcome: Outcome,
}

impl FakeHost {
    /// A machine of `facts`; `without_namespaces` are its facts once namespaces were refused.
    #[must_use]
    pub fn new(facts: HostFacts, without_namespaces: HostFacts) -> Self {
        Self {
            facts,
            without_namespaces,
            fault: Arc::default(),
            world: Arc::default(),
            script: Vec::new(),
            outcome: Outcome {
                ending: Ending::Exited(0),
                cpu_microseconds: 0,
            },
        }
    }

    /// With something that will go wrong.
    #[must_use]
    pub fn with_fault(self, fault: Fault) -> Self {
        *lock(&self.fault) = Some(fault);
        self
    }

    /// With what each command causes before it ends, and how it ends.
    #[must_use]
    pub fn with_script(mut self, script: Vec<Event>, outcome: Outcome) -> Self {
        self.script = script;
        self.outcome = outcome;
        self
    }

    /// The machine now.
    #[must_use]
    pub fn world(&self) -> World {
        lock(&self.world).clone()
    }

    /// Takes the fault if it is `fault`: it happens once.
    fn fails(&self, fault: Fault) -> bool {
        let mut planned = lock(&self.fault);
        let fails = *planned == Some(fault);
        if fails {
            *planned = None;
        }
        fails
    }

    /// Carries out the steps; `Err` holds the event that a failed launch ends with, or none after a crash.
    fn carry_out(&self, plan: &Plan) -> Result<(), Option<Event>> {
        let mut done: Vec<(&Step, bool)> = Vec::new();
        for (index, step) in plan.steps.iter().enumerate() {
            if self.fails(Fault::CrashBefore(index)) {
                // Nobody is left to undo anything: what ends with the session ends now, directories stay.
                lock(&self.world).in_force.clear();
                return Err(None);
            }
            if self.fails(Fault::Step(index)) {
                for (step, was_there) in done.iter().rev() {
                    self.undo(step, *was_there);
                }
                return Err(Some(Event::LaunchFailed {
                    step: Some(index),
                    operation: format!("step {index}"),
                    errno: EPERM,
                }));
            }
            done.push((step, self.apply(step)));
        }
        Ok(())
    }

    /// Applies a step; whether its result had been there before.
    fn apply(&self, step: &Step) -> bool {
        let mut world = lock(&self.world);
        if let Step::MakePrivateDirectory { path, .. } = step {
            return !world.directories.insert(path.clone());
        }
        world.in_force.push(step.clone());
        false
    }

    fn undo(&self, step: &Step, was_there: bool) {
        let mut world = lock(&self.world);
        match step.inverse() {
            Inverse::SessionEnd => {
                world.in_force.pop();
            }
            Inverse::RemovePrivateDirectory { path } => {
                if !was_there {
                    world.directories.remove(&path);
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backend for FakeHost {
    fn observe(&self, _policy: &Policy) -> Result<HostFacts, ObserveFault> {
        lock(&self.world).observations += 1;
        if self.fails(Fault::Observe) {
            return Err(ObserveFault("the fault that was asked for".into()));
        }
        Ok(self.facts.clone())
    }

    fn observe_without_namespaces(
        &self,
        _policy: &Policy,
        _cause: &str,
    ) -> Result<HostFacts, ObserveFault> {
        lock(&self.world).observations += 1;
        Ok(self.without_namespaces.clone())
    }

    fn refuse_root(
        &self,
        _policy: &Policy,
        _directory: &AbsolutePath,
    ) -> Result<Option<RefusedRoot>, ObserveFault> {
        Ok(None)
    }

    fn launch(
        &self,
        plan: &Plan,
        _lease: Option<BorrowedDescriptor<'_>>,
    ) -> Result<Box<dyn RunningSession>, LaunchFault> {
        lock(&self.world).launches += 1;
        if self.fails(Fault::Namespaces) {
            return Err(LaunchFault::NamespacesRefused("refused".into()));
        }
        if self.fails(Fault::Launch) {
            return Err(LaunchFault::Failed("the fault that was asked for".into()));
        }
        let (ours, theirs) =
            UnixStream::pair().map_err(|error| LaunchFault::Failed(Box::new(error)))?;
        let mut session = FakeSession {
            host: self.clone(),
            events: VecDeque::new(),
            signal: theirs,
            readiness: ours,
            alive: true,
            stands: false,
        };
        match self.carry_out(plan) {
            Ok(()) => {
                session.stands = true;
                session.post(Event::Ready(Enforcement {
                    level: plan.level,
                    missing: plan.missing.clone(),
                    proven: vec!["in memory".to_owned()],
                }));
            }
            Err(Some(event)) => session.post(event),
            Err(None) => session.alive = false,
        }
        Ok(Box::new(session))
    }
}

/// A session on a [`FakeHost`].
#[derive(Debug)]
struct FakeSession {
    host: FakeHost,
    events: VecDeque<Event>,
    signal: UnixStream,
    readiness: UnixStream,
    alive: bool,
    /// Whether commands are started; after a failed launch a request is never read.
    stands: bool,
}

impl FakeSession {
    fn post(&mut self, event: Event) {
        self.events.push_back(event);
        // One byte per event; the buffer of a socket pair is larger than any script.
        let _ = self.signal.write_all(&[0]);
    }

    fn finish(&mut self) {
        {
            let mut world = lock(&self.host.world);
            world.in_force.clear();
            world.running.clear();
        }
        self.post(Event::Ended);
    }

    fn die(&mut self) -> SessionFault {
        self.alive = false;
        let mut world = lock(&self.host.world);
        world.in_force.clear();
        world.running.clear();
        SessionFault::Closed
    }
}

impl RunningSession for FakeSession {
    fn spawn(
        &mut self,
        request: &CommandRequest,
        _descriptors: &[BorrowedDescriptor<'_>],
    ) -> Result<(), SessionFault> {
        if !self.alive || self.host.fails(Fault::CrashAtSpawn) {
            return Err(self.die());
        }
        if !self.stands {
            return Ok(());
        }
        {
            let mut world = lock(&self.host.world);
            world.started.push(request.clone());
            world.running.push(request.id);
        }
        self.post(Event::Started {
            command: request.id,
        });
        for event in self.host.script.clone() {
            self.post(event);
        }
        if self.host.fails(Fault::CrashWhileRunning) {
            self.die();
            return Ok(());
        }
        lock(&self.host.world)
            .running
            .retain(|id| *id != request.id);
        self.post(Event::Exited {
            command: request.id,
            outcome: self.host.outcome,
        });
        match request.afterwards {
            Afterwards::Stay => {}
            Afterwards::End if self.host.fails(Fault::CrashAtEnd) => drop(self.die()),
            Afterwards::End => self.finish(),
        }
        Ok(())
    }

    fn receive(&mut self, timeout: Option<Duration>) -> Result<Option<Received>, SessionFault> {
        if let Some(event) = self.events.pop_front() {
            let mut byte = [0];
            let _ = self.readiness.read_exact(&mut byte);
            return Ok(Some(Received {
                event,
                descriptor: None,
            }));
        }
        // Nothing comes by itself here: without an event a live session has only silence, a dead one its end.
        if !self.alive || timeout.is_none() {
            return Err(SessionFault::Closed);
        }
        Ok(None)
    }

    fn signal(&mut self, command: CommandId, signal: i32) -> Result<(), SessionFault> {
        if !self.alive {
            return Err(SessionFault::Closed);
        }
        lock(&self.host.world).signals.push((command, signal));
        Ok(())
    }

    fn end(&mut self) -> Result<(), SessionFault> {
        if !self.alive || self.host.fails(Fault::CrashAtEnd) {
            return Err(self.die());
        }
        self.finish();
        Ok(())
    }

    fn stop(&mut self) -> Remains {
        self.die();
        Remains::Nothing
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.readiness.as_fd()
    }
}

impl Drop for FakeSession {
    fn drop(&mut self) {
        let mut world = lock(&self.host.world);
        world.in_force.clear();
        world.running.clear();
    }
}
