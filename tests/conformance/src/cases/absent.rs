//! Protected names that do not exist yet, and repositories that a command makes.

use std::fs;
use std::path::PathBuf;

use super::protected::{NAMES, TOPS, repositories, top};
use super::writes::text;
use crate::checks::{Checks, Failure};
use crate::ground::Ground;
use crate::launch::Launch;
use crate::snapshot::listing;
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "protected.absent",
        promise: "what a command makes under an absent protected name is gone when it has ended, listed and restorable",
        needs: Needs::Full,
        run: absent,
    },
    Case {
        name: "protected.nothing-made",
        promise: "nothing is created for absent names: names and inodes after a run are those from before",
        needs: Needs::Full,
        run: nothing_made,
    },
    Case {
        name: "protected.new-repository",
        promise: "a repository made by the command stays, without its hooks and executable configuration",
        needs: Needs::Full,
        run: new_repository,
    },
];

/// The ways to make something under a name that isn't there.
const MAKERS: &[(&str, &str)] = &[
    ("a file", "echo planted > \"$1\""),
    ("a directory", "mkdir \"$1\" && echo planted > \"$1/inner\""),
    ("a symlink", "ln -s /etc/passwd \"$1\""),
    (
        "a rename of a file",
        "echo planted > made && mv made \"$1\"",
    ),
    (
        "a rename of a directory",
        "mkdir made-d && echo planted > made-d/inner && mv made-d \"$1\"",
    ),
    ("a hard link", "echo planted > origin && ln origin \"$1\""),
];

#[derive(serde::Deserialize)]
struct Quarantined {
    id: String,
    origin: PathBuf,
}

fn quarantined(launch: &Launch<'_>) -> Result<Vec<Quarantined>, Failure> {
    let finished = launch.ringfence(&["quarantine", "list", "--json"])?;
    serde_json::from_slice(&finished.output).map_err(|error| {
        Failure::Meaningless(format!(
            "`quarantine list --json`: {error}: {} {}",
            finished.text(),
            finished.said()
        ))
    })
}

fn absent(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    for relative in TOPS {
        for name in NAMES {
            for (how, script) in MAKERS {
                made(ground, checks, relative, name, how, script)?;
            }
        }
    }
    Ok(())
}

fn made(
    ground: &Ground,
    checks: &mut Checks,
    relative: &str,
    name: &str,
    how: &str,
    script: &str,
) -> Result<(), Failure> {
    // A nested place is a repository only while it has its .git: nothing to plant there.
    if !relative.is_empty() && name == ".git" {
        return Ok(());
    }
    let fixture = ground.fixture()?;
    if !relative.is_empty() {
        fixture.repository(&top(&fixture, relative))?;
    }
    let launch = Launch::new(ground, &fixture);
    let path = top(&fixture, relative).join(name);
    let label = format!("{relative}/{name} as {how}");
    let run = launch.inside(&["/bin/sh", "-c", script, "sh", &text(&path)])?;
    checks.that(
        &format!("{label}: gone from the host"),
        fs::symlink_metadata(&path).is_err(),
        || format!("status {}, {}", run.code(), run.said()),
    );
    // The guard may be so fast that the script itself fails; then there may be nothing left to hold.
    if run.code() != 0 && quarantined(&launch)?.is_empty() {
        return Ok(());
    }
    checks.that(&format!("{label}: told"), run.said().contains(name), || {
        run.said()
    });
    let held = quarantined(&launch)?;
    let Some(entry) = held.iter().find(|entry| entry.origin == path) else {
        checks.that(&format!("{label}: listed"), false, || {
            format!(
                "{:?}",
                held.iter().map(|entry| &entry.origin).collect::<Vec<_>>()
            )
        });
        return Ok(());
    };
    let back = launch.ringfence(&["quarantine", "restore", &entry.id])?;
    checks.that(
        &format!("{label}: restored"),
        fs::symlink_metadata(&path).is_ok(),
        || back.said(),
    );
    Ok(())
}

fn nothing_made(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    for kind in ["empty", "repository", "read-only"] {
        let fixture = ground.fixture()?;
        if kind == "repository" {
            repositories(&fixture)?;
        }
        let options: &[&str] = if kind == "read-only" {
            &["--mode", "read-only"]
        } else {
            &[]
        };
        let launch = Launch::new(ground, &fixture).options(options);
        let before = listing(&fixture.home)?;
        let mut during = String::new();
        for _ in 0..3 {
            during = launch.shell("ls -A; true")?.text();
        }
        checks.same(
            &format!("{kind}: names and inodes"),
            &listing(&fixture.home)?,
            &before,
        );
        let seen = launch.plain(&["ls", "-A"])?.text();
        checks.same(
            &format!("{kind}: inside it looks as outside"),
            &during,
            &seen,
        );
        if kind == "read-only" {
            continue;
        }
        launch.shell("echo x > made; mkdir -p target/debug; echo y > target/debug/out")?;
        let mut after = listing(&fixture.home)?;
        for made in ["made", "target", "target/debug", "target/debug/out"] {
            let own = after.remove(&fixture.workspace.join(made));
            checks.that(
                &format!("{kind}: what the command made is there"),
                own.is_some(),
                || made.to_owned(),
            );
        }
        checks.same(&format!("{kind}: and no more"), &after, &before);
    }
    Ok(())
}

fn new_repository(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let run = launch.shell(
        "git init -q made && cd made && echo '#!/bin/sh' > .git/hooks/post-checkout && \
         chmod +x .git/hooks/post-checkout && git config core.fsmonitor /tmp/evil && \
         git config alias.ok status && git config user.name agent",
    )?;
    checks.same("the command works", &run.code(), &0);
    let git = fixture.workspace.join("made/.git");
    checks.that("the repository stays", git.join("HEAD").is_file(), || {
        run.said()
    });
    checks.that(
        "its hook is gone",
        !git.join("hooks/post-checkout").exists(),
        || run.said(),
    );
    let config = fs::read_to_string(git.join("config")).unwrap_or_default();
    checks.that(
        "its executable configuration is gone",
        !config.contains("evil"),
        || config.clone(),
    );
    checks.that(
        "harmless configuration stays",
        config.contains("agent"),
        || config.clone(),
    );
    let status = launch.plain(&["git", "-C", "made", "status"])?;
    checks.same("the host's git works there", &status.code(), &0);
    let held = quarantined(&launch)?;
    checks.that("it is listed", !held.is_empty(), || run.said());
    Ok(())
}
