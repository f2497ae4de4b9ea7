//! What a command's caller sees of it: exit status, standard streams, arguments, directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use crate::checks::{Checks, Context, Failure};
use crate::ground::Ground;
use crate::launch::{Launch, finish, open};
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "run.exit-status",
        promise: "the command's own status passes through; 128+N for signal N; 126, 127; 101 for a bad policy",
        needs: Needs::Full,
        run: exit_status,
    },
    Case {
        name: "run.streams",
        promise: "64 MiB through standard input and output arrive as they were, by pipe, file and socket",
        needs: Needs::Full,
        run: streams,
    },
    Case {
        name: "run.output",
        promise: "standard output and error hold what the command said and nothing of Ringfence's on the first",
        needs: Needs::Full,
        run: output,
    },
    Case {
        name: "run.arguments",
        promise: "arguments arrive byte by byte, also empty ones, options and what is no UTF-8",
        needs: Needs::Full,
        run: arguments,
    },
    Case {
        name: "run.directory",
        promise: "the command starts where its caller is; a deleted or forbidden directory is an error with a reason",
        needs: Needs::Full,
        run: directory,
    },
    Case {
        name: "run.directory-as-input",
        promise: "a directory as a standard stream is refused and nothing runs",
        needs: Needs::Full,
        run: directory_as_input,
    },
    Case {
        name: "run.policy-errors",
        promise: "a root that is /, the home or above our state, an unknown key, what is not built: 101",
        needs: Needs::Full,
        run: policy_errors,
    },
];

fn exit_status(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    for status in [0, 1, 2, 7, 99, 100, 101, 102, 125, 126, 127, 128, 200, 255] {
        let run = launch.shell(&format!("exit {status}"))?;
        checks.same(&format!("exit {status}"), &run.code(), &status);
    }
    for signal in [1, 2, 3, 6, 9, 11, 13, 14, 15] {
        let run = launch.shell(&format!("kill -{signal} $$"))?;
        checks.same(
            &format!("signal {signal}"),
            &run.status.code(),
            &Some(128 + signal),
        );
    }
    let script = fixture.write("home/project/not-executable", "#!/bin/sh\n")?;
    for (label, words, status) in [
        (
            "no such program",
            vec!["ringfence-no-such-program".into()],
            127,
        ),
        ("no such path", vec!["./no-such-program".into()], 127),
        ("not executable", vec![script.into_os_string()], 126),
        (
            "a directory",
            vec![fixture.home.clone().into_os_string()],
            126,
        ),
    ] {
        let run = launch.inside(&words)?;
        checks.same(label, &run.status.code(), &Some(status));
        checks.that(&format!("{label}: said"), !run.errors.is_empty(), || {
            "nothing on standard error".to_owned()
        });
    }
    Ok(())
}

const SIZE: usize = 64 << 20;

/// Bytes without a pattern that a buffer's size could hide.
fn bytes() -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    (0..SIZE)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[1]
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn streams(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    use sha2::Digest;
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let bytes = bytes();
    let hash = sha2::Sha256::digest(&bytes);
    let expected = hex(&hash);
    let expected = format!("{SIZE} {expected}");
    let run = finish(
        &mut launch.inside_command(&launch.probe(&["hash-input"]))?,
        Some(bytes.clone()),
    )?;
    checks.same("by a pipe in", &run.verdict().detail(), &expected.as_str());
    let run = finish(&mut launch.inside_command(&["cat"])?, Some(bytes.clone()))?;
    checks.that("by a pipe in and out", run.output == bytes, || {
        format!(
            "{} bytes came back of {SIZE}; {}",
            run.output.len(),
            run.said()
        )
    });
    for place in ["home/project/input", "outside/input"] {
        let file = fixture.top().join(place);
        std::fs::write(&file, &bytes).context(|| format!("writing {place}"))?;
        let mut command = launch.inside_command(&launch.probe(&["hash-input"]))?;
        let run = finish(command.stdin(open(&file)?), None)?;
        checks.same(
            &format!("by a file: {place}"),
            &run.verdict().detail(),
            &expected.as_str(),
        );
    }
    for place in ["home/project/output", "outside/output"] {
        let path = fixture.top().join(place);
        let file = std::fs::File::create(&path).context(|| format!("making {place}"))?;
        let mut command = launch.inside_command(&["cat", "input"])?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(file)
            .spawn()
            .context(|| "starting ringfence".to_owned())?;
        crate::launch::wait(&mut child, "ringfence")?;
        let content = std::fs::read(&path).context(|| format!("reading {place}"))?;
        checks.that(&format!("into a file: {place}"), content == bytes, || {
            format!("{} bytes", content.len())
        });
    }
    let (ours, theirs) =
        std::os::unix::net::UnixStream::pair().context(|| "socketpair".to_owned())?;
    let feeder = std::thread::spawn(move || {
        use std::io::Write;
        let mut ours = ours;
        let _ = ours.write_all(&bytes);
    });
    let mut command = launch.inside_command(&launch.probe(&["hash-input"]))?;
    let run = finish(command.stdin(std::os::fd::OwnedFd::from(theirs)), None)?;
    drop(command);
    let _ = feeder.join();
    checks.same("by a socket", &run.verdict().detail(), &expected.as_str());
    let run = launch.shell("head -c 10 /dev/zero | wc -c; yes | head -n 100000 | tail -n 1")?;
    checks.same(
        "pipes inside, cut short",
        &run.text(),
        &"10\ny\n".to_owned(),
    );
    Ok(())
}

