//! The thread that starts commands: confined once, so that every command it starts is confined from its first
//! instruction, and a second command costs a clone.
//!
//! Landlock, seccomp, capabilities and ids belong to a thread. init's main thread stays as it is; this one takes every
//! restriction of the plan, and its children inherit them. Most of them it takes while the main thread still mounts;
//! Landlock comes last, because its paths name the finished view. It shares its memory with init, which no target can reach:
//! init is not dumpable, and a target's Landlock domain and process namespace keep it away.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

use ringfence_backend::CommandId;

use super::build::Restrictions;
use crate::exec::{self, ChildStack, CommandPreparation, Preparation, Program, StartError};
use crate::landlock::{LandlockError, Prepared};
use crate::seccomp::{self, SeccompError};
use crate::sys;

/// Why the spawner could not confine itself; nothing runs then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfineError {
    /// The thread could not be made.
    #[error("start the spawner thread")]
    Thread(#[source] std::io::Error),
    /// eventfd(2) failed.
    #[error("make an event descriptor")]
    Wake(#[source] Errno),
    /// A capability set could not be emptied.
    #[error("drop capabilities ({0})")]
    Capabilities(&'static str, #[source] Errno),
    /// The target's ids could not be taken.
    #[error("take the identity of the target")]
    Identity(#[source] Errno),
    /// `no_new_privs` could not be set.
    #[error("set no_new_privs")]
    NoNewPrivs(#[source] Errno),
    /// Landlock refused.
    #[error("restrict paths by Landlock")]
    Landlock(#[source] LandlockError),
    /// The filter could not be installed.
    #[error("install the system call filter")]
    Filter(#[source] SeccompError),
    /// The thread ended before it was confined.
    #[error("the spawner thread ended")]
    Gone,
}

/// A command to start.
#[derive(Debug)]
pub(crate) struct Job {
    /// Its number.
    pub(crate) id: CommandId,
    /// What to execute.
    pub(crate) program: Program,
    /// How to prepare.
    pub(crate) preparation: CommandPreparation,
    /// Descriptors that `preparation` names, held open until the child has its own.
    pub(crate) held: Vec<OwnedFd>,
}

/// How a start went.
#[derive(Debug)]
pub(crate) struct Start {
    /// Which command.
    pub(crate) id: CommandId,
    /// Its process, or why there is none.
    pub(crate) result: Result<Pid, StartError>,
}

/// init's handle on the thread.
#[derive(Debug)]
pub(crate) struct Spawner {
    jobs: Sender<Job>,
    starts: Receiver<Start>,
    wake: OwnedFd,
}

/// The thread while it confines itself. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Confining {
    restricted: Receiver<Result<Restricted, ConfineError>>,
    domain: Sender<Option<Prepared>>,
    confined: Receiver<Result<Option<String>, ConfineError>>,
    spawner: Spawner,
}

/// What taking all restrictions but Landlock gave.
#[derive(Debug)]
pub(crate) struct Restricted {
    /// The observer's listener, where the plan observes.
    pub(crate) listener: Option<OwnedFd>,
    /// How each layer was proven.
    pub(crate) proven: Vec<String>,
}

/// The thread's own ends of what [`Confining`] and [`Spawner`] hold.
struct Thread {
    restricted: Sender<Result<Restricted, ConfineError>>,
    domain: Receiver<Option<Prepared>>,
    confined: Sender<Result<Option<String>, ConfineError>>,
    jobs: Receiver<Job>,
    starts: Sender<Start>,
    wake: OwnedFd,
}

impl Confining {
    /// Starts the thread, which takes `restrictions` at once.
    pub(crate) fn begin(restrictions: Restrictions) -> Result<Self, ConfineError> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(ConfineError::Wake)?;
        let (jobs, job_queue) = channel();
        let (start_queue, starts) = channel();
        let (restricted_sender, restricted) = channel();
        let (domain, domain_receiver) = channel();
        let (confined_sender, confined) = channel();
        let thread = Thread {
            restricted: restricted_sender,
            domain: domain_receiver,
            confined: confined_sender,
            jobs: job_queue,
            starts: start_queue,
            wake: wake.try_clone().map_err(ConfineError::Thread)?,
        };
        thread::Builder::new()
            .name("spawner".to_owned())
            .stack_size(256 << 10)
            .spawn(move || thread.run(&restrictions))
            .map_err(ConfineError::Thread)?;
        Ok(Self {
            restricted,
            domain,
            confined,
            spawner: Spawner { jobs, starts, wake },
        })
    }

    /// Waits until all restrictions but Landlock are in force.
    pub(crate) fn restricted(&self) -> Result<Restricted, ConfineError> {
        self.restricted.recv().map_err(|_| ConfineError::Gone)?
    }

    /// Lets the thread take its Landlock domain; the view must be finished.
    pub(crate) fn enter_domain(&self, landlock: Option<Prepared>) -> Result<(), ConfineError> {
        self.domain.send(landlock).map_err(|_| ConfineError::Gone)
    }

    /// Waits until the thread is confined, and says how Landlock was proven.
    pub(crate) fn finish(self) -> Result<(Spawner, Option<String>), ConfineError> {
        let proven = self.confined.recv().map_err(|_| ConfineError::Gone)??;
        Ok((self.spawner, proven))
    }
}

impl Thread {
    fn run(self, restrictions: &Restrictions) {
        let result = restrict(restrictions);
        let stop = result.is_err();
        if self.restricted.send(result).is_err() || stop {
            return;
        }
        // No answer: the view could not be built, and nothing runs.
        let Ok(landlock) = self.domain.recv() else {
            return;
        };
        let result = enter_domain(landlock);
        let stop = result.is_err();
        if self.confined.send(result).is_err() || stop {
            return;
        }
        serve(&self.jobs, &self.starts, &self.wake);
    }
}

impl Spawner {
    /// Asks for a command; the answer comes by [`Spawner::next`].
    pub(crate) fn submit(&self, job: Job) -> Result<(), ConfineError> {
        self.jobs.send(job).map_err(|_| ConfineError::Gone)
    }

    /// The next answer, if there is one.
    pub(crate) fn next(&self) -> Option<Start> {
        self.starts.try_recv().ok()
    }

    /// Makes the descriptor unreadable again.
    pub(crate) fn acknowledge(&self) {
        let mut count = [0; 8];
        // Fails only when there is nothing to take, which is as good.
        let _ = rustix::io::read(&self.wake, &mut count);
    }
}

impl AsFd for Spawner {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

fn serve(jobs: &Receiver<Job>, starts: &Sender<Start>, wake: &OwnedFd) {
    let mut stack = ChildStack::new();
    while let Ok(job) = jobs.recv() {
        let Job {
            id,
            program,
            preparation,
            held,
        } = job;
        let preparation = Preparation::Command(Box::new(preparation));
        let result = exec::start(&program, &preparation, 0, &mut stack);
        drop(held);
        if starts.send(Start { id, result }).is_err() {
            return;
        }
        let _ = rustix::io::write(wake, &1_u64.to_ne_bytes());
    }
}

/// Takes every restriction but Landlock, in the order in which each still can be taken.
fn restrict(restrictions: &Restrictions) -> Result<Restricted, ConfineError> {
    let mut proven = Vec::new();
    let bounding = if restrictions.drop_capabilities {
        drop_bounding_set()?
    } else {
        BoundingSet::OutOfReach
    };
    if let Some(identity) = restrictions.identity
        && identity.target != (identity.uid, identity.gid)
    {
        let (uid, gid) = identity.target;
        sys::set_thread_identity(uid, gid).map_err(ConfineError::Identity)?;
        proven.push(format!("identity: commands run as uid {uid}, gid {gid}"));
    }
    if restrictions.drop_capabilities {
        drop_capabilities()?;
        proven.push(match bounding {
            BoundingSet::Empty => "capabilities: all sets empty, bounding set too".to_owned(),
            BoundingSet::OutOfReach => {
                "capabilities: all sets empty; no_new_privs keeps the bounding set from mattering"
                    .to_owned()
            }
        });
    }
    if restrictions.no_new_privs {
        set_no_new_privs(true).map_err(ConfineError::NoNewPrivs)?;
    }
    let mut listener = None;
    if let Some(profile) = &restrictions.filter {
        let program = seccomp::compile(profile);
        if profile.has_listener() {
            let installed = seccomp::install_with_listener(&program);
            listener = Some(installed.map_err(ConfineError::Filter)?);
        } else {
            seccomp::install(&program).map_err(ConfineError::Filter)?;
        }
        proven.push(format!(
            "seccomp: filter of {} instructions in force",
            program.instructions().len()
        ));
    }
    Ok(Restricted { listener, proven })
}

/// Takes the last restriction. The filter lets Landlock's own calls through: programs confine themselves with them.
fn enter_domain(landlock: Option<Prepared>) -> Result<Option<String>, ConfineError> {
    let Some(landlock) = landlock else {
        return Ok(None);
    };
    let enforced = landlock
        .restrict_current_thread()
        .map_err(ConfineError::Landlock)?;
    Ok(Some(format!(
        "Landlock: ABI {} in force, {} rules",
        enforced.abi, enforced.rules
    )))
}

/// What became of the bounding set.
#[derive(Clone, Copy)]
enum BoundingSet {
    /// Nothing is in it.
    Empty,
    /// An ordinary user without a user namespace can't change it, and has nothing that it would bound.
    OutOfReach,
}

/// Empties the bounding set, so that root regains nothing by executing a program.
fn drop_bounding_set() -> Result<BoundingSet, ConfineError> {
    let own = capabilities(None).map_err(|errno| ConfineError::Capabilities("own sets", errno))?;
    if own.permitted.is_empty() {
        return Ok(BoundingSet::OutOfReach);
    }
    for capability in CapabilitySet::all() {
        match remove_capability_from_bounding_set(capability) {
            // A kernel that does not know the capability has none to give.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(ConfineError::Capabilities("bounding set", errno)),
        }
    }
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    set_capabilities_secure_bits(bits)
        .map_err(|errno| ConfineError::Capabilities("secure bits", errno))?;
    Ok(BoundingSet::Empty)
}

fn drop_capabilities() -> Result<(), ConfineError> {
    clear_ambient_capability_set()
        .map_err(|errno| ConfineError::Capabilities("ambient set", errno))?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(|errno| ConfineError::Capabilities("permitted set", errno))
}
