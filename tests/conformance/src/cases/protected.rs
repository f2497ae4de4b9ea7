//! Every protected name, in every form it can have.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::writes::{Place, held_everywhere, held_on_file, text};
use crate::checks::{Checks, Context, Failure};
use crate::fixture::Fixture;
use crate::ground::Ground;
use crate::launch::Launch;
use crate::objects::{ORIGINAL, Target, prepare_file};
use crate::snapshot::{changed, snapshot};
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "protected.directories",
        promise: "below every protected name that is a directory no write-class call changes anything",
        needs: Needs::Full,
        run: directories,
    },
    Case {
        name: "protected.every-call",
        promise: "every write-class call is refused below .git and .vscode, at the root's top and a nested repository's",
        needs: Needs::Full,
        run: every_call,
    },
    Case {
        name: "protected.files",
        promise: "every protected name that is a file is held against every call on a file",
        needs: Needs::Full,
        run: files,
    },
    Case {
        name: "protected.symlinks",
        promise: "a protected name that is a symlink, into or out of the root: the link and its target are held",
        needs: Needs::Full,
        run: symlinks,
    },
    Case {
        name: "protected.ancestors",
        promise: "no directory above a protected name can be moved away from over it",
        needs: Needs::Full,
        run: ancestors,
    },
    Case {
        name: "protected.closed-modules",
        promise: "submodules that one session closed to the next one's look are held by it all the same",
        needs: Needs::Full,
        run: closed_modules,
    },
    Case {
        name: "protected.unprotect",
        promise: "--unprotect opens that name and no other; --protect adds one",
        needs: Needs::Full,
        run: unprotect,
    },
];

/// The protected names of the specification.
pub(super) const NAMES: &[&str] = &[
    ".git",
    ".codex",
    ".agents",
    ".ringfence",
    ".claude",
    ".cursor",
    ".gemini",
    ".vscode",
    ".idea",
    ".mcp.json",
    ".envrc",
    ".husky",
    ".githooks",
    "AGENTS.md",
    "CLAUDE.md",
    "GEMINI.md",
];

/// The top of the workspace, and of a repository in it.
pub(super) const TOPS: &[&str] = &["", "packages/nested"];

pub(super) fn top(fixture: &Fixture, relative: &str) -> PathBuf {
    if relative.is_empty() {
        fixture.workspace.clone()
    } else {
        fixture.workspace.join(relative)
    }
}

/// A repository at the root's top and one below it.
pub(super) fn repositories(fixture: &Fixture) -> Result<(), Failure> {
    for relative in TOPS {
        fixture.repository(&top(fixture, relative))?;
    }
    Ok(())
}

fn every_call(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let bases: [fn(&Fixture) -> PathBuf; 4] = [
        |fixture| fixture.workspace.join(".git"),
        |fixture| fixture.workspace.join(".vscode"),
        |fixture| fixture.workspace.join("packages/nested/.git"),
        |fixture| fixture.workspace.join("packages/nested/.vscode"),
    ];
    for base in bases {
        let place = Place {
            base,
            ready: repositories,
            ..Place::default()
        };
        held_everywhere(ground, checks, &place)?;
    }
    Ok(())
}

/// The calls that can't be mistaken: one of each kind, on every name.
const CORE: &[&str] = &[
    "open-write-only",
    "open-truncate",
    "reopen-proc-self-fd",
    "truncate",
    "mmap-shared",
    "rename-away",
    "rename-out",
    "rename-over",
    "rename-exchange",
    "link-out",
    "unlink",
    "chmod",
    "utimensat",
    "setxattr",
    "rename-directory-out",
    "create-in-directory",
    "unlink-in-directory",
    "rmdir",
    "create",
    "tmpfile-elsewhere-linkat",
    "link-in",
    "rename-in",
    "rename-directory-in",
    "symlink",
    "mkdir",
    "mknod-fifo",
];

