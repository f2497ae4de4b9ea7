//! The network of one session, as far as the harness has a part in it: the proxy on loopback, or a closed port there.
//!
//! The filters of the sandbox account leave the proxy's ports open and nothing beyond loopback; in same-user mode nothing
//! holds what does not ask the proxy. Invariant: a session that has a proxy stands only when it is served, and a port
//! that programs are told is closed is nobody else's while the session lives.

#[path = "network_windows/servers.rs"]
mod servers;
#[cfg(test)]
#[path = "network_windows/tests.rs"]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ringfence_audit::SessionId;
use ringfence_backend::session::{BorrowedDescriptor, Members};
use ringfence_backend::{CommandId, Received};
use ringfence_plan::windows::launch::Network as Held;
use ringfence_plan::{Plan, proxy};
use ringfence_policy::Policy;
use ringfence_windows::backend::readable::ReadablePlace;
use ringfence_windows::backend::runner_program;
use ringfence_windows::sys::listener::ClosedPort;

use super::certificates::{Certificates, JAVA_OPTIONS};
use super::console::PersonsConsole;
use super::decided::{Heard, proxy_ended};
use super::egress::{Egress, EgressError, Loopback, NetworkControl, callers};
use super::{BreakError, Session};
use servers::KnownServers;

/// On Windows cargo asks whether a certificate was revoked, and nobody says so of the session's (The Cargo Book,
/// `http.check-revoke`).
const CARGO_REVOKED: (&str, &str) = ("CARGO_HTTP_CHECK_REVOKE", "false");
/// What git starts in place of `ssh`.
const GIT_SSH: &str = "GIT_SSH_COMMAND";

/// The network of one session.
#[derive(Debug)]
pub(super) struct Network {
    policy: Policy,
    /// Until it is served.
    loopback: Option<Loopback>,
    variables: Vec<(String, String)>,
    /// Where certificates lie, should the policy need any.
    place: Option<ReadablePlace>,
    certificates: Option<Certificates>,
    known_servers: Option<KnownServers>,
    egress: Option<Egress>,
    /// What programs are told of where nothing may leave and nothing holds that.
    _closed: Option<ClosedPort>,
}

impl Network {
    /// Takes a port for the proxy that `plan` has; where it has none and its network is held by nothing, a port that
    /// stays closed.
    ///
    /// # Errors
    /// [`EgressError::Ports`].
    pub(super) fn new(
        policy: &Policy,
        plan: &Plan,
        _session: &SessionId,
    ) -> Result<Self, EgressError> {
        let launch = plan.windows.as_ref().and_then(|plan| plan.launch.as_ref());
        let ports = launch.and_then(|launch| launch.proxy);
        let loopback = ports.map(Loopback::take).transpose()?;
        let is_discouraged = launch.is_some_and(|launch| launch.network == Held::Advisory);
        let closed = (is_discouraged && loopback.is_none())
            .then(ClosedPort::take)
            .transpose()
            .map_err(|error| EgressError::Ports {
                tried: "any port, to keep it closed".to_owned(),
                source: Box::new(error),
            })?;
        let variables = match (&loopback, &closed) {
            (Some(loopback), _) => proxy::windows_variables(loopback.address),
            (None, Some(closed)) => proxy::discouraging_variables(closed.address()),
            (None, None) => Vec::new(),
        };
        Ok(Self {
            policy: policy.clone(),
            loopback,
            variables,
            place: plan.windows.as_deref().and_then(ReadablePlace::of),
            certificates: None,
            known_servers: None,
            egress: None,
            _closed: closed,
        })
    }

