//! Connections with copies of the own token that a target can make without any right to another process: as such a
//! copy on a thread, and by a process that has it.
//!
//! A filter that names the account may not match them. The listener is this machine's, on a port that the account's own
//! token is refused; so a copy that connects has escaped, and one that is refused by the same code was matched.
//!
//! Invariant: a copy counts as matched only where the own token was refused, the copy was made and read back, and its
//! connection was refused by the filters' code.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::net::SocketAddrV4;
use std::os::windows::io::{AsHandle as _, BorrowedHandle};

use ringfence_plan::windows::audit::Answer;

use super::REACH;
use super::network::REFUSED;
use super::own::{Own, start};
use crate::audit::Finding;
use crate::audit::stage::Stage;
use crate::sys::signon::{anonymously, impersonate};
use crate::sys::socket::RawSocket;
use crate::sys::token::{AccessToken, RestrictError};
use crate::sys::{CallError, Win32Error};

/// `ERROR_ACCESS_DENIED`
const DENIED: Win32Error = Win32Error(5);
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
    // Of a process that the target makes: its own token it may not open for that.
    let own = match Own::make() {
        Ok(own) => own,
        Err(cause) => return Finding::unknown(cause),
    };
    let made = own.token().and_then(|own| Ok((own.user()?, own)));
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
    let act = |act: &dyn Fn() -> io::Result<()>| impersonate(&copy, "a deny-only copy", act);
    probe(stage, &act, &|address| started_with(&copy, address))
}

pub(super) fn anonymous(stage: &Stage) -> Finding {
    // A restricted process may not act so (learn.microsoft.com `ImpersonateAnonymousToken`).
    if let Err(error) = anonymously(|| ())
        && error.error == DENIED
    {
        let detail = "the system lets no command act anonymously (5)";
        return Finding::new(Answer::Held, detail, "");
    }
    // No process can be started with a token that a thread alone has.
    let none = |_| Tried::Other("an anonymous token is a thread's alone".to_owned());
    probe(stage, &|act| anonymously(act), &none)
}

fn probe(stage: &Stage, under: &Under<'_>, process: &dyn Fn(SocketAddrV4) -> Tried) -> Finding {
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
    judge(&own.into(), [&before, &within, &process(address)])
}

/// What a process says that was started to connect: what the attempt ended with, 0 where it was made.
///
/// # Errors
/// Where nobody reads `out`.
pub(super) fn reach(address: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
    let address = address.and_then(|text| text.parse().ok());
    let tried = address.map_or_else(
        || Err(io::Error::from(io::ErrorKind::InvalidInput)),
        made_and_connected,
    );
    let code = tried.map_or_else(|error| error.raw_os_error().unwrap_or(-1), |()| 0);
    writeln!(out, "{code}")?;
    out.flush()
}

/// Has this very program connect, as a process with that token.
fn started_with(copy: &AccessToken, address: SocketAddrV4) -> Tried {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return Tried::Other(error.to_string()),
    };
    let address = address.to_string();
    let arguments = ["audit", "--inside", REACH, "--stage", &address].map(OsString::from);
    match copy.to_start_with() {
        Ok(token) => said_by(program.as_os_str(), &arguments, Some(token.as_handle())),
        Err(error) => Tried::Other(format!("{error}: {}", error.error)),
    }
}

/// What a program says that prints the code of its attempt.
fn said_by(program: &OsStr, arguments: &[OsString], token: Option<BorrowedHandle<'_>>) -> Tried {
    match output_of(program, arguments, token) {
        Ok(said) => match said.trim().parse() {
            Ok(0) => Tried::Connected,
            Ok(code) => Err(io::Error::from_raw_os_error(code)).into(),
            Err(_) => Tried::Other("a process with it said nothing".to_owned()),
        },
        Err(cause) => Tried::Other(cause),
    }
}

