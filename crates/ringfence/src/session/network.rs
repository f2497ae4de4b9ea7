//! What a session's runner hands out of its network, until it is served.
//!
//! Invariant: a session whose plan serves sockets stands only when all of them are served.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use ringfence_audit::SessionId;
use ringfence_plan::step::ServedSocket;
use ringfence_plan::{Plan, Step};
use ringfence_policy::Policy;
use ringfence_policy::decision::{Decision, Denial};
use ringfence_policy::host::Host;

use super::certificates::Certificates;
use super::egress::{Egress, EgressError, HandedOut, NetworkControl};
use super::sockets::HostSockets;

/// The network of one session, as far as the harness has a part in it.
#[derive(Debug)]
pub(super) struct Network {
    policy: Policy,
    /// How many sockets the plan serves.
    planned: usize,
    sockets: Vec<(ServedSocket, OwnedFd)>,
    /// The way to ask who a caller is.
    namer: Option<OwnedFd>,
    dialler: Option<OwnedFd>,
    /// Unix sockets of the host that the plan opens, until they are served.
    host_sockets: Option<HostSockets>,
    door: Option<OwnedFd>,
    /// The ports that the plan publishes.
    published: Vec<u16>,
    egress: Option<Egress>,
    certificates: Option<Certificates>,
}

impl Network {
    /// The network that `plan` makes, before the runner has made it.
    ///
    /// # Errors
    /// [`EgressError`] for a socket that can't be held, or a certificate that can't be made.
    pub(super) fn new(
        policy: &Policy,
        plan: &Plan,
        session: &SessionId,
    ) -> Result<Self, EgressError> {
        let served = |step: &&Step| matches!(step, Step::Serve { .. });
        let published = plan.steps.iter().filter_map(|step| {
            if let Step::Publish { port } = step {
                Some(*port)
            } else {
                None
            }
        });
        let published = published.collect();
        let host_sockets = HostSockets::hold(plan).map_err(EgressError::Socket)?;
        let planned = plan.steps.iter().filter(served).count();
        // Without a proxy (offline, or the partial level) nothing is read.
        let certificates = if planned > 0 {
            Certificates::make(&policy.network, plan, session).map_err(EgressError::Certificates)?
        } else {
            None
        };
        Ok(Self {
            policy: policy.clone(),
            planned,
            sockets: Vec::new(),
            namer: None,
            dialler: None,
            host_sockets: Some(host_sockets).filter(|sockets| !sockets.is_empty()),
            door: None,
            published,
            egress: None,
            certificates,
        })
    }

    /// Takes a socket that the runner has made; `None` when it sent none, or more than the plan has.
    ///
    /// # Security
    /// The runner's words are read as hostile; the address is a label, and what the proxy decides by is asked of the
    /// socket itself.
    pub(super) fn collect(&mut self, socket: ServedSocket, made: Option<OwnedFd>) -> Option<()> {
        let made = made.filter(|_| self.sockets.len() < self.planned)?;
        self.sockets.push((socket, made));
        Some(())
    }

    /// Takes the way to ask who a caller is.
    pub(super) fn collect_namer(&mut self, namer: Option<OwnedFd>) -> Option<()> {
        let namer = namer.filter(|_| self.namer.is_none() && self.planned > 0)?;
        self.namer = Some(namer);
        Some(())
    }

    /// Takes the way to further sockets of the session's network.
    pub(super) fn collect_dialler(&mut self, dialler: Option<OwnedFd>) -> Option<()> {
        let dialler = dialler.filter(|_| self.dialler.is_none() && self.opens_sockets())?;
        self.dialler = Some(dialler);
        Some(())
    }

    /// Takes the way from programs to Unix sockets of the host.
    pub(super) fn collect_door(&mut self, door: Option<OwnedFd>) -> Option<()> {
        let door = door.filter(|_| self.door.is_none() && self.host_sockets.is_some())?;
        self.door = Some(door);
        Some(())
    }

    /// Whether anything of it is served from outside.
    pub(super) fn is_served(&self) -> bool {
        self.planned > 0
            || !self.published.is_empty()
            || self.host_sockets.is_some()
            || self.egress.is_some()
    }

    /// Whether sockets of the session's network are asked for while it lives.
    fn opens_sockets(&self) -> bool {
        self.planned > 0 || !self.published.is_empty()
    }

    /// Whether the runner has handed out all that the plan says.
    pub(super) fn is_whole(&self) -> bool {
        self.sockets.len() == self.planned
            && self.namer.is_some() == (self.planned > 0)
            && self.dialler.is_some() == self.opens_sockets()
            && self.door.is_some() == self.host_sockets.is_some()
    }

    /// Serves what was handed out.
    ///
    /// # Errors
    /// [`EgressError`]; nothing is served then.
    pub(super) fn open(&mut self, session: &SessionId) -> Result<(), EgressError> {
        let sockets = std::mem::take(&mut self.sockets);
        let published = std::mem::take(&mut self.published);
        let door = self.door.take().zip(self.host_sockets.take());
        if sockets.is_empty() && published.is_empty() && door.is_none() {
            return Ok(());
        }
        let handed_out = HandedOut {
            sockets,
            namer: self.namer.take(),
            dialler: self.dialler.take(),
            door,
            terminator: self.certificates.as_ref().map(Certificates::terminator),
        };
        let egress = Egress::start(&self.policy, session, handed_out, &published)?;
        self.egress = Some(egress);
        Ok(())
    }

    /// The proxy, where there is one.
    pub(super) fn egress(&mut self) -> Option<&mut Egress> {
        self.egress.as_mut()
    }

    /// The variables by which programs find what they have to trust.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        let certificates = self.certificates.iter();
        certificates.flat_map(Certificates::variables).collect()
    }

    /// Says what a refused connection was meant for: a port without a listener, at an address that stands for a name.
    pub(super) fn explain(&self, denial: &mut Denial) {
        let Ok(address) = denial.object.parse::<SocketAddr>() else {
            return;
        };
        let name = self
            .egress
            .as_ref()
            .and_then(|egress| egress.name_of(address.ip()));
        let Some(name) = name else { return };
        let host = Host::Name(name);
        let decision = self.policy.network.decide_outbound(&host, address.port());
        if let Decision::Deny { rule, grant, .. } = decision {
            denial.object = format!("{host}:{}", address.port());
            denial.rule = rule;
            denial.grant = grant;
        }
    }

    /// What steers the proxy, where there is one.
    pub(super) fn control(&self) -> Option<NetworkControl> {
        self.egress.as_ref().map(Egress::control)
    }

    /// A network that has been served.
    #[cfg(test)]
    pub(super) fn serve_with(&mut self, egress: Egress) {
        self.egress = Some(egress);
    }

    /// The proxy, to wait for its news.
    pub(super) fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.egress.as_ref().map(Egress::readiness)
    }
}
