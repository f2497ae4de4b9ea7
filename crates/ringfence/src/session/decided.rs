//! The proxy's decisions as events of the record, and its refusals as denials of the report.

use ringfence_audit::event::Event;
use ringfence_egress::event::{CloseCause, Event as Decided};
use ringfence_egress::{Ingress, Subject, decide};
use ringfence_policy::Operation;
use ringfence_policy::RuleId;
use ringfence_policy::decision::{Decision, Denial, Evidence, OwnPermissions};

use super::egress::Egress;
use super::report::{Denials, Journal, of_record};

/// What the proxy has said while a command ran.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// What it has refused.
    pub(super) denials: Denials,
    /// What a person should know, one line each.
    pub(super) notes: Vec<String>,
}

impl Heard {
    /// Takes what `egress` has decided and records it, for `command` where it does not know better.
    pub(super) fn hear(&mut self, egress: &mut Egress, journal: &mut Journal, command: u64) {
        // First: what it has decided is all there when it has ended.
        let ending = egress.take_ending();
        for decided in egress.news() {
            journal.write(|| event(command, &decided));
            if let Some(denial) = denial(&decided) {
                self.denials.add(denial, 1);
            }
        }
        let dropped = egress.take_dropped();
        if dropped > 0 {
            self.notes.push(format!(
                "{dropped} decisions of the egress proxy came too fast to be recorded"
            ));
        }
        if let Some(reason) = ending {
            self.notes.push(proxy_ended(&reason));
            journal.write(|| Event::NetProxyEnded {
                command: Some(command),
                reason,
            });
        }
    }
}

/// What a person is told when there is no way out any more.
pub(super) fn proxy_ended(reason: &str) -> String {
    format!(
        "WARNING: the egress proxy has ended ({reason}): nothing gets out of the session any more; start a new one"
    )
}

/// Whose attempt it was: the proxy knows where one loopback serves all, and else it is the command's that runs.
fn command_of(subject: &Subject, running: u64) -> Option<u64> {
    let is_strange = subject.session.is_empty();
    subject.command.or((!is_strange).then_some(running))
}

/// What is recorded of a decision while the command `running` ran.
fn event(running: u64, decided: &Decided) -> Event {
    let of = |subject| command_of(subject, running);
    match decided {
        Decided::Connection(connection) => Event::NetDecision {
            command: of(&connection.subject),
            destination: connection.destination.clone(),
            ingress: Some(ingress(connection.ingress).to_owned()),
            method: connection.method.clone(),
            verdict: verdict(&connection.decision).to_owned(),
            rule: decide::parts(&connection.decision).0.name(),
            process: connection.process.as_ref().map(of_record),
            count: 1,
        },
        Decided::Asked(question) => Event::NetAsked {
            command: of(&question.subject),
            destination: question.destination.clone(),
            ingress: ingress(question.ingress).to_owned(),
            process: question.process.as_ref().map(of_record),
        },
        Decided::Name(question) => Event::DnsDecision {
            command: of(&question.subject),
            name: question.name.clone(),
            verdict: verdict(&question.decision).to_owned(),
            rule: decide::parts(&question.decision).0.name(),
            process: question.process.as_ref().map(of_record),
        },
        Decided::Closed(closed) => Event::NetClosed {
            destination: closed.destination.clone(),
            bytes_out: closed.bytes_out,
            bytes_in: closed.bytes_in,
            cause: cause(closed.cause).to_owned(),
        },
    }
}

/// What is reported after the command.
fn denial(decided: &Decided) -> Option<Denial> {
    let (object, call, decision, process) = match decided {
        Decided::Connection(connection) => (
            &connection.destination,
            ingress(connection.ingress),
            &connection.decision,
            &connection.process,
        ),
        Decided::Name(question) => (
            &question.name,
            ingress(Ingress::Dns),
            &question.decision,
            &question.process,
        ),
        Decided::Closed(_) | Decided::Asked(_) => return None,
    };
    let Decision::Deny {
        rule,
        grant,
        origin,
    } = decision
    else {
        return None;
    };
    let object = match rule {
        // The destination alone would not say what was wrong with it.
        RuleId::RequestScope
        | RuleId::TlsTermination
        | RuleId::Upgrade
        | RuleId::HostMismatch
        | RuleId::OtherProgram
        | RuleId::NetworkLimit => format!("{object}: {origin}"),
        _ => object.clone(),
    };
    Some(Denial {
        operation: Operation::Connect,
        object,
        rule: *rule,
        grant: grant.clone(),
        refused_root: None,
        syscall: call.to_owned(),
        evidence: Evidence::Refused,
        own_permissions: OwnPermissions::Allow,
        process: process.clone().map(Box::new),
    })
}

const fn verdict(decision: &Decision) -> &'static str {
    match decision {
        Decision::Allow { .. } => "allow",
        Decision::Deny { .. } => "deny",
    }
}

const fn ingress(ingress: Ingress) -> &'static str {
    match ingress {
        Ingress::CapturedTls => "captured-tls",
        Ingress::CapturedHttp => "captured-http",
        Ingress::CapturedTcp => "captured-tcp",
        Ingress::Connect => "connect",
        Ingress::AbsoluteForm => "absolute-form",
        Ingress::Socks => "socks",
        Ingress::Dns => "dns",
        Ingress::UnixSocket => "unix-socket",
        Ingress::Published => "published",
    }
}

const fn cause(cause: CloseCause) -> &'static str {
    match cause {
        CloseCause::Finished => "finished",
        CloseCause::Broken => "broken",
        CloseCause::Refused => "refused",
        CloseCause::Revoked => "revoked",
        CloseCause::Limit => "limit",
        CloseCause::Shutdown => "shutdown",
    }
}
