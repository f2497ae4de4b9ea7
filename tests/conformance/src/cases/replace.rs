//! A person renames over, or deletes, what a mount protects or hides, while a command runs.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::writes::text;
use crate::checks::{Checks, Context, Failure};
use crate::fixture::Fixture;
use crate::ground::Ground;
use crate::launch::{Launch, wait};
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "replace.protected",
        promise: "after a person renames over a protected name, the protection stands again or the session has ended",
        needs: Needs::Full,
        run: protected,
    },
    Case {
        name: "replace.secret",
        promise: "after a person renames over a masked name, the mask stands again or the session has ended",
        needs: Needs::Full,
        run: secret,
    },
    Case {
        name: "replace.git",
        promise: "after a person's `git config` and `git commit` the repository is held as before",
        needs: Needs::Full,
        run: git,
    },
];

/// What the command tries after the replacement, and its sign of success on the host.
struct Attempt {
    label: String,
    /// The file that is replaced.
    file: PathBuf,
    /// The shell words that attack it.
    script: String,
    /// The person's way of replacing it.
    how: How,
}

#[derive(Clone, Copy)]
enum How {
    /// A new file renamed over it, as editors do.
    RenameOver,
    /// Deleted and written again.
    DeleteAndWrite,
    /// Deleted, and a moment later renamed back into place.
    MoveAwayAndBack,
    /// A directory so many levels above it is moved away, and another one with such a file put in its place.
    ReplaceAbove(usize),
}

