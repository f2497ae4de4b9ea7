//! Connections with copies of the own token that a target can make without any right to another process.
//!
//! A filter that names the account may not match them. The listener is this machine's, on a port that the account's own
//! token is refused; so a copy that connects has escaped, and one that is refused by the same code was matched.
//!
//! Invariant: a copy counts as matched only where the own token was refused, the copy was made and read back, and its
//! connection was refused by the filters' code.

use std::io;
use std::net::SocketAddrV4;

use ringfence_plan::windows::audit::Answer;

use super::network::REFUSED;
use crate::audit::Finding;
use crate::audit::stage::Stage;
use crate::sys::CallError;
use crate::sys::signon::{anonymously, impersonate};
use crate::sys::socket::RawSocket;
use crate::sys::token::{AccessToken, RestrictError};

const CONTROL: &str = "outside the listener is reached, and the account's own token is refused";

/// What a connection came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tried {
    Connected,
    Refused,
    Other(String),
}

impl From<io::Result<()>> for Tried {
    fn from(tried: io::Result<()>) -> Self {
        match tried {
            Ok(()) => Self::Connected,
            Err(error) if error.raw_os_error() == Some(REFUSED) => Self::Refused,
            Err(error) => Self::Other(error.to_string()),
        }
    }
}

/// Acts on the calling thread with a copy.
type Under<'a> = dyn Fn(&dyn Fn() -> io::Result<()>) -> Result<io::Result<()>, CallError> + 'a;

pub(super) fn deny_only(stage: &Stage) -> Finding {
    let made = AccessToken::for_copies().and_then(|own| Ok((own.user()?, own)));
    let copy = match made {
        Ok((user, own)) => own.with_deny_only(&[user]),
        Err(error) => return Finding::unknown(format!("{error}: {}", error.error)),
    };
    let copy = match copy {
        Ok(copy) => copy,
        Err(RestrictError::Call(error)) => {
            return Finding::unknown(format!(
                "the copy could not be made: {error}: {}",
                error.error
            ));
        }
        Err(error @ RestrictError::NotEnforced(_)) => return Finding::unknown(error.to_string()),
    };
    probe(stage, &|act| impersonate(&copy, "a deny-only copy", act))
}

pub(super) fn anonymous(stage: &Stage) -> Finding {
    probe(stage, &|act| anonymously(act))
}

fn probe(stage: &Stage, under: &Under<'_>) -> Finding {
    let address = match &stage.fixed {
        Ok(address) => *address,
        Err(cause) => return Finding::unknown(format!("there is no listener: {cause}")),
    };
    let connect = |socket: &RawSocket| socket.connect(address);
    let own = RawSocket::stream().and_then(|socket| connect(&socket));
    // Made before one acts as the copy, which may have no right to what a socket is made with; and made as the copy.
    let before = match RawSocket::stream() {
        Ok(socket) => acted(under(&|| connect(&socket))),
        Err(error) => Tried::Other(error.to_string()),
    };
    let within = acted(under(&|| made_and_connected(address)));
    judge(&own.into(), &before, &within)
}

fn made_and_connected(address: SocketAddrV4) -> io::Result<()> {
    RawSocket::stream().and_then(|socket| socket.connect(address))
}

fn acted(tried: Result<io::Result<()>, CallError>) -> Tried {
    match tried {
        Ok(tried) => tried.into(),
        Err(error) => Tried::Other(format!("{error}: {}", error.error)),
    }
}

fn judge(own: &Tried, before: &Tried, within: &Tried) -> Finding {
    match own {
        Tried::Refused => {}
        Tried::Connected => {
            return Finding::unknown("the account's own token is not refused either");
        }
        Tried::Other(cause) => {
            return Finding::unknown(format!("the account's own token is not refused: {cause}"));
        }
    }
    match (before, within) {
        (Tried::Connected, _) | (_, Tried::Connected) => {
            Finding::new(Answer::Open, "it gets past the filters", CONTROL)
        }
        (Tried::Refused, Tried::Refused) => {
            Finding::new(Answer::Held, "refused by the filters (10013)", CONTROL)
        }
        (Tried::Refused, Tried::Other(cause)) => Finding::new(
            Answer::Held,
            format!("refused by the filters (10013); no socket can be made with it: {cause}"),
            CONTROL,
        ),
        (Tried::Other(cause), Tried::Refused | Tried::Other(_)) => {
            Finding::unknown(format!("no refusal was seen: {cause}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_matched_only_beside_an_own_token_that_is_refused() {
        use Tried::{Connected, Refused};
        let other = Tried::Other("10061".to_owned());
        for (own, before, within, answer) in [
            (&Refused, &Refused, &Refused, Answer::Held),
            (&Refused, &Refused, &other, Answer::Held),
            (&Refused, &other, &Refused, Answer::Unknown),
            (&Refused, &other, &other, Answer::Unknown),
            (&Refused, &Connected, &Refused, Answer::Open),
            (&Refused, &Refused, &Connected, Answer::Open),
            (&Connected, &Refused, &Refused, Answer::Unknown),
            (&other, &Refused, &Refused, Answer::Unknown),
            (&other, &Connected, &Connected, Answer::Unknown),
        ] {
            let found = judge(own, before, within);
            assert_eq!(found.answer, answer, "{own:?} {before:?} {within:?}");
            assert!(found.answer == Answer::Unknown || found.control == CONTROL);
        }
    }
}
