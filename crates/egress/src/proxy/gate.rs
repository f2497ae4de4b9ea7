//! The one place where the proxy asks for a verdict, waits for an answer, and records what came of it.
//!
//! Invariant: every verdict is recorded once, with the decision that held; an allowed attempt is recorded when it is
//! known what its addresses are.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};

use ringfence_policy::decision::{Decision, Process};
use ringfence_policy::host::HostName;
use ringfence_policy::policy::NetworkPolicy;
use ringfence_policy::rule::RuleId;

use super::Parts;
use super::live::Basis;
use super::naming::Naming;
use super::open::destination;
use super::wire::Wire;
use crate::caller::{Caller, Ends, Program, UnknownCaller};
use crate::decide::{Attempt, Ingress, Subject, Verdict, decide, decide_name, refuse};
use crate::event::{ConnectionDecision, Event, NameDecision, Question, Sink};
use crate::limits::Limits;
use crate::reach::Pending;
use tokio::sync::Semaphore;

/// The answer of somebody who was asked about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It may be made.
    Allow,
    /// It may not.
    Deny,
}

/// Somebody who can be asked about a connection that no rule names.
pub trait Review: Send + Sync {
    /// Asks about `attempt`; the connection is held meanwhile, and refused when no answer comes in time.
    fn ask<'a>(&'a self, attempt: &'a Attempt) -> Pending<'a, Answer>;
}

/// Somebody who does not answer: what no rule names is held until its time is over, then refused.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Review for Silent {
    fn ask<'a>(&'a self, _attempt: &'a Attempt) -> Pending<'a, Answer> {
        Box::pin(std::future::pending())
    }
}

/// Nobody: what no rule names is refused at once.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Review for Nobody {
    fn ask<'a>(&'a self, _attempt: &'a Attempt) -> Pending<'a, Answer> {
        Box::pin(std::future::ready(Answer::Deny))
    }
}

/// What an attempt that may go on rests on.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub(crate) decision: Decision,
    pub(crate) basis: Basis,
}

pub(crate) struct Gate {
    policy: RwLock<Arc<NetworkPolicy>>,
    /// Places for connections that wait for an answer.
    questions: Semaphore,
    limits: Limits,
    parts: Parts,
    naming: Naming,
}

/// An event that is recorded when this is dropped: its caller may give up while its name is looked for, and the proxy
/// may end.
struct Note<'a> {
    sink: &'a dyn Sink,
    event: Option<Event>,
}

impl Note<'_> {
    fn name(mut self, found: Option<Process>) {
        match &mut self.event {
            Some(
                Event::Connection(ConnectionDecision { process, .. })
                | Event::Asked(Question { process, .. })
                | Event::Name(NameDecision { process, .. }),
            ) => *process = found,
            Some(Event::Closed(_)) | None => {}
        }
    }
}

impl Drop for Note<'_> {
    fn drop(&mut self) {
        if let Some(event) = self.event.take() {
            self.sink.record(event);
        }
    }
}

impl Gate {
    pub(crate) fn new(policy: NetworkPolicy, limits: Limits, parts: Parts) -> Self {
        Self {
            questions: Semaphore::new(limits.questions),
            policy: RwLock::new(Arc::new(policy)),
            naming: Naming::new(Arc::clone(&parts.attribution)),
            limits,
            parts,
        }
    }

