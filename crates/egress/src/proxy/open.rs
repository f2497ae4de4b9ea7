//! Opening an admitted connection: resolve, check every address, register, dial.
//!
//! Invariant: nothing is dialled before every address of the name was checked, and nothing is handed out that the
//! policy of that moment refuses.

use std::net::IpAddr;

use ringfence_policy::address::{AddressClass, classify};
use ringfence_policy::decision::Decision;
use ringfence_policy::host::Host;
use ringfence_policy::network::Reach;
use ringfence_policy::policy::NetworkPolicy;
use ringfence_policy::rule::RuleId;
use tokio::net::TcpStream;

use super::gate::Admission;
use super::live::{Carries, Live, Opening, Route};
use super::wire::Wire;
use super::{Shared, upstream};
use crate::caller::Caller;
use crate::decide::{Attempt, parts, refuse};
use crate::event::CloseCause;
use crate::http::Scheme;
use crate::reach::dial_first;
use crate::refusal::Unreachable;

/// Why an admitted connection did not come about.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Its addresses are refused, or the policy has changed.
    Refused(Decision),
    /// Nobody answers.
    Unreachable(Unreachable),
}

impl Shared {
    /// Opens what was admitted, and records the decision, which the addresses may still turn.
    pub(super) async fn open(
        &self,
        caller: &Caller,
        attempt: &Attempt,
        admission: &Admission,
    ) -> Result<(Wire, Live), OpenError> {
        let opened = self
            .reopen(caller, attempt, admission, Carries::Anything)
            .await;
        self.record_opened(caller, attempt, admission, &opened)
            .await;
        opened
    }

    /// Opens what was admitted for requests alone, and records the decision.
    pub(super) async fn open_for_requests(
        &self,
        caller: &Caller,
        attempt: &Attempt,
        admission: &Admission,
        (scheme, carries): (Scheme, Carries),
    ) -> Result<(Wire, Live), OpenError> {
        let opened = self
            .reopen_for_requests(caller, attempt, admission, (scheme, carries))
            .await;
        self.record_opened(caller, attempt, admission, &opened)
            .await;
        opened
    }

    /// Opens what was admitted and recorded before; only a refusal is recorded.
    pub(super) async fn reopen_for_requests(
        &self,
        caller: &Caller,
        attempt: &Attempt,
        admission: &Admission,
        (scheme, carries): (Scheme, Carries),
    ) -> Result<(Wire, Live), OpenError> {
        let (wire, live) = self.reopen(caller, attempt, admission, carries).await?;
        match scheme {
            Scheme::Http => Ok((wire, live)),
            Scheme::Https => {
                let greeted = live.watch(self.greet_origin(caller, attempt, wire)).await;
                let wire = greeted.unwrap_or_else(|_| {
                    let reason = "it took too long, or is no longer allowed".to_owned();
                    Err(OpenError::Refused(refuse(RuleId::TlsTermination, reason)))
                })?;
                Ok((wire, live))
            }
        }
    }

    async fn record_opened(
        &self,
        caller: &Caller,
        attempt: &Attempt,
        admission: &Admission,
        opened: &Result<(Wire, Live), OpenError>,
    ) {
        match opened {
            Ok(_) | Err(OpenError::Unreachable(_)) => {
                self.gate
                    .record_attempt(caller, attempt, &admission.decision)
                    .await;
            }
            Err(OpenError::Refused(_)) => {}
        }
    }

    async fn reopen(
        &self,
        caller: &Caller,
        attempt: &Attempt,
        admission: &Admission,
        carries: Carries,
    ) -> Result<(Wire, Live), OpenError> {
        let opening = self.open_unrecorded(caller, attempt, admission, carries);
        let opened = tokio::time::timeout(self.limits.dial, opening)
            .await
            .unwrap_or_else(|_| {
                let destination = destination(attempt);
                Err(OpenError::Unreachable(Unreachable::TimedOut {
                    destination,
                }))
            });
        if let Err(OpenError::Refused(decision)) = &opened {
            self.gate.record_attempt(caller, attempt, decision).await;
        }
        opened
    }

