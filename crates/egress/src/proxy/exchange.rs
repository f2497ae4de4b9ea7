//! Requests of HTTP/1 on one connection, one after the other, each decided anew.
//!
//! A request goes on as it was understood ([`super::request`]); how bodies and answers move is [`super::message`]'s.
//! An origin's connection is kept for the next request to the same authority. Pipelined requests wait in the inbox.
//! Invariant: a request reaches an origin only after its own decision.

use std::io;

use ringfence_policy::decision::Decision;
use tokio::time::Instant;

use super::Shared;
use super::copy;
use super::gate::Admission;
use super::live::{Carries, Change, Live};
use super::message::{self, ExchangeError, Outcome};
use super::open::{OpenError, destination};
use super::request::{Forward, Plan, plan_request, refuse_malformed};
use super::wire::Wire;
use crate::caller::Caller;
use crate::decide::{Attempt, Ingress, parts, refuse};
use crate::event::CloseCause;
use crate::http::{Authority, BodyLength, MAX_LINE, Persistence, RequestHead, Scheme};
use crate::progress::Progress;
use crate::refusal::{http_bad_answer, http_refusal, http_unreachable};

/// Where requests arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Serving {
    /// At the proxy itself, which programs are told about.
    Explicit,
    /// On a connection that is for one authority.
    Fixed {
        authority: Authority,
        ingress: Ingress,
        /// How both sides of it travel.
        scheme: Scheme,
    },
}

impl Serving {
    /// What a refusal without a readable request says it was about.
    pub(super) fn destination(&self) -> String {
        match self {
            Self::Explicit => "unreadable".to_owned(),
            Self::Fixed { authority, .. } => format!("{}:{}", authority.host, authority.port),
        }
    }

    /// How requests and their way on travel.
    pub(super) fn scheme(&self) -> Scheme {
        match self {
            Self::Explicit => Scheme::Http,
            Self::Fixed { scheme, .. } => *scheme,
        }
    }

    fn ingress(&self) -> Ingress {
        match self {
            Self::Explicit => Ingress::AbsoluteForm,
            Self::Fixed { ingress, .. } => *ingress,
        }
    }
}

/// An open connection to an origin.
pub(super) struct Origin {
    authority: Authority,
    wire: Wire,
    live: Live,
    used: Used,
}

/// Whether an origin's connection has carried a request, and may have been closed since.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Used {
    Not,
    Before,
}

impl Origin {
    pub(super) fn opened(authority: Authority, wire: Wire, live: Live) -> Self {
        Self {
            authority,
            wire,
            live,
            used: Used::Not,
        }
    }

    /// Whether it waits for a request to `authority`: it said nothing unasked, and is not seen to be closed.
    fn waits_for(&self, authority: &Authority) -> bool {
        self.authority == *authority && self.wire.inbox.is_empty() && self.wire.read.is_silent()
    }
}

/// What comes after one request.
enum After {
    /// Another one may come, to this origin or another.
    Next(Option<Origin>),
    /// The client is told so, and that is the end.
    Say(Vec<u8>),
    /// The end.
    Close,
}

/// Serves requests until the client goes, or one of them ends the connection; what is returned wants a tunnel.
pub(super) async fn serve(
    shared: &Shared,
    caller: &Caller,
    serving: Serving,
    mut client: Wire,
    mut origin: Option<Origin>,
) -> Option<(Authority, Wire)> {
    while let Some(plan) = next_plan(shared, &serving, &mut client, &mut origin).await {
        let after = match plan {
            Plan::Tunnel(authority) => return Some((authority, client)),
            Plan::Refuse {
                method,
                destination,
                rule,
                reason,
            } => {
                let decision = refuse(rule, reason);
                let answer = http_refusal(&method, &destination, &decision);
                let method = Some(method).filter(|method| !method.is_empty());
                let ingress = serving.ingress();
                let gate = &shared.gate;
                gate.record(caller, ingress, destination, method, &decision)
                    .await;
                if let Some(origin) = &origin {
                    origin.live.set_cause(CloseCause::Refused);
                }
                After::Say(answer)
            }
            Plan::Forward(forward) => {
                let errand = Errand {
                    caller,
                    forward: &forward,
                    scheme: serving.scheme(),
                };
                forward_one(shared, &errand, &mut client, origin.take()).await
            }
        };
        match after {
            After::Next(kept) => origin = kept,
            After::Say(answer) => {
                client.say_and_close(&answer).await;
                return None;
            }
            After::Close => return None,
        }
    }
    None
}

