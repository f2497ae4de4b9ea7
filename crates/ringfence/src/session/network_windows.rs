//! The network of one session, as far as the harness has a part in it: the proxy on loopback.
//!
//! The filters of the sandbox account leave the proxy's ports open and nothing beyond loopback; in same-user mode nothing
//! holds what does not ask the proxy. Invariant: a session that has a proxy stands only when it is served.

use std::sync::Arc;
use std::time::Duration;

use ringfence_audit::SessionId;
use ringfence_backend::session::{BorrowedDescriptor, Members};
use ringfence_backend::{CommandId, Received};
use ringfence_plan::{Plan, proxy};
use ringfence_policy::Policy;

use super::console::PersonsConsole;
use super::decided::{Heard, proxy_ended};
use super::egress::{Egress, EgressError, Loopback, NetworkControl};
use super::{BreakError, Session};

/// The network of one session.
#[derive(Debug)]
pub(super) struct Network {
    policy: Policy,
    /// Until it is served.
    loopback: Option<Loopback>,
    variables: Vec<(String, String)>,
    egress: Option<Egress>,
}

impl Network {
    /// Takes a port for the proxy that `plan` has, if it has one.
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
        let variables = loopback
            .as_ref()
            .map(|loopback| proxy::windows_variables(loopback.address))
            .unwrap_or_default();
        Ok(Self {
            policy: policy.clone(),
            loopback,
            variables,
            egress: None,
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
            self.egress = Some(loopback.serve(&self.policy, session, members)?);
        }
        Ok(())
    }

    /// The variables that tell programs of the proxy.
    pub(super) fn variables(&self) -> &[(String, String)] {
        &self.variables
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
