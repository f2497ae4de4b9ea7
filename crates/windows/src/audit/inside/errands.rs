//! What services of other identities carry: a page that the web's redirector fetches, a file that the background
//! transfer service does.
//!
//! They connect as themselves, so past filters that name the account. The place they are sent to is a listener of this
//! machine that the account's own connections are refused at; whoever holds it says whether somebody came. The redirector
//! takes a port behind the host's name (`\\host@port\path`); source for the other: learn.microsoft.com "bitsadmin".
//! Invariant: what was asked of a service is taken back, and that nobody came is never called closed.

use std::io;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ringfence_plan::windows::audit::Answer;

use crate::audit::Finding;
use crate::audit::stage::{Control, Stage};

/// How long a service may take to come.
const SERVICE_PATIENCE: Duration = Duration::from_secs(10);
/// `ERROR_ACCESS_DENIED`, `WSAEACCES`, and the former as a HRESULT.
const REFUSALS: [i32; 3] = [5, super::network::REFUSED, 0x8007_0005_u32.cast_signed()];

/// A service that carries things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::audit) enum Service {
    /// `WebClient`: paths of servers of the web.
    WebDav,
    /// The background transfer service.
    Bits,
}

impl Service {
    pub(in crate::audit) fn of(probe: &str) -> Option<Self> {
        match probe {
            "webdav" => Some(Self::WebDav),
            "bits" => Some(Self::Bits),
            _ => None,
        }
    }
}

/// What a service said when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    /// It took the errand, or failed in a way that says nothing.
    Taken(String),
    /// It refused.
    Refused(i32),
    /// It could not be asked.
    Unasked(String),
}

/// An errand; dropped, it is taken back.
struct Errand(Option<String>);

impl Drop for Errand {
    fn drop(&mut self) {
        if let Some(job) = self.0.take() {
            let _ = bitsadmin(&["/cancel", &job]);
        }
    }
}

/// Sends `service` to `address`, and waits until `has_come` says that it came, or for long enough.
///
/// # Errors
/// Why nobody came.
pub(in crate::audit) fn fetch(
    service: Service,
    address: SocketAddrV4,
    mut has_come: impl FnMut() -> bool,
) -> Control<()> {
    let (asked, _errand) = ask(service, address);
    let begun = Instant::now();
    loop {
        if has_come() {
            return Ok(());
        }
        match &asked {
            Asked::Refused(code) => return Err(format!("it was refused ({code})")),
            Asked::Unasked(cause) => return Err(cause.clone()),
            Asked::Taken(said) if begun.elapsed() >= SERVICE_PATIENCE => {
                return Err(format!("nobody came: {said}"));
            }
            Asked::Taken(_) => sleep(Duration::from_millis(100)),
        }
    }
}

/// Sends a service from inside; whether it came is seen outside.
pub(super) fn send(service: Service, stage: &Stage) -> Finding {
    let address = match &stage.carried {
        Ok(address) => *address,
        Err(cause) => return Finding::unknown(format!("there is no listener: {cause}")),
    };
    let (asked, _errand) = ask(service, address);
    match asked {
        Asked::Refused(code) => Finding::new(Answer::Held, format!("it was refused ({code})"), ""),
        Asked::Unasked(cause) => Finding::unknown(cause),
        Asked::Taken(said) => {
            // Nobody inside can see whether it came.
            sleep(SERVICE_PATIENCE);
            Finding::unknown(said)
        }
    }
}

/// What is said of an errand from inside, by whether somebody came, and by what came of the same from outside.
pub(in crate::audit) fn judge(found: Finding, control: &Control<()>, has_come: bool) -> Finding {
    const CAME: &str = "outside, the same service came to the listener";
    if has_come {
        let detail = "carried: a service came to a listener that the account itself is refused at";
        return match control {
            Ok(()) => Finding::new(Answer::Open, detail, CAME),
            Err(cause) => Finding::new(Answer::Open, detail, &format!("outside: {cause}")),
        };
    }
    match (found.answer, control) {
        (Answer::Held, Ok(())) => Finding {
            control: CAME.to_owned(),
            ..found
        },
        (Answer::Held, Err(cause)) => {
            Finding::unknown(format!("{}, but the control failed: {cause}", found.detail))
        }
        (Answer::Open | Answer::NotEnforced | Answer::Unknown, Ok(())) => Finding::new(
            Answer::Unknown,
            format!("nobody came this time: {}", found.detail),
            CAME,
        ),
        (Answer::Open | Answer::NotEnforced | Answer::Unknown, Err(cause)) => {
            Finding::unknown(format!("{}; from outside neither: {cause}", found.detail))
        }
    }
}

