//! What a command does to plant a name or a repository so that the watch over its calls does not see it.

use std::fs;
use std::path::Path;

use super::writes::text;
use crate::checks::{Checks, Context, Failure};
use crate::fixture::Fixture;
use crate::ground::Ground;
use crate::launch::Launch;
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "evasion.protected",
        promise: "a protected name is taken away however the command spells it or locks its directory",
        needs: Needs::Full,
        run: protected,
    },
    Case {
        name: "evasion.repository",
        promise: "a repository brings no hook to the host however it came to its place",
        needs: Needs::Full,
        run: repository,
    },
    Case {
        name: "evasion.configuration",
        promise: "a repository's configuration is cleaned however it was reached",
        needs: Needs::Full,
        run: configuration,
    },
    Case {
        name: "evasion.private-tmp",
        promise: "in a workspace below /tmp no directory above it can be moved away from over it",
        needs: Needs::Full,
        run: private_tmp,
    },
];

/// How `.git` is made in the working directory.
const PROTECTED: &[(&str, &str)] = &[
    (
        "through a link to itself",
        "ln -s /proc/self/cwd me && mkdir me/.git",
    ),
    (
        "from inside /proc",
        "ln -s /proc me && cd me && mkdir self/cwd/../\"$OLDPWD\"/.git",
    ),
    ("doubled separators", "mkdir //proc/self/cwd/.git"),
    ("a locked directory", "mkdir .git; chmod 555 ."),
    ("a closed directory", "mkdir .git; chmod 000 ."),
];

fn protected(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    for (how, script) in PROTECTED {
        let fixture = ground.fixture()?;
        let launch = Launch::new(ground, &fixture);
        let run = launch.shell(script)?;
        open(&fixture)?;
        let path = fixture.workspace.join(".git");
        checks.that(
            &format!("{how}: gone from the host"),
            fs::symlink_metadata(path).is_err(),
            || format!("status {}, {}", run.code(), run.said()),
        );
        checks.that(&format!("{how}: told"), run.said().contains(".git"), || {
            run.said()
        });
    }
    Ok(())
}

/// The workspace as its owner may use it again.
fn open(fixture: &Fixture) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&fixture.workspace, fs::Permissions::from_mode(0o755))
        .context(|| format!("opening {}", fixture.workspace.display()))
}

/// Makes a repository with a hook in `$1`.
const REPOSITORY: &str = "plant() { mkdir -p $1/.git/hooks $1/.git/objects $1/.git/refs && \
    echo 'ref: refs/heads/x' > $1/.git/HEAD && echo '#!/bin/sh' > $1/.git/hooks/pre-commit; }; ";

/// How it comes to `place`.
const REPOSITORIES: &[(&str, &str)] = &[
    ("made there", "plant place"),
    (
        "below a moved directory",
        "plant a/b && mv a/b a/c && mv a place && mv place/c/.git place",
    ),
    ("with its directory", "plant a && mv a place"),
    (
        "moved twice",
        "mkdir one && plant one/a && mv one two && mv two/a place",
    ),
    (
        "through a link to itself",
        "ln -s /proc/self/cwd me && plant me/place",
    ),
    ("closed", "plant place && chmod 000 place/.git place"),
];

fn repository(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    for (how, script) in REPOSITORIES {
        let fixture = ground.fixture()?;
        let launch = Launch::new(ground, &fixture);
        let script = format!("{REPOSITORY}{script}");
        let hook = fixture.workspace.join("place/.git/hooks/pre-commit");
        let control = launch.plain(&["/bin/sh", "-c", &format!("{REPOSITORY}plant place")])?;
        checks.that(
            &format!("control {how}: a hook is made outside"),
            hook.is_file(),
            || control.said(),
        );
        fs::remove_dir_all(fixture.workspace.join("place")).context(|| "removing".to_owned())?;
        held(&launch, how, &script, &hook, checks)?;
        let fixture = ground.fixture()?;
        let hook = fixture.workspace.join("place/.git/hooks/pre-commit");
        let unseen = Launch::new(ground, &fixture).options(&["--observe", "off"]);
        held(
            &unseen,
            &format!("{how}, unobserved"),
            &script,
            &hook,
            checks,
        )?;
    }
    Ok(())
}

fn held(
    launch: &Launch<'_>,
    how: &str,
    script: &str,
    hook: &Path,
    checks: &mut Checks,
) -> Result<(), Failure> {
    let run = launch.shell(script)?;
    checks.same(&format!("{how}: the command works"), &run.code(), &0);
    checks.that(
        &format!("{how}: told"),
        run.said().contains("would run on the host"),
        || run.said(),
    );
    checks.that(
        &format!("{how}: its hook is gone"),
        fs::symlink_metadata(hook).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound),
        || run.said(),
    );
    Ok(())
}

/// How `$1`, the configuration of a repository that nothing protects, is changed.
const CONFIGURATIONS: &[(&str, &str)] = &[
    ("in place", "echo \"$2\" >> $1"),
    ("by a second name", "ln $1 other && echo \"$2\" >> other"),
    ("by a link", "ln -s $1 other && echo \"$2\" >> other"),
    (
        "by a descriptor",
        "exec 5<$1 && echo \"$2\" >> /proc/self/fd/5",
    ),
    (
        "with its directory",
        "mv vendor/x/.git g && echo \"$2\" >> g/config && mv g vendor/x/.git",
    ),
    (
        "with what is above it",
        "mv vendor v && mv v/x/.git/config c && echo \"$2\" >> c && mv c v/x/.git/config && mv v vendor",
    ),
];

fn configuration(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    for (how, script) in CONFIGURATIONS {
        let fixture = ground.fixture()?;
        fixture.repository(&fixture.workspace.join("vendor/x"))?;
        let launch = Launch::new(ground, &fixture);
        let config = fixture.workspace.join("vendor/x/.git/config");
        let line = "[core] fsmonitor = evil";
        let run = launch.inside(&["/bin/sh", "-c", script, "sh", &text(&config), line])?;
        checks.same(&format!("{how}: the command works"), &run.code(), &0);
        let left = fs::read_to_string(&config).unwrap_or_default();
        checks.that(
            &format!("{how}: cleaned"),
            !left.contains("evil") && left.contains("repositoryformatversion"),
            || format!("{left}\n{}", run.said()),
        );
        // A second name that stays would let a later command change it unseen.
        let again = launch.shell("test ! -e other || echo '[core] fsmonitor = evil' >> other")?;
        let left = fs::read_to_string(&config).unwrap_or_default();
        checks.that(
            &format!("{how}: and stays so"),
            !left.contains("evil"),
            || again.said(),
        );
    }
    Ok(())
}

fn private_tmp(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let base = tempfile::Builder::new()
        .prefix("evasion-")
        .tempdir_in("/tmp")
        .context(|| "making a directory in /tmp".to_owned())?;
    let fixture = Fixture::new(base.path())?;
    let launch = Launch::new(ground, &fixture);
    let away = format!("{}-away", base.path().display());
    let script = "mv \"$1\" \"$2\"; mkdir .git 2>/dev/null; true";
    let run = launch.inside(&["/bin/sh", "-c", script, "sh", &text(base.path()), &away])?;
    checks.that(
        "the directory above the workspace can't be moved",
        run.said().contains("busy"),
        || run.said(),
    );
    checks.that(
        "a protected name is gone",
        fs::symlink_metadata(fixture.workspace.join(".git")).is_err(),
        || run.said(),
    );
    Ok(())
}
