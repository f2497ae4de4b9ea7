//! The session's init: the runner of the Linux backend, process 1 of the session's namespaces.
//!
//! It builds the boundary, starts commands on request, reaps, reports and ends them. It decides nothing: the plan
//! and the harness do. Invariant: when the harness is gone, so is every process of the session.

mod build;
mod callers;
pub(crate) mod limits;
mod mount_point;
mod mounts;
mod network;
mod origins;
mod overlay;
mod program;
mod reached;
mod serve;
mod spawner;
mod terminal;
mod tree;
mod wait;
mod watch;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, set_child_subreaper, set_dumpable_behavior};

use ringfence_backend::Enforcement;
use ringfence_backend::causes::chain;
use ringfence_backend::wire::{Event, Leased, Request};
use ringfence_plan::linux::landlock::Scopes;
use ringfence_plan::step::Identity;
use ringfence_plan::{Plan, Step};

use crate::channel::{Channel, ChannelError};
use crate::observer::{Bystanders, Door, Observer, ObserverError, Reach};
use crate::sys;
use build::{BuildError, Restrictions, build, limit};
use overlay::LayerLock;
use reached::Marks;
use serve::Init;
use spawner::{ConfineError, Confining, Spawner};
use watch::{Watch, WatchError};

/// What init is called as (`argv[0]`): how the one program knows that it shall be init.
pub const INIT_NAME: &str = "ringfence-init";

/// Becomes the session's init, or the keeper of a terminal, when the program was started as such, and never returns then.
///
/// The first line of `main` of every program that starts sessions.
pub fn run_if_asked() {
    if std::env::args_os()
        .next()
        .is_some_and(|name| name == INIT_NAME)
    {
        let status = match run() {
            Ok(()) => 0,
            Err(_) => 1,
        };
        std::process::exit(status);
    }
    crate::keeper::become_if_asked();
}

/// Why init ended early; the harness sees it as a closed channel or has been told.
#[derive(Debug, thiserror::Error)]
enum InitError {
    /// The channel failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// A call of init's own set-up failed.
    #[error("{0}")]
    SetUp(&'static str, #[source] Errno),
    /// The first message was no launch.
    #[error("the harness did not begin with a launch")]
    NoLaunch,
    /// The observer lost its listener: notified calls would only fail from here on.
    #[error(transparent)]
    Observer(#[from] ObserverError),
    /// The boundary could not be built; the harness has been told.
    #[error("the boundary could not be built")]
    Build,
}

fn run() -> Result<(), InitError> {
    // From here on no signal interrupts any thread; children get an empty mask.
    sys::block_all_signals();
    sys::reset_ignored_signals();
    let mut channel = adopt_channel()?;
    let (plan, leased) = receive_plan(&mut channel)?;
    // Only now: until the id maps are written, /proc/<pid> must belong to the harness.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| InitError::SetUp("prctl (dumpable)", errno))?;
    let _ = rustix::thread::set_name(c"ringfence-init");
    set_child_subreaper(Some(Pid::INIT))
        .map_err(|errno| InitError::SetUp("prctl (subreaper)", errno))?;
    rustix::process::chdir("/").map_err(|errno| InitError::SetUp("chdir /", errno))?;
    let _ = rustix::process::setsid();
    let harness = channel.next_descriptor();
    let lease = match leased {
        Leased::Yes => channel.next_descriptor(),
        Leased::No => None,
    };
    match launch(&plan) {
        Ok(parts) => {
            let served = Init::new(channel, harness, parts)?.serve();
            give_up(lease);
            served
        }
        Err(event) => {
            channel.send(&event, &[])?;
            Err(InitError::Build)
        }
    }
}

/// Moves the channel away from standard input and puts `/dev/null` there.
fn adopt_channel() -> Result<Channel, InitError> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)
        .map_err(|errno| InitError::SetUp("fcntl (channel)", errno))?;
    rustix::stdio::dup2_stdin(rustix::stdio::stdout())
        .map_err(|errno| InitError::SetUp("dup2 (stdin)", errno))?;
    Ok(Channel::new(socket))
}

/// Says with the lease's time of change when the session ended, for whoever sweeps after a killed harness. Who finds
/// none takes more for the session's than it made.
fn give_up(lease: Option<OwnedFd>) {
    if let Some(lease) = lease {
        let _ = File::from(lease).set_modified(SystemTime::now());
    }
}

fn receive_plan(channel: &mut Channel) -> Result<(Box<Plan>, Leased), InitError> {
    loop {
        match channel.next::<Request>()? {
            Some(Request::Launch(plan, leased)) => return Ok((plan, leased)),
            Some(Request::Spawn(_) | Request::Signal { .. } | Request::End) => {
                return Err(InitError::NoLaunch);
            }
            None => channel.fill()?,
        }
    }
}

/// Descriptors for the harness, each with the event that announces it.
type Announced = Vec<(Event, OwnedFd)>;

/// What a built boundary consists of.
struct Parts {
    spawner: Spawner,
    observer: Option<Observer>,
    limits: limits::Limits,
    open_files: libc::rlimit,
    identity: Option<Identity>,
    watch: Option<Watch>,
    marks: Marks,
    signals: OwnedFd,
    layer: Option<LayerLock>,
    handed_out: Announced,
    enforcement: Enforcement,
}

