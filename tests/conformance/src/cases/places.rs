//! Workspaces with odd names and places, and the tools of ordinary work.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::writes::text;
use crate::checks::{Checks, Context, Failure};
use crate::fixture::Fixture;
use crate::ground::Ground;
use crate::launch::Launch;
use crate::snapshot::{changed, snapshot};
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "place.odd-names",
        promise: "a workspace with spaces, newlines, quotes or bytes that are no UTF-8 in its name works and is held",
        needs: Needs::Full,
        run: odd_names,
    },
    Case {
        name: "place.symlink",
        promise: "a workspace that is entered through a symlink works and is held",
        needs: Needs::Full,
        run: symlink,
    },
    Case {
        name: "place.below-tmp",
        promise: "a workspace below /tmp works and is held, and the rest of the host's /tmp stays hidden",
        needs: Needs::Full,
        run: below_tmp,
    },
    Case {
        name: "place.tmp-by-workspace",
        promise: "two runs in one workspace share /tmp, two workspaces do not",
        needs: Needs::Full,
        run: tmp_by_workspace,
    },
    Case {
        name: "work.git-read-only",
        promise: "git status, log, diff, blame and show work with .git read-only, add and commit do not",
        needs: Needs::Full,
        run: git_read_only,
    },
    Case {
        name: "work.git-commit",
        promise: "with --git commit adding, committing and branching work; hooks and configuration are held",
        needs: Needs::Full,
        run: git_commit,
    },
    Case {
        name: "work.python",
        promise: "multiprocessing, semaphores, subprocesses, threads and pseudo-terminals of Python work",
        needs: Needs::Full,
        run: python,
    },
    Case {
        name: "work.devices",
        promise: "/dev/null and its like, /dev/shm, pseudo-terminals, /proc/self and ps work",
        needs: Needs::Full,
        run: devices,
    },
    Case {
        name: "work.debugger",
        promise: "gdb debugs a child of its own",
        needs: Needs::Full,
        run: debugger,
    },
];

/// Writes inside work, writes beside are refused, a protected file is held.
fn works(
    ground: &Ground,
    checks: &mut Checks,
    label: &str,
    fixture: &Fixture,
    enter: &Path,
) -> Result<(), Failure> {
    std::fs::write(fixture.workspace.join("AGENTS.md"), "first\n")
        .context(|| "writing AGENTS.md".to_owned())?;
    let launch = Launch::new(ground, fixture).directory(enter);
    let words = |path: &Path| -> [std::ffi::OsString; 2] {
        ["open-write".into(), path.as_os_str().to_owned()]
    };
    std::fs::write(fixture.workspace.join("ordinary"), "first\n")
        .context(|| "writing".to_owned())?;
    let sibling = launch.attack_inside(&words(&enter.join("ordinary")))?;
    checks.sibling(&format!("{label}: an ordinary file"), &sibling);
    let made = launch.shell("echo made > made && cat made")?;
    checks.same(
        &format!("{label}: making a file"),
        &made.text(),
        &"made\n".to_owned(),
    );
    let held = launch.attack_inside(&words(&enter.join("AGENTS.md")))?;
    checks.refused(&format!("{label}: a protected file"), &held, &[]);
    checks.control(
        label,
        &launch.attack_plain(&words(&enter.join("AGENTS.md")))?,
    );
    let file = fixture.write("outside/file", "first\n")?;
    let beside = launch.attack_inside(&words(&file))?;
    checks.refused(&format!("{label}: a file outside"), &beside, &[]);
    let planted = launch.shell("echo planted > CLAUDE.md")?;
    let there = fixture.workspace.join("CLAUDE.md").exists();
    checks.that(
        &format!("{label}: an absent protected name"),
        !there,
        || planted.said(),
    );
    Ok(())
}

