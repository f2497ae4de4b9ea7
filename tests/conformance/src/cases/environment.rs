//! Which variables reach the command.

use std::collections::BTreeMap;

use crate::checks::{Checks, Context, Failure};
use crate::fixture::Fixture;
use crate::ground::Ground;
use crate::launch::Launch;
use crate::suite::{Case, Needs};
use crate::verdict::Verdict;

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "environment.filtered",
        promise: "secrets by name and by value, agent sockets and loader variables are withheld; ordinary ones pass",
        needs: Needs::Full,
        run: filtered,
    },
    Case {
        name: "environment.allowlist",
        promise: "in allowlist mode only the basics and what is named pass",
        needs: Needs::Full,
        run: allowlist,
    },
    Case {
        name: "environment.options",
        promise: "--env NAME lets a withheld variable through by name, --env NAME=VALUE sets one",
        needs: Needs::Full,
        run: options,
    },
    Case {
        name: "environment.switching-off",
        promise: "no variable and no option inside switches the boundary off",
        needs: Needs::Full,
        run: switching_off,
    },
];

/// Variables that must not pass: by their name.
const BY_NAME: &[(&str, &str)] = &[
    ("GITHUB_TOKEN", "x1"),
    ("AWS_SECRET_ACCESS_KEY", "x2"),
    ("AWS_SESSION_TOKEN", "x3"),
    ("MY_API_KEY", "x4"),
    ("DB_PASSWORD", "x5"),
    ("OPENAI_API_KEY", "x6"),
    ("ANTHROPIC_API_KEY", "x7"),
    ("NPM_TOKEN", "x8"),
    ("SSH_AUTH_SOCK", "/nonexistent/agent"),
    ("GPG_AGENT_INFO", "/nonexistent/agent"),
    ("DOCKER_HOST", "unix:///nonexistent/docker.sock"),
    ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus"),
    ("LD_PRELOAD", ""),
    ("LD_AUDIT", ""),
    ("BASH_ENV", "/nonexistent/rc"),
];

/// Variables with an ordinary name whose value has the shape of a token. The values are made up.
fn by_value() -> Vec<(&'static str, String)> {
    let letters = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789";
    vec![
        ("PLAIN_ONE", format!("ghp_{letters}")),
        ("PLAIN_TWO", format!("AKIA{}", "ABCDEFGHIJKLMNOP")),
        ("PLAIN_THREE", format!("xoxb-123456789012-{letters}")),
        ("PLAIN_FOUR", format!("glpat-{}", "AbCdEfGhIjKlMnOpQrSt")),
    ]
}

/// Variables that must pass.
const ORDINARY: &[(&str, &str)] = &[
    // A search path, which cargo sets for the tests it runs; what is searched is held by the boundary.
    ("LD_LIBRARY_PATH", "/nonexistent"),
    ("CI", "true"),
    ("EDITOR", "vi"),
    ("RUST_LOG", "debug"),
    ("CARGO_TERM_COLOR", "never"),
    ("NODE_ENV", "test"),
    ("TZ", "UTC"),
    ("LC_ALL", "C.UTF-8"),
    ("PROJECT_NAME", "two words"),
];

fn read(verdict: &Verdict) -> BTreeMap<String, String> {
    serde_json::from_str(verdict.detail()).unwrap_or_default()
}

fn with<'a>(mut launch: Launch<'a>, variables: &[(&str, &str)]) -> Launch<'a> {
    for (name, value) in variables {
        launch = launch.variable(name, value);
    }
    for (name, value) in by_value() {
        launch = launch.variable(name, value);
    }
    launch
}