/// Builds the boundary, or says as an event why not.
fn launch(plan: &Plan) -> Result<Parts, Event> {
    let signals =
        sys::child_signal_descriptor().map_err(|errno| failed("signalfd", errno.raw_os_error()))?;
    let open_files = sys::raise_open_files()
        .map_err(|errno| failed("setrlimit (open files)", errno.raw_os_error()))?;
    let watch_failed = |error: WatchError| failed(&describe(&error), error.errno());
    let mut watch = Watch::start(plan).map_err(watch_failed)?;
    let step_failed = |(step, error): (usize, BuildError)| build_failed(step, &error);
    let limits = limit(plan).map_err(step_failed)?;
    let restrictions = Restrictions::of(plan);
    let (identity, profile) = (restrictions.identity, restrictions.filter);
    let confine_failed = |error: ConfineError| failed(&describe(&error), system_error(&error));
    let confining = Confining::begin(restrictions).map_err(confine_failed)?;
    let built = build(plan).map_err(step_failed)?;
    let restricted = confining.restricted().map_err(confine_failed)?;
    confining
        .enter_domain(built.landlock)
        .map_err(confine_failed)?;
    // Meanwhile:
    if let Some(watch) = &mut watch {
        watch.open_parents().map_err(watch_failed)?;
    }
    let (handed_out, door) = hand_out(built.network)?;
    let observer = match (restricted.listener, profile) {
        (Some(listener), Some(profile)) => Some(
            // No mount hides a name that appears later, so nothing is said to be refused there.
            Observer::new(listener, profile, plan.rules.without_globs(), &plan.guard)
                .map_err(|error| failed(&describe(&error), system_error(&error)))?
                .with_reach(reach(plan))
                .with_bystanders(bystanders(plan))
                .with_door(door),
        ),
        (None, _) | (_, None) => None,
    };
    // Last: what looks a hidden path up from here on is a command.
    let marks = Marks::set(plan);
    let (spawner, domain) = confining.finish().map_err(confine_failed)?;
    let mut proven = built.proven;
    proven.extend(restricted.proven);
    proven.extend(domain);
    let enforcement = Enforcement {
        level: plan.level,
        missing: plan.missing.clone(),
        proven,
    };
    Ok(Parts {
        spawner,
        observer,
        limits,
        open_files,
        identity,
        watch,
        marks,
        signals,
        layer: built.layer,
        handed_out,
        enforcement,
    })
}

fn reach(plan: &Plan) -> Reach {
    let captured = |step: &Step| matches!(step, Step::CaptureAddresses { .. });
    if plan.steps.iter().any(captured) {
        Reach::Captured
    } else {
        Reach::Offline
    }
}

fn bystanders(plan: &Plan) -> Bystanders {
    let has_namespaces = |step: &Step| matches!(step, Step::EnterNamespaces { .. });
    let keeps_signals = |step: &Step| matches!(step, Step::RestrictPaths { ruleset } if ruleset.scoped.0 & Scopes::SIGNAL.0 != 0);
    if plan.steps.iter().any(has_namespaces) {
        Bystanders::Unseen
    } else if plan.steps.iter().any(keeps_signals) {
        Bystanders::Shielded
    } else {
        Bystanders::Exposed
    }
}

/// What of the session's network the harness gets, and the runner's side of the way to Unix sockets.
fn hand_out(network: network::Network) -> Result<(Announced, Option<Door>), Event> {
    let mut all: Announced = network
        .served
        .into_iter()
        .map(|(socket, made)| (Event::Serving { socket }, made))
        .collect();
    let is_served = !all.is_empty();
    if is_served {
        let asked = callers::start_answering()
            .map_err(|errno| failed("start to tell callers", errno.raw_os_error()))?;
        all.push((Event::Naming, asked));
    }
    if is_served || network.publishes {
        let opener = network::start_opening()
            .map_err(|errno| failed("start to open sockets", errno.raw_os_error()))?;
        all.push((Event::Dialling, opener));
    }
    if network.sockets.is_empty() {
        return Ok((all, None));
    }
    let (door, harness) = Door::open(network.sockets)
        .map_err(|errno| failed("make the way to Unix sockets", errno.raw_os_error()))?;
    all.push((Event::Reaching, harness));
    Ok((all, Some(door)))
}

fn build_failed(step: usize, error: &BuildError) -> Event {
    Event::LaunchFailed {
        step: Some(step),
        operation: describe(error),
        errno: error.errno(),
    }
}

/// An error with its chain of causes, for the other side of the wire; the system's own error travels as its number.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let told: Vec<String> = chain(error)
        .take_while(|cause| !cause.is::<Errno>() && !cause.is::<std::io::Error>())
        .map(ToString::to_string)
        .collect();
    told.join(": ")
}

/// The number of the first system error in the chain; `EINVAL` where no call failed.
fn system_error(error: &(dyn std::error::Error + 'static)) -> i32 {
    let number = chain(error).find_map(|cause| match cause.downcast_ref::<Errno>() {
        Some(errno) => Some(errno.raw_os_error()),
        None => cause.downcast_ref::<std::io::Error>()?.raw_os_error(),
    });
    number.unwrap_or(Errno::INVAL.raw_os_error())
}

fn failed(operation: &str, errno: i32) -> Event {
    Event::LaunchFailed {
        step: None,
        operation: operation.to_owned(),
        errno,
    }
}
