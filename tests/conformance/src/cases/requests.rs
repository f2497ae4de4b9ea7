//! Single requests to an HTTPS host: what the rule names reaches it, what is disguised or beside it does not.
//!
//! The origin and its authority are made for the test; the harness trusts that authority as it would the system's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::clients::{has, run_outside, with_origin};
use crate::checks::{Checks, Context, Failure};
use crate::fixture::Fixture;
use crate::ground::Ground;
use crate::launch::Launch;
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[Case {
    name: "egress.requests",
    promise: "of a host with methods and paths only those requests leave, in no disguise; its TLS is read by a certificate of the session, whose key is nowhere",
    needs: Needs::Internet,
    run: requests,
}];

const HOST: &str = "allowed.example.com";
const OTHER: &str = "other.example.net";

/// What each line of `requests.sh` must be inside, and what it shows.
const REFUSED: [(&str, &str); 13] = [
    ("other-path", "403"),
    ("dots", "403"),
    ("hidden-dots", "403"),
    ("hidden-slash", "403"),
    ("double-slash", "403"),
    ("twice-hidden", "403"),
    ("method", "403"),
    ("override", "403"),
    ("query-override", "403"),
    ("other-host", "403"),
    ("upgrade", "403"),
    ("pinned", "000"),
    ("wrong-name", "403"),
];

struct Scene {
    fixture: Fixture,
}

struct Visit {
    got: BTreeMap<String, String>,
    requests: String,
    said: String,
}

impl Scene {
    fn make(ground: &Ground) -> Result<Self, Failure> {
        let fixture = ground.fixture()?;
        for (name, text) in [
            ("clients/origin.py", include_str!("../clients/origin.py")),
            (
                "clients/requests.sh",
                include_str!("../clients/requests.sh"),
            ),
            ("shelf/allowed/hello.txt", "hello\n"),
            ("shelf/secret.txt", "secret\n"),
            ("names.txt", &format!("subjectAltName=DNS:{HOST}\n")),
        ] {
            fixture.write(name, text)?;
        }
        let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        for command in [
            format!("req -x509 {curve} -days 2 -subj /CN=authority -keyout ca-key.pem -out ca.pem"),
            format!("req {curve} -subj /CN=origin -keyout key.pem -out request.pem"),
            "x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile names.txt -out origin.pem".to_owned(),
        ] {
            let words: Vec<&str> = command.split(' ').collect();
            run_outside(&fixture, "openssl", &words)?;
        }
        Ok(Self { fixture })
    }

    fn path(&self, name: &str) -> String {
        self.fixture.top().join(name).to_string_lossy().into_owned()
    }

    /// What came of the requests, run by `words` before the script's own.
    fn visit(&self, ground: &Ground, inside: &[&str]) -> Result<Visit, Failure> {
        let log = self.path("https.log");
        let _ = fs::remove_file(&log);
        let mut words = with_origin(ground, &self.fixture, "origin.pem");
        words.extend(inside.iter().map(|word| (*word).to_owned()));
        words.push("/bin/sh".to_owned());
        words.push(self.path("clients/requests.sh"));
        words.extend([HOST.to_owned(), self.path("ca.pem"), OTHER.to_owned()]);
        let finished = Launch::new(ground, &self.fixture)
            .variable("RINGFENCE_INTERNET_WITHOUT", "443")
            .variable("SSL_CERT_FILE", self.path("ca.pem"))
            .plain(&words)?;
        let got = finished.text();
        let got = got.lines().filter_map(|line| line.split_once(' '));
        Ok(Visit {
            got: got
                .map(|(name, got)| (name.to_owned(), got.trim().to_owned()))
                .collect(),
            requests: fs::read_to_string(&log).unwrap_or_default(),
            said: finished.said(),
        })
    }
}

impl Visit {
    fn got(&self, name: &str) -> &str {
        self.got.get(name).map_or("nothing", String::as_str)
    }
}

