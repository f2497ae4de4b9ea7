//! The proxy's decisions as events of the record, and its refusals as denials of the report.

use ringfence_audit::event::Event;
use ringfence_egress::event::{CloseCause, Event as Decided};
use ringfence_egress::{Ingress, decide};
use ringfence_policy::Operation;
use ringfence_policy::RuleId;
use ringfence_policy::decision::{Decision, Denial, Evidence, OwnPermissions};

/// What is recorded of a decision.
pub(super) fn event(command: Option<u64>, decided: &Decided) -> Event {
    match decided {
        Decided::Connection(connection) => Event::NetDecision {
            command,
            destination: connection.destination.clone(),
            ingress: Some(ingress(connection.ingress).to_owned()),
            method: connection.method.clone(),
            verdict: verdict(&connection.decision).to_owned(),
            rule: decide::parts(&connection.decision).0.name(),
            count: 1,
        },
        Decided::Asked(question) => Event::NetAsked {
            command,
            destination: question.destination.clone(),
            ingress: ingress(question.ingress).to_owned(),
        },
        Decided::Name(question) => Event::DnsDecision {
            command,
            name: question.name.clone(),
            verdict: verdict(&question.decision).to_owned(),
            rule: decide::parts(&question.decision).0.name(),
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
pub(super) fn denial(decided: &Decided) -> Option<Denial> {
    let (object, call, decision) = match decided {
        Decided::Connection(connection) => (
            &connection.destination,
            ingress(connection.ingress),
            &connection.decision,
        ),
        Decided::Name(question) => (&question.name, ingress(Ingress::Dns), &question.decision),
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
        RuleId::RequestScope | RuleId::TlsTermination => format!("{object}: {origin}"),
        _ => object.clone(),
    };
    Some(Denial {
        operation: Operation::Connect,
        object,
        rule: *rule,
        grant: grant.clone(),
        syscall: call.to_owned(),
        evidence: Evidence::Refused,
        own_permissions: OwnPermissions::Allow,
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
