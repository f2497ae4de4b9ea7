//! init's event loop: requests of the harness, children, the observer, limits, the end.

mod names;

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::{Pid, Signal};

use ringfence_backend::command::Stream;
use ringfence_backend::wire::{Event, Request};
use ringfence_backend::{Afterwards, CommandId, CommandRequest, Ending, Outcome};
use ringfence_policy::AbsolutePath;

use super::limits::{WATCH_INTERVAL, Watch as LimitWatch};
use super::program::lay_out;
use super::spawner::{Job, Start};
use super::terminal::open_terminal;
use super::tree::Tree;
use super::wait::{Awaited, Ready};
use super::{InitError, Parts};
use crate::channel::Channel;
use crate::exec::{CommandPreparation, Stage, StartError};
use crate::observer::Observer;
use crate::sys::{self, Reap, Reaped, WaitStatus};

/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(2);
/// Denials are dropped from the record while more than this waits for the harness.
const MAX_WAITING: usize = 8 << 20;

/// A command that runs.
#[derive(Debug)]
struct Running {
    id: CommandId,
    deadline: Option<Instant>,
    /// What ended it, when it was one of our limits.
    limit: Option<Ending>,
    /// When it is killed: it was asked to end, and has this long for it.
    kill: Option<Instant>,
}

impl Running {
    /// Passes a signal of the harness's caller on; one that asks for the end is not asked twice.
    fn signal(&mut self, pid: Pid, signal: i32) {
        // Gone already: its end is on its way to the harness.
        let _ = sys::signal_group(pid.as_raw_nonzero().get(), signal);
        if [Signal::TERM, Signal::HUP]
            .map(Signal::as_raw)
            .contains(&signal)
        {
            self.kill = self.kill.or_else(|| Some(Instant::now() + GRACE));
        }
    }
}

/// A command between request and first instruction.
#[derive(Debug)]
struct Starting {
    deadline: Option<Instant>,
    /// The terminal's other side, for the harness.
    terminal: Option<OwnedFd>,
    /// Signals that came for it meanwhile.
    signals: Vec<i32>,
}

/// What init is doing about the end of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Not asked for.
    NotAsked,
    /// TERM was sent; KILL follows then.
    Asked(Instant),
    /// KILL was sent.
    Killed,
}

/// The running init.
pub(crate) struct Init {
    channel: Channel,
    harness: Option<OwnedFd>,
    parts: Parts,
    tree: Tree,
    running: HashMap<Pid, Running>,
    starting: HashMap<CommandId, Starting>,
    /// Children that ended before their start was known.
    early: HashMap<Pid, Reaped>,
    end: End,
    /// The command whose end is the session's.
    last: Option<CommandId>,
    next_look: Option<Instant>,
    /// Whether the last command failed.
    failed: bool,
    /// Guarded names that the session's own commands made, as the observer saw.
    touched: HashSet<AbsolutePath>,
}

impl Init {
    /// Reports that the boundary stands.
    pub(crate) fn new(
        mut channel: Channel,
        harness: Option<OwnedFd>,
        mut parts: Parts,
    ) -> Result<Self, InitError> {
        for (event, descriptor) in parts.handed_out.drain(..) {
            channel.post(&event, &[descriptor.as_fd()])?;
        }
        if let Some(watch) = &mut parts.watch {
            for directory in watch.take_unwatched() {
                channel.post(&Event::Unwatched { directory }, &[])?;
            }
        }
        channel.post(&Event::Ready(parts.enforcement.clone()), &[])?;
        let next_look = parts.limits.is_watched().then(Instant::now);
        Ok(Self {
            channel,
            harness,
            parts,
            tree: Tree::of_this_process(),
            running: HashMap::new(),
            starting: HashMap::new(),
            early: HashMap::new(),
            end: End::NotAsked,
            last: None,
            next_look,
            failed: false,
            touched: HashSet::new(),
        })
    }

    /// Serves until the session has ended. However it ends, no process of the session is left.
    pub(crate) fn serve(mut self) -> Result<(), InitError> {
        let result = self.serve_until_ended();
        self.tree.signal(Signal::KILL);
        self.reap_all();
        result
    }

