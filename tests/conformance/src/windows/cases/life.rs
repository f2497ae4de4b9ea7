//! How a command lives: its variables, streams and status, and its end with all that it has started.

use std::fs::{self, File, OpenOptions};
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Next, next};
use crate::checks::{Checks, Context, Failure};
use crate::finished::{Finished, eventually, finish, verdict, wait};
use crate::suite::{Case, Needs};
use crate::verdict::Verdict;
use crate::windows::fixture::write;
use crate::windows::ground::Ground;
use crate::windows::launch::Launch;

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "windows.environment",
        promise: "a variable that looks like a secret is withheld, and temporary files have a place of their own",
        needs: Needs::Full,
        run: environment,
    },
    Case {
        name: "windows.exit-status",
        promise: "the command's status is passed on, and what can't be started is told by its own",
        needs: Needs::Full,
        run: statuses,
    },
    Case {
        name: "windows.streams",
        promise: "every byte of input, output and error arrives as it is",
        needs: Needs::Full,
        run: streams,
    },
    Case {
        name: "windows.ends-with-its-run",
        promise: "what a command leaves behind ends with it, and with a run that is killed",
        needs: Needs::Full,
        run: ends,
    },
];

/// What the secret-looking variable holds.
const TOKEN: &str = "not-to-be-seen";

fn environment(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture).variable("GITHUB_TOKEN", TOKEN);
    let read = |name: &str| vec!["variable".to_owned(), name.to_owned()];
    let list = ["GITHUB_TOKEN", "TEMP", "TMP", "SystemRoot"].map(read);
    let plain = launch.batch_plain(&list)?;
    for (attack, verdict) in list.iter().zip(&plain) {
        checks.control(&attack.join(" "), verdict);
    }
    if next(ground, checks) == Next::Nothing {
        return Ok(());
    }
    let inside = launch.batch_inside(&list)?;
    for ((attack, verdict), control) in list.iter().zip(&inside).zip(&plain) {
        let name = attack.join(" ");
        match attack.get(1).map(String::as_str) {
            // ERROR_ENVVAR_NOT_FOUND
            Some("GITHUB_TOKEN") => checks.refused(&name, verdict, &[203]),
            Some("SystemRoot") => checks.sibling(&name, verdict),
            Some(_) | None => checks.that(
                &format!("{name} is private"),
                verdict.succeeded() && verdict.detail() != control.detail(),
                || format!("{verdict:?}, outside {control:?}"),
            ),
        }
    }
    Ok(())
}

/// What the probe ends with, and what `ringfence run` is to end with.
const STATUSES: &[(&str, i32)] = &[
    ("0", 0),
    ("7", 7),
    ("255", 255),
    ("256", 1),
    // An access violation, Ctrl-C, an abort.
    ("3221225477", 139),
    ("3221225786", 130),
    ("3221226505", 134),
];

fn statuses(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    for (status, _) in STATUSES {
        let code = finish(&mut launch.plain_command(&["exit", status]), None)?
            .status
            .code();
        checks.same(
            &format!("control {status}"),
            &code.map(|code| code.cast_unsigned().to_string()),
            &Some((*status).to_owned()),
        );
    }
    if next(ground, checks) == Next::Nothing {
        return Ok(());
    }
    for (status, expected) in STATUSES {
        let run = finish(&mut launch.probe_command(&["exit", status]), None)?;
        checks.same(&format!("status {status}"), &run.code(), expected);
    }
    write(&fixture.workspace.join("no-program.exe"), "no program")?;
    let no_program = fixture.workspace.join("no-program.exe");
    let absent = fixture.workspace.join("absent.exe");
    checks.same("no program", &launch.inside(&[no_program])?.code(), &126);
    checks.same("an absent program", &launch.inside(&[absent])?.code(), &127);
    Ok(())
}

/// Every byte there is, line ends and zeros in every order, and more than a pipe holds.
fn bytes() -> Vec<u8> {
    (0..=u8::MAX)
        .chain(*b"\r\n\n\r\x1a\0")
        .cycle()
        .take(300_000)
        .collect()
}