fn odd_names(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let names: [&[u8]; 8] = [
        b"two words",
        b"new\nline",
        b"quote'\"`$(id)",
        b"\xff\xfe-bytes",
        b"-dash",
        b"back\\slash",
        b"tab\tand#hash:colon,",
        "\u{1f512} \u{e9}".as_bytes(),
    ];
    for name in names {
        let fixture = Fixture::with_workspace(ground.base(), OsStr::from_bytes(name))?;
        let label = String::from_utf8_lossy(name).escape_debug().to_string();
        let workspace = fixture.workspace.clone();
        works(ground, checks, &label, &fixture, &workspace)?;
    }
    Ok(())
}

fn symlink(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let link = fixture.outside.join("link");
    std::os::unix::fs::symlink(&fixture.workspace, &link).context(|| "linking".to_owned())?;
    works(ground, checks, "through a symlink", &fixture, &link)?;
    let named = text(&link);
    let run = Launch::new(ground, &fixture)
        .options(&["--workspace", &named])
        .shell("echo named > named && cat named")?;
    checks.same("named by the symlink", &run.text(), &"named\n".to_owned());
    Ok(())
}

fn below_tmp(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = Fixture::new(Path::new("/tmp"))?;
    // The probe lies outside /tmp; so does nothing else of this fixture.
    let beside = tempfile::Builder::new()
        .prefix("ringfence-beside-")
        .tempdir_in("/tmp")
        .context(|| "making a directory in /tmp".to_owned())?;
    let workspace = fixture.workspace.clone();
    let launch = Launch::new(ground, &fixture);
    let made = launch.shell("echo made > made && cat made")?;
    checks.same("making a file", &made.text(), &"made\n".to_owned());
    checks.that("it is on the host", workspace.join("made").exists(), || {
        made.said()
    });
    let file = beside.path().join("file");
    std::fs::write(&file, "of the host").context(|| "writing in /tmp".to_owned())?;
    let words = ["read", &text(&file)];
    checks.control("read beside it", &launch.attack_plain(&words)?);
    checks.refused(
        "read beside it",
        &launch.attack_inside(&words)?,
        &[libc::ENOENT],
    );
    std::fs::write(workspace.join("AGENTS.md"), "first\n")
        .context(|| "writing AGENTS.md".to_owned())?;
    let words = ["open-write", &text(&workspace.join("AGENTS.md"))];
    checks.refused("a protected file", &launch.attack_inside(&words)?, &[]);
    checks.control("a protected file", &launch.attack_plain(&words)?);
    Ok(())
}

fn tmp_by_workspace(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let other = fixture.home.join("other");
    std::fs::create_dir_all(&other).context(|| "making a second workspace".to_owned())?;
    let first = Launch::new(ground, &fixture);
    let second = Launch::new(ground, &fixture).directory(&other);
    first.shell("echo first > /tmp/shared; echo first > /dev/shm/shared")?;
    checks.same(
        "the same workspace",
        &first.shell("cat /tmp/shared")?.text(),
        &"first\n".to_owned(),
    );
    checks.same(
        "another workspace",
        &second
            .shell("cat /tmp/shared 2>/dev/null; ls -A /tmp")?
            .text(),
        &String::new(),
    );
    checks.same(
        "/dev/shm is private",
        &second.shell("ls -A /dev/shm")?.text(),
        &String::new(),
    );
    Ok(())
}

fn git_read_only(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    fixture.repository(&fixture.workspace)?;
    fixture.write("home/project/tracked.txt", "changed\n")?;
    let launch = Launch::new(ground, &fixture);
    let before = snapshot(&fixture.workspace.join(".git"))?;
    for command in [
        "status",
        "log --oneline",
        "diff",
        "blame HEAD -- tracked.txt",
        "show --stat",
        "ls-files",
        "stash list",
        "grep changed",
    ] {
        let script = format!("git {command}");
        let inside = launch.shell(&script)?;
        let outside =
            launch.plain(&["/bin/sh", "-c", &format!("GIT_OPTIONAL_LOCKS=0 {script}")])?;
        checks.same(&format!("git {command}"), &inside.code(), &0);
        checks.same(
            &format!("git {command}: the same text"),
            &inside.text(),
            &outside.text(),
        );
    }
    for command in [
        "add tracked.txt",
        "commit -qam inside",
        "config x.y z",
        "branch new",
        "tag new",
        "stash",
        "gc",
    ] {
        let inside = launch.shell(&format!("git {command}"))?;
        checks.that(
            &format!("git {command} is refused"),
            inside.code() != 0,
            || inside.text(),
        );
    }
    let changed = changed(&before, &fixture.workspace.join(".git"));
    checks.that(".git is as it was", changed.is_empty(), || {
        format!("{changed:?}")
    });
    let control = launch.plain(&["git", "commit", "-qam", "outside"])?;
    checks.same("control: a commit works outside", &control.code(), &0);
    Ok(())
}

