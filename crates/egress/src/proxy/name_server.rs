//! The name server of the session: allowed names get synthetic addresses, nobody else is ever asked.
//!
//! A name is not looked up here, so that no question can carry anything out. Invariant: every question but that for
//! the session's own loopback is decided and recorded, and an address is given only to an allowed name.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ringfence_policy::decision::Decision;
use ringfence_policy::host::Host;
use ringfence_policy::rule::RuleId;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::live::lock;
use super::wire::{Wire, write_all};
use super::{ServeError, Shared};
use crate::caller::{Caller, Ends, Transport};
use crate::decide::{parts, refuse};
use crate::dns::{Answer, MAX_QUERY, Question, RecordType};
use crate::synthetic::SyntheticError;

/// How long a connection to the name server may be silent (RFC 7766 speaks of seconds).
const SILENCE: Duration = Duration::from_secs(10);

/// Answers packets until the socket fails.
pub(super) async fn serve_udp(
    shared: &Arc<Shared>,
    socket: UdpSocket,
    name: String,
) -> Result<(), ServeError> {
    let local = match socket.local_addr() {
        Ok(local) => local,
        Err(source) => return Err(ServeError::Accept(name, source)),
    };
    let socket = Arc::new(socket);
    let mut refusals = JoinSet::new();
    // One more than the most, so that a longer packet is seen to be longer.
    let mut packet = [0; MAX_QUERY + 1];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut packet) => received,
            Some(ended) = refusals.join_next() => {
                ended.map_err(ServeError::Panicked)?;
                continue;
            }
        };
        let Ok((length, peer)) = received else {
            // An error of an earlier answer: the asker is gone.
            tokio::task::yield_now().await;
            continue;
        };
        let ends = Ends {
            peer,
            local,
            transport: Transport::Udp,
        };
        // Nobody waits for the name of somebody else who is refused.
        let shared = Arc::clone(shared);
        let Ok(caller) = shared.gate.caller(ends) else {
            refusals.spawn(async move { shared.gate.record_stranger(ends).await });
            continue;
        };
        let Some(answer) = answer(&shared, packet.get(..length).unwrap_or_default()) else {
            continue;
        };
        let socket = Arc::clone(&socket);
        let is_refused = answer.is_refused();
        let say = async move {
            answer.record(&shared, &caller).await;
            // Who does not get it asks again.
            let _ = socket.send_to(&answer.packet, peer).await;
        };
        if is_refused {
            refusals.spawn(say);
        } else {
            say.await;
        }
    }
}

/// Answers questions on a connection until it ends.
pub(super) async fn serve_tcp(shared: &Shared, caller: &Caller, mut wire: Wire) {
    loop {
        let unread = wire.inbox.unread();
        let packet = unread.split_first_chunk::<2>().and_then(|(length, rest)| {
            let length = usize::from(u16::from_be_bytes(*length));
            rest.get(..length)
        });
        match packet {
            Some(packet) => {
                let used = packet.len() + 2;
                let Some(answer) = answer(shared, packet) else {
                    return;
                };
                wire.inbox.consume(used);
                answer.record(shared, caller).await;
                let length = u16::try_from(answer.packet.len()).unwrap_or(u16::MAX);
                let framed = [&length.to_be_bytes()[..], &answer.packet].concat();
                let write = write_all(&wire.write, &framed);
                if !matches!(tokio::time::timeout(SILENCE, write).await, Ok(Ok(()))) {
                    return;
                }
            }
            None => match tokio::time::timeout(SILENCE, wire.fill()).await {
                Ok(Ok(1..)) if wire.inbox.unread().len() <= 2 * MAX_QUERY => {}
                Ok(Ok(_) | Err(_)) | Err(_) => return,
            },
        }
    }
}

/// What is said to a question, and what is recorded of it before.
struct Answered {
    packet: Vec<u8>,
    /// The name and the decision; `None` for the session's own loopback.
    decided: Option<(String, Decision)>,
}

impl Answered {
    fn is_refused(&self) -> bool {
        matches!(self.decided, Some((_, Decision::Deny { .. })))
    }

    async fn record(&self, shared: &Shared, caller: &Caller) {
        if let Some((name, decision)) = &self.decided {
            let gate = &shared.gate;
            gate.record_name(caller, name.clone(), decision.clone())
                .await;
        }
    }
}

/// The answer to one packet; `None` for what is no question.
fn answer(shared: &Shared, packet: &[u8]) -> Option<Answered> {
    let question = match Question::parse(packet) {
        Ok(question) => question,
        Err(error) => {
            let packet = error.answer()?;
            let decision = refuse(RuleId::Malformed, error.to_string());
            let decided = Some(("unreadable".to_owned(), decision));
            return Some(Answered { packet, decided });
        }
    };
    if Host::Name(question.name.clone()).is_loopback() {
        return Some(Answered {
            packet: question.answer(&loopback(question.record)),
            decided: None,
        });
    }
    let mut decision = shared.gate.judge_name(&question.name);
    let rule = parts(&decision).0.name();
    let answer = match decision {
        Decision::Deny { .. } => Answer::Refused(&rule),
        Decision::Allow { .. } => synthetic(shared, &question).unwrap_or_else(|error| {
            decision = refuse(RuleId::NetworkLimit, error.to_string());
            Answer::Failed
        }),
    };
    Some(Answered {
        packet: question.answer(&answer),
        decided: Some((question.name.as_str().to_owned(), decision)),
    })
}

/// The session's own loopback, which needs no decision.
fn loopback(record: RecordType) -> Answer<'static> {
    match record {
        RecordType::A => Answer::A(Ipv4Addr::LOCALHOST),
        RecordType::Aaaa => Answer::Aaaa(Ipv6Addr::LOCALHOST),
        RecordType::Other(_) => Answer::Empty,
    }
}

/// The address that stands for the name.
fn synthetic(shared: &Shared, question: &Question) -> Result<Answer<'static>, SyntheticError> {
    let assign = || lock(&shared.names).assign(&question.name);
    Ok(match question.record {
        RecordType::A => assign()?.v4.map_or(Answer::Empty, Answer::A),
        RecordType::Aaaa => Answer::Aaaa(assign()?.v6),
        RecordType::Other(_) => Answer::Empty,
    })
}
