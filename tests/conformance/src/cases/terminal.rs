//! A command on a terminal: our own pair in place of the caller's.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use crate::checks::{Checks, Context, Failure};
use crate::ground::Ground;
use crate::launch::{Launch, eventually, wait};
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "terminal.is-one",
        promise: "a terminal outside is a terminal inside, with its size, its name and its control",
        needs: Needs::Full,
        run: is_one,
    },
    Case {
        name: "terminal.mixed",
        promise: "with one stream on a terminal and the others elsewhere each is what it was",
        needs: Needs::Full,
        run: mixed,
    },
    Case {
        name: "terminal.resize",
        promise: "a new size reaches the command",
        needs: Needs::Full,
        run: resize,
    },
    Case {
        name: "terminal.interrupt",
        promise: "Ctrl-C ends the command with status 130, and the caller's terminal is as it was",
        needs: Needs::Full,
        run: interrupt,
    },
    Case {
        name: "terminal.stop",
        promise: "Ctrl-Z stops the command and gives the terminal back; when it is continued both go on",
        needs: Needs::Full,
        run: stop,
    },
    Case {
        name: "terminal.killed",
        promise: "after kill -9 of the harness the caller's terminal is as it was",
        needs: Needs::Full,
        run: killed,
    },
    Case {
        name: "terminal.input-injection",
        promise: "the command can't reach the caller's terminal: it is another device",
        needs: Needs::Full,
        run: another_device,
    },
];

/// The caller's terminal: this side plays the person.
struct Terminal {
    person: OwnedFd,
    program: OwnedFd,
    said: Arc<Mutex<Vec<u8>>>,
}

const SIZE: rustix::termios::Winsize = rustix::termios::Winsize {
    ws_row: 33,
    ws_col: 101,
    ws_xpixel: 0,
    ws_ypixel: 0,
};

impl Terminal {
    fn new() -> Result<Self, Failure> {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let person = openpt(flags).context(|| "posix_openpt".to_owned())?;
        grantpt(&person).context(|| "grantpt".to_owned())?;
        unlockpt(&person).context(|| "unlockpt".to_owned())?;
        let name = ptsname(&person, Vec::new()).context(|| "ptsname".to_owned())?;
        let flags =
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let program = rustix::fs::open(name, flags, rustix::fs::Mode::empty())
            .context(|| "opening the terminal".to_owned())?;
        rustix::termios::tcsetwinsize(&person, SIZE).context(|| "setting the size".to_owned())?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let mut reader = File::from(person.try_clone().context(|| "dup".to_owned())?);
        let collected = said.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = reader.read(&mut buffer) {
                let Some(part) = buffer.get(..length).filter(|part| !part.is_empty()) else {
                    break;
                };
                if let Ok(mut said) = collected.lock() {
                    said.extend_from_slice(part);
                }
            }
        });
        Ok(Self {
            person,
            program,
            said,
        })
    }

    fn text(&self) -> String {
        self.said
            .lock()
            .map(|said| String::from_utf8_lossy(&said).into_owned())
            .unwrap_or_default()
    }

    fn side(&self) -> Result<OwnedFd, Failure> {
        self.program.try_clone().context(|| "dup".to_owned())
    }

    fn kind(&self) -> Result<String, Failure> {
        rustix::termios::tcgetattr(self.program.as_fd())
            .map(|settings| format!("{settings:?}"))
            .context(|| "tcgetattr".to_owned())
    }

    fn types(&self, keys: &[u8]) -> Result<(), Failure> {
        let person = self.person.try_clone().context(|| "dup".to_owned())?;
        File::from(person)
            .write_all(keys)
            .context(|| "typing".to_owned())
    }

    /// Starts `command` with this as its controlling terminal, by `setsid --ctty`.
    fn start(&self, command: &Command) -> Result<Child, Failure> {
        let mut leader = Command::new("setsid");
        leader
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args());
        copy_surroundings(command, &mut leader);
        leader
            .stdin(self.side()?)
            .stdout(self.side()?)
            .stderr(self.side()?)
            .spawn()
            .context(|| "starting setsid".to_owned())
    }
}

fn copy_surroundings(from: &Command, to: &mut Command) {
    to.env_clear();
    for (name, value) in from.get_envs() {
        if let Some(value) = value {
            to.env(name, value);
        }
    }
    if let Some(directory) = from.get_current_dir() {
        to.current_dir(directory);
    }
}

