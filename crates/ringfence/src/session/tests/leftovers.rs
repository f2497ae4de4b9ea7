//! What a session leaves whose harness was killed, and who takes it away.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::*;
use crate::sweep::sweep_leftovers;

fn records(bench: &Bench) -> Vec<PathBuf> {
    let directory = bench.state.path().as_path().join("sessions");
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Runs a session to its end and leaves its record behind, as a killed harness does. `ended` is when its runner saw
/// the last process end.
fn kill_a_session(bench: &Bench, ended: SystemTime) -> PathBuf {
    let session = bench.start(&bench.host).unwrap();
    let record = records(bench).pop().unwrap();
    let content = fs::read(&record).unwrap();
    drop(session);
    assert_eq!(
        records(bench),
        Vec::<PathBuf>::new(),
        "an end leaves a record"
    );
    fs::write(&record, content).unwrap();
    fs::set_permissions(&record, fs::Permissions::from_mode(0o600)).unwrap();
    File::options()
        .write(true)
        .open(&record)
        .unwrap()
        .set_modified(ended)
        .unwrap();
    record
}

fn plant(work: &Path) {
    fs::write(work.join(".envrc"), "planted").unwrap();
    fs::create_dir_all(work.join("sub/.git/hooks")).unwrap();
    fs::write(work.join("sub/.git/hooks/pre-commit"), "#!/bin/sh\n").unwrap();
}

#[test]
fn a_killed_session_is_swept_before_the_next_one_is_planned() {
    let bench = bench(Require::Full);
    let work = bench.workspace.as_path();
    plant(work);
    kill_a_session(&bench, SystemTime::UNIX_EPOCH);
    // Ending the session swept nothing: no command had been asked for.
    assert!(work.join(".envrc").exists());
    let mut session = bench.start(&bench.host).unwrap();
    assert!(!work.join(".envrc").exists());
    assert!(!work.join("sub/.git/hooks").exists());
    let report = run(&mut session, Afterwards::End).unwrap();
    assert_eq!(report.quarantined.len(), 2);
    assert!(
        report.notes.iter().any(|note| note.contains("was killed")),
        "{:?}",
        report.notes
    );
    drop(session);
    assert_eq!(records(&bench), Vec::<PathBuf>::new());
    assert_eq!(sweep_leftovers(&bench.state), Leftovers::default());
}

#[test]
fn a_live_session_is_left_alone() {
    let bench = bench(Require::Full);
    let work = bench.workspace.as_path();
    let session = bench.start(&bench.host).unwrap();
    plant(work);
    let leftovers = sweep_leftovers(&bench.state);
    assert_eq!((leftovers.live, leftovers.dead), (1, 0));
    assert!(work.join(".envrc").exists());
    assert_eq!(records(&bench).len(), 1);
    drop(session);
    // The control: the same without a life behind it is taken.
    kill_a_session(&bench, SystemTime::UNIX_EPOCH);
    let leftovers = sweep_leftovers(&bench.state);
    assert_eq!((leftovers.live, leftovers.dead), (0, 1));
    assert!(!work.join(".envrc").exists());
}

#[test]
fn what_was_made_after_the_end_stays() {
    for (before, stays) in [(Duration::from_mins(1), true), (Duration::ZERO, false)] {
        let bench = bench(Require::Full);
        let work = bench.workspace.as_path();
        kill_a_session(&bench, SystemTime::now() - before);
        plant(work);
        let leftovers = sweep_leftovers(&bench.state);
        assert_eq!(work.join(".envrc").exists(), stays, "{before:?}");
        assert_eq!(work.join("sub/.git/hooks").exists(), stays, "{before:?}");
        let said = leftovers.swept.notes.concat();
        assert_eq!(said.contains(".envrc appeared after"), stays, "{said}");
    }
}

#[test]
fn a_record_that_is_not_whole_is_said_and_kept() {
    let bench = bench(Require::Full);
    let work = bench.workspace.as_path();
    plant(work);
    let record = kill_a_session(&bench, SystemTime::UNIX_EPOCH);
    let content = fs::read(&record).unwrap();
    fs::write(&record, &content[..content.len() / 2]).unwrap();
    let leftovers = sweep_leftovers(&bench.state);
    assert_eq!((leftovers.dead, leftovers.unswept), (0, 1));
    assert!(work.join(".envrc").exists() && record.exists());
    let said = leftovers.swept.notes.concat();
    assert!(said.contains("WARNING"), "{said}");
    // One that was never finished is of a session in which nothing ran.
    fs::rename(&record, record.with_extension("new")).unwrap();
    assert_eq!(sweep_leftovers(&bench.state), Leftovers::default());
    assert_eq!(records(&bench), Vec::<PathBuf>::new());
}

#[test]
fn a_workspace_that_is_gone_is_said() {
    let bench = bench(Require::Full);
    kill_a_session(&bench, SystemTime::UNIX_EPOCH);
    fs::remove_dir(bench.workspace.as_path()).unwrap();
    let leftovers = sweep_leftovers(&bench.state);
    assert_eq!((leftovers.dead, leftovers.unswept), (1, 1));
    let said = leftovers.swept.notes.concat();
    assert!(said.contains("is not there now"), "{said}");
    assert_eq!(records(&bench), Vec::<PathBuf>::new());
}
