//! A set-up tried out: a real logon, a real denied write, a real refused connection, as the sandbox account.
//!
//! Each denial has a control that succeeds without the boundary, and only the system's own "denied" counts as one: a
//! crash or a missing file never does. Invariant: what is made for a try is gone afterwards.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use ringfence_backend::windows::{
    Check, InstalledState, Proof, Setup, SetupOutcome, SetupReceipt, SetupVerb,
};
use ringfence_plan::windows::facts::Marker;
use ringfence_plan::windows::machine::{MachineDirectories, Subject};
use ringfence_plan::windows::sids::AccountNames;

use super::enforcement::{self, check};
use super::{Answer, Bench, SetupFault, elevate, fault_of, steps_of};
use crate::machine::accounts::unseal;
use crate::observe::machine::{person, program_data};
use crate::sys::file::verbatim;
use crate::sys::signon::LoggedOn;

/// `ERROR_ACCESS_DENIED`
const DENIED: i32 = 5;
/// `WSAEACCES`: a filter of the platform refused it.
const REFUSED_BY_FILTER: i32 = 10_013;
/// How long a connection that is swallowed is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Tries a set-up out.
pub(super) fn verify(subject: Option<&Subject>) -> Answer {
    let mut receipt = SetupReceipt::new(SetupVerb::Verify, SetupOutcome::Done);
    receipt.checks = enforcement::observe();
    if !enforcement::is_enforced(&receipt.checks) {
        receipt.outcome = SetupOutcome::NotEnforced;
        return Ok(receipt);
    }
    elevate()?;
    let data = program_data().map_err(SetupFault::Machine)?;
    let whose = match subject {
        Some(subject) => subject.person,
        None => person().map_err(SetupFault::Machine)?,
    };
    receipt.person = Some(whose);
    let mut bench = Bench::new(&data, whose)?;
    let state = read_state(&bench.directories);
    let (finished, state) = match state {
        Ok(Some((state, Marker::Present))) => (
            check("marker", Ok("the set-up finished".to_owned())),
            Some(state),
        ),
        Ok(Some((state, Marker::Missing))) => (
            check("marker", Err("a set-up did not finish".to_owned())),
            Some(state),
        ),
        Ok(None) => (
            check(
                "marker",
                Err("there is no set-up for this person".to_owned()),
            ),
            None,
        ),
        Err(error) => (check("marker", Err(error.to_string())), None),
    };
    receipt.checks.push(finished);
    let Some(state) = state.filter(|state| state.is_of(whose)) else {
        receipt.outcome = SetupOutcome::Incomplete;
        return Ok(receipt);
    };
    receipt.machine_hash = Some(state.machine_hash.clone());
    receipt.accounts = Some(state.accounts);
    let mut ledger = bench.ledger()?;
    let mut setup = Setup {
        person: whose,
        ledger: &mut ledger,
        machine: &mut bench.machine,
    };
    for (object, result) in setup.check(&steps_of(&state.subject)?) {
        let done = result.map(|()| "as it was made".to_owned());
        receipt.checks.push(check(
            &object,
            done.map_err(|error| fault_of(&error).causes.join(": ")),
        ));
    }
    receipt.checks.extend(try_out(&bench.directories, &state));
    let held = |check: &Check| check.proof == Proof::Proven;
    if !receipt.checks.iter().all(held) {
        receipt.outcome = SetupOutcome::Incomplete;
    }
    Ok(receipt)
}

fn read_state(
    directories: &MachineDirectories,
) -> Result<Option<(InstalledState, Marker)>, io::Error> {
    let read = |path| match std::fs::read(Path::new(&verbatim(path))) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let Some(bytes) = read(&directories.state)? else {
        return Ok(None);
    };
    let state = InstalledState::from_bytes(&bytes).map_err(io::Error::other)?;
    let marker = read(&directories.marker)?;
    let marker = state.record(&bytes, marker.as_deref()).marker;
    Ok(Some((state, marker)))
}

/// What the Offline account can't do.
fn try_out(directories: &MachineDirectories, state: &InstalledState) -> Vec<Check> {
    let [record, _] = &directories.passwords;
    let name = AccountNames::of(state.subject.person).offline;
    let not_tried = |what: &str, detail: String| Check {
        name: what.to_owned(),
        proof: Proof::NotTried,
        detail,
    };
    let session = match unseal(record) {
        Ok(Some(password)) => LoggedOn::new(&name, &password).map_err(|error| error.to_string()),
        Ok(None) => Err("its password can't be unsealed".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    match session {
        Ok(session) => vec![
            check("denied-write", denied_write(directories, &session)),
            check("refused-connection", refused_connection(state, &session)),
        ],
        Err(reason) => vec![
            not_tried("denied-write", reason.clone()),
            not_tried("refused-connection", reason),
        ],
    }
}

/// The account can't write where the record is, and set-up can.
fn denied_write(directories: &MachineDirectories, session: &LoggedOn) -> Result<String, String> {
    let mut probe = verbatim(&directories.record);
    probe.push(r"\probe");
    let write = || std::fs::write(Path::new(&probe), b"probe");
    let tried = session.act(write).map_err(|error| error.to_string())?;
    let control = write();
    let cleaned = std::fs::remove_file(Path::new(&probe));
    match (tried, control, cleaned) {
        (Ok(()), _, _) => Err("the sandbox account could write the machine's record".to_owned()),
        (Err(error), Ok(()), Ok(())) if error.raw_os_error() == Some(DENIED) => {
            Ok("the sandbox account was denied what set-up could do".to_owned())
        }
        (Err(error), Ok(()), Ok(())) => Err(format!("another error came than a denial: {error}")),
        (_, Err(error), _) | (_, _, Err(error)) => Err(format!("the control failed: {error}")),
    }
}

/// The account can't connect to a port of this machine that is not the proxy's nor dynamic, and set-up can.
fn refused_connection(state: &InstalledState, session: &LoggedOn) -> Result<String, String> {
    let subject = &state.subject;
    let meets = |port: u16| {
        [subject.proxy, subject.dynamic]
            .iter()
            .any(|range| (range.first..=range.last).contains(&port))
    };
    let listener = (10_000..20_000)
        .filter(|port| !meets(*port))
        .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    let listener = listener.ok_or("no port was free to listen on")?;
    let address: SocketAddr = listener.local_addr().map_err(|error| error.to_string())?;
    let connect = || TcpStream::connect_timeout(&address, PATIENCE);
    connect().map_err(|error| format!("the control failed: {error}"))?;
    match session.act(connect).map_err(|error| error.to_string())? {
        Ok(_) => Err(format!("the Offline account connected to {address}")),
        Err(error) if error.raw_os_error() == Some(REFUSED_BY_FILTER) => Ok(format!(
            "the Offline account was refused {address}, which set-up reached"
        )),
        Err(error) => Err(format!("another error came than a refusal: {error}")),
    }
}