fn is_one(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let expected = "[true, true, true] 33x101 true";
    for (label, command) in [
        (
            "control",
            launch.plain_command(&launch.probe(&["terminal"]))?,
        ),
        (
            "inside",
            launch.inside_command(&launch.probe(&["terminal"]))?,
        ),
    ] {
        let terminal = Terminal::new()?;
        let before = terminal.kind()?;
        let mut child = terminal.start(&command)?;
        wait(&mut child, label)?;
        let seen = eventually(5, || terminal.text().contains(expected));
        checks.that(label, seen, || terminal.text());
        checks.same(
            &format!("{label}: the settings are as they were"),
            &terminal.kind()?,
            &before,
        );
    }
    Ok(())
}

fn mixed(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    for terminals in [
        [true, false, false],
        [false, true, false],
        [false, false, true],
        [true, true, false],
    ] {
        let terminal = Terminal::new()?;
        let [input, output, errors] = terminals;
        let file = fixture.write("home/project/output", "")?;
        // A shell redirects what is no terminal: the leader itself needs one to take control of.
        let mut script = "exec \"$@\"".to_owned();
        for (redirection, on_terminal) in [
            (" </dev/null", input),
            (" >>output", output),
            (" 2>>output", errors),
        ] {
            if !on_terminal {
                script.push_str(redirection);
            }
        }
        let run = launch.inside_command(&launch.probe(&["terminal"]))?;
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &script, "sh"])
            .arg(run.get_program())
            .args(run.get_args());
        copy_surroundings(&run, &mut shell);
        let mut child = terminal.start(&shell)?;
        wait(&mut child, "setsid")?;
        let expected = format!("{terminals:?} 33x101");
        let said = || {
            format!(
                "{}{}",
                terminal.text(),
                std::fs::read_to_string(&file).unwrap_or_default()
            )
        };
        checks.that(
            &format!("{terminals:?}"),
            eventually(5, || said().contains(&expected)),
            said,
        );
    }
    Ok(())
}

fn resize(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let terminal = Terminal::new()?;
    let command = launch.inside_command(&launch.probe(&["await-resize"]))?;
    let mut child = terminal.start(&command)?;
    let begun = eventually(20, || terminal.text().contains("size 33x101"));
    checks.that("the first size arrives", begun, || terminal.text());
    let size = rustix::termios::Winsize {
        ws_row: 55,
        ws_col: 77,
        ..SIZE
    };
    rustix::termios::tcsetwinsize(&terminal.person, size)
        .context(|| "setting the size".to_owned())?;
    wait(&mut child, "ringfence")?;
    let seen = eventually(5, || terminal.text().contains("55x77"));
    checks.that("the second size arrives", seen, || terminal.text());
    Ok(())
}

fn interrupt(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let script = "echo started; while :; do sleep 0.05; done";
    for (label, command) in [
        ("control", launch.plain_command(&["/bin/sh", "-c", script])?),
        ("inside", launch.inside_command(&["/bin/sh", "-c", script])?),
    ] {
        let terminal = Terminal::new()?;
        let before = terminal.kind()?;
        let mut child = terminal.start(&command)?;
        let begun = eventually(20, || terminal.text().contains("started"));
        checks.that(&format!("{label}: it starts"), begun, || terminal.text());
        terminal.types(b"\x03")?;
        let status = wait(&mut child, label)?;
        let code = std::os::unix::process::ExitStatusExt::signal(&status)
            .map_or(status.code(), |n| Some(128 + n));
        checks.same(&format!("{label}: status"), &code, &Some(130));
        checks.same(
            &format!("{label}: the settings are as they were"),
            &terminal.kind()?,
            &before,
        );
    }
    Ok(())
}

/// Whether the process is stopped: the third field of proc(5) `stat`.
fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit(')').next().unwrap_or_default();
    rest.trim_start().starts_with('T')
}

