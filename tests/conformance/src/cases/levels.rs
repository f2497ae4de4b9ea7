//! Machines that refuse user namespaces or Landlock, made by an outer filter; and Ringfence inside Ringfence.

use super::writes::text;
use crate::checks::{Checks, Failure};
use crate::ground::Ground;
use crate::launch::Launch;
use crate::objects::Target;
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "level.partial",
        promise: "without user namespaces it says partial, and holds secrets, protected names and everything outside",
        needs: Needs::Landlock,
        run: partial,
    },
    Case {
        name: "level.partial-required-full",
        promise: "without user namespaces `--require full` exits 102 and nothing runs",
        needs: Needs::Landlock,
        run: required_full,
    },
    Case {
        name: "level.none",
        promise: "without user namespaces and Landlock it exits 102 and nothing runs, whatever is required",
        needs: Needs::Nothing,
        run: none,
    },
    Case {
        name: "level.nested",
        promise: "Ringfence inside Ringfence runs below the outer boundary, which still holds, or refuses to run",
        needs: Needs::Full,
        run: nested,
    },
];

fn wrapper(ground: &Ground, name: &str) -> [std::ffi::OsString; 2] {
    [ground.probe.clone().into_os_string(), name.into()]
}

/// The wrapper itself must do what it says, or the case means nothing.
fn wrapper_works(ground: &Ground, checks: &mut Checks, name: &str) -> Result<(), Failure> {
    let probe = text(&ground.probe);
    let refused = ground.plain(&[name, &probe, "unshare", "mount"])?;
    checks.refused(
        &format!("{name}: the outer filter refuses namespaces"),
        &refused,
        &[],
    );
    let refused = ground.plain(&[name, &probe, "clone", "mount"])?;
    checks.refused(&format!("{name}: also by clone"), &refused, &[]);
    let landlock = ground.plain(&[name, &probe, "landlock-version"])?;
    let expected = name == "deny-userns";
    checks.same(
        &format!("{name}: Landlock"),
        &landlock.succeeded(),
        &expected,
    );
    Ok(())
}

fn partial(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    wrapper_works(ground, checks, "deny-userns")?;
    let fixture = ground.fixture()?;
    fixture.repository(&fixture.workspace)?;
    for file in [
        "home/.ssh/id_ed25519",
        "home/.npmrc",
        "home/project/.env",
        "home/project/AGENTS.md",
        "outside/file",
    ] {
        fixture.write(file, "first\n")?;
    }
    fixture.prepare(&fixture.workspace.join("src"))?;
    let launch = Launch::new(ground, &fixture).wrapper(&wrapper(ground, "deny-userns"));
    let run = launch.shell("echo ran")?;
    checks.same("it runs", &run.text(), &"ran\n".to_owned());
    checks.that("it says partial", run.said().contains("partial"), || {
        run.said()
    });
    let path = |file: &str| text(&fixture.top().join(file));
    let refused = [
        ["read".to_owned(), path("home/.ssh/id_ed25519")],
        ["read".to_owned(), path("home/.npmrc")],
        ["read".to_owned(), path("home/project/.env")],
        ["open-write".to_owned(), path("home/project/AGENTS.md")],
        ["open-write".to_owned(), path("home/project/.git/config")],
        ["open-write".to_owned(), path("outside/file")],
        ["tcp-with-itself".to_owned(), "127.0.0.1".to_owned()],
        ["unshare".to_owned(), "user".to_owned()],
    ];
    for words in &refused {
        let label = words.join(" ");
        checks.control(&label, &launch.attack_plain(words)?);
        let also = [libc::EAFNOSUPPORT, libc::ENOENT];
        checks.refused(&label, &launch.attack_inside(words)?, &also);
    }
    let allowed = [
        ["open-write".to_owned(), path("home/project/tracked.txt")],
        ["open-write".to_owned(), path("home/project/src/file")],
        ["read".to_owned(), path("home/project/AGENTS.md")],
        ["read".to_owned(), path("outside/file")],
    ];
    for words in &allowed {
        checks.sibling(&words.join(" "), &launch.attack_inside(words)?);
    }
    told_of_a_new_entry(ground, checks, &launch)?;
    let below = fixture.workspace.join("src");
    let words = Target::within(&below, below.join("mine")).words("create");
    checks.sibling(
        "a new file in a directory without protected names",
        &launch.attack_inside(&words)?,
    );
    Ok(())
}

