//! Reads of secrets are refused, and explained without being asked to.

use super::secrets::{CONTENT, FORMS, hidden, plant, words};
use super::writes::text;
use crate::checks::{Checks, Failure};
use crate::ground::Ground;
use crate::launch::Launch;
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[Case {
    name: "secret.told",
    promise: "a refused read of a secret is told by default, with its rule and option, in every form; what came to none is told nothing",
    needs: Needs::Full,
    run: told,
}];

/// Forms that the filter refuses for the call they make: that is what is told of them.
const REFUSED_CALLS: &[&str] = &["read-bind-mount", "read-open-tree", "read-chroot"];

fn told(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    plant(&fixture)?;
    fixture.write("home/project/.env", &format!("{CONTENT} .env"))?;
    let launch = Launch::new(ground, &fixture);
    let failing = |words: &[String]| {
        let failing = ["/bin/sh", "-c", "\"$@\"; exit 7", "sh"].map(std::ffi::OsString::from);
        launch.inside(&[&failing[..], &launch.probe(words)].concat())
    };
    for (file, place) in [
        (".ssh/id_ed25519", ".ssh/id_ed25519"),
        (".ssh/keys/deep", ".ssh/keys"),
        (".aws/credentials", ".aws"),
        (".netrc", ".netrc"),
        ("project/.env", "project/.env"),
    ] {
        let file = fixture.home.join(file);
        let place = text(&fixture.home.join(place));
        for (form, extra) in FORMS.iter().filter(|(_, extra)| *extra != ["P"]) {
            if *form == "read-moved-parent" {
                continue;
            }
            let words = words(form, extra, &file, &fixture.workspace, 0);
            let label = format!("{form} {}", file.display());
            checks.control(&label, &launch.attack_plain(&words)?);
            let run = failing(&words)?;
            hidden(checks, &label, &run.verdict());
            checks.same(&format!("{label}: status"), &run.code(), &7);
            let said = run.said();
            let is_told = said.contains(&format!("denied read {place} (rule fs.secret)"))
                && said.contains("--allow-read");
            let is_call = REFUSED_CALLS.contains(form) && said.contains("denied syscall");
            checks.that(&format!("{label}: told"), is_told || is_call, || {
                said.clone()
            });
        }
    }
    let ordinary = text(&fixture.home.join(".config/ordinary.toml"));
    let known = text(&fixture.home.join(".ssh/known_hosts"));
    for path in [ordinary, known] {
        let run = failing(&["read".to_owned(), path.clone()])?;
        checks.sibling(&format!("read {path}"), &run.verdict());
        checks.same(
            &format!("{path}: nothing is told"),
            &run.said(),
            &String::new(),
        );
    }
    let quiet = launch.shell("cat ~/.netrc; true")?;
    checks.that(
        "a command that succeeds is told nothing",
        !quiet.said().contains("ringfence: "),
        || quiet.said(),
    );
    Ok(())
}
