//! Real clients, to a host that is allowed and to one that is not, with no set-up for any of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::ssh_server::{self, SshServer};
use crate::checks::{Checks, Context, Failure};
use crate::fixture::Fixture;
use crate::ground::Ground;
use crate::launch::Launch;
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[Case {
    name: "egress.clients",
    promise: "curl, wget, Python, Node, the JVM, Go, git (https, ssh, and ssh with an agent whose socket is granted), pip, npm, cargo and a WebSocket client reach an allowed host as they would outside, by https and http, and no other",
    needs: Needs::Internet,
    run: clients,
}];

const ALLOWED: &str = "allowed.example.com";
const OTHER: &str = "other.example.net";

/// Starts an HTTPS origin (five words: program and its arguments), and one for ssh where there is a server for it, then
/// what follows. The origins are outside of the boundary, in the same internet; they end with the script.
const ORIGIN_SCRIPT: &str = "ssh=; if [ -n \"${SSH_SOCKET:-}\" ]; then \
    python3 \"$SSH_ORIGIN\" \"$SSH_SOCKET\" \"$5\" & ssh=$!; fi; \
    python3 \"$1\" \"$2\" \"$3\" \"$4\" \"$5\" & origin=$!; shift 5; \
    for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do \
    python3 -c 'import socket; socket.create_connection((\"::1\", 443))' 2>/dev/null && break; \
    sleep 0.3; done; \"$@\"; status=$?; kill $origin $ssh; exit $status";

/// Every client of the script that speaks HTTPS and plain HTTP.
const FETCHING: &[&str] = &[
    "curl",
    "curl-without-proxy",
    "wget",
    "python-urllib",
    "python-requests",
    "python-sockets",
    "node-fetch",
    "java",
    "go",
    "git",
    "pip",
    "npm",
    "cargo",
];

/// Every other client of the script.
const OTHERS: &[&str] = &["websocket", "git-ssh", "git-ssh-agent"];

/// What each of them is called in the script's output.
fn all_clients() -> impl Iterator<Item = String> {
    let fetching = FETCHING
        .iter()
        .flat_map(|name| [(*name).to_owned(), format!("{name}-http")]);
    fetching.chain(OTHERS.iter().map(|name| (*name).to_owned()))
}

/// An HTTPS origin's files, its certificate, and what it logs.
struct Shelf {
    fixture: Fixture,
    ssh: Option<SshServer>,
}

impl Shelf {
    fn stock(ground: &Ground) -> Result<Self, Failure> {
        let fixture = ground.fixture()?;
        for (name, text) in [
            ("clients/origin.py", include_str!("../clients/origin.py")),
            ("clients/stock.py", include_str!("../clients/stock.py")),
            ("clients/clients.sh", include_str!("../clients/clients.sh")),
            (
                "clients/ssh_origin.py",
                include_str!("../clients/ssh_origin.py"),
            ),
            ("clients/fetch.go", include_str!("../clients/fetch.go")),
        ] {
            fixture.write(name, text)?;
        }
        let ssh = if ssh_server::is_installed() {
            Some(SshServer::start(fixture.top(), &[ALLOWED, OTHER])?)
        } else {
            None
        };
        let shelf = Self { fixture, ssh };
        shelf.done(
            "openssl",
            &[
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=test",
                "-keyout",
                &shelf.path("key.pem"),
                "-out",
                &shelf.path("ca.pem"),
                "-addext",
                &format!("subjectAltName=DNS:{ALLOWED},DNS:{OTHER}"),
            ],
        )?;
        shelf.done(
            "python3",
            &[
                &shelf.path("clients/stock.py"),
                &shelf.path("shelf"),
                ALLOWED,
            ],
        )?;
        if has("go") {
            let (program, source) = (shelf.path("fetch"), shelf.path("clients/fetch.go"));
            shelf.done("go", &["build", "-o", &program, &source])?;
        }
        Ok(shelf)
    }

    fn path(&self, name: &str) -> String {
        self.fixture.top().join(name).to_string_lossy().into_owned()
    }

    fn done(&self, program: &str, arguments: &[&str]) -> Result<(), Failure> {
        run_outside(&self.fixture, program, arguments)
    }

