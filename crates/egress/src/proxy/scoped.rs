//! Connections to a host of which only some requests are allowed: everything that is said there is read.
//!
//! Nothing is opened before a request was decided. TLS is terminated here, with a certificate of the session's own,
//! and the origin's is verified as any program would. Invariant: of a host with a scope no byte goes on that is not
//! part of a request that was decided on.

use ringfence_policy::decision::Decision;
use ringfence_policy::escape::escape;
use ringfence_policy::network::Reach;
use ringfence_policy::rule::RuleId;

use super::Shared;
use super::exchange::{self, Serving};
use super::gate::Admission;
use super::link::{GreetError, TlsLink};
use super::live::Basis;
use super::open::OpenError;
use super::tunnel::{read_first_flight, refuse_first_flight, say_refusal};
use super::wire::Wire;
use crate::caller::Caller;
use crate::decide::{Attempt, refuse};
use crate::first::FirstFlight;
use crate::http::{Authority, Scheme};

impl Shared {
    /// Whether what is said on a connection that was admitted has to be read.
    pub(super) fn is_scoped(
        &self,
        caller: &Caller,
        attempt: &Attempt,
        admission: &Admission,
    ) -> bool {
        let policy = self.gate.policy_for(caller);
        admission.basis == Basis::Policy
            && policy.reach(&attempt.host, attempt.port) == Reach::Requests
    }

    /// The refusal of a request that some servers would take for another, to a host where that matters.
    pub(super) async fn refuse_disguise(
        &self,
        caller: &Caller,
        attempt: &Attempt,
        disguise: Option<&'static str>,
    ) -> Option<Decision> {
        let header = disguise?;
        if self
            .gate
            .policy_for(caller)
            .reach(&attempt.host, attempt.port)
            == Reach::Whole
        {
            return None;
        }
        let reason = format!("the header {header} asks for another request");
        let decision = refuse(RuleId::RequestScope, reason);
        self.gate.record_attempt(caller, attempt, &decision).await;
        Some(decision)
    }

    /// Greets the origin as its client; a certificate that is not trusted refuses the request.
    pub(super) async fn greet_origin(
        &self,
        caller: &Caller,
        attempt: &Attempt,
        wire: Wire,
    ) -> Result<Wire, OpenError> {
        let greeting = self.greet_unrecorded(attempt, wire);
        let greeted = tokio::time::timeout(self.limits.dial, greeting).await;
        let reason = match greeted {
            Ok(Ok(wire)) => return Ok(wire),
            Ok(Err(reason)) => reason,
            Err(_) => "the origin did not answer the TLS greeting in time".to_owned(),
        };
        let decision = refuse(RuleId::TlsTermination, reason);
        self.gate.record_attempt(caller, attempt, &decision).await;
        Err(OpenError::Refused(decision))
    }

    async fn greet_unrecorded(&self, attempt: &Attempt, wire: Wire) -> Result<Wire, String> {
        let terminator = self.parts.terminator.as_ref().ok_or(NO_CERTIFICATE)?;
        let session = terminator
            .connect(&attempt.host)
            .map_err(|error| error.to_string())?;
        let (stream, inbox) = wire.into_plain().ok_or(NO_CERTIFICATE)?;
        let link = TlsLink::greet(stream, session, inbox.unread()).await;
        link.map(Wire::inside).map_err(|error| match error {
            GreetError::Tls(error) => format!("the origin is not trusted: {}", shown(&error)),
            GreetError::Broken(_) => "the origin broke off during the TLS greeting".to_owned(),
        })
    }
}

/// A certificate's own words may stand in it, and an attacker may have written them.
fn shown(error: &rustls::Error) -> String {
    escape(error.to_string().as_bytes()).into_owned()
}

/// What a person can do for a program that reads none of the usual variables.
const TRUST: &str = "let it trust the certificates of the file that SSL_CERT_FILE names, or allow the host without methods and paths";

const NO_CERTIFICATE: &str =
    "this session has no certificate of its own to read TLS with: start it anew";

/// Serves a connection that was admitted; the client has been told so, where its protocol has a word for it.
pub(super) async fn serve(shared: &Shared, caller: &Caller, attempt: Attempt, mut client: Wire) {
    let first = read_first_flight(shared, caller, &mut client, &attempt).await;
    let scheme = match first {
        None => return,
        Some(Ok(FirstFlight::Http)) => Scheme::Http,
        Some(Ok(FirstFlight::Tls)) => Scheme::Https,
        Some(Ok(FirstFlight::Opaque)) => {
            let reason = "only requests of HTTP are allowed there".to_owned();
            let decision = refuse(RuleId::RequestScope, reason);
            shared
                .gate
                .record_attempt(caller, &attempt, &decision)
                .await;
            return say_refusal(client, attempt.port).await;
        }
        Some(Err(error)) => {
            refuse_first_flight(shared, caller, &attempt, client, &error).await;
            return;
        }
    };
    let client = match scheme {
        Scheme::Http => client,
        Scheme::Https => match greet_client(shared, caller, &attempt, client).await {
            Some(client) => client,
            None => return,
        },
    };
    let authority = Authority {
        host: attempt.host,
        port: attempt.port,
    };
    let serving = Serving::Fixed {
        authority,
        ingress: attempt.ingress,
        scheme,
    };
    exchange::serve(shared, caller, serving, client, None).await;
}

/// Greets the client as its origin; a client that does not accept the session's certificate is recorded.
async fn greet_client(
    shared: &Shared,
    caller: &Caller,
    attempt: &Attempt,
    client: Wire,
) -> Option<Wire> {
    let refuse_with = async |reason: String| {
        let decision = refuse(RuleId::TlsTermination, reason);
        shared.gate.record_attempt(caller, attempt, &decision).await;
    };
    let session = match &shared.parts.terminator {
        None => Err(NO_CERTIFICATE.to_owned()),
        Some(terminator) => terminator
            .accept(&attempt.host)
            .map_err(|error| error.to_string()),
    };
    let session = match session {
        Ok(session) => session,
        Err(reason) => {
            refuse_with(reason).await;
            say_refusal(client, attempt.port).await;
            return None;
        }
    };
    let (stream, inbox) = client.into_plain()?;
    let greeting = TlsLink::greet(stream, session, inbox.unread());
    match tokio::time::timeout(shared.limits.head, greeting).await {
        Ok(Ok(link)) => Some(Wire::inside(link)),
        Ok(Err(GreetError::Tls(error))) => {
            refuse_with(format!(
                "the program does not accept the session's certificate, or speaks no HTTP/1.1: {}; {TRUST}",
                shown(&error)
            ))
            .await;
            None
        }
        Ok(Err(GreetError::Broken(_))) => {
            refuse_with(format!(
                "the program broke off when it was shown the session's certificate; {TRUST}"
            ))
            .await;
            None
        }
        Err(_) => None,
    }
}