impl How {
    const ALL: [(Self, &'static str); 3] = [
        (Self::RenameOver, "renamed over"),
        (Self::DeleteAndWrite, "deleted and written"),
        (Self::MoveAwayAndBack, "moved away and back"),
    ];

    fn carry_out(self, file: &Path) -> std::io::Result<()> {
        let aside = file.with_extension("aside");
        match self {
            Self::RenameOver => {
                fs::write(&aside, "person's new content\n")?;
                fs::rename(&aside, file)
            }
            Self::DeleteAndWrite => {
                fs::remove_file(file)?;
                fs::write(file, "person's new content\n")
            }
            Self::MoveAwayAndBack => {
                fs::rename(file, &aside)?;
                fs::rename(&aside, file)
            }
            Self::ReplaceAbove(levels) => {
                let directory = file.ancestors().nth(levels).unwrap_or(file);
                fs::rename(directory, directory.with_extension("aside"))?;
                fs::create_dir_all(file.parent().unwrap_or(file))?;
                fs::write(file, "person's new content\n")
            }
        }
    }
}

fn protected(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let names = [
        ".mcp.json",
        ".envrc",
        "AGENTS.md",
        "CLAUDE.md",
        "GEMINI.md",
        ".codex/config.toml",
        ".claude/settings.json",
        ".vscode/tasks.json",
        ".githooks/pre-commit",
        "packages/nested/AGENTS.md",
    ];
    for name in names {
        for (how, label) in How::ALL {
            let fixture = ground.fixture()?;
            fixture.repository(&fixture.workspace.join("packages/nested"))?;
            let file = fixture.write(Path::new("home/project").join(name), "first\n")?;
            let attempt = Attempt {
                label: format!("{name} {label}"),
                script: "echo attacked >> \"$1\" && echo SUCCEEDED".to_owned(),
                file,
                how,
            };
            held_after(ground, checks, &fixture, &attempt)?;
            let content = fs::read_to_string(&attempt.file).unwrap_or_default();
            checks.that(
                &format!("{}: the person's file is whole", attempt.label),
                !content.contains("attacked"),
                || content.clone(),
            );
        }
    }
    Ok(())
}

fn secret(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let names = [
        "home/.netrc",
        "home/.npmrc",
        "home/.git-credentials",
        "home/.docker/config.json",
        "home/project/.env",
        "home/.ssh/id_ed25519",
        "home/.aws/credentials",
    ];
    for name in names {
        for (how, label) in How::ALL {
            let fixture = ground.fixture()?;
            let file = fixture.write(name, "first\n")?;
            let attempt = Attempt {
                label: format!("{name} {label}"),
                script: "cat \"$1\" && echo SUCCEEDED".to_owned(),
                file,
                how,
            };
            held_after(ground, checks, &fixture, &attempt)?;
        }
    }
    // With known_hosts in it, the directory is shown in part.
    for (name, beside, levels) in [
        ("home/.ssh/id_ed25519", Some("home/.ssh/known_hosts"), 1),
        ("home/.ssh/id_ed25519", None, 1),
        ("home/.aws/credentials", None, 1),
        ("home/.docker/config.json", None, 1),
        ("home/.config/gh/hosts.yml", None, 2),
        ("home/.local/share/keyrings/login.keyring", None, 3),
        ("home/project/sub/.env", None, 1),
        ("home/project/sub/deep/.env", None, 2),
    ] {
        let fixture = ground.fixture()?;
        if let Some(beside) = beside {
            fixture.write(beside, "first\n")?;
        }
        let attempt = Attempt {
            label: format!("{name}, with what is {levels} above it replaced"),
            script: "cat \"$1\" && echo SUCCEEDED".to_owned(),
            file: fixture.write(name, "first\n")?,
            how: How::ReplaceAbove(levels),
        };
        held_after(ground, checks, &fixture, &attempt)?;
    }
    Ok(())
}

/// Starts a command that waits; replaces the file as a person does; gives the guard time; lets the command attack.
fn held_after(
    ground: &Ground,
    checks: &mut Checks,
    fixture: &Fixture,
    attempt: &Attempt,
) -> Result<(), Failure> {
    let launch = Launch::new(ground, fixture);
    let script = format!("echo ready; read go; {}; echo done", attempt.script);
    let words = ["/bin/sh", "-c", &script, "sh", &text(&attempt.file)];
    let mut child = launch
        .inside_command(&words)?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(|| "starting ringfence".to_owned())?;
    let lines = converse(&mut child, || {
        attempt.how.carry_out(&attempt.file)?;
        // The window is a matter of the threat model; a second is far beyond it.
        std::thread::sleep(std::time::Duration::from_secs(1));
        Ok(())
    })?;
    wait(&mut child, "ringfence")?;
    let started = lines.first().is_some_and(|line| line == "ready");
    checks.that(
        &format!("{}: the command ran", attempt.label),
        started,
        || format!("{lines:?}"),
    );
    let succeeded = lines.iter().any(|line| line == "SUCCEEDED");
    checks.that(&attempt.label, !succeeded, || {
        format!("the attack succeeded: {lines:?}")
    });
    // The control: the same words on the same file without the boundary.
    let control = launch.plain(&[
        "/bin/sh",
        "-c",
        &attempt.script,
        "sh",
        &text(&fixture.write("outside/copy", "x")?),
    ])?;
    checks.that(
        &format!("control {}", attempt.label),
        control.text().contains("SUCCEEDED"),
        || control.said(),
    );
    Ok(())
}

/// Waits for `ready`, does `meanwhile`, says `go`, and collects the lines.
fn converse(
    child: &mut Child,
    meanwhile: impl FnOnce() -> std::io::Result<()>,
) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    let Some((output, mut input)) = child.stdout.take().zip(child.stdin.take()) else {
        return Ok(lines);
    };
    let mut output = BufReader::new(output);
    let mut line = String::new();
    output
        .read_line(&mut line)
        .context(|| "reading the command's output".to_owned())?;
    lines.push(line.trim().to_owned());
    let done = meanwhile();
    let _ = input.write_all(b"go\n");
    drop(input);
    done.context(|| "replacing the file".to_owned())?;
    for line in output.lines() {
        lines.push(line.unwrap_or_default());
    }
    Ok(lines)
}

fn git(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    fixture.repository(&fixture.workspace)?;
    let launch = Launch::new(ground, &fixture).options(&["--git", "commit"]);
    let script = "echo ready; read go; echo attacked >> .git/config && echo SUCCEEDED; \
                  echo attacked > .git/hooks/pre-commit && echo SUCCEEDED; git commit -q --allow-empty -m inside && echo committed";
    let mut child = launch
        .inside_command(&["/bin/sh", "-c", script])?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(|| "starting ringfence".to_owned())?;
    let lines = converse(&mut child, || {
        for words in [
            &["config", "user.name", "Person"][..],
            &["commit", "-q", "--allow-empty", "-m", "outside"],
        ] {
            let plain = launch
                .plain(&[&["git"], words].concat())
                .map_err(std::io::Error::other)?;
            if plain.code() != 0 {
                return Err(std::io::Error::other(plain.said()));
            }
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
        Ok(())
    })?;
    wait(&mut child, "ringfence")?;
    let succeeded = lines.iter().any(|line| line == "SUCCEEDED");
    checks.that("config and hooks are held", !succeeded, || {
        format!("{lines:?}")
    });
    checks.that(
        "a commit still works inside",
        lines.iter().any(|line| line == "committed"),
        || format!("{lines:?}"),
    );
    Ok(())
}
