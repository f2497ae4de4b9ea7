use std::os::windows::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use ringfence_nt::Sid;
use ringfence_plan::plan::{Guard, Level};
use ringfence_plan::windows::plan::{Accounts, GrantedRoot};
use ringfence_plan::windows::sids::RootGrant;
use ringfence_plan::windows::step::{FileId, Object, ObjectKind};
use ringfence_policy::document::NewRepositories;

use super::*;

fn path(text: &str) -> WindowsPath {
    WindowsPath::parse(text).unwrap()
}

/// A plan with one root under this file policy.
pub(in crate::backend) fn plan(root: &str, policy: &str) -> WindowsPlan {
    let object = Object {
        path: path(root),
        id: FileId { volume: 1, file: 2 },
        kind: ObjectKind::Directory,
    };
    WindowsPlan {
        level: Level::Full,
        missing: Vec::new(),
        notes: Vec::new(),
        person: Sid::SYSTEM,
        accounts: Accounts::Person,
        marker: Sid::SYSTEM,
        known: Vec::new(),
        machine_steps: Vec::new(),
        machine_hash: String::new(),
        person_steps: Vec::new(),
        roots: vec![GrantedRoot {
            object,
            grant: RootGrant::Write,
            capability: Sid::SYSTEM,
            home: path(r"C:\homes\1"),
            home_sid: Sid::SYSTEM,
            policy: policy.to_owned(),
        }],
        held: Vec::new(),
        collected: Vec::new(),
        guard: Guard {
            absent: Vec::new(),
            roots: Vec::new(),
            new_repositories: NewRepositories::Allow,
            commit_directories: Vec::new(),
        },
        launch: None,
    }
}

/// A person's directory that goes with the test.
struct Person(PathBuf);

impl Person {
    fn new(name: &str) -> Self {
        let directory = format!("ringfence-live-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        let _left = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn sessions(&self) -> LiveSessions {
        LiveSessions::below(&path(self.0.to_str().unwrap()))
    }

    /// Says in the one record that its session lives by other processes.
    fn rewrite(&self, change: impl FnOnce(&mut Vec<Lives>)) {
        let (path, mut record) = self.sessions().records().unwrap().pop().unwrap();
        change(&mut record.lives);
        fs::write(path, serde_json::to_vec(&record).unwrap()).unwrap();
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that lives until its input ends; without a console, whose host would live on.
fn process() -> Child {
    const DETACHED_PROCESS: u32 = 0x8;
    Command::new("cmd")
        .creation_flags(DETACHED_PROCESS)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

// enforced-by-wine: files, and processes with the time of their creation.
#[test]
fn a_root_has_one_policy_while_its_session_is_recorded_and_another_one_after() {
    let person = Person::new("policy");
    let sessions = person.sessions();
    assert!(sessions.observe().unwrap().is_empty());
    let first = sessions.enter(&plan(r"C:\ws", "one")).unwrap();
    let found = sessions.observe().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id, format!("pid-{}", std::process::id()));
    // The controls: the same policy, and another place.
    drop(sessions.enter(&plan(r"C:\ws", "one")).unwrap());
    for root in [r"C:\ws", r"C:\", r"C:\ws\deep"] {
        let refused = sessions.enter(&plan(root, "two")).unwrap_err();
        let LiveError::InTheWay(error) = refused else {
            panic!("{refused:?}");
        };
        assert!(matches!(error, PlanError::RootInUse { .. }), "{root}");
    }
    assert_eq!(
        sessions.observe().unwrap().len(),
        1,
        "the refused left none"
    );
    drop(first);
    assert!(sessions.observe().unwrap().is_empty());
    assert!(sessions.enter(&plan(r"C:\ws", "two")).is_ok());
}

// enforced-by-wine: as above.
#[test]
fn what_a_dead_harness_has_left_is_in_nobodys_way_and_goes() {
    let person = Person::new("dead");
    let sessions = person.sessions();
    let other = plan(r"C:\ws", "two");
    let mut child = process();
    let record = sessions.enter(&plan(r"C:\ws", "one")).unwrap();
    person.rewrite(|lives| *lives = vec![Lives::of(child.id()).unwrap()]);
    // The control: that process lives.
    assert!(matches!(
        sessions.enter(&other),
        Err(LiveError::InTheWay(_))
    ));
    drop(child.stdin.take());
    child.wait().unwrap();
    // It has ended, but its number is held: nobody else has it.
    assert!(sessions.observe().unwrap().is_empty());
    drop(sessions.enter(&other).unwrap());
    assert!(sessions.records().unwrap().is_empty(), "it went");
    drop(record);
    // Its number may be another's by now: this process is younger than what it is said to be.
    let record = sessions.enter(&plan(r"C:\ws", "one")).unwrap();
    person.rewrite(|lives| lives[0].created -= 1);
    assert!(sessions.observe().unwrap().is_empty());
    drop(record);
}

// enforced-by-wine: as above.
#[test]
fn a_session_lives_by_its_runner_when_its_harness_has_died() {
    let person = Person::new("runner");
    let sessions = person.sessions();
    let mut runner = process();
    let mut record = sessions.enter(&plan(r"C:\ws", "one")).unwrap();
    record.add(runner.id()).unwrap();
    person.rewrite(|lives| lives[0].created -= 1);
    assert_eq!(sessions.observe().unwrap().len(), 1);
    drop(runner.stdin.take());
    runner.wait().unwrap();
    assert!(sessions.observe().unwrap().is_empty());
}

// enforced-by-wine: as above.
#[test]
fn a_record_that_can_not_be_read_stops_everybody_and_is_named() {
    let person = Person::new("damaged");
    let sessions = person.sessions();
    drop(sessions.enter(&plan(r"C:\ws", "one")).unwrap());
    let damaged = person.0.join("live").join("0000000000000000.json");
    for content in [&b"\0\0\0\0"[..], b"{}", b""] {
        fs::write(&damaged, content).unwrap();
        for refused in [
            sessions.observe().map(|_| ()).unwrap_err(),
            sessions
                .enter(&plan(r"C:\ws", "one"))
                .map(|_| ())
                .unwrap_err(),
        ] {
            assert!(matches!(refused, LiveError::Damaged { .. }), "{refused:?}");
            assert!(refused.to_string().contains("0000000000000000.json"));
        }
    }
    // One that is being written is none yet.
    fs::rename(&damaged, damaged.with_extension(UNFINISHED)).unwrap();
    assert!(sessions.enter(&plan(r"C:\ws", "one")).is_ok());
}
