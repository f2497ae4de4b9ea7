//! The name server of the session: allowed names get synthetic addresses, nobody else is ever asked.
//!
//! A name is not looked up here, so that no question can carry anything out. Invariant: every question but that for
//! the session's own loopback is decided and recorded, and an address is given only to an allowed name.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ringfence_policy::decision::Decision;
use ringfence_policy::host::Host;
use ringfence_policy::rule::RuleId;
use tokio::net::UdpSocket;

use super::Shared;
use super::live::lock;
use super::wire::{Wire, write_all};
use crate::caller::{Caller, Ends};
use crate::decide::{parts, refuse};
use crate::dns::{Answer, MAX_QUERY, Question, RecordType};
use crate::synthetic::SyntheticError;

/// How long a connection to the name server may be silent (RFC 7766 speaks of seconds).
const SILENCE: Duration = Duration::from_secs(10);

/// Answers packets until the socket fails.
pub(super) async fn serve_udp(shared: &Shared, socket: &UdpSocket) -> io::Result<()> {
    let local = socket.local_addr()?;
    // One more than the most, so that a longer packet is seen to be longer.
    let mut packet = [0; MAX_QUERY + 1];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut packet).await else {
            // An error of an earlier answer: the asker is gone.
            tokio::task::yield_now().await;
            continue;
        };
        let Ok(caller) = shared.gate.caller(Ends { peer, local }) else {
            continue;
        };
        let query = packet.get(..length).unwrap_or_default();
        if let Some(answer) = answer(shared, &caller, query) {
            // Who does not get it asks again.
            let _ = socket.send_to(&answer, peer).await;
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
                let Some(answer) = answer(shared, caller, packet) else {
                    return;
                };
                wire.inbox.consume(used);
                let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
                let framed = [&length.to_be_bytes()[..], &answer].concat();
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

/// The answer to one packet; `None` for what is no question.
fn answer(shared: &Shared, caller: &Caller, packet: &[u8]) -> Option<Vec<u8>> {
    let question = match Question::parse(packet) {
        Ok(question) => question,
        Err(error) => {
            let answer = error.answer()?;
            let decision = refuse(RuleId::Malformed, error.to_string());
            let gate = &shared.gate;
            gate.record_name(caller, "unreadable".to_owned(), decision);
            return Some(answer);
        }
    };
    if Host::Name(question.name.clone()).is_loopback() {
        return Some(question.answer(&loopback(question.record)));
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
    let name = question.name.as_str().to_owned();
    shared.gate.record_name(caller, name, decision);
    Some(question.answer(&answer))
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
