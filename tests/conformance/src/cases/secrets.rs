//! Every secret, in every form that leads to it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::writes::text;
use crate::checks::{Checks, Context, Control, Failure};
use crate::fixture::Fixture;
use crate::ground::Ground;
use crate::launch::Launch;
use crate::suite::{Case, Needs};
use crate::verdict::Verdict;

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "secret.every-form",
        promise: "no form of access shows any built-in secret of the home",
        needs: Needs::Full,
        run: every_form,
    },
    Case {
        name: "secret.built-in",
        promise: "every built-in secret of the policy is hidden in every form, as a file and as a directory",
        needs: Needs::Full,
        run: built_in,
    },
    Case {
        name: "secret.allow-each",
        promise: "each built-in secret can be taken back by its own name, and no neighbour comes with it",
        needs: Needs::Full,
        run: allow_each,
    },
    Case {
        name: "secret.kept-out",
        promise: "a directory of the workspace that only another user can enter does not keep root's session from starting",
        needs: Needs::Full,
        run: kept_out,
    },
    Case {
        name: "secret.workspace",
        promise: ".env and .env.* are hidden at any depth of the workspace, .env.example is not",
        needs: Needs::Full,
        run: workspace,
    },
    Case {
        name: "secret.allow-read",
        promise: "allow_read by name opens exactly that secret",
        needs: Needs::Full,
        run: allow_read,
    },
    Case {
        name: "secret.deny-read",
        promise: "deny_read hides a file, a directory and what a glob matches; what is beside it stays readable",
        needs: Needs::Full,
        run: deny_read,
    },
    Case {
        name: "secret.below-a-root",
        promise: "a secret beats any writable root, also one that is named above or below it",
        needs: Needs::Full,
        run: below_a_root,
    },
    Case {
        name: "secret.known-hosts",
        promise: "~/.ssh/known_hosts is readable and not writable",
        needs: Needs::Full,
        run: known_hosts,
    },
    Case {
        name: "secret.shadow",
        promise: "/etc/shadow is not readable, also from root",
        needs: Needs::Full,
        run: shadow,
    },
    Case {
        name: "secret.own-state",
        promise: "Ringfence's own state can't be read or written, also as a named root",
        needs: Needs::Full,
        run: own_state,
    },
];

/// A secret: the file that proves it, and the words that `allow_read` takes.
struct Secret {
    /// Relative to the home.
    file: &'static str,
    /// Its name in `allow_read`.
    name: &'static str,
}

const fn secret(file: &'static str, name: &'static str) -> Secret {
    Secret { file, name }
}

/// Every secret of the home that the specification names, with a file in it.
const SECRETS: &[Secret] = &[
    secret(".ssh/id_ed25519", "~/.ssh"),
    secret(".ssh/config", "~/.ssh"),
    secret(".ssh/keys/deep", "~/.ssh"),
    secret(".gnupg/private-keys-v1.d/key.key", "~/.gnupg"),
    secret(".aws/credentials", "~/.aws"),
    secret(".azure/accessTokens.json", "~/.azure"),
    secret(".config/gcloud/credentials.db", "~/.config/gcloud"),
    secret(".kube/config", "~/.kube"),
    secret(".docker/config.json", "~/.docker/config.json"),
    secret(".netrc", "~/.netrc"),
    secret(".git-credentials", "~/.git-credentials"),
    secret(".npmrc", "~/.npmrc"),
    secret(".pypirc", "~/.pypirc"),
    secret(".cargo/credentials", "~/.cargo/credentials*"),
    secret(".cargo/credentials.toml", "~/.cargo/credentials*"),
    secret(".config/gh/hosts.yml", "~/.config/gh"),
    secret(".config/op/config", "~/.config/op"),
    secret(".password-store/mail.gpg", "~/.password-store"),
    secret(".vault-token", "~/.vault-token"),
    secret(".terraform.d/credentials.tfrc.json", "~/.terraform.d"),
    secret(".mozilla/firefox/x.default/logins.json", "~/.mozilla"),
    secret(
        ".config/google-chrome/Default/Cookies",
        "~/.config/google-chrome*",
    ),
    secret(".config/chromium/Default/Cookies", "~/.config/chromium"),
    secret(
        ".local/share/keyrings/login.keyring",
        "~/.local/share/keyrings",
    ),
    secret(".bash_history", "~/.bash_history"),
    secret(".zsh_history", "~/.zsh_history"),
    secret(".codex/auth.json", "~/.codex/auth.json"),
    secret(".claude/.credentials.json", "~/.claude/.credentials.json"),
];

