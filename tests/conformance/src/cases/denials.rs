//! What a person is told: the rule, the object, and an option that really is the narrowest.

use std::path::PathBuf;

use serde_json::Value;

use super::writes::text;
use crate::checks::{Checks, Context, Failure};
use crate::fixture::Fixture;
use crate::ground::Ground;
use crate::launch::{Finished, Launch};
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "denial.report",
        promise: "a refused write is told on standard error and in --events, with its rule and the option that allows it",
        needs: Needs::Full,
        run: report,
    },
    Case {
        name: "denial.loop",
        promise: "the option that a denial names makes exactly the refused thing succeed",
        needs: Needs::Full,
        run: report_loop,
    },
    Case {
        name: "denial.explain",
        promise: "`explain` gives the same rule and option as the denial, with nothing run",
        needs: Needs::Full,
        run: explain,
    },
    Case {
        name: "denial.escaped",
        promise: "a path with control characters is escaped wherever it is printed",
        needs: Needs::Full,
        run: escaped,
    },
    Case {
        name: "denial.own-permissions",
        promise: "what fails without Ringfence too is not blamed on it",
        needs: Needs::Full,
        run: own_permissions,
    },
    Case {
        name: "denial.process",
        promise: "a signal to a process outside, and tracing of one, are told with their rule; one to an own process that has ended is not",
        needs: Needs::Full,
        run: process,
    },
    Case {
        name: "denial.process-partial",
        promise: "the same without namespaces, where processes outside are seen",
        needs: Needs::Landlock,
        run: process_partial,
    },
];

/// One refusal, its rule and what it is.
struct Refusal {
    words: [String; 2],
    operation: &'static str,
    rule: &'static str,
}

fn refusals(fixture: &Fixture) -> Result<Vec<Refusal>, Failure> {
    let row = |call: &str, path: PathBuf, operation, rule| Refusal {
        words: [call.to_owned(), text(&path)],
        operation,
        rule,
    };
    Ok(vec![
        row(
            "open-write",
            fixture.write("outside/file", "x")?,
            "write",
            "fs.outside-writable-roots",
        ),
        row(
            "open-write",
            fixture.write("home/project/AGENTS.md", "x")?,
            "write",
            "fs.protected-name",
        ),
        row(
            "open-write",
            fixture.write("home/project/.vscode/tasks.json", "x")?,
            "write",
            "fs.protected-name",
        ),
        row(
            "open-write",
            fixture.write("home/.bashrc", "x")?,
            "write",
            "fs.outside-writable-roots",
        ),
    ])
}

/// Runs one refusal with `--events` and gives what was said, the events, and whether it was refused.
fn refuse(
    checks: &mut Checks,
    launch: &Launch<'_>,
    fixture: &Fixture,
    refusal: &Refusal,
) -> Result<(Finished, Vec<Value>), Failure> {
    let events = fixture.top().join("events.jsonl");
    let _ = std::fs::remove_file(&events);
    // What was refused is told after a command that fails.
    let failing = ["/bin/sh", "-c", "\"$@\"; exit 1", "sh"].map(std::ffi::OsString::from);
    let words = [&failing[..], &launch.probe(&refusal.words)].concat();
    let mut command = launch.inside_command(&words)?;
    let mut words: Vec<std::ffi::OsString> = command.get_args().map(ToOwned::to_owned).collect();
    words.splice(1..1, ["--events".into(), events.clone().into_os_string()]);
    command = launch.plain_command(&[&[command.get_program().to_owned()][..], &words].concat())?;
    let run = crate::launch::finish(command.stdin(std::process::Stdio::null()), None)?;
    checks.refused(&refusal.words.join(" "), &run.verdict(), &[]);
    let lines = std::fs::read_to_string(&events).unwrap_or_default();
    let events = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    Ok((run, events))
}

fn denied<'a>(events: &'a [Value], object: &str) -> Option<&'a Value> {
    events.iter().find(|event| {
        event.get("event").and_then(Value::as_str) == Some("fs.denied")
            && event.get("object").and_then(Value::as_str) == Some(object)
    })
}

fn grant(event: &Value) -> Vec<String> {
    event
        .get("grant")
        .and_then(Value::as_array)
        .map(|words| {
            words
                .iter()
                .filter_map(Value::as_str)
                .map(ToOwned::to_owned)
                .collect()
        })
        .unwrap_or_default()
}

