//! What a session has left, found while it goes on and at its end.

use super::*;

#[test]
fn what_the_session_planted_is_gone_and_what_a_person_made_stays() {
    let bench = bench(Require::Full);
    let work = bench.workspace.as_path();
    let host = bench.host.clone().with_script(
        vec![
            touched(&work.join(".envrc")),
            touched(&work.join("sub/.git/config")),
            touched(&work.join("moved")),
            // Seen to appear while the session made nothing; of `.cursor` nobody saw anything.
            Event::Remounted {
                path: AbsolutePath::new(work.join(".mcp.json")).unwrap(),
                restored: true,
            },
        ],
        Outcome {
            ending: Ending::Exited(0),
            cpu_microseconds: 0,
        },
    );
    let mut session = bench.start(&host).unwrap();
    let absent: Vec<_> = bench
        .plan
        .guard
        .absent
        .iter()
        .map(|name| name.path.as_path())
        .collect();
    assert!(
        absent.contains(&work.join(".envrc").as_path()),
        "{absent:?}"
    );
    fs::write(work.join(".envrc"), "planted").unwrap();
    fs::write(work.join(".mcp.json"), "the person's").unwrap();
    fs::create_dir(work.join(".cursor")).unwrap();
    for repository in ["sub", "moved/deeper"] {
        let hooks = work.join(repository).join(".git/hooks");
        fs::create_dir_all(&hooks).unwrap();
        fs::write(hooks.join("pre-commit"), "#!/bin/sh\n").unwrap();
    }
    fs::write(
        work.join("sub/.git/config"),
        "[core]\n\tbare = false\n\tfsmonitor = x\n",
    )
    .unwrap();
    let report = run(&mut session, Afterwards::End).unwrap();
    assert!(!work.join(".envrc").exists());
    assert!(work.join(".mcp.json").exists());
    assert!(!work.join(".cursor").exists());
    assert!(!work.join("sub/.git/hooks").exists());
    assert!(!work.join("moved/deeper/.git/hooks").exists());
    let config = fs::read_to_string(work.join("sub/.git/config")).unwrap();
    assert!(
        config.contains("bare") && !config.contains("fsmonitor"),
        "{config}"
    );
    assert_eq!(report.quarantined.len(), 5);
    assert!(
        report.notes.iter().any(|note| note.contains(".mcp.json")),
        "{:?}",
        report.notes
    );
    let listing = Quarantine::open(&bench.state).list().unwrap();
    assert_eq!(listing.entries.len(), 5);
}

#[test]
fn while_a_session_goes_on_what_may_be_there_is_looked_for_and_at_its_end_everything() {
    let bench = bench_with(PolicyDocument::default(), |work| {
        fs::create_dir_all(work.join("sub/.git")).unwrap();
    });
    let work = bench.workspace.as_path();
    let moved_by = |said: Vec<Event>, planted: &[&str]| {
        let host = bench.host.clone().with_script(said, SUCCESS);
        let mut session = bench.start(&host).unwrap();
        for name in planted {
            fs::write(work.join(name), "planted").unwrap();
        }
        let command = run(&mut session, Afterwards::Stay).unwrap().quarantined;
        let end = session.end().unwrap().quarantined;
        let names = |entries: Vec<crate::quarantine::Entry>| -> Vec<_> {
            let relative = |entry: crate::quarantine::Entry| {
                let path = entry.origin.as_path().strip_prefix(work).unwrap();
                path.to_str().unwrap().to_owned()
            };
            entries.into_iter().map(relative).collect()
        };
        (names(command), names(end))
    };
    let planted = [".envrc", "sub/.envrc"];
    let is_guarded = |name: &&str| {
        let mut absent = bench.plan.guard.absent.iter();
        absent.any(|absent| absent.path.as_path() == work.join(name))
    };
    assert!(planted.iter().all(is_guarded));
    let all = planted.map(str::to_owned).to_vec();
    let touched = |name: &str| touched(&work.join(name));
    let remounted = |name: &str| Event::Remounted {
        path: AbsolutePath::new(work.join(name)).unwrap(),
        restored: true,
    };
    // The kernel tells the runner of every name in these directories: of what it does not tell nothing is there.
    assert_eq!(moved_by(vec![], &planted), (vec![], all.clone()));
    let one = vec!["sub/.envrc".to_owned()];
    let other = vec![".envrc".to_owned()];
    assert_eq!(
        moved_by(vec![touched("sub/.envrc")], &planted),
        (one.clone(), other.clone())
    );
    // Another directory stands where one was watched: whatever is in it now, nobody was told.
    assert_eq!(
        moved_by(vec![remounted("sub")], &planted),
        (one, other.clone())
    );
    // One that somebody else made is theirs, also at the end.
    assert_eq!(
        moved_by(vec![remounted("sub/.envrc")], &planted),
        (vec![], other)
    );
}

#[test]
fn names_in_directories_that_nobody_could_watch_are_looked_for_after_every_command() {
    let command_line = PolicyDocument {
        filesystem: ringfence_policy::document::FilesystemDocument {
            protected: vec!["infra/prod".to_owned()],
            ..Default::default()
        },
        ..PolicyDocument::default()
    };
    let bench = bench_with(command_line, |_| {});
    let host = bench.host.clone().with_script(Vec::new(), SUCCESS);
    let mut session = bench.start(&host).unwrap();
    let directory = bench.workspace.as_path().join("infra");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("prod"), "planted").unwrap();
    let report = run(&mut session, Afterwards::Stay).unwrap();
    assert_eq!(report.quarantined.len(), 1);
    assert!(!directory.join("prod").exists());
}

#[test]
fn a_session_that_is_dropped_or_ended_is_swept_of_what_came_after_its_last_command() {
    let bench = bench(Require::Full);
    let work = bench.workspace.as_path();
    let planted = work.join(".envrc");
    let script = vec![touched(&planted)];
    let host = bench.host.clone().with_script(script, SUCCESS);

    let (mut session, lines) = bench.start_recorded(&host);
    assert_eq!(run(&mut session, Afterwards::Stay).unwrap().quarantined, []);
    fs::write(&planted, "by a process that was left running").unwrap();
    let swept = session.end().unwrap();
    assert_eq!(swept.quarantined.len(), 1);
    assert!(!planted.exists());
    assert_eq!(lines.names().last().unwrap(), "session.end");

    let (mut session, lines) = bench.start_recorded(&host);
    let _ = run(&mut session, Afterwards::Stay).unwrap();
    fs::write(&planted, "again").unwrap();
    drop(session);
    assert!(!planted.exists());
    assert_eq!(host.world().in_force, []);
    let names = lines.names();
    assert_eq!(
        names[names.len() - 2..],
        ["guard.quarantined", "session.end"]
    );

    // Where no command has run, nobody but the person can have made it.
    let (session, lines) = bench.start_recorded(&host);
    fs::write(&planted, "the person's").unwrap();
    drop(session);
    assert!(planted.exists());
    assert!(!lines.names().contains(&"guard.quarantined".to_owned()));
}
