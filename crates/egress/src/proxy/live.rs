//! Connections that are open, so that a policy loaded later can close those it no longer allows.
//!
//! Also counts what each of them carries and watches its time. Invariant: a connection is in the table from before
//! the first byte of the target goes out until the last one, and its end is recorded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringfence_policy::AbsolutePath;
use ringfence_policy::decision::Decision;
use ringfence_policy::host::Host;
use ringfence_policy::network::{Destination, Reach};
use ringfence_policy::policy::NetworkPolicy;
use ringfence_policy::rule::RuleId;
use ringfence_policy::units::ByteSize;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use crate::caller::Program;
use crate::decide::{Ingress, Subject, parts, refuse};
use crate::event::{CloseCause, ConnectionClosed, ConnectionDecision, Event, Sink};
use crate::limits::Limits;

/// What an open connection rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Basis {
    /// A rule of the policy.
    Policy,
    /// Somebody who was asked said yes, to this connection alone.
    Answer,
}

/// What goes over an open connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    /// Anything, unread.
    Anything,
    /// Requests, each of which is decided.
    Requests,
    /// One request, and then the protocol to which it changes, unread.
    Change(Change),
}

/// A request that changes the protocol of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) protocol: String,
}

impl Change {
    /// The verdict of `policy` on it.
    pub(crate) fn decide(&self, policy: &NetworkPolicy, host: &Host, port: u16) -> Decision {
        let request = (self.method.as_str(), self.path.as_str());
        policy.decide_upgrade(host, port, request, &self.protocol)
    }
}

/// A connection that is about to be opened.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) subject: Subject,
    pub(crate) port: u16,
    /// By which way it came.
    pub(crate) ingress: Ingress,
    pub(crate) route: Route,
}

/// Where a connection leads.
#[derive(Debug)]
pub(crate) enum Route {
    /// Out of the session.
    Out {
        host: Host,
        /// The address that is dialled; `None` when another proxy resolves the name.
        address: Option<IpAddr>,
        basis: Basis,
        /// What allowed it: the counter of its bytes.
        allowed_by: String,
        carries: Carries,
        program: Program,
    },
    /// From the host's loopback into the session.
    In,
    /// To a Unix socket of the host.
    Socket {
        /// As the policy names it.
        path: AbsolutePath,
    },
}

impl Opening {
    fn destination(&self) -> String {
        match &self.route {
            Route::Out { host, .. } => format!("{host}:{}", self.port),
            Route::In => format!("session:{}", self.port),
            Route::Socket { path } => Destination::UnixPath(path.as_path()).to_string(),
        }
    }

    /// The counter of its bytes.
    fn counter(&self) -> String {
        match &self.route {
            Route::Out { allowed_by, .. } => allowed_by.clone(),
            Route::In | Route::Socket { .. } => self.destination(),
        }
    }

    /// The most bytes that may leave under its rule.
    fn most(&self, policy: &NetworkPolicy) -> Option<u64> {
        match &self.route {
            Route::Out { allowed_by, .. } => policy.bytes_out(allowed_by),
            Route::In | Route::Socket { .. } => None,
        }
    }
}

/// All open connections of one proxy.
pub(crate) struct Registry {
    sink: Arc<dyn Sink>,
    limits: Limits,
    epoch: Instant,
    next: AtomicU64,
    /// Set once the proxy ends.
    ended: AtomicBool,
    entries: Mutex<HashMap<u64, Arc<Entry>>>,
    spent: Mutex<HashMap<String, Arc<AtomicU64>>>,
}

struct Entry {
    opening: Opening,
    /// The most bytes that may leave under its rule.
    most: u64,
    ended: Notify,
    cause: Mutex<Option<CloseCause>>,
}

/// One open connection; dropping it takes it out of the table.
pub(crate) struct Live {
    id: u64,
    entry: Arc<Entry>,
    registry: Arc<Registry>,
    begun: Instant,
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
    /// Milliseconds since the registry's beginning.
    last_byte: AtomicU64,
    spent: Arc<AtomicU64>,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Out,
    In,
}