fn output_of(
    program: &OsStr,
    arguments: &[OsString],
    token: Option<BorrowedHandle<'_>>,
) -> Result<String, String> {
    /// In milliseconds.
    const PATIENCE: u32 = 20_000;
    let io = |error: io::Error| error.to_string();
    let called = |error: CallError| format!("{error}: {}", error.error);
    let (mut reader, writer) = io::pipe().map_err(io)?;
    let nothing = File::options().read(true).write(true).open("NUL");
    let nothing = nothing.map_err(io)?;
    let streams = [nothing.as_handle(), writer.as_handle(), nothing.as_handle()];
    let child = start(program, arguments, streams, token)
        .map_err(|cause| format!("no process can be started with it: {cause}"))?;
    drop(writer);
    child.resume().map_err(called)?;
    if child.wait(Some(PATIENCE)).map_err(called)?.is_none() {
        child.terminate(1).map_err(called)?;
        return Err("a process with it does not end".to_owned());
    }
    let mut said = String::new();
    reader.read_to_string(&mut said).map_err(io)?;
    Ok(said)
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

/// `tried` is what came of a socket from before, of one that the copy has made, and of a process.
fn judge(own: &Tried, tried: [&Tried; 3]) -> Finding {
    match own {
        Tried::Refused => {}
        Tried::Connected => {
            return Finding::unknown("the account's own token is not refused either");
        }
        Tried::Other(cause) => {
            return Finding::unknown(format!("the account's own token is not refused: {cause}"));
        }
    }
    if tried.contains(&&Tried::Connected) {
        return Finding::new(Answer::Open, "it gets past the filters", CONTROL);
    }
    let [before, within, process] = tried;
    if let Tried::Other(cause) = before {
        return Finding::unknown(format!("no refusal was seen: {cause}"));
    }
    let mut detail = "refused by the filters (10013)".to_owned();
    if let Tried::Other(cause) = within {
        detail = format!("{detail}; no socket can be made with it: {cause}");
    }
    match process {
        Tried::Refused => detail.push_str(", and so is a process that has it"),
        Tried::Other(cause) => detail = format!("{detail}; {cause}"),
        Tried::Connected => {}
    }
    Finding::new(Answer::Held, detail, CONTROL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_matched_only_beside_an_own_token_that_is_refused() {
        use Tried::{Connected, Refused};
        let other = Tried::Other("10061".to_owned());
        for (own, tried, answer) in [
            (&Refused, [&Refused, &Refused, &Refused], Answer::Held),
            (&Refused, [&Refused, &other, &other], Answer::Held),
            (&Refused, [&other, &Refused, &Refused], Answer::Unknown),
            (&Refused, [&other, &other, &other], Answer::Unknown),
            (&Refused, [&Connected, &Refused, &Refused], Answer::Open),
            (&Refused, [&Refused, &Connected, &Refused], Answer::Open),
            (&Refused, [&Refused, &Refused, &Connected], Answer::Open),
            (&Connected, [&Refused, &Refused, &Refused], Answer::Unknown),
            (&other, [&Refused, &Refused, &Refused], Answer::Unknown),
            (
                &other,
                [&Connected, &Connected, &Connected],
                Answer::Unknown,
            ),
        ] {
            let found = judge(own, tried);
            assert_eq!(found.answer, answer, "{own:?} {tried:?}");
            assert!(found.answer == Answer::Unknown || found.control == CONTROL);
        }
    }

    // The process is started as commands are; with a copy of a token only Windows does it.
    #[test]
    fn plumbing_only_a_process_says_what_its_attempt_ended_with() {
        let shell = std::path::Path::new(&std::env::var_os("SystemRoot").unwrap())
            .join("System32")
            .join("cmd.exe");
        let said = |words: &[&str]| {
            let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
            said_by(shell.as_os_str(), &arguments, None)
        };
        assert_eq!(said(&["/d", "/c", "echo", "0"]), Tried::Connected);
        assert_eq!(said(&["/d", "/c", "echo", "10013"]), Tried::Refused);
        assert!(matches!(
            said(&["/d", "/c", "echo", "10061"]),
            Tried::Other(_)
        ));
        assert!(matches!(said(&["/d", "/c", "exit", "5"]), Tried::Other(_)));
        let nowhere = said_by(OsStr::new(r"C:\no\such.exe"), &[], None);
        assert!(matches!(nowhere, Tried::Other(_)));
    }

    #[test]
    fn plumbing_only_what_a_process_reaches_is_what_it_says() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let said = |address: Option<&str>| {
            let mut out = Vec::new();
            reach(address, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(said(Some(&address)), "0\n");
        drop(listener);
        assert_eq!(said(Some(&address)), "10061\n");
        assert_eq!(said(Some("nowhere")), "-1\n");
        assert_eq!(said(None), "-1\n");
    }
}
