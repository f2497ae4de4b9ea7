//! Large trees and many globs: what a second session finds out anew, counted, and that it misses nothing.

use std::path::Path;

use super::secrets::{CONTENT, hidden};
use super::writes::text;
use crate::checks::{Checks, Context, Failure};
use crate::fixture::Fixture;
use crate::ground::Ground;
use crate::launch::Launch;
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[Case {
    name: "work.large-tree",
    promise: "with 200 globs and many worktrees in a large tree the second session reads no directory again, and hides what is new",
    needs: Needs::Full,
    run: large_tree,
}];

/// More directories than a scan is kept from.
const DIRECTORIES: usize = 2_200;
const GLOBS: usize = 200;
const WORKTREES: usize = 261;
/// A directory that changed shorter ago is looked at again: two seconds, and what is left of one.
const SETTLED: std::time::Duration = std::time::Duration::from_millis(3_200);

/// What a scan took: directories looked at, and those read.
fn counts(launch: &Launch<'_>, options: &[String]) -> Result<(u64, u64), Failure> {
    let mut words = vec!["plan".to_owned(), "--facts".to_owned()];
    words.extend(options.iter().cloned());
    let run = launch.ringfence(&words)?;
    let facts: serde_json::Value = serde_json::from_slice(&run.output)
        .map_err(|error| Failure::Meaningless(format!("{error}: {}", run.said())))?;
    let count = |name: &str| {
        facts
            .pointer(&format!("/linux/roots/0/scan/{name}"))
            .and_then(serde_json::Value::as_u64)
            .ok_or_else(|| Failure::Meaningless(format!("the facts have no {name}")))
    };
    Ok((count("directories")?, count("read")?))
}

fn grow(fixture: &Fixture) -> Result<(), Failure> {
    for index in 0..DIRECTORIES {
        let place = fixture.workspace.join(format!("{}/{index}", index % 50));
        std::fs::create_dir_all(&place).context(|| format!("making {}", place.display()))?;
    }
    fixture.repository(&fixture.workspace.join("main"))?;
    for index in 0..WORKTREES {
        // As `git worktree add` leaves them, without its thousand files.
        let own = fixture
            .workspace
            .join(format!("main/.git/worktrees/w{index}"));
        let tree = format!("home/project/trees/w{index}");
        let back = fixture.write(
            Path::new(&tree).join(".git"),
            &format!("gitdir: {}\n", own.display()),
        )?;
        for (name, content) in [
            ("gitdir", format!("{}\n", back.display())),
            ("commondir", "../..\n".to_owned()),
            ("HEAD", "ref: refs/heads/main\n".to_owned()),
        ] {
            fixture.write(own.join(name), &content)?;
        }
    }
    Ok(())
}

fn large_tree(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    grow(&fixture)?;
    let options: Vec<String> = (0..GLOBS)
        .flat_map(|index| ["--deny-read".to_owned(), format!("**/*.secret{index}")])
        .collect();
    let launch = Launch::new(ground, &fixture).options(&options);
    std::thread::sleep(SETTLED);
    let first = launch.shell("true")?;
    checks.same("the first session", &first.code(), &0);
    let (directories, read) = counts(&launch, &options)?;
    checks.that("all of it is looked at", directories > 2_000, || {
        directories.to_string()
    });
    checks.same("read again by the second session", &read, &0);

    let secrets = ["7/7/new.secret199", "trees/w9/.env", "made/deep/a.secret0"];
    for secret in secrets {
        fixture.write(Path::new("home/project").join(secret), CONTENT)?;
    }
    // Moving a directory changes those it leaves and enters, and not itself.
    fixture.write("home/project/8/8/moved.secret1", CONTENT)?;
    std::fs::rename(fixture.workspace.join("8/8"), fixture.workspace.join("9/8"))
        .context(|| "moving a directory".to_owned())?;
    let open = fixture.write("home/project/7/7/new.secret", "ordinary\n")?;
    let mut attacks = Vec::new();
    for secret in secrets.iter().chain(&["9/8/moved.secret1"]) {
        let words = vec!["read".to_owned(), text(&fixture.workspace.join(secret))];
        checks.control(secret, &launch.attack_plain(&words)?);
        attacks.push(words);
    }
    let verdicts = launch.batch_inside(&attacks)?;
    for (words, verdict) in attacks.iter().zip(&verdicts) {
        hidden(checks, &words.join(" "), verdict);
    }
    checks.sibling("beside", &launch.attack_inside(&["read", &text(&open)])?);
    let (_, read) = counts(&launch, &options)?;
    checks.that("only what changed is read", (1..20).contains(&read), || {
        read.to_string()
    });
    Ok(())
}
