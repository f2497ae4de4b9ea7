//! Every call that changes something, in every place that must hold.

use std::path::{Path, PathBuf};

use super::{Next, next};
use crate::checks::{Checks, Context, Control, Failure};
use crate::suite::{Case, Needs};
use crate::verdict::Verdict;
use crate::windows::calls::{Objects, ROWS, Row, Sibling};
use crate::windows::fixture::{Fixture, ORIGINAL, make, write};
use crate::windows::ground::Ground;
use crate::windows::launch::Launch;
use crate::windows::witness::{changed, snapshot};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "windows.write-outside",
        promise: "no call changes anything beside the workspace, where every user of the machine may write",
        needs: Needs::Full,
        run: |ground, checks| held(ground, checks, |fixture| fixture.outside.clone()),
    },
    Case {
        name: "windows.write-profile",
        promise: "no call changes anything in the person's profile",
        needs: Needs::Full,
        run: profile,
    },
    Case {
        name: "windows.write-hooks",
        promise: "no call changes anything below .git\\hooks",
        needs: Needs::Full,
        run: |ground, checks| {
            held(ground, checks, |fixture| {
                fixture.workspace.join(".git").join("hooks")
            })
        },
    },
    Case {
        name: "windows.write-protected-directory",
        promise: "no call changes anything below a protected directory",
        needs: Needs::Full,
        run: |ground, checks| held(ground, checks, |fixture| fixture.workspace.join(".vscode")),
    },
    Case {
        name: "windows.workspace-works",
        promise: "the same calls work in the workspace, and what they leave is the person's to change and delete",
        needs: Needs::Full,
        run: siblings,
    },
    Case {
        name: "windows.lists-unchanged",
        promise: "a run changes no list outside, and a second run none at all",
        needs: Needs::Full,
        run: lists,
    },
];

/// The attacks of every row, with their objects made.
fn attacks(rows: &[&Row], place: &Path, mine: &Path) -> Result<Vec<Vec<String>>, Failure> {
    rows.iter()
        .map(|row| Ok(Objects::make(row, place, mine)?.words(row)))
        .collect()
}

/// The rows whose control stands: without the boundary they do what they set out to do, in a fixture of their own.
fn controls(
    ground: &Ground,
    checks: &mut Checks,
    place: impl Fn(&Fixture) -> PathBuf,
) -> Result<Vec<&'static Row>, Failure> {
    let fixture = ground.fixture()?;
    fixture.repository()?;
    let rows: Vec<&Row> = ROWS.iter().collect();
    let attacks = attacks(&rows, &place(&fixture), &fixture.workspace.join("mine"))?;
    let verdicts = Launch::new(ground, &fixture).batch_plain(&attacks)?;
    let mut stand = Vec::new();
    for (row, verdict) in rows.into_iter().zip(&verdicts) {
        if let Verdict::Failed { errno, call } = verdict
            && row.lacks.contains(errno)
        {
            checks.note(format!("{}: not on this volume ({call})", row.name));
            continue;
        }
        if checks.control(row.name, verdict) == Control::Stands {
            stand.push(row);
        }
    }
    Ok(stand)
}

/// Every row must be refused in a place, and nothing there be another than before.
fn held(
    ground: &Ground,
    checks: &mut Checks,
    place: fn(&Fixture) -> PathBuf,
) -> Result<(), Failure> {
    let rows = controls(ground, checks, place)?;
    if next(ground, checks) == Next::Nothing {
        return Ok(());
    }
    let fixture = ground.fixture()?;
    fixture.repository()?;
    refused(ground, checks, &fixture, &rows, &place(&fixture))
}