fn all(launch: Launch<'_>) -> Launch<'_> {
    with(with(launch, BY_NAME), ORDINARY)
}

fn filtered(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = all(Launch::new(ground, &fixture));
    let outside = read(&launch.attack_plain(&["environment"])?);
    let run = launch.inside(&launch.probe(&["environment"]))?;
    let inside = read(&run.verdict());
    let values = by_value();
    let names = BY_NAME
        .iter()
        .map(|(name, _)| *name)
        .chain(values.iter().map(|(name, _)| *name));
    for name in names {
        checks.that(
            &format!("control {name}"),
            outside.contains_key(name),
            || "not set outside".to_owned(),
        );
        checks.that(
            &format!("{name} is withheld"),
            !inside.contains_key(name),
            || format!("{:?}", inside.get(name)),
        );
    }
    for (name, value) in ORDINARY {
        checks.same(
            &format!("{name} passes"),
            &inside.get(*name).map(String::as_str),
            &Some(*value),
        );
    }
    for name in ["HOME", "USER", "PATH", "LANG"] {
        checks.same(
            &format!("{name} passes"),
            &inside.get(name),
            &outside.get(name),
        );
    }
    checks.same(
        "TMPDIR is the private one",
        &inside.get("TMPDIR").map(String::as_str),
        &Some("/tmp"),
    );
    Ok(())
}

fn allowlist(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let config = fixture.write(
        "outside/policy.toml",
        "[environment]\nmode = \"allowlist\"\npass = [\"CI\"]\n",
    )?;
    let config = config.to_string_lossy().into_owned();
    let launch = all(Launch::new(ground, &fixture)).options(&["--config", &config]);
    let inside = read(&launch.attack_inside(&["environment"])?);
    for name in ["CI", "HOME", "USER", "PATH", "LANG", "LC_ALL", "TZ"] {
        checks.that(&format!("{name} passes"), inside.contains_key(name), || {
            format!("{:?}", inside.keys())
        });
    }
    for (name, _) in BY_NAME.iter().chain(ORDINARY) {
        if ["CI", "TZ", "LC_ALL"].contains(name) {
            continue;
        }
        checks.that(
            &format!("{name} is withheld"),
            !inside.contains_key(*name),
            || name.to_string(),
        );
    }
    Ok(())
}

fn options(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = all(Launch::new(ground, &fixture)).options(&[
        "--env",
        "GITHUB_TOKEN",
        "--env",
        "ADDED=a value",
        "--env",
        "CI=changed",
    ]);
    let inside = read(&launch.attack_inside(&["environment"])?);
    for (name, value) in [
        ("GITHUB_TOKEN", "x1"),
        ("ADDED", "a value"),
        ("CI", "changed"),
    ] {
        checks.same(name, &inside.get(name).map(String::as_str), &Some(value));
    }
    checks.that(
        "no other secret came along",
        !inside.contains_key("NPM_TOKEN"),
        || "NPM_TOKEN".to_owned(),
    );
    Ok(())
}

fn switching_off(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let file = fixture.write("outside/target", "first\n")?;
    let file = file.to_string_lossy().into_owned();
    let ringfence = ground.ringfence.to_string_lossy().into_owned();
    let probe = ground.probe.to_string_lossy().into_owned();
    let scripts = [
        format!("RINGFENCE_MODE=full-access RINGFENCE_DISABLE=1 {probe} open-write {file}"),
        format!(
            "mkdir -p .ringfence; echo 'mode = \"full-access\"' > .ringfence/policy.toml; {probe} open-write {file}"
        ),
        format!("{ringfence} run --mode full-access -- {probe} open-write {file}"),
        format!("{ringfence} trust; {probe} open-write {file}"),
    ];
    for script in &scripts {
        let run = launch.shell(script)?;
        let verdict = run.verdict();
        checks.that(script, !verdict.succeeded(), || {
            format!("{verdict:?} {}", run.said())
        });
        // A policy that the command has planted must not count in the next run.
        let next = launch.attack_inside(&["open-write", &file])?;
        checks.refused(&format!("the run after: {script}"), &next, &[]);
    }
    checks.control("open-write", &launch.attack_plain(&["open-write", &file])?);
    files_of_ours(ground, checks, &fixture)
}

/// A policy or event file that a command could write is refused before anything runs, and before it is made.
fn files_of_ours(ground: &Ground, checks: &mut Checks, fixture: &Fixture) -> Result<(), Failure> {
    let widen = "echo 'mode = \"full-access\"' > policy.toml";
    fixture.write(fixture.workspace.join("policy.toml"), "")?;
    let outside = fixture.write("outside/policy.toml", "")?;
    std::fs::hard_link(&outside, fixture.workspace.join("other-name"))
        .context(|| "a second name of the policy file".to_owned())?;
    let free = fixture.write("outside/free.toml", "")?;
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let within = |name: &str| text(&fixture.workspace.join(name));
    std::os::unix::fs::symlink(&fixture.outside, fixture.workspace.join("way"))
        .context(|| "a link in the workspace".to_owned())?;
    let cases = [
        ("--config", within("policy.toml"), 101),
        ("--config", text(&outside), 101),
        ("--config", within("way/free.toml"), 101),
        ("--config", text(&free), 0),
        ("--events", within("events"), 101),
        ("--events", within("way/events"), 101),
        ("--events", text(&outside), 101),
        ("--events", text(&fixture.outside.join("events")), 0),
    ];
    for (option, path, expected) in &cases {
        let label = format!("{option} {path}");
        let run = Launch::new(ground, fixture)
            .options(&[option, path.as_str()])
            .shell(widen)?;
        checks.same(&label, &run.code(), expected);
        if *expected == 101 {
            let told = ["writable root", "names"]
                .iter()
                .any(|word| run.said().contains(word));
            checks.that(&format!("{label}: it says why"), told, || run.said());
        }
    }
    let made = fixture.workspace.join("events").exists();
    checks.that("no event file was made", !made, || within("events"));
    Ok(())
}