/// What is to be done with the next request; `None` when there is none.
async fn next_plan(
    shared: &Shared,
    serving: &Serving,
    client: &mut Wire,
    origin: &mut Option<Origin>,
) -> Option<Plan> {
    let mut deadline = Instant::now() + shared.limits.idle;
    loop {
        match RequestHead::parse_over(client.inbox.unread(), serving.scheme()) {
            Err(error) => return Some(refuse_malformed(serving, &error)),
            Ok(Progress::Done { value, used }) => {
                let plan = plan_request(serving, &value);
                client.inbox.consume(used);
                return Some(plan);
            }
            Ok(Progress::NeedMore) => {}
        }
        let begun = !client.inbox.is_empty();
        if begun {
            deadline = deadline.min(Instant::now() + shared.limits.head);
        }
        let read = async {
            if begun {
                fill_line(client).await
            } else {
                client.fill().await
            }
        };
        let read = tokio::time::timeout_at(deadline, read);
        let read = match origin.as_ref() {
            None => Ok(read.await),
            Some(kept) => kept.live.watch(read).await,
        };
        let Ok(read) = read else {
            // Only this origin is closed; the client may ask for another.
            *origin = None;
            continue;
        };
        match read {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) | Err(_) => return None,
        }
    }
}

/// Reads until a line may have ended, so that a head in tiny pieces is not parsed for each of them.
async fn fill_line(client: &mut Wire) -> io::Result<usize> {
    loop {
        let before = client.inbox.unread().len();
        let count = client.fill().await?;
        let unread = client.inbox.unread();
        let new = unread.get(before..).unwrap_or_default();
        if count == 0 || new.contains(&b'\n') || unread.len() > MAX_LINE {
            return Ok(count);
        }
    }
}

/// One request, whose, and how it travels.
struct Errand<'a> {
    caller: &'a Caller,
    forward: &'a Forward,
    scheme: Scheme,
}

/// Sends one request on and its answer back.
async fn forward_one(
    shared: &Shared,
    errand: &Errand<'_>,
    client: &mut Wire,
    kept: Option<Origin>,
) -> After {
    let Errand {
        caller,
        forward,
        scheme,
    } = *errand;
    let attempt = Attempt {
        subject: caller.subject.clone(),
        ingress: forward.ingress,
        host: forward.authority.host.clone(),
        port: forward.authority.port,
        method: Some(forward.method.clone()),
        path: Some(forward.path.clone()),
    };
    let (admission, carries) = match admit(shared, caller, &attempt, (forward, client)).await {
        Ok(admitted) => admitted,
        Err(decision) => {
            let destination = destination(&attempt);
            return After::Say(http_refusal(&forward.method, &destination, &decision));
        }
    };
    let (_, allowed_by, _) = parts(&admission.decision);
    let kept = kept.filter(|origin| {
        // What changes is no longer a connection for requests.
        carries == Carries::Requests
            && origin.live.is_allowed_by(allowed_by)
            && origin.waits_for(&forward.authority)
    });
    let mut origin = match kept {
        Some(origin) => {
            let gate = &shared.gate;
            gate.record_attempt(caller, &attempt, &admission.decision)
                .await;
            origin
        }
        None => match shared
            .open_for_requests(caller, &attempt, &admission, (scheme, carries.clone()))
            .await
        {
            Ok((wire, live)) => Origin::opened(forward.authority.clone(), wire, live),
            Err(error) => return After::Say(say_open_error(&attempt, &error)),
        },
    };
    loop {
        let used = std::mem::replace(&mut origin.used, Used::Before);
        let exchanged = message::exchange(client, &mut origin.wire, &origin.live, forward);
        let error = match origin.live.watch(exchanged).await {
            Err(_) => return After::Close,
            Ok(Ok(Outcome::Messages {
                client,
                origin: persistence,
            })) if carries == Carries::Requests => return after(client, persistence, origin),
            // It was opened for a change, which the origin did not make.
            Ok(Ok(Outcome::Messages { client, .. })) => {
                return match client {
                    Persistence::Close => After::Close,
                    Persistence::KeepAlive => After::Next(None),
                };
            }
            Ok(Ok(Outcome::Changed)) => {
                copy::relay(client, &mut origin.wire, &origin.live).await;
                return After::Close;
            }
            Ok(Err(error)) => error,
        };
        // A connection that was kept may have been closed by the origin just now: not the request's fault. Only what
        // may be done twice is sent twice.
        let safe = ["GET", "HEAD", "OPTIONS"].contains(&forward.method.as_str());
        let again = used == Used::Before && safe && forward.body == BodyLength::Bytes(0);
        let reason = match &error {
            ExchangeError::NoAnswer(_) if again => {
                let how = (scheme, carries.clone());
                let opened = shared.reopen_for_requests(caller, &attempt, &admission, how);
                origin = match opened.await {
                    Ok((wire, live)) => Origin::opened(forward.authority.clone(), wire, live),
                    Err(error) => return After::Say(say_open_error(&attempt, &error)),
                };
                continue;
            }
            ExchangeError::NoAnswer(_) | ExchangeError::BadAnswer(_) => error.to_string(),
            ExchangeError::Client(_) | ExchangeError::Body(_) => {
                origin.live.set_cause(CloseCause::Broken);
                return After::Close;
            }
        };
        origin.live.set_cause(CloseCause::Broken);
        let destination = destination(&attempt);
        return After::Say(http_bad_answer(&forward.method, &destination, &reason));
    }
}