/// The attacks on each name that is a directory, with their labels; their objects are made here.
fn directory_attacks(fixture: &Fixture) -> Result<Vec<(String, Vec<String>)>, Failure> {
    repositories(fixture)?;
    let mut attacks = Vec::new();
    for relative in TOPS {
        for name in NAMES {
            let directory = top(fixture, relative).join(name);
            let mine = fixture.workspace.join("mine").join(relative).join(name);
            for call in CORE {
                let place = directory.join("held").join(call);
                fixture.prepare(&place)?;
                fixture.prepare(&mine.join(call))?;
                let words = Target::within(&place, mine.join(call)).words(call);
                attacks.push((format!("{relative}/{name} {call}"), words));
            }
        }
    }
    // The names themselves last: moved away, exchanged, opened to others.
    for call in ["chmod-directory", "rename-exchange", "rename-directory-out"] {
        for relative in TOPS.iter().rev() {
            for name in NAMES {
                let directory = top(fixture, relative).join(name);
                let mine = fixture
                    .workspace
                    .join("mine")
                    .join(relative)
                    .join(name)
                    .join(format!("itself-{call}"));
                fixture.prepare(&mine)?;
                let mut itself = Target::within(&directory, mine);
                itself.directory.clone_from(&directory);
                itself.file = directory;
                attacks.push((
                    format!("{relative}/{name} itself: {call}"),
                    itself.words(call),
                ));
            }
        }
    }
    Ok(attacks)
}

fn directories(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let control = ground.fixture()?;
    let outside = Launch::new(ground, &control);
    for (label, words) in directory_attacks(&control)? {
        checks.control(&label, &outside.attack_plain(&words)?);
        if label.ends_with("itself: rename-exchange") {
            // Back again, for the row that follows.
            outside.attack_plain(&words)?;
        }
    }
    let fixture = ground.fixture()?;
    let attacks = directory_attacks(&fixture)?;
    let words: Vec<Vec<String>> = attacks.iter().map(|(_, words)| words.clone()).collect();
    let before = snapshots(&fixture)?;
    let launch = Launch::new(ground, &fixture);
    let verdicts = launch.batch_inside(&words)?;
    for ((label, _), verdict) in attacks.iter().zip(&verdicts) {
        checks.refused(label, verdict, &[libc::EXDEV, libc::EBUSY]);
    }
    for (top, before) in &before {
        let changed = changed(before, top);
        checks.that("it is as it was", changed.is_empty(), || {
            format!("{changed:?}")
        });
    }
    let sibling = fixture.workspace.join("ordinary");
    fixture.prepare(&sibling)?;
    fixture.prepare(&sibling.join("mine"))?;
    let words = Target::within(&sibling, sibling.join("mine")).words("open-write-only");
    checks.sibling("an ordinary directory", &launch.attack_inside(&words)?);
    Ok(())
}

fn snapshots(fixture: &Fixture) -> Result<Vec<(PathBuf, crate::snapshot::Snapshot)>, Failure> {
    let mut found = Vec::new();
    for relative in TOPS {
        for name in NAMES {
            let top = top(fixture, relative).join(name);
            let now = snapshot(&top)?;
            found.push((top, now));
        }
    }
    Ok(found)
}

fn files(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    for relative in TOPS {
        let fixture = ground.fixture()?;
        repositories(&fixture)?;
        for name in NAMES.iter().filter(|name| **name != ".git") {
            let file = top(&fixture, relative).join(name);
            prepare_file(&file).context(|| format!("preparing {}", file.display()))?;
        }
        for name in NAMES.iter().filter(|name| **name != ".git") {
            let file = top(&fixture, relative).join(name);
            held_on_file(ground, checks, &fixture, &file, &[])?;
        }
    }
    // `.git` as a file, as a worktree has it.
    let fixture = ground.fixture()?;
    let file = fixture.workspace.join(".git");
    fs::write(&file, "gitdir: elsewhere\n").context(|| "writing .git".to_owned())?;
    prepare_file(&file).context(|| "preparing .git".to_owned())?;
    held_on_file(ground, checks, &fixture, &file, &[])
}

fn symlinks(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    for relative in TOPS {
        for inward in [true, false] {
            for name in NAMES {
                symlinked(ground, checks, relative, name, inward)?;
            }
        }
    }
    Ok(())
}

