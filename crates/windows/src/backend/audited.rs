//! An audit of this machine for the person whose process this is, and the record of it that later plans read.
//!
//! Invariant: nothing is recorded on a system that restricts nothing.

use ringfence_backend::windows::InstalledState;
use ringfence_nt::Sid;
use ringfence_plan::windows::audit::{AuditRecord, AuditReport, Audited as Place, LINKS, Probe};

use super::person::{PersonError, PersonFiles};
use crate::audit::{self, Audited, Sessions};
use crate::files::failure;
use crate::observe::machine::{self, MachineError, observe_dynamic_ports};
use crate::sys::machine as system;

/// Asks everything of this machine, and keeps what was measured of its network filters. `lacks` is what nothing holds in
/// the sessions that are opened.
///
/// # Errors
/// [`PersonError`]: what the person keeps can't be read or written.
pub fn audit(
    sessions: &mut dyn Sessions,
    lacks: Option<&'static str>,
) -> Result<AuditReport, PersonError> {
    let files = PersonFiles::open()?;
    let person = machine::person()?;
    let state = files.state(person)?;
    let ports = files.kept()?.ports;
    let report = audit::run(
        sessions,
        Audited {
            dynamic: ports.map_or_else(observe_dynamic_ports, |ports| ports.dynamic),
            installed: state
                .as_ref()
                .map(|state| (state.subject.proxy, state.subject.form)),
            lacks,
        },
    );
    if report.second_pass.is_some() {
        let place = place(person, state.as_ref(), report.build)?;
        let record = AuditRecord::after(report.clone(), place, files.audit()?.as_ref());
        files.keep_audit(&record)?;
    }
    Ok(report)
}

/// Measures what a further name of a file asks for, where no record of this machine and these accounts says it, and
/// keeps that; `None` where it is known.
///
/// # Errors
/// [`PersonError`]: what the person keeps can't be read or written.
pub fn measure_links(sessions: &mut dyn Sessions) -> Result<Option<Probe>, PersonError> {
    let files = PersonFiles::open()?;
    let person = machine::person()?;
    let state = files.state(person)?;
    let here = place(person, state.as_ref(), audit::build())?;
    let earlier = files.audit()?;
    let known = earlier.as_ref().filter(|earlier| earlier.on == here);
    if known.is_some_and(|known| known.last.links().is_some()) {
        return Ok(None);
    }
    let report = audit::links(sessions, known.map(|known| known.last.clone()));
    let found = report.probes.iter().find(|probe| probe.name == LINKS);
    let found = found.cloned();
    if report.second_pass.is_some() {
        files.keep_audit(&AuditRecord::after(report, here, earlier.as_ref()))?;
    }
    Ok(found)
}

/// What is measured now is measured on this.
fn place(person: Sid, state: Option<&InstalledState>, build: u32) -> Result<Place, PersonError> {
    let name = system::computer_name().map_err(called)?;
    let found = system::sid_of(&name).map_err(called)?;
    Ok(Place {
        machine: found.ok_or(MachineError::NoMachineSid(name))?,
        person,
        offline: state.map(|state| state.accounts.offline),
        build,
    })
}

fn called(error: crate::sys::CallError) -> PersonError {
    PersonError::Place(MachineError::Call(failure(error)))
}