/// No more bytes may leave under this rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Registry {
    pub(crate) fn new(sink: Arc<dyn Sink>, limits: Limits) -> Self {
        Self {
            sink,
            limits,
            epoch: Instant::now(),
            next: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            entries: Mutex::default(),
            spent: Mutex::default(),
        }
    }

    /// Puts a connection that `policy` allows into the table.
    pub(crate) fn register(self: &Arc<Self>, opening: Opening, policy: &NetworkPolicy) -> Live {
        let limits = [opening.most(policy), self.limits.bytes_out_per_rule];
        let most = limits.into_iter().flatten().min().unwrap_or(u64::MAX);
        let spent = lock(&self.spent)
            .entry(opening.counter())
            .or_default()
            .clone();
        let entry = Arc::new(Entry {
            opening,
            most,
            ended: Notify::new(),
            cause: Mutex::new(None),
        });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.entries).insert(id, Arc::clone(&entry));
        Live {
            id,
            entry,
            registry: Arc::clone(self),
            begun: Instant::now(),
            bytes_out: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            last_byte: AtomicU64::new(self.now()),
            spent,
        }
    }

    /// Closes what `policy` no longer allows, and where single requests are allowed by other rules than `before`, all
    /// that carries them: the one in flight may be one that was taken back.
    pub(crate) fn narrow(&self, policy: &NetworkPolicy, before: &NetworkPolicy) {
        let same_requests = policy.scoped_rules().eq(before.scoped_rules());
        for entry in lock(&self.entries).values() {
            let other_requests = !same_requests && carries_requests(&entry.opening, policy);
            if other_requests
                || is_counted_anew(&entry.opening, policy)
                || refused_now(&entry.opening, policy).is_some()
            {
                entry.end(CloseCause::Revoked);
            }
        }
    }

    /// From now on a connection ends because the proxy does.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// How many connections are open.
    pub(crate) fn count(&self) -> usize {
        lock(&self.entries).len()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Whether it carries requests to a host of which `policy` allows some alone.
fn carries_requests(opening: &Opening, policy: &NetworkPolicy) -> bool {
    match &opening.route {
        Route::In | Route::Socket { .. } => false,
        Route::Out { host, carries, .. } => {
            *carries != Carries::Anything && policy.reach(host, opening.port) == Reach::Requests
        }
    }
}

/// Whether `policy` limits the bytes of an open connection by another rule than the one that they are counted under.
fn is_counted_anew(opening: &Opening, policy: &NetworkPolicy) -> bool {
    let Route::Out {
        host,
        allowed_by,
        carries,
        program,
        ..
    } = &opening.route
    else {
        return false;
    };
    let own = program.of(policy);
    let decision = match carries {
        Carries::Anything => own.decide_outbound(host, opening.port),
        Carries::Change(change) => change.decide(&own, host, opening.port),
        // Single requests are allowed by rules of their own.
        Carries::Requests => return false,
    };
    match decision {
        Decision::Allow { origin, .. } => {
            origin != *allowed_by && policy.bytes_out(&origin).is_some()
        }
        Decision::Deny { .. } => false,
    }
}

/// The refusal of an open connection by `policy`; `None` when it may go on.
fn refused_now(opening: &Opening, policy: &NetworkPolicy) -> Option<Decision> {
    let (decision, address, basis) = match &opening.route {
        Route::In => (policy.decide_published(opening.port), None, Basis::Policy),
        Route::Socket { path } => {
            let decision = policy.decide(&Destination::UnixPath(path.as_path()));
            (decision, None, Basis::Policy)
        }
        Route::Out {
            host,
            address,
            basis,
            carries,
            program,
            ..
        } => {
            let policy = program.of(policy);
            let unread = *carries == Carries::Anything && *basis == Basis::Policy;
            if unread && policy.reach(host, opening.port) == Reach::Requests {
                let reason = "only requests are allowed now".to_owned();
                return Some(refuse(RuleId::RequestScope, reason));
            }
            let mut decision = policy.decide_outbound(host, opening.port);
            if let (Carries::Change(change), Decision::Allow { .. }) = (carries, &decision) {
                decision = change.decide(&policy, host, opening.port);
            }
            (decision, *address, *basis)
        }
    };
    let (rule, _, _) = parts(&decision);
    let allowed = match &decision {
        Decision::Allow { .. } => true,
        Decision::Deny { .. } => basis == Basis::Answer && rule == RuleId::NotListed,
    };
    if !allowed {
        return Some(decision);
    }
    policy.refuse_addresses(opening.port, address.as_slice())
}

impl Entry {
    fn exhausted(&self) -> Decision {
        let rule = self.opening.counter();
        let reason = format!(
            "no more than {} may leave under `{rule}`",
            ByteSize(self.most)
        );
        refuse(RuleId::NetworkLimit, reason)
    }

    fn end(&self, cause: CloseCause) {
        lock(&self.cause).get_or_insert(cause);
        self.ended.notify_one();
    }
}

impl Live {
    /// The refusal by `policy`, asked again after the connection stands in the table; also where no more bytes may
    /// leave.
    pub(crate) fn refused_now(&self, policy: &NetworkPolicy) -> Option<Decision> {
        let spent = self.spent.load(Ordering::Relaxed);
        let exhausted = (spent >= self.entry.most).then(|| self.entry.exhausted());
        refused_now(&self.entry.opening, policy).or(exhausted)
    }

    /// Whether a request that is allowed by `origin` may go over it: its bytes are counted under one rule.
    pub(crate) fn is_allowed_by(&self, origin: &str) -> bool {
        match &self.entry.opening.route {
            Route::Out { allowed_by, .. } => allowed_by == origin,
            Route::In | Route::Socket { .. } => false,
        }
    }

    /// Counts bytes that are about to go; those that may not go any more count as spent, so that nothing follows them.
    pub(crate) fn count(&self, direction: Direction, bytes: usize) -> Result<(), Exhausted> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.last_byte.store(self.registry.now(), Ordering::Relaxed);
        match direction {
            Direction::In => {
                self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
            }
            Direction::Out => {
                let before = self.spent.fetch_add(bytes, Ordering::Relaxed);
                if before.saturating_add(bytes) > self.entry.most {
                    self.set_cause(CloseCause::Limit);
                    self.record_exhausted();
                    return Err(Exhausted);
                }
                self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn record_exhausted(&self) {
        let opening = &self.entry.opening;
        let decision = self.entry.exhausted();
        let sink = &self.registry.sink;
        sink.record(Event::Connection(ConnectionDecision {
            subject: opening.subject.clone(),
            ingress: opening.ingress,
            destination: opening.destination(),
            method: None,
            decision,
            process: None,
        }));
    }

    /// Does `work` unless the connection is to end: by a narrower policy, or by its time.
    pub(crate) async fn watch<T>(&self, work: impl Future<Output = T>) -> Result<T, CloseCause> {
        let known = *lock(&self.entry.cause);
        if let Some(cause) = known {
            return Err(cause);
        }
        let cause = tokio::select! {
            biased;
            () = self.entry.ended.notified() => CloseCause::Revoked,
            value = work => return Ok(value),
            () = self.timed_out() => CloseCause::Limit,
        };
        self.set_cause(cause);
        Err(cause)
    }

    /// Says why the connection ends, unless that is known already.
    pub(crate) fn set_cause(&self, cause: CloseCause) {
        lock(&self.entry.cause).get_or_insert(cause);
    }

    async fn timed_out(&self) {
        let limits = &self.registry.limits;
        let last = self.begun + limits.absolute;
        loop {
            let last_byte = Duration::from_millis(self.last_byte.load(Ordering::Relaxed));
            let end = last.min(self.registry.epoch + last_byte + limits.idle);
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        lock(&self.registry.entries).remove(&self.id);
        let opening = &self.entry.opening;
        let usual = if self.registry.ended.load(Ordering::Relaxed) {
            CloseCause::Shutdown
        } else {
            CloseCause::Finished
        };
        let cause = lock(&self.entry.cause).unwrap_or(usual);
        self.registry.sink.record(Event::Closed(ConnectionClosed {
            subject: opening.subject.clone(),
            destination: opening.destination(),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            cause,
        }));
    }
}

/// The guard also after a panic elsewhere: what is in these tables is never half written.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
