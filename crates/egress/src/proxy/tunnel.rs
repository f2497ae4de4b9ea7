//! A connection both of whose sides are there, from its first byte.
//!
//! While the client is silent the server may speak. What the client says first is judged before any of it goes on;
//! HTTP is handed to [`super::exchange`], all else is copied.
//! Invariant: no byte of the server is lost, and none of the client goes on unjudged.

use super::Shared;
use super::copy::{Bulk, Lane, copy, relay};
use super::exchange::{self, Origin, Serving};
use super::live::{Direction, Live};
use super::wire::Wire;
use crate::caller::Caller;
use crate::decide::Attempt;
use crate::event::CloseCause;
use crate::first::{Expected, FirstFlight, FirstFlightError};
use crate::hello::{ACCESS_DENIED_ALERT, HANDSHAKE_RECORD};
use crate::http::{Authority, Scheme};
use crate::progress::Progress;

impl Shared {
    /// Whom the greeting on a connection by `caller` must be for.
    fn expected<'a>(&self, caller: &Caller, attempt: &'a Attempt) -> Expected<'a> {
        let policy = self.gate.policy_for(caller);
        Expected {
            host: &attempt.host,
            port: attempt.port,
            server_name: policy.server_name(&attempt.host, attempt.port),
        }
    }
}

/// Serves a connection that was decided on and opened.
pub(super) async fn serve(
    shared: &Shared,
    caller: &Caller,
    attempt: Attempt,
    mut client: Wire,
    mut server: Wire,
    live: Live,
) {
    let begun = live
        .watch(await_client(
            &mut client,
            &mut server,
            &live,
            &shared.expected(caller, &attempt),
        ))
        .await;
    match begun {
        Err(_) => {}
        Ok(None) => live.set_cause(CloseCause::Broken),
        Ok(Some(Ok(FirstFlight::Opaque | FirstFlight::Tls))) => {
            relay(&mut client, &mut server, &live).await;
        }
        Ok(Some(Ok(FirstFlight::Http))) => {
            let authority = Authority {
                host: attempt.host,
                port: attempt.port,
            };
            let origin = Origin::opened(authority.clone(), server, live);
            let serving = Serving::Fixed {
                authority,
                ingress: attempt.ingress,
                scheme: Scheme::Http,
            };
            exchange::serve(shared, caller, serving, client, Some(origin)).await;
        }
        Ok(Some(Err(error))) => {
            live.set_cause(CloseCause::Refused);
            refuse_first_flight(shared, caller, &attempt, client, &error).await;
        }
    }
}

/// Waits for what the client says first, while the server may speak; `None` when one of them breaks off.
async fn await_client(
    client: &mut Wire,
    server: &mut Wire,
    live: &Live,
    expected: &Expected<'_>,
) -> Option<Result<FirstFlight, FirstFlightError>> {
    let lane = Lane {
        live,
        direction: Direction::In,
    };
    let Wire { read, write, inbox } = client;
    let back = copy(
        &mut server.read,
        &mut server.inbox,
        write,
        lane,
        None,
        Bulk::Never,
    );
    let first = async {
        loop {
            match FirstFlight::parse(inbox.unread(), expected) {
                Ok(Progress::Done { value, .. }) => return Some(Ok(value)),
                Err(error) => return Some(Err(error)),
                Ok(Progress::NeedMore) => {}
            }
            match inbox.fill(read).await {
                Ok(0) => return FirstFlight::at_end(inbox.unread(), expected.port).map(Ok),
                Err(_) => return None,
                Ok(_) => {}
            }
        }
    };
    tokio::pin!(back, first);
    let mut server_ended = false;
    loop {
        tokio::select! {
            biased;
            flight = &mut first => return flight,
            ended = &mut back, if !server_ended => match ended {
                Ok(()) => server_ended = true,
                Err(_) => return None,
            },
        }
    }
}

/// Reads what a client says first, before anything is opened for it.
pub(super) async fn read_first_flight(
    shared: &Shared,
    caller: &Caller,
    client: &mut Wire,
    attempt: &Attempt,
) -> Option<Result<FirstFlight, FirstFlightError>> {
    let expected = shared.expected(caller, attempt);
    let read = async {
        loop {
            match FirstFlight::parse(client.inbox.unread(), &expected) {
                Ok(Progress::Done { value, .. }) => return Some(Ok(value)),
                Err(error) => return Some(Err(error)),
                Ok(Progress::NeedMore) => {}
            }
            match client.fill().await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    };
    tokio::time::timeout(shared.limits.head, read)
        .await
        .ok()
        .flatten()
}

/// Records and tells that what the client said is refused.
pub(super) async fn refuse_first_flight(
    shared: &Shared,
    caller: &Caller,
    attempt: &Attempt,
    client: Wire,
    error: &FirstFlightError,
) {
    let policy = shared.gate.policy_for(caller);
    let decision = error.refusal(&policy, &shared.expected(caller, attempt));
    shared.gate.record_attempt(caller, attempt, &decision).await;
    say_refusal(client, attempt.port).await;
}

/// Tells a client without HTTP that it is refused: by an alert where it speaks TLS, else by a reset.
pub(super) async fn say_refusal(client: Wire, port: u16) {
    let speaks_tls = match client.inbox.unread().first() {
        Some(first) => *first == HANDSHAKE_RECORD,
        None => port == 443,
    };
    if speaks_tls {
        client.say_and_close(&ACCESS_DENIED_ALERT).await;
    } else {
        client.reset();
    }
}