/// The ways to a file; the second word `M` is a directory that the attacker may write.
pub(super) const FORMS: &[(&str, &[&str])] = &[
    ("read", &[]),
    ("read-symlink", &["M"]),
    ("read-proc-self-root", &[]),
    ("read-proc-cwd", &[]),
    ("read-hard-link", &["M"]),
    ("read-directory-descriptor", &[]),
    ("read-path-descriptor", &[]),
    ("read-bind-mount", &["M"]),
    ("read-open-tree", &[]),
    ("read-moved-parent", &["M"]),
    ("read-mmap", &[]),
    ("read-dot-dot", &[]),
    ("read-chroot", &[]),
    ("read-process-cwd", &["P"]),
    ("read-process-root", &["P"]),
];

/// Numbers that mean "there is nothing to be had" for a read: an unreadable placeholder, or no such process.
const GONE: &[i32] = &[
    libc::ENOENT,
    libc::EXDEV,
    libc::EBUSY,
    libc::ENOSYS,
    libc::ESRCH,
];

pub(super) const CONTENT: &str = "secret value of";

pub(super) fn plant(fixture: &Fixture) -> Result<(), Failure> {
    for secret in SECRETS {
        let path = Path::new("home").join(secret.file);
        fixture.write(path, &format!("{CONTENT} {}", secret.file))?;
    }
    fixture.write("home/.ssh/known_hosts", "example.com ssh-ed25519 AAAA\n")?;
    fixture.write("home/.config/ordinary.toml", "ordinary\n")?;
    fixture.write("home/.cargo/config.toml", "ordinary\n")?;
    fixture.write("home/.docker/ordinary.json", "ordinary\n")?;
    Ok(())
}

/// A process outside whose working directory is the secret's.
struct Bystander(Child);