    async fn open_unrecorded(
        &self,
        caller: &Caller,
        attempt: &Attempt,
        admission: &Admission,
        carries: Carries,
    ) -> Result<(Wire, Live), OpenError> {
        let policy = self.gate.policy_for(caller);
        let proxy = policy
            .upstream_proxy
            .as_ref()
            .map(|proxy| proxy.value.as_str())
            .filter(|_| is_far(&attempt.host));
        let addresses = match proxy {
            // The other proxy resolves the name; an address is checked all the same.
            Some(_) => literal_address(&attempt.host).into_iter().collect(),
            None => self.resolve(&attempt.host).await?,
        };
        if let Some(refused) = policy.refuse_addresses(attempt.port, &addresses) {
            return Err(OpenError::Refused(refused));
        }
        let (_, origin, _) = parts(&admission.decision);
        let opening = |address| Opening {
            subject: caller.subject.clone(),
            port: attempt.port,
            ingress: attempt.ingress,
            route: Route::Out {
                host: attempt.host.clone(),
                address,
                basis: admission.basis,
                allowed_by: origin.to_owned(),
                carries: carries.clone(),
                program: caller.program.clone(),
            },
        };
        let (wire, live) = if let Some(proxy) = proxy {
            let live = self
                .registry
                .register(opening(addresses.first().copied()), &policy);
            let wire = upstream::connect(&self.parts, proxy, attempt).await;
            (wire.map_err(OpenError::Unreachable)?, live)
        } else {
            let (address, stream) = self.dial(attempt, &addresses).await?;
            let live = self.registry.register(opening(Some(address)), &policy);
            (Wire::new(stream), live)
        };
        // What was replaced meanwhile did not see this connection to close it.
        let policy = self.gate.policy();
        let refused = live
            .refused_now(&policy)
            .or_else(|| refused_request(&caller.program.of(&policy), attempt));
        match refused {
            None => Ok((wire, live)),
            Some(refused) => {
                live.set_cause(CloseCause::Revoked);
                Err(OpenError::Refused(refused))
            }
        }
    }

    async fn resolve(&self, host: &Host) -> Result<Vec<IpAddr>, OpenError> {
        let name = match host {
            Host::Address(address) => return Ok(vec![address.to_canonical()]),
            Host::Name(name) => name,
        };
        let text = || name.as_str().to_owned();
        match self.parts.resolver.resolve(name).await {
            Ok(addresses) if addresses.is_empty() => {
                Err(OpenError::Unreachable(Unreachable::NoAddress {
                    name: text(),
                }))
            }
            Ok(addresses) => Ok(addresses.iter().map(IpAddr::to_canonical).collect()),
            Err(source) => Err(OpenError::Unreachable(Unreachable::Resolve {
                name: text(),
                source,
            })),
        }
    }

    async fn dial(
        &self,
        attempt: &Attempt,
        addresses: &[IpAddr],
    ) -> Result<(IpAddr, TcpStream), OpenError> {
        dial_first(&self.parts.dialer, addresses, attempt.port)
            .await
            .map_err(|source| {
                OpenError::Unreachable(Unreachable::Dial {
                    destination: destination(attempt),
                    source,
                })
            })
    }
}

/// Whether a host lies behind the corporate proxy: names, and public addresses.
fn is_far(host: &Host) -> bool {
    match host {
        Host::Name(_) => true,
        Host::Address(address) => classify(*address) == AddressClass::Public,
    }
}

fn literal_address(host: &Host) -> Option<IpAddr> {
    match host {
        Host::Name(_) => None,
        Host::Address(address) => Some(address.to_canonical()),
    }
}

pub(crate) fn destination(attempt: &Attempt) -> String {
    format!("{}:{}", attempt.host, attempt.port)
}

/// The refusal of a request by a policy that looks at requests of its host; `None` for what is none.
fn refused_request(policy: &NetworkPolicy, attempt: &Attempt) -> Option<Decision> {
    let (method, path) = (attempt.method.as_deref()?, attempt.path.as_deref()?);
    if policy.reach(&attempt.host, attempt.port) != Reach::Requests {
        return None;
    }
    match policy.decide_request(&attempt.host, attempt.port, method, path) {
        Decision::Allow { .. } => None,
        refused @ Decision::Deny { .. } => Some(refused),
    }
}