fn git_commit(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    fixture.repository(&fixture.workspace)?;
    let launch = Launch::new(ground, &fixture).options(&["--git", "commit"]);
    let script = "echo inside > new.txt && git add new.txt && git commit -qm inside && git branch side && git tag one && \
                  git checkout -q side && git commit -q --allow-empty -m side && git log --oneline | wc -l";
    let run = launch.shell(script)?;
    checks.same("a commit", &run.code(), &0);
    checks.same("its log", &run.text().trim(), &"3");
    let log = launch.plain(&["git", "log", "--oneline", "side"])?;
    checks.same("seen by the host", &log.text().lines().count(), &3);
    let attacks = [
        ("write a hook", "echo evil > .git/hooks/pre-commit"),
        ("replace hooks", "mv .git/hooks .git/hooks2"),
        ("git config", "git config core.fsmonitor evil"),
        ("write config", "echo evil >> .git/config"),
        ("replace config", "cp .git/config c && mv c .git/config"),
        ("replace .git", "mv .git .git2"),
        (
            "info/attributes",
            "mkdir -p .git/info && echo '* filter=evil' > .git/info/attributes",
        ),
        ("commondir", "echo ../elsewhere > .git/commondir"),
        ("config.worktree", "echo '[core]' > .git/config.worktree"),
    ];
    let files = [
        "hooks/pre-commit",
        "info/attributes",
        "commondir",
        "config.worktree",
    ];
    let config = std::fs::read_to_string(fixture.workspace.join(".git/config")).unwrap_or_default();
    for (label, script) in attacks {
        let run = launch.shell(script)?;
        let now =
            std::fs::read_to_string(fixture.workspace.join(".git/config")).unwrap_or_default();
        checks.same(&format!("{label}: config"), &now, &config);
        for file in files {
            let planted = fixture.workspace.join(".git").join(file).exists();
            checks.that(&format!("{label}: no {file} on the host"), !planted, || {
                format!("{} {}", run.code(), run.said())
            });
        }
        let control = ground.fixture()?;
        control.repository(&control.workspace)?;
        let before = snapshot(&control.workspace.join(".git"))?;
        Launch::new(ground, &control).plain(&["/bin/sh", "-c", script])?;
        let differs = !changed(&before, &control.workspace.join(".git")).is_empty();
        checks.that(&format!("control {label}"), differs, || {
            "changes nothing".to_owned()
        });
    }
    Ok(())
}

/// Whether a program can be started outside; else the case is left out.
fn has(launch: &Launch<'_>, words: &[&str]) -> bool {
    launch.plain(words).is_ok_and(|run| run.code() == 0)
}

