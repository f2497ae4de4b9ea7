//! Where a session's windows live: the station of the sign-in, and a desktop of the session's own.
//!
//! Invariant: dropped, the station's list names the session no more.

use ringfence_nt::{SecurityDescriptor, Sid};

use super::OpenError;
use crate::sys::station::{Desktop, Station};
use crate::sys::{CallError, Win32Error};

/// A session's desktop in the station. The last handles to both are ours.
#[derive(Debug)]
pub(in crate::launch) struct Quarters {
    station: Station,
    _desktop: Desktop,
    session: Sid,
    name: String,
}

impl Quarters {
    /// Admits the session to the station, and makes its desktop.
    pub(super) fn make(
        station_descriptor: &SecurityDescriptor,
        desktop_descriptor: &SecurityDescriptor,
        session: Sid,
    ) -> Result<Self, OpenError> {
        let station = Station::of_this_logon(station_descriptor).map_err(OpenError::Desktop)?;
        station
            .admit(station_descriptor)
            .map_err(OpenError::Desktop)?;
        let made = furnish(&station, desktop_descriptor, session);
        match made {
            Ok((desktop, name)) => Ok(Self {
                station,
                _desktop: desktop,
                session,
                name,
            }),
            Err(error) => {
                // The station may outlive this attempt.
                let _ = station.dismiss(session);
                Err(OpenError::Desktop(error))
            }
        }
    }

    /// `station\desktop`, as processes are given it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Quarters {
    fn drop(&mut self) {
        // What stays names a session that no token has any more.
        let _ = self.station.dismiss(self.session);
    }
}

fn furnish(
    station: &Station,
    descriptor: &SecurityDescriptor,
    session: Sid,
) -> Result<(Desktop, String), CallError> {
    let station_name = station.name()?;
    // As random as the session: nobody can have made one of this name.
    let words = session.subauthorities().iter().rev().take(4);
    let name = words.fold("ringfence-".to_owned(), |name, word| {
        format!("{name}{word:08x}")
    });
    let desktop = station.desktop(&name, descriptor)?;
    desktop.verify(descriptor)?;
    let station_name = station_name
        .into_string()
        .map_err(|_| CallError::new("GetUserObjectInformationW", "name", Win32Error(1113)))?;
    Ok((desktop, format!(r"{station_name}\{name}")))
}
