//! Every write-class call, in every place that must hold.

use std::path::{Path, PathBuf};

use crate::checks::{Checks, Context, Control, Failure};
use crate::fixture::Fixture;
use crate::ground::Ground;
use crate::launch::Launch;
use crate::objects::{Target, prepare_file};
use crate::snapshot::{changed, snapshot};
use crate::suite::{Case, Needs};
use crate::verdict::Verdict;
use crate::write_calls::{Object, Sibling, WRITE_CALLS, WriteCall};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "write.outside",
        promise: "no write-class call changes anything beside the home and the workspace",
        needs: Needs::Full,
        run: |ground, checks| {
            let place = Place {
                base: |fixture| fixture.outside.clone(),
                ..Place::default()
            };
            held_everywhere(ground, checks, &place)
        },
    },
    Case {
        name: "write.home",
        promise: "no write-class call changes anything in the home beside the workspace",
        needs: Needs::Full,
        run: |ground, checks| {
            let place = Place {
                base: |fixture| fixture.home.join("other"),
                ..Place::default()
            };
            held_everywhere(ground, checks, &place)
        },
    },
    Case {
        name: "write.read-only-mode",
        promise: "in read-only mode no write-class call changes the workspace; the private /tmp stays writable",
        needs: Needs::Full,
        run: |ground, checks| {
            let place = Place {
                base: |fixture| fixture.workspace.join("sources"),
                mine: |_| PathBuf::from("/tmp/mine"),
                options: &["--mode", "read-only"],
                ..Place::default()
            };
            held_everywhere(ground, checks, &place)
        },
    },
    Case {
        name: "write.second-root",
        promise: "a second writable root is writable, and what lies beside it is not",
        needs: Needs::Full,
        run: second_root,
    },
    Case {
        name: "write.tmp-is-private",
        promise: "the host's /tmp is neither seen nor written; the private one can be written",
        needs: Needs::Full,
        run: private_tmp,
    },
    Case {
        name: "write.inherited-input",
        promise: "standard input of a file outside the roots can't be reopened for writing",
        needs: Needs::Full,
        run: inherited_input,
    },
    Case {
        name: "write.system-places",
        promise: "/etc, /usr, /var and the top of the tree take no new file, also from root",
        needs: Needs::Full,
        run: system_places,
    },
];

/// A place where every write-class call must be refused.
pub(super) struct Place {
    /// The directory under attack.
    pub(super) base: fn(&Fixture) -> PathBuf,
    /// The attacker's own writable directory.
    pub(super) mine: fn(&Fixture) -> PathBuf,
    /// Options of `ringfence run`.
    pub(super) options: &'static [&'static str],
    /// Makes the fixture ready, before the objects are prepared.
    pub(super) ready: fn(&Fixture) -> Result<(), Failure>,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            base: |fixture| fixture.outside.clone(),
            mine: |fixture| fixture.workspace.join("mine"),
            options: &[],
            ready: |_| Ok(()),
        }
    }
}

/// Which rows can be judged here: their control succeeds without the boundary, in an identical fixture.
pub(super) fn controls<'a>(
    ground: &Ground,
    checks: &mut Checks,
    place: &Place,
) -> Result<Vec<&'a WriteCall>, Failure> {
    let fixture = ground.fixture()?;
    (place.ready)(&fixture)?;
    let launch = Launch::new(ground, &fixture);
    let mut stand = Vec::new();
    for call in WRITE_CALLS {
        let target = objects(&fixture, place, call.name, &fixture.top().join("control"))?;
        fixture.prepare(&target.mine)?;
        let verdict = launch.attack_plain(&target.words(call.name))?;
        if checks.control(call.name, &verdict) == Control::Stands {
            stand.push(call);
        }
    }
    Ok(stand)
}

pub(super) fn objects(
    fixture: &Fixture,
    place: &Place,
    name: &str,
    mine: &Path,
) -> Result<Target, Failure> {
    let here = (place.base)(fixture).join(name);
    fixture.prepare(&here)?;
    Ok(Target::within(&here, mine.join(name)))
}