fn ask(service: Service, address: SocketAddrV4) -> (Asked, Errand) {
    match service {
        Service::WebDav => {
            let path = format!(
                r"\\{}@{}\DavWWWRoot\ringfence-audit",
                address.ip(),
                address.port()
            );
            (answered(&std::fs::metadata(path)), Errand(None))
        }
        Service::Bits => match transfer(address) {
            Ok(errand) => (Asked::Taken("the transfer was begun".to_owned()), errand),
            Err(asked) => (asked, Errand(None)),
        },
    }
}

fn answered<T>(tried: &io::Result<T>) -> Asked {
    match tried.as_ref().map_err(io::Error::raw_os_error) {
        Ok(_) => Asked::Taken("it answered".to_owned()),
        Err(Some(code)) if REFUSALS.contains(&code) => Asked::Refused(code),
        Err(Some(code)) => Asked::Taken(format!("it ended with {code}")),
        Err(None) => Asked::Unasked("it failed without a code".to_owned()),
    }
}

/// Begins a transfer of one file from `address`.
fn transfer(address: SocketAddrV4) -> Result<Errand, Asked> {
    let name = format!("ringfence-audit-{}", std::process::id());
    let created = bitsadmin(&["/create", "/download", &name])?;
    let job = created.trim().to_owned();
    let errand = Errand(Some(job.clone()));
    let into = std::env::temp_dir().join(&name);
    let into = into.to_str().unwrap_or_default();
    let from = format!("http://{address}/ringfence-audit");
    bitsadmin(&["/addfile", &job, &from, into])?;
    bitsadmin(&["/setpriority", &job, "FOREGROUND"])?;
    bitsadmin(&["/resume", &job])?;
    Ok(errand)
}

fn bitsadmin(arguments: &[&str]) -> Result<String, Asked> {
    let root = std::env::var_os("SystemRoot").unwrap_or_default();
    let program = PathBuf::from(root).join(r"System32\bitsadmin.exe");
    let mut command = Command::new(&program);
    command.arg("/rawreturn").args(arguments);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Asked::Unasked(format!("bitsadmin.exe: {error}")))?;
    match output.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Some(code) if REFUSALS.contains(&code) => Err(Asked::Refused(code)),
        Some(code) => Err(Asked::Unasked(format!(
            "bitsadmin.exe ended with {code:#x}"
        ))),
        None => Err(Asked::Unasked("bitsadmin.exe was ended".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errand_is_open_where_somebody_came_and_closed_only_where_it_was_refused_beside_a_control()
    {
        let asked = || Finding::unknown("the transfer was begun");
        let refused = || Finding::new(Answer::Held, "it was refused (5)", "");
        let failed: Control<()> = Err("nobody came".to_owned());
        for (found, control, has_come, answer) in [
            (asked(), Ok(()), true, Answer::Open),
            (asked(), failed.clone(), true, Answer::Open),
            (refused(), Ok(()), true, Answer::Open),
            (refused(), Ok(()), false, Answer::Held),
            (refused(), failed.clone(), false, Answer::Unknown),
            (asked(), Ok(()), false, Answer::Unknown),
            (asked(), failed, false, Answer::Unknown),
        ] {
            let judged = judge(found, &control, has_come);
            assert_eq!(judged.answer, answer, "{control:?} {has_come} {judged:?}");
            assert!(answer != Answer::Held || !judged.control.is_empty());
        }
    }

    #[test]
    fn a_refusal_is_told_from_another_end() {
        let failed = |code| answered(&Err::<(), _>(io::Error::from_raw_os_error(code)));
        assert_eq!(failed(5), Asked::Refused(5));
        assert_eq!(failed(10013), Asked::Refused(10013));
        assert!(matches!(failed(53), Asked::Taken(_)));
        assert!(matches!(answered(&Ok(())), Asked::Taken(_)));
    }

    #[test]
    fn plumbing_only_waiting_ends_when_somebody_comes() {
        let mut rounds = 0;
        let nowhere = "127.0.0.1:1".parse().unwrap();
        // No redirector of wine's goes there: the control is told so by who holds the listener alone.
        let came = fetch(Service::WebDav, nowhere, || {
            rounds += 1;
            rounds == 1
        });
        assert_eq!(came, Ok(()));
    }
}