    fn serve_until_ended(&mut self) -> Result<(), InitError> {
        loop {
            while let Some(request) = self.channel.next::<Request>()? {
                self.handle(request)?;
            }
            if self.end != End::NotAsked && self.is_empty() {
                if let Some(layer) = &self.parts.layer {
                    layer.release();
                }
                self.report_reached()?;
                self.channel.post(&Event::Ended, &[])?;
                self.channel.flush(SendFlags::empty())?;
                return Ok(());
            }
            if self.channel.waiting() > 0 {
                self.channel.flush(SendFlags::DONTWAIT)?;
            }
            let ready = self.wait()?;
            if ready.harness {
                return Ok(());
            }
            if ready.spawner {
                self.parts.spawner.acknowledge();
                while let Some(start) = self.parts.spawner.next() {
                    self.started(&start)?;
                }
            }
            if ready.observer {
                self.observe()?;
            }
            if ready.watch {
                self.restore_mounts()?;
            }
            if ready.children {
                self.reap()?;
            }
            self.forget_makers()?;
            self.check_times();
            if ready.channel {
                self.channel.fill()?;
            }
        }
    }

    fn handle(&mut self, request: Request) -> Result<(), InitError> {
        match request {
            Request::Launch(..) => Err(InitError::NoLaunch),
            Request::Spawn(request) => self.spawn(&request),
            Request::Signal { command, signal } => {
                if let Some(starting) = self.starting.get_mut(&command) {
                    starting.signals.push(signal);
                }
                for (pid, running) in &mut self.running {
                    if running.id == command {
                        running.signal(*pid, signal);
                    }
                }
                Ok(())
            }
            Request::End => {
                self.begin_end();
                self.reap()
            }
        }
    }

    fn begin_end(&mut self) {
        if self.end == End::NotAsked {
            self.tree.signal(Signal::TERM);
            self.end = End::Asked(Instant::now() + GRACE);
        }
    }

    /// Hands a command to the spawner.
    fn spawn(&mut self, request: &CommandRequest) -> Result<(), InitError> {
        let id = request.id;
        if request.afterwards == Afterwards::End {
            self.last = Some(id);
        }
        let deadline = request
            .time_limit
            .map(|limit| Instant::now() + Duration::from_millis(limit));
        match self.prepare(request) {
            Ok((job, terminal)) => {
                let starting = Starting {
                    deadline,
                    terminal,
                    signals: Vec::new(),
                };
                self.starting.insert(id, starting);
                self.parts.spawner.submit(job).map_err(|_| InitError::Build)
            }
            Err(errno) => self.post_exit(id, Ending::NotExecutable(errno.raw_os_error()), 0),
        }
    }

    fn prepare(&mut self, request: &CommandRequest) -> Result<(Job, Option<OwnedFd>), Errno> {
        let mut terminal = None;
        let mut controller = None;
        if request.streams.contains(&Stream::Terminal) {
            let pair = open_terminal(request.terminal, self.parts.identity)?;
            controller = Some(pair.controller);
            terminal = Some(pair.peer);
        }
        let mut held = Vec::with_capacity(4);
        let mut streams = [0; 3];
        for (slot, stream) in streams.iter_mut().zip(request.streams) {
            let fd = match stream {
                Stream::Descriptor => self.channel.next_descriptor().ok_or(Errno::BADF)?,
                Stream::Terminal => {
                    rustix::io::fcntl_dupfd_cloexec(terminal.as_ref().ok_or(Errno::NOTTY)?, 3)?
                }
                Stream::Null => {
                    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
                    rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?
                }
            };
            *slot = fd.as_raw_fd();
            held.push(fd);
        }
        let controlling = terminal.as_ref().map(AsRawFd::as_raw_fd);
        held.extend(terminal);
        let preparation = CommandPreparation {
            streams,
            terminal: controlling,
            directory: CString::new(request.directory.as_path().as_os_str().as_bytes())
                .map_err(|_| Errno::INVAL)?,
            umask: request.umask,
            ignored_signals: signal_bits(&request.ignored_signals),
            process_limit: self.parts.limits.process_limit,
            open_files: self.parts.open_files,
        };
        Ok((
            Job {
                id: request.id,
                program: lay_out(request)?,
                preparation,
                held,
            },
            controller,
        ))
    }