fn refused(
    ground: &Ground,
    checks: &mut Checks,
    fixture: &Fixture,
    rows: &[&Row],
    place: &Path,
) -> Result<(), Failure> {
    let launch = Launch::new(ground, fixture);
    let attacks = attacks(rows, place, &fixture.workspace.join("mine"))?;
    // The first run gives the workspace its rights; protected names get theirs then, too.
    let first = launch.inside(&["cmd", "/d", "/c", "exit", "0"])?;
    checks.same("a first run", &first.code(), &0);
    let before = snapshot(place)?;
    let verdicts = launch.batch_inside(&attacks)?;
    for (row, verdict) in rows.iter().zip(&verdicts) {
        checks.refused(row.name, verdict, &[]);
    }
    let changed = changed(&before, &snapshot(place)?);
    checks.that("nothing is another than before", changed.is_empty(), || {
        format!("{changed:?}")
    });
    Ok(())
}

fn profile(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let home = std::env::home_dir()
        .ok_or_else(|| Failure::Meaningless("USERPROFILE is not set".to_owned()))?;
    let directory = || {
        tempfile::Builder::new()
            .prefix("ringfence-conformance-")
            .tempdir_in(&home)
            .context(|| format!("making a directory in {}", home.display()))
    };
    let control = directory()?;
    let rows = controls(ground, checks, |_| control.path().to_owned())?;
    if next(ground, checks) == Next::Nothing {
        return Ok(());
    }
    let place = directory()?;
    refused(ground, checks, &ground.fixture()?, &rows, place.path())
}

fn siblings(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let rows = controls(ground, checks, |fixture| fixture.workspace.join("sources"))?;
    if next(ground, checks) == Next::Nothing {
        return Ok(());
    }
    let fixture = ground.fixture()?;
    let sources = fixture.workspace.join("sources");
    let attacks = attacks(&rows, &sources, &fixture.workspace.join("mine"))?;
    let verdicts = Launch::new(ground, &fixture).batch_inside(&attacks)?;
    for (row, verdict) in rows.iter().zip(&verdicts) {
        match row.sibling {
            Sibling::Works => checks.sibling(row.name, verdict),
            Sibling::Refused => checks.refused(row.name, verdict, &[]),
        }
    }
    let made = sources.join("create").join("absent");
    write(&made, ORIGINAL)?;
    let removed = std::fs::remove_file(&made);
    checks.that(
        "what the command made is the person's to change and delete",
        removed.is_ok(),
        || format!("{removed:?}"),
    );
    Ok(())
}

fn lists(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    fixture.repository()?;
    make(&fixture.outside.join("deep"))?;
    write(&fixture.outside.join("deep").join("file"), ORIGINAL)?;
    let launch = Launch::new(ground, &fixture);
    // The witness must see a list that is changed, else it would see nothing in any run.
    let before = snapshot(&fixture.outside)?;
    let mut command = std::process::Command::new("icacls");
    command
        .arg(fixture.outside.join("deep"))
        .args(["/deny", "*S-1-1-0:(WD)"]);
    let set = crate::finished::finish(command.stdin(std::process::Stdio::null()), None)?;
    let seen = changed(&before, &snapshot(&fixture.outside)?);
    if set.code() == 0 && seen.is_empty() && ground.unenforced().is_some() {
        checks.note("icacls changes no list on this system");
    } else {
        checks.that("control a changed list is seen", !seen.is_empty(), || {
            set.said()
        });
    }
    if next(ground, checks) == Next::Nothing {
        return Ok(());
    }
    let before = snapshot(&fixture.outside)?;
    let empty = ["cmd", "/d", "/c", "exit", "0"];
    checks.same("a first run", &launch.inside(&empty)?.code(), &0);
    let outside = changed(&before, &snapshot(&fixture.outside)?);
    checks.same("lists outside", &outside, &Vec::new());
    let before = snapshot(&fixture.workspace)?;
    checks.same("a second run", &launch.inside(&empty)?.code(), &0);
    let again = changed(&before, &snapshot(&fixture.workspace)?);
    checks.same("lists after a second run", &again, &Vec::new());
    Ok(())
}