/// The home itself can't be a root, and so no option opens a file directly in it.
fn no_option(object: &str) -> bool {
    object.ends_with("/home/.bashrc")
}

fn report(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    for refusal in refusals(&fixture)? {
        let [_, object] = &refusal.words;
        checks.control(object, &launch.attack_plain(&refusal.words)?);
        let (run, events) = refuse(checks, &launch, &fixture, &refusal)?;
        let said = run.said();
        checks.that(
            &format!("{object}: object and rule on standard error"),
            said.contains(object) && said.contains(refusal.rule),
            || said.clone(),
        );
        let Some(event) = denied(&events, object) else {
            checks.that(&format!("{object}: fs.denied in --events"), false, || {
                format!("{events:?}")
            });
            continue;
        };
        checks.same(
            &format!("{object}: rule"),
            &event.get("rule").and_then(Value::as_str),
            &Some(refusal.rule),
        );
        let operation = event.get("operation").and_then(Value::as_str);
        checks.same(
            &format!("{object}: operation"),
            &operation,
            &Some(refusal.operation),
        );
        let option = grant(event);
        let is_told = match option.first() {
            Some(word) => said.contains(word),
            None => no_option(object) && said.contains("no option allows this"),
        };
        checks.that(
            &format!("{object}: the option is told, or that there is none"),
            is_told,
            || format!("{option:?} in {said}"),
        );
        let whole = ["session.start", "exec.start", "exec.end", "session.end"];
        for kind in whole {
            let there = events
                .iter()
                .any(|event| event.get("event").and_then(Value::as_str) == Some(kind));
            checks.that(&format!("{object}: {kind} in --events"), there, || {
                format!("{events:?}")
            });
        }
    }
    let quiet = launch.attack_inside(&[
        "open-write",
        &text(&fixture.write("home/project/ordinary", "x")?),
    ])?;
    checks.sibling("an allowed write", &quiet);
    Ok(())
}

fn report_loop(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    for refusal in refusals(&fixture)? {
        let [_, object] = &refusal.words;
        let (run, events) = refuse(checks, &launch, &fixture, &refusal)?;
        let option = denied(&events, object).map(grant).unwrap_or_default();
        if option.is_empty() {
            checks.that(
                &format!("{object}: an option is told"),
                no_option(object),
                || run.said(),
            );
            for root in [object.clone(), text(&fixture.top().join("home"))] {
                let tried = Launch::new(ground, &fixture)
                    .options(&["--writable-root", &root])
                    .shell("true")?;
                checks.same(&format!("{root} makes no root"), &tried.code(), &101);
            }
            continue;
        }
        let opened = Launch::new(ground, &fixture)
            .options(&option)
            .inside(&launch.probe(&refusal.words))?;
        checks.that(
            &format!("{object} with {option:?}"),
            opened.verdict().succeeded(),
            || format!("{} {} {}", opened.code(), opened.text(), opened.said()),
        );
    }
    Ok(())
}

fn explain(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let mut rows: Vec<(&str, String, &str)> = refusals(&fixture)?
        .into_iter()
        .map(|refusal| {
            let [_, object] = refusal.words;
            (refusal.operation, object, refusal.rule)
        })
        .collect();
    rows.push((
        "read",
        text(&fixture.write("home/.ssh/id_ed25519", "x")?),
        "fs.secret",
    ));
    rows.push((
        "read",
        text(&fixture.write("home/project/.env", "x")?),
        "fs.secret",
    ));
    for (operation, object, rule) in rows {
        let said = launch.ringfence(&["explain", "--json", operation, &object])?;
        let answer: Value = serde_json::from_slice(&said.output).unwrap_or_default();
        let found = answer.to_string();
        checks.that(
            &format!("explain {operation} {object}"),
            found.contains(rule),
            || format!("{found} {}", said.said()),
        );
    }
    let allowed = launch.ringfence(&[
        "explain",
        "--json",
        "write",
        &text(&fixture.workspace.join("x")),
    ])?;
    checks.that(
        "explain an allowed write",
        allowed.text().contains("fs.writable-root"),
        || allowed.text(),
    );
    Ok(())
}