fn stop(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let script = "echo started; while :; do sleep 0.02; echo tick; done";
    let terminal = Terminal::new()?;
    let before = terminal.kind()?;
    let mut child = terminal.start(&launch.inside_command(&["/bin/sh", "-c", script])?)?;
    let pid = child.id();
    let ticks = || terminal.text().matches("tick").count();
    checks.that("it starts", eventually(20, || ticks() > 2), || {
        terminal.text()
    });
    checks.that(
        "the terminal is raw",
        terminal.kind()? != before,
        String::new,
    );
    for round in ["once", "and again"] {
        terminal.types(b"\x1a")?;
        let stopped = eventually(20, || is_stopped(pid));
        checks.that(&format!("it stops, {round}"), stopped, || terminal.text());
        checks.same("the settings while stopped", &terminal.kind()?, &before);
        // What was on its way is through by then.
        std::thread::sleep(std::time::Duration::from_millis(300));
        let then = ticks();
        std::thread::sleep(std::time::Duration::from_millis(300));
        checks.same("what the command says while stopped", &ticks(), &then);
        kill(pid, rustix::process::Signal::CONT)?;
        let goes_on = eventually(20, || ticks() > then + 2);
        checks.that(&format!("it goes on, {round}"), goes_on, || terminal.text());
        checks.that(
            "the terminal is raw again",
            terminal.kind()? != before,
            String::new,
        );
    }
    terminal.types(b"\x03")?;
    let status = wait(&mut child, "ringfence")?;
    checks.same("its status after Ctrl-C", &status.code(), &Some(130));
    checks.same("the settings afterwards", &terminal.kind()?, &before);
    // What handles the key itself gets it.
    let script = "trap 'echo caught' TSTP; echo started; while :; do sleep 0.02; done";
    let terminal = Terminal::new()?;
    let mut child = terminal.start(&launch.inside_command(&["/bin/bash", "-c", script])?)?;
    let begun = eventually(20, || terminal.text().contains("started"));
    checks.that("bash starts", begun, || terminal.text());
    terminal.types(b"\x1a")?;
    let caught = eventually(20, || terminal.text().contains("caught"));
    checks.that("a command that catches the signal gets it", caught, || {
        terminal.text()
    });
    terminal.types(b"\x03")?;
    wait(&mut child, "ringfence")?;
    Ok(())
}

fn kill(pid: u32, signal: rustix::process::Signal) -> Result<(), Failure> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::Meaningless("no process number".to_owned()))?;
    rustix::process::kill_process(pid, signal).context(|| format!("signalling {pid:?}"))
}

fn killed(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    for moment in ["while it runs", "while it is stopped"] {
        let script = "echo started; while :; do sleep 0.05; done";
        let terminal = Terminal::new()?;
        let before = terminal.kind()?;
        let mut child = terminal.start(&launch.inside_command(&["/bin/sh", "-c", script])?)?;
        let begun = eventually(20, || terminal.text().contains("started"));
        checks.that("it starts", begun, || terminal.text());
        checks.that(
            &format!("control {moment}: the terminal is not as it was"),
            terminal.kind()? != before,
            String::new,
        );
        if moment == "while it is stopped" {
            terminal.types(b"\x1a")?;
            let stopped = eventually(20, || is_stopped(child.id()));
            checks.that("it stops", stopped, || terminal.text());
        }
        kill(child.id(), rustix::process::Signal::KILL)?;
        wait(&mut child, "ringfence")?;
        let restored = eventually(20, || terminal.kind().is_ok_and(|now| now == before));
        checks.that(
            &format!("{moment}: the settings are as they were"),
            restored,
            || format!("{:?}", terminal.kind()),
        );
    }
    Ok(())
}

fn another_device(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let device = |terminal: &Terminal| {
        rustix::fs::fstat(terminal.program.as_fd())
            .map(|status| format!("{} {}", status.st_dev, status.st_ino))
            .context(|| "fstat".to_owned())
    };
    let script = ["stat", "-L", "-c", "%d %i", "/proc/self/fd/0"];
    let terminal = Terminal::new()?;
    let own = device(&terminal)?;
    let mut child = terminal.start(&launch.plain_command(&script)?)?;
    wait(&mut child, "stat")?;
    let seen = eventually(5, || terminal.text().contains(&own));
    checks.that(
        "control: without the boundary it is the same device",
        seen,
        || terminal.text(),
    );
    let terminal = Terminal::new()?;
    let own = device(&terminal)?;
    let mut child = terminal.start(&launch.inside_command(&script)?)?;
    let status = wait(&mut child, "ringfence")?;
    let said = eventually(5, || !terminal.text().trim().is_empty());
    checks.that(
        "inside it is another",
        said && status.success() && !terminal.text().contains(&own),
        || format!("{own:?} in {:?}", terminal.text()),
    );
    Ok(())
}