fn python(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    if !has(&launch, &["python3", "-c", "pass"]) {
        checks.skip("python3 is not installed");
        return Ok(());
    }
    let programs = [
        (
            "multiprocessing",
            "import multiprocessing as m\nif __name__=='__main__':\n  p=m.Pool(2); print(sum(p.map(abs,[-1,-2,-3]))); p.close(); p.join()",
        ),
        (
            "semaphore",
            "import multiprocessing as m\ns=m.Semaphore(1); s.acquire(); s.release(); q=m.SimpleQueue(); q.put(5); print(q.get())",
        ),
        (
            "shared memory",
            "from multiprocessing import shared_memory as s\nm=s.SharedMemory(create=True,size=64); m.buf[0]=7; print(m.buf[0]); m.close(); m.unlink()",
        ),
        (
            "subprocess",
            "import subprocess\nprint(subprocess.check_output(['echo','x']))",
        ),
        (
            "threads",
            "import threading\nl=[]\nt=[threading.Thread(target=l.append,args=(i,)) for i in range(20)]\n[x.start() for x in t]; [x.join() for x in t]; print(len(l))",
        ),
        ("pty", "import pty,os\nprint(pty.spawn(['echo','inside']))"),
        (
            "tempfile",
            "import tempfile\nf=tempfile.TemporaryFile(); f.write(b'x'); d=tempfile.mkdtemp(); print(d.startswith('/tmp'))",
        ),
        (
            "asyncio",
            "import asyncio\nasync def f():\n  p=await asyncio.create_subprocess_exec('true'); return await p.wait()\nprint(asyncio.run(f()))",
        ),
        (
            "socketpair",
            "import socket\na,b=socket.socketpair(); a.send(b'x'); print(b.recv(1))",
        ),
        (
            "mmap",
            "import mmap\nm=mmap.mmap(-1,4096); m[0]=1; print(m[0])",
        ),
    ];
    for (label, program) in programs {
        let words = ["python3", "-c", program];
        let outside = launch.plain(&words)?;
        let inside = launch.inside(&words)?;
        checks.same(&format!("control {label}"), &outside.code(), &0);
        checks.that(
            label,
            inside.code() == 0 && inside.output == outside.output,
            || format!("{} {} {}", inside.code(), inside.text(), inside.said()),
        );
    }
    Ok(())
}

fn devices(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let scripts = [
        "echo x > /dev/null",
        "head -c 4 /dev/zero | wc -c",
        "head -c 4 /dev/urandom | wc -c",
        "head -c 4 /dev/random | wc -c",
        "echo x > /dev/full; echo $?",
        "echo x > /dev/shm/a && cat /dev/shm/a && rm /dev/shm/a",
        "echo x | cat /dev/stdin",
        "echo x > /dev/stdout",
        "cat < /dev/null; ls /dev/fd/0",
        "cat /proc/self/comm",
        "cat /proc/loadavg > /dev/null && cat /proc/meminfo | wc -l",
        "nproc",
        "uname -s",
        "id -u",
        "getent passwd root | cut -d: -f1",
        "echo 'ab' > t && sed -i s/a/b/ t && cat t && rm t",
    ];
    for script in scripts {
        let outside = launch.plain(&["/bin/sh", "-c", script])?;
        let inside = launch.shell(script)?;
        checks.that(
            script,
            inside.code() == outside.code() && inside.output == outside.output,
            || {
                format!(
                    "{} {:?} {} instead of {} {:?}",
                    inside.code(),
                    inside.text(),
                    inside.said(),
                    outside.code(),
                    outside.text()
                )
            },
        );
    }
    let pty = launch.shell("script -qec 'test -t 0 && echo terminal' /dev/null")?;
    if has(&launch, &["script", "--version"]) {
        checks.that("script", pty.text().contains("terminal"), || {
            format!("{} {}", pty.text(), pty.said())
        });
    }
    let ps = launch.shell("ps -e | wc -l")?;
    if has(&launch, &["ps", "-e"]) {
        let seen = ps.text().trim().parse::<u32>().unwrap_or(0);
        checks.that(
            "ps shows the session alone",
            (2..=8).contains(&seen),
            || ps.text(),
        );
    }
    Ok(())
}

fn debugger(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    if !has(&launch, &["gdb", "--version"]) {
        checks.skip("gdb is not installed");
        return Ok(());
    }
    let words = [
        "gdb",
        "-q",
        "-nx",
        "-batch",
        "-ex",
        "set startup-with-shell off",
        "-ex",
        "run",
        "-ex",
        "quit",
        "--args",
        "/bin/true",
    ];
    let outside = launch.plain(&words)?;
    checks.that(
        "control",
        outside.text().contains("exited normally"),
        || outside.text(),
    );
    let inside = launch.inside(&words)?;
    checks.that("gdb", inside.text().contains("exited normally"), || {
        format!("{} {}", inside.text(), inside.said())
    });
    Ok(())
}