impl Bystander {
    fn new(directory: &Path) -> Result<Self, Failure> {
        std::process::Command::new("/bin/sleep")
            .arg("600")
            .current_dir(directory)
            .stdin(Stdio::null())
            .spawn()
            .map(Self)
            .context(|| "starting sleep".to_owned())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn words(form: &str, extra: &[&str], file: &Path, mine: &Path, pid: u32) -> Vec<String> {
    let mut words = vec![form.to_owned(), text(file)];
    words.extend(extra.iter().map(|word| match *word {
        "M" => text(mine),
        _ => pid.to_string(),
    }));
    words
}

fn every_form(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    plant(&fixture)?;
    let launch = Launch::new(ground, &fixture);
    let ordinary = fixture.home.join(".config/ordinary.toml");
    let mut attacks = Vec::new();
    let mut labels = Vec::new();
    let mut bystanders = Vec::new();
    for secret in SECRETS {
        let file = fixture.home.join(secret.file);
        let bystander = Bystander::new(file.parent().unwrap_or(&fixture.home))?;
        for (form, extra) in FORMS {
            // Nobody can move the directory that holds the place it is moved to.
            let above = file
                .parent()
                .is_some_and(|parent| fixture.workspace.starts_with(parent));
            if *form == "read-moved-parent" && above {
                continue;
            }
            let words = words(form, extra, &file, &fixture.workspace, bystander.0.id());
            let label = format!("{form} {}", secret.file);
            let verdict = launch.attack_plain(&words)?;
            let shown = verdict.detail().contains(CONTENT) || *form == "read-mmap";
            if checks.control(&label, &verdict) == Control::Stands && shown {
                attacks.push(words);
                labels.push(label);
            }
        }
        bystanders.push(bystander);
    }
    let verdicts = launch.batch_inside(&attacks)?;
    for (label, verdict) in labels.iter().zip(&verdicts) {
        hidden(checks, label, verdict);
    }
    drop(bystanders);
    let readable = [
        &ordinary,
        &fixture.home.join(".cargo/config.toml"),
        &fixture.home.join(".docker/ordinary.json"),
    ];
    let attacks: Vec<Vec<String>> = readable
        .iter()
        .map(|path| vec!["read".to_owned(), text(path)])
        .collect();
    for (path, verdict) in readable.iter().zip(launch.batch_inside(&attacks)?) {
        checks.sibling(&format!("read {}", path.display()), &verdict);
    }
    Ok(())
}

/// Refused, or an empty placeholder: never the content.
pub(super) fn hidden(checks: &mut Checks, label: &str, verdict: &Verdict) {
    checks.refused(label, verdict, GONE);
}

fn workspace(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let secrets = [
        ".env",
        ".env.local",
        ".env.production",
        "service/.env",
        "a/b/c/.env.test",
    ];
    let open = [
        ".env.example",
        "service/.env.example",
        "environment.txt",
        "env",
    ];
    for file in secrets.iter().chain(&open) {
        fixture.write(Path::new("home/project").join(file), CONTENT)?;
    }
    let launch = Launch::new(ground, &fixture);
    let attack = |file: &&str| vec!["read".to_owned(), text(&fixture.workspace.join(file))];
    let attacks: Vec<Vec<String>> = secrets.iter().chain(&open).map(attack).collect();
    for words in &attacks {
        let verdict = launch.attack_plain(words)?;
        checks.control(&words.join(" "), &verdict);
    }
    let verdicts = launch.batch_inside(&attacks)?;
    for (index, (words, verdict)) in attacks.iter().zip(&verdicts).enumerate() {
        if index < secrets.len() {
            hidden(checks, &words.join(" "), verdict);
        } else {
            checks.sibling(&words.join(" "), verdict);
        }
    }
    Ok(())
}

fn allow_read(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    plant(&fixture)?;
    let attacks: Vec<Vec<String>> = SECRETS
        .iter()
        .map(|secret| vec!["read".to_owned(), text(&fixture.home.join(secret.file))])
        .collect();
    let mut names: Vec<&str> = SECRETS.iter().map(|secret| secret.name).collect();
    names.dedup();
    for name in names {
        let launch = Launch::new(ground, &fixture).options(&["--allow-read", name]);
        let verdicts = launch.batch_inside(&attacks)?;
        for (secret, verdict) in SECRETS.iter().zip(&verdicts) {
            let label = format!("--allow-read {name}: {}", secret.file);
            if secret.name == name {
                checks.sibling(&label, verdict);
            } else {
                hidden(checks, &label, verdict);
            }
        }
    }
    Ok(())
}

fn deny_read(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let hidden_files = [
        "home/notes/deep/diary.txt",
        "home/project/certs/server.pem",
        "home/project/top.pem",
        "home/project/private.txt",
    ];
    let open = [
        "home/notes-beside.txt",
        "home/project/certs/server.crt",
        "home/project/private.txt.bak",
    ];
    for file in hidden_files.iter().chain(&open) {
        fixture.write(file, CONTENT)?;
    }
    let private = text(&fixture.workspace.join("private.txt"));
    let launch = Launch::new(ground, &fixture).options(&[
        "--deny-read",
        "~/notes",
        "--deny-read",
        "**/*.pem",
        "--deny-read",
        &private,
    ]);
    let attacks: Vec<Vec<String>> = hidden_files
        .iter()
        .chain(&open)
        .map(|file| vec!["read".to_owned(), text(&fixture.top().join(file))])
        .collect();
    for words in &attacks {
        let verdict = launch.attack_plain(words)?;
        checks.control(&words.join(" "), &verdict);
    }
    let verdicts = launch.batch_inside(&attacks)?;
    for (index, (words, verdict)) in attacks.iter().zip(&verdicts).enumerate() {
        if index < hidden_files.len() {
            hidden(checks, &words.join(" "), verdict);
        } else {
            checks.sibling(&words.join(" "), verdict);
        }
    }
    Ok(())
}

fn below_a_root(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    plant(&fixture)?;
    for (root, file) in [
        (".config", ".config/gh/hosts.yml"),
        (".ssh/keys", ".ssh/keys/deep"),
        (".docker", ".docker/config.json"),
        (".cargo", ".cargo/credentials.toml"),
    ] {
        let named = text(&fixture.home.join(root));
        let secret = text(&fixture.home.join(file));
        let launch = Launch::new(ground, &fixture).options(&["--writable-root", &named]);
        let finished = launch.inside(&launch.probe(&["read", &secret]))?;
        let label = format!("--writable-root ~/{root}: read ~/{file}");
        // A root that lies inside a secret may also be refused as a policy: then nothing runs.
        if finished.code() == 101 {
            checks.that(&label, finished.output.is_empty(), || finished.text());
        } else {
            hidden(checks, &label, &finished.verdict());
        }
    }
    Ok(())
}

fn known_hosts(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    plant(&fixture)?;
    let launch = Launch::new(ground, &fixture);
    let file = text(&fixture.home.join(".ssh/known_hosts"));
    let read = launch.attack_inside(&["read", &file])?;
    checks.sibling("read ~/.ssh/known_hosts", &read);
    checks.that(
        "its content is the person's",
        read.detail().starts_with("example.com"),
        || format!("{read:?}"),
    );
    let write = launch.attack_inside(&["open-write", &file])?;
    checks.refused("write ~/.ssh/known_hosts", &write, &[]);
    let control = launch.attack_plain(&["open-write", &file])?;
    checks.control("write ~/.ssh/known_hosts", &control);
    Ok(())
}

fn kept_out(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    if !ground.root() {
        checks.skip("only root can give a directory to another user");
        return Ok(());
    }
    let fixture = ground.fixture()?;
    for name in ["closed", "open"] {
        fixture.write(format!("home/project/{name}/deep/.env"), CONTENT)?;
        let directory = fixture.workspace.join(name);
        std::os::unix::fs::chown(&directory, Some(54_321), Some(54_321))
            .context(|| format!("giving {name} away"))?;
        let mode = if name == "open" { 0o711 } else { 0o700 };
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(mode))
            .context(|| format!("closing {name}"))?;
    }
    let launch = Launch::new(ground, &fixture);
    for name in ["closed", "open"] {
        let file = text(&fixture.workspace.join(name).join("deep/.env"));
        checks.control(
            &format!("read {name}"),
            &launch.attack_plain(&["read", &file])?,
        );
        // The one can't be reached at all, the other is covered.
        let read = launch.attack_inside(&["read", &file])?;
        checks.refused(&format!("read {name}"), &read, GONE);
    }
    let run = launch.shell("echo work > written; exit 6")?;
    checks.same("the session works", &run.code(), &6);
    Ok(())
}

fn shadow(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    if !ground.root() {
        checks.skip("only root has a control for /etc/shadow");
        return Ok(());
    }
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let files: Vec<PathBuf> = ["/etc/shadow", "/etc/shadow-", "/etc/gshadow"]
        .iter()
        .map(PathBuf::from)
        .filter(|path| path.exists())
        .collect();
    for file in files {
        let words = ["read", &text(&file)];
        checks.control(&words.join(" "), &launch.attack_plain(&words)?);
        hidden(checks, &words.join(" "), &launch.attack_inside(&words)?);
    }
    checks.sibling(
        "read /etc/passwd",
        &launch.attack_inside(&["read", "/etc/passwd"])?,
    );
    Ok(())
}

fn own_state(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    launch.shell("true")?;
    let state = fixture.state.join("ringfence");
    checks.that("state lies in XDG_STATE_HOME", state.is_dir(), || {
        state.display().to_string()
    });
    let file = fixture.write("state/ringfence/planted", CONTENT)?;
    let path = text(&file);
    checks.control("read state", &launch.attack_plain(&["read", &path])?);
    hidden(
        checks,
        "read state",
        &launch.attack_inside(&["read", &path])?,
    );
    let write = launch.attack_inside(&["open-write", &path])?;
    checks.refused("write state", &write, GONE);
    for root in [&state, &fixture.state, &fixture.top().to_owned()] {
        let options = ["--writable-root", &text(root)];
        let finished = Launch::new(ground, &fixture)
            .options(&options)
            .inside(&launch.probe(&["open-write", &path]))?;
        let label = format!("state as a writable root: {}", root.display());
        if finished.code() == 101 {
            checks.that(&label, finished.output.is_empty(), || finished.text());
        } else {
            hidden(checks, &label, &finished.verdict());
        }
    }
    Ok(())
}

/// Each built-in secret of the home: its name, and a path that it covers.
fn built_in_paths() -> Vec<(&'static str, String)> {
    use ringfence_policy::secrets::{BUILT_IN, Platform};
    BUILT_IN
        .iter()
        .filter(|secret| secret.platforms.contains(&Platform::Linux))
        .filter_map(|secret| {
            let below = secret.name.strip_prefix("~/")?;
            Some((secret.name, below.replace('*', "-more")))
        })
        .collect()
}

fn built_in(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let paths = built_in_paths();
    checks.that(
        "the policy knows at least this table",
        paths.len() > 20,
        || paths.len().to_string(),
    );
    for inner in ["", "/inner/file"] {
        let fixture = ground.fixture()?;
        let launch = Launch::new(ground, &fixture);
        let mut attacks = Vec::new();
        for (_, path) in &paths {
            let file = fixture.write(format!("home/{path}{inner}"), CONTENT)?;
            for (form, extra) in FORMS {
                // The forms that need a process outside and a directory that moves have a case of their own.
                if extra.contains(&"P") || *form == "read-moved-parent" {
                    continue;
                }
                attacks.push(words(form, extra, &file, &fixture.workspace, 0));
            }
        }
        for words in &attacks {
            checks.control(&words.join(" "), &launch.attack_plain(words)?);
        }
        for (words, verdict) in attacks.iter().zip(launch.batch_inside(&attacks)?) {
            hidden(checks, &words.join(" "), &verdict);
        }
    }
    Ok(())
}

fn allow_each(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let paths = built_in_paths();
    let fixture = ground.fixture()?;
    for (_, path) in &paths {
        fixture.write(format!("home/{path}"), CONTENT)?;
    }
    let attack = |path: &String| vec!["read".to_owned(), text(&fixture.home.join(path))];
    for (index, (name, path)) in paths.iter().enumerate() {
        let neighbours = paths.iter().cycle().skip(index + 1).take(3);
        let mut attacks = vec![attack(path)];
        attacks.extend(neighbours.map(|(_, path)| attack(path)));
        let launch = Launch::new(ground, &fixture).options(&["--allow-read", name]);
        let verdicts = launch.batch_inside(&attacks)?;
        for (position, verdict) in verdicts.iter().enumerate() {
            let label = format!("--allow-read {name}: row {position}");
            if position == 0 {
                checks.sibling(&label, verdict);
            } else {
                hidden(checks, &label, verdict);
            }
        }
    }
    Ok(())
}
