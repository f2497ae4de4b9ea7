//! The harness's side of a session: starts init in its namespaces, sends requests, receives events.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getegid, geteuid, getpid, kill_process,
    pidfd_open, waitpid,
};

use ringfence_backend::wire::{Event, Leased, Request};
use ringfence_backend::{CommandId, CommandRequest, Remains};
use ringfence_plan::step::{Identity, Namespace};
use ringfence_plan::{Plan, Step};

use crate::channel::{Channel, ChannelError};
use crate::exec::{self, ChildStack, Lookup, Preparation, Program, Stage, StartError};
use crate::init::INIT_NAME;
use crate::init::limits::groups_of;

/// How long a session that was stopped may take to end, before and again after its init is killed.
const STOP_TIME: Duration = Duration::from_secs(5);
/// What init may still send meanwhile, in bytes; more is left unread.
const MAX_ARRIVED: usize = 16 << 20;

/// Stack of the thread that starts an init ahead, in bytes; the child has its own.
const LAUNCH_STACK: usize = 64 << 10;

/// Why a session did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// socketpair(2) failed.
    #[error("make the session's channel")]
    Channel(#[source] Errno),
    /// `pidfd_open(2)` of the harness itself failed.
    #[error("open a descriptor of this process for the session's init")]
    Pidfd(#[source] Errno),
    /// clone(2) refused the namespaces: the host allows none to this caller.
    #[error("make the session's namespaces")]
    Namespaces(#[source] Errno),
    /// The session's init could not be executed.
    #[error("start the session's init")]
    Init(#[source] Errno),
    /// The id map could not be written.
    #[error("write {file} of the session's init")]
    IdMap {
        /// Which file of `/proc/<pid>`.
        file: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The plan could not be sent.
    #[error("send the plan to the session's init")]
    Send(#[source] ChannelError),
}

/// Why a live session failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The channel to init failed; the session is over.
    #[error("the session's init does not answer")]
    Channel(#[from] ChannelError),
    /// poll(2) failed.
    #[error("wait for the session's init")]
    Poll(#[source] Errno),
}

/// A session: its namespaces, its init, and the channel to it.
#[derive(Debug)]
pub struct Session {
    channel: Channel,
    init: Pid,
    /// Whether init's end is the end of every process of the session.
    namespace: ProcessNamespace,
    /// How init ended, once it is known.
    ended: Option<InitEnd>,
    /// Control groups that init lives in.
    groups: Vec<PathBuf>,
}

/// Whether a session has a process namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProcessNamespace {
    Own,
    Shared,
}

/// How init ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InitEnd {
    /// By itself: it has ended every process of the session before.
    Orderly,
    /// By a signal or a crash, or nobody knows how.
    Otherwise,
}

/// An init that is started before there is a plan, on a thread of its own: making namespaces takes the kernel as long
/// as planning takes this process.
///
/// It knows nothing yet but its channel. Dropped, it ends as soon as it has begun.
#[derive(Debug)]
pub struct Ahead {
    entry: Entry,
    start: JoinHandle<Result<Session, LaunchError>>,
}

impl Ahead {
    /// Begins, with the caller's own identity; `None` where there is no thread for it, and the launch does it all.
    #[must_use]
    pub fn begin(namespaces: &[Namespace]) -> Option<Self> {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let entry = Entry {
            flags: clone_flags(namespaces),
            identity: Some(Identity {
                uid,
                gid,
                target: (uid, gid),
            }),
        };
        let start = thread::Builder::new()
            .name("launch".to_owned())
            .stack_size(LAUNCH_STACK)
            .spawn(move || Session::start_init(entry))
            .ok()?;
        Some(Self { entry, start })
    }

    fn finish(self) -> Result<Session, LaunchError> {
        match self.start.join() {
            Ok(started) => started,
            // It panicked, and said so: once more, here.
            Err(_) => Session::start_init(self.entry),
        }
    }
}

/// Whether the kernel makes `namespaces` for this caller, by making them once for a child that ends at once.
///
/// # Errors
/// [`LaunchError::Namespaces`] where it does not. What fails for another reason is left to the launch.
pub fn probe_namespaces(namespaces: &[Namespace]) -> Result<(), LaunchError> {
    // With nothing to execute the child ends when all before has worked.
    let nothing = Program {
        candidates: Vec::new(),
        lookup: Lookup::Path,
        arguments: Vec::new(),
        environment: Vec::new(),
    };
    let preparation = Preparation::Init { channel: 0 };
    let flags = clone_flags(namespaces);
    match exec::start(&nothing, &preparation, flags, &mut ChildStack::new()) {
        Err(StartError::Clone(errno) | StartError::Child(Stage::Capabilities, errno)) => {
            Err(LaunchError::Namespaces(errno))
        }
        Err(StartError::Child(..)) | Ok(_) => Ok(()),
    }
}

impl Session {
    /// Starts init in the namespaces of `plan`, or takes the one of `ahead`, and sends the plan; does not wait until
    /// the boundary stands.
    ///
    /// init keeps `lease` open until it has seen the end of everything.
    ///
    /// This process must call [`crate::init::run_if_asked`] first thing in `main`: init is this program again.
    ///
    /// # Errors
    /// [`LaunchError`], one variant for each call; nothing is left running then.
    pub fn launch(
        plan: &Plan,
        lease: Option<BorrowedFd<'_>>,
        ahead: Option<Ahead>,
    ) -> Result<Self, LaunchError> {
        reap_left_over();
        let harness = pidfd_open(getpid(), PidfdFlags::empty()).map_err(LaunchError::Pidfd)?;
        let entry = entry(plan);
        // An init in other namespaces than the plan's, or mapped for another target, ends when it is dropped.
        let mut session = match ahead.filter(|ahead| ahead.entry == entry) {
            Some(ahead) => ahead.finish()?,
            None => Self::start_init(entry)?,
        };
        session.groups = groups_of(plan, session.init.as_raw_nonzero().get());
        let leased = if lease.is_some() {
            Leased::Yes
        } else {
            Leased::No
        };
        let request = Request::Launch(Box::new(plan.clone()), leased);
        let descriptors: Vec<_> = std::iter::once(harness.as_fd()).chain(lease).collect();
        session
            .channel
            .send(&request, &descriptors)
            .map_err(LaunchError::Send)?;
        Ok(session)
    }

    /// Starts init in new namespaces and maps its ids; it waits for its plan. Dropped, it ends.
    fn start_init(entry: Entry) -> Result<Self, LaunchError> {
        let Entry { flags, identity } = entry;
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(LaunchError::Channel)?;
        let program = Program {
            candidates: vec![CString::from(c"/proc/self/exe")],
            lookup: Lookup::Path,
            arguments: vec![CString::new(INIT_NAME).unwrap_or_default()],
            environment: Vec::new(),
        };
        let preparation = Preparation::Init {
            channel: theirs.as_raw_fd(),
        };
        let init = exec::start(&program, &preparation, flags, &mut ChildStack::new()).map_err(
            |error| match error {
                StartError::Clone(errno) | StartError::Child(Stage::Capabilities, errno) => {
                    LaunchError::Namespaces(errno)
                }
                StartError::Child(_, errno) => LaunchError::Init(errno),
            },
        )?;
        drop(theirs);
        // From here on dropping the session closes the channel, and init ends.
        let session = Self {
            channel: Channel::new(ours),
            init,
            namespace: if flags & libc::CLONE_NEWPID == 0 {
                ProcessNamespace::Shared
            } else {
                ProcessNamespace::Own
            },
            ended: None,
            groups: Vec::new(),
        };
        if let Some(identity) = identity {
            write_id_maps(init, identity)?;
        }
        Ok(session)
    }

    /// Asks for a command; `descriptors` are its [`ringfence_backend::Stream::Descriptor`] streams in order.
    ///
    /// # Errors
    /// [`SessionError::Channel`] when init is gone.
    pub fn spawn(
        &mut self,
        request: &CommandRequest,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SessionError> {
        Ok(self
            .channel
            .send(&Request::Spawn(request.clone()), descriptors)?)
    }

    /// The next event, with the descriptor that travels with it; `None` when `timeout` has passed.
    ///
    /// # Errors
    /// [`SessionError`] when init is gone or sends what is no event.
    ///
    /// # Security
    /// What init sends is read as hostile: capped, versioned, and a malformed frame ends the session.
    pub fn receive(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<(Event, Option<OwnedFd>)>, SessionError> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if let Some(event) = self.channel.next::<Event>()? {
                let descriptor = match event {
                    Event::Started { .. }
                    | Event::Serving { .. }
                    | Event::Naming
                    | Event::Dialling
                    | Event::Reaching => self.channel.next_descriptor(),
                    _ => None,
                };
                return Ok(Some((event, descriptor)));
            }
            if !self.wait_readable(deadline)? {
                return Ok(None);
            }
            self.channel.fill()?;
        }
    }

    /// Sends a signal to a command's process group.
    ///
    /// # Errors
    /// [`SessionError::Channel`] when init is gone.
    pub fn signal(&mut self, command: CommandId, signal: i32) -> Result<(), SessionError> {
        Ok(self
            .channel
            .send(&Request::Signal { command, signal }, &[])?)
    }

    /// Asks init to end what is left of the session; [`Event::Ended`] follows.
    ///
    /// # Errors
    /// [`SessionError::Channel`] when init is gone.
    pub fn end(&mut self) -> Result<(), SessionError> {
        Ok(self.channel.send(&Request::End, &[])?)
    }

    /// Ends the session without asking: init ends it when the channel's other half closes, and is killed where it does
    /// not. What init had sent before can still be received.
    pub fn stop(&mut self) -> Remains {
        // Closed already is as good.
        let _ = shutdown(&self.channel, Shutdown::Write);
        let ended = self.wait_for_end().or_else(|| {
            // Nobody has reaped it, so the id is still its own.
            let _ = kill_process(self.init, Signal::KILL);
            self.wait_for_end()
        });
        match (ended, self.namespace) {
            (Some(_), ProcessNamespace::Own)
            | (Some(InitEnd::Orderly), ProcessNamespace::Shared) => Remains::Nothing,
            (None, _) | (Some(InitEnd::Otherwise), ProcessNamespace::Shared) => Remains::Unknown,
        }
    }

    /// Waits [`STOP_TIME`] for init's end, and keeps what it sends meanwhile, so that it can't be stuck in sending.
    fn wait_for_end(&mut self) -> Option<InitEnd> {
        let deadline = Instant::now() + STOP_TIME;
        let mut is_open = true;
        loop {
            if self.reap(WaitOptions::NOHANG).is_some() {
                return self.ended;
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let Ok(process) = pidfd_open(self.init, PidfdFlags::empty()) else {
                return None;
            };
            let timeout = Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut fds = vec![PollFd::new(&process, PollFlags::IN)];
            if is_open && self.channel.arrived() < MAX_ARRIVED {
                fds.push(PollFd::new(&self.channel, PollFlags::IN));
            }
            let _ = poll(&mut fds, Some(&timeout));
            let is_readable = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
            if is_readable {
                is_open = self.channel.fill().is_ok();
            }
        }
    }

    /// Takes init's end where it has ended.
    fn reap(&mut self, options: WaitOptions) -> Option<InitEnd> {
        if self.ended.is_none() {
            self.ended = match waitpid(Some(self.init), options) {
                Ok(Some((_, status))) if is_orderly(status) => Some(InitEnd::Orderly),
                Ok(None) | Err(Errno::INTR) => None,
                // Whoever reaps for this process was faster.
                Ok(Some(_)) | Err(_) => Some(InitEnd::Otherwise),
            };
        }
        self.ended
    }

    /// init's process id on the host.
    #[must_use]
    pub fn init_process(&self) -> Pid {
        self.init
    }

    fn wait_readable(&self, deadline: Option<Instant>) -> Result<bool, SessionError> {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let mut fds = [PollFd::new(&self.channel, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            // A signal for the harness counts as time passed: the caller decides what it means before it waits again.
            Ok(0) | Err(Errno::INTR) => Ok(false),
            Ok(_) => Ok(true),
            Err(errno) => Err(SessionError::Poll(errno)),
        }
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// Inits that had not ended when their session was dropped.
static UNREAPED: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

impl Drop for Session {
    /// Leaves init to be reaped later: by the next launch or drop, or by whoever reaps for this process.
    ///
    /// It is not waited for. All its commands have ended when it says so, but its own end takes the kernel some
    /// 15 ms more, most of it for giving up the inotify marks (measured on 6.18), and nobody should wait for that.
    /// Only where it made control groups: they can't be removed before it is gone, and nobody else would do it.
    fn drop(&mut self) {
        if !self.groups.is_empty() {
            // Where nobody has ended the session, this does.
            let _ = shutdown(&self.channel, Shutdown::Write);
            self.wait_for_end();
            for group in &self.groups {
                // Where a process is still in it, the next session with limits removes it.
                let _ = fs::remove_dir(group);
            }
        }
        if self.reap(WaitOptions::NOHANG).is_none() {
            unreaped().push(self.init);
        }
        reap_left_over();
    }
}

fn unreaped() -> MutexGuard<'static, Vec<Pid>> {
    UNREAPED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reap_left_over() {
    unreaped().retain(|init| matches!(waitpid(Some(*init), WaitOptions::NOHANG), Ok(None)));
}

/// The two statuses of [`crate::init::run_if_asked`]: a crash has another.
fn is_orderly(status: WaitStatus) -> bool {
    matches!(status.exit_status(), Some(0 | 1))
}

/// What starting init needs to know of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    flags: i32,
    identity: Option<Identity>,
}

fn entry(plan: &Plan) -> Entry {
    let mut entry = Entry {
        flags: 0,
        identity: None,
    };
    for step in &plan.steps {
        if let Step::EnterNamespaces {
            namespaces,
            identity,
        } = step
        {
            entry.identity = Some(*identity);
            entry.flags = clone_flags(namespaces);
        }
    }
    entry
}

fn clone_flags(namespaces: &[Namespace]) -> i32 {
    namespaces
        .iter()
        .fold(0, |flags, namespace| flags | clone_flag(*namespace))
}

fn clone_flag(namespace: Namespace) -> i32 {
    match namespace {
        Namespace::User => libc::CLONE_NEWUSER,
        Namespace::Mount => libc::CLONE_NEWNS,
        Namespace::Pid => libc::CLONE_NEWPID,
        Namespace::Net => libc::CLONE_NEWNET,
        Namespace::Ipc => libc::CLONE_NEWIPC,
        Namespace::Uts => libc::CLONE_NEWUTS,
        Namespace::Cgroup => libc::CLONE_NEWCGROUP,
    }
}

/// Maps the ids of the plan onto themselves, `user_namespaces(7)`. One id is what an ordinary caller may map; root maps
/// the target's too where it differs.
fn write_id_maps(init: Pid, identity: Identity) -> Result<(), LaunchError> {
    // An ordinary caller may map its group only after setgroups is denied for good.
    if identity.uid != 0 {
        write_proc(init, "setgroups", "deny")?;
    }
    write_proc(init, "uid_map", &id_map(identity.uid, identity.target.0))?;
    write_proc(init, "gid_map", &id_map(identity.gid, identity.target.1))
}

fn id_map(own: u32, target: u32) -> String {
    if own == target {
        format!("{own} {own} 1\n")
    } else {
        format!("{own} {own} 1\n{target} {target} 1\n")
    }
}

fn write_proc(init: Pid, file: &'static str, text: &str) -> Result<(), LaunchError> {
    let path = format!("/proc/{}/{file}", init.as_raw_nonzero());
    fs::write(path, text).map_err(|source| LaunchError::IdMap { file, source })
}
