//! What a session leaves in repositories, and what is taken from them.

use super::*;

/// A git directory as `git init` leaves it.
fn init_repository(directory: &Path) {
    fs::create_dir_all(directory.join("objects")).unwrap();
    fs::create_dir_all(directory.join("refs/heads")).unwrap();
    fs::write(directory.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    fs::write(directory.join("config"), "[core]\n\tbare = false\n").unwrap();
}

#[test]
fn a_new_repository_is_moved_away_whole_where_the_policy_says_so() {
    for (new_repositories, moved) in [
        (NewRepositories::Quarantine, true),
        (NewRepositories::Clean, false),
        (NewRepositories::Allow, false),
    ] {
        let mut document = PolicyDocument::default();
        document.filesystem.new_repositories = Some(new_repositories);
        let bench = bench_with(document, |_| {});
        let work = bench.workspace.as_path();
        let script = vec![
            touched(&work.join("sub/.git/HEAD")),
            touched(&work.join("bare.git/HEAD")),
            touched(&work.join("plain/config")),
        ];
        let host = bench.host.clone().with_script(script, SUCCESS);
        let mut session = bench.start(&host).unwrap();
        init_repository(&work.join("sub/.git"));
        init_repository(&work.join("bare.git"));
        fs::create_dir(work.join("plain")).unwrap();
        fs::write(work.join("plain/config"), "a program's own").unwrap();
        fs::write(work.join("sub/file"), "work").unwrap();
        let report = run(&mut session, Afterwards::End).unwrap();
        let mut origins: Vec<_> = report
            .quarantined
            .iter()
            .map(|entry| entry.origin.as_path().to_owned())
            .collect();
        origins.sort();
        let expected = if moved {
            vec![work.join("bare.git"), work.join("sub/.git")]
        } else {
            Vec::new()
        };
        assert_eq!(origins, expected, "{new_repositories:?}");
        assert_eq!(work.join("sub/.git").exists(), !moved);
        assert_eq!(work.join("bare.git").exists(), !moved);
        // What is no repository stays, and so does the work beside one.
        assert!(work.join("plain/config").exists() && work.join("sub/file").exists());
    }
}

#[test]
fn a_rebase_that_would_run_commands_is_moved_away_and_an_older_one_stays() {
    let mut document = PolicyDocument::default();
    document.filesystem.git = Some(GitAccess::Commit);
    for (todo, runs) in [
        ("pick 1234567 a\nexec make evil\n", true),
        ("pick 1234567 a\nx make evil\n", true),
        ("pick 1234567 a\nreword 89abcde b\n", false),
    ] {
        let bench = bench_with(document.clone(), |work| init_repository(&work.join(".git")));
        let git = bench.workspace.as_path().join(".git");
        assert!(
            bench
                .plan
                .guard
                .commit_directories
                .iter()
                .any(|directory| directory.as_path() == git)
        );
        let host = bench.host.clone().with_script(Vec::new(), SUCCESS);
        let mut session = bench.start(&host).unwrap();
        for name in ["rebase-merge", "rebase-apply"] {
            fs::create_dir(git.join(name)).unwrap();
            fs::write(git.join(name).join("git-rebase-todo"), todo).unwrap();
        }
        let report = run(&mut session, Afterwards::Stay).unwrap();
        assert_eq!(report.quarantined.len(), if runs { 2 } else { 0 }, "{todo}");
        assert_eq!(git.join("rebase-merge").exists(), !runs, "{todo}");
        let words: Vec<_> = report
            .quarantined
            .iter()
            .map(|entry| entry.reason.words())
            .collect();
        assert!(
            words
                .iter()
                .all(|words| words == "open rebase with commands")
        );
        drop(session);
    }
    // One that the person had left open is the person's; a command that is added to it is not.
    let bench = bench_with(document, |work| {
        init_repository(&work.join(".git"));
        fs::create_dir(work.join(".git/rebase-merge")).unwrap();
        fs::write(
            work.join(".git/rebase-merge/git-rebase-todo"),
            "exec make test\n",
        )
        .unwrap();
    });
    let open = bench.workspace.as_path().join(".git/rebase-merge");
    let host = bench.host.clone().with_script(Vec::new(), SUCCESS);
    let mut session = bench.start(&host).unwrap();
    assert_eq!(run(&mut session, Afterwards::Stay).unwrap().quarantined, []);
    assert!(open.exists());
    fs::write(
        open.join("git-rebase-todo"),
        "exec make test\nexec make evil\n",
    )
    .unwrap();
    let report = run(&mut session, Afterwards::End).unwrap();
    assert_eq!(report.quarantined.len(), 1);
    assert!(!open.exists());
}

#[test]
fn a_new_repository_is_found_where_nobody_watched_or_the_watcher_was_lost() {
    let hooked = |directory: &Path| {
        init_repository(directory);
        fs::create_dir(directory.join("hooks")).unwrap();
        fs::write(directory.join("hooks/post-checkout"), "#!/bin/sh\n").unwrap();
    };
    for (new_repositories, observe, fault) in [
        (NewRepositories::Clean, Observe::Off, None),
        (NewRepositories::Quarantine, Observe::Off, None),
        (
            NewRepositories::Clean,
            Observe::Writes,
            Some(Fault::CrashWhileRunning),
        ),
        (
            NewRepositories::Quarantine,
            Observe::Writes,
            Some(Fault::CrashWhileRunning),
        ),
        (NewRepositories::Allow, Observe::Off, None),
        // The control: a watcher that says nothing is believed.
        (NewRepositories::Clean, Observe::Writes, None),
    ] {
        let words = format!("{new_repositories:?} {observe:?} {fault:?}");
        let mut document = PolicyDocument::default();
        document.filesystem.new_repositories = Some(new_repositories);
        let bench = bench_with(document, |work| {
            hooked(&work.join(".git"));
            fs::create_dir_all(work.join("node_modules/a")).unwrap();
            init_repository(&work.join("node_modules/a/.git"));
        });
        let work = bench.workspace.as_path();
        let mut host = bench.host.clone().with_script(Vec::new(), SUCCESS);
        if let Some(fault) = fault {
            host = host.with_fault(fault);
        }
        let options = SessionOptions {
            observe,
            ..SessionOptions::default()
        };
        let mut session = Session::start_on(&host, &bench.policy, &bench.state, options).unwrap();
        hooked(&work.join("deep/below/sub/.git"));
        hooked(&work.join("bare"));
        std::os::unix::fs::symlink("/", work.join("link")).unwrap();
        let quarantined = match run(&mut session, Afterwards::End) {
            Ok(report) => report.quarantined,
            Err(error) => error.swept().unwrap().quarantined.clone(),
        };
        let mut origins: Vec<_> = quarantined
            .iter()
            .map(|entry| entry.origin.as_path().to_owned())
            .collect();
        origins.sort();
        let unseen = observe == Observe::Off || fault.is_some();
        let expected = match new_repositories {
            NewRepositories::Clean if unseen => {
                vec![
                    work.join("bare/hooks"),
                    work.join("deep/below/sub/.git/hooks"),
                ]
            }
            NewRepositories::Quarantine => {
                vec![work.join("bare"), work.join("deep/below/sub/.git")]
            }
            NewRepositories::Clean | NewRepositories::Allow => Vec::new(),
        };
        assert_eq!(origins, expected, "{words}");
        // What was there before stays: it was protected, or holds nothing that runs.
        assert!(work.join(".git/hooks/post-checkout").exists(), "{words}");
        assert!(work.join("node_modules/a/.git/HEAD").exists(), "{words}");
    }
}