fn output(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture).options(&["--quiet"]);
    let run = launch.shell("printf out; printf err >&2")?;
    checks.same("standard output", &run.text(), &"out".to_owned());
    checks.same("standard error", &run.said(), &"err".to_owned());
    let loud = Launch::new(ground, &fixture).shell("printf out")?;
    checks.same(
        "standard output without --quiet",
        &loud.text(),
        &"out".to_owned(),
    );
    // A full disk: the command sees no more than that nobody reads.
    let control = launch.plain(&["/bin/sh", "-c", "echo lost > /dev/full"])?;
    checks.that(
        "control: a full disk fails a command",
        control.code() != 0,
        || control.said(),
    );
    for (script, status) in [("echo lost", 100), ("echo lost; exit 7", 7)] {
        let run = launch.inside_command(&["sh", "-c", script])?;
        let mut all: Vec<std::ffi::OsString> = ["/bin/sh", "-c", "exec \"$@\" > /dev/full", "sh"]
            .map(Into::into)
            .to_vec();
        all.push(run.get_program().to_owned());
        all.extend(run.get_args().map(ToOwned::to_owned));
        let run = launch.plain(&all)?;
        checks.same(
            &format!("status where output is lost: {script}"),
            &run.code(),
            &status,
        );
        let said = run.said();
        checks.that(
            &format!("lost output is told: {script}"),
            said.contains("No space left on device"),
            || said.clone(),
        );
    }
    let read_in_part = launch.shell("yes | head -n 3")?;
    checks.same(
        "who only stops reading loses nothing",
        &read_in_part.code(),
        &0,
    );
    let closed = launch.inside(&["sh", "-c", "exec >&- 2>&-; exit 3"])?;
    checks.same("a command that closes its streams", &closed.code(), &3);
    Ok(())
}

fn arguments(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let odd: Vec<&[u8]> = vec![
        b"",
        b"--",
        b"-x",
        b"--quiet",
        b"a b",
        b"'\"$(id)`",
        b"new\nline",
        b"\xff\xfe",
        b"\x1b[31m",
    ];
    let mut words: Vec<&OsStr> = vec![OsStr::new("arguments")];
    words.extend(odd.iter().map(|word| OsStr::from_bytes(word)));
    let verdict = launch.attack_inside(&words)?;
    let found: Vec<Vec<u8>> = serde_json::from_str(verdict.detail()).unwrap_or_default();
    let expected: Vec<Vec<u8>> = odd.iter().map(|word| word.to_vec()).collect();
    checks.same("arguments", &found, &expected);
    Ok(())
}

