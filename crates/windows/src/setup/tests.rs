use ringfence_backend::windows::{Proof, REQUEST_VERSION};
use ringfence_plan::windows::filters::FilterForm;
use ringfence_plan::windows::sids::{SidSecret, SidShape, marker};
use ringfence_plan::windows::step::PortRange;
use ringfence_policy::document::Loopback;

use super::*;

fn request() -> SetupRequest {
    let person = person().unwrap();
    let subject = Subject {
        person,
        name: system::name_of(person).unwrap().unwrap().name,
        program_data: program_data().unwrap(),
        marker: marker(&SidSecret::new([7; 32]), SidShape::Null, person),
        proxy: PortRange {
            first: 20_000,
            last: 20_031,
        },
        dynamic: observe_dynamic_ports(),
        loopback: Loopback::Dynamic,
        form: FilterForm::Named,
    };
    SetupRequest {
        version: REQUEST_VERSION,
        plan: subject.hash().unwrap(),
        subject,
        caller: Some(std::process::id()),
    }
}

fn order(verb: SetupVerb, request: Option<&SetupRequest>) -> Order<'_> {
    Order {
        verb,
        request,
        consented: request.map_or("", |request| &request.plan),
        on_damage: OnDamage::List,
        watch: |_| ControlFlow::Continue(()),
    }
}

fn is_wine() -> bool {
    !enforcement::is_enforced(&enforcement::observe())
}

// Negative rung: wine answers yes to most calls, and set-up must notice before it touches anything.
#[test]
fn a_system_that_enforces_nothing_is_refused_with_nothing_half_made() {
    if !is_wine() {
        eprintln!("skipped: this would set a real machine up");
        return;
    }
    let request = request();
    let top = MachineDirectories::below(&request.subject.program_data, request.subject.person)
        .unwrap()
        .top;
    for verb in [SetupVerb::Install, SetupVerb::Repair, SetupVerb::Verify] {
        let receipt = run(&order(verb, Some(&request)));
        assert_eq!(receipt.outcome, SetupOutcome::NotEnforced, "{receipt:?}");
        let failed: Vec<&str> = receipt
            .checks
            .iter()
            .filter(|check| check.proof == Proof::Failed)
            .map(|check| check.name.as_str())
            .collect();
        assert!(failed.contains(&"restricted-tokens"), "{failed:?}");
        assert!(failed.contains(&"network-filters"), "{failed:?}");
        assert!(!std::path::Path::new(&top.to_string()).exists());
        assert_eq!(receipt.changed, Vec::<String>::new());
        assert_eq!(receipt.machine_hash, None);
    }
}

// Negative rung: where the ledger's directory can't be made as it must be, an uninstall takes nothing back, looks all the
// same, and leaves nothing.
#[test]
fn an_uninstall_on_a_system_that_enforces_nothing_ends_with_a_look_and_leaves_nothing() {
    if !is_wine() {
        eprintln!("skipped: this would uninstall from a real machine");
        return;
    }
    let request = request();
    let top = MachineDirectories::below(&request.subject.program_data, request.subject.person)
        .unwrap()
        .top;
    for on_damage in [OnDamage::List, OnDamage::TakeBack] {
        let receipt = run(&Order {
            on_damage,
            ..order(SetupVerb::Uninstall, Some(&request))
        });
        assert!(
            matches!(
                receipt.outcome,
                SetupOutcome::Left | SetupOutcome::Failed | SetupOutcome::Refused
            ),
            "{receipt:?}"
        );
        assert!(!receipt.faults.is_empty());
        assert!(receipt.undone.is_empty());
        assert!(!std::path::Path::new(&top.to_string()).exists(), "{top}");
    }
}

#[test]
fn an_error_says_its_causes_and_the_cure_of_its_code() {
    let error = SetupFault::Setup(SetupError::Scan(CallFailure::new("LogonUserW", "x", 1385)));
    let fault = fault_of(&error);
    assert_eq!(fault.causes.len(), 3);
    assert_eq!(fault.code, Some(1385));
    assert!(fault.hint.unwrap().contains("Allow log on locally"));
    let plain = fault_of(&SetupFault::Directories);
    assert_eq!((plain.code, plain.hint), (None, None));
}

#[test]
fn without_a_request_nothing_is_installed() {
    let receipt = run(&order(SetupVerb::Install, None));
    assert_eq!(receipt.outcome, SetupOutcome::Refused);
}

#[test]
fn the_place_of_the_record_is_the_systems_or_nothing_is_put_there() {
    for owner in [Sid::SYSTEM, Sid::ADMINISTRATORS, Sid::TRUSTED_INSTALLER] {
        assert!(is_the_systems(Some(owner)));
    }
    let person = Sid::new(5, &[21, 1, 2, 3, 1001]).unwrap();
    for owner in [Some(person), Some(Sid::USERS), Some(Sid::EVERYONE), None] {
        assert!(!is_the_systems(owner), "{owner:?}");
    }
    let told = SetupFault::ForeignData {
        path: r"C:\Users\ann\data".to_owned(),
        owner: person.to_string(),
    };
    let receipt = refused(SetupVerb::Install, &told);
    assert_eq!(receipt.outcome, SetupOutcome::Refused);
    assert!(receipt.faults[0].causes[0].contains(r"C:\Users\ann\data"));
}

// plumbing-only: whose directories are, wine tells in its own way; that a directory of one's own is looked at, it tells.
#[test]
fn a_directory_of_a_persons_own_is_told_with_its_owner() {
    let own = std::env::temp_dir();
    let path = WindowsPath::parse(own.to_str().unwrap().trim_end_matches('\\')).unwrap();
    match check_owners(&path) {
        Ok(()) => {}
        Err(SetupFault::ForeignData { path, owner }) => {
            assert!(!path.is_empty() && owner.starts_with("S-1-"));
        }
        Err(error) => panic!("{error}: {:?}", error.source()),
    }
    let absent = path.join("ringfence-no-such-directory").unwrap();
    assert!(matches!(check_owners(&absent), Err(SetupFault::Call(_))));
}