/// The whole table in one place: control, attack, sibling; and nothing in the place has changed afterwards.
pub(super) fn held_everywhere(
    ground: &Ground,
    checks: &mut Checks,
    place: &Place,
) -> Result<(), Failure> {
    let rows = controls(ground, checks, place)?;
    let fixture = ground.fixture()?;
    (place.ready)(&fixture)?;
    let launch = Launch::new(ground, &fixture).options(place.options);
    let mine = (place.mine)(&fixture);
    let mut attacks = Vec::new();
    for call in &rows {
        let target = objects(&fixture, place, call.name, &mine)?;
        let own = mine.join("own").join(call.name);
        let beside = Target::within(&own, own.join("mine"));
        for directory in [&target.mine, &own, &beside.mine] {
            attacks.push(vec!["prepare".to_owned(), text(directory)]);
        }
        attacks.push(target.words(call.name));
        attacks.push(beside.words(call.name));
    }
    let base = (place.base)(&fixture);
    let before = snapshot(&base)?;
    let verdicts = launch.batch_inside(&attacks)?;
    for (call, answers) in rows.iter().zip(verdicts.chunks_exact(5)) {
        judge(checks, call, answers);
    }
    let changed = changed(&before, &base);
    checks.that("the place is as it was", changed.is_empty(), || {
        format!("changed: {changed:?}")
    });
    Ok(())
}

fn judge(checks: &mut Checks, call: &WriteCall, answers: &[Verdict]) {
    let [first, second, third, attack, sibling] = answers else {
        return;
    };
    for prepared in [first, second, third] {
        checks.that("preparing the sibling", prepared.succeeded(), || {
            format!("{prepared:?}")
        });
    }
    checks.refused(call.name, attack, call.also);
    match call.sibling {
        Sibling::Works => checks.sibling(call.name, sibling),
        Sibling::MayBeRefused(reason) => {
            checks.that(
                &format!("sibling {}", call.name),
                sibling.succeeded() || sibling.refused(call.also),
                || format!("neither works nor is refused ({reason}): {sibling:?}"),
            );
        }
    }
}

/// Every call on one existing file: for protected names that are files.
pub(super) fn held_on_file(
    ground: &Ground,
    checks: &mut Checks,
    fixture: &Fixture,
    file: &Path,
    options: &[&str],
) -> Result<(), Failure> {
    let rows: Vec<&WriteCall> = WRITE_CALLS
        .iter()
        .filter(|call| call.object == Object::File)
        .collect();
    let name = file.file_name().unwrap_or_default();
    // The control: a file of the same name in an identical place, made anew for each call.
    let control = ground.fixture()?;
    let mut stand = Vec::new();
    for call in rows {
        let here = control.outside.join(call.name);
        control.prepare(&here)?;
        prepare_file(&here.join(name)).context(|| format!("preparing {}", here.display()))?;
        let mut target = Target::within(&here, here.join("mine"));
        target.file = here.join(name);
        control.prepare(&target.mine)?;
        let verdict = Launch::new(ground, &control).attack_plain(&target.words(call.name))?;
        let label = format!("{} {}", name.to_string_lossy(), call.name);
        if checks.control(&label, &verdict) == Control::Stands {
            stand.push(call);
        }
    }
    let mine = fixture.workspace.join("mine");
    let mut attacks = Vec::new();
    for call in &stand {
        let mut target = Target::within(&mine, mine.join(name).join(call.name));
        file.clone_into(&mut target.file);
        target.new = file.with_file_name(format!("new-{}", call.name));
        attacks.push(vec!["prepare".to_owned(), text(&target.mine)]);
        attacks.push(target.words(call.name));
    }
    let before = snapshot(file)?;
    let verdicts = Launch::new(ground, fixture)
        .options(options)
        .batch_inside(&attacks)?;
    for (call, answers) in stand.iter().zip(verdicts.chunks_exact(2)) {
        if let [_, attack] = answers {
            let label = format!("{} {}", file.display(), call.name);
            checks.refused(&label, attack, call.also);
        }
    }
    let changed = changed(&before, file);
    checks.that("the file is as it was", changed.is_empty(), || {
        format!("changed: {changed:?}")
    });
    Ok(())
}

pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn second_root(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let root = fixture.outside.join("root");
    let beside = fixture.outside.join("root-beside");
    for place in [&root, &beside] {
        std::fs::create_dir_all(place).context(|| format!("making {}", place.display()))?;
    }
    let words = |place: &Path| Target::within(place, fixture.workspace.clone()).words("create");
    let launch = Launch::new(ground, &fixture).options(&["--writable-root", &text(&root)]);
    let verdicts = launch.batch_inside(&[words(&root), words(&beside), words(&fixture.outside)])?;
    if let [inside, beside_it, above] = verdicts.as_slice() {
        checks.sibling("create in the named root", inside);
        checks.refused(
            "create beside it (a name that begins the same)",
            beside_it,
            &[],
        );
        checks.refused("create above it", above, &[]);
    }
    let control = launch.attack_plain(&words(&beside))?;
    checks.control("create beside it", &control);
    let unnamed = Launch::new(ground, &fixture)
        .attack_inside(&Target::within(&root, fixture.workspace.clone()).words("open-write-only"));
    checks.that(
        "without the option nothing is made",
        unnamed.is_ok(),
        || format!("{unnamed:?}"),
    );
    Ok(())
}