fn streams(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let plain = finish(&mut launch.plain_command(&["copy"]), Some(bytes()))?;
    copied(checks, "control", &plain);
    if next(ground, checks) == Next::Nothing {
        return Ok(());
    }
    let inside = finish(&mut launch.probe_command(&["copy"]), Some(bytes()))?;
    copied(checks, "inside", &inside);
    Ok(())
}

/// The probe gives its input back, and backwards as its errors; Ringfence's own words come after these.
fn copied(checks: &mut Checks, name: &str, finished: &Finished) {
    let mut expected = bytes();
    checks.same(&format!("{name} status"), &finished.code(), &0);
    checks.that(
        &format!("{name} output"),
        finished.output == expected,
        || format!("{} bytes; {}", finished.output.len(), finished.said()),
    );
    expected.reverse();
    checks.that(
        &format!("{name} errors"),
        finished.errors.starts_with(&expected),
        || format!("{} bytes", finished.errors.len()),
    );
}

/// `ERROR_SHARING_VIOLATION`
const SHARING_VIOLATION: i32 = 32;

/// Whether somebody keeps the file to itself; a file that can't be opened for another reason says nothing.
fn is_held(file: &Path) -> Result<bool, Failure> {
    match OpenOptions::new().write(true).share_mode(7).open(file) {
        Ok(_) => Ok(false),
        Err(error) if error.raw_os_error() == Some(SHARING_VIOLATION) => Ok(true),
        Err(source) => Err(Failure::System {
            what: format!("opening {}", file.display()),
            source,
        }),
    }
}

fn ends(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let held = fixture.workspace.join("held");
    let words = |file: &Path| ["leave".into(), file.as_os_str().to_owned()];
    let output = fixture.outside.join("output");
    let control = heard(&mut launch.plain_command(&words(&held)), &output)?;
    checks.control("a process is left", &control);
    checks.that("control it holds its file", is_held(&held)?, String::new);
    end(&control)?;
    let freed = eventually(30, || is_held(&held).is_ok_and(|held| !held));
    checks.that("control its end is seen", freed, String::new);
    if next(ground, checks) == Next::Nothing {
        return Ok(());
    }
    let left = fixture.workspace.join("left");
    let inside = heard(&mut launch.probe_command(&words(&left)), &output)?;
    checks.sibling("a process is started inside", &inside);
    let freed = eventually(30, || is_held(&left).is_ok_and(|held| !held));
    checks.that("what was left has ended with the run", freed, String::new);
    let killed = fixture.workspace.join("killed");
    let mut run = launch
        .probe_command(&["hold".into(), killed.as_os_str().to_owned()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context(|| "starting ringfence".to_owned())?;
    let lives = eventually(60, || {
        killed.exists() && is_held(&killed).is_ok_and(|held| held)
    });
    checks.that("a command holds its file", lives, String::new);
    run.kill().context(|| "ending ringfence".to_owned())?;
    wait(&mut run, "ringfence")?;
    let freed = eventually(30, || is_held(&killed).is_ok_and(|held| !held));
    checks.that("a killed run takes its command along", freed, String::new);
    Ok(())
}

/// What the probe says, by way of a file: what it leaves inherits its handles, and would keep a pipe open.
fn heard(command: &mut Command, output: &Path) -> Result<Verdict, Failure> {
    let file = File::create(output).context(|| format!("making {}", output.display()))?;
    let mut child = command
        .stdout(file)
        .stderr(Stdio::null())
        .spawn()
        .context(|| "starting the probe".to_owned())?;
    let status = wait(&mut child, "the probe")?;
    let said = fs::read(output).context(|| format!("reading {}", output.display()))?;
    Ok(verdict(&said, status))
}

/// Ends the process that a control has left, by its number.
fn end(left: &Verdict) -> Result<(), Failure> {
    let mut command = Command::new("taskkill");
    command
        .args(["/F", "/PID", left.detail()])
        .stdin(Stdio::null());
    finish(&mut command, None).map(drop)
}