/// Admits a request, and the change of protocol that it asks for.
async fn admit(
    shared: &Shared,
    caller: &Caller,
    attempt: &Attempt,
    (forward, client): (&Forward, &mut Wire),
) -> Result<(Admission, Carries), Decision> {
    let disguise = shared.refuse_disguise(caller, attempt, forward.disguise);
    if let Some(decision) = disguise.await {
        return Err(decision);
    }
    let mut admission = shared.gate.admit(caller, attempt, client).await?;
    let Some((change, allowed)) = refuse_change(shared, caller, attempt, forward).await? else {
        return Ok((admission, Carries::Requests));
    };
    // Another rule than the request's may allow the change, and its bytes count under that one.
    admission.decision = allowed;
    Ok((admission, Carries::Change(change)))
}

/// The change of protocol that a request asks for, and what allows it; one that no rule names is refused.
async fn refuse_change(
    shared: &Shared,
    caller: &Caller,
    attempt: &Attempt,
    forward: &Forward,
) -> Result<Option<(Change, Decision)>, Decision> {
    let Some(protocol) = forward.protocol.clone() else {
        return Ok(None);
    };
    let change = Change {
        method: forward.method.clone(),
        path: forward.path.clone(),
        protocol,
    };
    let policy = shared.gate.policy_for(caller);
    match change.decide(&policy, &attempt.host, attempt.port) {
        allowed @ Decision::Allow { .. } => Ok(Some((change, allowed))),
        refused @ Decision::Deny { .. } => {
            shared.gate.record_attempt(caller, attempt, &refused).await;
            Err(refused)
        }
    }
}

fn after(client: Persistence, persistence: Persistence, origin: Origin) -> After {
    match (client, persistence) {
        (Persistence::Close, _) => After::Close,
        (Persistence::KeepAlive, Persistence::Close) => After::Next(None),
        (Persistence::KeepAlive, Persistence::KeepAlive) => After::Next(Some(origin)),
    }
}

/// What a client of HTTP is told when a connection did not come about.
pub(super) fn say_open_error(attempt: &Attempt, error: &OpenError) -> Vec<u8> {
    let method = attempt.method.as_deref().unwrap_or_default();
    let destination = destination(attempt);
    match error {
        OpenError::Refused(decision) => http_refusal(method, &destination, decision),
        OpenError::Unreachable(why) => http_unreachable(method, &destination, why),
    }
}