fn escaped(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let file = fixture
        .outside
        .join("evil\u{1b}]0;title\u{7}\u{1b}[31mred\nringfence: all is well");
    let run = launch.inside(&[std::ffi::OsStr::new("touch"), file.as_os_str()])?;
    let said = run.said();
    checks.that(
        "no escape sequence is printed",
        !said.contains('\u{1b}') && !said.contains('\u{7}'),
        || said.escape_debug().to_string(),
    );
    let forged = said
        .lines()
        .any(|line| line.starts_with("ringfence: all is well"));
    checks.that("no line is forged", !forged, || said.clone());
    checks.that("it was refused", !file.exists(), String::new);
    Ok(())
}

/// A process outside, ended with its owner.
struct Victim(std::process::Child);

impl Victim {
    fn start() -> Result<Self, Failure> {
        use std::os::unix::process::CommandExt;
        std::process::Command::new("/bin/sleep")
            .arg("600")
            .process_group(0)
            .stdin(std::process::Stdio::null())
            .spawn()
            .map(Self)
            .context(|| "starting sleep".to_owned())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Attacks on a process by its number, how each is told, and the object.
const ON_A_PROCESS: &[(&str, &str, &str)] = &[
    ("terminate", "denied signal", "process"),
    ("terminate-group", "denied signal", "process group"),
    ("ptrace-attach", "denied trace", "process"),
    ("ptrace-seize", "denied trace", "process"),
];

fn told_of_a_process(
    checks: &mut Checks,
    launch: &Launch<'_>,
    attacks: &[(&str, &str, &str)],
) -> Result<(), Failure> {
    for (attack, told, kind) in attacks {
        let victim = Victim::start()?;
        let pid = victim.0.id().to_string();
        let failing = ["/bin/sh", "-c", "\"$@\"; exit 7", "sh"].map(std::ffi::OsString::from);
        let words = [&failing[..], &launch.probe(&[*attack, &pid])].concat();
        let run = launch.inside(&words)?;
        let gone = [libc::ESRCH];
        checks.refused(attack, &run.verdict(), &gone);
        checks.same(&format!("{attack}: status"), &run.code(), &7);
        let said = run.said();
        let line = format!("{told} {kind} {pid} (rule process.outside)");
        checks.that(
            &format!("{attack}: told"),
            said.contains(&line) && said.contains("no option allows it"),
            || said.clone(),
        );
        // The control ends it.
        checks.control(attack, &launch.attack_plain(&[*attack, &pid])?);
    }
    let script = "sleep 600 & kill -TERM $!; wait $!; kill -KILL $!; kill -STOP $!; exit 7";
    let own = launch.shell(script)?;
    checks.same("an own process: status", &own.code(), &7);
    checks.that(
        "an own process, also when it has ended, is not told",
        !own.said().contains("process.outside"),
        || own.said(),
    );
    Ok(())
}

fn process(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    told_of_a_process(checks, &launch, ON_A_PROCESS)?;
    told_of_a_process(
        checks,
        &launch,
        &[("pidfd-open", "denied signal", "process")],
    )
}

fn process_partial(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let wrapper: [std::ffi::OsString; 2] =
        [ground.probe.clone().into_os_string(), "deny-userns".into()];
    let launch = Launch::new(ground, &fixture).wrapper(&wrapper);
    let traced = ON_A_PROCESS
        .iter()
        .filter(|(attack, ..)| attack.starts_with("ptrace"));
    let keeps_signals = ground.landlock >= 6;
    let signalled = ON_A_PROCESS
        .iter()
        .filter(|(attack, ..)| keeps_signals && attack.starts_with("terminate"));
    let attacks: Vec<_> = traced.chain(signalled).copied().collect();
    told_of_a_process(checks, &launch, &attacks)
}

fn own_permissions(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    if ground.root() {
        checks.skip("root is refused nothing by permissions");
        return Ok(());
    }
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let outside = launch.attack_plain(&["open-write", "/etc/passwd"])?;
    checks.refused("control: refused without the boundary, too", &outside, &[]);
    let run = launch.inside(&launch.probe(&["open-write", "/etc/passwd"]))?;
    checks.that(
        "it is told as such",
        !run.said().contains("to allow"),
        || run.said(),
    );
    Ok(())
}