    /// A start has succeeded or failed.
    fn started(&mut self, start: &Start) -> Result<(), InitError> {
        let Some(starting) = self.starting.remove(&start.id) else {
            return Ok(());
        };
        match start.result {
            Ok(pid) => {
                let fds: Vec<BorrowedFd<'_>> = starting.terminal.iter().map(AsFd::as_fd).collect();
                self.channel
                    .post(&Event::Started { command: start.id }, &fds)?;
                let mut running = Running {
                    id: start.id,
                    deadline: starting.deadline,
                    limit: None,
                    kill: None,
                };
                if let Some(reaped) = self.early.remove(&pid) {
                    self.exited(&running, reaped)?;
                } else {
                    for signal in starting.signals {
                        running.signal(pid, signal);
                    }
                    self.running.insert(pid, running);
                }
            }
            Err(error) => self.post_exit(start.id, failed_start(error), 0)?,
        }
        if self.starting.is_empty() {
            self.early.clear();
        }
        Ok(())
    }

    fn reap(&mut self) -> Result<(), InitError> {
        drain(&self.parts.signals);
        while let Reap::Child(reaped) = sys::reap() {
            let Some(pid) = Pid::from_raw(reaped.pid) else {
                continue;
            };
            match self.running.remove(&pid) {
                Some(running) => self.exited(&running, reaped)?,
                // An orphan, or a command whose start the spawner has not told yet.
                None if !self.starting.is_empty() => drop(self.early.insert(pid, reaped)),
                None => {}
            }
        }
        Ok(())
    }

    fn exited(&mut self, running: &Running, reaped: Reaped) -> Result<(), InitError> {
        // What it did last comes before its end; the harness then looks for no more names than it was told of.
        self.flush_observer()?;
        self.restore_mounts()?;
        if let Some((denial, count)) = self.parts.limits.take_refused_forks() {
            self.channel.queue(&Event::Denied {
                denial: Box::new(denial),
                count,
            })?;
        }
        let ending = match (running.limit, sys::decode_wait_status(reaped.status)) {
            (Some(limit), _) => limit,
            (None, WaitStatus::Exited(status)) => Ending::Exited(status),
            (None, WaitStatus::Signalled(signal))
                if signal == Signal::KILL.as_raw() && self.parts.limits.memory_was_exhausted() =>
            {
                Ending::MemoryLimit
            }
            (None, WaitStatus::Signalled(signal)) => Ending::Signalled(signal),
        };
        self.post_exit(running.id, ending, reaped.cpu_microseconds)
    }

    fn post_exit(
        &mut self,
        command: CommandId,
        ending: Ending,
        cpu_microseconds: u64,
    ) -> Result<(), InitError> {
        let outcome = Outcome {
            ending,
            cpu_microseconds,
        };
        self.failed = ending != Ending::Exited(0);
        self.channel.queue(&Event::Exited { command, outcome })?;
        if self.last == Some(command) {
            self.begin_end();
        }
        Ok(())
    }

    /// Tells what hidden paths a failed command came to, when nothing of the session is left.
    fn report_reached(&mut self) -> Result<(), InitError> {
        let Some(observer) = self.parts.observer.as_ref().filter(|_| self.failed) else {
            return Ok(());
        };
        for denial in self.parts.marks.take(observer.rules()) {
            self.channel.queue(&Event::Denied {
                denial: Box::new(denial),
                count: 1,
            })?;
        }
        Ok(())
    }

    /// Answers what waits at the observer and passes on what it reports.
    fn observe(&mut self) -> Result<(), InitError> {
        let Some(observer) = &mut self.parts.observer else {
            return Ok(());
        };
        let mut events = Vec::new();
        observer.handle_ready(&mut |event| events.push(event))?;
        self.pass_on(events)
    }

    /// Reports how often known denials were repeated, once a command has ended.
    fn flush_observer(&mut self) -> Result<(), InitError> {
        self.observe()?;
        let mut events = Vec::new();
        if let Some(observer) = &mut self.parts.observer {
            observer.flush(&mut |event| events.push(event));
        }
        self.pass_on(events)
    }

    fn pass_on(&mut self, events: Vec<Event>) -> Result<(), InitError> {
        for event in events {
            if let Event::Touched { path } = &event {
                // Of the others a target may make any number.
                let watch = self.parts.watch.as_ref();
                if watch.is_some_and(|watch| watch.was_absent(path)) {
                    self.touched.insert(path.clone());
                }
            } else if self.channel.waiting() > MAX_WAITING {
                // A target that floods the record loses its own reports, not the session.
                continue;
            }
            self.channel.post(&event, &[])?;
        }
        Ok(())
    }