    /// Serves the processes that `members` knows.
    ///
    /// # Errors
    /// [`EgressError`]; nothing is served then.
    pub(super) fn open(
        &mut self,
        session: &SessionId,
        members: Option<Arc<dyn Members>>,
    ) -> Result<(), EgressError> {
        if let Some(loopback) = self.loopback.take() {
            let members = members.ok_or(EgressError::Strangers)?;
            if let Some(place) = &self.place {
                let made = Certificates::make(&self.policy.network, place, session);
                self.certificates = made.map_err(EgressError::Certificates)?;
                self.known_servers = KnownServers::copy(&self.policy.home, place, session);
            }
            let certificates = self.certificates.as_ref();
            let terminator = certificates.map(Certificates::terminator);
            let callers = callers(session, members);
            let egress = loopback.serve(&self.policy, callers, terminator)?;
            self.egress = Some(egress);
            self.variables.extend(self.git_over_ssh());
            if self.certificates.is_some() {
                let (name, value) = CARGO_REVOKED;
                self.variables.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(())
    }

    /// What git starts to reach a server by ssh, unless the policy has its own.
    fn git_over_ssh(&self) -> Option<(String, String)> {
        let environment = &self.policy.environment;
        let passed = environment.pass.iter().map(|name| &name.value);
        let mut own = environment.set.keys().chain(passed);
        if own.any(|name| name.eq_ignore_ascii_case(GIT_SSH)) {
            return None;
        }
        let runner = runner_program().ok()?;
        let known = self.known_servers.as_ref().map(KnownServers::path);
        let command = proxy::ssh_command(runner.to_str()?, known.as_deref())?;
        Some((GIT_SSH.to_owned(), command))
    }

    /// The variables that tell programs of the proxy, and of what they have to trust.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        let certificates = self.certificates.iter();
        let mut all: Vec<_> = certificates.flat_map(Certificates::variables).collect();
        for (name, value) in &self.variables {
            match all.iter_mut().find(|(other, _)| other == name) {
                // Options of every Java machine: both are meant, and the person's own are there.
                Some((_, options)) => *options = format!("{options} {value}"),
                None => all.push((name.clone(), with_own(name, value))),
            }
        }
        all
    }

    /// What steers the proxy, where there is one.
    pub(super) fn control(&self) -> Option<NetworkControl> {
        self.egress.as_ref().map(Egress::control)
    }

    /// The proxy, where there is one.
    fn egress(&mut self) -> Option<&mut Egress> {
        self.egress.as_mut()
    }

    fn readiness(&self) -> Option<BorrowedDescriptor<'_>> {
        self.egress.as_ref().map(Egress::readiness)
    }
}

/// Options of every Java machine follow the person's own; other variables take the place of theirs.
fn with_own(name: &str, value: &str) -> String {
    let options = (name == JAVA_OPTIONS).then(|| std::env::var(name).ok());
    match options.flatten() {
        Some(own) if !own.is_empty() => format!("{own} {value}"),
        Some(_) | None => value.to_owned(),
    }
}

impl Session {
    /// Waits for the runner's next word; what the proxy decides meanwhile is recorded as it comes, and what happens on
    /// the person's console is passed on to the command.
    pub(super) fn next_word(
        &mut self,
        command: CommandId,
        console: &mut PersonsConsole,
    ) -> Result<Received, BreakError> {
        loop {
            let now = self.running.receive(Some(Duration::ZERO));
            if let Some(received) = now.map_err(BreakError::Lost)? {
                return Ok(received);
            }
            self.hear_egress(command.0);
            let news = self.network.readiness();
            console.wait(&mut *self.running, command, news)?;
        }
    }

    fn hear_egress(&mut self, command: u64) {
        if let Some(egress) = self.network.egress() {
            self.heard.hear(egress, &mut self.journal, command);
        }
    }

    /// What was heard while `command` ran, with what it has to know of the time before.
    pub(super) fn take_heard(&mut self, command: u64) -> Heard {
        self.hear_egress(command);
        let mut heard = std::mem::take(&mut self.heard);
        let ended = self.network.egress().and_then(|egress| egress.ending());
        let ended = ended.map(proxy_ended);
        // Said already where it ended while the command ran.
        heard
            .notes
            .extend(ended.filter(|note| !heard.notes.contains(note)));
        heard
    }
}
