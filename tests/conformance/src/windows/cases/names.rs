//! Protected names, there and absent, and secrets.

use std::fs;
use std::path::Path;

use ringfence_policy::protected::BUILT_IN;

use super::{Next, next};
use crate::checks::{Checks, Failure};
use crate::suite::{Case, Needs};
use crate::windows::fixture::{ORIGINAL, write};
use crate::windows::ground::Ground;
use crate::windows::launch::Launch;
use crate::windows::witness::{changed, snapshot};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "windows.protected-names",
        promise: "what has a protected name is neither written, deleted nor renamed",
        needs: Needs::Full,
        run: existing,
    },
    Case {
        name: "windows.protected-absent",
        promise: "what a command makes under an absent protected name is gone when the run has ended",
        needs: Needs::Full,
        run: absent,
    },
    Case {
        name: "windows.secrets",
        promise: "a secret is not read, and what is no secret is",
        needs: Needs::Full,
        run: secrets,
    },
];

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The names, less `.git`, which has cases of its own: each as a file of an unprotected name, too, for the control.
fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN
        .iter()
        .map(|name| name.name)
        .filter(|name| *name != ".git")
}

fn existing(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let attacks = |top: &Path| -> Result<Vec<Vec<String>>, Failure> {
        let mut attacks = Vec::new();
        for name in names() {
            let file = top.join(name);
            write(&file, ORIGINAL)?;
            attacks.push(words(&["write", &text(&file)]));
            attacks.push(words(&["rename", &text(&file), &text(&top.join("moved"))]));
            attacks.push(words(&["rename", &text(&top.join("moved")), &text(&file)]));
            attacks.push(words(&["delete", &text(&file)]));
        }
        Ok(attacks)
    };
    let control = ground.fixture()?;
    let list = attacks(&control.workspace)?;
    for (attack, verdict) in list
        .iter()
        .zip(Launch::new(ground, &control).batch_plain(&list)?)
    {
        checks.control(&attack.join(" "), &verdict);
    }
    if next(ground, checks) == Next::Nothing {
        return Ok(());
    }
    let fixture = ground.fixture()?;
    let mut list = attacks(&fixture.workspace)?;
    // The way back is for the control alone: inside there is nothing to bring back.
    let moved = text(&fixture.workspace.join("moved"));
    list.retain(|attack| attack.get(1) != Some(&moved));
    let launch = Launch::new(ground, &fixture);
    let first = launch.inside(&["cmd", "/d", "/c", "exit", "0"])?;
    checks.same("a first run", &first.code(), &0);
    let before = snapshot(&fixture.workspace)?;
    for (attack, verdict) in list.iter().zip(launch.batch_inside(&list)?) {
        checks.refused(&attack.join(" "), &verdict, &[]);
    }
    let changed = changed(&before, &snapshot(&fixture.workspace)?);
    checks.same("nothing is another than before", &changed, &Vec::new());
    Ok(())
}

fn absent(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let attacks = |top: &Path| -> Vec<Vec<String>> {
        names()
            .map(|name| words(&["create", &text(&top.join(name))]))
            .collect()
    };
    let control = ground.fixture()?;
    let list = attacks(&control.workspace);
    for (attack, verdict) in list
        .iter()
        .zip(Launch::new(ground, &control).batch_plain(&list)?)
    {
        checks.control(&attack.join(" "), &verdict);
    }
    if next(ground, checks) == Next::Nothing {
        return Ok(());
    }
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let list = attacks(&fixture.workspace);
    let verdicts = launch.batch_inside(&list)?;
    let quarantine = launch.ringfence(&["quarantine", "list", "--json"])?.text();
    for ((name, attack), verdict) in names().zip(&list).zip(&verdicts) {
        let path = fixture.workspace.join(name);
        checks.that(
            &format!("{name} is gone"),
            fs::symlink_metadata(&path).is_err(),
            || format!("{verdict:?}"),
        );
        if verdict.succeeded() {
            // Paths in JSON have their backslashes twice; the case's own directory tells it from others.
            let kept = text(&path).replace('\\', "\\\\");
            checks.that(
                &format!("{name} is in quarantine"),
                quarantine.contains(&kept),
                || quarantine.clone(),
            );
        } else {
            checks.refused(&attack.join(" "), verdict, &[]);
        }
    }
    Ok(())
}

/// A file in the person's own `.ssh`, and that directory where there was none; taken away again.
struct Key {
    file: std::path::PathBuf,
    made: Option<std::path::PathBuf>,
}

impl Key {
    fn make() -> Result<Self, Failure> {
        let home = std::env::home_dir()
            .ok_or_else(|| Failure::Meaningless("USERPROFILE is not set".to_owned()))?;
        let directory = home.join(".ssh");
        let made = (!directory.exists()).then(|| directory.clone());
        let file = directory.join(format!("ringfence-conformance-{}", std::process::id()));
        let key = Self { file, made };
        write(&key.file, ORIGINAL)?;
        Ok(key)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // Both were made by this case; a directory that others have filled stays.
        let _ = fs::remove_file(&self.file);
        if let Some(made) = &self.made {
            let _ = fs::remove_dir(made);
        }
    }
}

fn secrets(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let key = Key::make()?;
    let fixture = ground.fixture()?;
    let secret = fixture.workspace.join(".env");
    let example = fixture.workspace.join(".env.example");
    for file in [&secret, &example] {
        write(file, ORIGINAL)?;
    }
    let list: Vec<Vec<String>> = [&secret, &key.file, &example]
        .map(|file| words(&["read", &text(file)]))
        .to_vec();
    let launch = Launch::new(ground, &fixture);
    for (attack, verdict) in list.iter().zip(launch.batch_plain(&list)?) {
        checks.control(&attack.join(" "), &verdict);
        checks.same("what is read", &verdict.detail(), &ORIGINAL);
    }
    if next(ground, checks) == Next::Nothing {
        return Ok(());
    }
    let verdicts = launch.batch_inside(&list)?;
    for (place, (attack, verdict)) in list.iter().zip(&verdicts).enumerate() {
        if place == 2 {
            checks.sibling(&attack.join(" "), verdict);
            checks.same("what is read", &verdict.detail(), &ORIGINAL);
        } else {
            checks.refused(&attack.join(" "), verdict, &[]);
        }
    }
    Ok(())
}