    pub(crate) fn policy(&self) -> Arc<NetworkPolicy> {
        let guard = self.policy.read();
        Arc::clone(&guard.unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace_policy(&self, policy: Arc<NetworkPolicy>) -> Arc<NetworkPolicy> {
        let guard = self.policy.write();
        std::mem::replace(&mut *guard.unwrap_or_else(PoisonError::into_inner), policy)
    }

    /// Who is at the other end.
    pub(crate) fn caller(&self, ends: Ends) -> Result<Caller, UnknownCaller> {
        let subject = self.parts.attribution.subject(ends)?;
        Ok(Caller {
            subject,
            ends,
            program: Program::Unasked,
        })
    }

    /// Finds out which program the caller is, where some rule asks.
    pub(crate) async fn ask_program(&self, caller: &mut Caller) {
        if self.policy().asks_for_programs() {
            caller.program = Program::Asked(self.naming.program(caller.ends).await);
        }
    }

    /// The policy for this caller's program.
    pub(crate) fn policy_for(&self, caller: &Caller) -> Arc<NetworkPolicy> {
        let policy = self.policy();
        match caller.program.of(&policy) {
            Cow::Borrowed(_) => policy,
            Cow::Owned(own) => Arc::new(own),
        }
    }

    /// The verdict on an attempt by this caller.
    fn judge(&self, caller: &Caller, attempt: &Attempt) -> Verdict {
        let policy = self.policy();
        let verdict = decide(&caller.program.of(&policy), attempt);
        match verdict {
            Verdict::Final(refused @ Decision::Deny { .. }) => {
                Verdict::Final(policy.refuse_program(&attempt.host, attempt.port, refused))
            }
            Verdict::Final(Decision::Allow { .. }) | Verdict::Ask(_) => verdict,
        }
    }

    /// Records that an unknown caller gets nothing.
    pub(crate) async fn record_stranger(&self, ends: Ends) {
        let subject = Subject {
            session: String::new(),
            command: None,
        };
        let decision = refuse(RuleId::UnknownCaller, ends.peer.to_string());
        let destination = ends.local.to_string();
        let caller = Caller {
            subject,
            ends,
            program: Program::Unasked,
        };
        self.record(&caller, Ingress::CapturedTcp, destination, None, &decision)
            .await;
    }

    /// Judges an attempt, and asks where the policy says so; a refusal is recorded here.
    ///
    /// While somebody is asked, what `client` says is kept for later, and a client that goes ends the question.
    pub(crate) async fn admit(
        &self,
        caller: &Caller,
        attempt: &Attempt,
        client: &mut Wire,
    ) -> Result<Admission, Decision> {
        match self.judge(caller, attempt) {
            Verdict::Final(decision @ Decision::Allow { .. }) => Ok(Admission {
                decision,
                basis: Basis::Policy,
            }),
            Verdict::Final(decision @ Decision::Deny { .. }) => {
                self.record_attempt(caller, attempt, &decision).await;
                Err(decision)
            }
            Verdict::Ask(otherwise) => self.ask(caller, attempt, client, otherwise).await,
        }
    }

    async fn ask(
        &self,
        caller: &Caller,
        attempt: &Attempt,
        client: &mut Wire,
        otherwise: Decision,
    ) -> Result<Admission, Decision> {
        let Ok(_place) = self.questions.try_acquire() else {
            let reason = format!("{} connections wait for an answer", self.limits.questions);
            let decision = refuse(RuleId::NetworkLimit, reason);
            self.record_attempt(caller, attempt, &decision).await;
            return Err(decision);
        };
        let note = self.note(Event::Asked(Question {
            subject: caller.subject.clone(),
            ingress: attempt.ingress,
            destination: destination(attempt),
            process: None,
        }));
        note.name(self.naming.process(caller.ends).await);
        let answer = tokio::select! {
            biased;
            answer = self.parts.reviewer.ask(attempt) => answer,
            () = tokio::time::sleep(self.limits.answer) => Answer::Deny,
            () = client.gone() => Answer::Deny,
        };
        match answer {
            Answer::Allow => Ok(Admission {
                decision: Decision::Allow {
                    rule: RuleId::AllowedHost,
                    origin: "network.ask".to_owned(),
                },
                basis: Basis::Answer,
            }),
            Answer::Deny => {
                self.record_attempt(caller, attempt, &otherwise).await;
                Err(otherwise)
            }
        }
    }

    /// Judges a question for a name, unrecorded; when the connection will be asked about, the question is answered.
    pub(crate) fn judge_name(&self, name: &HostName) -> Decision {
        match decide_name(&self.policy(), name) {
            Verdict::Final(decision) => decision,
            Verdict::Ask(_) => Decision::Allow {
                rule: RuleId::AllowedHost,
                origin: "network.ask".to_owned(),
            },
        }
    }

    /// Records what came of a question for a name.
    pub(crate) async fn record_name(&self, caller: &Caller, name: String, decision: Decision) {
        let is_refused = matches!(decision, Decision::Deny { .. });
        let note = self.note(Event::Name(NameDecision {
            subject: caller.subject.clone(),
            name,
            decision,
            process: None,
        }));
        if is_refused {
            note.name(self.naming.process(caller.ends).await);
        }
    }

    pub(crate) async fn record_attempt(
        &self,
        caller: &Caller,
        attempt: &Attempt,
        decision: &Decision,
    ) {
        let method = attempt.method.clone();
        let destination = destination(attempt);
        self.record(caller, attempt.ingress, destination, method, decision)
            .await;
    }

    /// Records a decision; a refusal with the process that tried, where that can be found out.
    pub(crate) async fn record(
        &self,
        caller: &Caller,
        ingress: Ingress,
        destination: String,
        method: Option<String>,
        decision: &Decision,
    ) {
        let note = self.note(Event::Connection(ConnectionDecision {
            subject: caller.subject.clone(),
            ingress,
            destination,
            method,
            decision: decision.clone(),
            process: None,
        }));
        match (decision, ingress) {
            // From the host into the session: the caller is no process of it.
            (Decision::Allow { .. }, _) | (Decision::Deny { .. }, Ingress::Published) => {}
            (Decision::Deny { .. }, _) => note.name(self.naming.process(caller.ends).await),
        }
    }

    fn note(&self, event: Event) -> Note<'_> {
        Note {
            sink: &*self.parts.sink,
            event: Some(event),
        }
    }
}
