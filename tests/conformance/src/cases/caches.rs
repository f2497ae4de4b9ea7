//! The session's own caches: writable where the person's are, never the person's, and no way round a secret.

use std::path::Path;

use super::secrets::{CONTENT, FORMS, hidden, words};
use super::writes::{Place, controls, objects, text};
use crate::checks::{Checks, Context, Failure};
use crate::ground::Ground;
use crate::launch::Launch;
use crate::snapshot::{changed, snapshot};
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "cache.every-call",
        promise: "write-class calls work in a cache, and none changes the person's own",
        needs: Needs::Full,
        run: every_call,
    },
    Case {
        name: "cache.secret",
        promise: "a secret in a cache can't be read in any form, also after a session that moved or removed what holds it",
        needs: Needs::Full,
        run: secret,
    },
    Case {
        name: "cache.by-workspace",
        promise: "what one run writes to a cache the next of the same workspace finds, and no other",
        needs: Needs::Full,
        run: by_workspace,
    },
    Case {
        name: "cache.at-once",
        promise: "sessions of one workspace at the same time have a layer each, and none sees the other's half-written files",
        needs: Needs::Full,
        run: at_once,
    },
    Case {
        name: "cache.attributes",
        promise: "attributes that steer an overlay, set by a target, show nothing of the home",
        needs: Needs::Full,
        run: attributes,
    },
    Case {
        name: "cache.absent",
        promise: "for caches that don't exist nothing is made in the home; the session's own are writable and last",
        needs: Needs::Full,
        run: absent,
    },
];

fn every_call(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let place = Place {
        base: |fixture| fixture.home.join(".cache"),
        ..Place::default()
    };
    let rows = controls(ground, checks, &place)?;
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let base = fixture.home.join(".cache");
    let mut attacks = Vec::new();
    for call in &rows {
        let target = objects(&fixture, &place, call.name, &base.join("mine"))?;
        fixture.prepare(&target.mine)?;
        attacks.push(target.words(call.name));
    }
    let before = snapshot(&base)?;
    let verdicts = launch.batch_inside(&attacks)?;
    let worked = verdicts
        .iter()
        .filter(|verdict| verdict.succeeded())
        .count();
    // Some forms are refused in every place, and an overlay renames no directory of the person's.
    checks.that(
        "most calls work",
        worked * 4 >= rows.len() * 3 && worked > 0,
        || {
            let refused: Vec<String> = rows
                .iter()
                .zip(&verdicts)
                .filter(|(_, verdict)| !verdict.succeeded())
                .map(|(call, verdict)| format!("{}: {verdict:?}", call.name))
                .collect();
            format!("{worked} of {}; not {refused:?}", rows.len())
        },
    );
    let changed = changed(&before, &base);
    checks.that(
        "the person's cache is as it was",
        changed.is_empty(),
        || format!("changed: {changed:?}"),
    );
    Ok(())
}

fn secret(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let token = fixture.write("home/.cache/huggingface/token", CONTENT)?;
    let inner = fixture.write("home/.cache/own/deep/key", CONTENT)?;
    let open = fixture.write("home/.cache/huggingface/beside", "ordinary\n")?;
    let launch = Launch::new(ground, &fixture).options(&["--deny-read", "~/.cache/own"]);
    let mine = &fixture.workspace;
    // The last form leaves directories of the cache elsewhere, so each file is judged before and after.
    for round in ["at first", "afterwards"] {
        for file in [&token, &inner] {
            let mut attacks = Vec::new();
            let mut labels = Vec::new();
            for (form, extra) in FORMS.iter().filter(|(_, extra)| *extra != ["P"]) {
                let words = words(form, extra, file, mine, 0);
                let control = launch.attack_plain(&words)?;
                if control.succeeded() {
                    labels.push(format!("{round}: {form} {}", file.display()));
                    attacks.push(words);
                }
            }
            checks.that("controls", attacks.len() >= 5, || format!("{labels:?}"));
            let verdicts = launch.batch_inside(&attacks)?;
            for (label, verdict) in labels.iter().zip(&verdicts) {
                hidden(checks, label, verdict);
            }
        }
        let beside = launch.attack_inside(&["read", &text(&open)])?;
        if round == "at first" {
            checks.sibling("a file beside the secret", &beside);
        }
        let script = "cd ~/.cache; chmod -R 777 .; mv huggingface there; rm -rf huggingface own; \
                      mkdir -p huggingface own; ln -s ../../.ssh own/link; true";
        let run = launch.shell(script)?;
        checks.same(&format!("{round}: moving it away"), &run.code(), &0);
    }
    let content = std::fs::read_to_string(&token).context(|| "reading the token".to_owned())?;
    checks.same("the secret itself", &content.as_str(), &CONTENT);
    Ok(())
}