fn symlinked(
    ground: &Ground,
    checks: &mut Checks,
    relative: &str,
    name: &str,
    inward: bool,
) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    if !relative.is_empty() {
        fixture.repository(&top(&fixture, relative))?;
    }
    let target = if inward {
        fixture.workspace.join("real").join(name)
    } else {
        fixture.outside.join(name)
    };
    let link = top(&fixture, relative).join(name);
    if name == ".git" {
        let repository = fixture.top().join("made");
        fixture.repository(&repository)?;
        let _ = fs::remove_dir_all(&link);
        fs::create_dir_all(target.parent().unwrap_or(&fixture.outside))
            .context(|| "making the target's directory".to_owned())?;
        fs::rename(repository.join(".git"), &target).context(|| "moving .git".to_owned())?;
    }
    fixture.prepare(&target)?;
    symlink(&target, &link).context(|| format!("linking {}", link.display()))?;
    let mine = fixture.workspace.join("mine");
    fixture.prepare(&mine)?;
    let mut attacks = Vec::new();
    for (through, place) in [("through the link", &link), ("at its target", &target)] {
        for call in [
            "open-write-only",
            "truncate",
            "rename-away",
            "unlink",
            "create",
            "rename-in",
            "chmod",
        ] {
            attacks.push((
                format!("{call} {through}"),
                Target::within(place, mine.clone()).words(call),
            ));
        }
    }
    let mut itself = Target::within(&mine, mine.clone());
    itself.file.clone_from(&link);
    itself.new = link.with_file_name("moved-link");
    for call in ["rename-away", "rename-out", "unlink", "rename-over"] {
        attacks.push((format!("{call} the link itself"), itself.words(call)));
    }
    let direction = if inward { "into" } else { "out of" };
    let words: Vec<Vec<String>> = attacks.iter().map(|(_, words)| words.clone()).collect();
    let before = snapshot(&target)?;
    let verdicts = Launch::new(ground, &fixture).batch_inside(&words)?;
    for ((label, _), verdict) in attacks.iter().zip(&verdicts) {
        let label = format!("{relative}/{name} linked {direction} the root: {label}");
        if label.ends_with("itself") {
            // A link can't be a mount point: it may be replaced inside, but what counts is what the host has after.
            continue;
        }
        checks.refused(&label, verdict, &[libc::EXDEV, libc::EBUSY]);
    }
    let changed = changed(&before, &target);
    let label = format!("{relative}/{name} linked {direction} the root");
    checks.that(
        &format!("{label}: the target is as it was"),
        changed.is_empty(),
        || format!("{changed:?}"),
    );
    checks.same(
        &format!("{label}: the link is as it was"),
        &fs::read_link(&link).ok(),
        &Some(target),
    );
    Ok(())
}

fn ancestors(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let traps = [
        (
            "mv .git .git2 && git init && hook",
            "mv .git .git2 && git init -q . && echo evil > .git/hooks/pre-commit",
        ),
        (
            "exchange .git",
            "mkdir other && mv --exchange .git other 2>/dev/null",
        ),
        ("mv packages away", "mv packages packages2"),
        (
            "mv packages/nested away",
            "mv packages/nested packages/nested2",
        ),
        (
            "replace packages",
            "cp -r packages copy && rm -rf packages; mv copy packages",
        ),
        ("write a hook", "echo evil > .git/hooks/pre-commit"),
        (
            "write a nested hook",
            "echo evil > packages/nested/.git/hooks/pre-commit",
        ),
        ("git config", "git config core.fsmonitor evil"),
        (
            "nested git config",
            "git -C packages/nested config core.hooksPath /tmp/evil",
        ),
        ("worktree add", "git worktree add -q tree"),
        ("mv the workspace", "cd .. && mv project project2"),
    ];
    for (label, script) in traps {
        let fixture = ground.fixture()?;
        repositories(&fixture)?;
        let git = fixture.workspace.join(".git");
        let nested = fixture.workspace.join("packages/nested/.git");
        let before = (snapshot(&git)?, snapshot(&nested)?);
        let launch = Launch::new(ground, &fixture);
        let run = launch.shell(script)?;
        for (path, old) in [(&git, &before.0), (&nested, &before.1)] {
            let changed = changed(old, path);
            checks.that(
                &format!("{label}: {} is as it was", path.display()),
                changed.is_empty(),
                || format!("{changed:?}; {} {}", run.code(), run.said()),
            );
        }
        if fixture.workspace.is_dir() {
            let status = launch.plain(&["git", "status", "--porcelain"])?;
            checks.same(
                &format!("{label}: the host's git works"),
                &status.code(),
                &0,
            );
        } else {
            checks.that(label, false, || "the workspace is gone".to_owned());
        }
    }
    control_of_ancestors(ground, checks, &traps)
}

