//! The proxy that programs are told about: HTTP and SOCKS5 on one port.
//!
//! Told apart by the first byte, as is what speaks neither. Invariant: no byte of the target goes on before the answer that allows it.

use ringfence_policy::rule::RuleId;

use super::Shared;
use super::exchange::{self, Serving, say_open_error};
use super::open::OpenError;
use super::scoped;
use super::tunnel;
use super::wire::{Wire, write_all};
use crate::caller::Caller;
use crate::decide::{Attempt, Ingress, refuse};
use crate::hello::{ACCESS_DENIED_ALERT, HANDSHAKE_RECORD};
use crate::http::Authority;
use crate::progress::Progress;
use crate::refusal::Unreachable;
use crate::socks::{
    Authentication, GREETING_ACCEPTED, GREETING_REFUSED, Greeting, OLD_VERSION,
    OLD_VERSION_REFUSED, Reply, Request, SocksError, VERSION,
};

/// Serves a connection to the proxy.
pub(super) async fn serve(shared: &Shared, caller: Caller, mut client: Wire) {
    match tokio::time::timeout(shared.limits.idle, client.fill()).await {
        Ok(Ok(1..)) => {}
        Ok(Ok(0) | Err(_)) | Err(_) => return,
    }
    match client.inbox.unread().first() {
        Some(&VERSION) => serve_socks(shared, &caller, client).await,
        Some(&OLD_VERSION) => {
            let reason = "SOCKS of version 4 is not spoken here: use version 5, or HTTP";
            refuse_protocol(shared, &caller, client, reason, &OLD_VERSION_REFUSED).await;
        }
        Some(&HANDSHAKE_RECORD) => {
            let reason = "the proxy itself speaks no TLS: its address begins with `http://`";
            refuse_protocol(shared, &caller, client, reason, &ACCESS_DENIED_ALERT).await;
        }
        Some(_) | None => {
            let wants = exchange::serve(shared, &caller, Serving::Explicit, client, None).await;
            if let Some((authority, client)) = wants {
                open_tunnel(shared, &caller, authority, client).await;
            }
        }
    }
}

/// Says so at once to a client of another protocol, which would wait for an answer that never comes.
async fn refuse_protocol(
    shared: &Shared,
    caller: &Caller,
    client: Wire,
    reason: &str,
    answer: &[u8],
) {
    let decision = refuse(RuleId::Malformed, reason.to_owned());
    let ingress = Ingress::Connect;
    shared
        .gate
        .record(caller, ingress, "unreadable".to_owned(), None, &decision)
        .await;
    client.say_and_close(answer).await;
}

/// `CONNECT` at the proxy.
async fn open_tunnel(shared: &Shared, caller: &Caller, authority: Authority, mut client: Wire) {
    const METHOD: &str = "CONNECT";
    const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
    let attempt = Attempt {
        subject: caller.subject.clone(),
        ingress: Ingress::Connect,
        host: shared.meant_host(authority.host),
        port: authority.port,
        method: Some(METHOD.to_owned()),
        path: None,
    };
    let opened = match shared.gate.admit(caller, &attempt, &mut client).await {
        Ok(admission) if shared.is_scoped(caller, &attempt, &admission) => {
            if write_all(&client.write, CONNECTED).await.is_ok() {
                scoped::serve(shared, caller, attempt, client).await;
            }
            return;
        }
        Ok(admission) => shared.open(caller, &attempt, &admission).await,
        Err(decision) => Err(OpenError::Refused(decision)),
    };
    match opened {
        Ok((server, live)) => {
            if write_all(&client.write, CONNECTED).await.is_ok() {
                tunnel::serve(shared, caller, attempt, client, server, live).await;
            }
        }
        Err(error) => {
            let answer = say_open_error(&attempt, &error);
            client.say_and_close(&answer).await;
        }
    }
}

async fn serve_socks(shared: &Shared, caller: &Caller, mut client: Wire) {
    let greeting = read(shared, &mut client, Greeting::parse).await;
    let request = match greeting {
        None => return,
        Some(Ok(Greeting {
            authentication: Authentication::NoneOffered,
        })) => {
            if write_all(&client.write, &GREETING_ACCEPTED).await.is_err() {
                return;
            }
            read(shared, &mut client, Request::parse).await
        }
        Some(Ok(Greeting {
            authentication: Authentication::Required,
        })) => return client.say_and_close(&GREETING_REFUSED).await,
        Some(Err(error)) => Some(Err(error)),
    };
    let request = match request {
        None => return,
        Some(Ok(request)) => request,
        Some(Err(error)) => {
            let decision = refuse(RuleId::Malformed, error.to_string());
            let unread = "unreadable".to_owned();
            let gate = &shared.gate;
            gate.record(caller, Ingress::Socks, unread, None, &decision)
                .await;
            return client.say_and_close(&error.reply().bytes()).await;
        }
    };
    let attempt = Attempt {
        subject: caller.subject.clone(),
        ingress: Ingress::Socks,
        // A client that resolves names itself asks for the address it was given.
        host: shared.meant_host(request.host),
        port: request.port,
        method: None,
        path: None,
    };
    let opened = match shared.gate.admit(caller, &attempt, &mut client).await {
        Ok(admission) if shared.is_scoped(caller, &attempt, &admission) => {
            let said = write_all(&client.write, &Reply::Succeeded.bytes()).await;
            if said.is_ok() {
                scoped::serve(shared, caller, attempt, client).await;
            }
            return;
        }
        Ok(admission) => shared.open(caller, &attempt, &admission).await,
        Err(decision) => Err(OpenError::Refused(decision)),
    };
    match opened {
        Ok((server, live)) => {
            let said = write_all(&client.write, &Reply::Succeeded.bytes()).await;
            if said.is_ok() {
                tunnel::serve(shared, caller, attempt, client, server, live).await;
            }
        }
        Err(error) => client.say_and_close(&reply_to(&error).bytes()).await,
    }
}

fn reply_to(error: &OpenError) -> Reply {
    match error {
        OpenError::Refused(_) => Reply::NotAllowed,
        OpenError::Unreachable(Unreachable::TimedOut { .. }) => Reply::TimedOut,
        OpenError::Unreachable(Unreachable::Dial { .. }) => Reply::ConnectionRefused,
        OpenError::Unreachable(Unreachable::Resolve { .. } | Unreachable::NoAddress { .. }) => {
            Reply::HostUnreachable
        }
        OpenError::Unreachable(Unreachable::Proxy { .. } | Unreachable::ProxyAnswer { .. }) => {
            Reply::GeneralFailure
        }
    }
}

/// Reads one message and takes it out of the inbox; `None` when the client goes or takes too long.
async fn read<T>(
    shared: &Shared,
    client: &mut Wire,
    parse: impl Fn(&[u8]) -> Result<Progress<T>, SocksError>,
) -> Option<Result<T, SocksError>> {
    let message = async {
        loop {
            match parse(client.inbox.unread()) {
                Ok(Progress::Done { value, used }) => {
                    client.inbox.consume(used);
                    return Some(Ok(value));
                }
                Ok(Progress::NeedMore) => {}
                Err(error) => return Some(Err(error)),
            }
            if client.fill().await.unwrap_or(0) == 0 {
                return None;
            }
        }
    };
    tokio::time::timeout(shared.limits.head, message)
        .await
        .ok()
        .flatten()
}