fn by_workspace(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    fixture.write("home/.cache/tool/person", "person\n")?;
    let other = fixture.home.join("other");
    std::fs::create_dir_all(&other).context(|| "making a workspace".to_owned())?;
    let launch = Launch::new(ground, &fixture);
    let written =
        launch.shell("echo run > ~/.cache/tool/run; rm ~/.cache/tool/person; ls ~/.cache/tool")?;
    checks.same("written", &written.text(), &"run\n".to_owned());
    let again = launch.shell("ls ~/.cache/tool")?;
    checks.same("the next run", &again.text(), &"run\n".to_owned());
    let elsewhere = Launch::new(ground, &fixture)
        .directory(&other)
        .shell("ls ~/.cache/tool")?;
    checks.same(
        "another workspace",
        &elsewhere.text(),
        &"person\n".to_owned(),
    );
    let outside = launch.plain(&["/bin/sh", "-c", "ls ~/.cache/tool"])?;
    checks.same("the person", &outside.text(), &"person\n".to_owned());
    Ok(())
}

fn at_once(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    fixture.write("home/.cache/person", "person\n")?;
    let launch = Launch::new(ground, &fixture);
    // The first waits for a name in the workspace that the second makes.
    let script = "echo one > ~/.cache/one; touch started; \
                  until [ -e done ]; do sleep 0.05; done; cat ~/.cache/person; ls ~/.cache";
    let mut first = launch
        .inside_command(&["/bin/sh", "-c", script])?
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .context(|| "starting the first session".to_owned())?;
    let started = crate::launch::eventually(60, || fixture.workspace.join("started").exists());
    checks.that("the first session", started, || "did not start".to_owned());
    let second =
        launch.shell("cat ~/.cache/person; echo two > ~/.cache/two; ls ~/.cache; touch done");
    std::fs::write(fixture.workspace.join("done"), "").context(|| "going on".to_owned())?;
    let second = second?;
    checks.same(
        "the second session",
        &second.text(),
        &"person\nperson\ntwo\n".to_owned(),
    );
    let status = crate::launch::wait(&mut first, "the first session")?;
    checks.that("the first session ends", status.success(), || {
        format!("{status:?}")
    });
    let mut said = String::new();
    if let Some(mut output) = first.stdout.take() {
        std::io::Read::read_to_string(&mut output, &mut said)
            .context(|| "reading the first session".to_owned())?;
    }
    checks.same(
        "the first session goes on",
        &said.as_str(),
        &"person\none\nperson\n",
    );
    let after = launch.shell("ls ~/.cache")?;
    checks.same("a later one", &after.text(), &"one\nperson\n".to_owned());
    Ok(())
}

/// Sets on `~/.cache/steered` and its like what would lead an overlay to `~/.ssh`, and prints what was refused.
const STEER: &str = r#"
import os
cache = os.path.expanduser("~/.cache")
set_some = False
for name in ("steered", "person"):
    place = os.path.join(cache, name)
    os.makedirs(place, exist_ok=True)
    for space in ("user.overlay.", "trusted.overlay.", "user.overlay.overlay."):
        for key, value in (("redirect", b"/.ssh"), ("opaque", b"n"), ("metacopy", b""), ("origin", b"\0"), ("upper", b"")):
            try:
                os.setxattr(place, space + key, value)
                set_some = True
            except OSError:
                pass
print("tried")
"#;

fn attributes(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let key = fixture.write("home/.ssh/id_ed25519", CONTENT)?;
    fixture.write("home/.cache/person/file", "person\n")?;
    let launch = Launch::new(ground, &fixture);
    if launch.plain(&["python3", "-c", "pass"])?.code() != 0 {
        checks.skip("python3 is not installed");
        return Ok(());
    }
    let control = launch.plain(&["cat".into(), key.into_os_string()])?;
    checks.same("control", &control.text(), &CONTENT.to_owned());
    let steered = launch.inside(&["python3", "-c", STEER])?;
    checks.same("setting them", &steered.text(), &"tried\n".to_owned());
    let script = "for place in steered person; do ls -A ~/.cache/$place; cat ~/.cache/$place/id_ed25519; done";
    let later = launch.shell(script)?;
    checks.same(
        "what the next session sees",
        &later.text(),
        &"file\n".to_owned(),
    );
    Ok(())
}

fn absent(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let before = snapshot(&fixture.home)?;
    let launch = Launch::new(ground, &fixture);
    let script = "for place in \"$XDG_CACHE_HOME\" \"$npm_config_cache\" \"$CARGO_HOME\" \"$GOPATH\"; do \
                  mkdir -p \"$place\" && echo made > \"$place/made\" && cat \"$place/made\"; done";
    let run = launch.shell(script)?;
    checks.same("written", &run.text(), &"made\n".repeat(4));
    let again = launch.shell("cat \"$XDG_CACHE_HOME/made\" \"$GOPATH/made\"")?;
    checks.same("the next run", &again.text(), &"made\n".repeat(2));
    let refused = launch.shell("mkdir ~/.cache || mkdir ~/.npm || mkdir ~/go || mkdir ~/.cargo")?;
    checks.that("the home", refused.code() != 0, || refused.said());
    let changed = changed(&before, Path::new(&fixture.home));
    checks.that("nothing is made", changed.is_empty(), || {
        format!("changed: {changed:?}")
    });
    let control = launch.plain(&["/bin/sh", "-c", "mkdir ~/.cache"])?;
    checks.same("control", &control.code(), &0);
    Ok(())
}