/// The same scripts without the boundary: the ones that matter must change what they attack.
fn control_of_ancestors(
    ground: &Ground,
    checks: &mut Checks,
    traps: &[(&str, &str)],
) -> Result<(), Failure> {
    for (label, script) in traps {
        let fixture = ground.fixture()?;
        repositories(&fixture)?;
        let before = (
            snapshot(&fixture.workspace.join(".git"))?,
            snapshot(&fixture.workspace.join("packages"))?,
        );
        let run = Launch::new(ground, &fixture).plain(&["/bin/sh", "-c", script])?;
        let after = (
            snapshot(&fixture.workspace.join(".git")),
            snapshot(&fixture.workspace.join("packages")),
        );
        let same =
            after.0.is_ok_and(|new| new == before.0) && after.1.is_ok_and(|new| new == before.1);
        if label.starts_with("exchange") && same {
            checks.note(format!("{label}: this mv knows no --exchange"));
            continue;
        }
        checks.that(&format!("control {label}"), !same, || {
            format!("changes nothing: {}", run.said())
        });
    }
    Ok(())
}

fn unprotect(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    for file in [
        "AGENTS.md",
        "CLAUDE.md",
        "infra/prod/main.tf",
        "infra/test/main.tf",
    ] {
        fixture.write(Path::new("home/project").join(file), ORIGINAL)?;
    }
    let launch = Launch::new(ground, &fixture).options(&[
        "--unprotect",
        "AGENTS.md",
        "--protect",
        "infra/prod",
    ]);
    let words = |file: &str| vec!["open-write".to_owned(), text(&fixture.workspace.join(file))];
    for (file, open) in [
        ("AGENTS.md", true),
        ("CLAUDE.md", false),
        ("infra/prod/main.tf", false),
        ("infra/test/main.tf", true),
    ] {
        let words = words(file);
        checks.control(file, &launch.attack_plain(&words)?);
        let inside = launch.attack_inside(&words)?;
        if open {
            checks.sibling(file, &inside);
        } else {
            checks.refused(file, &inside, &[]);
        }
    }
    let moved = launch.shell("mv infra infra2")?;
    checks.that(
        "the directory above can't be moved",
        moved.code() != 0,
        || moved.said(),
    );
    Ok(())
}

fn closed_modules(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    const ATTACK: &str = "chmod 700 .git/modules; echo evil > .git/modules/sub/hooks/post-checkout; \
        echo evil >> .git/modules/sub/config";
    let fixture = ground.fixture()?;
    fixture.repository(&fixture.workspace)?;
    let modules = fixture.workspace.join(".git/modules");
    let submodule = modules.join("sub");
    fixture.repository(&submodule)?;
    for name in ["HEAD", "objects", "refs", "hooks", "config"] {
        fs::rename(submodule.join(".git").join(name), submodule.join(name))
            .context(|| format!("moving {name}"))?;
    }
    let launch = Launch::new(ground, &fixture).options(&["--git", "commit"]);
    let closed = launch.shell("chmod 000 .git/modules")?;
    checks.same("the first session closes it", &closed.code(), &0);
    let attacked = launch.shell(ATTACK)?;
    open_up(&modules)?;
    let hook = submodule.join("hooks/post-checkout");
    checks.that("no hook was planted", !hook.exists(), || attacked.said());
    let config = submodule.join("config");
    let read = || fs::read_to_string(&config).context(|| format!("reading {}", config.display()));
    checks.that(
        "the submodule's configuration is as it was",
        !read()?.contains("evil"),
        || attacked.said(),
    );
    let control = launch.plain(&["/bin/sh", "-c", ATTACK])?;
    checks.same("control: outside it can be attacked", &control.code(), &0);
    checks.that(
        "control: outside both are written",
        hook.exists() && read()?.contains("evil"),
        || control.said(),
    );
    Ok(())
}

/// Gives a directory back to its owner.
fn open_up(directory: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
        .context(|| format!("opening {}", directory.display()))
}