fn private_tmp(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let host = tempfile::Builder::new()
        .prefix("ringfence-host-")
        .tempdir_in("/tmp")
        .context(|| "making a directory in /tmp".to_owned())?;
    let secret = host.path().join("file");
    std::fs::write(&secret, "of the host").context(|| "writing in /tmp".to_owned())?;
    let launch = Launch::new(ground, &fixture);
    let control = launch.attack_plain(&["read", &text(&secret)])?;
    checks.control("read the host's /tmp", &control);
    let read = launch.attack_inside(&["read", &text(&secret)])?;
    checks.refused("read the host's /tmp", &read, &[libc::ENOENT]);
    let name = format!("made-inside-{}", std::process::id());
    let made = launch.shell(&format!(
        "echo x > /tmp/{name} && cat /tmp/{name} && echo $TMPDIR"
    ))?;
    checks.that(
        "the private /tmp works",
        made.code() == 0 && made.text().starts_with('x'),
        || format!("{} {}", made.text(), made.said()),
    );
    let leaked = Path::new("/tmp").join(&name).exists();
    checks.that("nothing reaches the host's /tmp", !leaked, || name.clone());
    let again = launch.shell(&format!("cat /tmp/{name}"))?;
    checks.same(
        "it lasts to the next command",
        &again.text(),
        &"x\n".to_owned(),
    );
    Ok(())
}

fn inherited_input(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let control = ground.fixture()?;
    let file = control.write("outside/input", "original\n")?;
    let launch = Launch::new(ground, &control);
    let mut command = launch.plain_command(&launch.probe(&["write-input"]))?;
    let done = crate::launch::finish(command.stdin(crate::launch::open(&file)?), None)?;
    checks.control("reopen standard input", &done.verdict());
    let fixture = ground.fixture()?;
    for (label, path) in [
        (
            "a file outside",
            fixture.write("outside/input", "original\n")?,
        ),
        (
            "a protected file",
            fixture.write("home/project/AGENTS.md", "original\n")?,
        ),
    ] {
        let launch = Launch::new(ground, &fixture);
        let mut command = launch.inside_command(&launch.probe(&["write-input"]))?;
        let done = crate::launch::finish(command.stdin(crate::launch::open(&path)?), None)?;
        // A relayed input is a pipe: writing into it is no write to the file.
        let verdict = done.verdict();
        checks.that(
            &format!("{label}: the probe answered"),
            !matches!(verdict, Verdict::Silent { .. } | Verdict::Crashed { .. }),
            || format!("{verdict:?} {}", done.said()),
        );
        let content = std::fs::read_to_string(&path).unwrap_or_default();
        checks.same(label, &content, &"original\n".to_owned());
        let mut command = launch.inside_command(&["/bin/cat"])?;
        let done = crate::launch::finish(command.stdin(crate::launch::open(&path)?), None)?;
        checks.same(
            &format!("{label} can be read"),
            &done.text(),
            &"original\n".to_owned(),
        );
    }
    Ok(())
}

fn system_places(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let places = [
        "/",
        "/etc",
        "/usr",
        "/usr/bin",
        "/usr/local/bin",
        "/var",
        "/var/tmp",
        "/opt",
        "/srv",
        "/home",
        "/root",
        "/lib",
        "/proc",
        "/sys",
        "/dev",
        "/run",
        "/var/run",
        "/mnt",
        "/boot",
    ];
    let present: Vec<&str> = places
        .into_iter()
        .filter(|place| Path::new(place).is_dir())
        .collect();
    let name = format!("ringfence-probe-{}", std::process::id());
    let attacks: Vec<Vec<String>> = present
        .iter()
        .map(|place| {
            let mut target = Target::within(Path::new(place), fixture.workspace.clone());
            target.new = Path::new(place).join(&name);
            target.words("create")
        })
        .collect();
    let verdicts = launch.batch_inside(&attacks)?;
    for (place, verdict) in present.iter().zip(&verdicts) {
        // A hidden place may be an empty one of the session's own; what counts is that the host sees nothing.
        let also = [libc::ENOENT];
        let own = ["/run", "/var/run", "/dev", "/var/tmp"].contains(place) && verdict.succeeded();
        checks.that(
            &format!("create in {place}"),
            own || verdict.refused(&also),
            || format!("{verdict:?}"),
        );
        let leaked = Path::new(place).join(&name);
        checks.that(
            &format!("nothing in {place} on the host"),
            !leaked.exists(),
            || {
                let _ = std::fs::remove_file(&leaked);
                leaked.display().to_string()
            },
        );
    }
    let control = launch.attack_plain(
        &Target::within(&fixture.outside, fixture.workspace.clone()).words("create"),
    )?;
    checks.control("create where permissions allow", &control);
    Ok(())
}