fn requests(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    for needed in ["openssl", "python3", "curl"] {
        if !has(needed) {
            checks.skip(format!(
                "{needed} is not installed, and the origin needs it"
            ));
            return Ok(());
        }
    }
    let scene = Scene::make(ground)?;
    let control = scene.visit(ground, &[])?;
    for (name, _) in REFUSED {
        // Whatever the origin makes of it, it was reached.
        checks.that(
            &format!("control {name}"),
            !["000", "nothing"].contains(&control.got(name)),
            || format!("{}; {}", control.got(name), control.said),
        );
    }
    checks.that(
        "control: the origin's log shows what reaches it",
        control.requests.contains("secret.txt"),
        || control.requests.clone(),
    );
    checks.same(
        "control kept-alive",
        &control.got("kept-alive"),
        &"200+200+",
    );
    let ringfence = ground.ringfence.to_string_lossy().into_owned();
    let events = scene.path("events.jsonl");
    let rule = |host: &str| format!("{host} GET,HEAD /allowed/**");
    let (first, second) = (rule(HOST), rule(OTHER));
    let inside = scene.visit(
        ground,
        &[
            &ringfence,
            "run",
            "--network",
            "allowlist",
            "--allow-host",
            &first,
            "--allow-host",
            &second,
            "--events",
            &events,
            "--",
        ],
    )?;
    for client in ["curl", "python", "node", "wget", "java"] {
        match control.got.get(client).map(String::as_str) {
            None => checks.absent(format!("{client} to a host with methods and paths")),
            Some("hello") => {}
            Some(other) => checks.note(format!("{client} does not work outside either: {other:?}")),
        }
        if control.got.get(client).is_some_and(|got| got == "hello") {
            checks.that(
                &format!("sibling {client}"),
                inside.got(client) == "hello",
                || format!("{}; {}", inside.got(client), inside.said),
            );
        }
    }
    for (name, status) in REFUSED {
        checks.same(&format!("{name} inside"), &inside.got(name), &status);
    }
    checks.same("kept-alive inside", &inside.got("kept-alive"), &"200+403+");
    for word in ["secret", "DELETE", "Upgrade", "_method", OTHER] {
        checks.that(
            &format!("nothing of `{word}` reached the origin"),
            !inside.requests.contains(word),
            || inside.requests.clone(),
        );
    }
    checks.that(
        "the origin was reached",
        inside.requests.contains("/allowed/hello.txt"),
        || inside.said.clone(),
    );
    let record = fs::read_to_string(&events).context(|| "reading the events".to_owned())?;
    for rule in [
        "net.request-scope",
        "net.tls-termination",
        "net.host-mismatch",
        "net.upgrade",
    ] {
        checks.that(
            &format!("{rule} is recorded"),
            record.contains(rule),
            || record.clone(),
        );
    }
    certificates(&scene, &inside, checks)
}

/// The key is in no file, and the file of certificates is gone with its session.
fn certificates(scene: &Scene, inside: &Visit, checks: &mut Checks) -> Result<(), Failure> {
    checks.same(
        "private keys that the session sees",
        &inside.got("keys"),
        &"0",
    );
    let file = inside.got("file");
    checks.that(
        "the session has certificates of its own",
        file.starts_with("/tmp/ringfence-"),
        || file.to_owned(),
    );
    let mut places = vec![scene.fixture.state.clone()];
    let mut files = 0;
    while let Some(place) = places.pop() {
        let entries = fs::read_dir(&place).context(|| place.display().to_string())?;
        for entry in entries {
            let path = entry.context(|| place.display().to_string())?.path();
            if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                places.push(path);
                continue;
            }
            files += 1;
            checks.that(
                "no key or certificate stays behind",
                !holds_pem(&path),
                || path.display().to_string(),
            );
        }
    }
    checks.note(format!("{files} files of the state directory looked at"));
    Ok(())
}

fn holds_pem(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| {
        let begins = b"-----BEGIN";
        bytes.windows(begins.len()).any(|window| window == begins)
    })
}
