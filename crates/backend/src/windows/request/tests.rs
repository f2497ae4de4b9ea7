use ringfence_plan::windows::sids::{self, SidSecret, SidShape};
use ringfence_policy::document::Loopback;

use super::*;
use crate::windows::tests::stored::{stored_plan, stored_subject};

fn here(subject: &Subject) -> Surroundings {
    Surroundings {
        program_data: subject.program_data.clone(),
        machine: Sid::new(5, &[21, 1, 2, 3]).unwrap(),
        name: subject.name.clone(),
        dynamic: subject.dynamic,
        marker_is_an_account: false,
    }
}

fn request() -> SetupRequest {
    let subject = stored_subject("windows-plain");
    SetupRequest {
        version: REQUEST_VERSION,
        plan: subject.hash().unwrap(),
        subject,
        caller: Some(4711),
    }
}

/// A request whose hash fits, whatever it chooses.
fn asking(change: impl FnOnce(&mut Subject)) -> (SetupRequest, Surroundings) {
    let mut request = request();
    let here = here(&request.subject);
    change(&mut request.subject);
    request.plan = request.subject.hash().unwrap();
    (request, here)
}

#[test]
fn the_steps_made_from_a_request_are_the_plans() {
    let plan = stored_plan("windows-plain");
    let request = request();
    assert_eq!(request.plan, plan.machine_hash);
    let steps = admit(&request, &plan.machine_hash, &here(&request.subject)).unwrap();
    assert_eq!(steps, plan.machine_steps);
    let bytes = serde_json::to_vec(&request).unwrap();
    assert_eq!(read_request(&bytes).unwrap(), request);
}

#[test]
fn what_was_not_consented_to_is_refused() {
    let (request, here) = asking(|subject| subject.loopback = Loopback::ProxyOnly);
    let consented = stored_plan("windows-plain").machine_hash;
    assert_eq!(
        admit(&request, &consented, &here),
        Err(RequestError::Hash {
            made: request.plan.clone(),
            consented: consented.clone(),
        })
    );
    let mut claimed = request.clone();
    claimed.plan = consented;
    assert!(matches!(
        admit(&claimed, &request.plan, &here),
        Err(RequestError::Hash { .. })
    ));
    assert!(admit(&request, &request.plan, &here).is_ok(), "the control");
}

#[test]
fn a_request_for_somebody_else_is_not_what_was_consented_to() {
    let request = request();
    assert_eq!(agreed(&request, &request.plan), Ok(()), "the control");
    assert!(agreed(&request, "").is_err(), "nobody consented");
    // Written over between the consent and the reading: another person, with the hash that fits them.
    let (theirs, _) = asking(|one| one.person = Sid::new(5, &[21, 1, 2, 3, 1002]).unwrap());
    assert!(matches!(
        agreed(&theirs, &request.plan),
        Err(RequestError::Hash { .. })
    ));
    assert!(agreed(&theirs, &theirs.plan).is_ok(), "the control");
}

#[test]
fn nothing_that_a_request_chooses_can_hurt_somebody_else() {
    let field = |change: fn(&mut Subject)| {
        let (request, here) = asking(change);
        match admit(&request, &request.plan, &here) {
            Err(RequestError::Value { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(field(|one| one.person = Sid::SYSTEM), "person");
    assert_eq!(field(|one| one.person = Sid::ADMINISTRATORS), "person");
    assert_eq!(field(|one| one.name = "Administrator\r\n".into()), "name");
    let elsewhere = |one: &mut Subject| {
        one.program_data = WindowsPath::parse("C:\\Windows\\System32").unwrap();
    };
    assert_eq!(field(elsewhere), "program_data");
    // A marker that is somebody: filters would block them, and their profile's owner would be denied.
    assert_eq!(field(|one| one.marker = Sid::EVERYONE), "marker");
    assert_eq!(field(|one| one.marker = one.person), "marker");
    let local = |one: &mut Subject| one.marker = Sid::new(5, &[21, 1, 2, 3, 500]).unwrap();
    assert_eq!(field(local), "marker");
    let placeholder = |one: &mut Subject| one.marker = sids::Placeholder::Offline.sid();
    assert_eq!(field(placeholder), "marker");
    assert_eq!(field(|one| one.proxy.first = 1), "proxy ports");
    assert_eq!(field(|one| one.proxy.last = u16::MAX), "proxy ports");
    let low = |one: &mut Subject| {
        one.proxy = PortRange {
            first: 400,
            last: 431,
        };
    };
    assert_eq!(field(low), "proxy ports");
    assert_eq!(field(|one| one.dynamic.first = 1), "dynamic ports");
}

#[test]
fn a_marker_in_the_shape_of_an_account_is_taken_where_it_is_nobodys() {
    let secret = SidSecret::new([9; 32]);
    let (request, mut here) =
        asking(|one| one.marker = sids::marker(&secret, SidShape::Domain, one.person));
    assert!(admit(&request, &request.plan, &here).is_ok());
    here.marker_is_an_account = true;
    assert!(admit(&request, &request.plan, &here).is_err());
}

#[test]
fn a_request_of_another_shape_is_refused() {
    let mut value = serde_json::to_value(request()).unwrap();
    value["version"] = 2.into();
    let later = serde_json::to_vec(&value).unwrap();
    assert_eq!(
        read_request(&later),
        Err(RequestError::Version { found: 2 })
    );
    value["version"] = 1.into();
    value["steps"] = serde_json::json!([]);
    let more = serde_json::to_vec(&value).unwrap();
    for bytes in [more.as_slice(), b"", b"{}", &[0; 100], &vec![b' '; 70_000]] {
        assert!(matches!(
            read_request(bytes),
            Err(RequestError::Unreadable { .. })
        ));
    }
}