/// `plan`, `explain` and the run agree on the level, and on a new entry beside a protected name.
fn told_of_a_new_entry(
    ground: &Ground,
    checks: &mut Checks,
    launch: &Launch<'_>,
) -> Result<(), Failure> {
    let [probe, name] = wrapper(ground, "deny-userns");
    let entry = text(&launch.fixture().workspace.join("top"));
    let run = launch.shell("touch top; exit 1")?;
    checks.that(
        "a new entry is refused, and said to be",
        run.said().contains("fs.new-entry") && run.said().contains(&entry),
        || run.said(),
    );
    for script in [
        "rm tracked.txt",
        "mv tracked.txt moved",
        "mv src/x tracked.txt",
    ] {
        launch.fixture().write("home/project/src/x", "x")?;
        let tried = launch.shell(&format!("{script}; exit 1"))?;
        let tracked = text(&launch.fixture().workspace.join("tracked.txt"));
        checks.that(
            &format!("`{script}` is refused, and said to be"),
            tried.said().contains("fs.new-entry")
                && tried.said().contains(&tracked)
                && launch.fixture().workspace.join("tracked.txt").exists(),
            || tried.said(),
        );
        let control = launch.plain(&["/bin/sh", "-c", script])?;
        checks.same(&format!("control `{script}`"), &control.code(), &0);
        launch
            .fixture()
            .write("home/project/tracked.txt", "tracked\n")?;
    }
    let ringfence = ground.ringfence.clone().into_os_string();
    let wrapped = |words: &[&str]| {
        let own = [probe.clone(), name.clone(), ringfence.clone()];
        let words = words.iter().map(std::ffi::OsString::from);
        Launch::new(ground, launch.fixture())
            .plain(&own.into_iter().chain(words).collect::<Vec<_>>())
    };
    for (words, expected) in [
        (&["explain", "write", &entry] as &[&str], "fs.new-entry"),
        (&["plan"], "level partial"),
        (&["doctor"], "namespaces"),
    ] {
        let said = wrapped(words)?.text();
        checks.that(&words.join(" "), said.contains(expected), || said.clone());
        checks.that(
            &format!("{} names no cure that leads to itself", words.join(" ")),
            !said.contains(": ringfence doctor"),
            || said.clone(),
        );
    }
    let refused = wrapped(&["plan", "--require", "full"])?;
    checks.same("plan --require full", &refused.code(), &102);
    let quiet = wrapped(&["run", "--quiet", "--", "true"])?;
    checks.that(
        "--quiet says the loss too",
        quiet.said().contains("partial"),
        || quiet.said(),
    );
    Ok(())
}

fn required_full(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    wrapper_works(ground, checks, "deny-userns")?;
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture).options(&["--require", "full"]);
    let run = launch.shell("echo ran")?;
    if ground.namespaces {
        checks.same(
            "control: without the outer filter it runs",
            &run.text(),
            &"ran\n".to_owned(),
        );
    }
    let launch = launch.wrapper(&wrapper(ground, "deny-userns"));
    refused_whole(checks, "--require full", &launch)
}

fn refused_whole(checks: &mut Checks, label: &str, launch: &Launch<'_>) -> Result<(), Failure> {
    let run = launch.shell("echo ran; touch ran")?;
    checks.same(&format!("{label}: status"), &run.code(), &102);
    checks.that(
        &format!("{label}: nothing ran"),
        run.output.is_empty(),
        || run.text(),
    );
    checks.that(
        &format!("{label}: it says why"),
        ["namespace", "landlock"]
            .iter()
            .any(|layer| run.said().to_lowercase().contains(layer)),
        || run.said(),
    );
    Ok(())
}

fn none(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    wrapper_works(ground, checks, "deny-landlock")?;
    let fixture = ground.fixture()?;
    for options in [&[][..], &["--require", "partial"], &["--require", "full"]] {
        let launch = Launch::new(ground, &fixture)
            .options(options)
            .wrapper(&wrapper(ground, "deny-landlock"));
        refused_whole(checks, &options.join(" "), &launch)?;
        checks.that(
            "nothing was written",
            !fixture.workspace.join("ran").exists(),
            || "ran".to_owned(),
        );
    }
    Ok(())
}

fn says_nested(checks: &mut Checks, label: &str, said: &str) {
    let words = [
        "partial boundary",
        "nested",
        "the outer boundary still holds",
    ];
    checks.that(label, words.iter().all(|word| said.contains(word)), || {
        said.to_owned()
    });
}

fn nested(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let file = text(&fixture.write("outside/file", "first\n")?);
    let inner = std::path::Path::new("/tmp/inner-state");
    let ringfence = text(&ground.ringfence);
    let launch = Launch::new(ground, &fixture);
    // A state that the person names; without one the inner session has its own in the outer one's `/tmp`.
    let nest = |options: &str, words: &str| {
        format!(
            "mkdir -p -m 700 {0}; RINGFENCE_STATE={0} XDG_STATE_HOME={0} {ringfence} run {options} -- {words}",
            text(inner)
        )
    };
    let probe = text(&ground.probe);
    let run = launch.shell(&nest("", &format!("{probe} open-write {file}")))?;
    let refused_to_run = run.code() == 102 && run.output.is_empty();
    checks.that(
        "the outer boundary holds",
        refused_to_run || run.verdict().refused(&[]),
        || format!("{} {} {}", run.code(), run.text(), run.said()),
    );
    if refused_to_run {
        checks.note("the inner one refuses to run (102)");
    } else {
        let run = launch.shell(&nest("", "echo nested"))?;
        checks.same(
            "the inner command runs",
            &run.text(),
            &"nested\n".to_owned(),
        );
        says_nested(checks, "it says so", &run.said());
    }
    // As a person types it, who knows nothing of where state is kept.
    let run = launch.shell(&format!("{ringfence} run -- echo nested"))?;
    checks.same("a plain run", &run.text(), &"nested\n".to_owned());
    says_nested(checks, "a plain run says so", &run.said());
    let run = launch.shell(&format!("{ringfence} run -- {probe} open-write {file}"))?;
    checks.that(
        "the outer boundary holds in a plain run",
        run.verdict().refused(&[]),
        || format!("{} {} {}", run.code(), run.text(), run.said()),
    );
    let run = launch.shell(&nest("--require full", "echo nested"))?;
    checks.same("--require full inside", &run.code(), &102);
    checks.control("open-write", &launch.attack_plain(&["open-write", &file])?);
    Ok(())
}