    fn check_times(&mut self) {
        let now = Instant::now();
        if let End::Asked(kill) = self.end
            && now >= kill
        {
            self.tree.signal(Signal::KILL);
            self.end = End::Killed;
        }
        let mut is_last_overdue = false;
        for (pid, running) in &mut self.running {
            if running.kill.is_some_and(|kill| now >= kill) {
                running.kill = None;
                running.signal(*pid, Signal::KILL.as_raw());
                is_last_overdue |= self.last == Some(running.id);
            }
            if running.deadline.is_some_and(|deadline| now >= deadline) {
                let group = pid.as_raw_nonzero().get();
                let signal = if running.limit.is_none() {
                    Signal::TERM
                } else {
                    Signal::KILL
                };
                running.limit = Some(Ending::TimeLimit);
                running.deadline = (signal == Signal::TERM).then(|| now + GRACE);
                let _ = sys::signal_group(group, signal.as_raw());
            }
        }
        if is_last_overdue {
            // What it started has been asked with it, and the session ends with it.
            self.tree.signal(Signal::KILL);
            self.end = End::Killed;
        }
        if self.next_look.is_some_and(|look| now >= look) {
            self.next_look = Some(now + Duration::from_millis(WATCH_INTERVAL));
            let ending = match self.parts.limits.look() {
                LimitWatch::Within => return,
                LimitWatch::Memory => Ending::MemoryLimit,
                LimitWatch::Processes => Ending::ProcessLimit,
            };
            for running in self.running.values_mut() {
                running.limit = Some(ending);
            }
            self.tree.signal(Signal::KILL);
        }
    }

    /// Whether no process of the session is left.
    fn is_empty(&mut self) -> bool {
        self.running.is_empty()
            && self.starting.is_empty()
            && matches!(sys::reap(), Reap::NoChildren)
    }

    /// Waits for the last process; all have been sent KILL.
    fn reap_all(&mut self) {
        loop {
            match sys::reap() {
                Reap::Child(_) => {}
                Reap::NoChildren => return,
                Reap::Running => {
                    let mut fds = [PollFd::new(&self.parts.signals, PollFlags::IN)];
                    let moment = Timespec {
                        tv_sec: 0,
                        tv_nsec: 50_000_000,
                    };
                    let _ = poll(&mut fds, Some(&moment));
                    drain(&self.parts.signals);
                    // One that was just being made when KILL was sent.
                    self.tree.signal(Signal::KILL);
                }
            }
        }
    }

    fn wait(&self) -> Result<Ready, InitError> {
        let awaited = Awaited {
            channel: &self.channel,
            signals: self.parts.signals.as_fd(),
            spawner: self.parts.spawner.as_fd(),
            observer: self.parts.observer.as_ref(),
            watch: self.parts.watch.as_ref(),
            harness: self.harness.as_ref(),
        };
        awaited
            .wait(self.next_time())
            .map_err(|errno| InitError::SetUp("poll", errno))
    }

    fn next_time(&self) -> Option<Instant> {
        let end = match self.end {
            End::Asked(kill) => Some(kill),
            End::NotAsked | End::Killed => None,
        };
        let running = self.running.values();
        let deadlines = running.flat_map(|running| [running.deadline, running.kill]);
        let makers = self.parts.observer.as_ref().and_then(Observer::next_look);
        let others = [end, self.next_look, makers].into_iter().flatten();
        deadlines.flatten().chain(others).min()
    }
}

/// Empties a signal descriptor: the children themselves are found by wait.
fn drain(signals: &OwnedFd) {
    let mut record = [0; 1024];
    while rustix::io::read(signals, &mut record).is_ok_and(|length| length == record.len()) {}
}

fn signal_bits(signals: &[i32]) -> u64 {
    signals
        .iter()
        .filter(|signal| (1..=64).contains(*signal))
        .fold(0, |bits, signal| bits | 1 << (signal - 1))
}

fn failed_start(error: StartError) -> Ending {
    match error {
        StartError::Child(Stage::Execute, Errno::NOENT | Errno::NOTDIR) => Ending::NotFound,
        StartError::Child(_, errno) | StartError::Clone(errno) => {
            Ending::NotExecutable(errno.raw_os_error())
        }
    }
}
