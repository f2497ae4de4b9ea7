//! Connections that a boundary captured: the program believes that it talks to its destination.
//!
//! The host is the name that the synthetic address stands for, or the address itself. TLS and HTTP are judged before
//! anything is opened; elsewhere the server may have to speak first.
//! Invariant: a synthetic address that was never given out leads nowhere.

use ringfence_policy::host::Host;

use super::exchange::{self, Serving};
use super::open::OpenError;
use super::tunnel::{self, read_first_flight, refuse_first_flight, say_refusal};
use super::wire::Wire;
use super::{Shared, copy, scoped};
use crate::caller::Caller;
use crate::decide::{Attempt, Ingress};
use crate::first::FirstFlight;
use crate::http::{Authority, Scheme};

/// Serves a captured connection to `host` at `port`.
pub(super) async fn serve(
    shared: &Shared,
    caller: &Caller,
    host: Host,
    port: u16,
    mut client: Wire,
) {
    let ingress = match port {
        80 => Ingress::CapturedHttp,
        443 => Ingress::CapturedTls,
        _ => Ingress::CapturedTcp,
    };
    let attempt = attempt(caller, ingress, host, port);
    if ingress == Ingress::CapturedHttp {
        serve_http(shared, caller, &attempt, client).await;
        return;
    }
    let Ok(admission) = shared.gate.admit(caller, &attempt, &mut client).await else {
        return say_refusal(client, port).await;
    };
    if shared.is_scoped(caller, &attempt, &admission) {
        return scoped::serve(shared, caller, attempt, client).await;
    }
    if ingress == Ingress::CapturedTls {
        match read_first_flight(shared, caller, &mut client, &attempt).await {
            None => return,
            Some(Ok(FirstFlight::Tls | FirstFlight::Opaque | FirstFlight::Http)) => {}
            Some(Err(error)) => {
                refuse_first_flight(shared, caller, &attempt, client, &error).await;
                return;
            }
        }
    }
    match shared.open(caller, &attempt, &admission).await {
        Ok((server, live)) => {
            tunnel::serve(shared, caller, attempt, client, server, live).await;
        }
        Err(OpenError::Refused(_)) => say_refusal(client, port).await,
        Err(OpenError::Unreachable(_)) => client.reset(),
    }
}

/// Serves a connection whose host needs no second name: one server of the host's loopback.
pub(super) async fn relay(
    shared: &Shared,
    caller: &Caller,
    host: Host,
    port: u16,
    mut client: Wire,
) {
    let attempt = attempt(caller, Ingress::CapturedTcp, host, port);
    let opened = match shared.gate.admit(caller, &attempt, &mut client).await {
        Ok(admission) => shared.open(caller, &attempt, &admission).await.ok(),
        Err(_) => None,
    };
    match opened {
        Some((mut server, live)) => copy::relay(&mut client, &mut server, &live).await,
        None => client.reset(),
    }
}

/// Port 80: requests, but for SSH, which some run there.
async fn serve_http(shared: &Shared, caller: &Caller, attempt: &Attempt, mut client: Wire) {
    match read_first_flight(shared, caller, &mut client, attempt).await {
        None => {}
        Some(Ok(FirstFlight::Http)) => {
            let authority = Authority {
                host: attempt.host.clone(),
                port: attempt.port,
            };
            let serving = Serving::Fixed {
                authority,
                ingress: attempt.ingress,
                scheme: Scheme::Http,
            };
            exchange::serve(shared, caller, serving, client, None).await;
        }
        Some(Ok(FirstFlight::Opaque | FirstFlight::Tls)) => {
            let opened = match shared.gate.admit(caller, attempt, &mut client).await {
                Ok(admission) if shared.is_scoped(caller, attempt, &admission) => {
                    return scoped::serve(shared, caller, attempt.clone(), client).await;
                }
                Ok(admission) => shared.open(caller, attempt, &admission).await.ok(),
                Err(_) => None,
            };
            match opened {
                Some((mut server, live)) => copy::relay(&mut client, &mut server, &live).await,
                None => client.reset(),
            }
        }
        Some(Err(error)) => refuse_first_flight(shared, caller, attempt, client, &error).await,
    }
}

fn attempt(caller: &Caller, ingress: Ingress, host: Host, port: u16) -> Attempt {
    Attempt {
        subject: caller.subject.clone(),
        ingress,
        host,
        port,
        method: None,
        path: None,
    }
}
