use ringfence_backend::ledger::Ledger;
use ringfence_backend::windows::{MachineBook, Setup, SetupError, StepError};
use ringfence_plan::windows::step::MachineStep;

use super::*;
use crate::ledger_file::{Custody, FileStore};

fn scratch(name: &str) -> WindowsPath {
    let path = std::env::temp_dir().join(format!("ringfence-{name}-{}", std::process::id()));
    let _left = std::fs::remove_dir_all(&path);
    WindowsPath::parse(path.to_str().unwrap()).unwrap()
}

fn is_wine() -> bool {
    system::sid_of("Administrators").is_err()
        || account::user("Guest").is_ok_and(|user| user.is_none())
}

// Negative rung: the system says that it has made a group, and there is none; nothing is left half-made.
#[test]
fn a_group_that_was_never_made_fails_set_up_and_leaves_nothing() {
    if !is_wine() {
        eprintln!("skipped: this would make a group on a real machine");
        return;
    }
    let own = scratch("negative");
    let store = FileStore::new(own.join("machine.ledger").unwrap(), Custody::Inherited).unwrap();
    let mut ledger: Ledger<MachineBook, _> = Ledger::open(store).unwrap();
    let mut machine = WindowsMachine::new(own.clone());
    let step = MachineStep::EnsureGroup {
        name: "Ringfence-TESTER".to_owned(),
        comment: "made by a test".to_owned(),
    };
    let mut setup = Setup {
        person: Sid::new(5, &[21, 1, 2, 3, 1001]).unwrap(),
        ledger: &mut ledger,
        machine: &mut machine,
    };
    match setup.apply(&[step]) {
        Err(SetupError::RolledBack {
            cause: StepError::NotKept { .. } | StepError::Call(_),
            index: 0,
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    assert!(ledger.entries().next().is_none());
    drop(ledger);
    assert!(!Path::new(&own.to_string()).exists(), "the ledger is gone");
}

#[test]
fn what_is_not_ours_is_not_changed() {
    let mut machine =
        WindowsMachine::new(WindowsPath::parse("C:\\ProgramData\\Ringfence").unwrap());
    let descriptor =
        SecurityDescriptor::new(Sid::SYSTEM, Sid::SYSTEM, ringfence_nt::Acl::default());
    for path in [
        "C:\\Windows\\x",
        "C:\\ProgramData\\RingfenceX",
        "C:\\ProgramData",
    ] {
        let path = WindowsPath::parse(path).unwrap();
        let refused = machine.make_directory(&path, &descriptor).unwrap_err();
        assert_eq!(refused.code, REFUSED);
        let id = FileId { volume: 1, file: 1 };
        assert_eq!(
            machine.remove_directory(&path, id).unwrap_err().code,
            REFUSED
        );
    }
    let value = RegistryValue::Dword(1);
    for key in [
        "SOFTWARE",
        "SOFTWARE\\RingfenceX\\y",
        "SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Run",
    ] {
        let refused = machine.set_value(key, "x", &value, None).unwrap_err();
        assert_eq!(refused.code, REFUSED);
        let refused = machine
            .restore_value(key, "x", None, KeyBefore::There)
            .unwrap_err();
        assert_eq!(refused.code, REFUSED);
    }
}

// enforced-by-wine: values of the registry are kept; their descriptors are not.
#[test]
fn a_value_is_set_read_back_and_taken_away_with_its_key() {
    let mut machine = WindowsMachine::new(scratch("registry"));
    let key = format!("SOFTWARE\\Ringfence\\TEST{}", std::process::id());
    let absent = machine.observe_key(&key).unwrap();
    assert_eq!(absent, None);
    machine
        .set_value(&key, "Entropy", &RegistryValue::Random(32), None)
        .unwrap();
    let Some(StoredValue::Binary(bytes)) = machine.observe_value(&key, "Entropy").unwrap() else {
        panic!("it was set");
    };
    assert_eq!(bytes.len(), 32);
    assert!(bytes.iter().any(|byte| *byte != 0));
    machine
        .restore_value(&key, "Entropy", None, KeyBefore::Absent)
        .unwrap();
    assert_eq!(machine.observe_key(&key).unwrap(), None);
    assert_eq!(machine.observe_key("SOFTWARE\\Ringfence").unwrap(), None);
}

#[test]
fn an_exclusion_is_said_in_numbers() {
    let ports = PortRange {
        first: 20_000,
        last: 20_031,
    };
    assert_eq!(
        exclusion("add", ports).join(" "),
        "int ipv4 add excludedportrange protocol=tcp startport=20000 numberofports=32 store=persistent"
    );
}