fn directory(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let deep = fixture.workspace.join("deep/er");
    std::fs::create_dir_all(&deep).context(|| "making a directory".to_owned())?;
    let workspace = fixture.workspace.to_string_lossy().into_owned();
    let launch = || Launch::new(ground, &fixture).options(&["--workspace", &workspace]);
    // From elsewhere it starts in the workspace that is named.
    for (place, expected) in [
        (&fixture.workspace, &fixture.workspace),
        (&deep, &deep),
        (&fixture.outside, &fixture.workspace),
    ] {
        let verdict = launch().directory(place).attack_inside(&["directory"])?;
        let label = format!("starts in {}", place.display());
        checks.same(&label, &verdict.detail(), &&*expected.to_string_lossy());
    }
    // A directory that is deleted under the caller: an error of ours with a reason, or the command runs and says so.
    let gone = fixture.workspace.join("gone");
    std::fs::create_dir_all(&gone).context(|| "making a directory".to_owned())?;
    let run = launch().inside_command(&["true"])?;
    let mut all: Vec<std::ffi::OsString> = ["/bin/sh", "-c", "rmdir \"$PWD\"; exec \"$@\"", "sh"]
        .map(Into::into)
        .to_vec();
    all.push(run.get_program().to_owned());
    all.extend(run.get_args().map(ToOwned::to_owned));
    let run = launch().directory(&gone).plain(&all)?;
    let reason =
        run.code() == 0 || ((100..=105).contains(&run.code()) && run.said().contains("director"));
    checks.that("a deleted directory is told", reason, || {
        format!("{} {}", run.code(), run.said())
    });
    Ok(())
}

fn directory_as_input(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let mut command = launch.inside_command(&["sh", "-c", "echo ran"])?;
    let run = finish(command.stdin(open(&fixture.outside)?), None)?;
    checks.that("nothing ran", run.output.is_empty(), || run.text());
    checks.that(
        "an exit status of ours",
        run.code() == 2 || (100..=105).contains(&run.code()),
        || run.code().to_string(),
    );
    checks.that(
        "the reason is told",
        run.said().contains("director"),
        || run.said(),
    );
    let mut control = launch.inside_command(&["sh", "-c", "echo ran"])?;
    let run = finish(control.stdin(Stdio::null()), None)?;
    checks.same(
        "control: with another input it runs",
        &run.text(),
        &"ran\n".to_owned(),
    );
    Ok(())
}

fn policy_errors(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let above = fixture.top().to_string_lossy().into_owned();
    let home = fixture.home.to_string_lossy().into_owned();
    std::os::unix::fs::symlink(&fixture.home, fixture.outside.join("link"))
        .context(|| "linking".to_owned())?;
    let link = fixture.outside.join("link").to_string_lossy().into_owned();
    let unknown = fixture.write(
        "outside/unknown.toml",
        "[filesystem]\nwritable_rootz = []\n",
    )?;
    let unknown = unknown.to_string_lossy().into_owned();
    let cases: [(&str, &[&str]); 13] = [
        ("root /", &["--writable-root", "/"]),
        ("root /proc", &["--writable-root", "/proc"]),
        ("root below /proc", &["--writable-root", "/proc/sys/kernel"]),
        ("root /sys", &["--writable-root", "/sys"]),
        ("root /dev", &["--writable-root", "/dev"]),
        ("root /run", &["--writable-root", "/run"]),
        ("root home", &["--writable-root", &home]),
        ("root ~", &["--writable-root", "~"]),
        ("root above our state", &["--writable-root", &above]),
        (
            "root through a link to the home",
            &["--writable-root", &link],
        ),
        ("workspace home", &["--workspace", &home]),
        ("relative root", &["--writable-root", "relative/path"]),
        ("unknown key", &["--config", &unknown]),
    ];
    for (label, options) in cases {
        let run = Launch::new(ground, &fixture)
            .options(options)
            .shell("echo ran")?;
        // A relative root on the command line may also be read as relative to the caller: then it must exist.
        checks.same(label, &run.code(), &101);
        checks.that(
            &format!("{label}: nothing ran"),
            run.output.is_empty(),
            || run.text(),
        );
        checks.that(&format!("{label}: told"), !run.errors.is_empty(), || {
            "nothing".to_owned()
        });
    }
    let run = Launch::new(ground, &fixture).shell("echo ran")?;
    checks.same(
        "control: without it the command runs",
        &run.text(),
        &"ran\n".to_owned(),
    );
    Ok(())
}
