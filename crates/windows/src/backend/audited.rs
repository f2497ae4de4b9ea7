//! An audit of this machine for the person whose process this is, and the record of it that later plans read.
//!
//! Invariant: nothing is recorded on a system that restricts nothing.

use ringfence_plan::windows::audit::{AuditRecord, AuditReport, Audited as Place};

use super::person::{PersonError, PersonFiles};
use crate::audit::{self, Audited, Sessions};
use crate::files::failure;
use crate::observe::machine::{self, MachineError, observe_dynamic_ports};
use crate::sys::machine as system;

/// Asks everything of this machine, and keeps what was measured of its network filters.
///
/// # Errors
/// [`PersonError`]: what the person keeps can't be read or written.
pub fn audit(sessions: &mut dyn Sessions) -> Result<AuditReport, PersonError> {
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
        },
    );
    if report.second_pass.is_some() {
        let name = system::computer_name().map_err(called)?;
        let found = system::sid_of(&name).map_err(called)?;
        let place = Place {
            machine: found.ok_or(MachineError::NoMachineSid(name))?,
            person,
            offline: state.map(|state| state.accounts.offline),
            build: report.build,
        };
        let record = AuditRecord::after(report.clone(), place, files.audit()?.as_ref());
        files.keep_audit(&record)?;
    }
    Ok(report)
}

fn called(error: crate::sys::CallError) -> PersonError {
    PersonError::Place(MachineError::Call(failure(error)))
}