    /// What each client got from `host`, run by `words` before the clients' own.
    fn visit(&self, ground: &Ground, host: &str, inside: &[&str]) -> Result<Visit, Failure> {
        let log = self.path("https.log");
        let _ = fs::remove_file(&log);
        let work = self
            .fixture
            .workspace
            .join(format!("work-{}", inside.len()));
        let _ = fs::remove_dir_all(&work);
        fs::create_dir_all(&work).context(|| "making a directory".to_owned())?;
        let mut words = with_origin(ground, &self.fixture, "ca.pem");
        words.extend(inside.iter().map(|word| (*word).to_owned()));
        words.push("/bin/sh".to_owned());
        words.push(self.path("clients/clients.sh"));
        words.push(host.to_owned());
        words.push(self.path("ca.pem"));
        words.push(work.to_string_lossy().into_owned());
        let mut launch = Launch::new(ground, &self.fixture)
            .variable("RINGFENCE_INTERNET_WITHOUT", "80,443,22")
            .variable("PLAIN_ORIGIN", "80")
            .variable("GO_FETCH", self.path("fetch"));
        if let Some(ssh) = &self.ssh {
            launch = launch
                .variable("SSH_ORIGIN", self.path("clients/ssh_origin.py"))
                .variable("SSH_SOCKET", &ssh.socket)
                .variable("SSH_KEY", &ssh.key)
                .variable("SSH_AUTH_SOCK", &ssh.agent.socket)
                .variable("SSH_KNOWN", &ssh.known)
                .variable("SSH_USER", &ssh.user)
                .variable("SSH_PATH", self.path("shelf/repository.git"));
        }
        // The toolchain's own program: the one on PATH may be a proxy that looks for it in the home.
        if let Some(cargo) = std::env::var_os("CARGO") {
            launch = launch.variable("CARGO", cargo);
        }
        let finished = launch.plain(&words)?;
        let got = finished
            .text()
            .lines()
            .filter_map(|line| {
                let (name, got) = line.split_once(' ')?;
                Some((name.to_owned(), got.trim().to_owned()))
            })
            .collect();
        Ok(Visit {
            got,
            requests: fs::read_to_string(&log).unwrap_or_default(),
            said: finished.said(),
        })
    }
}

/// The words before those that run in an internet with an origin, whose files and `certificate` are in the fixture.
pub(super) fn with_origin(ground: &Ground, fixture: &Fixture, certificate: &str) -> Vec<String> {
    let path = |name: &str| fixture.top().join(name).to_string_lossy().into_owned();
    let mut words = vec![
        ground.probe.to_string_lossy().into_owned(),
        "internet".to_owned(),
        path("internet.log"),
    ];
    words.extend(["/bin/sh", "-c", ORIGIN_SCRIPT, "sh"].map(str::to_owned));
    let files = [
        "clients/origin.py",
        "shelf",
        certificate,
        "key.pem",
        "https.log",
    ];
    words.extend(files.map(path));
    words
}

/// Runs a program in the fixture's own directory, which prepares something.
pub(super) fn run_outside(
    fixture: &Fixture,
    program: &str,
    arguments: &[&str],
) -> Result<(), Failure> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(fixture.top())
        .output()
        .context(|| format!("starting {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Failure::Meaningless(format!("{program}: {said}")))
}

struct Visit {
    got: BTreeMap<String, String>,
    requests: String,
    said: String,
}

pub(super) fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|path| Path::new(&path).join(program).exists())
}

fn clients(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    for needed in ["openssl", "python3", "git"] {
        if !has(needed) {
            checks.skip(format!(
                "{needed} is not installed, and the origin needs it"
            ));
            return Ok(());
        }
    }
    let shelf = Shelf::stock(ground)?;
    let control = shelf.visit(ground, ALLOWED, &[])?;
    let ringfence = ground.ringfence.to_string_lossy().into_owned();
    let options = [
        "run",
        "--network",
        "allowlist",
        "--allow-host",
        ALLOWED,
        "--allow-host",
        &format!("{ALLOWED}:22"),
        // Names that look like secrets are withheld, and these are none.
        "--env",
        "SSH_KEY",
        "--env",
        "SSH_SOCKET",
    ];
    let mut words = vec![ringfence.as_str()];
    words.extend(options);
    let agent = shelf
        .ssh
        .as_ref()
        .map(|ssh| ssh.agent.socket.to_string_lossy());
    if let Some(agent) = &agent {
        words.extend(["--unix-socket", agent, "--env", "SSH_AUTH_SOCK"]);
    }
    words.push("--");
    let allowed = shelf.visit(ground, ALLOWED, &words)?;
    let refused = shelf.visit(ground, OTHER, &words)?;
    let working: Vec<&String> = control
        .got
        .iter()
        .filter(|(_, got)| *got == "hello")
        .map(|(name, _)| name)
        .collect();
    checks.that(
        "clients work without the boundary",
        working.len() >= 5,
        || format!("{:?}; {}", control.got, control.said),
    );
    for name in all_clients() {
        if !control.got.contains_key(&name) {
            checks.absent(name);
        }
    }
    for (name, got) in &control.got {
        if got != "hello" {
            checks.note(format!("{name} does not work outside either: {got:?}"));
        }
    }
    for name in working {
        let found = allowed.got.get(name).map(String::as_str);
        checks.that(
            &format!("{name} to the allowed host"),
            found == Some("hello"),
            || {
                let errors = shelf
                    .fixture
                    .workspace
                    .join(format!("work-{}/{name}.err", words.len()));
                format!(
                    "{found:?}; {}",
                    fs::read_to_string(errors).unwrap_or_default()
                )
            },
        );
        let found = refused.got.get(name).map(String::as_str);
        checks.that(
            &format!("{name} to another host"),
            found == Some(""),
            || format!("{found:?}"),
        );
    }
    checks.that(
        "the allowed host was reached",
        allowed.requests.contains(ALLOWED),
        || allowed.said.clone(),
    );
    checks.same(
        "requests that the other host got",
        &refused.requests.as_str(),
        &"",
    );
    Ok(())
}
